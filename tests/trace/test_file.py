"""Trace files: they give back what was written, and every damage is named with its line."""

import gzip
import json
import time

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pimsim.errors import TraceError
from pimsim.trace import Operator, Tensor, Trace, load_config, prefill_trace, read_trace, write_trace

TENSORS = (
    Tensor(name="x", shape=(4, 8), dtype="bf16", role="input"),
    Tensor(name="w", shape=(6, 8), dtype="int4", role="weight"),
    Tensor(name="y", shape=(4, 6), dtype="bf16", role="output"),
)
MATMUL = Operator(kind="matmul", name="m", inputs=("x", "w"), outputs=("y",), phase="prefill", layer=0)
SMALL = Trace(
    name="small", tensors=TENSORS, operators=(MATMUL,), meta={"by": "hand", "list": [1, {"a": None}]}
)


def lines_of(path):
    return path.read_text().splitlines()


@pytest.fixture
def written(tmp_path):
    path = tmp_path / "small.jsonl"
    write_trace(SMALL, path)
    return path


def changed(path, number, **changes):
    """The file with fields of line `number` replaced; None removes a field."""
    lines = lines_of(path)
    value = json.loads(lines[number - 1]) | changes
    lines[number - 1] = json.dumps({k: v for k, v in value.items() if v is not None or k == "layer"})
    path.write_text("\n".join(lines) + "\n")


@pytest.mark.parametrize("suffix", ["jsonl", "jsonl.gz"])
def test_round_trip(tmp_path, suffix):
    path = tmp_path / f"t.{suffix}"
    write_trace(SMALL, path)
    assert read_trace(path) == SMALL
    assert read_trace(str(path)).digest() == SMALL.digest()
    assert [each.name for each in tmp_path.iterdir()] == [path.name]  # no temporary file is left


values = (
    st.none()
    | st.booleans()
    | st.integers(-(2**63), 2**63 - 1)
    | st.floats(allow_nan=False, allow_infinity=False)
)
attrs = st.dictionaries(
    st.text(max_size=4), values | st.text(max_size=4) | st.lists(values, max_size=2), max_size=3
)
names = st.text(min_size=1, max_size=6)


@st.composite
def traces(draw):
    """Traces of copies between tensors of equal shape."""
    shape = draw(st.lists(st.integers(1, 2**40), max_size=3))
    dtype, role = st.sampled_from(["fp32", "int4", "bool"]), st.sampled_from(["weight", "kv", "input"])
    tensors = [
        Tensor(name=name, shape=tuple(shape), dtype=draw(dtype), role=draw(role))
        for name in draw(st.lists(names, min_size=1, max_size=4, unique=True))
    ]
    among = st.sampled_from([each.name for each in tensors])
    operators = [
        Operator(
            kind="copy",
            name=name,
            inputs=(draw(among),),
            outputs=(draw(among),),
            attrs=draw(attrs),
            phase=draw(st.sampled_from(["prefill", "decode[12]", "train[0]"])),
            layer=draw(st.none() | st.integers(0, 100)),
        )
        for name in draw(st.lists(names, max_size=4, unique=True))
    ]
    return Trace(name=draw(names), tensors=tensors, operators=operators, meta=draw(attrs))


@settings(max_examples=60, deadline=None)
@given(traces(), st.sampled_from(["jsonl", "jsonl.gz"]))
def test_any_trace_comes_back(tmp_path_factory, trace, suffix):
    path = tmp_path_factory.mktemp("any") / f"t.{suffix}"
    write_trace(trace, path)
    back = read_trace(path)
    assert back == trace
    assert back.digest() == trace.digest()


def test_the_same_trace_gives_the_same_bytes(tmp_path):
    for name in ("a.jsonl.gz", "b.jsonl.gz"):
        write_trace(SMALL, tmp_path / name)
    first = (tmp_path / "a.jsonl.gz").read_bytes()
    assert first == (tmp_path / "b.jsonl.gz").read_bytes()
    assert first[4:8] == bytes(4)  # RFC 1952: the time of a gzip file


def test_the_file_is_what_the_description_says(written):
    lines = [json.loads(line) for line in lines_of(written)]
    assert lines[0] == {
        "schema": "pimsim-trace",
        "version": 1,
        "name": "small",
        "meta": {"by": "hand", "list": [1, {"a": None}]},
    }
    assert lines[1] == {"type": "tensor", "name": "x", "shape": [4, 8], "dtype": "bf16", "role": "input"}
    assert lines[4] == {
        "type": "operator",
        "kind": "matmul",
        "name": "m",
        "inputs": ["x", "w"],
        "outputs": ["y"],
        "attrs": {},
        "phase": "prefill",
        "layer": 0,
    }
    assert lines[5:] == [{"end": 5}]


@pytest.mark.parametrize("keep", range(6))
def test_a_file_cut_between_lines_is_noticed(written, keep):
    written.write_text("".join(line + "\n" for line in lines_of(written)[:keep]))
    with pytest.raises(TraceError, match=rf"small\.jsonl:{max(keep, 1)}: the file is (cut off|empty)"):
        read_trace(written)


def test_a_file_cut_anywhere_is_noticed(written):
    content = written.read_bytes()
    for size in range(len(content) - 1):  # without the last newline the file is still whole
        written.write_bytes(content[:size])
        with pytest.raises(TraceError, match=r"small\.jsonl:\d+: "):
            read_trace(written)


