"""The header of a GGUF file: settings, and names, types and shapes of its tensors; no tensor is read.

    stored = read_gguf("model.gguf")
    config = gguf_config(stored)          # as from a config.json

Format (github.com/ggml-org/ggml docs/gguf.md, versions 2 and 3): `GGUF`, version, number of tensors, number
of settings; each setting is a name, a type and a value; each tensor a name, its axes (innermost first), a
type and an offset. Read here and not with the package `gguf`, whose reader loops over whatever number a file
declares; the tests hold ours to it. Sizes of blocks are those of ggml's types.
"""

from __future__ import annotations

import math
import os
import struct
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import Any, BinaryIO

from pimsim.errors import TraceError
from pimsim.trace.llm.config import LlmConfig
from pimsim.trace.llm.count import parameters
from pimsim.trace.llm.families import FAMILIES
from pimsim.trace.reading import MOST, short
from pimsim.trace.safetensors import StoredTensor

MAGIC = b"GGUF"
LIMIT_HEADER = 64 * 2**20
LIMIT_TENSORS = 100_000
LIMIT_SETTINGS = 10_000
LIMIT_TEXT = 2**20
LIMIT_LIST = 4 * 2**20
LIMIT_TEXTS = 3_000_000
KEPT = 64
"""Values of a list that are kept; a tokenizer's lists are counted, not kept."""

# name, elements a block, bytes a block (ggml.h and ggml-common.h)
TYPES = {
    0: ("F32", 1, 4),
    1: ("F16", 1, 2),
    2: ("Q4_0", 32, 18),
    3: ("Q4_1", 32, 20),
    6: ("Q5_0", 32, 22),
    7: ("Q5_1", 32, 24),
    8: ("Q8_0", 32, 34),
    10: ("Q2_K", 256, 84),
    11: ("Q3_K", 256, 110),
    12: ("Q4_K", 256, 144),
    13: ("Q5_K", 256, 176),
    14: ("Q6_K", 256, 210),
    15: ("Q8_K", 256, 292),
    16: ("IQ2_XXS", 256, 66),
    17: ("IQ2_XS", 256, 74),
    18: ("IQ3_XXS", 256, 98),
    19: ("IQ1_S", 256, 50),
    20: ("IQ4_NL", 32, 18),
    21: ("IQ3_S", 256, 110),
    22: ("IQ2_S", 256, 82),
    23: ("IQ4_XS", 256, 136),
    24: ("I8", 1, 1),
    25: ("I16", 1, 2),
    26: ("I32", 1, 4),
    27: ("I64", 1, 8),
    28: ("F64", 1, 8),
    29: ("IQ1_M", 256, 56),
    30: ("BF16", 1, 2),
    34: ("TQ1_0", 256, 54),
    35: ("TQ2_0", 256, 66),
    39: ("MXFP4", 32, 17),
    40: ("NVFP4", 64, 36),
    41: ("Q1_0", 128, 18),
}

_SCALARS = dict(enumerate(("<B", "<b", "<H", "<h", "<I", "<i", "<f", "<?"))) | {10: "<Q", 11: "<q", 12: "<d"}
_TEXT, _LIST = 8, 9

_FAMILIES = {
    "llama": "llama",
    "qwen2": "qwen2",
    "qwen3": "qwen3",
    "qwen3moe": "qwen3_moe",
    "gemma2": "gemma2",
    "gemma3": "gemma3_text",
    "phi3": "phi3",
}
"""`general.architecture` and the model_type of a config.json; a llama with experts is a mixtral."""


@dataclass(frozen=True, kw_only=True)
class GgufFile:
    """What a header says. settings: values by name; of a list the first `KEPT` values. counts: how long each
    list is."""

    path: str
    settings: Mapping[str, Any]
    counts: Mapping[str, int]
    tensors: tuple[StoredTensor, ...]

    @property
    def parameters(self) -> int:
        """Elements of all tensors."""
        return sum(tensor.elements for tensor in self.tensors)

    @property
    def bytes(self) -> int:
        return sum(tensor.bytes for tensor in self.tensors)

    def weight_dtype(self) -> str:
        """The type of a trace nearest to that of most weights: by bits, scales of blocks left out."""
        counts: Counter[str] = Counter()
        for tensor in self.tensors:
            if len(tensor.shape) > 1:
                counts[tensor.dtype] += tensor.elements
        name = counts.most_common(1)[0][0] if counts else "F32"
        if name in ("F32", "F16", "BF16"):
            return {"F32": "fp32", "F16": "fp16", "BF16": "bf16"}[name]
        block, size = next((block, size) for each, block, size in TYPES.values() if each == name)
        return "int4" if 8 * size / block < 6 else "int8"


