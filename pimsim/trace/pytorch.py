"""Recorded PyTorch runs: Kineto profiles (with shapes) and execution traces, read without PyTorch.

    imported = read_pytorch("profile.json.gz")
    imported.trace, imported.skipped

Operators nest: `aten::linear` calls `aten::addmm`. The outermost one that is known here is taken with all it
calls; an unknown one that calls others is looked into; an unknown one that calls nothing is an error, or is
counted with `skip_unknown`. A recording does not say which tensor is which, so every call has tensors of its
own and their sum is not the model's. Views cost nothing and are left out.
"""

from __future__ import annotations

import math
import os
import re
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import msgspec

from pimsim.errors import TraceError
from pimsim.trace.op import Operator, Tensor, Trace
from pimsim.trace.pointwise import POINTWISE
from pimsim.trace.reading import (
    MOST,
    MOST_VALUES,
    Imported,
    not_too_many,
    read_bytes,
    short,
    unknown_operators,
)

LIMIT_BYTES = 256 * 2**20
LIMIT_OPERATORS = 200_000

Shape = tuple[int, ...]

_TYPES = {
    "float": "fp32",
    "float32": "fp32",
    "half": "fp16",
    "float16": "fp16",
    "bfloat16": "bf16",
    "signed char": "int8",
    "char": "int8",
    "int8": "int8",
    "unsigned char": "int8",
    "int": "int32",
    "int32": "int32",
    "bool": "bool",
}
_FREE = frozenset(
    """alias as_strided chunk contiguous detach detach_ empty empty_like empty_strided expand expand_as
    flatten is_nonzero item lift_fresh narrow permute record_stream reshape resolve_conj resolve_neg
    result_type select slice split split_with_sizes squeeze t transpose unbind unflatten unfold unsqueeze view
    view_as _reshape_alias _unsafe_view _local_scalar_dense""".split()  # noqa: SIM905
)


@dataclass(frozen=True, kw_only=True)
class Call:
    """One recorded call. shapes: None where an input is no tensor. parent: number of the caller or None."""

    name: str
    where: str
    shapes: tuple[Shape | None, ...]
    types: tuple[str, ...]
    values: tuple[str, ...]
    parent: int | None


@dataclass(frozen=True, kw_only=True)
class _Step:
    """An operator to be: what it reads (shape, role), what it writes, attributes."""

    kind: str
    inputs: tuple[tuple[Shape, str], ...]
    output: Shape
    attrs: dict[str, Any]


class _Unusable(Exception):
    """Why a known operator cannot be taken: shapes or values are missing, or of another form."""


def read_pytorch(path: str | os.PathLike[str], *, skip_unknown: bool = False) -> Imported:
    """The operators of a Kineto profile or a PyTorch execution trace, in the order of the file.

    skip_unknown: count operators that are not known (or lack shapes) instead of refusing the file.
    """
    path = Path(path)
    content = read_bytes(path, LIMIT_BYTES)
    not_too_many(path, content, (b",", b"[", b"{"), MOST_VALUES)
    try:
        document = msgspec.json.decode(content)
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError) as error:
        raise TraceError(f"{path}: not a profile: {error}") from None
    return trace_of_calls(path, _calls(path, document), "pytorch", skip_unknown=skip_unknown)


def trace_of_calls(path: Path, calls: list[Call], origin: str, *, skip_unknown: bool) -> Imported:
    """The operators of recorded calls, each caller before what it calls."""
    callers = {call.parent for call in calls}
    covered: list[bool] = []
    skipped: dict[str, int] = {}
    first_at: dict[str, str] = {}
    tensors: list[Tensor] = []
    operators: list[Operator] = []
    for number, call in enumerate(calls):
        inside = call.parent is not None and covered[call.parent]
        plain = _plain(call.name)
        made: list[_Step] | None = None
        dtype = ""
        if not inside and plain in _KNOWN:
            try:
                dtype = _dtype(call)
                made = _KNOWN[plain](call)
            except _Unusable as problem:
                if number not in callers:
                    name = f"{call.name} ({problem})"
                    skipped[name] = skipped.get(name, 0) + 1
                    first_at.setdefault(name, call.where)
        elif not inside and number not in callers and "::" in call.name and plain not in _FREE:
            skipped[call.name] = skipped.get(call.name, 0) + 1
            first_at.setdefault(call.name, call.where)
        covered.append(inside or made is not None)
        for i, step in enumerate(made or ()):
            name = f"{number}.{plain}" + (f".{i}" if len(made or ()) > 1 else "")
            if len(operators) >= LIMIT_OPERATORS:
                raise TraceError(f"{call.where}: more than {LIMIT_OPERATORS:,} operators")
            try:
                own, op = _operator(name, step, dtype)
            except TraceError as error:
                raise TraceError(f"{call.where}: {error}") from None
            tensors += own
            operators.append(op)
    if skipped and not skip_unknown:
        raise unknown_operators(first_at, skipped)
    if not operators:
        raise TraceError(f"{path}: no operator with shapes: record the profile with record_shapes=True")
    try:
        trace = Trace(
            name=path.name.split(".")[0] or "recorded",
            tensors=tuple(tensors),
            operators=tuple(operators),
            meta={"from": origin, "skipped": dict(sorted(skipped.items()))},
        )
    except TraceError as error:
        raise TraceError(f"{path}: {error}") from None
    return Imported(trace=trace, skipped=skipped)


