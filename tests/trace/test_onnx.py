"""ONNX graphs: counts against published figures and by hand; what hostile files are told."""

from pathlib import Path

import pytest

onnx = pytest.importorskip("onnx")

from onnx import TensorProto, helper  # noqa: E402

from pimsim.errors import TraceError  # noqa: E402
from pimsim.trace import read_trace, write_trace  # noqa: E402
from pimsim.trace.onnx import read_onnx  # noqa: E402

pytestmark = pytest.mark.extra
LIGHT = Path(onnx.__file__).parent / "backend" / "test" / "data" / "light"
FLOAT, INT64 = TensorProto.FLOAT, TensorProto.INT64


def info(name, *shape, kind=FLOAT):
    return helper.make_tensor_value_info(name, kind, shape)


def weight(name, *shape, kind=FLOAT):
    """An initializer whose data lie in another file, which does not exist."""
    tensor = TensorProto(name=name, data_type=kind, dims=shape, data_location=TensorProto.EXTERNAL)
    entry = tensor.external_data.add()
    entry.key, entry.value = "location", "../../../../etc/passwd"
    return tensor


def saved(tmp_path, nodes, inputs, outputs, weights=(), opset=21):
    graph = helper.make_graph(nodes, "g", inputs, outputs, list(weights))
    model = helper.make_model(
        graph, opset_imports=[helper.make_opsetid("", opset), helper.make_opsetid("my.own", 1)]
    )
    path = tmp_path / "model.onnx"
    path.write_bytes(model.SerializeToString())
    return path


def macs(trace):
    total = 0
    for op in trace.operators:
        if op.kind in ("conv2d", "matmul"):
            bias = trace.tensor(op.outputs[0]).elements if len(op.inputs) == 3 else 0
            total += (trace.flops(op) - bias) // 2
    return total


# Graphs of the ONNX model zoo without weights, which come with the package. Parameters are those that
# torchvision 0.28 publishes for the same definitions (BVLC's AlexNet: its own), multiply-adds its GFLOPS.
@pytest.mark.parametrize(
    ("name", "parameters", "gmac"),
    [
        ("light_resnet50", 25_557_032, 4.089),
        ("light_vgg19", 143_667_240, 19.632),
        ("light_squeezenet", 1_235_496, 0.349),
        ("light_bvlc_alexnet", 60_965_224, None),
    ],
)
def test_published_networks(name, parameters, gmac):
    read = read_onnx(LIGHT / f"{name}.onnx")
    assert read.skipped == {}
    assert read.trace.parameters() == parameters
    if gmac is not None:
        assert round(macs(read.trace) / 1e9, 3) == gmac


def test_a_network_agrees_with_our_own_table():
    from pimsim.trace.vision import vision_model

    assert macs(read_onnx(LIGHT / "light_resnet50.onnx").trace) == vision_model("resnet50").macs


def test_weights_outside_the_file_are_not_opened(tmp_path):
    nodes = [
        helper.make_node("Conv", ["x", "w", "b"], ["c"], name="conv", strides=[2, 2], pads=[1, 1, 1, 1]),
        helper.make_node("Relu", ["c"], ["r"]),
        helper.make_node("Flatten", ["r"], ["f"]),
        helper.make_node("Gemm", ["f", "v", "g"], ["y"], name="fc", transB=1),
    ]
    weights = [weight("w", 8, 3, 3, 3), weight("b", 8), weight("v", 10, 8 * 16), weight("g", 10)]
    path = saved(tmp_path, nodes, [info("x", "batch", 3, 8, 8)], [info("y", "batch", 10)], weights)
    trace = read_onnx(path, dims={"batch": 2}).trace
    assert [op.kind for op in trace.operators] == ["conv2d", "elementwise", "matmul"]
    assert macs(trace) == 2 * (8 * 16 * 27 + 10 * 128)
    assert trace.parameters() == 8 * 27 + 8 + 1280 + 10
    assert trace.tensor("y").role == "output"
    write_trace(trace, tmp_path / "model.jsonl.gz")
    assert read_trace(tmp_path / "model.jsonl.gz") == trace


def test_same_padding_and_one_axis(tmp_path):
    nodes = [
        helper.make_node("Conv", ["x", "w"], ["a"], auto_pad="SAME_UPPER", strides=[2]),
        helper.make_node("Conv", ["a", "v"], ["y"], pads=[0, 1]),
    ]
    weights = [weight("w", 4, 2, 3), weight("v", 5, 4, 2)]
    trace = read_onnx(saved(tmp_path, nodes, [info("x", 1, 2, 10)], [info("y", 1, 5, 5)], weights)).trace
    # 10 samples by strides of 2 are 5; a kernel of 2 with one sample behind keeps 5.
    assert macs(trace) == 5 * 4 * 6 + 5 * 5 * 8


def test_products_attention_and_gathers(tmp_path):
    nodes = [
        helper.make_node("Gather", ["table", "ids"], ["h"], name="embed"),
        helper.make_node("MatMul", ["h", "w"], ["q"], name="q"),
        helper.make_node("Transpose", ["h"], ["k"], perm=[0, 2, 1]),
        helper.make_node("MatMul", ["q", "k"], ["s"], name="scores"),
        helper.make_node("Softmax", ["s"], ["p"]),
        helper.make_node("MatMul", ["p", "h"], ["o"], name="mix"),
        helper.make_node("LayerNormalization", ["o", "n"], ["y"]),
    ]
    weights = [weight("table", 100, 16), weight("w", 16, 16), weight("n", 16)]
    path = saved(tmp_path, nodes, [info("ids", 2, 5, kind=INT64)], [info("y", 2, 5, 16)], weights)
    trace = read_onnx(path).trace
    gather = trace.operators[0]
    assert (gather.kind, gather.attrs["rows"]) == ("gather", 10)
    assert trace.bytes_read(gather) == 10 * 16 * 4 + 10 * 4
    assert macs(trace) == 2 * (5 * 16 * 16 + 2 * 5 * 5 * 16)
    assert [op.kind for op in trace.operators if op.kind in ("softmax", "norm")] == ["softmax", "norm"]
    assert trace.parameters() == 1600 + 256 + 16


