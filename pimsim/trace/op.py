"""The words of a trace: tensors, operators over them, and the trace that holds both.

A trace says WHAT runs: which operators, in which order, over which named tensors. Arithmetic and
traffic are derived from shapes and dtypes and never stored, so they cannot disagree with the shapes.

FLOPs are counted as operations of a plain implementation: a multiply-add is two; an elementwise
function costs what `ELEMENTWISE_FLOPS` says; a norm 4 and a softmax 5 per element. Bytes are those of
the tensors' elements that an operator touches, each tensor once: no cache, no re-reading, no scales of
quantised tensors, no tables of sines and cosines.
"""

from __future__ import annotations

import hashlib
import json
import math
import re
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Any

from pimsim.errors import TraceError, suggest
from pimsim.notebook import table
from pimsim.units import ceil_div, format_bytes

DTYPE_BITS = {"fp32": 32, "bf16": 16, "fp16": 16, "fp8": 8, "int32": 32, "int8": 8, "int4": 4, "bool": 8}
ROLES = ("weight", "activation", "kv", "input", "output")
KINDS = ("matmul", "conv2d", "attention", "norm", "softmax", "elementwise", "reduce", "gather", "copy")

ELEMENTWISE_FLOPS = {
    "cast": 0,
    "add": 1,
    "sub": 1,
    "mul": 1,
    "div": 1,
    "neg": 1,
    "max": 1,
    "relu": 1,
    "exp": 1,
    "sqrt": 1,
    "tanh": 1,
    "sigmoid": 3,  # exp, add, divide
    "rope": 3,  # two multiplies and an add
    "mul_add": 2,
    "softcap": 3,  # divide, tanh, multiply
    "silu": 4,  # sigmoid and a multiply
    "silu_mul": 5,  # silu(gate) * up
    "gelu": 8,  # tanh form
    "gelu_mul": 9,
}
"""Operations per output element of the `function` of an elementwise operator; without one it is 1."""

NORM_FLOPS = 4  # square, sum, scale, weight
SOFTMAX_FLOPS = 5  # maximum, subtract, exp, sum, divide

_PHASE = re.compile(r"[a-z][a-z0-9_]*(\[\d+\])?", re.ASCII)


class Attrs(Mapping[str, Any]):
    """An immutable, hashable mapping of names to plain JSON values, in the order of the names.

    Lists become tuples and mappings become `Attrs`; `plain` gives lists and dicts back. Integers
    have at most 64 bits and floats are finite, so that every value survives a JSON file.
    """

    __slots__ = ("_items",)

    def __init__(self, values: Mapping[str, Any] | None = None) -> None:
        for key in values or {}:
            if not isinstance(key, str):
                raise TraceError(f"attribute name {key!r} is a {type(key).__name__}: wanted a string")
        self._items = {key: _freeze(value, key) for key, value in sorted((values or {}).items())}

    def __getitem__(self, key: str) -> Any:
        return self._items[key]

    def __iter__(self) -> Iterator[str]:
        return iter(self._items)

    def __len__(self) -> int:
        return len(self._items)

    def __hash__(self) -> int:
        return hash(tuple(self._items.items()))

    def __repr__(self) -> str:
        return f"Attrs({plain(self)!r})"


def plain(values: Mapping[str, Any]) -> dict[str, Any]:
    """The values of `Attrs` as dicts and lists, ready for JSON."""
    return {key: _thaw(value) for key, value in values.items()}


@dataclass(frozen=True, kw_only=True)
class Tensor:
    """A named array of the trace; row-major, `shape` outermost first."""

    name: str
    shape: tuple[int, ...]
    dtype: str
    role: str

    def __post_init__(self) -> None:
        object.__setattr__(self, "shape", tuple(self.shape))
        if not self.name:
            raise TraceError("a tensor has an empty name")
        for size in self.shape:
            if not isinstance(size, int) or isinstance(size, bool) or size < 1:
                raise TraceError(
                    f"tensor {self.name!r}: shape {self.shape}: every size must be an integer >= 1"
                )
        _known(f"tensor {self.name!r}", "dtype", self.dtype, DTYPE_BITS)
        _known(f"tensor {self.name!r}", "role", self.role, ROLES)

    @property
    def elements(self) -> int:
        """Number of elements."""
        return math.prod(self.shape)

    @property
    def bytes(self) -> int:
        """Size in bytes without padding; int4 is packed two a byte, bool takes one byte."""
        return dtype_bytes(self.elements, self.dtype)


