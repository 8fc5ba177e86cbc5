"""Reading an ONNX file: checks, shape inference, and the walk over its nodes."""

from __future__ import annotations

import math
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from pimsim.errors import TraceError
from pimsim.trace.assemble import Assembler, Shape
from pimsim.trace.onnx.data import without_data
from pimsim.trace.onnx.nodes import MAKERS, MOST_INPUTS, Node, Unusable, Value
from pimsim.trace.reading import MOST, Imported, read_bytes, short, unknown_operators

try:
    import onnx
    from google.protobuf.message import DecodeError
except ImportError as error:
    raise TraceError("reading ONNX graphs needs a package: install pimsim[onnx]") from error

LIMIT_BYTES = 512 * 2**20
LIMIT_GRAPH = 8 * 2**20
"""The largest graph beside the data of its weights: protobuf makes objects of up to 250 times its size."""

LIMIT_NODES = 100_000
SMALL = 1024  # elements of an initializer that shape inference may want to see

_TYPES = {
    "FLOAT": "fp32",
    "FLOAT16": "fp16",
    "BFLOAT16": "bf16",
    "FLOAT8E4M3FN": "fp8",
    "FLOAT8E5M2": "fp8",
    "INT64": "int32",  # indices, which an engine stores so
    "INT32": "int32",
    "INT8": "int8",
    "UINT8": "int8",
    "INT4": "int4",
    "UINT4": "int4",
    "BOOL": "bool",
}
_VIEWS = ("Reshape", "Flatten", "Squeeze", "Unsqueeze", "Identity", "Dropout", "Transpose", "Expand")
_PARTS = ("Slice", "Split")
_SHAPES = ("Shape", "Size")


def read_onnx(
    path: str | os.PathLike[str], *, dims: Mapping[str, int] | None = None, skip_unknown: bool = False
) -> Imported:
    """The operators of an ONNX graph in its order.

    dims: sizes of the dimensions that the graph leaves open, by their names. skip_unknown: count operators
    without a counterpart instead of refusing the file.
    """
    path = Path(path)
    model = onnx.ModelProto()
    try:
        content = without_data(path, read_bytes(path, LIMIT_BYTES))
        if len(content) > LIMIT_GRAPH:
            raise TraceError(
                f"{path}: {len(content):,} bytes beside the weights: wanted at most {LIMIT_GRAPH:,}"
            )
        model.ParseFromString(content)
    except DecodeError as error:
        raise TraceError(f"{path}: not an ONNX model: {error}") from None
    graph = model.graph
    if not graph.node:
        raise TraceError(f"{path}: not an ONNX model, or one without nodes")
    if len(graph.node) > LIMIT_NODES:
        raise TraceError(f"{path}: {len(graph.node):,} nodes: wanted at most {LIMIT_NODES:,}")
    _check_order(path, graph)
    _close_dimensions(path, graph, dims or {})
    try:
        return _Reader(path, _inferred(path, model)).read(skip_unknown)
    except UnicodeError as error:
        raise TraceError(f"{path}: a name is not UTF-8 text: {error}") from None


def _check_order(path: Path, graph: Any) -> None:
    """Every node reads what is there before it; so there is no cycle."""
    known = {""} | {each.name for each in graph.input} | {each.name for each in graph.initializer}
    known |= {each.values.name for each in graph.sparse_initializer}
    for i, node in enumerate(graph.node):
        for name in node.input:
            if name not in known:
                raise TraceError(
                    f"{path}: node[{i}] {short(node.name or node.op_type)}: reads {short(name)}, which "
                    "nothing before it writes: the graph has a cycle or is out of order"
                )
        for name in node.output:
            if name and name in known:
                raise TraceError(
                    f"{path}: node[{i}] {short(node.name or node.op_type)}: writes {short(name)} again"
                )
            known.add(name)


