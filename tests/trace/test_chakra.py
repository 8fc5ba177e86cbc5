"""Chakra execution traces: ours come back, foreign ones are read, damaged ones are told where."""

import pytest

pytest.importorskip("google.protobuf")

from pimsim.errors import TraceError
from pimsim.trace import decode_trace, load_config, prefill_trace
from pimsim.trace.chakra import messages, read_chakra, write_chakra
from pimsim.trace.vision_trace import vision_trace

pytestmark = pytest.mark.extra
COMPUTE, COLLECTIVE = 4, 7


def node(number, name="aten::relu", shapes="[[4, 8]]", types="['Tensor(float)']", **more):
    kinds = messages()
    made = kinds["Node"](id=number, name=name, **{"type": COMPUTE} | more)
    made.inputs.shapes, made.inputs.types = shapes, types
    return made


def saved(tmp_path, *nodes, name="rank0.et"):
    """Messages behind their lengths, all below 16384 bytes: varints of up to two bytes."""
    content = b""
    for each in (messages()["GlobalMetadata"](version="0.0.4"), *nodes):
        part = each.SerializeToString()
        size = bytes([len(part)]) if len(part) < 128 else bytes([len(part) & 127 | 128, len(part) >> 7])
        content += size + part
    path = tmp_path / name
    path.write_bytes(content)
    return path


@pytest.mark.parametrize(
    "made",
    [
        lambda: prefill_trace(load_config("llama-3.2-1b"), 16),
        lambda: decode_trace(load_config("llama-3.2-1b"), 16, weight_dtype="int4"),
        lambda: vision_trace("vit_small", batch=2),
    ],
)
def test_a_trace_comes_back(tmp_path, made):
    trace = made()
    write_chakra(trace, tmp_path / "a.et")
    assert read_chakra(tmp_path / "a.et").trace == trace


def test_what_others_read_of_ours(tmp_path):
    trace = decode_trace(load_config("llama-3.2-1b"), 16)
    write_chakra(trace, tmp_path / "a.et")
    content, at, nodes = (tmp_path / "a.et").read_bytes(), 0, []
    while at < len(content):  # by hand, as the format says: a varint, then so many bytes
        size = shift = 0
        while True:
            byte = content[at]
            size |= (byte & 127) << shift
            at, shift = at + 1, shift + 7
            if byte < 128:
                break
        nodes.append(content[at : at + size])
        at += size
    found = [messages()["Node"].FromString(part) for part in nodes[1:]]
    assert [each.name for each in found] == [op.name for op in trace.operators]
    for each, op in zip(found, trace.operators, strict=True):
        values = {attr.name: attr for attr in each.attr}
        cost = trace.cost(op)
        assert values["num_ops"].int64_val == cost.flops
        assert values["tensor_size"].uint64_val == cost.bytes_read + cost.bytes_written
        assert all(before < each.id for before in each.data_deps)
    names = {each.id: each.name for each in found}
    attention = next(each for each in found if each.name == "layers.0.attention")
    assert {names[before] for before in attention.data_deps} == {"layers.0.rope", "layers.0.kv_append"}


# Fields on the wire as the schema numbers them, encoded by hand: 1 id, 2 name, 3 type, 8 inputs (2 shapes).
BY_HAND = bytes([8, 5, 18, 8, *b"aten::mm", 24, 4]) + bytes(
    [66, 42, 18, 16, *b"[[2, 3], [3, 5]]", 26, 22, *b"['float', 'float'    ]"]
)


def test_a_node_encoded_by_hand(tmp_path):
    path = tmp_path / "hand.et"
    path.write_bytes(bytes([0, len(BY_HAND)]) + BY_HAND)
    trace = read_chakra(path).trace
    assert trace.matmul_shape(trace.operators[0]) == (2, 5, 3)