def test_a_compressed_file_cut_anywhere_is_noticed(tmp_path):
    path = tmp_path / "small.jsonl.gz"
    write_trace(SMALL, path)
    content = path.read_bytes()
    for size in range(len(content)):
        path.write_bytes(content[:size])
        with pytest.raises(TraceError, match=r"small\.jsonl\.gz:\d+: "):
            read_trace(path)


def test_a_file_that_is_not_compressed_is_named(tmp_path):
    path = tmp_path / "t.jsonl.gz"
    path.write_text("{}")
    with pytest.raises(TraceError, match=r"t\.jsonl\.gz:1: the compressed file is damaged"):
        read_trace(path)


def test_lines_missing_in_the_middle_are_noticed(written):
    lines = lines_of(written)
    written.write_text("\n".join(lines[:2] + lines[3:]) + "\n")
    with pytest.raises(TraceError, match="has 4 lines before this one, which counts 5"):
        read_trace(written)


@pytest.mark.parametrize(
    ("number", "changes", "says"),
    [
        (1, {"schema": "other"}, "schema 'other': wanted 'pimsim-trace'"),
        (1, {"version": 2}, "version 2, but this pimsim reads up to version 1"),
        (1, {"version": 2, "novel": 1}, "version 2, but this pimsim reads up to version 1"),
        (1, {"version": 0}, "version 0"),
        (1, {"version": "1"}, r"Expected `int`, got `str` - at `\$.version`"),
        (1, {"novel": 1}, "unknown field `novel`"),
        (1, {"name": ""}, "empty name"),
        (2, {"colour": "red"}, "unknown field `colour`"),
        (2, {"dtype": None}, "missing required field `dtype`"),
        (2, {"dtype": "bf61"}, "tensor 'x': no dtype 'bf61'; did you mean 'bf16'"),
        (2, {"shape": [4, 8.5]}, r"Expected `int`, got `float` - at `\$.shape\[1\]`"),
        (2, {"shape": [4, -8]}, "every size must be an integer >= 1"),
        (3, {"name": "x"}, "tensor 'x' is already on line 2"),
        (3, {"type": "tenser"}, "Invalid value 'tenser'"),
        (5, {"kind": "gemm"}, "operator 'm': no kind 'gemm'"),
        (5, {"inputs": ["x", "v"]}, "matmul 'm': no tensor named 'v'"),
        (5, {"inputs": ["w", "x"]}, r"matmul 'm': output 'y' \(4, 6\), wanted shape \(6, 4\)"),
        (5, {"layer": "0"}, r"Expected `int \| null`, got `str`"),
        (5, {"attrs": {"a": 2**70}}, "attribute a: 1180591620717411303424 does not fit in 64 bits"),
        (6, {"end": 4}, "has 5 lines before this one, which counts 4"),
        (6, {"end": 5, "more": 1}, "the file is cut off"),
    ],
)
def test_a_bad_line_is_named(written, number, changes, says):
    changed(written, number, **changes)
    with pytest.raises(TraceError, match=rf"small\.jsonl:{number}: .*{says}"):
        read_trace(written)


@pytest.mark.parametrize("line", ["{", "", "[]", '{"type": "tensor", }', "[" * 100_000])
def test_a_line_that_is_no_json_object_is_named(written, line):
    lines = lines_of(written)
    lines[2] = line
    written.write_text("\n".join(lines) + "\n")
    with pytest.raises(TraceError, match=r"small\.jsonl:3: "):
        read_trace(written)


def test_bytes_that_are_no_text_are_named(written):
    written.write_bytes(written.read_bytes().replace(b'"w"', b'"\xff"'))
    with pytest.raises(TraceError, match=r"small\.jsonl:3: "):
        read_trace(written)


def test_a_repeated_operator_is_named(written):
    lines = lines_of(written)
    written.write_text("\n".join([*lines[:5], lines[4], '{"end": 6}']) + "\n")
    with pytest.raises(TraceError, match=r"small\.jsonl:6: operator 'm' of prefill is already on line 5"):
        read_trace(written)


def test_files_that_cannot_be_opened_are_named(tmp_path):
    with pytest.raises(TraceError, match=r"none\.jsonl: cannot read the trace: No such file"):
        read_trace(tmp_path / "none.jsonl")
    with pytest.raises(TraceError, match="cannot write the trace"):
        write_trace(SMALL, tmp_path / "none" / "t.jsonl")


def test_windows_line_ends_are_read(written):
    written.write_bytes(written.read_bytes().replace(b"\n", b"\r\n"))
    assert read_trace(written) == SMALL


def test_a_plain_copy_of_a_compressed_file_is_the_same_text(tmp_path):
    write_trace(SMALL, tmp_path / "t.jsonl")
    write_trace(SMALL, tmp_path / "t.jsonl.gz")
    assert gzip.decompress((tmp_path / "t.jsonl.gz").read_bytes()) == (tmp_path / "t.jsonl").read_bytes()


@pytest.mark.bench
def test_reading_speed(tmp_path):
    path = tmp_path / "t.jsonl.gz"
    trace = prefill_trace(load_config("llama-3.2-3b"), 128)
    write_trace(trace, path)
    start = time.perf_counter()
    read_trace(path)
    lines = len(trace.tensors) + len(trace.operators) + 2
    print(f"\nread_trace: {lines / (time.perf_counter() - start):,.0f} lines/s")