def _close_dimensions(path: Path, graph: Any, dims: Mapping[str, int]) -> None:
    """Give open dimensions of the inputs their sizes; shapes beside the inputs follow from them."""
    stored = {each.name for each in graph.initializer}
    open_at: dict[str, str] = {}
    used: set[str] = set()
    for each in graph.input:
        if each.name in stored:
            continue
        if not each.type.HasField("tensor_type") or not each.type.tensor_type.HasField("shape"):
            raise TraceError(f"{path}: input {short(each.name)}: no tensor with a shape")
        for i, dim in enumerate(each.type.tensor_type.shape.dim):
            name = dim.dim_param or f"{each.name}.{i}"
            if dim.HasField("dim_value"):
                if not 1 <= dim.dim_value <= MOST:
                    raise TraceError(
                        f"{path}: input {short(each.name)}: dimension {i} is {dim.dim_value}: "
                        f"wanted 1 to {MOST}"
                    )
            elif name in dims:
                dim.dim_value = dims[name]
                used.add(name)
            else:
                open_at.setdefault(name, each.name)
    for name in dims:
        if name not in used:
            told = ", ".join(map(short, sorted({*used, *open_at}))) or "none"
            raise TraceError(f"{path}: no open dimension {short(name)}; open ones: {told}")
    if open_at:
        name, at = next(iter(open_at.items()))
        raise TraceError(
            f"{path}: input {short(at)}: dimension {short(name)} is open: give its size (--dim {name}=1)"
        )
    del graph.value_info[:]  # they may contradict the sizes given
    for each in graph.output:
        each.type.tensor_type.ClearField("shape")


def _inferred(path: Path, model: Any) -> Any:
    """The graph with the shapes of all tensors, large initializers without their data."""
    kept = []
    for each in model.graph.initializer:
        elements = 1
        for size in each.dims:
            if not 0 <= size <= MOST:
                raise TraceError(f"{path}: initializer {short(each.name)}: size {size}: wanted 0 to {MOST}")
            elements *= size
        if elements <= SMALL and each.data_location != onnx.TensorProto.EXTERNAL:
            kept.append(onnx.TensorProto.FromString(each.SerializeToString()))
    weights = {each.name: (each.data_type, tuple(each.dims)) for each in model.graph.initializer}
    listed = {each.name for each in model.graph.input}
    del model.graph.initializer[:]
    model.graph.initializer.extend(kept)
    held = {each.name for each in kept}
    for name, (data_type, shape) in weights.items():
        if name not in held and name not in listed:
            model.graph.input.append(onnx.helper.make_tensor_value_info(name, data_type, shape))
    try:
        model = onnx.shape_inference.infer_shapes(model, data_prop=True)
    except (onnx.shape_inference.InferenceError, ValueError, RuntimeError, DecodeError) as error:
        first = str(error).strip().splitlines()[0] if str(error).strip() else type(error).__name__
        raise TraceError(f"{path}: shape inference: {first[:300]}") from None
    return model.graph, weights