@dataclass(frozen=True, kw_only=True)
class Operator:
    """One step of the trace, over tensors by name.

    matmul       inputs x (..., K), w (N, K), optional bias (N,); output (..., N): x times w transposed
    conv2d       inputs x (B, C, H, W), w (K, C / groups, R, S), optional bias (K,); output (B, K, P, Q);
                 attrs stride, padding, dilation (an integer or two), groups; optional gradient: `input`
                 (inputs y's gradient, w; output as x) or `weight` (inputs x, y's gradient; output as w)
    attention    inputs q (M, heads * head_dim), k and v (>= context, kv_heads * head_dim); output as q;
                 attrs heads, kv_heads, head_dim, context (tokens in sight of the last query), causal;
                 one sequence; softmax included; q holds the last M of the `context` positions;
                 optional window, with causal: a query sees so many tokens at most, its own included
    norm         inputs x (..., H), weights (H,); output (..., H), of the last rows where it has fewer;
                 optional groups: parts of a row normed by themselves, weights (H / groups,)
    softmax      one input, one output of the same shape
    elementwise  any inputs and outputs; attrs function (see ELEMENTWISE_FLOPS); optional active: output
                 elements that it computes, where the others are only passed on
    reduce       one input, one output with fewer elements
    gather       inputs table (V, H), optional indices; output (rows, H); attrs rows
    copy         input i goes into output i, which may be larger: the rest of it stays as it was

    phase: what the step belongs to: `prefill`, `decode[0]`, `train[0]`. layer: index of the model's
    layer, None outside the layers.
    """

    kind: str
    name: str
    inputs: tuple[str, ...]
    outputs: tuple[str, ...]
    attrs: Mapping[str, Any] = Attrs()
    phase: str
    layer: int | None = None

    def __post_init__(self) -> None:
        object.__setattr__(self, "inputs", tuple(self.inputs))
        object.__setattr__(self, "outputs", tuple(self.outputs))
        object.__setattr__(self, "attrs", Attrs(self.attrs))
        if not self.name:
            raise TraceError("an operator has an empty name")
        _known(f"operator {self.name!r}", "kind", self.kind, KINDS)
        if not self.inputs or not self.outputs:
            raise TraceError(f"{_label(self)}: wanted at least one input and one output")
        if not _PHASE.fullmatch(self.phase):
            raise TraceError(
                f"{_label(self)}: phase {self.phase!r}: wanted a word and an index, as in 'decode[0]'"
            )
        if self.layer is not None and (isinstance(self.layer, bool) or self.layer < 0):
            raise TraceError(f"{_label(self)}: layer {self.layer!r}: wanted an integer >= 0 or none")


@dataclass(frozen=True, kw_only=True)
class Cost:
    """What an operator computes and touches: FLOPs, bytes read, bytes written."""

    flops: int
    bytes_read: int
    bytes_written: int


