"""Chakra execution traces, read and written. Extra `chakra`.

    imported = read_chakra("rank0.et")
    write_chakra(trace, "model.et")

A file is a row of messages, each behind its length as a varint: first a GlobalMetadata, then Nodes. There is
no package of the schema on PyPI; the names and numbers of fields below are those of mlcommons/chakra,
schema/protobuf/et_def.proto (commit 6dc63e1); the messages are built from them with `protobuf`.

Reading: nodes of PyTorch operators with shapes are taken as in `pytorch.py`; files written here come back as
they were. Other nodes (communication, memory, kernels without shapes) are unknown operators. Writing: one
compute node an operator, with `num_ops` (FLOPs), `tensor_size` (bytes read and written), which ASTRA-sim
reads, and its tensors and settings as JSON; a node depends on those that wrote what it reads.
"""

from __future__ import annotations

import heapq
import json
import os
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from typing import Any

import msgspec

from pimsim.errors import TraceError
from pimsim.trace.op import Operator, Tensor, Trace, plain
from pimsim.trace.pytorch import Call, call_of, trace_of_calls
from pimsim.trace.reading import Imported, read_bytes, short

try:
    from google.protobuf import descriptor_pb2, descriptor_pool, message_factory
    from google.protobuf.message import DecodeError
except ImportError as error:
    raise TraceError("Chakra traces need a package: install pimsim[chakra]") from error

LIMIT_BYTES = 512 * 2**20
LIMIT_MESSAGE = 16 * 2**20
LIMIT_VALUES = 4_000_000
"""Attributes and dependences of all nodes."""

LIMIT_NODES = 200_000
SCHEMA = "pimsim-trace"
VERSION = "0.0.4"

_NODE_TYPES = (
    "INVALID_NODE",
    "METADATA_NODE",
    "MEM_LOAD_NODE",
    "MEM_STORE_NODE",
    "COMP_NODE",
    "COMM_SEND_NODE",
    "COMM_RECV_NODE",
    "COMM_COLL_NODE",
    "STORAGE_NODE",
    "BATCH_NODE",
    "CHECKPOINT_NODE",
)
METADATA, COMPUTE = 1, 4

# Field name -> (number, type of descriptor.proto, repeated). Values of other types than these are not read;
# protobuf keeps what it does not know.
_FIELDS: dict[str, dict[str, tuple[int, str, bool]]] = {
    "AttributeProto": {
        "name": (1, "STRING", False),
        "double_val": (3, "DOUBLE", False),
        "float_val": (5, "FLOAT", False),
        "int32_val": (7, "INT32", False),
        "int64_val": (9, "INT64", False),
        "uint32_val": (11, "UINT32", False),
        "uint64_val": (13, "UINT64", False),
        "bool_val": (27, "BOOL", False),
        "string_val": (29, "STRING", False),
    },
    "GlobalMetadata": {"version": (1, "STRING", False), "attr": (2, ".pimsim_chakra.AttributeProto", True)},
    "IOInfo": {"values": (1, "STRING", False), "shapes": (2, "STRING", False), "types": (3, "STRING", False)},
    "Node": {
        "id": (1, "UINT64", False),
        "name": (2, "STRING", False),
        "type": (3, "INT32", False),  # an enum, by number
        "ctrl_deps": (4, "UINT64", True),
        "data_deps": (5, "UINT64", True),
        "start_time_micros": (6, "UINT64", False),
        "duration_micros": (7, "UINT64", False),
        "inputs": (8, ".pimsim_chakra.IOInfo", False),
        "outputs": (9, ".pimsim_chakra.IOInfo", False),
        "attr": (10, ".pimsim_chakra.AttributeProto", True),
    },
}