class _Reader:
    """Reads forward in a file and knows the position; nothing declared is believed before it is there."""

    def __init__(self, path: Path, file: BinaryIO, size: int) -> None:
        self.path, self.file, self.size = path, file, size
        self.at = self.texts = 0

    def fail(self, message: str, at: int | None = None) -> TraceError:
        return TraceError(f"{self.path}: byte {self.at if at is None else at}: {message}")

    def take(self, count: int, what: str) -> bytes:
        if count > min(self.size, LIMIT_HEADER) - self.at:
            most = min(self.size, LIMIT_HEADER)
            raise self.fail(f"{what} of {count:,} bytes: the header ends after {most:,} bytes")
        content = self.file.read(count)
        if len(content) < count:
            raise self.fail(f"{what} of {count:,} bytes: the file is cut off")
        self.at += count
        return content

    def number(self, form: str, what: str) -> Any:
        return struct.unpack(form, self.take(struct.calcsize(form), what))[0]

    def text(self, what: str, most: int = LIMIT_TEXT) -> str:
        at = self.at
        self.texts += 1
        if self.texts > LIMIT_TEXTS:
            raise self.fail(f"more than {LIMIT_TEXTS:,} texts: not read")
        length = self.number("<Q", f"length of {what}")
        if length > most:
            raise self.fail(f"{what} of {length:,} bytes: wanted at most {most:,}", at)
        try:
            return self.take(length, what).decode("utf-8")
        except UnicodeDecodeError as error:
            raise self.fail(f"{what}: not UTF-8 text: {error.reason}", at) from None

    def value(self, kind: int, name: str) -> tuple[Any, int | None]:
        """A setting's value, and the length of a list."""
        if kind in _SCALARS:
            return self.number(_SCALARS[kind], name), None
        if kind == _TEXT:
            return self.text(name), None
        if kind != _LIST:
            raise self.fail(f"{name}: no type {kind}")
        inner, count = self.number("<I", name), self.number("<Q", name)
        least = 8 if inner == _TEXT else struct.calcsize(_SCALARS.get(inner, "<B"))
        if inner != _TEXT and inner not in _SCALARS:
            raise self.fail(f"{name}: a list of type {inner}: wanted numbers or texts")
        if count > LIMIT_LIST or count * least > self.size - self.at:
            raise self.fail(f"{name}: a list of {count:,} values in a file of {self.size:,} bytes")
        if inner in _SCALARS:
            form = _SCALARS[inner]
            content = self.take(count * struct.calcsize(form), name)
            return [each for (each,) in islice(struct.iter_unpack(form, content), KEPT)], count
        kept = []
        for i in range(count):
            each = self.text(f"{name}[{i}]")
            if i < KEPT:
                kept.append(each)
        return kept, count


def read_gguf(path: str | os.PathLike[str]) -> GgufFile:
    """The header of a GGUF file; every complaint names the byte."""
    path = Path(path)
    try:
        with path.open("rb") as file:
            size = file.seek(0, os.SEEK_END)
            file.seek(0)
            return _read(_Reader(path, file, size))
    except OSError as error:
        raise TraceError(f"{path}: cannot read the file: {error.strerror or error}") from error


