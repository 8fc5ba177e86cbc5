"""The store of results: one SQLite file (WAL), bulky tables as Parquet files in a folder beside it.

A result is kept under the digest of everything that determines it and committed as soon as it is there, so
that whatever stops a sweep, everything finished before is kept. Every row carries a checksum of itself and of
its tables. Reading runs nothing that a file holds: plain SQL on tables whose definitions must be ours, JSON,
and Parquet. Several processes on one machine may write at once; a network file system cannot do that (merge
stores instead).
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import random
import sqlite3
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any
from urllib.parse import quote

from pimsim.errors import StoreError
from pimsim.reuse import code_digest
from pimsim.sweep.points import Point, Sweep
from pimsim.sweep.work import FINAL, Outcome, package_version

FORMAT = 1
APPLICATION = 0x70696D73  # "pims": SQLite's application_id of our files
WAIT_S = 60.0
"""How long a writer waits for another one."""

_DEFINITIONS = {
    "meta": "CREATE TABLE meta (name TEXT PRIMARY KEY, value TEXT NOT NULL) WITHOUT ROWID",
    "results": "CREATE TABLE results (key TEXT PRIMARY KEY, status TEXT NOT NULL, error TEXT NOT NULL, "
    "settings TEXT NOT NULL, outputs TEXT NOT NULL, tables TEXT NOT NULL, pimsim TEXT NOT NULL, "
    "code TEXT NOT NULL, checksum TEXT NOT NULL)",
    "sweeps": "CREATE TABLE sweeps (id TEXT PRIMARY KEY, name TEXT NOT NULL, definition TEXT NOT NULL) "
    "WITHOUT ROWID",
    "points": "CREATE TABLE points (sweep TEXT NOT NULL, number INTEGER NOT NULL, key TEXT NOT NULL, "
    "shown TEXT NOT NULL, PRIMARY KEY (sweep, number)) WITHOUT ROWID",
}
_COLUMNS = "key, status, error, settings, outputs, tables, pimsim, code, checksum"


def compact(value: Any) -> str:
    """`value` as JSON in one form: keys sorted, no spaces."""
    return json.dumps(value, sort_keys=True, separators=(",", ":"), ensure_ascii=False, allow_nan=False)


def sweep_id(sweep: Sweep) -> str:
    """16 hex digits of a sweep's definition and of the code that runs it."""
    return hashlib.sha256(f"{code_digest()} {compact(sweep.definition())}".encode()).hexdigest()[:16]


@dataclass(frozen=True, kw_only=True)
class Record:
    """One result as it is kept. tables: name -> SHA-256 of its Parquet file."""

    key: str
    status: str
    error: str = ""
    settings: Mapping[str, Any] = field(default_factory=dict)
    outputs: Mapping[str, Any] = field(default_factory=dict)
    tables: Mapping[str, str] = field(default_factory=dict)
    pimsim: str = ""
    code: str = ""

    def cells(self) -> tuple[str, ...]:
        """The row in the file, checksum last."""
        plain = (
            self.key, self.status, self.error, compact(self.settings), compact(self.outputs),
            compact(self.tables), self.pimsim, self.code,
        )  # fmt: skip
        return *plain, _checksum(plain)

    @property
    def content(self) -> str:
        """What must be equal when a point is computed twice."""
        return compact([self.key, self.status, self.error, self.outputs])


def _checksum(cells: Iterable[str]) -> str:
    return hashlib.sha256("\0".join(cells).encode()).hexdigest()


def _record(cells: tuple[Any, ...]) -> Record | None:
    """The record of a row, or None where the row is not what was written."""
    if not all(isinstance(cell, str) for cell in cells) or _checksum(cells[:-1]) != cells[-1]:
        return None
    key, status, error, settings, outputs, tables, pimsim, code, _ = cells
    return Record(
        key=key, status=status, error=error, settings=json.loads(settings), outputs=json.loads(outputs),
        tables=json.loads(tables), pimsim=pimsim, code=code,
    )  # fmt: skip


