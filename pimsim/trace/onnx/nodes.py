"""What a node of an ONNX graph becomes: operators of a trace."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Any

from pimsim.errors import TraceError
from pimsim.trace.assemble import Shape, Use, rows
from pimsim.trace.reading import MOST, short

LIMIT_PRODUCTS = 20_000

_ELEMENTWISE = {
    "Add": "add",
    "Sub": "sub",
    "Mul": "mul",
    "Div": "div",
    "Neg": "neg",
    "Relu": "relu",
    "Exp": "exp",
    "Sqrt": "sqrt",
    "Tanh": "tanh",
    "Sigmoid": "sigmoid",
    "HardSigmoid": "mul_add",
    "HardSwish": "silu",
    "Swish": "silu",
    "Mish": "silu",
    "Gelu": "gelu",
    "Max": "max",
    "Min": "max",
    "Clip": "max",
    "Cast": "cast",
    "CastLike": "cast",
    "LRN": "mul_add",
    "BatchNormalization": "mul_add",
    "InstanceNormalization": "mul_add",
    "GroupNormalization": "mul_add",
    "QuantizeLinear": "mul_add",
    "DequantizeLinear": "mul_add",
    "RotaryEmbedding": "rope",
    **dict.fromkeys(
        """Abs And ArgSort BitwiseAnd BitwiseNot BitwiseOr Ceil Cos CumSum Elu Equal Erf Floor Greater
        GreaterOrEqual IsInf IsNaN LeakyRelu Less LessOrEqual Log Mod Not Or PRelu Pow Reciprocal Round Selu
        Sign Sin Softplus Softsign Sum Mean ThresholdedRelu Trilu Where Xor""".split(),  # noqa: SIM905
        "add",
    ),
    **dict.fromkeys(
        """Tile Resize Upsample DepthToSpace SpaceToDepth ScatterND ScatterElements
        ReverseSequence""".split(),  # noqa: SIM905
        "cast",
    ),
}
_REDUCTIONS = frozenset(
    """ReduceMean ReduceSum ReduceMax ReduceMin ReduceProd ReduceL1 ReduceL2 ReduceLogSum ReduceLogSumExp
    ReduceSumSquare ArgMax ArgMin TopK GlobalAveragePool GlobalMaxPool AveragePool MaxPool LpPool""".split()  # noqa: SIM905
)


MOST_INPUTS = {
    "BatchNormalization": 3,  # mean and variance are folded into scale and shift
    **dict.fromkeys(  # what follows are settings
        ("Resize", "Upsample", "Tile", "Clip", "CumSum", "Trilu", "Pad", "TopK", *_REDUCTIONS), 1
    ),
}


class Unusable(Exception):
    """Why an operator has no counterpart here."""


@dataclass(frozen=True)
class Value:
    """A tensor of the graph: the one whose memory it is, which part of it, its shape. data: depends on the
    graph's inputs."""

    base: str
    shape: Shape
    data: bool
    part: str = ""

    @property
    def elements(self) -> int:
        return math.prod(self.shape)

    def any(self) -> Use:
        return Use(tensor=self.base, shape=(self.shape or (1,)) if self.part else None, part=self.part)

    def of(self, shape: Shape) -> Use:
        return Use(tensor=self.base, shape=shape, part=self.part)


@dataclass
class Node:
    """A node with its attributes as plain values."""

    name: str
    op: str
    inputs: list[Value | None]
    outputs: list[Value | None]
    attrs: dict[str, Any] = field(default_factory=dict)

    def x(self, i: int) -> Value:
        value = self.inputs[i] if i < len(self.inputs) else None
        if value is None:
            raise Unusable(f"without input {i}")
        return value

    def optional(self, i: int) -> Value | None:
        return self.inputs[i] if i < len(self.inputs) else None

    @property
    def y(self) -> Value:
        if not self.outputs or self.outputs[0] is None:
            raise Unusable("without an output")
        return self.outputs[0]


