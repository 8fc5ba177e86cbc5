"""Running a sweep: which points are still to run, in which order, each outcome into the store at once."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass

from pimsim.errors import SweepError
from pimsim.sweep.executors import Executor, InProcess, Lanes, LocalPool
from pimsim.sweep.points import Point, Sweep, chosen
from pimsim.sweep.store import Store
from pimsim.sweep.work import Job, Limits, Outcome, Simulation, Work
from pimsim.warmup import compile_together

Report = Callable[["Progress"], None]


@dataclass
class Progress:
    """How far a sweep is. reused: points whose result was there; run: run now, failed ones among them."""

    total: int
    reused: int = 0
    run: int = 0
    failed: int = 0

    @property
    def done(self) -> int:
        return self.reused + self.run


@dataclass(frozen=True, kw_only=True)
class Prepared:
    """A sweep that was checked: its points (of the shard), their keys, and what runs them."""

    sweep: Sweep
    work: Work
    points: tuple[Point, ...]
    keys: tuple[str, ...]


def shard_of(text: str) -> tuple[int, int]:
    """(i, n) of "i/n": the i-th of n parts, from 1."""
    match = re.fullmatch(r"(\d+)/(\d+)", text.strip())
    if match is None or not 1 <= int(match[1]) <= int(match[2]):
        raise SweepError(f"shard {text!r}; wanted i/n with i from 1 to n, as in 3/16")
    return int(match[1]), int(match[2])


def prepare(sweep: Sweep, work: Work | None = None, shard: tuple[int, int] | None = None) -> Prepared:
    """Check a sweep and find its points; every error in its definition comes up here, before anything runs.

    shard: (i, n): only the i-th of n parts. Parts are cut where neighbours share least.
    """
    work = work if work is not None else Simulation()
    work.check(sweep)
    points = chosen(sweep, work.look)
    if shard is not None:
        i, n = shard
        order = sorted(points, key=lambda point: (work.order(point.settings), point.number))
        mine = {p.number for p in order[len(order) * (i - 1) // n : len(order) * i // n]}
        points = tuple(point for point in points if point.number in mine)
    keys = tuple(work.key(point.settings) for point in points)
    return Prepared(sweep=sweep, work=work, points=points, keys=keys)


def run_sweep(
    prepared: Prepared,
    store: Store,
    *,
    executor: Executor | None = None,
    limits: Limits | None = None,
    report: Report | None = None,
    share_rates: bool = True,
) -> Progress:
    """Run the points that the store does not have; each result is in the store before the next is waited for.

    share_rates: keep measured rates in a file beside the store, for all workers and later sweeps.
    """
    executor = executor if executor is not None else InProcess()
    work, tables = prepared.work, prepared.work.tables
    store.register(prepared.sweep, prepared.points, prepared.keys)
    progress = Progress(total=len(prepared.points))
    waiting: dict[str, int] = {}  # key -> points that have it
    jobs: list[tuple[tuple[str, ...], int, Job]] = []
    for point, key in zip(prepared.points, prepared.keys, strict=True):
        if key in waiting:
            waiting[key] += 1
        elif store.final(key, tables):
            progress.reused += 1
        else:
            waiting[key] = 1
            jobs.append((work.order(point.settings), point.number, Job(key=key, settings=point.settings)))
    report = report or (lambda progress: None)
    report(progress)
    jobs.sort(key=lambda job: job[:2])
    lanes = Lanes([job for _, _, job in jobs], executor.lanes)

    def take(lane: int) -> Job | None:
        while (job := lanes(lane)) is not None:
            if not store.final(job.key, tables):
                return job
            progress.reused += waiting[job.key]  # another sweep was faster
            report(progress)
        return None

    if jobs and isinstance(work, Simulation) and isinstance(executor, LocalPool):
        compile_together()  # or each worker would compile everything
    memo = store.memo if share_rates and isinstance(work, Simulation) and work.reuse else None
    outcomes: Iterator[tuple[Job, Outcome]] = (
        executor.run(work, take, limits or Limits(), memo) if jobs else iter(())
    )
    try:
        for job, outcome in outcomes:
            store.put(job.key, job.settings, outcome)
            progress.run += waiting[job.key]
            progress.failed += waiting[job.key] * (outcome.status != "done")
            report(progress)
    finally:
        close = getattr(outcomes, "close", None)
        if close is not None:
            close()
    return progress