def _operator(name: str, step: _Step, dtype: str) -> tuple[list[Tensor], Operator]:
    own = [
        Tensor(name=f"{name}.in{i}", shape=shape, dtype=dtype, role=role)
        for i, (shape, role) in enumerate(step.inputs)
    ]
    out = Tensor(name=f"{name}.out", shape=step.output, dtype=dtype, role="activation")
    op = Operator(
        kind=step.kind,
        name=name,
        inputs=tuple(tensor.name for tensor in own),
        outputs=(out.name,),
        attrs=step.attrs,
        phase="recorded",
    )
    return [*own, out], op


# Reading the two forms


def _calls(path: Path, document: Any) -> list[Call]:
    if isinstance(document, dict) and isinstance(document.get("traceEvents"), list):
        return _kineto(path, document["traceEvents"])
    if isinstance(document, dict) and isinstance(document.get("nodes"), list):
        return _execution(path, document["nodes"])
    raise TraceError(
        f"{path}: wanted an object with a list `traceEvents` (Kineto) or `nodes` (execution trace)"
    )


def _kineto(path: Path, events: list[Any]) -> list[Call]:
    """CPU operators, by thread and start; the caller is the one whose time they lie in."""
    found = []
    for i, event in enumerate(events):
        where = f"{path}: traceEvents[{i}]"
        if not isinstance(event, dict):
            raise TraceError(f"{where}: wanted an object, got {short(event)}")
        if event.get("ph") != "X" or event.get("cat", "cpu_op") not in ("cpu_op", "Operator"):
            continue
        start: Any = event.get("ts")
        length: Any = event.get("dur", 0)
        for what, value in (("ts", start), ("dur", length)):
            if not isinstance(value, int | float) or isinstance(value, bool) or not -1e18 < value < 1e18:
                raise TraceError(f"{where}: {what} {short(value)}: wanted a number")
        args = event.get("args") or {}
        if not isinstance(args, dict):
            raise TraceError(f"{where}: args {short(args)}: wanted an object")
        thread = (str(event.get("pid")), str(event.get("tid")))
        found.append((thread, float(start), -float(length), i, where, event.get("name"), args))
    found.sort(key=lambda each: each[:4])
    calls: list[Call] = []
    stack: list[tuple[tuple[str, str], float, int]] = []
    for thread, start, minus, _, where, name, args in found:
        while stack and (stack[-1][0] != thread or start >= stack[-1][1]):
            stack.pop()
        parent = stack[-1][2] if stack else None
        shapes, types = args.get("Input Dims", []), args.get("Input type", [])
        calls.append(call_of(where, name, shapes, types, args.get("Concrete Inputs", []), parent))
        stack.append((thread, start - minus, len(calls) - 1))
    return calls


def _execution(path: Path, nodes: list[Any]) -> list[Call]:
    """Nodes in their order; `ctrl_deps` (older files: `parent`) is the caller."""
    calls: list[Call] = []
    number_of: dict[int, int] = {}
    for i, node in enumerate(nodes):
        where = f"{path}: nodes[{i}]"
        if not isinstance(node, dict) or type(node.get("id")) is not int:
            raise TraceError(f"{where}: wanted an object with an integer `id`, got {short(node)}")
        if node["id"] in number_of:
            raise TraceError(f"{where}: id {node['id']} is given twice")
        inputs = node.get("inputs", {})
        if isinstance(inputs, list):  # before schema 1.0.3
            inputs = {"values": inputs, "shapes": node.get("input_shapes"), "types": node.get("input_types")}
        if not isinstance(inputs, dict):
            raise TraceError(f"{where}: inputs {short(inputs)}: wanted an object")
        caller = node.get("ctrl_deps", node.get("parent"))
        parent = number_of.get(caller) if type(caller) is int else None  # a later caller is no caller
        values = inputs.get("values") or []
        texts = [str(value) for value in values] if isinstance(values, list) else []
        calls.append(
            call_of(where, node.get("name"), inputs.get("shapes"), inputs.get("types"), texts, parent)
        )
        number_of[node["id"]] = len(calls) - 1
    return calls