def test_a_part_of_a_tensor_is_a_view(tmp_path):
    nodes = [
        helper.make_node("Split", ["x"], ["a", "b"], axis=1, num_outputs=2),
        helper.make_node("Mul", ["a", "b"], ["y"]),
    ]
    trace = read_onnx(saved(tmp_path, nodes, [info("x", 4, 6)], [info("y", 4, 3)])).trace
    (op,) = trace.operators
    assert trace.bytes_read(op) == 4 * 6 * 4
    assert set(trace.meta["views"].values()) == {"x"}


def test_unknown_operators_are_named_and_counted(tmp_path):
    nodes = [
        helper.make_node("Relu", ["x"], ["a"]),
        helper.make_node("Fancy", ["a"], ["b"], name="f1", domain="my.own"),
        helper.make_node("LSTM", ["a", "w", "r"], ["y"], name="l", hidden_size=3),
        helper.make_node("Relu", ["b"], ["c"]),
    ]
    weights = [weight("w", 1, 12, 4), weight("r", 1, 12, 3)]
    path = saved(tmp_path, nodes, [info("x", 2, 1, 4)], [info("y", 2, 1, 1, 3)], weights)
    with pytest.raises(
        TraceError, match=r"node\[1\] 'f1' \(Fancy\): unknown operators: LSTM x 1, Relu \(behind another\)"
    ):
        read_onnx(path)
    assert read_onnx(path, skip_unknown=True).skipped == {
        "my.own.Fancy": 1,
        "LSTM": 1,
        "Relu (behind another)": 1,
    }


RELU = [helper.make_node("Relu", ["x"], ["y"])]


@pytest.mark.parametrize(
    ("nodes", "inputs", "says"),
    [
        (RELU, [info("x", "n", 3)], r"input 'x': dimension 'n' is open: give its size \(--dim n=1\)"),
        (RELU, [info("x", -4, 3)], r"input 'x': dimension 0 is -4: wanted 1 to"),
        (RELU, [info("x", 2**40, 3)], r"dimension 0 is 1099511627776: wanted 1 to 2147483647"),
        (RELU, [info("z", 3)], r"node\[0\] 'Relu': reads 'x', which nothing before it writes: .* cycle"),
        (
            [helper.make_node("Add", ["x", "b"], ["a"]), helper.make_node("Relu", ["a"], ["b"])],
            [info("x", 3)],
            r"node\[0\] 'Add': reads 'b'.* the graph has a cycle or is out of order",
        ),
        (
            [*RELU, helper.make_node("Neg", ["x"], ["y"])],
            [info("x", 3)],
            r"node\[1\] 'Neg': writes 'y' again",
        ),
        ([], [info("x", 3)], r"one without nodes"),
        (
            [helper.make_node("Conv", ["x", "x"], ["y"], pads=[-1, 0, 1, 0])],
            [info("x", 1, 1, 3, 3)],
            r"node\[0\] 'Conv.0' \(Conv\): unknown operators: Conv \(without a shape of 'y'\) x 1",
        ),
        (
            [helper.make_node("MatMul", ["x", "x"], ["y"])],
            [info("x", 2, 3)],
            r"node\[0\] 'MatMul.0' \(MatMul\): .*\(without a shape of 'y'\)",
        ),
    ],
)
def test_bad_graphs_are_told_where(tmp_path, nodes, inputs, says):
    outputs = [helper.make_empty_tensor_value_info("y")]
    with pytest.raises(TraceError, match=says):
        read_onnx(saved(tmp_path, nodes, inputs, outputs))


def test_an_unknown_dimension_is_refused(tmp_path):
    path = saved(tmp_path, RELU, [info("x", "n", 3)], [info("y", "n", 3)])
    with pytest.raises(TraceError, match=r"no open dimension 'm'; open ones: 'n'"):
        read_onnx(path, dims={"m": 1, "n": 2})


@pytest.mark.parametrize("content", [b"", b"\x00" * 64, b"hello", b"\x0a\xff\xff\xff\xff\x0f"])
def test_what_is_no_model(tmp_path, content):
    path = tmp_path / "model.onnx"
    path.write_bytes(content)
    with pytest.raises(TraceError, match="not an ONNX model"):
        read_onnx(path)


def field(number, content):
    """A field of protobuf with a length, at most 2**28 bytes, encoded by hand."""
    size, out = len(content), bytearray()
    while size >= 128:
        out.append(size & 127 | 128)
        size >>= 7
    return bytes([number << 3 | 2, *out, size]) + content


def test_deep_nesting(tmp_path):
    # Nodes (1) with attributes (5) that hold graphs (6), one in another: protobuf stops by itself.
    graph = b""
    for _ in range(10_000):
        graph = field(1, field(4, b"If") + field(5, field(6, graph)))
    path = tmp_path / "deep.onnx"
    path.write_bytes(field(7, graph))
    with pytest.raises(TraceError, match=r"deep\.onnx: not an ONNX model"):
        read_onnx(path)
