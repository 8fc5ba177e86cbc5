"""WHEN it happens: executes a plan on a system, segment by segment.

`simulate` is the whole path: model -> traces -> placement and plans -> runs -> Result. With fidelity
"sampled" a segment's time depends on the segment alone, so equal layers and equal decode steps are run
once and reused, exactly; with "step" every layer and token runs on channels that persist.
"""

from __future__ import annotations

import gzip
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import lru_cache
from pathlib import Path

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from pimsim.agents import Runner, Span, sampled_segment
from pimsim.devices.dram.activity import bank_activity
from pimsim.devices.dram.channel import command_log
from pimsim.errors import PlanError
from pimsim.machine import describe
from pimsim.memory import FIDELITIES
from pimsim.methods import Method, load_method
from pimsim.methods.plan import (
    ACCELERATORS,
    Plan,
    chain,
    move,
)
from pimsim.result import OPTIONAL, Result, capacity_bytes, csv_bytes, manifest, table, write_file
from pimsim.reuse import Kept
from pimsim.reuse import reuse as reusing
from pimsim.system import System, load_system
from pimsim.trace.llm import LlmConfig, decode_trace, load_config, prefill_trace
from pimsim.trace.op import Trace
from pimsim.warmup import compile_together

LOG_ROWS = 4_000_000
"""Commands that a log file may hold; a longer run stops with an error that says so."""
ROW_LIMIT = 200_000
"""Spans that a result keeps one by one; of longer decodes each later step is one span."""

Progress = Callable[[float, str], None]


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


def run_plan(system: System, plan: Plan, runner: Runner | None = None, start_ps: int = 0) -> Run:
    """Execute a plan from `start_ps`. With a runner every repetition is stepped on its channels."""
    frames: list[pd.DataFrame] = []
    counters: Counter[tuple[str, str, str]] = Counter()
    traffic = [np.zeros((0, len(OPTIONAL["traffic"])), np.int64)]
    now = start_ps
    for segment in plan.segments:
        layers = [segment.first_layer + i if segment.first_layer >= 0 else -1 for i in range(segment.times)]
        if runner is None:
            once = sampled_segment(system, segment)
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
                sampled_segment(system, replace(segment, tasks=chain(copies))).duration_ps * segment.times
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
        runner = Runner(machine, placement, "step", LOG_ROWS if commands is not None else 0)

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
