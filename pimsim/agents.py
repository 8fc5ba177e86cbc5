"""The agents of a run: threads on cores, the driver of PIM units and accelerators.

They carry out the tasks of a segment. Each is a SimPy process on one clock; they wait for each other's tasks
and share cores and memory. `run.py` puts segments together to plans and whole runs.
"""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field, replace
from typing import Any

import simpy

from pimsim.devices import cpu as host
from pimsim.devices.dram.stream import Stream
from pimsim.devices.pim.program import Gemv, gemv
from pimsim.errors import PlanError
from pimsim.memory import Flow, Memory
from pimsim.methods.plan import (
    ACCELERATORS,
    Attention,
    Copy,
    Gemm,
    PimGemv,
    Placement,
    Segment,
    Task,
    Vector,
)
from pimsim.reuse import Kept
from pimsim.run_engine import copy_streams, cost_of, launch_us, task_streams
from pimsim.system import System

COPY_PIECE_SLABS = 4
"""Copy threads take their work in pieces of so many slabs (DRAM rows of all banks: 256 KiB each)."""


@dataclass(frozen=True, kw_only=True)
class Span:
    """One activity of one engine. layer: offset from the segment's first layer, -1 for none."""

    task: str
    kind: str
    layer: int
    engine: str
    start_ps: int
    end_ps: int


@dataclass(frozen=True, kw_only=True)
class Segments:
    """What running a segment gave: its duration, spans and traffic from its start, counted quantities."""

    duration_ps: int
    spans: tuple[Span, ...]
    counters: tuple[tuple[tuple[str, str, str], int], ...]
    traffic: tuple[tuple[int, ...], ...] = ()


class _Core:
    """Threads on one core share it equally, as a fair scheduler does."""

    def __init__(self, memory: Memory) -> None:
        self.memory = memory
        self.flows: list[Flow] = []

    def enter(self, flow: Flow) -> None:
        self.flows.append(flow)
        self._share()

    def leave(self, flow: Flow) -> None:
        self.flows.remove(flow)
        self._share()

    def _share(self) -> None:
        for flow in self.flows:
            self.memory.set_stretch(flow, len(self.flows))