class Store:
    """A store that is open. `Store.open` makes or opens one; use it in a `with`."""

    def __init__(self, path: Path, file: sqlite3.Connection, writable: bool) -> None:
        self.path, self.file, self.writable = path, file, writable

    @classmethod
    def open(cls, path: str | Path, *, write: bool = False, make: bool = False) -> Store:
        """The store in this file. write: also to put results in; make: make it where there is none."""
        path = Path(path)
        there = path.is_file() and path.stat().st_size > 0
        if path.is_dir():
            raise StoreError(f"{path}: is a folder; the file of a store is wanted")
        if not there and not make:
            raise StoreError(f"{path}: no such store of results")
        if write:
            _check_folder(path)
        with _problems(path):
            store = cls(path, _connect(path, write), write)
            try:
                if make and not store._one("SELECT count(*) FROM sqlite_master"):
                    store._make()  # new, or whoever made it was stopped before it was there
                else:
                    store._check()
                if write:
                    store.file.execute("PRAGMA journal_mode=WAL")
                    store.file.execute("PRAGMA synchronous=FULL")
            except BaseException:
                store.file.close()
                raise
        return store

    def __enter__(self) -> Store:
        return self

    def __exit__(self, *problem: object) -> None:
        self.close()

    def close(self) -> None:
        with contextlib.suppress(sqlite3.Error):
            self.file.close()

    @property
    def folder(self) -> Path:
        """Where the Parquet files lie."""
        return self.path.with_name(f"{self.path.stem}.tables")

    @property
    def memo(self) -> str:
        """The file of measured rates beside the store."""
        return str(self.path.resolve().with_name(f"{self.path.stem}.rates"))

    def _one(self, sql: str, *values: Any) -> Any:
        found = self.file.execute(sql, values).fetchone()
        return found[0] if found else None

    def _make(self) -> None:
        with self._writing():
            if self._one("SELECT count(*) FROM sqlite_master"):
                return  # another sweep was faster
            for definition in _DEFINITIONS.values():
                self.file.execute(definition)
            self.file.execute("INSERT INTO meta VALUES ('format', ?)", (str(FORMAT),))
            self.file.execute(f"PRAGMA application_id={APPLICATION}")
            self.file.execute(f"PRAGMA user_version={FORMAT}")
        self._check()

    def _check(self) -> None:
        """Refuse what is no store, what a newer pimsim wrote, and definitions that are not ours."""
        if self._one("PRAGMA application_id") != APPLICATION:
            raise StoreError(f"{self.path}: is a SQLite file but no store of pimsim results")
        made = self._one("PRAGMA user_version")
        if made != FORMAT:
            newer = "a newer pimsim; update pimsim to read it" if made > FORMAT else "an older pimsim"
            raise StoreError(
                f"{self.path}: format {made} was written by {newer} (this one reads format {FORMAT})"
            )
        rows = self.file.execute("SELECT name, sql FROM sqlite_master WHERE sql IS NOT NULL").fetchall()
        if dict(rows) != _DEFINITIONS:
            strange = sorted(set(dict(rows)) ^ set(_DEFINITIONS)) or ["a changed table"]
            raise StoreError(f"{self.path}: its tables are not those of a store: {', '.join(strange)}")
        if self._one("SELECT value FROM meta WHERE name='format'") != str(FORMAT):
            raise StoreError(f"{self.path}: its table meta does not say format {FORMAT}")

    @contextlib.contextmanager
    def _writing(self) -> Iterator[None]:
        """A transaction: whole or not at all."""
        with _problems(self.path):
            self.file.execute("BEGIN IMMEDIATE")
            try:
                yield
                self.file.execute("COMMIT")
            except BaseException:
                with contextlib.suppress(sqlite3.Error):
                    self.file.execute("ROLLBACK")
                raise

    # Writing.

    def put(self, key: str, settings: Mapping[str, Any], outcome: Outcome) -> Record:
        """Keep what became of a point: its tables first, then its row, in one commit."""
        tables = {}
        for name, data in sorted(outcome.tables.items()):
            tables[name] = hashlib.sha256(data).hexdigest()
            self._write_table(key, name, data)
        record = Record(
            key=key, status=outcome.status, error=outcome.error, settings=settings, outputs=outcome.values,
            tables=tables, pimsim=package_version(), code=code_digest(),
        )  # fmt: skip
        self.keep([record])
        return record

    def keep(self, records: Iterable[Record]) -> int:
        """Keep these records in one commit; returns how many are new here.

        Two results of a point must agree: if they do not, a StoreError says so and nothing is kept.
        """
        new = 0
        with self._writing():
            for record in records:
                held = self._held(record.key)
                if held is not None and held.status in FINAL:
                    if record.status not in FINAL:
                        continue
                    if held.content != record.content:
                        raise StoreError(
                            f"{self.path}: two results of the point {record.key[:12]} differ: {held.content} "
                            f"and {record.content}"
                        )
                    if not record.tables.keys() - held.tables.keys():
                        continue
                    record = replace(record, tables={**held.tables, **record.tables})
                marks = ", ".join("?" * 9)
                self.file.execute(
                    f"INSERT OR REPLACE INTO results ({_COLUMNS}) VALUES ({marks})", record.cells()
                )
                new += held is None
        return new

    def _write_table(self, key: str, name: str, data: bytes) -> None:
        path = self.table_path(key, name)
        draft = path.with_name(f".{path.name}.{os.getpid()}.tmp")
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            with draft.open("wb") as out:
                out.write(data)
                out.flush()
                os.fsync(out.fileno())
            os.replace(draft, path)
        except OSError as problem:
            raise StoreError(f"{path}: cannot be written: {problem.strerror}; {_KEPT}") from None
        finally:
            draft.unlink(missing_ok=True)

    def register(self, sweep: Sweep, points: Iterable[Point], keys: Iterable[str]) -> str:
        """Note which points a sweep has; returns its id, a digest of its definition and code."""
        text, name = compact(sweep.definition()), sweep_id(sweep)
        rows = [
            (name, p.number, key, json.dumps(p.shown, ensure_ascii=False))  # in the order of the axes
            for p, key in zip(points, keys, strict=True)
        ]
        with self._writing():
            self.file.execute("INSERT OR REPLACE INTO sweeps VALUES (?, ?, ?)", (name, sweep.name, text))
            self.file.executemany("INSERT OR REPLACE INTO points VALUES (?, ?, ?, ?)", rows)
        return name

    # Reading.

    def _held(self, key: str) -> Record | None:
        found = self.file.execute(f"SELECT {_COLUMNS} FROM results WHERE key=?", (key,)).fetchone()
        return _record(found) if found else None

    def get(self, key: str) -> Record | None:
        """The result of this key; None where there is none, or none that is as it was written."""
        with _problems(self.path):
            return self._held(key)

    def final(self, key: str, tables: Iterable[str] = ()) -> bool:
        """Whether this point needs not be run (again)."""
        held = self.get(key)
        if held is None or held.status not in FINAL:
            return False
        return held.status != "done" or all(self.table_is_whole(held, name) for name in tables)

    def records(self) -> Iterator[Record]:
        """Every result that is as it was written, by key."""
        with _problems(self.path):
            for row in self.file.execute(f"SELECT {_COLUMNS} FROM results ORDER BY key"):
                record = _record(row)
                if record is not None:
                    yield record

    def damaged(self) -> list[str]:
        """Keys of rows that are not as they were written."""
        with _problems(self.path):
            rows = self.file.execute(f"SELECT {_COLUMNS} FROM results ORDER BY key")
            return [str(row[0]) for row in rows if _record(row) is None]

    def sweeps(self) -> dict[str, str]:
        """id -> name of the sweeps that have points here."""
        with _problems(self.path):
            return dict(self.file.execute("SELECT id, name FROM sweeps ORDER BY name, id").fetchall())

    def points(self, sweep: str) -> list[tuple[int, str, dict[str, Any]]]:
        """(number, key, shown) of the points of a sweep, by its id."""
        with _problems(self.path):
            rows = self.file.execute(
                "SELECT number, key, shown FROM points WHERE sweep=? ORDER BY number", (sweep,)
            ).fetchall()
            return [(int(number), str(key), json.loads(shown)) for number, key, shown in rows]

    def table_path(self, key: str, name: str) -> Path:
        """Where a table of a result lies."""
        if not key.isalnum() or not name.isidentifier():
            raise StoreError(f"{self.path}: {key!r} and {name!r} name no table")
        return self.folder / key[:2] / f"{key}.{name}.parquet"

    def table_is_whole(self, record: Record, name: str) -> bool:
        """Whether a table is there, as it was written."""
        try:
            data = self.table_path(record.key, name).read_bytes()
        except OSError:
            return False
        return hashlib.sha256(data).hexdigest() == record.tables.get(name)

    def table(self, key: str, name: str) -> Any:
        """A table of a result as a DataFrame."""
        from pyarrow import parquet

        record = self.get(key)
        if record is None or name not in record.tables:
            has = "has no such result" if record is None else f"has {', '.join(record.tables) or 'none'}"
            raise StoreError(f"{self.path}: no table {name!r} of {key[:12]}; the store {has}")
        if not self.table_is_whole(record, name):
            raise StoreError(f"{self.table_path(key, name)}: missing or damaged; run the sweep again")
        return parquet.read_table(self.table_path(key, name), partitioning=None).to_pandas()

    def content_digest(self) -> str:
        """SHA-256 of all results and points, in order: equal stores have equal digests."""
        digest = hashlib.sha256()
        for record in self.records():
            digest.update("\0".join(record.cells()).encode() + b"\n")
        for sweep in self.sweeps():
            for number, key, shown in self.points(sweep):
                digest.update(f"{sweep} {number} {key} {compact(shown)}\n".encode())
        return digest.hexdigest()

    # Care.

    def verify(self) -> list[str]:
        """What is wrong with the store, as sentences; reads everything."""
        with _problems(self.path):
            found = [str(row[0]) for row in self.file.execute("PRAGMA integrity_check(20)")]
        wrong = [f"SQLite: {line}" for line in found if line != "ok"]
        wrong += [f"result {key[:12]}: the row is not as it was written" for key in self.damaged()]
        for record in self.records():
            for name in record.tables:
                if not self.table_is_whole(record, name):
                    wrong.append(f"{self.table_path(record.key, name)}: missing or damaged")
        return wrong

    def merge(self, other: Store) -> int:
        """Take over the results, tables and points of another store; returns how many results are new."""
        new = 0
        batch: list[Record] = []
        for record in other.records():
            tables = {}
            for name, digest in record.tables.items():
                if other.table_is_whole(record, name):
                    self._write_table(record.key, name, other.table_path(record.key, name).read_bytes())
                    tables[name] = digest
            batch.append(Record(**{**vars(record), "tables": tables}))
            if len(batch) == 500:
                new += self.keep(batch)
                batch = []
        new += self.keep(batch)
        with _problems(other.path):
            sweeps = other.file.execute("SELECT id, name, definition FROM sweeps").fetchall()
            points = other.file.execute("SELECT sweep, number, key, shown FROM points").fetchall()
        with self._writing():
            self.file.executemany("INSERT OR REPLACE INTO sweeps VALUES (?, ?, ?)", sweeps)
            self.file.executemany("INSERT OR REPLACE INTO points VALUES (?, ?, ?, ?)", points)
        return new

    def salvage(self, other: str | Path) -> int:
        """Take over what can still be read of a damaged store; returns how many results are new."""
        new = 0
        path = Path(other)
        if not path.is_file():
            raise StoreError(f"{path}: no such store of results")
        file = _connect(path, False)
        try:
            with contextlib.suppress(sqlite3.Error):
                last = file.execute("SELECT max(rowid) FROM results").fetchone()[0] or 0
                for number in range(1, last + 1):
                    with contextlib.suppress(sqlite3.Error):
                        row = file.execute(
                            f"SELECT {_COLUMNS} FROM results NOT INDEXED WHERE rowid=?", (number,)
                        ).fetchone()
                        record = _record(row) if row else None
                        if record is not None:
                            new += self.keep([record])
        finally:
            file.close()
        return new

    def gc(self, *, other_code: bool = False, unfinished: bool = True) -> tuple[int, int]:
        """Remove results that nothing uses; returns (results, files) removed.

        other_code: results of other versions of the code. unfinished: those that would be run again anyway.
        Damaged rows and Parquet files that belong to no result go, too.
        """
        gone = self.damaged()
        for record in self.records():
            old = other_code and record.code != code_digest()
            if old or (unfinished and record.status not in FINAL):
                gone.append(record.key)
        with self._writing():
            self.file.executemany("DELETE FROM results WHERE key=?", [(key,) for key in gone])
            self.file.execute("DELETE FROM points WHERE key NOT IN (SELECT key FROM results)")
            self.file.execute("DELETE FROM sweeps WHERE id NOT IN (SELECT sweep FROM points)")
        wanted = {self.table_path(r.key, name) for r in self.records() for name in r.tables}
        files = [p for p in self.folder.rglob("*") if p.is_file() and p not in wanted]
        for path in files:
            path.unlink(missing_ok=True)
        with _problems(self.path):
            self.file.execute("VACUUM")
        return len(gone), len(files)