@cache
def messages() -> dict[str, Any]:
    """The classes of the messages by name."""
    file = descriptor_pb2.FileDescriptorProto(
        name="pimsim_chakra.proto", package="pimsim_chakra", syntax="proto3"
    )
    field_type = descriptor_pb2.FieldDescriptorProto
    for message, its_fields in _FIELDS.items():
        made = file.message_type.add(name=message)
        for name, (number, kind, repeated) in its_fields.items():
            field = made.field.add(name=name, number=number)
            field.label = field_type.LABEL_REPEATED if repeated else field_type.LABEL_OPTIONAL
            if kind.startswith("."):
                field.type, field.type_name = field_type.TYPE_MESSAGE, kind
            else:
                field.type = field_type.Type.Value(f"TYPE_{kind}")
            if message == "AttributeProto" and number > 2:
                if not made.oneof_decl:
                    made.oneof_decl.add(name="value")
                field.oneof_index = 0
    pool = descriptor_pool.DescriptorPool()
    pool.Add(file)
    return {
        name: message_factory.GetMessageClass(pool.FindMessageTypeByName(f"pimsim_chakra.{name}"))
        for name in _FIELDS
    }


def read_chakra(path: str | os.PathLike[str], *, skip_unknown: bool = False) -> Imported:
    """The operators of a Chakra execution trace, each after those that it depends on."""
    path = Path(path)
    content = read_bytes(path, LIMIT_BYTES)
    parts = _split(path, content)
    at, first = next(parts, (0, b""))
    metadata = _decoded(path, at, first, "GlobalMetadata")
    nodes: list[Any] = []
    values = 0
    for at, part in parts:
        if len(nodes) >= LIMIT_NODES:
            raise TraceError(f"{path}: byte {at}: more than {LIMIT_NODES:,} nodes")
        node = _decoded(path, at, part, "Node")
        values += len(node.attr) + len(node.ctrl_deps) + len(node.data_deps)
        if values > LIMIT_VALUES:
            raise TraceError(f"{path}: byte {at}: more than {LIMIT_VALUES:,} attributes and dependences")
        nodes.append(node)
    if not nodes:
        raise TraceError(f"{path}: no nodes behind the metadata")
    ordered = _in_order(path, nodes)
    held = {each.name: each.string_val for each in metadata.attr}
    if held.get("schema") == SCHEMA:
        return Imported(trace=_own(path, held.get(SCHEMA, ""), ordered))
    calls, others = _calls(path, ordered)
    if others and not skip_unknown:
        name, count = next(iter(others.items()))
        more = f" and {len(others) - 1} others" if len(others) > 1 else ""
        raise TraceError(f"{path}: unknown operators: {name} x {count}{more}; --skip-unknown leaves them out")
    read = trace_of_calls(path, calls, "chakra", skip_unknown=skip_unknown)
    return Imported(trace=read.trace, skipped={**others, **read.skipped})


def _split(path: Path, content: bytes) -> Iterator[tuple[int, memoryview]]:
    """(byte, message) of all messages."""
    view, at = memoryview(content), 0
    if not content:
        raise TraceError(f"{path}: byte 0: the file is empty")
    while at < len(view):
        start, size, shift = at, 0, 0
        while True:
            if at >= len(view) or shift > 28:
                raise TraceError(f"{path}: byte {start}: no length of a message (a varint of up to 5 bytes)")
            byte = view[at]
            size |= (byte & 0x7F) << shift
            at, shift = at + 1, shift + 7
            if byte < 0x80:
                break
        if size > min(LIMIT_MESSAGE, len(view) - at):
            raise TraceError(
                f"{path}: byte {start}: a message of {size:,} bytes with {len(view) - at:,} left: "
                "the file is cut off or no Chakra trace"
            )
        yield start, view[at : at + size]
        at += size


def _decoded(path: Path, at: int, part: bytes | memoryview, name: str) -> Any:
    made = messages()[name]()
    try:
        made.ParseFromString(bytes(part))
    except (DecodeError, UnicodeDecodeError) as error:
        raise TraceError(f"{path}: byte {at}: no {name}: {error}") from None
    return made


