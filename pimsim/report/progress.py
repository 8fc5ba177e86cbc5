"""Progress on stderr: a bar in a terminal, one line at the start and one at the end elsewhere."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from datetime import timedelta
from typing import Protocol, TypeVar

from rich.console import Console
from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
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


class Tally(Protocol):
    """Points of a sweep: all of them, done ones, those run now, and failed ones."""

    total: int
    reused: int
    run: int
    failed: int


EVERY_S = 30.0
"""Outside a terminal a line is printed so often."""


@contextmanager
def points_bar(description: str, quiet: bool = False) -> Iterator[Callable[[Tally], None]]:
    """A bar for the points of a sweep: how many, how fast, how long it will still take.

    Call what it gives after each point. Elsewhere than in a terminal it prints a line now and then.
    """
    console = Console(stderr=True)
    began = time.monotonic()

    def said(tally: Tally) -> str:
        rate = tally.run / max(time.monotonic() - began, 1e-9)
        left = tally.total - tally.reused - tally.run
        parts = [f"{rate:.3g} points/s" if rate >= 1 or not rate else f"{1 / rate:.3g} s a point"]
        if rate and left:
            parts.append(f"{timedelta(seconds=round(left / rate))} left")
        if tally.reused:
            parts.append(f"{tally.reused} were there")
        if tally.failed:
            parts.append(f"{tally.failed} failed")
        return ", ".join(parts)

    if quiet:
        yield lambda tally: None
    elif not console.is_terminal:
        last = [began]

        def line(tally: Tally) -> None:
            now, done = time.monotonic(), tally.reused + tally.run
            if now - last[0] >= EVERY_S or done == tally.total:
                last[0] = now
                print(
                    f"{description}: {done} of {tally.total} points, {said(tally)}",
                    file=sys.stderr,
                    flush=True,
                )

        yield line
    else:
        columns = (
            TextColumn("{task.description}", markup=False),
            BarColumn(),
            MofNCompleteColumn(),
            TextColumn("{task.fields[said]}", markup=False),
        )
        with Progress(*columns, console=console) as drawn:
            task = drawn.add_task(description, total=None, said="")

            def advance(tally: Tally) -> None:
                drawn.update(task, total=tally.total, completed=tally.reused + tally.run, said=said(tally))

            yield advance