@dataclass(frozen=True)
class Step:
    kind: str
    inputs: list[Use]
    outputs: list[Use]
    attrs: dict[str, Any] = field(default_factory=dict)
    suffix: str = ""


# The known operators: what a node becomes


def _elementwise(node: Node) -> Iterator[Step]:
    inputs = [value for value in node.inputs if value is not None]
    yield Step(
        "elementwise",
        [value.any() for value in inputs],
        [node.y.any()],
        {"function": _ELEMENTWISE[node.op]},
    )


def _reduce(node: Node) -> Iterator[Step]:
    x, y = node.x(0), node.y
    if y.elements > x.elements:
        raise Unusable("that gives more than it reads")
    yield Step("reduce", [x.any()], [y.any()])


def _conv(node: Node, x: Value, w: Value, bias: Value | None) -> Step:
    if len(x.shape) not in (3, 4) or len(w.shape) != len(x.shape):
        raise Unusable(f"over {len(x.shape) - 2} axes")
    axes = len(x.shape) - 2
    stride, dilation = _axes(node, "strides", axes, 1), _axes(node, "dilations", axes, 1)
    groups, y = node.attrs.get("group", 1), node.y
    if type(groups) is not int or groups < 1:
        raise TraceError(f"group {short(groups)}: wanted 1 or more")
    kernel = w.shape[2:]
    begin, end = _padding(node, axes, x.shape[2:], kernel, stride, dilation)
    wide = list(x.shape)
    padding = list(begin)
    if begin != end:  # only what is alike on both sides is padding to an operator
        wide = [*x.shape[:2], *(size + a + b for size, a, b in zip(x.shape[2:], begin, end, strict=True))]
        padding = [0] * axes
    inputs = [
        Use(tensor=x.base, shape=_4d(tuple(wide)), part=x.part or ("padded" if begin != end else "")),
        w.of(_4d(w.shape)),
    ]
    if bias is not None:
        inputs.append(bias.of((w.shape[0],)))
    lift = [0, *padding] if axes == 1 else padding
    attrs = {
        "stride": [1, *stride] if axes == 1 else stride,
        "padding": lift,
        "dilation": [1, *dilation] if axes == 1 else dilation,
        "groups": groups,
    }
    return Step("conv2d", inputs, [y.of(_4d(y.shape))], attrs)


def _convolution(node: Node) -> Iterator[Step]:
    yield _conv(node, node.x(0), node.x(1), node.optional(2))


def _conv_integer(node: Node) -> Iterator[Step]:
    yield _conv(node, node.x(0), node.x(1), None)


def _qlinear_conv(node: Node) -> Iterator[Step]:
    yield _conv(node, node.x(0), node.x(3), node.optional(8))


def _conv_transpose(node: Node) -> Iterator[Step]:
    """The gradient of a convolution by its input, then the bias."""
    x, w, y = node.x(0), node.x(1), node.y
    if len(x.shape) != 4:
        raise Unusable(f"over {len(x.shape) - 2} axes")
    pads = node.attrs.get("pads", [0] * 4)
    if node.attrs.get("auto_pad", "NOTSET") != "NOTSET" or len(pads) != 4 or pads[:2] != pads[2:]:
        raise Unusable("with asymmetric padding")
    attrs = {
        "stride": _axes(node, "strides", 2, 1),
        "padding": pads[:2],
        "dilation": _axes(node, "dilations", 2, 1),
        "groups": node.attrs.get("group", 1),
        "gradient": "input",
    }
    yield Step("conv2d", [x.of(x.shape), w.of(w.shape)], [y.of(y.shape)], attrs)
    bias = node.optional(2)
    if bias is not None:
        yield Step("elementwise", [y.any(), bias.any()], [y.any()], {"function": "add"}, "bias")


def _axes(node: Node, name: str, axes: int, missing: int) -> list[int]:
    values = node.attrs.get(name, [missing] * axes)
    if not isinstance(values, list) or len(values) != axes or not all(1 <= each <= MOST for each in values):
        raise TraceError(f"{name} {short(values)}: wanted {axes} numbers from 1")
    return values


