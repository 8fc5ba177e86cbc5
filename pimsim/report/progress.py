"""Progress on stderr: a bar in a terminal, one line at the start and one at the end elsewhere."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from typing import TypeVar

from rich.console import Console
from rich.progress import (
    BarColumn,
    Progress,
    TaskProgressColumn,
    TextColumn,
    TimeElapsedColumn,
    TimeRemainingColumn,
)

T = TypeVar("T")

Advance = Callable[[float, str], None]
"""Says how far the work is: a share in 0..1, and what is being done now."""


@contextmanager
def bar(description: str, quiet: bool = False) -> Iterator[Advance]:
    """A bar for work that reports its own progress: call what it gives with (share, text)."""
    console = Console(stderr=True)
    if quiet:
        yield lambda share, text: None
        return
    if not console.is_terminal:
        print(f"{description} ...", file=sys.stderr, flush=True)
        yield lambda share, text: None
        print(f"{description}: done", file=sys.stderr, flush=True)
        return
    columns = (
        TextColumn("{task.description}", markup=False),
        BarColumn(),
        TaskProgressColumn(),
        TimeElapsedColumn(),
        TextColumn("left:"),
        TimeRemainingColumn(),
    )
    with Progress(*columns, console=console, transient=True) as drawn:
        task = drawn.add_task(description, total=1.0)

        def advance(share: float, text: str) -> None:
            said = f"{description}: {text}" if text else description
            drawn.update(task, completed=min(max(share, 0.0), 1.0), description=said)

        yield advance


def progress(
    iterable: Iterable[T], description: str, total: int | None = None, quiet: bool = False
) -> Iterator[T]:
    """The items of `iterable`, with a bar that moves by one each; `total` where it has no length."""
    items = list(iterable) if total is None else iterable
    count = len(items) if isinstance(items, list) else total or 1
    with bar(description, quiet) as advance:
        for done, item in enumerate(items):
            yield item
            advance((done + 1) / max(count, 1), "")