_KEPT = "everything finished before is kept"


def _connect(path: Path, write: bool) -> sqlite3.Connection:
    """A connection that cannot load code; without `write` nothing beside the file need be writable."""
    mode = "rwc" if write else "ro"
    effective = os.access in os.supports_effective_ids
    if not write and not os.access(path.resolve().parent, os.W_OK, effective_ids=effective):
        if path.with_name(f"{path.name}-wal").exists():
            raise StoreError(
                f"{path}: its last results are in {path.name}-wal, which only a writable folder can be read "
                "with; copy both files to one"
            )
        mode = "ro&immutable=1"
    file = sqlite3.connect(
        f"file:{quote(str(path.resolve()))}?mode={mode}", uri=True, timeout=WAIT_S, isolation_level=None
    )
    file.execute("PRAGMA trusted_schema=OFF")
    return file


def _check_folder(path: Path) -> None:
    """Refuse a place where nothing can be written, before anything runs."""
    folder = path.resolve().parent
    try:
        folder.mkdir(parents=True, exist_ok=True)
        probe = folder / f".{path.name}.{os.getpid()}.{random.getrandbits(32):08x}.tmp"
        probe.touch()
        probe.unlink()
        if path.exists():
            with path.open("r+b"):
                pass
    except OSError as problem:
        raise StoreError(f"{path}: cannot be written: {problem.strerror}") from None


@contextlib.contextmanager
def _problems(path: Path) -> Iterator[None]:
    """What SQLite raises, as errors that say what to do."""
    try:
        yield
    except sqlite3.DatabaseError as problem:
        name = getattr(problem, "sqlite_errorname", "") or ""
        if name.startswith(("SQLITE_CORRUPT", "SQLITE_NOTADB")):
            raise StoreError(
                f"{path}: is damaged or no store of results ({problem}); save what can be read with: "
                f"pimsim results merge NEW.sqlite {path} --salvage"
            ) from None
        if name.startswith("SQLITE_BUSY"):
            raise StoreError(f"{path}: another process held the store for {WAIT_S:g} s") from None
        if name.startswith(("SQLITE_FULL", "SQLITE_IOERR", "SQLITE_READONLY", "SQLITE_CANTOPEN")):
            raise StoreError(f"{path}: cannot be read or written: {problem}; {_KEPT}") from None
        raise StoreError(f"{path}: {problem} ({name or type(problem).__name__})") from None
