"""GGUF headers: files written here by hand, and those of the package `gguf`; what damaged ones are told."""

import struct

import pytest

from pimsim.errors import TraceError
from pimsim.trace import decode_trace
from pimsim.trace.gguf import LIMIT_TENSORS, TYPES, gguf_config, read_gguf

U32, TEXT, LIST = 4, 8, 9


def text(value):
    raw = value.encode()
    return struct.pack("<Q", len(raw)) + raw


def setting(name, value):
    if isinstance(value, str):
        return text(name) + struct.pack("<I", TEXT) + text(value)
    if isinstance(value, list):
        body = b"".join(text(each) for each in value)
        return text(name) + struct.pack("<IIQ", LIST, TEXT, len(value)) + body
    return text(name) + struct.pack("<II", U32, value)


def tensor(name, shape, kind, offset):
    """shape: outermost first."""
    axes = b"".join(struct.pack("<Q", size) for size in reversed(shape))
    return text(name) + struct.pack("<I", len(shape)) + axes + struct.pack("<IQ", kind, offset)


def gguf_file(tmp_path, settings, tensors, *, version=3, counts=None, data=None):
    """tensors: (name, shape, kind). A file as the format's text describes it."""
    made, at = [], 0
    for name, shape, kind in tensors:
        _, block, size = TYPES[kind]
        elements = 1
        for each in shape:
            elements *= each
        made.append(tensor(name, shape, kind, at))
        at += -(-(elements // block * size) // 32) * 32
    held = counts or (len(tensors), len(settings))
    content = b"GGUF" + struct.pack("<IQQ", version, *held)
    content += b"".join(setting(*each) for each in settings) + b"".join(made)
    content += b"\0" * (-len(content) % 32) + b"\0" * (at if data is None else data)
    path = tmp_path / "model.gguf"
    path.write_bytes(content)
    return path


Q4_1, Q8_0, F32 = 3, 8, 0
LLAMA = [
    ("general.architecture", "llama"),
    ("llama.embedding_length", 64),
    ("llama.block_count", 1),
    ("llama.attention.head_count", 4),
    ("llama.attention.head_count_kv", 2),
    ("llama.feed_forward_length", 96),
    ("tokenizer.ggml.tokens", ["a", "b"] * 80),
]
TENSORS = [
    ("token_embd.weight", (160, 64), Q8_0),
    ("blk.0.attn_q.weight", (64, 64), Q4_1),
    ("blk.0.attn_k.weight", (32, 64), Q4_1),
    ("blk.0.attn_v.weight", (32, 64), Q4_1),
    ("blk.0.attn_output.weight", (64, 64), Q4_1),
    ("blk.0.ffn_gate.weight", (96, 64), Q4_1),
    ("blk.0.ffn_up.weight", (96, 64), Q4_1),
    ("blk.0.ffn_down.weight", (64, 96), Q4_1),
    ("blk.0.attn_norm.weight", (64,), F32),
    ("blk.0.ffn_norm.weight", (64,), F32),
    ("output_norm.weight", (64,), F32),
]
PARAMETERS = 160 * 64 + 2 * 64 * 64 + 2 * 32 * 64 + 3 * 96 * 64 + 3 * 64


def test_a_header(tmp_path):
    stored = read_gguf(gguf_file(tmp_path, LLAMA, TENSORS))
    assert stored.parameters == PARAMETERS
    assert stored.tensors[0].shape == (160, 64)
    assert stored.tensors[0].bytes == 160 * 2 * 34  # blocks of 32 values in 34 bytes
    assert stored.tensors[1].bytes == 64 * 2 * 20
    assert stored.counts == {"tokenizer.ggml.tokens": 160}
    assert len(stored.settings["tokenizer.ggml.tokens"]) == 64  # the others are counted only
    assert stored.weight_dtype() == "int4"


def test_a_model_from_a_header(tmp_path):
    stored = read_gguf(gguf_file(tmp_path, LLAMA, TENSORS))
    config = gguf_config(stored)
    assert (config.head_dim, config.num_key_value_heads, config.tie_word_embeddings) == (16, 2, True)
    trace = decode_trace(config, 7, weight_dtype=stored.weight_dtype())
    assert trace.parameters() == PARAMETERS
    assert trace.tensor("layers.0.q_proj.weight").dtype == "int4"


def test_head_dim_is_its_own_field(tmp_path):
    settings = [*LLAMA, ("llama.attention.key_length", 32)]
    with pytest.raises(TraceError, match=r"parameters, but a llama of its settings has"):
        gguf_config(read_gguf(gguf_file(tmp_path, settings, TENSORS)))  # its tensors are of 16
    wide = [
        (name, {"q": (128, 64), "k": (64, 64), "v": (64, 64), "output": (64, 128)}[name[11:-7]], kind)
        if ".attn_" in name and "norm" not in name
        else (name, shape, kind)
        for name, shape, kind in TENSORS
    ]
    assert gguf_config(read_gguf(gguf_file(tmp_path, settings, wide))).head_dim == 32


def test_a_model_that_is_not_modelled(tmp_path):
    settings = [("general.architecture", "mamba")]
    with pytest.raises(TraceError, match=r"architecture 'mamba' is not modelled; known: gemma2"):
        gguf_config(read_gguf(gguf_file(tmp_path, settings, TENSORS)))


@pytest.mark.parametrize(
    ("content", "says"),
    [
        (b"", r"byte 0: the mark of 4 bytes: the header ends after 0 bytes"),
        (b"GGML" + bytes(32), r"byte 0: no GGUF file"),
        (b"GGUF" + struct.pack(">I", 3) + bytes(16), r"byte 4: version 50331648 \(.*big-endian.*\)"),
        (b"GGUF" + struct.pack("<IQQ", 3, 2**60, 0), r"byte 8: 1,152,921,504,606,846,976 tensors: wanted"),
        (b"GGUF" + struct.pack("<IQQ", 3, 0, 2**60), r"byte 16: 1,152,921,504,606,846,976 settings"),
        (b"GGUF" + struct.pack("<IQQQ", 3, 0, 1, 2**50), r"byte 24: name of a setting of .* bytes: wanted"),
        (
            b"GGUF" + struct.pack("<IQQ", 3, 0, 1) + text("k") + struct.pack("<IIQ", LIST, U32, 2**61),
            r"byte 49: 'k': a list of 2,305,843,009,213,693,952 values in a file of 49 bytes",
        ),
        (
            b"GGUF"
            + struct.pack("<IQQ", 3, 0, 1)
            + text("k")
            + struct.pack("<IIQ", LIST, LIST, 1)
            + bytes(99),
            r"'k': a list of type 9: wanted numbers or texts",
        ),
        (b"GGUF" + struct.pack("<IQQ", 3, 0, 1) + text("k") + struct.pack("<I", 77), r"'k': no type 77"),
        (b"GGUF" + struct.pack("<IQQ", 3, 0, 1) + struct.pack("<Q", 2) + b"\xff\xfe", r"not UTF-8 text"),
        (
            b"GGUF" + struct.pack("<IQQ", 3, 1, 0) + text("t") + struct.pack("<I", 200) + bytes(4000),
            r"byte 24: tensor 't' of 200 axes",
        ),
        (b"GGUF" + struct.pack("<IQQ", 3, 1, 0) + tensor("t", (2**62,), 0, 0), r"tensor 't': shape"),
        (
            b"GGUF" + struct.pack("<IQQ", 3, 1, 0) + tensor("t", (33,), 3, 0),
            r"rows of 33 are no whole blocks",
        ),
        (b"GGUF" + struct.pack("<IQQ", 3, 1, 0) + tensor("t", (32,), 99, 0), r"tensor 't': no type 99"),
        (b"GGUF" + struct.pack("<IQQ", 3, 1, 0) + tensor("t", (32,), 0, 2**40), r"128 bytes from 1,099,5"),
        (b"GGUF" + struct.pack("<IQQ", 3, 2, 0) + tensor("t", (1,), 0, 0) * 2, r"tensor 't' is given twice"),
    ],
)
def test_damaged_files_are_told_the_byte(tmp_path, content, says):
    path = tmp_path / "model.gguf"
    path.write_bytes(content)
    with pytest.raises(TraceError, match=says):
        read_gguf(path)


def test_every_cut_is_noticed(tmp_path):
    path = gguf_file(tmp_path, LLAMA, TENSORS)
    whole = path.read_bytes()
    for length in range(0, len(whole), 61):
        path.write_bytes(whole[:length])
        with pytest.raises(TraceError, match=r"model\.gguf: byte \d+"):
            read_gguf(path)
    assert LIMIT_TENSORS < 2**20


@pytest.mark.extra
def test_the_package_reads_the_same(tmp_path):
    gguf = pytest.importorskip("gguf")
    import numpy as np

    sizes = {int(kind): (kind.name, *both) for kind, both in gguf.GGML_QUANT_SIZES.items()}
    sizes.pop(9)  # Q8_1 only lives between operators: no file holds it
    assert {number: TYPES[number] for number in sizes if number in TYPES} == {
        number: each for number, each in sizes.items() if number in TYPES
    }
    assert set(sizes) <= set(TYPES)
    path = tmp_path / "written.gguf"
    writer = gguf.GGUFWriter(path, "llama")
    writer.add_block_count(3)
    writer.add_array("some.list", [1.5, 2.5])
    writer.add_tensor("a.weight", np.zeros((6, 64), dtype=np.float32))
    writer.add_tensor(
        "b.weight", np.zeros((5, 2 * 34), dtype=np.uint8), raw_dtype=gguf.GGMLQuantizationType.Q8_0
    )
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    ours, theirs = read_gguf(path), gguf.GGUFReader(path)
    assert [(t.name, t.dtype, t.shape, t.bytes) for t in ours.tensors] == [
        (t.name, t.tensor_type.name, tuple(int(n) for n in reversed(t.shape)), t.n_bytes)
        for t in theirs.tensors
    ]
    assert ours.settings["llama.block_count"] == 3
    assert ours.settings["some.list"] == [1.5, 2.5]
