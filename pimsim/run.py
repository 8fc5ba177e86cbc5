"""WHEN it happens: executes a plan on a system; the only place that steps the SimPy clock.

`simulate` is the whole path: model -> traces -> placement and plans -> runs -> Result. With fidelity
"sampled" a segment's time depends on the segment alone, so equal layers and equal decode steps are run
once and reused, exactly; with "step" every layer and token runs on channels that persist.
"""

from __future__ import annotations

import gzip
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import simpy
from numpy.typing import NDArray

from pimsim.devices import cpu as host
from pimsim.devices.dram.activity import bank_activity
from pimsim.devices.dram.channel import command_log
from pimsim.devices.dram.stream import Stream
from pimsim.devices.pim.program import Gemv, gemv
from pimsim.errors import PlanError
from pimsim.machine import describe
from pimsim.memory import FIDELITIES, Flow, Memory
from pimsim.methods import Method, load_method
from pimsim.methods.plan import (
    ACCELERATORS,
    Attention,
    Copy,
    Gemm,
    PimGemv,
    Placement,
    Plan,
    Segment,
    Task,
    Vector,
    chain,
    move,
)
from pimsim.result import OPTIONAL, Result, capacity_bytes, csv_bytes, manifest, table, write_file
from pimsim.reuse import Kept
from pimsim.reuse import reuse as reusing
from pimsim.run_engine import copy_streams, cost_of, launch_us, task_streams
from pimsim.system import System, load_system
from pimsim.trace.llm import LlmConfig, decode_trace, load_config, prefill_trace
from pimsim.trace.op import Trace
from pimsim.warmup import compile_together

COPY_PIECE_SLABS = 4
"""Copy threads take their work in pieces of so many slabs (DRAM rows of all banks: 256 KiB each)."""
LOG_ROWS = 4_000_000
"""Commands that a log file may hold; a longer run stops with an error that says so."""
ROW_LIMIT = 200_000
"""Spans that a result keeps one by one; of longer decodes each later step is one span."""

Progress = Callable[[float, str], None]


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
class _Runner:
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
_SEGMENTS: Kept[Segments] = Kept("segment", most=20_000, weigh=lambda made: len(made.spans) + 20)


def _sampled_segment(system: System, segment: Segment) -> Segments:
    """One repetition of a segment, kept by what determines it: system and tasks."""

    def run() -> Segments:
        runner = _Runner(system, None, "sampled")
        runner.run(segment, 0)
        return Segments(
            duration_ps=int(runner.env.now),
            spans=tuple(runner.spans),
            counters=tuple(sorted(runner.counters.items())),
            traffic=tuple(runner.memory.traffic),
        )

    return _SEGMENTS.get((system.key, segment.tasks), run)


@dataclass(frozen=True, kw_only=True)
class Run:
    """An executed plan: duration, spans, counters and traffic (columns as in a Result)."""

    duration_ps: int
    spans: pd.DataFrame
    counters: dict[tuple[str, str, str], float]
    traffic: NDArray[np.int64]


_SPAN_COLUMNS = ("task", "kind", "phase", "layer", "engine", "start_ps", "end_ps")


def _frame(spans: list[Span], phase: str, layers: list[int], starts: list[int]) -> pd.DataFrame:
    """Spans repeated for each (layer, start) as one frame."""
    n, times = len(spans), len(layers)
    layer = np.array([s.layer for s in spans], np.int64)
    here = np.where(layer[None, :] < 0, -1, np.array(layers, np.int64)[:, None]).ravel()
    base = np.repeat(np.array(starts, np.int64), n)
    return pd.DataFrame(
        {
            "task": [s.task for s in spans] * times,
            "kind": [s.kind for s in spans] * times,
            "phase": phase,
            "layer": here,
            "engine": [s.engine for s in spans] * times,
            "start_ps": np.tile(np.array([s.start_ps for s in spans], np.int64), times) + base,
            "end_ps": np.tile(np.array([s.end_ps for s in spans], np.int64), times) + base,
        }
    )


def _repeated(rows: tuple[tuple[int, ...], ...], starts: list[int]) -> NDArray[np.int64]:
    """Rows of traffic, moved to each of the starts."""
    once = np.array(rows, np.int64).reshape(len(rows), len(OPTIONAL["traffic"]))
    moved = np.tile(once, (len(starts), 1))
    moved[:, :2] += np.repeat(np.array(starts, np.int64), len(once))[:, None]
    return moved