def _padding(
    node: Node, axes: int, size: Shape, kernel: Shape, stride: list[int], dilation: list[int]
) -> tuple[list[int], list[int]]:
    """Rows and columns before and behind the picture."""
    auto = node.attrs.get("auto_pad", "NOTSET")
    if auto in ("NOTSET", ""):
        pads = node.attrs.get("pads", [0] * (2 * axes))
        if not isinstance(pads, list) or len(pads) != 2 * axes or not all(0 <= p <= MOST for p in pads):
            raise TraceError(f"pads {short(pads)}: wanted {2 * axes} numbers from 0")
        return pads[:axes], pads[axes:]
    if auto == "VALID":
        return [0] * axes, [0] * axes
    if auto not in ("SAME_UPPER", "SAME_LOWER"):
        raise TraceError(f"auto_pad {short(auto)}: wanted SAME_UPPER, SAME_LOWER, VALID or NOTSET")
    begin, end = [], []
    for i in range(axes):
        outputs = -(-size[i] // stride[i])
        total = max(0, (outputs - 1) * stride[i] + (kernel[i] - 1) * dilation[i] + 1 - size[i])
        small, large = total // 2, total - total // 2
        begin.append(small if auto == "SAME_UPPER" else large)
        end.append(large if auto == "SAME_UPPER" else small)
    return begin, end


def _4d(shape: Shape) -> Shape:
    return shape if len(shape) == 4 else (*shape[:2], 1, *shape[2:])


def _gemm(node: Node) -> Iterator[Step]:
    a, b, c, y = node.x(0), node.x(1), node.optional(2), node.y
    if len(a.shape) != 2 or len(b.shape) != 2:
        raise Unusable(f"of shapes {a.shape} and {b.shape}")
    left = a.shape[::-1] if node.attrs.get("transA") else a.shape
    right = b.shape if node.attrs.get("transB") else b.shape[::-1]
    inputs = [a.of(left), b.of(right)]
    whole = c is not None and c.elements == right[0]
    if c is not None and whole:
        inputs.append(c.of((right[0],)))
    yield Step("matmul", inputs, [y.of((left[0], right[0]))])
    if c is not None and not whole:
        yield Step("elementwise", [y.any(), c.any()], [y.any()], {"function": "add"}, "add")


def _products(a: Value, b: Value, y: Value) -> Iterator[Step]:
    """a (..., M, K) by b (..., K, N), batches broadcast."""
    one, two = (a.shape, b.shape) if len(a.shape) > 1 else ((1, *a.shape), b.shape)
    if len(two) == 1:
        two = (*two, 1)
    if not one or not two or one[-1] != two[-2]:
        raise TraceError(f"shapes {a.shape} and {b.shape} do not fit")
    (m, k), n = one[-2:], two[-1]
    if len(two) == 2:
        count = math.prod(one[:-1])
        yield Step("matmul", [a.of((count, k)), b.of((n, k))], [y.of((count, n))])
        return
    batch = y.elements // (m * n)
    if batch > LIMIT_PRODUCTS:
        raise Unusable(f"of {batch:,} products")
    many_a, many_b = math.prod(one[:-2]), math.prod(two[:-2])
    for i in range(batch):
        yield Step(
            "matmul",
            [_slice(a, (m, k), i, many_a), _slice(b, (n, k), i, many_b)],
            [_slice(y, (m, n), i, batch)],
            suffix="" if batch == 1 else str(i),
        )


def _slice(value: Value, shape: Shape, i: int, count: int) -> Use:
    if count == 1:
        return value.of(shape)
    return Use(tensor=value.base, shape=shape, part=f"{value.part}{'.' if value.part else ''}{i % count}")


def _matmul(node: Node) -> Iterator[Step]:
    yield from _products(node.x(0), node.x(1), node.y)


def _qlinear_matmul(node: Node) -> Iterator[Step]:
    yield from _products(node.x(0), node.x(3), node.y)


def _norm(node: Node) -> Iterator[Step]:
    x, y = node.x(0), node.y
    if node.attrs.get("axis", -1) not in (-1, len(x.shape) - 1):
        raise Unusable("over several axes")
    weights = [value for value in node.inputs[1:3] if value is not None]
    inputs = [x.of(rows(x.shape)), *(value.of((value.elements,)) for value in weights)]
    yield Step("norm", inputs, [y.of(rows(y.shape))])


def _softmax(node: Node) -> Iterator[Step]:
    shape = node.y.shape or (1,)
    yield Step("softmax", [node.x(0).of(shape)], [node.y.of(shape)])


def _gather(node: Node) -> Iterator[Step]:
    table, ids, y = node.x(0), node.x(1), node.y
    axis = node.attrs.get("axis", 0)
    width = 1
    if node.op == "Gather" and table.shape:
        axis = axis % len(table.shape) if -len(table.shape) <= axis < len(table.shape) else 0
        width = math.prod(table.shape[axis + 1 :])
    count = y.elements // width
    yield Step(
        "gather",
        [table.of((table.elements // width, width)), ids.any()],
        [y.of((count, width))],
        {"rows": count},
    )


def _copy(node: Node) -> Iterator[Step]:
    inputs = [value for value in node.inputs if value is not None]
    if sum(value.elements for value in inputs) > node.y.elements:  # a negative padding cuts
        yield Step("elementwise", [value.any() for value in inputs], [node.y.any()], {"function": "cast"})
        return
    yield Step("copy", [value.any() for value in inputs], [node.y.any()] * len(inputs))


def _attention(node: Node) -> Iterator[Step]:
    """Attention of opset 23: (B, heads, T, D), or (B, T, heads * D) with the heads as attributes."""
    q, k, v, y = node.x(0), node.x(1), node.x(2), node.y
    if len(q.shape) == 4:
        (batch, heads, tokens, dim), kv_heads, context = q.shape, k.shape[1], k.shape[2]
    elif len(q.shape) == 3:
        heads, kv_heads = node.attrs.get("q_num_heads", 0), node.attrs.get("kv_num_heads", 0)
        (batch, tokens, width), context = q.shape, k.shape[1]
        if heads < 1 or kv_heads < 1 or width % heads:
            raise TraceError(f"q_num_heads={heads}, kv_num_heads={kv_heads} of {width}: wanted whole heads")
        dim = width // heads
    else:
        raise Unusable(f"of {len(q.shape)} axes")
    if v.elements != k.elements or node.optional(4) is not None or batch > LIMIT_PRODUCTS:
        raise Unusable("with a cache, or of other shapes")
    attrs = {
        "heads": heads,
        "kv_heads": kv_heads,
        "head_dim": dim,
        "context": context,
        "causal": bool(node.attrs.get("is_causal", 0)) and tokens <= context,
    }
    for i in range(batch):
        yield Step(
            "attention",
            [_slice(q, (tokens, heads * dim), i, batch)]
            + [_slice(each, (context, kv_heads * dim), i, batch) for each in (k, v)],
            [_slice(y, (tokens, heads * dim), i, batch)],
            attrs,
            "" if batch == 1 else str(i),
        )


MAKERS: dict[str, Callable[[Node], Iterator[Step]]] = {
    **dict.fromkeys(_ELEMENTWISE, _elementwise),
    **dict.fromkeys(_REDUCTIONS, _reduce),
    "Conv": _convolution,
    "ConvInteger": _conv_integer,
    "QLinearConv": _qlinear_conv,
    "ConvTranspose": _conv_transpose,
    "Gemm": _gemm,
    "MatMul": _matmul,
    "MatMulInteger": _matmul,
    "QLinearMatMul": _qlinear_matmul,
    "LayerNormalization": _norm,
    "RMSNormalization": _norm,
    "Softmax": _softmax,
    "LogSoftmax": _softmax,
    "Gather": _gather,
    "GatherElements": _gather,
    "GatherND": _gather,
    "Concat": _copy,
    "Pad": _copy,
    "Attention": _attention,
}