def _in_order(path: Path, nodes: list[Any]) -> list[Any]:
    """Nodes behind all that they depend on, else in the order of the file."""
    number = {node.id: i for i, node in enumerate(nodes)}
    if len(number) < len(nodes):
        seen: set[int] = set()
        for node in nodes:
            if node.id in seen:
                raise TraceError(f"{path}: node {node.id} {short(node.name)}: the number is given twice")
            seen.add(node.id)
    waits = [0] * len(nodes)
    after: list[list[int]] = [[] for _ in nodes]
    for i, node in enumerate(nodes):
        for before in {*node.ctrl_deps, *node.data_deps}:
            if before not in number:
                raise TraceError(
                    f"{path}: node {node.id} {short(node.name)}: depends on {before}, which is no node"
                )
            waits[i] += 1
            after[number[before]].append(i)
    ready = [i for i, count in enumerate(waits) if not count]
    heapq.heapify(ready)
    ordered = []
    while ready:
        i = heapq.heappop(ready)
        ordered.append(nodes[i])
        for later in after[i]:
            waits[later] -= 1
            if not waits[later]:
                heapq.heappush(ready, later)
    if len(ordered) < len(nodes):
        stuck = nodes[next(i for i, count in enumerate(waits) if count)]
        raise TraceError(f"{path}: node {stuck.id} {short(stuck.name)}: waits for itself: a cycle")
    return ordered


def _calls(path: Path, nodes: list[Any]) -> tuple[list[Call], dict[str, int]]:
    """PyTorch operators as recorded calls; the others by name."""
    calls: list[Call] = []
    number_of: dict[int, int] = {}
    others: dict[str, int] = {}
    for node in nodes:
        where = f"{path}: node {node.id} {short(node.name)}"
        if node.type == METADATA or node.name.startswith(("[pytorch|", "[param|")):
            continue
        if node.type != COMPUTE or "::" not in node.name:
            kind = _NODE_TYPES[node.type] if 0 <= node.type < len(_NODE_TYPES) else f"type {node.type}"
            told = f"{short(node.name)} ({kind})"
            others[told] = others.get(told, 0) + 1
            continue
        shapes, types, values = (
            _list(getattr(node.inputs, name), where, name) for name in ("shapes", "types", "values")
        )
        texts = [msgspec.json.encode(each).decode().replace(",", ", ") for each in values]
        texts = [text.replace("true", "True").replace("false", "False") for text in texts]
        parent = next((number_of[each] for each in node.ctrl_deps if each in number_of), None)
        calls.append(call_of(where, node.name, shapes, types, texts, parent))
        number_of[node.id] = len(calls) - 1
    return calls, others


def _list(text: str, where: str, name: str) -> list[Any]:
    """A list as Python or JSON prints it; empty where it is neither."""
    if not text:
        return []
    for quoted, true, false, null in (("'", "True", "False", "None"), ('"', "true", "false", "null")):
        plain_text = text.replace(quoted, '"').replace(true, "true").replace(false, "false")
        plain_text = plain_text.replace(null, "null").replace("(", "[").replace(")", "]")
        if name == "types":  # Tensor(float)
            plain_text = text.replace(quoted, '"')
        try:
            value = msgspec.json.decode(plain_text)
        except (msgspec.MsgspecError, RecursionError):
            continue
        if isinstance(value, list):
            return value
    if name == "values":
        return []
    raise TraceError(f"{where}: {name} {short(text)}: wanted a list")


# Files written here