def _thinned(rows: NDArray[np.int64], bins: int = 5000) -> NDArray[np.int64]:
    """Traffic of a long run: what begins in the same of `bins` equal times is one row a channel."""
    if len(rows) <= ROW_LIMIT:
        return rows
    width = -(-(int(rows[:, 1].max()) + 1) // bins)
    keys = rows[:, 2] + 1 + (rows[:, 0] // width) * (int(rows[:, 2].max()) + 2)
    order = np.argsort(keys, kind="stable")
    rows, first = rows[order], np.flatnonzero(np.diff(keys[order], prepend=-1))
    made = np.add.reduceat(rows, first)
    made[:, 2] = rows[first, 2]
    made[:, 0], made[:, 6] = np.minimum.reduceat(rows[:, 0], first), np.maximum.reduceat(rows[:, 6], first)
    made[:, 1] = np.maximum.reduceat(rows[:, 1], first)
    return made


def run_plan(system: System, plan: Plan, runner: _Runner | None = None, start_ps: int = 0) -> Run:
    """Execute a plan from `start_ps`. With a runner every repetition is stepped on its channels."""
    frames: list[pd.DataFrame] = []
    counters: Counter[tuple[str, str, str]] = Counter()
    traffic = [np.zeros((0, len(OPTIONAL["traffic"])), np.int64)]
    now = start_ps
    for segment in plan.segments:
        layers = [segment.first_layer + i if segment.first_layer >= 0 else -1 for i in range(segment.times)]
        if runner is None:
            once = _sampled_segment(system, segment)
            starts = [now + i * once.duration_ps for i in range(segment.times)]
            frames.append(_frame(list(once.spans), plan.phase, layers, starts))
            traffic.append(_repeated(once.traffic, starts))
            for key, value in once.counters:
                counters[key] += value * segment.times
            now += once.duration_ps * segment.times
        else:
            for layer in layers:
                runner.spans.clear()
                runner.memory.traffic.clear()
                before = Counter(runner.counters)
                runner.run(segment, layer)
                frames.append(_frame(runner.spans, plan.phase, [layer], [0]))
                traffic.append(_repeated(tuple(runner.memory.traffic), [0]))
                counters.update(runner.counters - before)
            now = int(runner.env.now)
    spans = (
        pd.concat([f for f in frames if len(f)], ignore_index=True)
        if frames
        else pd.DataFrame(columns=_SPAN_COLUMNS)
    )
    return Run(
        duration_ps=now - start_ps, spans=spans, counters=dict(counters), traffic=np.concatenate(traffic)
    )


def _method(method: str | Method) -> Method:
    return method if isinstance(method, Method) else load_method(method)


_DECODES: Kept[Run] = Kept("decode step", most=100_000, weigh=lambda run: len(run.spans) + 200)
_DECODE_PS: Kept[int] = Kept("decode time", most=10_000)


@lru_cache(maxsize=32)
def _decode_trace(config: LlmConfig, context: int, weights: str) -> Trace:
    return decode_trace(config, context, weight_dtype=weights)


def _decode(
    config: LlmConfig, method: str | Method, system: System, context: int, weights: str = "bf16"
) -> Run:
    """One sampled decode step with `context` tokens in the cache, kept by what determines it."""
    plan = _method(method).plan(_decode_trace(config, context, weights), system)
    return _DECODES.get((system.key, plan.segments), lambda: run_plan(system, plan))


def decode_ps(model: str, method: str | Method, context: int, system: System) -> int:
    """Duration of one sampled decode step with `context` tokens in the cache."""
    config = load_config(model)
    key = (config, _method(method), system.key, context)
    return _DECODE_PS.get(key, lambda: _decode(config, method, system, context).duration_ps)


def prefill_run(
    model: str | LlmConfig, method: str | Method, prompt: int, system: System, prefill_on: str = "cpu",
    copies_on_engine: bool = False,
) -> Run:  # fmt: skip
    """The sampled prefill alone: its duration is the time to first token.

    prefill_on: cpu, gpu or npu. copies_on_engine: that engine also makes the copies of a method.
    """
    config = load_config(model) if isinstance(model, str) else model
    plan = _method(method).plan(prefill_trace(config, prompt), system)
    return run_plan(system, plan if prefill_on == "cpu" else move(plan, prefill_on, copies_on_engine))


def copy_only_run(model: str, prompt: int, system: System) -> float:
    """Seconds of all copies of a double-buffered prefill on its copy threads, with nothing beside them."""
    plan = load_method("double-buffering").plan(prefill_trace(load_config(model), prompt), system)
    total = 0
    for segment in plan.segments:
        copies = [
            replace(task, team="copy")
            for task in segment.tasks
            if task.kind == "copy" and task.team != "compute"
        ]
        if copies:
            total += (
                _sampled_segment(system, replace(segment, tasks=chain(copies))).duration_ps * segment.times
            )
    return total * 1e-12


def simulate(
    model: str,
    method: str | Method,
    *,
    prompt: int,
    tokens: int,
    system: str | System = "exynos2400",
    weights: str = "bf16",
    prefill_on: str = "cpu",
    fidelity: str = "sampled",
    commands: Path | None = None,
    progress: Callable[[float, str], None] | None = None,
    reuse: bool = True,
) -> Result:
    """Run a model with a method on a system: prefill of `prompt` tokens, then decode to `tokens` in all.

    model: a shipped name or the path of a Hugging Face config.json. weights: type of the weight matrices
    (activations are BF16 on the host; PIM units multiply integers with INT8 inputs). method: a name or
    a `Method` of your own. prefill_on: cpu, gpu or npu; decode stays where the method has it. The first
    token comes out of the prefill; each further one is a decode step. commands: file for the DRAM command
    log (CSV, .gz by name), for fidelity "step" only. reuse: equal work is done once (see `pimsim.reuse`);
    without it every layer, step and rate is simulated anew, to the same result. Errors are `PimsimError`s
    that name what was given.
    """
    if not reuse:
        with reusing(False):
            return simulate(
                model, method, prompt=prompt, tokens=tokens, system=system, weights=weights,
                fidelity=fidelity, commands=commands, progress=progress, prefill_on=prefill_on,
            )  # fmt: skip
    if prompt < 1 or tokens < 1:
        raise PlanError(f"prompt={prompt}, tokens={tokens}; wanted at least 1 of each")
    if prefill_on not in ("cpu", *ACCELERATORS):
        raise PlanError(f"prefill_on={prefill_on!r}; wanted one of cpu, {', '.join(ACCELERATORS)}")
    if fidelity not in FIDELITIES:
        raise PlanError(f"fidelity {fidelity!r}; wanted one of {', '.join(FIDELITIES)}")
    if commands is not None and fidelity != "step":
        raise PlanError(
            'a command log needs fidelity "step": sampled runs simulate only a part of the commands'
        )
    machine = load_system(system) if isinstance(system, str) else system
    config, how = load_config(model), _method(method)
    compile_together(machine.pim is not None)
    report = progress or (lambda share, text: None)
    trace = prefill_trace(config, prompt, weight_dtype=weights)
    placement = how.place(prefill_trace(config, prompt + tokens - 1, weight_dtype=weights), machine)
    runner = None
    if fidelity == "step":
        runner = _Runner(machine, placement, "step", LOG_ROWS if commands is not None else 0)

    report(0.0, "prefill")
    planned = how.plan(trace, machine)
    first = run_plan(machine, planned if prefill_on == "cpu" else move(planned, prefill_on), runner)
    frames, counters = [first.spans], Counter(first.counters)
    traffic = [first.traffic]
    now = first.duration_ps
    rows = len(first.spans)
    for step in range(tokens - 1):
        report((1 + step) / tokens, f"token {step + 2} of {tokens}")
        if runner is None:
            run = _decode(config, how, machine, prompt + step, weights)
            spans = run.spans.assign(start_ps=run.spans["start_ps"] + now, end_ps=run.spans["end_ps"] + now)
            moved = run.traffic + np.array([now, now, 0, 0, 0, 0, 0])
        else:
            run = run_plan(
                machine, how.plan(_decode_trace(config, prompt + step, weights), machine), runner, now
            )
            spans, moved = run.spans, run.traffic
        rows += len(spans)
        if rows > ROW_LIMIT:
            one = ("decode step", "decode", "", -1, "all", now, now + run.duration_ps)
            spans = pd.DataFrame([one], columns=_SPAN_COLUMNS)
            moved = np.array([[now, now + run.duration_ps, -1, *moved[:, 3:6].sum(axis=0), 0]])
        traffic.append(moved)
        frames.append(spans.assign(phase=f"decode[{step}]"))
        counters.update(run.counters)
        now += run.duration_ps
    report(1.0, "done")

    activity = table("activity", [])
    if commands is not None and runner is not None and runner.memory.bench is not None:
        log = command_log(runner.memory.bench.channels)
        activity = bank_activity(log, machine.dram)
        data = csv_bytes(log)
        write_file(commands, gzip.compress(data, mtime=0) if commands.suffix == ".gz" else data)
    total = now * 1e-12
    seconds = first.duration_ps * 1e-12
    moved = sum(
        value for (component, _, unit), value in counters.items() if component == "dram" and unit == "bytes"
    )
    rates = {
        ("dram", "mean bandwidth of CPU streams", "GB/s"): moved / total / 1e9,
        ("dram", "share of peak of CPU streams", "%"): 100 * moved / total / machine.peak_bytes_per_s,
    }
    capacity = placement.ledger.to_frame()
    summary = {
        "model": config.name,
        "method": how.name,
        "system": machine.name,
        "prompt": prompt,
        "tokens": tokens,
        "ttft_s": seconds,
        "tpot_s": (total - seconds) / (tokens - 1) if tokens > 1 else None,
        "total_s": total,
        "capacity_bytes": capacity_bytes(capacity),
    }
    return Result(
        spans=table("spans", pd.concat(frames, ignore_index=True).itertuples(index=False)),
        counters=table(
            "counters",
            [(c, name, float(v), unit) for (c, name, unit), v in sorted({**counters, **rates}.items())],
        ),
        capacity=capacity,
        summary=summary,
        traffic=table("traffic", _thinned(np.concatenate(traffic)).tolist()),
        activity=activity,
        manifest=manifest(
            parts={"system": machine},
            trace_digest=trace.digest(),
            settings={
                "fidelity": fidelity,
                "prompt": prompt,
                "tokens": tokens,
                "method": how.name,
                "weights": weights,
                "prefill_on": prefill_on,
            },
        )
        | {"machine": describe(machine)},
    )
