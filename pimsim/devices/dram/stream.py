"""Streams: how an agent talks to memory. A stream is a value; `Bench` runs streams on channels.

A stream repeats its phases; each phase issues bursts along an affine pattern and, if it waits, ends
when the last has come back. `sustained` gives the steady rate of streams that run together, measured
on the command-accurate channels; `Bench` runs the same streams step by step on channels that persist.
"""

from __future__ import annotations

import json
from dataclasses import dataclass, replace
from functools import lru_cache

import numpy as np
from numpy.typing import NDArray

from pimsim.devices.dram import drive as d
from pimsim.devices.dram import engine as e
from pimsim.devices.dram import skip as repeating
from pimsim.devices.dram.channel import Controller, build, lookup_tables
from pimsim.devices.rules import PREA, command_counts
from pimsim.devices.spec import Clocks, DramGeometry, DramSpec, PimSpec
from pimsim.errors import SpecError
from pimsim.placement.mapping import AddressMapping
from pimsim.reuse import kept

ALIGNMENTS, WARM_UP_REFRESHES, MEASURED_REFRESHES = 8, 1, 6
"""A steady rate is the mean over so many relative positions of the streams, each measured over some
refresh intervals after the first few: threads drift against each other, and which banks they meet in
decides how often a row is closed under them."""
CANONICAL_STRIDE = 64 * 2**20
"""Streams whose rate is measured walk data this far apart."""
MAX_STREAMS = 24


@dataclass(frozen=True, kw_only=True)
class Phase:
    """One step of a stream's loop.

    write: direction. bursts: bursts an iteration. wait: the next phase starts when the last burst is back.
    mapping: which of the system's address mappings applies (0: host, 1: PIM-aware).
    loops: (count, stride in bytes) of the address pattern, innermost first, at most `drive.MAX_LOOPS`.
    think_ns: core time after the phase.
    lag_bytes: the phase walks where the phase before it walked so many bytes earlier (write-backs); its
      base address is then not asked for.
    """

    write: bool = False
    bursts: int
    wait: bool = True
    mapping: int = 0
    loops: tuple[tuple[int, int], ...]
    think_ns: float = 0.0
    lag_bytes: int = 0


@dataclass(frozen=True, kw_only=True)
class Stream:
    """What one thread asks of memory.

    kind: for counters and spans. bursts: bursts of the first phase in all (others in proportion).
    window: bursts in flight. gap_ps: least time between two bursts (the core's own pace).
    path_ns: time of an access outside the channel, both ways.
    piece: streams of one kind walk the same data, this many iterations apart (0: data of their own).
    """

    kind: str
    phases: tuple[Phase, ...]
    bursts: int
    window: int
    gap_ps: float
    path_ns: float
    piece: int = 0

    def __post_init__(self) -> None:
        if not 1 <= len(self.phases) <= d.MAX_PHASES:
            raise SpecError(f"stream {self.kind}: {len(self.phases)} phases; wanted 1 to {d.MAX_PHASES}")
        if not 1 <= self.window < d.RING:
            raise SpecError(f"stream {self.kind}: window={self.window}; wanted 1 to {d.RING - 1} bursts")
        for phase in self.phases:
            if len(phase.loops) > d.MAX_LOOPS or phase.bursts < 1:
                raise SpecError(
                    f"stream {self.kind}: phase {phase} needs bursts and at most {d.MAX_LOOPS} loops"
                )

    def shape(self) -> Stream:
        """The same stream without its length: what its rate depends on."""
        return replace(self, bursts=0)

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
        s = self.spec
        numbers = (s.name, s.tck_fs, s.geometry, *s.timings.values(), *s.latencies_ck.values())
        return hash((numbers, self.controller, self.channels, self.mappings))


@lru_cache(maxsize=16)
def _tables(mappings: tuple[AddressMapping, ...], geometry: DramGeometry) -> NDArray[np.int64]:
    return lookup_tables(list(mappings), geometry)


@lru_cache(maxsize=4)
def _fresh(config: MemoryConfig) -> e.Channels:
    """Channels as `build` gives them, to be copied: nothing may run on these."""
    return build(config.spec, config.controller, config.channels, config.pim)