@dataclass(frozen=True, kw_only=True)
class Trace:
    """Operators in program order over named tensors; checked when built, immutable afterwards."""

    name: str
    tensors: tuple[Tensor, ...]
    operators: tuple[Operator, ...]
    meta: Mapping[str, Any] = Attrs()

    def __post_init__(self) -> None:
        object.__setattr__(self, "tensors", tuple(self.tensors))
        object.__setattr__(self, "operators", tuple(self.operators))
        object.__setattr__(self, "meta", Attrs(self.meta))
        if not self.name:
            raise TraceError("a trace has an empty name")
        names: set[str] = set()
        for tensor in self.tensors:
            if tensor.name in names:
                raise TraceError(f"trace {self.name!r}: two tensors are named {tensor.name!r}")
            names.add(tensor.name)
        steps: set[tuple[str, str]] = set()
        for op in self.operators:
            if (op.phase, op.name) in steps:
                raise TraceError(f"trace {self.name!r}: two operators of {op.phase} are named {op.name!r}")
            steps.add((op.phase, op.name))
            operator_cost(op, self._index)

    def _repr_html_(self) -> str:
        """In a notebook: operators, operations and bytes by kind."""
        sums: dict[str, list[int]] = {}
        for op in self.operators:
            cost, row = self.cost(op), sums.setdefault(op.kind, [0, 0, 0, 0])
            for i, value in enumerate((1, cost.flops, cost.bytes_read, cost.bytes_written)):
                row[i] += value
        rows = [(kind, *row) for kind, row in sums.items()]
        columns = ("kind", "operators", "FLOP", "bytes read", "bytes written")
        return table(f"{self.name} (Trace)", columns, rows, f"{len(self.tensors):,} tensors")

    @cached_property
    def _index(self) -> dict[str, Tensor]:
        return {tensor.name: tensor for tensor in self.tensors}

    def tensor(self, name: str) -> Tensor:
        """The tensor of that name."""
        return _find(self._index, name, f"trace {self.name!r}")

    def cost(self, op: Operator) -> Cost:
        """FLOPs and bytes of one operator."""
        return operator_cost(op, self._index)

    def flops(self, op: Operator | None = None) -> int:
        """Floating-point (or integer) operations of one operator, or of the whole trace."""
        return self.cost(op).flops if op else sum(self.cost(each).flops for each in self.operators)

    def bytes_read(self, op: Operator | None = None) -> int:
        """Bytes that one operator, or every operator by itself, reads."""
        return self.cost(op).bytes_read if op else sum(self.cost(each).bytes_read for each in self.operators)

    def bytes_written(self, op: Operator | None = None) -> int:
        """Bytes that one operator, or every operator by itself, writes."""
        return (
            self.cost(op).bytes_written
            if op
            else sum(self.cost(each).bytes_written for each in self.operators)
        )

    def matmul_shape(self, op: Operator) -> tuple[int, int, int]:
        """(M, N, K) of a matmul: x (M, K), w (N, K), output (M, N)."""
        if op.kind != "matmul":
            raise TraceError(f"{_label(op)}: only a matmul has a shape (M, N, K)")
        x, w = self.tensor(op.inputs[0]), self.tensor(op.inputs[1])
        return x.elements // x.shape[-1], w.shape[0], w.shape[1]

    def weights(self) -> tuple[Tensor, ...]:
        """Every weight tensor once, in the order of `tensors`."""
        return tuple(tensor for tensor in self.tensors if tensor.role == "weight")

    def parameters(self) -> int:
        """Elements of all weights; a tensor that two operators share counts once."""
        return sum(tensor.elements for tensor in self.weights())

    def digest(self) -> str:
        """SHA-256 (hexadecimal) of the content: name, meta, tensors and operators in their order."""
        content = {
            "name": self.name,
            "meta": plain(self.meta),
            "tensors": [[t.name, t.shape, t.dtype, t.role] for t in self.tensors],
            "operators": [
                [op.kind, op.name, op.inputs, op.outputs, plain(op.attrs), op.phase, op.layer]
                for op in self.operators
            ],
        }
        text = json.dumps(content, sort_keys=True, separators=(",", ":"), allow_nan=False)
        return hashlib.sha256(text.encode()).hexdigest()

    def summary(self) -> str:
        """A few lines for people: sizes, then operators, FLOPs and bytes by kind."""
        weights = sum(tensor.bytes for tensor in self.weights())
        kv = sum(tensor.bytes for tensor in self.tensors if tensor.role == "kv")
        lines = [
            f"{self.name}: {len(self.operators)} operators, {len(self.tensors)} tensors",
            f"parameters {self.parameters():,}, weights {format_bytes(weights, decimal=True)}, "
            f"KV cache {format_bytes(kv, decimal=True)}",
            f"{'kind':<12}{'operators':>10}{'GFLOP':>12}{'read':>12}{'written':>12}",
        ]
        for kind in KINDS:
            costs = [self.cost(op) for op in self.operators if op.kind == kind]
            if costs:
                read = format_bytes(sum(cost.bytes_read for cost in costs), decimal=True)
                written = format_bytes(sum(cost.bytes_written for cost in costs), decimal=True)
                flops = sum(cost.flops for cost in costs)
                lines.append(f"{kind:<12}{len(costs):>10}{flops / 1e9:>12.3f}{read:>12}{written:>12}")
        return "\n".join(lines)


def dtype_bytes(elements: int, dtype: str) -> int:
    """Bytes of `elements` packed values of a dtype, the last byte rounded up."""
    return ceil_div(elements * DTYPE_BITS[dtype], 8)


def operator_cost(op: Operator, tensors: Mapping[str, Tensor]) -> Cost:
    """FLOPs and bytes of an operator, after checking its tensors and attributes against its kind."""
    ins = [_find(tensors, name, _label(op)) for name in op.inputs]
    outs = [_find(tensors, name, _label(op)) for name in op.outputs]
    return _COSTS[op.kind](op, ins, outs)


