"""Calls that an inference engine runs as one: the patterns that `capture` joins.

norm           the calls inside a module that is an RMS norm or layer norm
rope           x * cos + rotate_half(x) * sin, the tables left out
gated          silu or gelu of one product times another
batch norm     folded into the convolution before it (its scale and shift become a bias)
relu           written by the convolution, batch norm or addition that it follows
last rows      a norm of which only the last rows are read norms only those
cache          a cache that came in and is joined with new rows is written only there
"""

from __future__ import annotations

from collections import Counter
from dataclasses import replace
from typing import Any

from pimsim.trace.capture.record import Call, NormCall, Storage, Value

BATCH_NORMS = (
    "native_batch_norm",
    "_native_batch_norm_legit_no_training",
    "_native_batch_norm_legit",
    "cudnn_batch_norm",
    "miopen_batch_norm",
    "_batch_norm_no_update",
)
_RELUS = ("relu", "relu_", "hardtanh", "hardtanh_", "clamp_min", "clamp_min_")
_TAKE_RELU = ("convolution", "add", "add_", *BATCH_NORMS)
_CASTS = ("_to_copy", "clone")


def join_norms(calls: list[Call], norms: dict[int, NormCall]) -> list[Call]:
    """One call for all that a norm module does."""
    made = []
    last = {call.module: call.number for call in calls}
    count = Counter(call.module for call in calls)
    for call in calls:
        norm = norms.get(call.module)
        if norm is None or count[call.module] == 1:
            made.append(call)
        elif call.number == last[call.module]:
            args: dict[str, Any] = {"input": norm.x, "weights": list(norm.weights)}
            made.append(replace(call, name="pimsim::norm", args=args, outputs=[norm.result], path=norm.path))
    return made


def fuse(calls: list[Call], alive: set[int]) -> list[Call]:
    """All patterns but `norm`. alive: ids of storages that the caller still reads."""
    for step in (_ropes, _gated, _batch_norms, _relus, _last_rows, _caches):
        calls = step(calls, _Graph(calls, alive))
    return calls


class _Graph:
    """Who writes a storage, and who reads it."""

    def __init__(self, calls: list[Call], alive: set[int]) -> None:
        self.writers: dict[int, list[Call]] = {}
        self.readers: dict[int, list[Call]] = {}
        self.alive = alive
        for call in calls:
            for value in call.outputs:
                self.writers.setdefault(id(value.storage), []).append(call)
            for storage in {id(value.storage): value.storage for value in call.inputs}.values():
                self.readers.setdefault(id(storage), []).append(call)

    def writer(self, value: Value) -> Call | None:
        """The only call that writes all of its memory, None if there are several."""
        found = self.writers.get(id(value.storage), [])
        return found[0] if len(found) == 1 else None

    def only_reader(self, storage: Storage) -> Call | None:
        found = self.readers.get(id(storage), [])
        return found[0] if len(found) == 1 and id(storage) not in self.alive else None


def _ropes(calls: list[Call], graph: _Graph) -> list[Call]:
    gone: set[int] = set()
    joined: dict[int, Call] = {}
    for cat in calls:
        found = _rope(cat, graph) if cat.name == "cat" else None
        if found:
            parts, x, add = found
            gone |= {id(part) for part in parts}
            joined[id(add)] = replace(add, name="pimsim::rope", args={"input": x})
    return [joined.get(id(call), call) for call in calls if id(call) not in gone]


def _rope(cat: Call, graph: _Graph) -> tuple[list[Call], Value, Call] | None:
    """What makes up a rotation around `cat(-upper half, lower half)`: calls to drop, input, last call."""
    halves = [value for value in cat.inputs if value.elements]
    if len(halves) != 2:
        return None
    neg, lower = graph.writer(halves[0]), halves[1]
    if neg is None or neg.name != "neg" or graph.only_reader(halves[0].storage) is not cat:
        return None
    times_sin = graph.only_reader(cat.outputs[0].storage)
    if neg.inputs[0].storage is not lower.storage or times_sin is None or times_sin.name != "mul":
        return None
    add = graph.only_reader(times_sin.outputs[0].storage)
    if add is None or add.name != "add" or len(add.inputs) != 2:
        return None
    others = [v for v in add.inputs if v.storage is not times_sin.outputs[0].storage]
    other = others[0] if others else None
    times_cos = graph.writer(other) if other else None
    if (
        times_cos is None
        or times_cos.name != "mul"
        or graph.only_reader(times_cos.outputs[0].storage) is not add
    ):
        return None
    sources = [value for value in times_cos.inputs if value.storage is lower.storage]
    return ([neg, cat, times_sin, times_cos], sources[0], add) if sources else None


