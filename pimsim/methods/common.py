"""Pieces that several methods share: host tasks of an operator, layers of a trace, placements."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from pimsim.errors import PlacementError, PlanError
from pimsim.methods.plan import Attention, Gemm, PimGemv, Placement, Plan, Segment, Task, Vector, chain, fold
from pimsim.placement.capacity import Ledger, LedgerRow, host_rows, pim_rows
from pimsim.placement.region import Allocator, Attribute
from pimsim.system import System
from pimsim.trace.op import DTYPE_BITS, Operator, Tensor, Trace

HEAD = "lm_head"


@dataclass(frozen=True, kw_only=True)
class Layers:
    """Operators of a trace before, in and after its layers."""

    before: tuple[Operator, ...]
    layers: tuple[tuple[Operator, ...], ...]
    after: tuple[Operator, ...]


def split_layers(trace: Trace) -> Layers:
    """Group the operators of a trace by layer, in order."""
    layers: dict[int, list[Operator]] = {}
    before: list[Operator] = []
    after: list[Operator] = []
    for op in trace.operators:
        if op.layer is None:
            (after if layers else before).append(op)
        else:
            layers.setdefault(op.layer, []).append(op)
    return Layers(
        before=tuple(before), layers=tuple(tuple(ops) for ops in layers.values()), after=tuple(after)
    )


def local(op: Operator) -> str:
    """The operator's name without its layer."""
    return op.name.rsplit(".", 1)[-1]


def weight_of(op: Operator, trace: Trace) -> Tensor | None:
    """The weight matrix of a matmul, or None."""
    if op.kind != "matmul":
        return None
    tensor = trace.tensor(op.inputs[1])
    return tensor if tensor.role == "weight" else None


def template(op: Operator, name: str) -> str:
    """A tensor's name with `{}` for the operator's layer."""
    return name if op.layer is None else name.replace(f".{op.layer}.", ".{}.", 1)


def tokens_of(op: Operator, trace: Trace) -> int:
    """Tokens that the operator works on; what a copy appends to may hold more."""
    return trace.tensor(op.inputs[0] if op.kind == "copy" else op.outputs[0]).shape[0]


def host_task(op: Operator, trace: Trace) -> Task:
    """The operator on the CPU: GEMMs and attention on the compute threads (one token: on all cores)."""
    name, tokens = local(op), tokens_of(op, trace)
    if op.kind == "matmul":
        m, n, k = trace.matmul_shape(op)
        weight = trace.tensor(op.inputs[1])
        return Task(
            name=name,
            kind="gemm" if m > 1 else "gemv",
            team="compute" if m > 1 else "all",
            work=Gemm(m=m, n=n, k=k, bits=DTYPE_BITS[weight.dtype], weight=template(op, weight.name)),
        )
    cost = trace.cost(op)
    if op.kind == "attention":
        kv = sum(trace.tensor(name).bytes for name in op.inputs[1:3])
        return Task(
            name=name,
            kind="attention",
            team="compute" if tokens > 1 else "all",
            work=Attention(flops=cost.flops, kv_bytes=kv, tokens=tokens),
        )
    return Task(
        name=name,
        kind="append" if op.kind == "copy" else op.kind,
        team="compute" if tokens > 1 else "one",
        work=Vector(bytes=cost.bytes_read + cost.bytes_written, flops=cost.flops),
    )


def pim_task(op: Operator, trace: Trace, system: System) -> Task:
    """The operator with its weights in PIM: matrix-vector products there, the rest on the CPU."""
    weight = weight_of(op, trace)
    if weight is None or trace.matmul_shape(op)[0] != 1:
        return host_task(op, trace)
    if system.pim is None:
        raise PlanError(
            f"system {system.name} has no PIM units; use a method that keeps all work on the host"
        )
    _, n, k = trace.matmul_shape(op)
    return Task(
        name=local(op),
        kind="pim_gemv",
        team="pim",
        work=PimGemv(
            n=n,
            k=k,
            dtype=weight.dtype,
            pad_rows_to=system.head_rows(n) if local(op) == HEAD else 0,
            weight=template(op, weight.name),
        ),
    )


def plan_in_order(trace: Trace, task: Callable[[Operator], Task], phase: str) -> Plan:
    """Every operator after the one before it, `task` saying where."""
    parts = split_layers(trace)
    segments = []
    if parts.before:
        segments.append(Segment(name="begin", tasks=chain(task(op) for op in parts.before)))
    known: dict[object, tuple[Task, ...]] = {}  # equal layers have equal tasks
    for i, ops in enumerate(parts.layers):
        key = tuple(_likeness(op, trace) for op in ops)
        if key not in known:
            known[key] = chain(task(op) for op in ops)
        segments.append(Segment(name="layer", tasks=known[key], first_layer=i))
    if parts.after:
        segments.append(Segment(name="end", tasks=chain(task(op) for op in parts.after)))
    return Plan(phase=phase, segments=fold(segments))