# One function per kind: what it demands of its tensors, and what it costs, side by side.


def _matmul(op: Operator, ins: list[Tensor], outs: list[Tensor]) -> Cost:
    _arity(op, inputs=(2, 3), outputs=(1, 1))
    x, w = ins[0], ins[1]
    if len(w.shape) != 2 or not x.shape or x.shape[-1] != w.shape[1]:
        raise TraceError(f"{_label(op)}: wanted x (..., K) and w (N, K), got {_shape(x)} and {_shape(w)}")
    n, k = w.shape
    _bias(op, ins, n)
    _output(op, outs[0], (*x.shape[:-1], n))
    m = x.elements // k
    return Cost(
        flops=2 * m * n * k + (m * n if len(ins) == 3 else 0),
        bytes_read=_total(ins),
        bytes_written=outs[0].bytes,
    )


def _conv2d(op: Operator, ins: list[Tensor], outs: list[Tensor]) -> Cost:
    _arity(op, inputs=(2, 3), outputs=(1, 1))
    gradient = op.attrs.get("gradient")
    if gradient is not None:
        return _conv2d_gradient(op, ins, outs, str(gradient))
    x, w = ins[0], ins[1]
    _image(op, x, w, outs[0])
    _bias(op, ins, w.shape[0])
    macs = outs[0].elements * math.prod(w.shape[1:])
    return Cost(
        flops=2 * macs + (outs[0].elements if len(ins) == 3 else 0),
        bytes_read=_total(ins),
        bytes_written=outs[0].bytes,
    )


def _conv2d_gradient(op: Operator, ins: list[Tensor], outs: list[Tensor], gradient: str) -> Cost:
    """As many multiply-adds as the convolution itself: each of its products has one of its own."""
    _known(_label(op), "gradient", gradient, ("input", "weight"))
    _arity(op, inputs=(2, 2), outputs=(1, 1))
    x, w, y = (outs[0], ins[1], ins[0]) if gradient == "input" else (ins[0], outs[0], ins[1])
    _image(op, x, w, y)
    return Cost(
        flops=2 * y.elements * math.prod(w.shape[1:]), bytes_read=_total(ins), bytes_written=outs[0].bytes
    )


def _image(op: Operator, x: Tensor, w: Tensor, y: Tensor) -> None:
    """Check the shapes of a convolution's input, weights and output against each other."""
    groups = _int(op, "groups", 1)
    if len(x.shape) != 4 or len(w.shape) != 4 or x.shape[1] != w.shape[1] * groups or w.shape[0] % groups:
        raise TraceError(
            f"{_label(op)}: wanted x (B, C, H, W) and w (K, C / groups, R, S) with groups={groups}, "
            f"got {_shape(x)} and {_shape(w)}"
        )
    stride, padding, dilation = _pair(op, "stride", 1), _pair(op, "padding", 0), _pair(op, "dilation", 1)
    image = [
        (x.shape[2 + i] + 2 * padding[i] - dilation[i] * (w.shape[2 + i] - 1) - 1) // stride[i] + 1
        for i in (0, 1)
    ]
    _output(op, y, (x.shape[0], w.shape[0], *image))


def _attention(op: Operator, ins: list[Tensor], outs: list[Tensor]) -> Cost:
    _arity(op, inputs=(3, 3), outputs=(1, 1))
    q, k, v = ins
    heads, kv_heads, head_dim = _int(op, "heads", 1), _int(op, "kv_heads", 1), _int(op, "head_dim", 1)
    context = _int(op, "context", 1)
    causal = op.attrs.get("causal")
    if not isinstance(causal, bool):
        raise TraceError(f"{_label(op)}: attribute causal={causal!r}: wanted true or false")
    if heads % kv_heads:
        raise TraceError(f"{_label(op)}: heads={heads} is no multiple of kv_heads={kv_heads}")
    if len(q.shape) != 2 or q.shape[1] != heads * head_dim:
        raise TraceError(f"{_label(op)}: wanted q (M, {heads * head_dim}), got {_shape(q)}")
    m, width = q.shape[0], kv_heads * head_dim
    for cache in (k, v):
        if len(cache.shape) != 2 or cache.shape[0] < context or cache.shape[1] != width:
            raise TraceError(
                f"{_label(op)}: wanted k and v of {context} or more rows of {width}, got {_shape(cache)}"
            )
    if causal and m > context:
        raise TraceError(
            f"{_label(op)}: {m} queries but context={context}: it counts the queries' own tokens too"
        )
    _output(op, outs[0], q.shape)
    window = _int(op, "window", 1) if "window" in op.attrs else context
    if window < context and not causal:
        raise TraceError(f"{_label(op)}: window={window} without causal")
    # Query i (from 0) of M sees context - M + i + 1 keys, at most `window`: what is masked is not counted.
    pairs = m * context
    if causal:
        partial = max(0, min(m, window - (context - m)))  # queries that see less than a whole window
        pairs = partial * (context - m) + partial * (partial + 1) // 2 + (m - partial) * window
    rows = min(context, window + m - 1)
    seen = dtype_bytes(rows * width, k.dtype) + dtype_bytes(rows * width, v.dtype)
    return Cost(flops=4 * heads * head_dim * pairs, bytes_read=q.bytes + seen, bytes_written=outs[0].bytes)