def _gated(calls: list[Call], graph: _Graph) -> list[Call]:
    gone: set[int] = set()
    joined: dict[int, Call] = {}
    for act in calls:
        if act.name not in ("silu", "gelu"):
            continue
        mul = graph.only_reader(act.outputs[0].storage)
        data = [value for value in mul.inputs if value.storage.data] if mul else []
        if mul is not None and mul.name == "mul" and len(data) == 2:
            up = [value for value in data if value.storage is not act.outputs[0].storage]
            if up:
                gone.add(id(act))
                args = {"gate": act.inputs[0], "up": up[0]}
                joined[id(mul)] = replace(mul, name=f"pimsim::{act.name}_mul", args=args)
    return [joined.get(id(call), call) for call in calls if id(call) not in gone]


def _batch_norms(calls: list[Call], graph: _Graph) -> list[Call]:
    gone: set[int] = set()
    joined: dict[int, Call] = {}
    for norm in calls:
        if norm.name not in BATCH_NORMS or norm.args.get("training", norm.args.get("train", False)):
            continue
        conv = graph.writer(norm.inputs[0])
        if (
            conv is None
            or conv.name != "convolution"
            or graph.only_reader(norm.inputs[0].storage) is not norm
            or conv.args.get("transposed")
        ):
            continue
        weight, bias = conv.args["weight"], conv.args.get("bias")
        if bias is None:
            channels = (weight.shape[0],)
            held = Storage(
                name=f"{conv.path}.bias",
                shape=channels,
                dtype=weight.dtype,
                role="weight",
                bytes=0,
                born=0,
                data=True,
            )
            bias = Value(storage=held, shape=channels, strides=(1,), offset=0, dtype=weight.dtype)
        for value in norm.inputs[1:3]:
            value.storage.role = "folded"
        gone.add(id(norm))
        joined[id(conv)] = replace(conv, args={**conv.args, "bias": bias}, outputs=norm.outputs[:1])
    return [joined.get(id(call), call) for call in calls if id(call) not in gone]


def _relus(calls: list[Call], graph: _Graph) -> list[Call]:
    made: list[Call] = []
    last_writer: dict[int, int] = {}
    read_since: set[int] = set()
    for call in calls:
        source = call.inputs[0].storage if call.inputs else None
        at = last_writer.get(id(source))
        if (
            source is not None
            and at is not None
            and call.name in _RELUS
            and made[at].name in _TAKE_RELU
            and id(source) not in read_since
            and (call.outputs[0].storage is source or graph.only_reader(source) is call)
        ):
            attrs = {**made[at].attrs, "activation": "relu"}
            made[at] = replace(made[at], outputs=call.outputs[:1], attrs=attrs)
            last_writer[id(call.outputs[0].storage)] = at
            read_since.add(id(call.outputs[0].storage))  # a second relu is one of its own
            continue
        for value in call.inputs:
            read_since.add(id(value.storage))
        for value in call.outputs:
            last_writer[id(value.storage)] = len(made)
            read_since.discard(id(value.storage))
        made.append(call)
    return made


def _last_rows(calls: list[Call], graph: _Graph) -> list[Call]:
    for call in calls:
        if call.name not in ("pimsim::norm", "native_layer_norm", "_fused_rms_norm"):
            continue
        storage = call.outputs[0].storage
        uses = [v for c in graph.readers.get(id(storage), []) for v in c.inputs if v.storage is storage]
        if not uses or id(storage) in graph.alive:
            continue
        first = uses[0]
        if (
            all((use.offset, use.elements) == (first.offset, first.elements) for use in uses)
            and 0 < first.elements < storage.elements
            and first.offset + first.elements == storage.elements
            and first.elements % storage.shape[-1] == 0
        ):
            width = storage.shape[-1]
            storage.shape = (first.elements // width, width)
            call.outputs[0] = first
    return calls


def _caches(calls: list[Call], graph: _Graph) -> list[Call]:
    made = []
    for call in calls:
        parts = [value for value in call.inputs if value.elements]
        if (
            call.name == "cat"
            and len(parts) > 1
            and parts[0].storage.role == "input"
            and parts[0].whole
            and len(graph.readers[id(parts[0].storage)]) == 1
        ):
            call.outputs[0].storage.role = "kv"
            call = replace(call, args={"tensors": parts[1:]})
        made.append(call)
    return made
