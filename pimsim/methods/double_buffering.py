"""DRAM double buffering (DDB): copy the next matrix while the GEMM of the current one runs.

One PIM-aware, non-cacheable copy of the weights and two cacheable buffers, each as large as the largest
matrix of a layer. Copy threads undo the swizzle of the coming matrices while the compute threads work;
every stage ends with one synchronisation, then the buffers swap. The schedule of PIM-SHERPA: Q, K, V and
O share a buffer; the first feed-forward matrix is cut in as many pieces as there are matrices in that
group, one copied during each; each later one is copied during the one before it; the next layer's
attention matrices during the last. The copy threads fill the very first buffer, too (which threads do is not
published: estimate). Nothing is copied during norms, attention and activations, which are memory-bound
themselves.
"""

from __future__ import annotations

from dataclasses import replace
from itertools import pairwise

from pimsim.errors import PlanError
from pimsim.methods import common
from pimsim.methods.plan import Copy, Gemm, Method, Placement, Plan, Segment, Task, chain, fold
from pimsim.system import System
from pimsim.trace.op import Operator, Trace

ATTENTION_GROUP = ("q_proj", "k_proj", "v_proj", "o_proj")


def place(trace: Trace, system: System) -> Placement:
    """All weights once in PIM, and two buffers."""
    return common.place(trace, system, host_copy=False, pim_copy=True, buffers=2)


def copy_of(task: Task, **part: int) -> Copy:
    """The copy of the matrix that a GEMM task multiplies with, or of a part of it."""
    if not isinstance(task.work, Gemm):
        raise PlanError(f"task {task.name} has no weight matrix to copy")
    work = task.work
    return Copy(n=work.n, k=work.k, bits=work.bits, weight=work.weight, **part)


def plan(trace: Trace, system: System) -> Plan:
    """Prefill with overlapped copies; decode in PIM."""
    parts = common.split_layers(trace)
    if not any(_is_gemm(op, trace) for ops in parts.layers for op in ops):
        return common.plan_in_order(
            trace, lambda op: common.pim_task(op, trace, system), common.phase_of(trace)
        )
    layers = [[common.pim_task(op, trace, system) for op in ops] for ops in parts.layers]
    segments = [Segment(name="begin", tasks=chain(common.pim_task(op, trace, system) for op in parts.before))]
    group = [copy_of(task) for task in layers[0] if task.name in ATTENTION_GROUP]
    fill = Task(name="copy attention weights", kind="copy", team="copy", work=tuple(group))
    segments.append(Segment(name="fill first buffer", tasks=(fill,), first_layer=0))
    for i, tasks in enumerate(layers):
        following = [
            copy_of(t, ahead=1) for later in layers[i + 1 : i + 2] for t in later if t.name in ATTENTION_GROUP
        ]
        segments.append(Segment(name="layer", tasks=_overlap(tasks, following), first_layer=i))
    segments.append(
        Segment(name="end", tasks=chain(common.pim_task(op, trace, system) for op in parts.after))
    )
    return Plan(phase=common.phase_of(trace), segments=fold(segments))


def _is_gemm(op: Operator, trace: Trace) -> bool:
    return common.weight_of(op, trace) is not None and trace.matmul_shape(op)[0] > 1


def _overlap(tasks: list[Task], following: list[Copy]) -> tuple[Task, ...]:
    """Put beside each GEMM the copy that the schedule gives it."""
    gemms = [t for t in tasks if isinstance(t.work, Gemm)]
    attention = [t for t in gemms if t.name in ATTENTION_GROUP]
    forward = [t for t in gemms if t.name not in ATTENTION_GROUP]
    beside: dict[str, tuple[str, tuple[Copy, ...]]] = {}  # GEMM -> what is copied meanwhile
    for i, task in enumerate(attention):
        part = copy_of(forward[0], first=i, last=i + 1, pieces=len(attention))
        beside[task.name] = (f"{forward[0].name} {i + 1} of {len(attention)}", (part,))
    for task, coming in pairwise(forward):
        beside[task.name] = (coming.name, (copy_of(coming),))
    if following:
        beside[forward[-1].name] = ("next attention", tuple(following))
    out: list[Task] = []
    ready: tuple[str, ...] = ()
    for task in tasks:
        out.append(replace(task, after=ready))
        done = [task.name]
        if task.name in beside:
            what, copies = beside[task.name]
            out.append(Task(name=f"copy {what}", kind="copy", team="copy", work=copies, after=ready))
            done.append(out[-1].name)
        ready = tuple(done)
    return tuple(out)


METHOD = Method(
    name="double-buffering",
    doc="DDB: copy threads fill the other buffer while the GEMM runs",
    place=place,
    plan=plan,
)