@dataclass(eq=False)
class Runner:
    """Runs segments on one SimPy environment."""

    system: System
    placement: Placement | None
    fidelity: str
    log_rows: int = 0
    env: simpy.Environment = field(default_factory=simpy.Environment)
    spans: list[Span] = field(default_factory=list)
    counters: Counter[tuple[str, str, str]] = field(default_factory=Counter)

    def __post_init__(self) -> None:
        self.memory = Memory(self.env, self.system, self.fidelity, self.log_rows)
        self.core = [_Core(self.memory) for _ in self.system.cpu.cores]
        self.new_work = self.env.event()  # for GEMM threads that poll for it
        self.burst = self.system.dram.geometry.burst_bytes

    def run(self, segment: Segment, layer: int) -> None:
        """Run one repetition of a segment from now to its end."""
        done: dict[str, simpy.Event] = {}
        for task in segment.tasks:
            done[task.name] = self.env.process(self._task(task, [done[name] for name in task.after], layer))
        if done:
            self.env.run(until=self.env.all_of(list(done.values())))

    def _task(self, task: Task, after: list[simpy.Event], layer: int) -> Any:
        if after:
            yield self.env.all_of(after)
        cpu, work = self.system.cpu, task.work
        if task.team == "pim":
            yield from self._pim(task, layer)
            return
        if task.team in ACCELERATORS:
            yield from self._accelerator(task, layer)
            return
        numbers = self._team(task.team)
        cost = cpu.create_us * len(numbers) if task.fresh_threads else cpu.wake_us * (len(numbers) > 1)
        if not isinstance(work, tuple):  # copies are the method's own threads, not operators of the runtime
            cost += cpu.dispatch_us
        if cost:
            begin = int(self.env.now)
            yield self.env.timeout(round(cost * 1e6))
            self._span(task.name, "threads", layer, f"{task.team}:t0@{cpu.cores[numbers[0]].name}", begin)
        if isinstance(work, tuple):
            pieces, n = self._pieces(work), len(numbers)
            alone = self.system.threads.copy_split == "static"
            shares = [pieces[i::n] for i in range(n)] if alone else [pieces] * n
            threads = [self._copy_thread(task, layer, i, core, shares[i]) for i, core in enumerate(numbers)]
        else:
            if task.team == "compute":
                self.new_work.succeed()
                self.new_work = self.env.event()
            threads = [
                self._thread(task, layer, i, core, demand)
                for i, (core, demand) in enumerate(zip(numbers, self._demands(task, numbers), strict=True))
            ]
        yield self.env.all_of([self.env.process(thread) for thread in threads])

    def _team(self, team: str) -> tuple[int, ...]:
        if team == "one":
            return self.system.compute_cores[:1]
        return {
            "compute": self.system.compute_cores,
            "copy": self.system.copy_cores,
            "all": self.system.all_cores,
        }[team]

    def _demands(self, task: Task, numbers: tuple[int, ...]) -> list[Stream | int]:
        """What each thread of a task needs: a stream, or core time in picoseconds."""
        cpu, work, cores = self.system.cpu, task.work, self.system.cores(numbers)
        if isinstance(work, Gemm):
            return list(
                host.gemm_streams(cpu, cores, work.m, work.n, work.k, work.bits, self.burst, work.cacheable)
            )
        if isinstance(work, Attention):
            if work.tokens == 1:
                return list(host.read_streams(cpu, cores, work.kv_bytes, work.flops, self.burst, "kv"))
            return [host.attention_ps(cpu, core, work.flops, len(cores)) for core in cores]
        if isinstance(work, Vector):
            return [host.vector_ps(core, work.bytes, work.flops, len(cores)) for core in cores]
        raise PlanError(f"task {task.name}: no CPU thread can do {type(work).__name__}")

    def _thread(self, task: Task, layer: int, i: int, core: int, demand: Stream | int) -> Any:
        begin = int(self.env.now)
        if isinstance(demand, Stream):
            flow = self.memory.start(demand, self._bases(task, layer, i))
            self._count_stream(demand)
        else:
            flow = self.memory.compute(demand)
        self.core[core].enter(flow)
        yield flow.done
        self.core[core].leave(flow)
        if task.team == "compute" and self.system.threads.spin_us:
            self.env.process(self._spin(core))
        self._span(task.name, task.kind, layer, self._engine(task.team, i, core), begin)

    def _spin(self, core: int) -> Any:
        """A thread without work keeps its core busy until there is work for its team, or it gives up."""
        flow = self.memory.compute(round(self.system.threads.spin_us * 1e6))
        self.core[core].enter(flow)
        yield self.env.any_of([flow.done, self.new_work])
        self.memory.stop(flow)
        self.core[core].leave(flow)

    def _copy_thread(
        self, task: Task, layer: int, i: int, core: int, pieces: list[tuple[Copy, int, int]]
    ) -> Any:
        """Take pieces (matrix, first slab, last slab) until none is left."""
        if task.team == "copy" and self.system.threads.copy_wait_us:
            yield self.env.timeout(round(self.system.threads.copy_wait_us * 1e6))
        begin = int(self.env.now)
        moved = 0
        while pieces:
            copy, first, last = pieces.pop(0)
            stream, bases, offset = self._copy_stream(copy, core, first, last, layer)
            flow = self.memory.start(stream, bases, offset=offset)
            self._count_stream(stream)
            self.core[core].enter(flow)
            yield flow.done
            self.core[core].leave(flow)
            moved += 1
        if moved:
            self._span(task.name, "copy", layer, self._engine(task.team, i, core), begin)

    def _pieces(self, copies: tuple[Copy, ...]) -> list[tuple[Copy, int, int]]:
        """Copies cut into pieces of whole slabs; a slab holds one column chunk of one tile of the matrix."""
        pieces = []
        layout = self.system.layout
        for copy in copies:
            chunks = layout.chunks(copy.k, copy.bits)
            slabs = layout.tiles(copy.n) * chunks
            first, last = slabs * copy.first // copy.pieces, slabs * copy.last // copy.pieces
            step = COPY_PIECE_SLABS
            pieces += [(copy, at, min(last, at + step)) for at in range(first, last, step)]
        return pieces

    def _copy_stream(
        self, copy: Copy, core: int, first: int, last: int, layer: int
    ) -> tuple[Stream, tuple[int, ...], int]:
        """The stream that copies slabs first..last of a matrix, its base addresses, its place in the walk."""
        layout = self.system.layout
        stream = host.swizzled_copy(
            self.system.cpu, self.system.cpu.cores[core], layout, copy.n, copy.k, copy.bits, first, last,
            apart=COPY_PIECE_SLABS,
        )  # fmt: skip
        if self.placement is None:
            return stream, (), 0
        row = self.placement.pim_rows[copy.weight.format(layer + copy.ahead)]
        buffers = self._buffers()
        dest = buffers[copy.ahead % len(buffers)] if buffers else 0
        lag = stream.phases[-1].lag_bytes
        if dest - lag < sum(r.size_bytes for r in self.placement.regions if r.name == "pim weights"):
            # What is evicted is never a weight in PIM: take cacheable memory on the other side instead.
            stream = replace(stream, phases=(*stream.phases[:-1], replace(stream.phases[-1], lag_bytes=-lag)))
        return stream, (row * host.slab_bytes(layout), dest), first * min(copy.n, layout.tile_rows)

    def _bases(self, task: Task, layer: int, i: int) -> tuple[int, ...]:
        """First address that thread `i` of a task reads, for stepped runs."""
        if self.placement is None:
            return ()
        work = task.work
        if isinstance(work, Gemm):
            name = work.weight.format(layer)
            buffers = self._buffers()
            here = [p.base for p in self.placement.placed if p.item == name]
            base = (
                here[0]
                if here
                else buffers[-1]
                if buffers
                else self.placement.pim_rows.get(name, 0) * host.slab_bytes(self.system.layout)
            )
            return (
                base + work.n * work.k * work.bits // 8 // max(1, len(self._team(task.team))) * i // 64 * 64,
            )
        if isinstance(work, Attention):
            return (self.placement.address("kv") + work.kv_bytes // 8 * i // 64 * 64,)
        return (0,)

    def _buffers(self) -> list[int]:
        """First addresses of the buffers that copies fill, in order."""
        assert self.placement is not None
        return [p.base for p in self.placement.placed if p.item.startswith("buffer")]

    def _pim(self, task: Task, layer: int) -> Any:
        work, system = task.work, self.system
        if not isinstance(work, PimGemv) or system.pim is None:
            raise PlanError(f"task {task.name}: {type(work).__name__} cannot run in PIM")
        base = self.placement.pim_rows[work.weight.format(layer)] if self.placement is not None else 0
        shape = (work.n, work.k, work.dtype, work.pad_rows_to)
        begin = int(self.env.now)
        yield self.env.timeout(round((system.cpu.dispatch_us + system.cpu.wake_us) * 1e6))
        time_ps, counts = self.memory.program(
            shape, lambda: _compiled(system, *shape, base), system.host_drive
        )
        yield self.env.timeout(time_ps)
        for command, count in counts.items():
            self.counters["pim", f"{command} commands", "commands a channel"] += count
        self.counters["pim", "weight bytes multiplied", "bytes"] += (
            work.n * work.k * _bits(system, work.dtype) // 8
        )
        self._span(task.name, task.kind, layer, "pim:all banks", begin)

    def _accelerator(self, task: Task, layer: int) -> Any:
        """A task on the GPU or NPU: its launch, then its streams beside its arithmetic."""
        if self.fidelity == "step":
            raise PlanError(f'task {task.name}: tasks on a {task.team} need fidelity "sampled"')
        begin = int(self.env.now)
        yield self.env.timeout(round(launch_us(self.system, task.team) * 1e6))
        if isinstance(task.work, tuple):
            streams, rest = copy_streams(self.system, task.team, task.work), 0
        else:
            cost = cost_of(self.system, task)
            streams, rest = task_streams(self.system, task.team, cost), cost.time_ps - cost.launch_ps
        flows = [self.memory.start(stream) for stream in streams] or [self.memory.compute(rest)]
        for stream in streams:
            self._count_stream(stream)
        yield self.env.all_of([flow.done for flow in flows])
        self._span(task.name, task.kind, layer, task.team, begin)

    def _count_stream(self, stream: Stream) -> None:
        read, written = stream.bytes_moved(self.burst)
        self.counters["dram", f"{stream.kind} bytes read", "bytes"] += read
        if written:
            self.counters["dram", f"{stream.kind} bytes written", "bytes"] += written

    def _engine(self, team: str, i: int, core: int) -> str:
        return f"{team}:t{i}@{self.system.cpu.cores[core].name}"

    def _span(self, task: str, kind: str, layer: int, engine: str, begin: int) -> None:
        self.spans.append(
            Span(task=task, kind=kind, layer=layer, engine=engine, start_ps=begin, end_ps=int(self.env.now))
        )


def _bits(system: System, dtype: str) -> int:
    return system.pim.weight_dtypes[dtype] if system.pim is not None else 16


def _compiled(system: System, n: int, k: int, dtype: str, pad: int, base: int) -> Gemv:
    """The compiled GEMV, kept: layers use the same one."""
    pim, layout, fences = system.pim, system.layout, system.fence_ns is not None
    assert pim is not None
    return _GEMVS.get(
        (repr(pim), layout, fences, n, k, dtype, pad, base),
        lambda: gemv(pim, layout, n, k, dtype, base_row=base, pad_rows_to=pad, fences=fences),
    )


_GEMVS: Kept[Gemv] = Kept("gemv", most=64 * 2**20, weigh=lambda made: made.commands.nbytes + made.data.nbytes)
SEGMENTS: Kept[Segments] = Kept("segment", most=20_000, weigh=lambda made: len(made.spans) + 20)


def sampled_segment(system: System, segment: Segment) -> Segments:
    """One repetition of a segment, kept by what determines it: system and tasks."""

    def run() -> Segments:
        runner = Runner(system, None, "sampled")
        runner.run(segment, 0)
        return Segments(
            duration_ps=int(runner.env.now),
            spans=tuple(runner.spans),
            counters=tuple(sorted(runner.counters.items())),
            traffic=tuple(runner.memory.traffic),
        )

    return SEGMENTS.get((system.key, segment.tasks), run)
