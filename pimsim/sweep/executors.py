"""Who runs the points: this process, a pool of local processes, or the workers of a Dask cluster.

Each takes jobs and gives (job, outcome) as they finish, in any order; nobody here knows about stores. Jobs
are taken one by one when a worker is about to be free, so that a stop loses little.
"""

from __future__ import annotations

import contextlib
import faulthandler
import itertools
import multiprocessing
import multiprocessing.connection
import os
import signal
import sys
import threading
import time
from collections import deque
from collections.abc import Callable, Iterator
from concurrent.futures import FIRST_COMPLETED, Future, ProcessPoolExecutor, wait
from concurrent.futures.process import BrokenProcessPool
from dataclasses import dataclass, field
from typing import Any, Protocol

from pimsim.errors import SweepError
from pimsim.reuse import code_digest
from pimsim.sweep.work import Job, Limits, Outcome, Work, perform
from pimsim.warmup import cores

AHEAD = 2
"""Jobs a worker that are handed over: the one that runs and the one after it."""
AHEAD_FAR = 4
"""The same for workers on a network."""
GRACE_S = 5.0
"""A worker that is still in a compiled loop so long after its point's time was over is ended."""

Next = Callable[[int], Job | None]
"""Gives the next job of a lane (0 to lanes - 1), or None when none is left anywhere."""
Finished = Iterator[tuple[Job, Outcome]]


class Executor(Protocol):
    """lanes: how many points run at once. run: every job that `take` gives, each with its outcome."""

    @property
    def lanes(self) -> int: ...

    def run(self, work: Work, take: Next, limits: Limits, memo: str | None) -> Finished: ...