def call_of(where: str, name: Any, shapes: Any, types: Any, values: Any, parent: int | None) -> Call:
    if not isinstance(name, str):
        raise TraceError(f"{where}: name {short(name)}: wanted text")
    lists = []
    for what, value in (("shapes", shapes), ("types", types), ("values", values)):
        value = [] if value is None else value
        if not isinstance(value, list):
            raise TraceError(f"{where}: {what} {short(value)}: wanted a list")
        lists.append(value)
    return Call(
        name=name,
        where=where,
        shapes=tuple(_shape(where, each) for each in lists[0]),
        types=tuple(str(each)[:60] for each in lists[1]),
        values=tuple(str(each)[:200] for each in lists[2]),
        parent=parent,
    )


def _shape(where: str, value: Any) -> Shape | None:
    """A shape; None for what is no tensor (an empty list) or a list of tensors."""
    if not isinstance(value, list) or not value or isinstance(value[0], list):
        return None
    if len(value) > 16 or not all(type(axis) is int and 0 <= axis <= MOST for axis in value):
        raise TraceError(f"{where}: shape {short(value)}: wanted up to 16 whole numbers up to {MOST}")
    return tuple(value)


def _plain(name: str) -> str:
    """`aten::add_` is `add`."""
    plain = name.removeprefix("aten::")
    return plain.removesuffix("_") if plain not in _FREE else plain


def _dtype(call: Call) -> str:
    """The type of the first input that has one."""
    for text in call.types:
        name = re.sub(r"^(?:Generic)?Tensor\((.*)\)$", r"\1", text).removeprefix("c10::").lower()
        if name in _TYPES:
            return _TYPES[name]
        if name.startswith(("long", "double", "complex", "int64", "float64")):
            raise _Unusable(f"of type {name}")
    raise _Unusable("without a type")


# The known operators: what a call becomes


def _tensor(call: Call, i: int, dims: int = 0) -> Shape:
    """Shape of input i, of that many axes (0: any)."""
    shape = call.shapes[i] if i < len(call.shapes) else None
    if shape is None:
        raise _Unusable("without shapes")
    if 0 in shape:
        raise _Unusable("empty")
    if dims and len(shape) != dims:
        raise _Unusable(f"input {i} of {len(shape)} axes")
    return shape


def _product(x: Shape, w: Shape, bias: Shape | None = None) -> _Step:
    """x (..., K) by w (N, K)."""
    if x[-1] != w[1] or (bias is not None and bias != (w[0],)):
        raise _Unusable(f"shapes {x} and {w} do not fit")
    inputs = ((x, "activation"), (w, "weight"), *(((bias, "weight"),) if bias else ()))
    return _Step(kind="matmul", inputs=inputs, output=(*x[:-1], w[0]), attrs={})


def _mm(call: Call) -> list[_Step]:
    a, b = _tensor(call, 0, 2), _tensor(call, 1, 2)
    return [_product(a, (b[1], b[0]))]


def _addmm(call: Call) -> list[_Step]:
    a, b = _tensor(call, 1, 2), _tensor(call, 2, 2)
    bias = _tensor(call, 0)
    return [_product(a, (b[1], b[0]), bias if bias == (b[1],) else None)]


def _linear(call: Call) -> list[_Step]:
    bias = call.shapes[2] if len(call.shapes) > 2 else None
    return [_product(_tensor(call, 0), _tensor(call, 1, 2), bias)]


def _matmul(call: Call) -> list[_Step]:
    a, b = _tensor(call, 0), _tensor(call, 1)
    if len(b) == 2:
        return [_product(a, (b[1], b[0]))]
    if len(a) != len(b) or a[:-2] != b[:-2]:
        raise _Unusable(f"shapes {a} and {b}")
    return _batched(call, math.prod(a[:-2]), a[-2], b[-1], a[-1], b[-2])


def _bmm(call: Call) -> list[_Step]:
    a, b = _tensor(call, 0, 3), _tensor(call, 1, 3)
    if a[0] != b[0]:
        raise _Unusable(f"shapes {a} and {b}")
    return _batched(call, a[0], a[1], b[2], a[2], b[1])