def _norm(op: Operator, ins: list[Tensor], outs: list[Tensor]) -> Cost:
    _arity(op, inputs=(1, 3), outputs=(1, 1))
    x, y = ins[0], outs[0]
    if not x.shape or not y.shape or x.shape[-1] != y.shape[-1] or y.elements > x.elements:
        raise TraceError(
            f"{_label(op)}: wanted an output of rows as in the input, got {_shape(y)} from {_shape(x)}"
        )
    groups = _int(op, "groups", 1) if "groups" in op.attrs else 1
    if x.shape[-1] % groups:
        raise TraceError(f"{_label(op)}: rows of {x.shape[-1]} do not divide into groups={groups}")
    for weight in ins[1:]:
        if weight.shape != (x.shape[-1] // groups,):
            wanted = (x.shape[-1] // groups,)
            raise TraceError(f"{_label(op)}: wanted weights of shape {wanted}, got {_shape(weight)}")
    return Cost(
        flops=NORM_FLOPS * y.elements,
        bytes_read=dtype_bytes(y.elements, x.dtype) + _total(ins[1:]),
        bytes_written=y.bytes,
    )


def _softmax(op: Operator, ins: list[Tensor], outs: list[Tensor]) -> Cost:
    _arity(op, inputs=(1, 1), outputs=(1, 1))
    _output(op, outs[0], ins[0].shape)
    return Cost(flops=SOFTMAX_FLOPS * outs[0].elements, bytes_read=_total(ins), bytes_written=outs[0].bytes)


def _elementwise(op: Operator, ins: list[Tensor], outs: list[Tensor]) -> Cost:
    function = op.attrs.get("function", "add")
    if not isinstance(function, str):
        raise TraceError(f"{_label(op)}: attribute function={function!r}: wanted a name")
    _known(_label(op), "function", function, ELEMENTWISE_FLOPS)
    elements = sum(tensor.elements for tensor in outs)
    if "active" in op.attrs:
        if _int(op, "active", 0) > elements:
            raise TraceError(f"{_label(op)}: active={op.attrs['active']} of {elements} elements")
        elements = op.attrs["active"]
    return Cost(
        flops=ELEMENTWISE_FLOPS[function] * elements, bytes_read=_total(ins), bytes_written=_total(outs)
    )


def _reduce(op: Operator, ins: list[Tensor], outs: list[Tensor]) -> Cost:
    _arity(op, inputs=(1, 1), outputs=(1, 1))
    if outs[0].elements > ins[0].elements:
        raise TraceError(f"{_label(op)}: a reduction of {_shape(ins[0])} cannot give {_shape(outs[0])}")
    return Cost(flops=ins[0].elements, bytes_read=_total(ins), bytes_written=_total(outs))


def _gather(op: Operator, ins: list[Tensor], outs: list[Tensor]) -> Cost:
    _arity(op, inputs=(1, 2), outputs=(1, 1))
    rows, table = _int(op, "rows", 1), ins[0]
    if len(table.shape) != 2:
        raise TraceError(f"{_label(op)}: wanted a table (V, H), got {_shape(table)}")
    _output(op, outs[0], (rows, table.shape[1]))
    touched = dtype_bytes(rows * table.shape[1], table.dtype)
    return Cost(flops=0, bytes_read=touched + _total(ins[1:]), bytes_written=outs[0].bytes)


def _copy(op: Operator, ins: list[Tensor], outs: list[Tensor]) -> Cost:
    if len(ins) != len(outs):
        raise TraceError(
            f"{_label(op)}: {len(ins)} inputs but {len(outs)} outputs: each input goes into one output"
        )
    for source, target in zip(ins, outs, strict=True):
        if source.elements > target.elements:
            raise TraceError(f"{_label(op)}: {_shape(source)} does not fit into {_shape(target)}")
    written = sum(
        dtype_bytes(source.elements, target.dtype) for source, target in zip(ins, outs, strict=True)
    )
    return Cost(flops=0, bytes_read=_total(ins), bytes_written=written)


_COSTS: dict[str, Callable[[Operator, list[Tensor], list[Tensor]], Cost]] = {
    "matmul": _matmul,
    "conv2d": _conv2d,
    "attention": _attention,
    "norm": _norm,
    "softmax": _softmax,
    "elementwise": _elementwise,
    "reduce": _reduce,
    "gather": _gather,
    "copy": _copy,
}


def _label(op: Operator) -> str:
    return f"{op.kind} {op.name!r}"


def _shape(tensor: Tensor) -> str:
    return f"{tensor.name!r} {tensor.shape}"


def _total(tensors: list[Tensor]) -> int:
    """Bytes of the tensors, one named twice counted once."""
    return sum({tensor.name: tensor.bytes for tensor in tensors}.values())


def _known(where: str, what: str, given: str, known: Mapping[str, object] | tuple[str, ...]) -> None:
    if given not in known:
        raise TraceError(f"{where}: no {what} {given!r}{suggest(str(given), known)}")


def _find(tensors: Mapping[str, Tensor], name: str, where: str) -> Tensor:
    try:
        return tensors[name]
    except KeyError:
        hint = suggest(name, tensors)
        raise TraceError(
            f"{where}: no tensor named {name!r}{'' if hint.startswith('; known') else hint}"
        ) from None


def _arity(op: Operator, *, inputs: tuple[int, int], outputs: tuple[int, int]) -> None:
    """`inputs` and `outputs` are the least and the most that the kind takes."""
    for what, names, (least, most) in (("inputs", op.inputs, inputs), ("outputs", op.outputs, outputs)):
        if not least <= len(names) <= most:
            wanted = f"{least}" if least == most else f"{least} to {most}"
            raise TraceError(f"{_label(op)}: {len(names)} {what}, wanted {wanted}")


def _output(op: Operator, tensor: Tensor, shape: tuple[int, ...]) -> None:
    if tensor.shape != shape:
        raise TraceError(f"{_label(op)}: output {_shape(tensor)}, wanted shape {shape}")


def _bias(op: Operator, ins: list[Tensor], n: int) -> None:
    if len(ins) == 3 and ins[2].shape != (n,):
        raise TraceError(f"{_label(op)}: bias {_shape(ins[2])}, wanted shape {(n,)}")


def _int(op: Operator, name: str, least: int) -> int:
    value = op.attrs.get(name)
    if not isinstance(value, int) or isinstance(value, bool) or value < least:
        given = "is missing" if name not in op.attrs else f"is {value!r}"
        raise TraceError(f"{_label(op)}: attribute {name} {given}: wanted an integer >= {least}")
    return value


def _pair(op: Operator, name: str, least: int) -> tuple[int, int]:
    """An attribute that is one integer for both axes, or two."""
    value = op.attrs.get(name)
    pair = value if isinstance(value, tuple) else (value, value)
    if len(pair) != 2 or not all(type(size) is int and size >= least for size in pair):
        given = "is missing" if name not in op.attrs else f"is {value!r}"
        raise TraceError(f"{_label(op)}: attribute {name} {given}: wanted one or two integers >= {least}")
    return pair[0], pair[1]


def _freeze(value: Any, where: str) -> Any:
    if value is None or isinstance(value, bool | str):
        return value
    if isinstance(value, int):
        if not -(2**63) <= value < 2**63:
            raise TraceError(f"attribute {where}: {value} does not fit in 64 bits")
        return value
    if isinstance(value, float):
        if not math.isfinite(value):
            raise TraceError(f"attribute {where}: {value} is not a finite number")
        return value
    if isinstance(value, list | tuple):
        return tuple(_freeze(each, f"{where}[{i}]") for i, each in enumerate(value))
    if isinstance(value, Mapping):
        return Attrs(value)
    raise TraceError(f"attribute {where} is a {type(value).__name__}: wanted a plain JSON value")


def _thaw(value: Any) -> Any:
    if isinstance(value, tuple):
        return [_thaw(each) for each in value]
    return plain(value) if isinstance(value, Attrs) else value
