"""A plan's tasks on a GPU or NPU: launch, then streams that share the channels with everybody else's.

A task's arithmetic sets the pace of its streams, so the task takes the longer of both, and copy threads
beside it slow it down and are slowed down by it. What a systolic NPU waits for inside a layer is part of
that pace.
"""

from __future__ import annotations

from dataclasses import replace

from pimsim.devices import AcceleratorSpec
from pimsim.devices.dram.stream import Stream
from pimsim.engines import Cost, Work, price
from pimsim.engines.cost import Operand
from pimsim.engines.rates import streams
from pimsim.engines.systolic import LAUNCH_US
from pimsim.errors import PlanError
from pimsim.methods.plan import Attention, Copy, Gemm, Task, Vector
from pimsim.system import System

VALUE_BYTES = 2
"""Activations of a prefill have 16 bits."""
HEAD_DIM = 64
"""Depth of the products that attention is priced as; only its arithmetic counts."""


def work_of_task(task: Task) -> Work:
    """The work of a task of a plan (not of copies)."""
    work = task.work
    if isinstance(work, Gemm):
        return Work(
            kind="matmul",
            flops=2 * work.m * work.n * work.k,
            reads=(
                Operand(bytes=work.m * work.k * VALUE_BYTES, kept=True),
                Operand(bytes=work.n * work.k * work.bits // 8, kept=False),
            ),
            writes=(Operand(bytes=work.m * work.n * VALUE_BYTES, kept=True),),
            dtype="bf16",
            weight_dtype={16: "bf16", 8: "int8", 4: "int4"}[work.bits],
            products=((work.m, work.n, work.k, 1),),
        )
    if isinstance(work, Attention):
        keys = max(1, work.flops // (2 * max(1, work.tokens) * HEAD_DIM))
        return Work(
            kind="attention",
            flops=work.flops,
            reads=(Operand(bytes=work.kv_bytes, kept=False),),
            writes=(),
            dtype="bf16",
            products=((work.tokens, keys, HEAD_DIM, 1),),
        )
    if isinstance(work, Vector):
        half = Operand(bytes=work.bytes // 2, kept=True)
        return Work(
            kind="elementwise",
            flops=work.flops,
            reads=(half,),
            writes=(half,),
            dtype="bf16",
            elements=max(1, work.bytes // (2 * VALUE_BYTES)),
        )
    raise PlanError(f"task {task.name}: a {task.team} cannot do {type(work).__name__}")


def cost_of(system: System, task: Task) -> Cost:
    """The cost of a task on the engine that it names."""
    cost = price(system, task.team, work_of_task(task))
    if cost is None:
        raise PlanError(f"task {task.name}: the {task.team} of {system.name} has no products of its type")
    return cost


def task_streams(system: System, team: str, cost: Cost) -> list[Stream]:
    """The streams of a task beside which its arithmetic runs; none if all its data are on chip."""
    burst = system.dram.geometry.burst_bytes
    asked = [stream for stream, _ in streams(system, team, "read")]
    bursts = (cost.read_bytes + cost.written_bytes) // burst // len(asked)
    if bursts < 1:
        return []
    pace = cost.time_ps - cost.launch_ps if cost.time_ps - cost.launch_ps > cost.memory_ps else 0
    return [replace(s, kind="gemm", bursts=bursts, gap_ps=round(pace / bursts, 2)) for s in asked]


def copy_streams(system: System, team: str, copies: tuple[Copy, ...]) -> list[Stream]:
    """The streams of a swizzled copy by an accelerator."""
    burst = system.dram.geometry.burst_bytes
    asked = [stream for stream, _ in streams(system, team, "relayout")]
    bursts = max(1, sum(copy.bytes for copy in copies) // burst // len(asked))
    return [replace(s, kind="copy", bursts=bursts) for s in asked]


def launch_us(system: System, team: str) -> float:
    """The runtime's time before a task on an engine."""
    spec = system.gpu if team == "gpu" else system.npu
    if spec is None:
        raise PlanError(f"system {system.name} has no {team}")
    return spec.launch_us if isinstance(spec, AcceleratorSpec) else LAUNCH_US
