"""Measured rates on disk, shared by the workers of a sweep: only speed depends on this file.

A rate is kept under the digest of everything that determines it, code included, and every row carries a
checksum: what cannot be read, for whatever reason, is measured again. The file may be deleted at any time.
"""

from __future__ import annotations

import contextlib
import hashlib
import sqlite3
from urllib.parse import quote

WAIT_S = 5.0


class Rates:
    """A `pimsim.reuse.Memo` in a SQLite file; never raises."""

    def __init__(self, path: str) -> None:
        self.path = path
        self.file: sqlite3.Connection | None = None
        with contextlib.suppress(sqlite3.Error):
            self.file = self._open()

    def _open(self) -> sqlite3.Connection:
        file = sqlite3.connect(
            f"file:{quote(self.path)}",
            uri=True,
            timeout=WAIT_S,
            isolation_level=None,
            check_same_thread=False,
        )
        file.execute("PRAGMA trusted_schema=OFF")
        file.execute("PRAGMA journal_mode=WAL")
        file.execute("PRAGMA synchronous=OFF")
        file.execute(
            "CREATE TABLE IF NOT EXISTS rates (digest TEXT PRIMARY KEY, text TEXT, sum TEXT) WITHOUT ROWID"
        )
        return file

    def get(self, digest: str) -> str | None:
        if self.file is None:
            return None
        try:
            found = self.file.execute("SELECT text, sum FROM rates WHERE digest=?", (digest,)).fetchone()
        except sqlite3.Error:
            return None
        if found is None or _sum(digest, str(found[0])) != found[1]:
            return None
        return str(found[0])

    def put(self, digest: str, text: str) -> None:
        if self.file is None:
            return
        with contextlib.suppress(sqlite3.Error):
            row = (digest, text, _sum(digest, text))
            self.file.execute("INSERT OR REPLACE INTO rates VALUES (?, ?, ?)", row)


def _sum(digest: str, text: str) -> str:
    return hashlib.sha256(f"{digest} {text}".encode()).hexdigest()[:32]
