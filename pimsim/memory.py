"""Memory as a SimPy agent: threads start flows on it, and it tells each when its flow has ended.

A flow is a stream or plain core time. With fidelity "sampled" each set of flows that run together
advances at the steady rates that the command-accurate channels give for it; with "step" every command
of every flow is simulated on channels that persist. The agent sleeps until the next event that anyone
else has scheduled, or until the first flow ends: SimPy sees a handful of events where the channels see
millions of commands.
"""

from __future__ import annotations

import json
import math
from collections.abc import Callable
from dataclasses import asdict, dataclass, field
from typing import Any

import numpy as np
import simpy

from pimsim.devices.dram.stream import Bench, Stream, sustained
from pimsim.devices.pim.program import Gemv, HostDrive, ProgramTime, host_clocks, time_program
from pimsim.devices.rules import CODE, READS, WRITES, command_counts
from pimsim.errors import PlanError, suggest
from pimsim.reuse import Kept
from pimsim.system import System

FIDELITIES = ("sampled", "step")


@dataclass(eq=False)
class Flow:
    """One thread's current activity.

    left: bursts of a stream, or picoseconds of core time. number, ends: of a stepped stream, its place
    in the bench and the clock of its end once that is known.
    """

    stream: Stream | None
    left: float
    done: simpy.Event
    stretch: int = 1
    number: int = -1
    ends: int = -1