def _likeness(op: Operator, trace: Trace) -> object:
    """What an operator's task depends on besides its layer: kind, names and tensors without the layer."""
    tensors = (trace.tensor(name) for name in (*op.inputs, *op.outputs))
    return op.kind, local(op), op.attrs, tuple((t.shape, t.dtype, t.role) for t in tensors)


def phase_of(trace: Trace) -> str:
    return trace.operators[0].phase


def place(
    trace: Trace,
    system: System,
    *,
    host_copy: bool,
    pim_copy: bool,
    buffers: int = 0,
    buffer_bytes: int | None = None,
) -> Placement:
    """Lay out weights, buffers, KV cache and activations; PlacementError when the memory is too small.

    host_copy: a cacheable, host-friendly copy of all weights. pim_copy: a non-cacheable, PIM-aware one.
    buffers: number of cacheable buffers of `buffer_bytes` (None: the largest weight matrix inside a layer).
    """
    weights = trace.weights()
    layout = system.layout
    ledger = Ledger()
    if pim_copy:
        names = {w.name for w in weights}
        heads = {
            op.inputs[1]: system.head_rows(trace.tensor(op.inputs[1]).shape[0])
            for op in trace.operators
            if local(op) == HEAD and op.inputs[1] in names
        }
        ledger += pim_rows(weights, layout, region="pim weights", pad_rows=heads if system.pad_head else None)
    if host_copy:
        ledger += host_rows(weights, region="host weights")
    if buffers:
        size = largest_matrix(trace) if buffer_bytes is None else buffer_bytes
        ledger += Ledger(
            rows=tuple(
                LedgerRow(
                    region="buffers",
                    attribute=Attribute.CACHEABLE,
                    item=f"buffer {i}",
                    kind="buffer",
                    bytes=size,
                )
                for i in range(buffers)
            )
        )
    kv = sum(t.bytes for t in trace.tensors if t.role == "kv")
    biggest = max((t.bytes for t in trace.tensors if t.role == "activation"), default=0)
    ledger += Ledger(
        rows=(
            LedgerRow(region="kv cache", attribute=Attribute.CACHEABLE, item="kv", kind="kv", bytes=kv),
            LedgerRow(
                region="activations", attribute=Attribute.CACHEABLE, item="activations", kind="activation",
                bytes=4 * biggest,
            ),
        )
    )  # fmt: skip
    if ledger.total() > system.capacity_bytes:
        parts = ", ".join(f"{name} {size / 1e9:.2f} GB" for name, size in ledger.by_region().items() if size)
        raise PlacementError(
            f"{trace.name} does not fit {system.name}: needs {ledger.total() / 1e9:.2f} GB ({parts}), "
            f"the memory holds {system.capacity_bytes / 1e9:.2f} GB"
        )
    slab = layout.channels * layout.ranks * layout.banks * layout.row_bytes
    allocator = Allocator(system.capacity_bytes)
    rows: dict[str, int] = {}
    sizes = ledger.by_region()
    if pim_copy:
        at = 0
        vectors = [tensor for tensor in weights if len(tensor.shape) != 2]
        for tensor in weights:
            if len(tensor.shape) == 2:
                rows[tensor.name] = at
                pad = heads.get(tensor.name, 0)
                at += layout.dram_rows(tensor.shape[0], tensor.shape[1], DTYPE_BITS[tensor.dtype], pad)
        rows.update((tensor.name, at) for tensor in vectors)  # norms share the rows after the matrices
        at += -(-sum(tensor.bytes for tensor in vectors) // slab)
        region = allocator.region("pim weights", Attribute.NON_CACHEABLE, at * slab, align=slab)
        allocator.place(region, "pim weights", at * slab, align=slab)
    for name in ("host weights", "buffers", "kv cache", "activations"):
        if sizes.get(name):
            items = [r for r in ledger.rows if r.region == name]
            size = sum(-(-r.bytes // 64) * 64 for r in items)
            region = allocator.region(name, Attribute.CACHEABLE, size, align=slab)
            for row in items:
                if row.bytes:
                    allocator.place(region, row.item, row.bytes)
    return Placement(
        regions=tuple(allocator.regions), placed=tuple(allocator.placed), ledger=ledger, pim_rows=rows
    )


def largest_matrix(trace: Trace) -> int:
    """Bytes of the largest weight matrix inside a layer."""
    sizes = [
        w.bytes for op in trace.operators if op.layer is not None and (w := weight_of(op, trace)) is not None
    ]
    if not sizes:
        raise PlanError(f"{trace.name} has no weight matrix in a layer: nothing to buffer")
    return max(sizes)