def _batched(call: Call, batch: int, m: int, n: int, k: int, other_k: int) -> list[_Step]:
    if k != other_k or batch > LIMIT_OPERATORS:
        raise _Unusable(f"{batch} products of depths {k} and {other_k}")
    inputs = (((m, k), "activation"), ((n, k), "activation"))
    return [_Step(kind="matmul", inputs=inputs, output=(m, n), attrs={})] * batch


def _conv(call: Call) -> list[_Step]:
    x, w = _tensor(call, 0, 4), _tensor(call, 1, 4)
    bias = call.shapes[2] if len(call.shapes) > 2 else None
    plain = _plain(call.name) == "conv2d"
    stride, padding, dilation = (_pair(call, i) for i in (3, 4, 5))
    if not plain and len(call.values) > 6 and call.values[6].lower() == "true":
        raise _Unusable("transposed")
    at = 6 if plain else 8
    groups = call.values[at] if at < len(call.values) else ""
    if not (groups.isascii() and groups.isdecimal() and 0 < len(groups) < 10 and int(groups) >= 1):
        raise _Unusable("without recorded values")
    each = int(groups)
    image = [
        (x[2 + i] + 2 * padding[i] - dilation[i] * (w[2 + i] - 1) - 1) // max(1, stride[i]) + 1
        for i in (0, 1)
    ]
    if min(*image, *stride, *dilation) < 1 or x[1] != w[1] * each or w[0] % each:
        raise _Unusable(f"shapes {x} and {w} do not fit")
    if bias is not None and bias != (w[0],):
        raise _Unusable(f"bias {bias}")
    inputs = ((x, "activation"), (w, "weight"), *(((bias, "weight"),) if bias else ()))
    attrs = {"stride": stride, "padding": padding, "dilation": dilation, "groups": each}
    return [_Step(kind="conv2d", inputs=inputs, output=(x[0], w[0], *image), attrs=attrs)]


def _pair(call: Call, i: int) -> Shape:
    """A recorded value such as `[2, 2]`."""
    text = call.values[i] if i < len(call.values) else ""
    numbers = re.findall(r"\d+", text)
    if not re.fullmatch(r"\[\d{1,9}(?:, ?\d{1,9})?\]", text):
        raise _Unusable("without recorded values")
    return (int(numbers[0]), int(numbers[-1]))


def _elementwise(call: Call) -> list[_Step]:
    shapes = [shape for shape in call.shapes[:2] if shape is not None]
    if not shapes or any(0 in shape for shape in shapes):
        raise _Unusable("without shapes" if not shapes else "empty")
    out: list[int] = []
    for axes in zip(*(((1,) * 16 + shape)[-16:] for shape in shapes), strict=True):
        wide = {axis for axis in axes if axis != 1}
        if len(wide) > 1:
            raise _Unusable(f"shapes {shapes[0]} and {shapes[1]} do not fit")
        out.append(wide.pop() if wide else 1)
    rank = max(len(shape) for shape in shapes)
    function = POINTWISE[_plain(call.name)]
    inputs = tuple((shape, "activation") for shape in shapes)
    return [_Step(kind="elementwise", inputs=inputs, output=tuple(out[-rank:]), attrs={"function": function})]


def _softmax(call: Call) -> list[_Step]:
    x = _tensor(call, 0)
    return [_Step(kind="softmax", inputs=((x, "activation"),), output=x, attrs={})]


def _norm(call: Call) -> list[_Step]:
    x = _tensor(call, 0)
    weights = [shape for shape in call.shapes[1:5] if shape == x[-1:]][:2]
    inputs = ((x, "activation"), *((shape, "weight") for shape in weights))
    return [_Step(kind="norm", inputs=inputs, output=x, attrs={})]


def _embedding(call: Call) -> list[_Step]:
    table, rows = _tensor(call, 0, 2), math.prod(_tensor(call, 1))
    return [_Step(kind="gather", inputs=((table, "weight"),), output=(rows, table[1]), attrs={"rows": rows})]


_KNOWN: dict[str, Callable[[Call], list[_Step]]] = {
    "mm": _mm,
    "addmm": _addmm,
    "linear": _linear,
    "matmul": _matmul,
    "bmm": _bmm,
    "conv2d": _conv,
    "convolution": _conv,
    "softmax": _softmax,
    "_softmax": _softmax,
    "layer_norm": _norm,
    "native_layer_norm": _norm,
    "rms_norm": _norm,
    "embedding": _embedding,
    **dict.fromkeys(POINTWISE, _elementwise),
}
