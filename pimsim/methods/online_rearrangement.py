"""Online weight rearrangement (OWR): copy a matrix, join, run its GEMM. One buffer; no copy is hidden.

Every core copies; the group of copy threads and the group of GEMM threads are created and joined anew
for each matrix, as PIM-SHERPA describes.
"""

from __future__ import annotations

from dataclasses import replace

from pimsim.methods import common
from pimsim.methods.double_buffering import copy_of
from pimsim.methods.plan import Gemm, Method, Placement, Plan, Segment, Task, chain, fold
from pimsim.system import System
from pimsim.trace.op import Trace


def place(trace: Trace, system: System) -> Placement:
    """All weights once in PIM, and one buffer."""
    return common.place(trace, system, host_copy=False, pim_copy=True, buffers=1)


def plan(trace: Trace, system: System) -> Plan:
    """Prefill with a copy before each GEMM; decode in PIM."""
    parts = common.split_layers(trace)
    segments = [Segment(name="begin", tasks=chain(common.pim_task(op, trace, system) for op in parts.before))]
    for i, ops in enumerate(parts.layers):
        tasks: list[Task] = []
        for task in (common.pim_task(op, trace, system) for op in ops):
            if isinstance(task.work, Gemm):
                copy = Task(
                    name=f"copy {task.name}",
                    kind="copy",
                    team="all",
                    work=(copy_of(task),),
                    fresh_threads=True,
                )
                tasks += [copy, replace(task, fresh_threads=True)]
            else:
                tasks.append(task)
        segments.append(Segment(name="layer", tasks=chain(tasks), first_layer=i))
    segments.append(
        Segment(name="end", tasks=chain(common.pim_task(op, trace, system) for op in parts.after))
    )
    return Plan(phase=common.phase_of(trace), segments=fold(segments))


METHOD = Method(
    name="online-rearrangement",
    doc="OWR: swizzled copy of each matrix before its GEMM, one buffer",
    place=place,
    plan=plan,
)