def _read(reader: _Reader) -> GgufFile:
    if reader.take(4, "the mark") != MAGIC:
        raise reader.fail("no GGUF file: it does not begin with 'GGUF'", 0)
    version = reader.number("<I", "version")
    if version not in (2, 3):
        hint = " (a file of a big-endian machine?)" if version in (2 << 24, 3 << 24) else ""
        raise reader.fail(f"version {version}{hint}: wanted 2 or 3", 4)
    tensors, settings = reader.number("<Q", "number of tensors"), reader.number("<Q", "number of settings")
    for what, count, most, at in (
        ("tensors", tensors, LIMIT_TENSORS, 8),
        ("settings", settings, LIMIT_SETTINGS, 16),
    ):
        if count > most:
            raise reader.fail(f"{count:,} {what}: wanted at most {most:,}", at)
    values: dict[str, Any] = {}
    counts: dict[str, int] = {}
    for _ in range(settings):
        at = reader.at
        name = reader.text("name of a setting", 2**16)
        if name in values:
            raise reader.fail(f"setting {short(name)} is given twice", at)
        values[name], count = reader.value(reader.number("<I", short(name)), short(name))
        if count is not None:
            counts[name] = count
    found: dict[str, StoredTensor] = {}
    ends = []
    for _ in range(tensors):
        at = reader.at
        tensor, offset = _tensor(reader)
        if tensor.name in found:
            raise reader.fail(f"tensor {short(tensor.name)} is given twice", at)
        found[tensor.name] = tensor
        ends.append((offset, tensor.bytes, tensor.name, at))
    align = values.get("general.alignment", 32)
    if type(align) is not int or not 1 <= align <= 2**20:
        raise reader.fail(f"general.alignment {short(align)}: wanted 1 to {2**20}")
    start = -(-reader.at // align) * align
    for offset, length, name, at in ends:
        if offset % align or offset + length > max(0, reader.size - start):
            raise reader.fail(
                f"tensor {short(name)}: {length:,} bytes from {offset:,} on: wanted a multiple of {align} "
                f"within the {max(0, reader.size - start):,} bytes behind the header",
                at,
            )
    return GgufFile(path=str(reader.path), settings=values, counts=counts, tensors=tuple(found.values()))


def _tensor(reader: _Reader) -> tuple[StoredTensor, int]:
    at = reader.at
    name = reader.text("name of a tensor", 2**16)
    axes = reader.number("<I", short(name))
    if not 0 <= axes <= 8:
        raise reader.fail(f"tensor {short(name)} of {axes} axes: wanted up to 8", at)
    shape = tuple(reader.number("<Q", short(name)) for _ in range(axes))
    if not all(1 <= size <= 2**40 for size in shape) or math.prod(shape) > 2**48:
        raise reader.fail(f"tensor {short(name)}: shape {short(shape)}: wanted sizes from 1", at)
    kind = reader.number("<I", short(name))
    if kind not in TYPES:
        raise reader.fail(f"tensor {short(name)}: no type {kind}", at)
    label, block, size = TYPES[kind]
    if shape and shape[0] % block:
        raise reader.fail(f"tensor {short(name)}: rows of {shape[0]} are no whole blocks of {block}", at)
    elements = math.prod(shape)
    offset = reader.number("<Q", short(name))
    stored = StoredTensor(
        name=name, dtype=label, shape=tuple(reversed(shape)), bytes=elements // block * size
    )
    return stored, offset


def gguf_config(file: GgufFile, name: str = "") -> LlmConfig:
    """The model behind a GGUF file; its parameters are checked against the tensors."""
    architecture = file.settings.get("general.architecture")
    if architecture not in _FAMILIES:
        known = ", ".join(sorted(_FAMILIES))
        raise TraceError(f"{file.path}: architecture {short(architecture)} is not modelled; known: {known}")

    def number(key: str, missing: int | None = None) -> int:
        value = file.settings.get(f"{architecture}.{key}", missing)
        if type(value) is not int or not 0 <= value <= MOST:
            raise TraceError(f"{file.path}: {architecture}.{key} {short(value)}: wanted a whole number")
        return value

    tensors = {tensor.name: tensor for tensor in file.tensors}
    table = tensors.get("token_embd.weight")
    if table is None or len(table.shape) != 2:
        raise TraceError(f"{file.path}: no tensor 'token_embd.weight' of two axes")
    hidden, heads = number("embedding_length"), number("attention.head_count")
    experts = number("expert_count", 0)
    values: dict[str, Any] = {
        "model_type": "mixtral" if architecture == "llama" and experts else _FAMILIES[architecture],
        "hidden_size": hidden,
        "num_hidden_layers": number("block_count"),
        "num_attention_heads": heads,
        "num_key_value_heads": number("attention.head_count_kv", heads),
        "head_dim": number("attention.key_length", hidden // heads if heads else 0),
        "intermediate_size": number("feed_forward_length", number("expert_feed_forward_length", 0)),
        "vocab_size": table.shape[0],
        "tie_word_embeddings": "output.weight" not in tensors,
    }
    values = dict(FAMILIES[values["model_type"]].defaults) | values
    if "blk.0.attn_q.bias" in tensors and architecture == "llama":
        values["attention_bias"] = True
    if experts:
        values["num_experts"] = experts
        values["num_experts_per_tok"] = number("expert_used_count")
        values["moe_intermediate_size"] = number("expert_feed_forward_length", values["intermediate_size"])
    window = file.settings.get(f"{architecture}.attention.sliding_window")
    if type(window) is int and window and values["model_type"] in ("gemma2", "gemma3_text", "mixtral"):
        values["sliding_window"] = window
    label = name or Path(file.path).name.removesuffix(".gguf") or "gguf"
    try:
        config = LlmConfig(name=label, **values)
    except TraceError as error:
        raise TraceError(f"{file.path}: {error}") from None
    stored = file.parameters - sum(t.elements for n, t in tensors.items() if n.startswith("rope_"))
    if parameters(config) != stored:
        raise TraceError(
            f"{file.path}: its tensors hold {stored:,} parameters, but a {config.model_type} of its settings "
            f"has {parameters(config):,}: a variant that is not modelled"
        )
    return config