class Bench:
    """Streams and PIM programs on channels that persist; time in channel clocks.

    skip: whether traffic that repeats is skipped, with the same result (see `skip.py`); never with a log.
    skipped: clocks that were.
    """

    def __init__(self, config: MemoryConfig, log_rows: int = 0, skip: bool = True) -> None:
        self.config = config
        if log_rows:
            self.channels = build(config.spec, config.controller, config.channels, config.pim, log_rows)
        else:
            self.channels = e.Channels._make(array.copy() for array in _fresh(config))
        self.requesters = d.make_requesters(MAX_STREAMS, _tables(config.mappings, config.spec.geometry))
        self.wake = np.zeros(config.channels, np.int64)
        self.clock = 0
        self.skipped = 0
        self._shifts = repeating.shifts_of(self.requesters.lut) if skip and not log_rows else None
        self._free = list(range(MAX_STREAMS))
        self._running: list[int] = []

    def start(self, stream: Stream, bases: tuple[int, ...], stretch: int = 1, offset: int = 0) -> int:
        """Start a stream now; bases: first byte address of each phase without a lag. Returns its number.

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
        g.place[a] = 0
        g.loops[a] = (1, 0)
        given = iter(bases)
        base = 0
        for p, phase in enumerate(stream.phases):
            base = base - phase.lag_bytes if phase.lag_bytes else next(given)
            think = -(-round(phase.think_ns * 1e6) // tck)
            g.phase[a, p] = (phase.write, phase.bursts, phase.wait, think, phase.mapping, 0)
            for level, (count, stride) in enumerate(phase.loops):
                g.loops[a, p, level] = (count, stride)
            g.left[a, p] = stream.bursts * phase.bursts // stream.phases[0].bursts
            g.address[a, p] = base
            done = offset * phase.bursts
            for level, (count, stride) in enumerate(phase.loops):
                g.place[a, p, level] = done % count
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
        state = self.channels, self.requesters, self.wake, running, self.clock, until
        if self._shifts is None:
            reached = d.advance(*state)
        else:
            reached, skipped = repeating.advance(*state, self._shifts)
            self.skipped += skipped
        if reached < 0:
            if self._running or self._waiting():
                raise SpecError(
                    f"clock {self.clock}: no command can issue any more; streams {self._running} are stuck"
                )
            reached = until  # nothing is left to do, refresh included
        self.clock = int(reached)
        if self.channels.cfg[e.C_LOG] and self.channels.log_used[0] > len(self.channels.log):
            raise SpecError(
                f"the command log is full after {len(self.channels.log)} commands (clock {self.clock}); "
                "log a smaller model or a shorter prompt"
            )
        ended = {}
        for a in list(self._running):
            if self.requesters.state[a, d.S_END] >= 0:
                ended[a] = int(self.requesters.state[a, d.S_END])
                self._running.remove(a)
                self._free.append(a)
        return ended

    def _waiting(self) -> bool:
        """Whether a channel still has requests, refreshes or a half-issued command."""
        s = self.channels.scalar
        held = s[:, [e.X_READS, e.X_WRITES, e.X_OPENED, e.X_MAINT_LEN]]
        return bool((held != 0).any() or (s[:, [e.X_CAS_SLOT, e.X_OWED_BANK]] >= 0).any())

    def drain(self) -> None:
        """Run until no request waits in any channel."""
        while self._waiting():
            self.advance(self.clock + 64)

    def _close_rows(self, c: int) -> int:
        """Precharge every rank of channel `c` that has an open row; returns the first clock after that."""
        clock = self.clock
        for rank, rows in enumerate(self.channels.open_row[c].reshape(self.config.spec.geometry.ranks, -1)):
            if (rows >= 0).any():
                clock = max(clock, int(e.earliest(self.channels, c, PREA, rank, -1)))
                e.put(self.channels, c, clock, PREA, rank, -1, -1, -1)
                clock += 1
        return clock

    def run_program(self, program: NDArray[np.int64], window: int, path: int, fence: int) -> int:
        """Run a PIM program on every channel from now on; returns the last clock. Streams must have ended.

        Rows that they left open are closed first.
        """
        if self._running:
            raise SpecError("a PIM program needs the channels alone: streams are still running")
        if self.config.controller.refresh == "per_bank":
            raise SpecError("PIM programs need all-bank or no refresh: the controller refreshes bank by bank")
        self.drain()
        lost = np.zeros(6, np.int64)
        end = max(
            int(d.run_program(self.channels, c, program, self._close_rows(c), window, path, fence, lost))
            for c in range(self.config.channels)
        )
        self.clock = end
        self.wake[:] = end
        return end


@dataclass(frozen=True, kw_only=True)
class Streamed:
    """What a stream did.

    cycles: clocks until its last burst came back. counts: commands by name, all channels.
    row_hits: data commands that found their row open. skipped: clocks that were not stepped through.
    """

    cycles: int
    counts: dict[str, int]
    row_hits: int
    skipped: int


def run_stream(
    spec: DramSpec, controller: Controller, mapping: AddressMapping, stream: Stream, skip: bool = True
) -> Streamed:
    """Run one stream from address 0 on the channels of the mapping, alone, until its last burst is back.

    Writes that wait for nothing may still be in the queues then.
    """
    channels = mapping.counts.get("channel", 1)
    config = MemoryConfig(spec=spec, controller=controller, channels=channels, mappings=(mapping,))
    bench = Bench(config, skip=skip)
    number = bench.start(stream, (0,) * len(stream.phases))
    cycles = bench.advance(e.NEVER)[number]
    counts = bench.channels.counts.sum(axis=0)
    return Streamed(
        cycles=cycles,
        counts=command_counts(counts),
        row_hits=int(bench.channels.scalar[:, e.X_ROW_HITS].sum()),
        skipped=bench.skipped,
    )


def _bases(
    streams: tuple[tuple[Stream, int], ...], k: int, alignment: int, burst_bytes: int
) -> tuple[tuple[int, ...], int]:
    """Base addresses and offset at which stream `k` starts when rates are measured.

    Streams of one kind that share a walk start `piece` iterations apart. Positions in the walk, the first
    stream's too, and relative positions are spread evenly and without repetition by multiples of the golden
    ratio: a rate must not be that of the beginning of a walk.
    """
    stream = streams[k][0]
    mates = [i for i in range(k) if stream.piece and streams[i][0].kind == stream.kind]
    first = mates[0] if mates else k
    bases = []
    for p in range(len(stream.phases)):
        spread = int((alignment + 1) * (first * d.MAX_PHASES + p + 1) * 0.618034 * 4096) % 4096
        bases.append((first * d.MAX_PHASES + p) * CANONICAL_STRIDE + spread * 2 * burst_bytes)
    drift = int((alignment + 1) * (len(mates) + 1) * 0.618034 * 1024) % 1024 if stream.piece else 0
    return tuple(bases), len(mates) * stream.piece + drift


@kept(most=512, to_text=json.dumps, from_text=lambda text: tuple(json.loads(text)))
def _sustained(config: MemoryConfig, streams: tuple[tuple[Stream, int], ...]) -> tuple[float, ...]:
    spec = config.spec
    interval = Clocks(spec).REFI
    period_ps = MEASURED_REFRESHES * interval * spec.tck_fs / 1000
    counts = np.zeros((ALIGNMENTS, len(streams)), np.int64)
    for alignment in range(ALIGNMENTS):
        bench = Bench(config)
        numbers = []
        for k, (stream, stretch) in enumerate(streams):
            bases, offset = _bases(streams, k, alignment, spec.geometry.burst_bytes)
            numbers.append(bench.start(replace(stream, bursts=1 << 44), bases, stretch, offset=offset))
        bench.advance(WARM_UP_REFRESHES * interval)
        before = np.array([bench.issued(a) for a in numbers])
        bench.advance((WARM_UP_REFRESHES + MEASURED_REFRESHES) * interval)
        counts[alignment] = [bench.issued(a) for a in numbers] - before
    rates = []
    for (stream, stretch), count in zip(streams, counts.sum(axis=0), strict=True):
        measured = float(count) / (period_ps * ALIGNMENTS)
        own = 1 / (stream.gap_ps * stretch) if stream.gap_ps > 0 else float("inf")
        at_own_pace = len(stream.phases) == 1 and own * period_ps * ALIGNMENTS <= count + 1.5 * ALIGNMENTS
        rates.append(own if at_own_pace else measured)  # its own pace is known exactly
    return tuple(rates)


def sustained(config: MemoryConfig, streams: list[tuple[Stream, int]]) -> list[float]:
    """Steady rates of streams that run together, in bursts of the first phase a picosecond.

    streams: (stream, threads that share its core). The rates are measured on command-accurate channels
    (see `ALIGNMENTS`); they depend on nothing that ran before, and not on the PIM units, whose rules tie
    only commands of theirs to others.
    """
    config = replace(config, pim=None)
    shapes = [(stream.shape(), stretch) for stream, stretch in streams]
    order = sorted(range(len(shapes)), key=lambda i: repr(shapes[i]))
    rates = _sustained(config, tuple(shapes[i] for i in order))
    back = dict(zip(order, rates, strict=True))
    return [back[i] for i in range(len(shapes))]
