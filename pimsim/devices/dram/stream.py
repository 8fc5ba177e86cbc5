"""Streams: how an agent talks to memory. A stream is a value; `Bench` runs streams on channels.

A stream repeats its phases; each phase issues bursts along an affine pattern and, if it waits, ends
when the last has come back. `sustained` gives the steady rate of streams that run together, measured
on the command-accurate channels; `Bench` runs the same streams step by step on channels that persist.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache

import numpy as np
from numpy.typing import NDArray

from pimsim.devices.dram import drive as d
from pimsim.devices.dram import engine as e
from pimsim.devices.dram.channel import Controller, build, lookup_tables
from pimsim.devices.spec import Clocks, DramSpec, PimSpec
from pimsim.errors import SpecError
from pimsim.placement.mapping import AddressMapping

WARM_UP_REFRESHES, MEASURED_REFRESHES = 2, 24
"""A steady rate is measured over this many refresh intervals after the first few (about 100 us)."""
CANONICAL_STRIDE = 64 * 2**20 + 3 * 4096
"""Streams whose rate is measured start this far apart: neighbours fall on different rows and banks."""
MAX_STREAMS = 24


@dataclass(frozen=True, kw_only=True)
class Phase:
    """One step of a stream's loop.

    write: direction. bursts: bursts an iteration. wait: the next phase starts when the last burst is back.
    mapping: which of the system's address mappings applies (0: host, 1: PIM-aware).
    loops: (count, stride in bytes) of the address pattern, innermost first, at most `drive.MAX_LOOPS`.
    think_ns: core time after the phase.
    """

    write: bool = False
    bursts: int
    wait: bool = True
    mapping: int = 0
    loops: tuple[tuple[int, int], ...]
    think_ns: float = 0.0


@dataclass(frozen=True, kw_only=True)
class Stream:
    """What one thread asks of memory.

    kind: for counters and spans. bursts: bursts of the first phase in all (others in proportion).
    window: bursts in flight. gap_ps: least time between two bursts (the core's own pace).
    path_ns: time of an access outside the channel, both ways.
    """

    kind: str
    phases: tuple[Phase, ...]
    bursts: int
    window: int
    gap_ps: float
    path_ns: float

    def __post_init__(self) -> None:
        if not 1 <= len(self.phases) <= d.MAX_PHASES:
            raise SpecError(f"stream {self.kind}: {len(self.phases)} phases; wanted 1 to {d.MAX_PHASES}")
        if not 1 <= self.window < d.RING:
            raise SpecError(f"stream {self.kind}: window={self.window}; wanted 1 to {d.RING - 1} bursts")
        for phase in self.phases:
            if len(phase.loops) > d.MAX_LOOPS or phase.bursts < 1:
                raise SpecError(f"stream {self.kind}: phase {phase} needs bursts and at most {d.MAX_LOOPS} loops")

    def shape(self) -> Stream:
        """The same stream without its length: what its rate depends on."""
        return Stream(
            kind=self.kind, phases=self.phases, bursts=0, window=self.window, gap_ps=self.gap_ps, path_ns=self.path_ns
        )

    def bytes_moved(self, burst_bytes: int) -> tuple[int, int]:
        """(read, written) bytes of the whole stream."""
        moved = [0, 0]
        for phase in self.phases:
            moved[phase.write] += self.bursts * phase.bursts // self.phases[0].bursts * burst_bytes
        return moved[0], moved[1]


@dataclass(frozen=True, kw_only=True)
class MemoryConfig:
    """Everything that a rate depends on besides the streams."""

    spec: DramSpec
    controller: Controller
    channels: int
    mappings: tuple[AddressMapping, ...]
    pim: PimSpec | None = None

    def __hash__(self) -> int:
        return hash((self.spec.name, self.controller, self.channels, tuple(map(str, self.mappings))))


@lru_cache(maxsize=8)
def _tables(config: MemoryConfig) -> NDArray[np.int64]:
    return lookup_tables(list(config.mappings), config.spec)


class Bench:
    """Streams and PIM programs on channels that persist; time in channel clocks."""

    def __init__(self, config: MemoryConfig, log_rows: int = 0) -> None:
        self.config = config
        self.channels = build(config.spec, config.controller, config.channels, config.pim, log_rows)
        self.requesters = d.make_requesters(MAX_STREAMS, _tables(config))
        self.wake = np.zeros(config.channels, np.int64)
        self.clock = 0
        self._free = list(range(MAX_STREAMS))
        self._running: list[int] = []

    def start(self, stream: Stream, bases: tuple[int, ...], stretch: int = 1, offset: int = 0) -> int:
        """Start a stream now; bases: first byte address of each phase. Returns its number.

        offset: iterations of the patterns that lie before this stream (a piece of a longer walk).
        """
        if not self._free:
            raise SpecError(f"{MAX_STREAMS} streams run already; stream {stream.kind} finds no place")
        a = self._free.pop(0)
        g, tck = self.requesters, self.config.spec.tck_fs
        g.par[a] = (
            stream.window,
            round(stream.gap_ps * 1000 * d.TICKS / tck),
            -(-round(stream.path_ns * 1e6) // tck),
            len(stream.phases),
            stretch,
        )
        g.index[a] = 0
        g.loops[a] = (1, 0)
        for p, phase in enumerate(stream.phases):
            think = -(-round(phase.think_ns * 1e6) // tck)
            g.phase[a, p] = (phase.write, phase.bursts, phase.wait, think, phase.mapping, 0)
            for level, (count, stride) in enumerate(phase.loops):
                g.loops[a, p, level] = (count, stride)
            g.left[a, p] = stream.bursts * phase.bursts // stream.phases[0].bursts
            g.address[a, p] = bases[p]
            done = offset * phase.bursts
            for level, (count, stride) in enumerate(phase.loops):
                g.index[a, p, level] = done % count
                g.address[a, p] += done % count * stride
                done //= count
        st = g.state
        st[a] = 0
        st[a, d.S_NEXT] = self.clock * d.TICKS
        st[a, d.S_START] = st[a, d.S_RESUME] = st[a, d.S_WHEN] = self.clock
        st[a, d.S_BLOCKED] = -1
        st[a, d.S_END] = -1
        self._running.append(a)
        return a

    def stretch(self, number: int, factor: int) -> None:
        """From now on the stream's core is shared by `factor` threads."""
        self.requesters.par[number, d.P_STRETCH] = factor

    def issued(self, number: int) -> int:
        """Bursts of the first phase that the stream has issued."""
        return int(self.requesters.state[number, d.S_COUNT])

    def advance(self, until: int) -> dict[int, int]:
        """Run to clock `until`, or to the first clock at which a stream ends: {number: its last clock}."""
        running = np.array(self._running, np.int64)
        reached = d.advance(self.channels, self.requesters, self.wake, running, self.clock, until)
        if reached < 0:
            raise SpecError(f"clock {self.clock}: no command can issue any more; streams {self._running} are stuck")
        self.clock = int(reached)
        ended = {}
        for a in list(self._running):
            if self.requesters.state[a, d.S_END] >= 0:
                ended[a] = int(self.requesters.state[a, d.S_END])
                self._running.remove(a)
                self._free.append(a)
        return ended

    def drain(self) -> None:
        """Run until no request waits in any channel."""
        s = self.channels.scalar
        while (s[:, [e.X_READS, e.X_WRITES, e.X_ACTIVE, e.X_MAINT_LEN]] > 0).any() or (s[:, e.X_CAS_SLOT] >= 0).any():
            self.advance(self.clock + 64)

    def run_program(self, program: NDArray[np.int64], window: int, path: int, fence: int) -> int:
        """Run a PIM program on every channel from now on; returns the last clock. Streams must have ended."""
        if self._running:
            raise SpecError("a PIM program needs the channels alone: streams are still running")
        self.drain()
        lost = np.zeros(6, np.int64)
        end = max(
            int(d.run_program(self.channels, c, program, self.clock, window, path, fence, lost))
            for c in range(self.config.channels)
        )
        self.clock = end
        self.wake[:] = end
        return end


@lru_cache(maxsize=4096)
def _sustained(config: MemoryConfig, streams: tuple[tuple[Stream, int], ...]) -> tuple[float, ...]:
    bench = Bench(config)
    spec = config.spec
    numbers = []
    for k, (stream, stretch) in enumerate(streams):
        endless = Stream(
            kind=stream.kind,
            phases=stream.phases,
            bursts=1 << 44,
            window=stream.window,
            gap_ps=stream.gap_ps,
            path_ns=stream.path_ns,
        )
        bases = tuple((len(stream.phases) * k + p) * CANONICAL_STRIDE for p in range(len(stream.phases)))
        numbers.append(bench.start(endless, bases, stretch))
    interval = Clocks(spec).REFI
    bench.advance(WARM_UP_REFRESHES * interval)
    before = [bench.issued(a) for a in numbers]
    begin = bench.clock
    bench.advance(begin + MEASURED_REFRESHES * interval)
    clocks = bench.clock - begin
    rates = []
    for (stream, stretch), a, n in zip(streams, numbers, before, strict=True):
        count = bench.issued(a) - n
        measured = count / (clocks * spec.tck_fs / 1000)
        own = 1 / (stream.gap_ps * stretch) if stream.gap_ps > 0 else float("inf")
        alone = len(stream.phases) == 1 and own * (clocks * spec.tck_fs / 1000) <= count + 1.5
        rates.append(own if alone else measured)  # its own pace is known exactly
    return tuple(rates)


def sustained(config: MemoryConfig, streams: list[tuple[Stream, int]]) -> list[float]:
    """Steady rates of streams that run together, in bursts of the first phase a picosecond.

    streams: (stream, threads that share its core). The rates are those of `MEASURED_REFRESHES` refresh
    intervals on command-accurate channels; they depend on nothing that ran before.
    """
    shapes = [(stream.shape(), stretch) for stream, stretch in streams]
    order = sorted(range(len(shapes)), key=lambda i: repr(shapes[i]))
    rates = _sustained(config, tuple(shapes[i] for i in order))
    back = {i: rate for i, rate in zip(order, rates, strict=True)}
    return [back[i] for i in range(len(shapes))]