def test_operators_of_pytorch(tmp_path):
    conv = node(
        2, "aten::conv2d", "[[1, 3, 8, 8], [4, 3, 3, 3], [], [], [], [], []]", "['Tensor(float)', 'X']"
    )
    conv.inputs.values = "[[1, 0], [2, 0], '', [2, 2], [1, 1], [1, 1], 1]"
    linear = node(3, "aten::linear", "[[4, 8], [6, 8], [6]]", data_deps=[2])
    inner = node(4, "aten::addmm", "[[6], [4, 8], [8, 6]]", ctrl_deps=[3])
    trace = read_chakra(saved(tmp_path, conv, linear, inner)).trace
    assert [op.kind for op in trace.operators] == ["conv2d", "matmul"]  # the outermost one counts
    assert trace.tensor(trace.operators[0].outputs[0]).shape == (1, 4, 4, 4)


def test_nodes_come_in_the_order_of_their_dependences(tmp_path):
    first, second = node(7, "aten::relu", data_deps=[9]), node(9, "aten::mm", "[[2, 3], [3, 5]]")
    trace = read_chakra(saved(tmp_path, first, second)).trace
    assert [op.kind for op in trace.operators] == ["matmul", "elementwise"]


def test_unknown_nodes_are_named_and_counted(tmp_path):
    nodes = [node(1), node(2, "ALL_REDUCE", type=COLLECTIVE), node(3, "ALL_REDUCE", type=COLLECTIVE)]
    path = saved(tmp_path, *nodes)
    with pytest.raises(TraceError, match=r"unknown operators: 'ALL_REDUCE' \(COMM_COLL_NODE\) x 2; --skip"):
        read_chakra(path)
    assert read_chakra(path, skip_unknown=True).skipped == {"'ALL_REDUCE' (COMM_COLL_NODE)": 2}


@pytest.mark.parametrize(
    ("nodes", "says"),
    [
        ([], r"no nodes behind the metadata"),
        ([node(1), node(1)], r"node 1 'aten::relu': the number is given twice"),
        ([node(1, data_deps=[5])], r"node 1 'aten::relu': depends on 5, which is no node"),
        ([node(1, data_deps=[2]), node(2, ctrl_deps=[1])], r"node 1 'aten::relu': waits for itself: a cycle"),
        ([node(1, ctrl_deps=[1])], r"node 1 'aten::relu': waits for itself"),
        ([node(1, shapes="[[-4, 8]]")], r"node 1 'aten::relu': shape \[-4, 8\]: wanted"),
        ([node(1, shapes="[[99999999999999, 8]]")], r"shape .* wanted up to 16 whole numbers"),
        ([node(1, shapes="[" * 5000)], r"node 1 'aten::relu': shapes .*: wanted a list"),
        ([node(1, shapes="__import__('os')")], r"shapes .*: wanted a list"),
        ([node(1, "a kernel")], r"unknown operators: 'a kernel' \(COMP_NODE\) x 1"),
    ],
)
def test_bad_nodes_are_named(tmp_path, nodes, says):
    with pytest.raises(TraceError, match=says):
        read_chakra(saved(tmp_path, *nodes))


@pytest.mark.parametrize(
    ("content", "says"),
    [
        (b"", r"byte 0: the file is empty"),
        (b"\xff\xff\xff\xff\xff\xff", r"byte 0: no length of a message"),
        (b"\x00\xff\xff\xff\xff\x07", r"byte 1: a message of 2,147,483,647 bytes with 0 left"),
        (b"\x00\x03\x0a\xff\xff", r"byte 1: no Node"),
        (b"\x02\x0a\xff", r"byte 0: no GlobalMetadata"),
    ],
)
def test_damaged_files_are_told_the_byte(tmp_path, content, says):
    path = tmp_path / "rank0.et"
    path.write_bytes(content)
    with pytest.raises(TraceError, match=says):
        read_chakra(path)


def test_a_changed_file_of_ours(tmp_path):
    trace = decode_trace(load_config("llama-3.2-1b"), 4)
    write_chakra(trace, tmp_path / "a.et")
    content = (tmp_path / "a.et").read_bytes()
    (tmp_path / "b.et").write_bytes(content.replace(b"embed_tokens.weight", b"embed_tokens.wEight", 1))
    with pytest.raises(TraceError, match=r"b\.et: .*no tensor named 'embed_tokens.weight'"):
        read_chakra(tmp_path / "b.et")
