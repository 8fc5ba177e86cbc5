"""Files that would become far more memory than they are long are refused before they do."""

import gzip
import json
import struct

import pytest

from pimsim.errors import TraceError
from pimsim.trace import file, gguf, load_config, pytorch, read_trace, reading, safetensors
from pimsim.trace.gguf import read_gguf
from pimsim.trace.llm import config
from pimsim.trace.pytorch import read_pytorch
from pimsim.trace.requests import read_serving
from pimsim.trace.safetensors import read_safetensors


def written(tmp_path, name, content):
    path = tmp_path / name
    path.write_bytes(content)
    return path


def test_a_trace_that_unpacks_to_much_more(tmp_path, monkeypatch):
    monkeypatch.setattr(file, "LIMIT_BYTES", 10_000)
    path = written(tmp_path, "a.jsonl.gz", gzip.compress(bytes(10**7)))
    assert path.stat().st_size < 10_000 + 1000
    with pytest.raises(TraceError, match=r"a\.jsonl\.gz:1: more than 10,000 bytes: not read"):
        read_trace(path)


def test_bytes_behind_a_packed_trace(tmp_path):
    path = written(tmp_path, "a.jsonl.gz", gzip.compress(b"{}\n") + b"more")
    with pytest.raises(TraceError, match="bytes behind its end"):
        read_trace(path)


def test_a_recording_of_nothing_but_brackets(tmp_path, monkeypatch):
    monkeypatch.setattr(pytorch, "MOST_VALUES", 1000)
    path = written(tmp_path, "a.json", b'{"traceEvents":[' + b"[]," * 1000 + b"[]]}")
    with pytest.raises(TraceError, match=r"a\.json: more than 1,000 values: not read"):
        read_pytorch(path)


def test_a_table_of_nothing_but_lines(tmp_path, monkeypatch):
    monkeypatch.setattr(reading, "MOST_LINES", 1000)
    for end in (b"\n", b"\x0c", "\u2028".encode()):
        with pytest.raises(TraceError, match=r"a\.csv: more than 1,000 values: not read"):
            read_serving(written(tmp_path, "a.csv", end * 1001))


def test_a_header_of_many_tensors(tmp_path, monkeypatch):
    monkeypatch.setattr(safetensors, "LIMIT_VALUES", 1000)
    header = json.dumps({str(i): [] for i in range(1001)}).encode()
    with pytest.raises(TraceError, match="more than 1,000 values"):
        read_safetensors(written(tmp_path, "a.safetensors", struct.pack("<Q", len(header)) + header))


def test_a_header_of_many_texts(tmp_path, monkeypatch):
    monkeypatch.setattr(gguf, "LIMIT_TEXTS", 100)
    setting = struct.pack("<Q", 1) + b"k" + struct.pack("<IIQ", 9, 8, 200) + bytes(8 * 200)
    path = written(tmp_path, "a.gguf", b"GGUF" + struct.pack("<IQQ", 3, 0, 1) + setting)
    with pytest.raises(TraceError, match="more than 100 texts"):
        read_gguf(path)


def test_a_configuration_of_megabytes(tmp_path, monkeypatch):
    monkeypatch.setattr(config, "LIMIT_BYTES", 1000)
    path = written(tmp_path, "config.json", b" " * 1001)
    with pytest.raises(TraceError, match="more than 1,000 bytes: not a model configuration"):
        load_config(path)


@pytest.mark.extra
def test_the_data_of_weights_are_taken_out(tmp_path, monkeypatch):
    pytest.importorskip("onnx")
    import numpy as np
    from onnx import TensorProto, helper, numpy_helper

    from pimsim.trace.onnx import data, read, read_onnx

    values = np.arange(100 * 100, dtype=np.float32).reshape(100, 100)
    listed = helper.make_tensor("v", TensorProto.FLOAT, (100, 100), values.ravel())  # as float_data
    x = helper.make_tensor_value_info("x", TensorProto.FLOAT, (1, 100))
    y = helper.make_tensor_value_info("y", TensorProto.FLOAT, (1, 100))
    nodes = [helper.make_node("MatMul", ["x", "w"], ["h"]), helper.make_node("MatMul", ["h", "v"], ["y"])]
    graph = helper.make_graph(nodes, "g", [x], [y], [numpy_helper.from_array(values, "w"), listed])
    content = helper.make_model(graph).SerializeToString()
    path = written(tmp_path, "m.onnx", content)
    assert len(data.without_data(path, content)) < 400 < 80_000 < len(content)
    trace = read_onnx(path).trace
    assert (trace.parameters(), trace.flops()) == (2 * 100 * 100, 2 * 2 * 100 * 100)
    monkeypatch.setattr(read, "LIMIT_GRAPH", 100)
    with pytest.raises(TraceError, match=r"\d+ bytes beside the weights: wanted at most 100"):
        read_onnx(path)
    monkeypatch.setattr(data, "LIMIT_FIELDS", 5)
    with pytest.raises(TraceError, match=r"m\.onnx: more than 5 fields: not read"):
        read_onnx(path)