class Lanes:
    """Jobs in order, cut into one contiguous lane a worker: neighbours share measured rates, so workers keep
    apart. A lane that is empty takes from the back of the longest."""

    def __init__(self, jobs: list[Job], count: int) -> None:
        cut = [len(jobs) * i // count for i in range(count + 1)]
        self.lanes = [deque(jobs[a:b]) for a, b in itertools.pairwise(cut)]

    def __call__(self, lane: int) -> Job | None:
        if self.lanes[lane]:
            return self.lanes[lane].popleft()
        longest = max(self.lanes, key=len)
        return longest.pop() if longest else None


@dataclass(frozen=True)
class InProcess:
    """One point after the other in this process; limits of memory are this process's then."""

    lanes: int = 1

    def run(self, work: Work, take: Next, limits: Limits, memo: str | None) -> Finished:
        while (job := take(0)) is not None:
            yield job, perform(work, job, limits, memo, code_digest())


@dataclass(frozen=True)
class LocalPool:
    """The standard library's process pool, `lanes` workers.

    A worker that dies takes the pool with it. The points that were in its hands are then run one by one, each
    in a pool of its own, so that only the one that kills its worker is recorded as lost.
    """

    lanes: int = field(default_factory=cores)

    def __post_init__(self) -> None:
        if self.lanes < 1:
            raise SweepError(f"jobs={self.lanes}; wanted at least 1")

    def run(self, work: Work, take: Next, limits: Limits, memo: str | None) -> Finished:
        suspects: deque[Job] = deque()
        more = True
        while more or suspects:
            while suspects:
                yield self._alone(work, suspects.popleft(), limits, memo)
            if more:
                with _Pool(self.lanes, limits) as pool:
                    more = yield from self._together(pool, work, take, (limits, memo), suspects)

    def _together(
        self, pool: _Pool, work: Work, take: Next, rest: tuple[Limits, str | None], suspects: deque[Job]
    ) -> Any:
        """Run until no job is left (False), or the pool breaks (True: there may be more)."""
        running: dict[Future[Outcome], tuple[Job, int]] = {}
        broken = False

        def feed(lane: int) -> None:
            nonlocal broken
            job = None if broken else take(lane)
            if job is not None:
                try:
                    running[pool.submit(lane, work, job, *rest)] = (job, lane)
                except BrokenProcessPool:
                    suspects.append(job)
                    broken = True

        for i in range(self.lanes * AHEAD):
            feed(i % self.lanes)
        while running:
            finished, _ = wait(running, return_when=FIRST_COMPLETED)
            for future in finished:
                job, lane = running.pop(future)
                try:
                    outcome = future.result()
                except BrokenProcessPool:
                    suspects.append(job)
                    broken = True
                    continue
                feed(lane)
                yield job, outcome
        return broken

    def _alone(self, work: Work, job: Job, limits: Limits, memo: str | None) -> tuple[Job, Outcome]:
        began = time.monotonic()
        with _Pool(1, limits) as pool:
            try:
                return job, pool.submit(0, work, job, limits, memo).result()
            except BrokenProcessPool:
                if limits.timeout_s is not None and time.monotonic() - began > limits.timeout_s:
                    return job, Outcome(status="timeout", error=f"took longer than {limits.timeout_s:g} s")
                return job, Outcome(status="lost", error="the worker process ended while it ran this point")


class _Pool:
    """A process a lane, so that what it remembers of a point helps the next one of its lane. They end when it
    is left, whatever they do."""

    def __init__(self, lanes: int, limits: Limits) -> None:
        self.before = set(multiprocessing.active_children())
        context = multiprocessing.get_context("spawn")
        self.lanes = [
            ProcessPoolExecutor(1, context, initializer=_begin, initargs=(list(sys.path),))
            for _ in range(lanes)
        ]

    def submit(self, lane: int, work: Work, job: Job, limits: Limits, memo: str | None) -> Future[Outcome]:
        return self.lanes[lane].submit(_in_worker, work, job, limits, memo, code_digest())

    def __enter__(self) -> _Pool:
        return self

    def __exit__(self, kind: object, *problem: object) -> None:
        if kind is None:
            for lane in self.lanes:
                lane.shutdown(wait=True, cancel_futures=True)
            return
        mine = set(multiprocessing.active_children()) - self.before
        for lane in self.lanes:
            lane.shutdown(wait=False, cancel_futures=True)
        for process in mine:
            process.kill()
            process.join()


def _begin(path: list[str]) -> None:
    """A worker starts: Ctrl-C is the parent's business, and without a parent there is nothing to do."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    sys.path[:] = path
    parent = multiprocessing.parent_process()
    if parent is not None:
        end = parent.sentinel

        def watch() -> None:
            multiprocessing.connection.wait([end])
            os._exit(1)

        threading.Thread(target=watch, daemon=True).start()


def _in_worker(work: Work, job: Job, limits: Limits, memo: str | None, code: str) -> Outcome:
    """`perform`, and the end of this worker if the point does not even stop when its time is over."""
    if limits.timeout_s is None:
        return perform(work, job, limits, memo, code)
    with open(os.devnull, "w") as nowhere:
        faulthandler.dump_traceback_later(limits.timeout_s + GRACE_S, exit=True, file=nowhere)
        try:
            return perform(work, job, limits, memo, code)
        finally:
            faulthandler.cancel_dump_traceback_later()


@dataclass(frozen=True)
class Dask:
    """The workers of a Dask cluster: the scheduler at this address, or "local" for one of this machine.

    One thread a worker, please: a worker's limits and memo belong to its process. Points of a worker that is
    lost run again on another one, `RETRIES` times.
    """

    address: str
    workers: int = 2

    RETRIES = 3

    @property
    def lanes(self) -> int:
        return max(1, self.workers)

    def run(self, work: Work, take: Next, limits: Limits, memo: str | None) -> Finished:
        if limits != Limits():
            raise SweepError(
                "limits of a point (timeout, memory) are for local processes; give Dask's workers theirs"
            )
        try:
            import dask
            import distributed
        except ImportError:
            raise SweepError("Dask is not installed; install it with: pip install 'pimsim[dask]'") from None
        settings = {
            "distributed.scheduler.allowed-failures": self.RETRIES,
            "distributed.comm.timeouts.connect": "10s",
            "distributed.worker.daemon": True,
            "distributed.worker.profile.enabled": False,  # looks at what points do a hundred times a second
            "distributed.scheduler.work-stealing": False,  # `take` does that
            "distributed.scheduler.active-memory-manager.start": False,  # results are small, none stays
            # Looks at itself less often: points take a second, not milliseconds.
            "distributed.admin.tick.interval": "1s",
            "distributed.admin.system-monitor.interval": "5s",
            "distributed.worker.memory.monitor-interval": "1s",
            # Dask has freed memory given back at once, only for the next point to ask for it again. With a
            # threshold of its own glibc no longer raises that for maps; a thread's arena has one, too.
            "distributed.nanny.pre-spawn-environ.MALLOC_TRIM_THRESHOLD_": 128 * 2**20,
            "distributed.nanny.pre-spawn-environ.MALLOC_MMAP_THRESHOLD_": 32 * 2**20,
            "distributed.nanny.pre-spawn-environ.MALLOC_ARENA_MAX": 1,
        }
        with contextlib.ExitStack() as stack:
            stack.enter_context(dask.config.set(settings))
            if self.address == "local":
                cluster = stack.enter_context(
                    distributed.LocalCluster(
                        n_workers=self.workers, threads_per_worker=1, dashboard_address=None, silence_logs=50
                    )
                )
                client = stack.enter_context(distributed.Client(cluster))
            else:
                try:
                    client = stack.enter_context(distributed.Client(self.address, timeout="10s"))
                except (OSError, ValueError, TimeoutError) as problem:
                    raise SweepError(f"no Dask scheduler at {self.address!r}: {problem}") from None
            shared = memo if self.address == "local" else None  # a file of this machine
            yield from self._feed(client, distributed, work, take, (limits, shared))

    def _feed(
        self, client: Any, distributed: Any, work: Work, take: Next, rest: tuple[Limits, str | None]
    ) -> Finished:
        running: dict[Any, tuple[Job, int]] = {}
        done = distributed.as_completed(with_results=False)
        # A lane's worker, while it is there. Those of a cluster come and go, so it places points itself.
        homes = sorted(client.nthreads()) if self.address == "local" else []

        def feed(lane: int) -> None:
            job = take(lane)
            if job is not None:
                home = {"workers": homes[lane % len(homes)], "allow_other_workers": True} if homes else {}
                future = client.submit(perform, work, job, *rest, code_digest(), pure=False, **home)
                running[future] = (job, lane)
                done.add(future)

        threads = max(1, sum(client.nthreads().values()))
        for i in range(threads * AHEAD_FAR):
            feed(i % self.lanes)
        while running:
            future = next(done)
            job, lane = running.pop(future)
            try:
                outcome = future.result()
            except distributed.scheduler.KilledWorker:
                outcome = Outcome(status="lost", error="every worker that ran this point was lost")
            except Exception as problem:
                outcome = Outcome(status="lost", error=f"Dask: {type(problem).__name__}: {problem}")
            future.release()
            feed(lane)
            yield job, outcome