class _Reader:
    def __init__(self, path: Path, inferred: tuple[Any, dict[str, tuple[int, Shape]]]) -> None:
        self.path = path
        self.graph, self.stored = inferred
        self.assembler = Assembler()
        self.types: dict[str, tuple[int, Shape]] = dict(self.stored)
        for each in (*self.graph.input, *self.graph.value_info, *self.graph.output):
            tensor = each.type.tensor_type
            if tensor.HasField("shape") and all(dim.HasField("dim_value") for dim in tensor.shape.dim):
                shape = tuple(dim.dim_value for dim in tensor.shape.dim)
                self.types.setdefault(each.name, (tensor.elem_type, shape))
        self.values: dict[str, Value] = {}
        self.lost: set[str] = set()  # what unknown operators write
        self.outputs = {each.name for each in self.graph.output}

    def read(self, skip_unknown: bool) -> Imported:
        for each in self.graph.input:
            if each.name not in self.stored:
                try:
                    self._declare(each.name, "input", data=True)
                except (TraceError, Unusable) as error:
                    raise TraceError(f"{self.path}: input {short(each.name)}: {error}") from None
        skipped: dict[str, int] = {}
        first: dict[str, str] = {}
        for i, node in enumerate(self.graph.node):
            name = node.name or f"{node.op_type}.{i}"
            where = f"{self.path}: node[{i}] {short(name)} ({short(node.op_type)[1:-1]})"
            try:
                self._node(node, name)
            except Unusable as problem:
                self._lose(node)
                told = f"{node.domain + '.' if node.domain else ''}{node.op_type}"
                told = f"{told} ({problem})" if str(problem) else told
                skipped[told] = skipped.get(told, 0) + 1
                first.setdefault(told, where)
            except TraceError as error:
                raise TraceError(f"{where}: {error}") from None
        if skipped and not skip_unknown:
            raise unknown_operators(first, skipped)
        if not self.assembler.steps:
            raise TraceError(f"{self.path}: no operator that depends on an input of the graph")
        try:
            name = self.graph.name or self.path.name.split(".")[0] or "onnx"
            meta = {"from": "onnx", "skipped": dict(sorted(skipped.items()))}
            return Imported(trace=self.assembler.trace(name[:200], meta), skipped=skipped)
        except TraceError as error:
            raise TraceError(f"{self.path}: {error}") from None

    def _node(self, node: Any, name: str) -> None:
        known = [self.values.get(each) for each in node.input]
        data = any(value is not None and value.data for value in known) and node.op_type not in _SHAPES
        if not data:  # computed when the model is loaded; a tensor once an operator reads it
            return
        own = node.domain in ("", "ai.onnx")
        view = own and node.op_type in _VIEWS
        if not own or (node.op_type not in MAKERS and not view and node.op_type not in _PARTS):
            raise Unusable("")
        if any(each in self.lost for each in node.input):
            raise Unusable("behind another")
        source = known[0]
        if (view or node.op_type in _PARTS) and source is not None and source.data:
            self._view(node, source, whole=view)
            return
        inputs = [self._input(each) for each in node.input[: MOST_INPUTS.get(node.op_type)]]
        outputs = [self._result(each) for each in node.output]
        made = Node(name, node.op_type, inputs, outputs, _attributes(node))
        if view or node.op_type in _PARTS:  # of a constant, by something that depends on inputs
            raise Unusable("of a constant")
        for step in MAKERS[node.op_type](made):
            label = f"{name}.{step.suffix}" if step.suffix else name
            self.assembler.step(step.kind, label[:400], step.inputs, step.outputs, step.attrs)

    def _lose(self, node: Any) -> None:
        for each in node.output:
            if each:
                self.lost.add(each)
                self.values[each] = Value(each, (), True)

    def _view(self, node: Any, source: Value, *, whole: bool) -> None:
        for each in node.output:
            if not each or (node.op_type == "Dropout" and each != node.output[0]):
                continue
            _, shape = self._type(each)
            part = source.part if whole else each
            if whole and math.prod(shape) < source.elements:
                part = each
            self.values[each] = Value(source.base, shape, True, part)

    def _input(self, name: str) -> Value | None:
        """A value that an operator reads; a constant becomes a weight."""
        if not name:
            return None
        if name not in self.values:
            self._declare(name, "constant", data=False)
        return self.values[name]

    def _result(self, name: str) -> Value | None:
        if not name:
            return None
        role = "output" if name in self.outputs else "activation"
        self._declare(name, role, data=True)
        return self.values[name]

    def _type(self, name: str) -> tuple[int, Shape]:
        if name not in self.types:
            raise Unusable(f"without a shape of {short(name)}")
        elem, shape = self.types[name]
        for size in shape:
            if not 1 <= size <= MOST:
                raise TraceError(f"{short(name)}: shape {short(shape)}: wanted sizes 1 to {MOST}")
        return elem, shape

    def _declare(self, name: str, role: str, *, data: bool) -> None:
        elem, shape = self._type(name)
        try:
            label = onnx.TensorProto.DataType.Name(elem)
        except ValueError:
            label = str(elem)
        if label not in _TYPES:
            raise TraceError(f"{short(name)}: type {label} is not modelled")
        if role == "constant":
            role = (
                "weight" if math.prod(shape) > 1 and _TYPES[label] not in ("int32", "bool") else "activation"
            )
        self.assembler.tensor(name, shape or (1,), _TYPES[label], role)
        self.values[name] = Value(name, shape, data)


def _attributes(node: Any) -> dict[str, Any]:
    """Numbers, lists of numbers and text; everything else is of no use here."""
    kinds = onnx.AttributeProto
    found: dict[str, Any] = {}
    for each in node.attribute:
        if each.type == kinds.INT:
            found[each.name] = each.i
        elif each.type == kinds.FLOAT:
            found[each.name] = each.f
        elif each.type == kinds.STRING:
            found[each.name] = each.s.decode("utf-8", errors="replace")
        elif each.type == kinds.INTS:
            if len(each.ints) > 64:
                raise TraceError(f"attribute {short(each.name)} of {len(each.ints)} numbers: wanted up to 64")
            found[each.name] = list(each.ints)
    return found