@dataclass(eq=False)
class Memory:
    """The channels of a system inside a SimPy environment.

    traffic: what crossed the pins of the DRAM, rows of the table of that name of a result.
    """

    env: simpy.Environment
    system: System
    fidelity: str = "sampled"
    log_rows: int = 0
    bench: Bench | None = None
    flows: list[Flow] = field(default_factory=list)
    traffic: list[tuple[int, ...]] = field(default_factory=list)
    _idle: simpy.Event | None = None

    def __post_init__(self) -> None:
        if self.fidelity not in FIDELITIES:
            raise PlanError(f"fidelity {self.fidelity!r}{suggest(self.fidelity, FIDELITIES)}")
        self.tck_fs = self.system.dram.tck_fs
        if self.fidelity == "step":
            self.bench = Bench(self.system.memory, self.log_rows)
        self.env.process(self._serve())

    # Times: the SimPy clock counts picoseconds, the channels whole clocks from the same zero.
    def _clock(self, time_ps: int) -> int:
        return -(-time_ps * 1000 // self.tck_fs)

    def _time(self, clock: int) -> int:
        return -(-clock * self.tck_fs // 1000)

    def start(self, stream: Stream, bases: tuple[int, ...] = (), stretch: int = 1, offset: int = 0) -> Flow:
        """Start a stream; bases: first address of each phase and offset into it (used by "step")."""
        flow = Flow(stream=stream, left=float(stream.bursts), done=self.env.event(), stretch=stretch)
        if self.bench is not None:
            self._catch_up(self._clock(int(self.env.now)))
            flow.number = self.bench.start(stream, bases or (0,) * len(stream.phases), stretch, offset)
        return self._add(flow)

    def compute(self, time_ps: int, stretch: int = 1) -> Flow:
        """Start plain core time."""
        return self._add(Flow(stream=None, left=float(time_ps), done=self.env.event(), stretch=stretch))

    def stop(self, flow: Flow) -> None:
        """End plain core time now, wherever it stands."""
        if flow in self.flows:
            self.flows.remove(flow)

    def set_stretch(self, flow: Flow, factor: int) -> None:
        """The core of this flow is now shared by `factor` threads."""
        flow.stretch = factor
        if self.bench is not None and flow.stream is not None:
            self.bench.stretch(flow.number, factor)

    def program(
        self, shape: tuple[int, int, str, int], gemv: Callable[[], Gemv], host: HostDrive
    ) -> tuple[int, dict[str, int]]:
        """(picoseconds, commands of one channel) of a PIM program that starts now, alone on the channels.

        shape: n, k, type and padded rows of the product; gemv: compiles it, only called if it must run.
        """
        if any(flow.stream is not None for flow in self.flows):
            raise PlanError(
                "a PIM operation was started while threads use memory: the mode change stops them"
            )
        if self.bench is None:
            timed = _program_time(self.system, shape, gemv, host)
            time_ps = round(timed.clocks * self.tck_fs / 1000)
            self._record_program(shape, int(self.env.now), time_ps, timed.counts)
            return time_ps, timed.counts
        self._catch_up(self._clock(int(self.env.now)))
        before = self.bench.channels.counts[0].copy()
        end = self.bench.run_program(gemv().commands, *host_clocks(self.system.dram, host))
        counts = command_counts(self.bench.channels.counts[0] - before)
        time_ps = self._time(end) - int(self.env.now)
        self._record_program(shape, int(self.env.now), time_ps, counts)
        return time_ps, counts

    def _record_program(
        self, shape: tuple[int, int, str, int], now: int, time_ps: int, counts: dict[str, int]
    ) -> None:
        """Registers written, results read and weights multiplied in the banks; the channels do the same."""
        n, k, dtype, _ = shape
        burst = self.system.dram.geometry.burst_bytes * self.system.channels
        bits = self.system.pim.weight_dtypes[dtype] if self.system.pim is not None else 0
        read, written = counts.get("RDRES", 0) * burst, counts.get("WRREG", 0) * burst
        self.traffic.append((now, now + time_ps, -1, read, written, n * k * bits // 8, 0))

    def _outstanding(self) -> int:
        return sum(flow.stream.window for flow in self.flows if flow.stream is not None)

    def _add(self, flow: Flow) -> Flow:
        self.flows.append(flow)
        if self._idle is not None and not self._idle.triggered:
            self._idle.succeed()
        return flow

    def _catch_up(self, clock: int) -> None:
        """Bring idle channels to `clock` (their refreshes included)."""
        assert self.bench is not None
        if not self.bench._running and self.bench.clock < clock:
            self.bench.advance(clock)

    def _serve(self) -> Any:
        while True:
            if not self.flows:
                self._idle = self.env.event()
                yield self._idle
                continue
            now, horizon = int(self.env.now), self.env.peek()
            if horizon <= now:
                yield self.env.timeout(0)
                continue
            flows = list(self.flows)
            until, ended = self._advance(now, horizon)
            yield self.env.timeout(until - now)
            for flow in flows:
                if flow in ended and flow in self.flows:
                    self.flows.remove(flow)
                    flow.done.succeed()

    def _advance(self, now: int, horizon: float) -> tuple[int, list[Flow]]:
        """Advance all flows from `now` to the first end, but not past `horizon`."""
        if self.bench is not None:
            return self._advance_stepped(now, horizon)
        streams = [f for f in self.flows if f.stream is not None]
        rates: dict[int, float] = {}
        if streams:
            measured = sustained(self.system.memory, [(f.stream, f.stretch) for f in streams if f.stream])
            rates = {id(f): rate for f, rate in zip(streams, measured, strict=True)}
        pace = [rates.get(id(f), 1 / f.stretch) for f in self.flows]
        first = min(math.ceil(f.left / rate - 1e-9) for f, rate in zip(self.flows, pace, strict=True))
        until = now + max(1, first) if now + max(1, first) < horizon else int(horizon)
        if streams:
            moved = np.zeros(2)
            for f in streams:
                assert f.stream is not None
                share = min(f.left, rates[id(f)] * (until - now)) / f.stream.bursts
                moved += share * np.array(f.stream.bytes_moved(self.system.dram.geometry.burst_bytes))
            read, written = (round(value) for value in moved)
            self.traffic.append((now, until, -1, read, written, 0, self._outstanding()))
        ended = []
        for f, rate in zip(self.flows, pace, strict=True):
            f.left -= rate * (until - now)
            if f.left <= 1e-6:
                ended.append(f)
        return until, ended

    def _advance_stepped(self, now: int, horizon: float) -> tuple[int, list[Flow]]:
        assert self.bench is not None
        plain = [f for f in self.flows if f.stream is None]
        running = {f.number: f for f in self.flows if f.stream is not None and f.ends < 0}
        limit = min([horizon, *(now + math.ceil(f.left * f.stretch) for f in plain)])
        limit = min([limit, *(max(now, self._time(f.ends)) for f in self.flows if f.ends >= 0)])
        until = limit
        if running:
            before = self.bench.channels.counts.copy()
            stop = self._clock(int(limit)) if limit < math.inf else 1 << 60
            for number, clock in self.bench.advance(max(stop, self.bench.clock)).items():
                running[number].ends = clock
            until = min(limit, max(now, self._time(self.bench.clock)))
            used = (self.bench.channels.counts - before) * self.system.dram.geometry.burst_bytes
            reads, writes = (used[:, [CODE[name] for name in names]].sum(axis=1) for names in (READS, WRITES))
            for c in np.flatnonzero(reads + writes):
                row = (now, int(until), int(c), int(reads[c]), int(writes[c]), 0, self._outstanding())
                self.traffic.append(row)
        until = int(until)
        ended = []
        for f in self.flows:
            if f.stream is None:
                f.left -= (until - now) / f.stretch
                if f.left <= 1e-6:
                    ended.append(f)
            elif f.ends >= 0 and self._time(f.ends) <= until:
                ended.append(f)
        return until, ended


_PROGRAMS: Kept[ProgramTime] = Kept(
    "program time",
    most=256,
    to_text=lambda timed: json.dumps(asdict(timed)),
    from_text=lambda text: ProgramTime(**json.loads(text)),
)


def _program_time(
    system: System, shape: tuple[int, int, str, int], gemv: Callable[[], Gemv], host: HostDrive
) -> ProgramTime:
    """Time of a program from a fresh channel, kept by what determines it."""
    dram, pim, controller = system.dram, system.pim, system.controller
    assert pim is not None
    key = (repr((dram, pim, controller, system.layout, system.fence_ns is not None)), host, shape)
    return _PROGRAMS.get(key, lambda: time_program(dram, pim, controller, gemv().commands, host))
