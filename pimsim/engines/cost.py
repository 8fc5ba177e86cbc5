"""What an operator asks of an engine (`Work`) and what it costs there (`Cost`)."""

from __future__ import annotations

import math
from dataclasses import dataclass

from pimsim.trace.op import DTYPE_BITS, Operator, Tensor, Trace


@dataclass(frozen=True, kw_only=True)
class Operand:
    """A tensor as an operator touches it. kept: an activation, which may stay in an engine's cache."""

    bytes: int
    kept: bool


@dataclass(frozen=True, kw_only=True)
class Work:
    """One operator without names: equal work has equal cost.

    products: (m, n, k, groups) of a matmul, convolution or attention. dtype: the type that products are
      computed in, the wider one of their operands. weight_dtype: of the weights, "" where no operand is one.
    flops: of the whole operator. function: of an elementwise operator. elements: results, or inputs of a
    reduction. spatial: of a convolution (not of its gradients) height and width of input, output, kernel and
    stride, then dilation, images, input and output channels.
    """

    kind: str
    flops: int
    reads: tuple[Operand, ...]
    writes: tuple[Operand, ...]
    dtype: str
    weight_dtype: str = ""
    products: tuple[tuple[int, int, int, int], ...] = ()
    function: str = ""
    elements: int = 0
    spatial: tuple[int, ...] = ()

    @property
    def bytes(self) -> int:
        """Bytes that the operator touches, in both directions."""
        return sum(each.bytes for each in (*self.reads, *self.writes))

    def dram_bytes(self, cache_bytes: int) -> tuple[int, int]:
        """(read, written) bytes beyond a cache: activations of at most half of it stay there."""
        read, written = (
            sum(each.bytes for each in side if not (each.kept and each.bytes <= cache_bytes // 2))
            for side in (self.reads, self.writes)
        )
        return read, written


@dataclass(frozen=True, kw_only=True)
class Cost:
    """Work on an engine: the runtime's time before it, then the longer of arithmetic and memory.

    time_ps may be longer than both (an NPU that waits for one and then for the other).
    """

    engine: str
    launch_ps: int
    compute_ps: int
    memory_ps: int
    read_bytes: int
    written_bytes: int
    time_ps: int

    @property
    def bound(self) -> str:
        """What the time goes to: `compute`, `bandwidth`, or `dispatch` (the runtime)."""
        most = max(self.launch_ps, self.compute_ps, self.memory_ps)
        if most == self.launch_ps:
            return "dispatch"
        return "compute" if most == self.compute_ps else "bandwidth"


def roofline(
    engine: str, launch_us: float, compute_s: float, memory_s: float, moved: tuple[float, float]
) -> Cost:
    """The cost whose arithmetic and memory overlap."""
    launch, compute, memory = round(launch_us * 1e6), round(compute_s * 1e12), round(memory_s * 1e12)
    return Cost(
        engine=engine,
        launch_ps=launch,
        compute_ps=compute,
        memory_ps=memory,
        read_bytes=round(moved[0]),
        written_bytes=round(moved[1]),
        time_ps=launch + max(compute, memory),
    )


def work_of(op: Operator, trace: Trace) -> Work:
    """The work of an operator of a trace."""
    ins = [trace.tensor(name) for name in dict.fromkeys(op.inputs)]
    outs = [trace.tensor(name) for name in dict.fromkeys(op.outputs)]
    cost = trace.cost(op)
    weights = [t for t in ins if t.role == "weight" and len(t.shape) > 1]
    widest = max((t.dtype for t in ins[:2]), key=lambda name: DTYPE_BITS[name])
    products: tuple[tuple[int, int, int, int], ...] = ()
    spatial: tuple[int, ...] = ()
    if op.kind == "matmul":
        products = ((*trace.matmul_shape(op), 1),)
    elif op.kind == "conv2d":
        products, spatial = _convolution(op, ins, outs[0])
    elif op.kind == "attention":
        kv_heads, dim = op.attrs["kv_heads"], op.attrs["head_dim"]
        rows = ins[0].shape[0] * op.attrs["heads"] // kv_heads
        seen = max(1, cost.flops // (4 * rows * kv_heads * dim))  # keys that a query sees, on average
        products = ((rows, seen, dim, kv_heads), (rows, dim, seen, kv_heads))
    return Work(
        kind=op.kind,
        flops=cost.flops,
        reads=_touched(ins, cost.bytes_read),
        writes=_touched(outs, cost.bytes_written),
        dtype=widest,
        weight_dtype=weights[0].dtype if weights else "",
        products=products,
        function=str(op.attrs.get("function", "")) if op.kind == "elementwise" else "",
        elements=max(sum(t.elements for t in outs), ins[0].elements if op.kind == "reduce" else 0),
        spatial=spatial,
    )


Shape = tuple[int, int, int, int]


def _convolution(op: Operator, ins: list[Tensor], out: Tensor) -> tuple[tuple[Shape, ...], tuple[int, ...]]:
    """The products (m, n, k, groups) of a convolution or of one of its gradients, and its shape in space."""
    groups, gradient = op.attrs["groups"], op.attrs.get("gradient")
    if gradient == "input":  # pixels of the output x patches of the input, over output channels
        y, w = ins[0], ins[1]
        pixels = y.shape[0] * math.prod(y.shape[2:])
        return ((pixels, math.prod(w.shape[1:]), w.shape[0] // groups, groups),), ()
    if gradient == "weight":  # output channels x patches, over pixels
        y, w = ins[1], out
        pixels = y.shape[0] * math.prod(y.shape[2:])
        return ((w.shape[0] // groups, math.prod(w.shape[1:]), pixels, groups),), ()
    x, w = ins[0], ins[1]
    pixels = out.shape[0] * math.prod(out.shape[2:])
    stride, dilation = (
        value if isinstance(value, tuple) else (value, value)
        for value in (op.attrs["stride"], op.attrs["dilation"])
    )
    spatial = (*x.shape[2:], *out.shape[2:], *w.shape[2:], *stride, dilation[0])
    product = (pixels, w.shape[0] // groups, math.prod(w.shape[1:]), groups)
    return (product,), (*spatial, x.shape[0], x.shape[1], w.shape[0])


def _touched(tensors: list[Tensor], total: int) -> tuple[Operand, ...]:
    """The operands, together as many bytes as are touched: what is touched in part is the largest one."""
    sizes = [t.bytes for t in tensors]
    excess = sum(sizes) - total
    if sizes and excess > 0:
        largest = sizes.index(max(sizes))
        sizes[largest] = max(0, sizes[largest] - excess)
    return tuple(
        Operand(bytes=size, kept=t.role == "activation") for size, t in zip(sizes, tensors, strict=True)
    )
