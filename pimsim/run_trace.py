"""Any operator trace on any system: where each operator runs, how long it takes, what it waits for.

    run = run_trace(trace, load_system("jetson-orin"), "gpu")
    run.time_s, run.bound, run.operators

Operators run one after the other in program order, each on one engine; the engine's arithmetic overlaps with
its own traffic and with nothing else. Memory is the weights, the KV cache and the largest sum of tensors that
are alive at once: a tensor lives from the operator that writes it to the last one that reads it. A trace that
does not fit is still timed, as if the memory were larger, and its bound is `capacity`.

Nothing here knows where a trace came from: a language model, a shape table, a training step and an imported
graph are the same. Of what a producer may add, `meta["views"]` (tensor -> the tensor whose memory it shows)
and the attribute `gradient` of a convolution are read.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any

import pandas as pd

from pimsim.engines import Cost, Work, fastest, work_of
from pimsim.engines.pim import weight_dtype
from pimsim.errors import PlanError
from pimsim.result import Result, capacity_bytes, manifest, table
from pimsim.system import System
from pimsim.trace.op import Operator, Trace

OPERATORS = {
    "operator": str, "kind": str, "phase": str, "layer": int, "engine": str, "start_us": float,
    "time_us": float, "dispatch_us": float, "compute_us": float, "memory_us": float, "bound": str,
    "flops": int, "dram_read_bytes": int, "dram_written_bytes": int,
}  # fmt: skip
"""Columns of the table of operators."""
BOUNDS = ("compute", "bandwidth", "dispatch")
PS = 1e-12

Progress = Callable[[float, str], None]


@dataclass(frozen=True, kw_only=True)
class TraceRun:
    """What a trace did on a system.

    operators: one row an operator (or batch of equal, independent ones), columns `OPERATORS`.
    memory: region -> bytes: weights, kv, activations (the peak).
    """

    trace: Trace
    system: System
    engine: str
    operators: pd.DataFrame
    memory: dict[str, int]

    @property
    def time_s(self) -> float:
        return float(self.operators["time_us"].sum()) * 1e-6

    @property
    def memory_bytes(self) -> int:
        return sum(self.memory.values())

    @property
    def fits(self) -> bool:
        return self.memory_bytes <= self.system.capacity_bytes

    @cached_property
    def shares(self) -> dict[str, float]:
        """Bound of operators -> share of the time that these operators take."""
        total = float(self.operators["time_us"].sum())
        sums = self.operators.groupby("bound")["time_us"].sum()
        return {name: float(sums.get(name, 0.0) / total) if total else 0.0 for name in BOUNDS}

    @property
    def bound(self) -> str:
        """`capacity` where it does not fit; else what the operators with most of the time are bound by."""
        return max(BOUNDS, key=lambda name: self.shares[name]) if self.fits else "capacity"

    def summary(self) -> dict[str, Any]:
        """The figures as plain values, units in the names."""
        frame = self.operators
        engines = frame.groupby("engine", sort=True)["time_us"].sum()
        return {
            "workload": self.trace.name,
            "system": self.system.name,
            "engine": self.engine,
            "time_s": self.time_s,
            "bound": self.bound,
            "fits": self.fits,
            "share_of_time_by_bound": self.shares,
            "time_by_engine_s": {str(name): float(us) * 1e-6 for name, us in engines.items()},
            "operators": len(self.trace.operators),
            "flops": int(frame["flops"].sum()),
            "dram_read_bytes": int(frame["dram_read_bytes"].sum()),
            "dram_written_bytes": int(frame["dram_written_bytes"].sum()),
            "memory_bytes": {**self.memory, "total": self.memory_bytes},
            "capacity_bytes": self.system.capacity_bytes,
        }

    def result(self) -> Result:
        """As a result, which can be saved and drawn. A trace has no tokens: `tokens` is 1, and its time
        stands as the time to it."""
        frame = self.operators
        ends = [round(us * 1e6) for us in frame["time_us"].cumsum().tolist()]
        named = frame[["operator", "kind", "phase", "layer", "engine"]].to_numpy().tolist()
        rows = [(*row, begin, end) for row, begin, end in zip(named, [0, *ends[:-1]], ends, strict=True)]
        held = [
            (region, "cacheable", region, {"kv": "kv", "activations": "activation"}.get(region, "weights"), n)
            for region, n in self.memory.items()
        ]
        capacity = table("capacity", held)
        said = self.summary()
        counters = [
            (str(name), f"{what} bytes", float(part[f"dram_{what}_bytes"].sum()), "bytes")
            for name, part in self.operators.groupby("engine", sort=True)
            for what in ("read", "written")
        ]
        summary = {
            "model": self.trace.name,
            "method": f"engine {self.engine}",
            "system": self.system.name,
            "prompt": 1,
            "tokens": 1,
            "ttft_s": self.time_s,
            "tpot_s": None,
            "total_s": self.time_s,
            "capacity_bytes": capacity_bytes(capacity),
        }
        return Result(
            spans=table("spans", rows),
            counters=table("counters", counters),
            capacity=capacity,
            summary=summary | {"workload": said},
            manifest=manifest(
                parts={"system": self.system},
                trace_digest=self.trace.digest(),
                settings={"engine": self.engine},
            ),
        )


def run_trace(
    trace: Trace, system: System, engine: str = "auto", progress: Progress | None = None
) -> TraceRun:
    """Run a trace on one engine of a system, or each operator on the fastest one ("auto").

    An operator that the engine cannot do (a norm in PIM, a product of 32 bits on an NPU of 16) runs on the
    CPU, and the table says so. PlanError for an engine that the system does not have.
    """
    if not trace.operators:
        raise PlanError(f"trace {trace.name!r} has no operators to run")
    report = progress or (lambda share, text: None)
    views: Mapping[str, str] = trace.meta.get("views") or {}
    batches = _batches(trace)
    known: dict[Work, Cost] = {}
    rows, now = [], 0
    for i, (op, work, count) in enumerate(batches):
        if work not in known:
            report(i / len(batches), op.name)
            known[work] = fastest(system, engine, work)
        cost = known[work]
        rows.append(
            (
                op.name if count == 1 else f"{op.name} (x {count})",
                op.kind,
                op.phase,
                -1 if op.layer is None else op.layer,
                cost.engine,
                now * 1e-6,
                cost.time_ps * 1e-6,
                cost.launch_ps * 1e-6,
                cost.compute_ps * 1e-6,
                cost.memory_ps * 1e-6,
                cost.bound,
                work.flops,
                cost.read_bytes,
                cost.written_bytes,
            )
        )
        now += cost.time_ps
    report(1.0, "done")
    frame = pd.DataFrame(rows, columns=list(OPERATORS)).astype({"layer": "int64"})
    in_pim = {
        name
        for row, (op, _, _) in zip(rows, batches, strict=True)
        if row[4] == "pim"
        for name in op.inputs[1:2]
    }
    return TraceRun(
        trace=trace,
        system=system,
        engine=engine,
        operators=frame,
        memory=memory_of(trace, views, _padding(trace, system, in_pim)),
    )


def _padding(trace: Trace, system: System, names: set[str]) -> int:
    """Bytes by which matrices grow in PIM: whole tiles of rows, whole chunks of columns."""
    grown = 0
    for name in sorted(names):
        tensor = trace.tensor(name)
        dtype = weight_dtype(system, tensor.dtype)
        assert system.pim is not None
        assert dtype is not None
        n, k = tensor.shape
        grown += system.layout.padded_bytes(n, k, system.pim.weight_dtypes[dtype]) - tensor.bytes
    return grown


def memory_of(trace: Trace, views: Mapping[str, str], padding_bytes: int = 0) -> dict[str, int]:
    """Bytes by region: weights (with their padding in PIM), kv, and the peak of everything else.

    A tensor that nobody writes (an input) lives from the start to its last use, an output to the end.
    """
    owner = {t.name: _owner(t.name, views) for t in trace.tensors}
    first: dict[str, int] = {}
    last: dict[str, int] = {}
    for at, op in enumerate(trace.operators):
        for name in (*op.inputs, *op.outputs):
            last[owner[name]] = at
        for name in op.outputs:
            first.setdefault(owner[name], at)
    change = [0] * (len(trace.operators) + 1)
    for t in trace.tensors:
        if owner[t.name] != t.name or t.role in ("weight", "kv"):
            continue
        start = first.get(t.name, 0)
        end = len(trace.operators) - 1 if t.role == "output" else last.get(t.name, start)
        change[start] += t.bytes
        change[end + 1] -= t.bytes
    alive = peak = 0
    for step in change:
        alive += step
        peak = max(peak, alive)
    weights = sum(t.bytes for t in trace.tensors if t.role == "weight" and owner[t.name] == t.name)
    kv = sum(t.bytes for t in trace.tensors if t.role == "kv" and owner[t.name] == t.name)
    return {"weights": weights + padding_bytes, "kv": kv, "activations": peak}


def _owner(name: str, views: Mapping[str, str]) -> str:
    """The tensor whose memory a tensor shows; a view of a view is followed, a circle is refused."""
    seen = {name}
    while name in views:
        name = str(views[name])
        if name in seen:
            raise PlanError(f"views of {name!r} go in a circle")
        seen.add(name)
    return name


def _batches(trace: Trace) -> list[tuple[Operator, Work, int]]:
    """The operators in order; equal attentions side by side (windows, sequences) that do not read each
    other's results are one batch with one launch."""
    out: list[tuple[Operator, Work, int]] = []
    single: Work | None = None
    made: set[str] = set()
    kept: dict[object, Work] = {}
    for op in trace.operators:
        key = (
            op.kind,
            op.attrs,
            tuple((t.shape, t.dtype, t.role) for t in map(trace.tensor, (*op.inputs, *op.outputs))),
        )
        if len(set(op.inputs)) < len(op.inputs) or len(set(op.outputs)) < len(op.outputs):
            key = (*key, op.inputs, op.outputs)  # type: ignore[assignment]
        work = kept.get(key) or kept.setdefault(key, work_of(op, trace))
        if out and op.kind == "attention" and work == single and not made.intersection(op.inputs):
            head, _, count = out[-1]
            out[-1] = (head, _times(work, count + 1), count + 1)
            made.update(op.outputs)
            continue
        single, made = work, set(op.outputs)
        out.append((op, work, 1))
    return out


def _times(work: Work, count: int) -> Work:
    """So many of the same work as one."""
    return replace(
        work,
        flops=work.flops * count,
        elements=work.elements * count,
        products=tuple((m, n, k, groups * count) for m, n, k, groups in work.products),
        reads=tuple(replace(each, bytes=each.bytes * count) for each in work.reads),
        writes=tuple(replace(each, bytes=each.bytes * count) for each in work.writes),
    )
