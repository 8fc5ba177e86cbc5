"""Topology files of SCALE-Sim (convolutions, or M, N, K) and of mNPUsim (a column of types more).

    Layer name, IFMAP Height, IFMAP Width, Filter Height, Filter Width, Channels, Num Filter, Strides,
    Layer, M, N, K,

Formats: scalesim-project/SCALE-Sim topologies/, casys-kaist/mNPUsim network_config/. A layer is computed
without padding: heights and widths in the file include it. The files say nothing of what feeds what: every
layer gets an input, weights and an output of its own.
"""

from __future__ import annotations

import os
from pathlib import Path

from pimsim.errors import TraceError, suggest
from pimsim.trace.op import Operator, Tensor, Trace
from pimsim.trace.reading import read_lines, short, whole

LIMIT_BYTES = 16 * 2**20

_CONV = (
    "ifmap height",
    "ifmap width",
    "filter height",
    "filter width",
    "channels",
    "num filter",
    "strides",
)
_GEMM = ("m", "n", "k")
_OF_NO_EFFECT = ("", "target", "ifmap base addr", "filter base addr", "ofmap base addr")
_TYPES = {
    "conv": "conv2d",
    "im2col_conv": "conv2d",
    "gemm": "matmul",
    "gemv": "matmul",
    "pool": "reduce",
}


def read_scalesim(path: str | os.PathLike[str], *, dtype: str = "int8") -> Trace:
    """The layers of a topology file as a trace; complaints name file and line.

    Of mNPUsim's Gemm and Gemv the input is IFMAP Height x IFMAP Width, the other matrix Filter Height x
    Filter Width. Pool gives one operation an input element.
    """
    path = Path(path)
    lines = read_lines(path, LIMIT_BYTES)
    at = next((number for number, line in enumerate(lines) if line.strip()), None)
    if at is None:
        raise TraceError(f"{path}:1: the file is empty: wanted a header of columns")
    columns = _columns(f"{path}:{at + 1}", lines[at])
    tensors: list[Tensor] = []
    operators: list[Operator] = []
    names: dict[str, int] = {}
    for number, line in enumerate(lines[at + 1 :], start=at + 2):
        if not line.strip(" ,\t"):
            continue
        where = f"{path}:{number}"
        cells = [cell.strip() for cell in line.split(",")]
        name = cells[0]
        if not name:
            raise TraceError(f"{where}: a layer without a name")
        names[name] = names.get(name, 0) + 1
        if names[name] > 1:  # files repeat names
            name = f"{name}.{names[name]}"
            names[name] = names.get(name, 0) + 1
        try:
            op, own = _layer(where, name, cells, columns, dtype)
        except TraceError as error:
            raise error if str(error).startswith(where) else TraceError(f"{where}: {error}") from None
        operators.append(op)
        tensors += own
    if not operators:
        raise TraceError(f"{path}:{len(lines)}: no layers after the header")
    try:
        return Trace(
            name=path.stem or "topology",
            tensors=tuple(tensors),
            operators=tuple(operators),
            meta={"from": "scale-sim"},
        )
    except TraceError as error:
        raise TraceError(f"{path}: {error}") from None


def _columns(where: str, line: str) -> dict[str, int]:
    """Column name -> number, after checking that they are those of a known form."""
    names = [" ".join(cell.split()).lower() for cell in line.split(",")]
    columns = {name: i for i, name in enumerate(names) if name and i}
    wanted = _GEMM if "m" in columns else _CONV
    missing = [name for name in wanted if name not in columns]
    if missing:
        raise TraceError(f"{where}: no column {missing[0]!r}: wanted a name, then {', '.join(wanted)}")
    known = {*wanted, *_OF_NO_EFFECT, *(("type",) if wanted is _CONV else ())}
    for name in columns:
        if name not in known:
            raise TraceError(f"{where}: unknown column {short(name)}{suggest(name[:60], known - {''})}")
    return columns


def _layer(
    where: str, name: str, cells: list[str], columns: dict[str, int], dtype: str
) -> tuple[Operator, list[Tensor]]:
    def size(column: str) -> int:
        i = columns[column]
        if i >= len(cells):
            raise TraceError(f"{where}: {len(cells)} cells, but {column!r} is column {i + 1}")
        return whole(cells[i], where, column)

    kind = "matmul" if "m" in columns else "conv2d"
    if "type" in columns:
        given = cells[columns["type"]] if columns["type"] < len(cells) else ""
        if given.lower() not in _TYPES:
            raise TraceError(f"{where}: no type {short(given)}{suggest(given[:60], _TYPES)}")
        kind = _TYPES[given.lower()]
    attrs: dict[str, int] = {}
    if "m" in columns:
        x, w = (size("m"), size("k")), (size("n"), size("k"))
        y: tuple[int, ...] = (x[0], w[0])
    elif kind == "matmul":
        x, w = (size("ifmap height"), size("ifmap width")), (size("filter width"), size("filter height"))
        if x[1] != w[1]:
            raise TraceError(f"{where}: IFMAP Width {x[1]} but Filter Height {w[1]}: wanted the same")
        y = (x[0], w[0])
    else:
        high, wide, fh, fw = (size(column) for column in _CONV[:4])
        channels, filters, stride = (size(column) for column in _CONV[4:])
        if fh > high or fw > wide:
            raise TraceError(f"{where}: a filter of {fh} x {fw} on an input of {high} x {wide}")
        out = (high - fh) // stride + 1, (wide - fw) // stride + 1
        if kind == "reduce":
            own = [
                Tensor(name=f"{name}.input", shape=(1, channels, high, wide), dtype=dtype, role="input"),
                Tensor(name=f"{name}.output", shape=(1, channels, *out), dtype=dtype, role="output"),
            ]
            return _operator("reduce", name, own, {}), own
        attrs = {"stride": stride, "padding": 0, "dilation": 1, "groups": 1}
        x4, w4 = (1, channels, high, wide), (filters, channels, fh, fw)
        own = _tensors(name, x4, w4, (1, filters, *out), dtype)
        return _operator("conv2d", name, own, attrs), own
    own = _tensors(name, x, w, y, dtype)
    return _operator("matmul", name, own, attrs), own


def _tensors(
    name: str, x: tuple[int, ...], w: tuple[int, ...], y: tuple[int, ...], dtype: str
) -> list[Tensor]:
    return [
        Tensor(name=f"{name}.input", shape=x, dtype=dtype, role="input"),
        Tensor(name=f"{name}.weight", shape=w, dtype=dtype, role="weight"),
        Tensor(name=f"{name}.output", shape=y, dtype=dtype, role="output"),
    ]


def _operator(kind: str, name: str, own: list[Tensor], attrs: dict[str, int]) -> Operator:
    names = [tensor.name for tensor in own]
    return Operator(
        kind=kind, name=name, inputs=tuple(names[:-1]), outputs=(names[-1],), attrs=attrs, phase="forward"
    )
