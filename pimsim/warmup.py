"""First contact: with nothing compiled, two processes compile the inner loops at once.

A run needs the loops of the memory streams, of the PIM programs and of the caches. Compiling them one after
the other is most of the first run, so a child process compiles some and this one the rest; then this process
loads the child's from the cache on disk. Where that cannot help (one core, no cache to write, a worker of a
sweep) or the child fails, every function is compiled when it is first called, as always.
"""

from __future__ import annotations

import contextlib
import multiprocessing
import os
import subprocess
import sys
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Any

import numpy as np

from pimsim import compiled
from pimsim.devices.cache import simulate
from pimsim.devices.cache.kernel import run as run_caches
from pimsim.devices.dram.snapshot import make_memory, search, take
from pimsim.devices.dram.stream import Bench, Phase, Stream
from pimsim.devices.pim import machine
from pimsim.devices.pim.program import gemv, time_program
from pimsim.system import load_system


def _streams() -> None:
    """One clock of a stream long enough to be looked at for what repeats."""
    bench = Bench(load_system("exynos2400").memory)
    phase = Phase(bursts=1 << 30, loops=((1 << 40, 64),))
    bench.start(Stream(kind="any", phases=(phase,), bursts=1 << 40, window=8, gap_ps=0, path_ns=0), (0,))
    bench.advance(1)


def _looks() -> None:
    """What a stream's search for repetitions writes down; the search comes to it late."""
    bench = Bench(load_system("exynos2400").memory)
    none, walks = np.zeros(1, np.int64), np.ones((1, 1, 1), np.int64)
    memory = make_memory(1, 1)
    compiled.compile_for(take, bench.channels, bench.requesters, bench.wake, none, 0, 0, walks, memory)


def _programs() -> None:
    """The smallest product in memory."""
    system = load_system("exynos2400")
    assert system.pim is not None
    program = gemv(system.pim, system.layout, 1, 1, "int8")
    time_program(system.dram, system.pim, system.controller, program.commands, system.host_drive)


def _caches() -> None:
    """Three loads, with a log, as the number of fetches of a weight is counted."""
    core = load_system("exynos2400").cpu.cores[0]
    simulate((core.l1, core.l2), np.arange(3), False, np.ones(3, bool), log=True)


WORK: dict[str, tuple[Callable[..., Any], Callable[[], None]]] = {
    "streams": (search, _streams),
    "looks": (take, _looks),
    "caches": (run_caches, _caches),
    "programs": (machine._run, _programs),
}
"""Loops that are compiled together: the function that takes them all in, and the least work that needs it.
Streams and programs share the DRAM engine, so programs come last: what streams have made by then is there."""


_PROGRAM = """
import sys
sys.path.append(sys.argv[1])
from pimsim.warmup import WORK
for name in sys.argv[2:]:
    WORK[name][1]()
"""
"""What a child does: the folder of the package and names in `WORK` are its arguments."""


def cores() -> int:
    """Cores that this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def missing() -> list[str]:
    """Names in `WORK` that neither this process nor the cache on disk has, but that can be put there."""
    return [
        name
        for name, (function, _) in WORK.items()
        if not getattr(function, "signatures", ()) and compiled.is_kept(function) is False
    ]


def compile_together(pim: bool = True) -> None:
    """Compile what is missing in two processes, if there is enough of it and room for two; see above.

    pim: whether programs will run, too.
    """
    alone = multiprocessing.parent_process() is not None or cores() < 2 or not sys.executable
    wanted = [] if alone else [name for name in missing() if pim or name != "programs"]
    if "streams" not in wanted or len(wanted) < 2:
        return
    compiled.announce(processes=2)
    with _child(name for name in wanted if name != "streams"):
        _streams()  # takes about as long as all the others


@contextlib.contextmanager
def _child(names: Iterable[str]) -> Iterator[None]:
    """A process that compiles these meanwhile and ends before this does; what it says is nobody's concern."""
    # -P: what lies in the folder at hand is nobody's library
    words = [sys.executable, "-P", "-c", _PROGRAM, str(Path(__file__).parents[1]), *names]
    silent: dict[str, Any] = dict.fromkeys(("stdin", "stdout", "stderr"), subprocess.DEVNULL)
    try:
        child = subprocess.Popen(words, **silent)
    except OSError:  # no process to be had
        yield
        return
    try:
        yield
        child.wait()
    finally:
        child.kill()
        child.wait()