def write_chakra(trace: Trace, path: str | os.PathLike[str]) -> None:
    """Write a trace; a file of that name is replaced only once the new one is complete."""
    path = Path(path)
    kinds = messages()
    head = {
        "name": trace.name,
        "meta": plain(trace.meta),
        "tensors": [[t.name, list(t.shape), t.dtype, t.role] for t in trace.tensors],
    }
    metadata = kinds["GlobalMetadata"](version=VERSION)
    metadata.attr.add(name="schema", string_val=SCHEMA)
    metadata.attr.add(name=SCHEMA, string_val=_json(head))
    parts = [metadata.SerializeToString(deterministic=True)]
    views = dict(trace.meta.get("views") or {})
    writer: dict[str, int] = {}
    for number, op in enumerate(trace.operators, start=1):
        cost = trace.cost(op)
        before = {writer[name] for name in (views.get(each, each) for each in op.inputs) if name in writer}
        node = kinds["Node"](id=number, name=op.name, type=COMPUTE, data_deps=sorted(before))
        for names, info in ((op.inputs, node.inputs), (op.outputs, node.outputs)):
            tensors = [trace.tensor(name) for name in names]
            info.values = _json(list(names))
            info.shapes = _json([list(tensor.shape) for tensor in tensors])
            info.types = _json([tensor.dtype for tensor in tensors])
        node.attr.add(name="is_cpu_op", bool_val=False)
        node.attr.add(name="num_ops", int64_val=min(cost.flops, 2**63 - 1))
        node.attr.add(name="tensor_size", uint64_val=min(cost.bytes_read + cost.bytes_written, 2**64 - 1))
        settings = {"kind": op.kind, "phase": op.phase, "layer": op.layer, "attrs": plain(op.attrs)}
        node.attr.add(name=SCHEMA, string_val=_json(settings))
        parts.append(node.SerializeToString(deterministic=True))
        for each in op.outputs:
            writer[views.get(each, each)] = number
    temporary = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    try:
        temporary.write_bytes(b"".join(_varint(len(part)) + part for part in parts))
        os.replace(temporary, path)
    except OSError as error:
        raise TraceError(f"{path}: cannot write the trace: {error.strerror or error}") from error
    finally:
        temporary.unlink(missing_ok=True)


def _own(path: Path, text: str, nodes: list[Any]) -> Trace:
    """A trace from a file that `write_chakra` wrote."""
    where = f"{path}: metadata"
    try:
        head = msgspec.json.decode(text, type=_Head)
        where = f"{path}: nodes"
        operators = []
        for node in nodes:
            where = f"{path}: node {node.id} {short(node.name)}"
            held = {each.name: each.string_val for each in node.attr}
            settings = msgspec.json.decode(held.get(SCHEMA, ""), type=_Settings)
            ins = msgspec.json.decode(node.inputs.values, type=list[str])
            outs = msgspec.json.decode(node.outputs.values, type=list[str])
            operators.append(
                Operator(
                    kind=settings.kind,
                    name=node.name,
                    inputs=tuple(ins),
                    outputs=tuple(outs),
                    attrs=settings.attrs,
                    phase=settings.phase,
                    layer=settings.layer,
                )
            )
        where = f"{path}: metadata"
        tensors = tuple(
            Tensor(name=name, shape=tuple(shape), dtype=dtype, role=role)
            for name, shape, dtype, role in head.tensors
        )
        where = f"{path}"
        return Trace(name=head.name, tensors=tensors, operators=tuple(operators), meta=head.meta)
    except (msgspec.MsgspecError, RecursionError, TraceError) as error:
        raise TraceError(f"{where}: {error}") from None


class _Head(msgspec.Struct, forbid_unknown_fields=True):
    name: str
    meta: dict[str, Any]
    tensors: list[tuple[str, list[int], str, str]]


class _Settings(msgspec.Struct, forbid_unknown_fields=True):
    kind: str
    phase: str
    layer: int | None
    attrs: dict[str, Any]


def _json(value: Any) -> str:
    return json.dumps(value, separators=(",", ":"), allow_nan=False)


def _varint(value: int) -> bytes:
    out = bytearray()
    while value >= 0x80:
        out.append(value & 0x7F | 0x80)
        value >>= 7
    return bytes([*out, value])
