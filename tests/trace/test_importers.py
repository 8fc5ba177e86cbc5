"""Foreign files: topologies, recorded runs, serving traces, headers; and what damaged ones are told."""

import gzip
import json
import time

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from pimsim.errors import PimsimError, TraceError
from pimsim.trace import prefill_trace, read_trace, write_trace
from pimsim.trace.compare import differences
from pimsim.trace.llm import LlmConfig, load_config
from pimsim.trace.pytorch import read_pytorch
from pimsim.trace.requests import ServingRequest, read_serving
from pimsim.trace.safetensors import read_safetensors
from pimsim.trace.scalesim import read_scalesim


def written(tmp_path, content, name="file.csv"):
    path = tmp_path / name
    path.write_bytes(content if isinstance(content, bytes) else content.encode())
    return path


# ---- SCALE-Sim and mNPUsim

CONV = "Layer name, IFMAP Height, IFMAP Width, Filter Height, Filter Width, Channels, Num Filter, Strides,\n"
GEMM = "Layer, M, N, K,\n"
MNPU = CONV.rstrip("\n") + " Type, IFMAP Base Addr, Filter Base Addr, Ofmap Base Addr,\n"


def test_convolutions(tmp_path):
    # Conv4 of AlexNet: SCALE-Sim 3.0.0 computes it as M = 121, N = 384, K = 3456.
    trace = read_scalesim(
        written(tmp_path, CONV + "Conv4,13,13,3,3,384,384,1,\n\nConv1,224,224,7,7,3,64,2, \n")
    )
    first, second = trace.operators
    assert trace.flops(first) == 2 * 121 * 384 * 3456
    assert trace.tensor("Conv4.output").shape == (1, 384, 11, 11)
    # (224 - 7 + 2) // 2 pixels a side, as in the topology of ResNet-18
    assert trace.tensor("Conv1.output").shape == (1, 64, 109, 109)
    assert trace.parameters() == 384 * 3456 + 64 * 147
    assert second.kind == "conv2d"


def test_products(tmp_path):
    trace = read_scalesim(written(tmp_path, GEMM + "q,196,384,512,\nq,1,2,3,\n"), dtype="fp16")
    assert [trace.matmul_shape(op) for op in trace.operators] == [(196, 384, 512), (1, 2, 3)]
    assert [op.name for op in trace.operators] == ["q", "q.2"]
    assert trace.tensor("q.weight").bytes == 384 * 512 * 2


def test_the_dialect_of_mnpusim(tmp_path):
    # Lines of its gpt2, test_gemv and alexnet_out_im2col files.
    text = MNPU + (
        "QKT,1024,64,64,1024,1,1,1,Gemm,-1,-1,-1,\n"
        "Gemv3,500,512,512,1,1,1,1,Gemv,-2,-2,-1,\n"
        "Conv5,15,15,3,3,384,256,1,Im2col_conv,-1,-1,-1,\n"
        "P,8,8,2,2,16,1,2,Pool,-1,-1,-1,\n"
    )
    trace = read_scalesim(written(tmp_path, text))
    qkt, gemv, conv, pool = trace.operators
    assert trace.matmul_shape(qkt) == (1024, 1024, 64)
    assert trace.matmul_shape(gemv) == (500, 1, 512)
    assert trace.flops(conv) == 2 * 13 * 13 * 256 * 384 * 9
    assert (pool.kind, trace.flops(pool)) == ("reduce", 8 * 8 * 16)


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("", r"file\.csv:1: the file is empty"),
        (CONV, r":1: no layers after the header"),
        ("Layer,M,N\na,1,2\n", r":1: no column 'k': wanted a name, then m, n, k"),
        ("Layer,M,N,K,Sparsity\na,1,2,3,4\n", r":1: unknown column 'sparsity'"),
        (GEMM + "a,1,2\n", r":2: 3 cells, but 'k' is column 4"),
        (GEMM + "a,1,-2,3\n", r":2: n '-2': wanted a whole number from 1 to 2147483647"),
        (GEMM + "a,1,2.5,3\n", r":2: n '2\.5': wanted a whole number"),
        (GEMM + "a,1,99999999999,3\n", r":2: n '99999999999'"),
        (GEMM + f"a,1,{'9' * 5000},3\n", r":2: n '9+\.\.\.: wanted"),
        (GEMM + ",1,2,3\n", r":2: a layer without a name"),
        (CONV + "a,3,3,5,5,1,1,1\n", r":2: a filter of 5 x 5 on an input of 3 x 3"),
        (MNPU + "a,4,5,6,7,1,1,1,Gemm\n", r":2: IFMAP Width 5 but Filter Height 6"),
        (MNPU + "a,4,5,6,7,1,1,1,Gemmm\n", r":2: no type 'Gemmm'; did you mean 'gemm'"),
        (b"Layer,M,N,K\n\xff,1,2,3\n", r":2: not UTF-8 text"),
    ],
)
def test_bad_topologies_are_named_with_their_line(tmp_path, text, says):
    with pytest.raises(TraceError, match=says):
        read_scalesim(written(tmp_path, text))


def test_a_type_that_is_none(tmp_path):
    with pytest.raises(TraceError, match=r":2: .*no dtype 'int9'"):
        read_scalesim(written(tmp_path, GEMM + "a,1,2,3\n"), dtype="int9")


# ---- PyTorch


def event(name, start, length, dims=(), types=(), values=(), **more):
    args = {"Input Dims": list(dims), "Input type": list(types), "Concrete Inputs": list(values)}
    return {
        "ph": "X",
        "cat": "cpu_op",
        "name": name,
        "pid": 1,
        "tid": 2,
        "ts": start,
        "dur": length,
        "args": args,
    } | more


def profile(tmp_path, events, name="run.json"):
    return written(tmp_path, json.dumps({"traceEvents": events}), name)


LINEAR = [
    event("aten::linear", 10, 10, [[4, 8], [6, 8], [6]], ["float", "float", "float"]),
    event("aten::t", 11, 1, [[6, 8]], ["float"]),
    event("aten::addmm", 13, 5, [[6], [4, 8], [8, 6], [], []], ["float"] * 3 + ["Scalar", "Scalar"]),
]


def test_the_outermost_known_operator_counts(tmp_path):
    read = read_pytorch(profile(tmp_path, list(reversed(LINEAR))))
    (op,) = read.trace.operators
    assert read.trace.matmul_shape(op) == (4, 6, 8)
    assert read.trace.flops() == 2 * 4 * 6 * 8 + 4 * 6  # with the bias
    assert read.skipped == {}


def test_an_unknown_caller_is_looked_into(tmp_path):
    outer = event("aten::my_block", 0, 100, [[4, 8]], ["float"])
    read = read_pytorch(profile(tmp_path, [outer, *LINEAR]))
    assert [op.kind for op in read.trace.operators] == ["matmul"]


def test_events_of_other_threads_do_not_nest(tmp_path):
    other = event("aten::mm", 12, 1, [[2, 3], [3, 5]], ["c10::Half", "c10::Half"], tid=3)
    read = read_pytorch(profile(tmp_path, [*LINEAR, other]))
    assert sorted(read.trace.matmul_shape(op) for op in read.trace.operators) == [(2, 5, 3), (4, 6, 8)]
    assert {tensor.dtype for tensor in read.trace.tensors} == {"fp16", "fp32"}


def test_a_convolution_with_recorded_values(tmp_path):
    values = ["", "", "", "[2, 2]", "[3, 3]", "[1, 1]", "1"]
    conv = event(
        "aten::conv2d", 0, 9, [[1, 3, 224, 224], [64, 3, 7, 7], [], [], [], [], []], ["float"] * 2, values
    )
    read = read_pytorch(profile(tmp_path, [conv]))
    # The first layer of ResNet-50: 118 013 952 multiply-adds.
    assert read.trace.flops() == 2 * 118_013_952
    with pytest.raises(TraceError, match=r"aten::conv2d \(without recorded values\) x 1"):
        read_pytorch(profile(tmp_path, [conv | {"args": conv["args"] | {"Concrete Inputs": []}}]))


def test_batched_products_norms_and_the_rest(tmp_path):
    calls = [
        ("aten::bmm", [[3, 4, 5], [3, 5, 6]], 2 * 3 * 4 * 5 * 6),
        ("aten::matmul", [[2, 3, 4, 5], [2, 3, 5, 7]], 2 * 6 * 4 * 5 * 7),
        ("aten::add_", [[4, 1, 5], [6, 5]], 4 * 6 * 5),
        ("aten::relu", [[4, 5]], 20),
        ("aten::_softmax", [[4, 5]], 5 * 20),
        ("aten::layer_norm", [[4, 5], [], [5], [5]], 4 * 20),
        ("aten::embedding", [[100, 8], [2, 3]], 0),
    ]
    events = [event(name, 10 * i, 1, dims, ["float"]) for i, (name, dims, _) in enumerate(calls)]
    trace = read_pytorch(profile(tmp_path, events)).trace
    for i, (name, _, flops) in enumerate(calls):
        plain = name.removeprefix("aten::").removesuffix("_")
        own = [op for op in trace.operators if op.name.startswith(f"{i}.{plain}")]
        assert sum(trace.flops(op) for op in own) == flops, name
    assert trace.tensor(f"{2}.add.out").shape == (4, 6, 5)


def test_unknown_operators_are_named_and_counted(tmp_path):
    novel = [event("aten::novel", 100 + 10 * i, 1, [[2]], ["float"]) for i in range(3)]
    path = profile(tmp_path, [*LINEAR, *novel, event("aten::mm", 200, 1, [], ["float"])])
    with pytest.raises(
        TraceError,
        match=r"traceEvents\[3\]: unknown operators: aten::mm \(without shapes\) x 1, aten::novel x 3; "
        "--skip-unknown",
    ):
        read_pytorch(path)
    read = read_pytorch(path, skip_unknown=True)
    assert read.skipped == {"aten::novel": 3, "aten::mm (without shapes)": 1}
    assert len(read.trace.operators) == 1


def test_a_known_operator_of_an_unknown_type_is_counted(tmp_path):
    double = event("aten::mm", 0, 1, [[2, 3], [3, 4]], ["double", "double"])
    bare = event("aten::mm", 5, 1, [[2, 3], [3, 4]])
    read = read_pytorch(profile(tmp_path, [double, bare, *LINEAR]), skip_unknown=True)
    assert read.skipped == {"aten::mm (of type double)": 1, "aten::mm (without a type)": 1}
    assert [op.name.split(".")[1] for op in read.trace.operators] == ["linear"]


def test_an_execution_trace(tmp_path):
    def node(number, name, caller, shapes, kind="Tensor(float)"):
        inputs = {"values": [], "shapes": shapes, "types": [kind] * len(shapes), "strides": []}
        return {"id": number, "name": name, "ctrl_deps": caller, "inputs": inputs, "attrs": []}

    nodes = [
        node(2, "[pytorch|profiler|execution_trace|thread]", 1, []),
        node(3, "## block ##", 2, []),
        node(4, "aten::linear", 3, [[4, 8], [6, 8]]),
        node(5, "aten::mm", 4, [[4, 8], [8, 6]]),
        node(6, "aten::mul", 3, [[4, 4], [4, 4]], "Tensor(c10::BFloat16)"),
    ]
    path = written(tmp_path, json.dumps({"schema": "1.1.1-chakra.0.0.4", "nodes": nodes}), "et.json")
    trace = read_pytorch(path).trace
    assert [op.name for op in trace.operators] == ["2.linear", "4.mul"]
    assert trace.tensor("4.mul.out").dtype == "bf16"
    nodes[4]["ctrl_deps"], nodes[3]["ctrl_deps"] = 6, 6  # a circle and a later caller
    path = written(tmp_path, json.dumps({"nodes": nodes}), "et.json")
    assert len(read_pytorch(path).trace.operators) == 3


@pytest.mark.parametrize(
    ("content", "says"),
    [
        ("", "not a profile"),
        ("[1]", r"wanted an object with a list `traceEvents`"),
        ('{"traceEvents": [1]}', r"traceEvents\[0\]: wanted an object, got 1"),
        ('{"traceEvents": []}', "no operator with shapes"),
        (
            '{"traceEvents": [{"ph": "X", "name": "a", "ts": "1"}]}',
            r"traceEvents\[0\]: ts '1': wanted a number",
        ),
        ('{"traceEvents": [{"ph": "X", "name": 3, "ts": 1}]}', r"name 3: wanted text"),
        ('{"traceEvents": [{"ph": "X", "name": "a", "ts": 1e300}]}', "wanted a number"),
        (
            '{"traceEvents": [{"ph": "X", "name": "a", "ts": 1, "args": {"Input Dims": [[-1]]}}]}',
            r"shape \[-1\]: wanted up to 16 whole numbers",
        ),
        ('{"nodes": [{"id": 1, "name": "a"}, {"id": 1, "name": "b"}]}', r"nodes\[1\]: id 1 is given twice"),
        ('{"nodes": [{"name": "a"}]}', r"nodes\[0\]: wanted an object with an integer `id`"),
        ("[" * 100_000, "not a profile"),
    ],
)
def test_bad_profiles_are_named_with_a_position(tmp_path, content, says):
    with pytest.raises(TraceError, match=rf"run\.json: .*{says}|{says}"):
        read_pytorch(written(tmp_path, content, "run.json"))


def test_a_product_beyond_all_bounds_is_refused(tmp_path):
    huge = [event("aten::embedding", 0, 1, [[9, 9], [2**31 - 1] * 3], ["float"])]
    with pytest.raises(TraceError, match=r"traceEvents\[0\]: .*does not fit in 64 bits"):
        read_pytorch(profile(tmp_path, huge))
    many = [event("aten::bmm", 0, 1, [[2**31 - 1, 1, 1], [2**31 - 1, 1, 1]], ["float"])]
    with pytest.raises(TraceError, match="2147483647 products"):
        read_pytorch(profile(tmp_path, many))


def test_a_compressed_profile(tmp_path):
    content = gzip.compress(json.dumps({"traceEvents": LINEAR}).encode())
    assert read_pytorch(written(tmp_path, content, "run.json.gz")).trace.name == "run"
    with pytest.raises(TraceError, match=r"run\.json\.gz: the compressed file is cut off"):
        read_pytorch(written(tmp_path, content[:-20], "run.json.gz"))
    with pytest.raises(TraceError, match="is damaged"):
        read_pytorch(written(tmp_path, b"no gzip", "run.json.gz"))


def test_a_file_that_unpacks_to_more_than_the_limit_is_refused(tmp_path, monkeypatch):
    from pimsim.trace import pytorch

    monkeypatch.setattr(pytorch, "LIMIT_BYTES", 1000)
    bomb = written(tmp_path, gzip.compress(b" " * 10**7), "run.json.gz")
    with pytest.raises(TraceError, match=r"run\.json\.gz: more than 1,000 bytes: not read"):
        read_pytorch(bomb)


# ---- serving

HEAD = "arrived_at,num_prefill_tokens,num_decode_tokens\n"


def test_vidur(tmp_path):
    text = HEAD.strip() + ",num_total_tokens,pd_ratio\n0.25,100,7,107,14.3\n1.5e0,3,1,4,3\n"
    assert read_serving(written(tmp_path, text)) == (
        ServingRequest(arrive_ps=250_000_000_000, prompt=100, tokens=7),
        ServingRequest(arrive_ps=1_500_000_000_000, prompt=3, tokens=1),
    )


def test_llmservingsim(tmp_path):
    text = '{"input_toks": 100, "output_toks": 7, "arrival_time_ns": 4059740, "input_tok_ids": [1]}\n'
    assert read_serving(written(tmp_path, text)) == (
        ServingRequest(arrive_ps=4_059_740_000, prompt=100, tokens=7),
    )


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("", ":1: the file is empty"),
        ("arrived_at,tokens\n", ":1: no column 'num_prefill_tokens'"),
        (HEAD.strip() + ",more\n1,2,3,4\n", ":1: unknown column 'more'"),
        (HEAD, ":1: no requests after the header"),
        (HEAD + "1,2\n", ":2: 2 cells, wanted 3"),
        (HEAD + "-1,2,3\n", ":2: arrived_at '-1': wanted seconds from 0"),
        (HEAD + "nan,2,3\n", ":2: arrived_at 'nan'"),
        (HEAD + "1e99,2,3\n", ":2: arrived_at '1e99'"),
        (HEAD + "1,0,3\n", ":2: num_prefill_tokens '0'"),
        (HEAD + "2,1,1\n\n1,1,1\n", ":4: arrives before the request above it"),
        ('{"input_toks": 1}', ":1: output_toks None: wanted a whole number"),
        ('{"input_toks": true, "output_toks": 1, "arrival_time_ns": 1}', ":1: input_toks True"),
        ('{"input_toks": 1, "output_toks": 1, "arrival_time_ns": -1}', ":1: arrival_time_ns -1"),
        ('{"sub_requests": []}', ":1: sub_requests: sessions of several requests are not read"),
        ('{"novel": 1}', ":1: unknown key 'novel'"),
        ('{"input_toks": ', ":1: Input data was truncated"),
    ],
)
def test_bad_serving_traces_are_named_with_their_line(tmp_path, text, says):
    with pytest.raises(TraceError, match=rf"file\.csv{says}"):
        read_serving(written(tmp_path, text))


# ---- safetensors


def safetensors(entries, data=b"", size=None):
    header = entries if isinstance(entries, bytes) else json.dumps(entries).encode()
    return (len(header) if size is None else size).to_bytes(8, "little") + header + data


def test_a_header(tmp_path):
    entries = {
        "__metadata__": {"format": "pt"},
        "w": {"dtype": "BF16", "shape": [2, 3], "data_offsets": [0, 12]},
        "s": {"dtype": "F32", "shape": [], "data_offsets": [12, 16]},
    }
    tensors = read_safetensors(written(tmp_path, safetensors(entries, bytes(16))))
    assert [(each.name, each.shape, each.elements, each.bytes) for each in tensors] == [
        ("w", (2, 3), 6, 12),
        ("s", (), 1, 4),
    ]


@pytest.mark.parametrize(
    ("content", "says"),
    [
        (b"", "byte 0: a header of 0 bytes in a file of 0"),
        (safetensors({}, size=2**63), "a header of 9,223,372,036,854,775,808 bytes in a file of 10"),
        (safetensors(b"{", b""), "header: Input data was truncated"),
        (safetensors(b"[]", b""), "header: Expected `object`"),
        (
            safetensors({"w": {"dtype": "F32", "shape": [1]}}),
            "header: Object missing required field `data_offsets`",
        ),
        (safetensors({"w": {"dtype": "F9", "shape": [1], "data_offsets": [0, 4]}}), "'w': no type 'F9'"),
        (safetensors({"w": {"dtype": "F32", "shape": [-1], "data_offsets": [0, 4]}}), r"shape \[-1\]"),
        (
            safetensors({"w": {"dtype": "F32", "shape": [1], "data_offsets": [0, 4]}}),
            "bytes 0 to 4 of 0: wanted 4",
        ),
        (
            safetensors({"w": {"dtype": "F32", "shape": [2], "data_offsets": [0, 4]}}, bytes(4)),
            "wanted 8 bytes",
        ),
        (safetensors({"w": {"dtype": "F32", "shape": [1] * 17, "data_offsets": [0, 4]}}), "up to 16 sizes"),
    ],
)
def test_bad_headers_are_named(tmp_path, content, says):
    with pytest.raises(TraceError, match=rf"file\.csv: .*{says}"):
        read_safetensors(written(tmp_path, content))


# ---- any bytes

READERS = {
    "csv": read_scalesim,
    "serving": read_serving,
    "json": lambda path: read_pytorch(path, skip_unknown=True),
    "tensors": read_safetensors,
    "config": load_config,
    "trace": read_trace,
}
SEEDS = {
    "csv": (MNPU + "QKT,1024,64,64,1024,1,1,1,Gemm,-1,-1,-1,\nC,15,15,3,3,3,2,1,Conv,,,\n").encode(),
    "serving": (HEAD + "0.5,10,2\n1,3,4\n").encode(),
    "json": json.dumps({"traceEvents": LINEAR}).encode(),
    "tensors": safetensors({"w": {"dtype": "F32", "shape": [1], "data_offsets": [0, 4]}}, bytes(4)),
    "config": json.dumps(
        {
            "model_type": "mixtral",
            "hidden_size": 8,
            "intermediate_size": 8,
            "num_hidden_layers": 1,
            "num_attention_heads": 2,
            "vocab_size": 9,
            "num_local_experts": 2,
            "num_experts_per_tok": 1,
            "layer_types": ["full_attention"],
        }
    ).encode(),
    "trace": b'{"schema": "pimsim-trace", "version": 1, "name": "a", "meta": {}}\n{"end": 1}\n',
}


def damaged(data, seed):
    """The bytes of a good file with a few replaced, removed or repeated."""
    content = bytearray(seed)
    for _ in range(data.draw(st.integers(1, 4))):
        at = data.draw(st.integers(0, max(0, len(content) - 1)))
        to = min(len(content), at + data.draw(st.integers(0, 12)))
        bits = [
            b"",
            b"-",
            b"9" * 30,
            b"1e400",
            b"null",
            b"[]",
            b"{}",
            b'"',
            b"\xff",
            b",",
            b"\n",
            bytes(content[at:to]) * 2,
        ]
        content[at:to] = data.draw(st.sampled_from(bits) | st.binary(max_size=4))
    return bytes(content)


@pytest.mark.parametrize("kind", READERS)
@settings(max_examples=80, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(data=st.data())
def test_damaged_files_give_a_result_or_a_clear_error(kind, data, tmp_path):
    content = damaged(data, SEEDS[kind]) if data.draw(st.booleans()) else data.draw(st.binary(max_size=60))
    path = written(tmp_path, content, f"file.{kind}")
    complaint = f"file.{kind}"
    try:
        READERS[kind](path)
    except PimsimError as error:
        complaint = str(error)
    assert f"file.{kind}" in complaint
    assert len(complaint) < 3000


@pytest.mark.parametrize("kind", READERS)
def test_good_seeds_are_read(tmp_path, kind):
    READERS[kind](written(tmp_path, SEEDS[kind], f"file.{kind}"))


@pytest.mark.parametrize("kind", READERS)
def test_files_that_are_not_there(tmp_path, kind):
    with pytest.raises(TraceError, match=rf"none\.{kind}: cannot read"):
        READERS[kind](tmp_path / f"none.{kind}")


# ---- differences


def test_differences_of_two_traces():
    config = load_config("llama-3.2-1b")
    bf16, int8 = prefill_trace(config, 4), prefill_trace(config, 4, weight_dtype="int8")
    assert differences(bf16, bf16) == ()
    found = differences(bf16, int8)
    assert {each.what for each in found} == {"bytes read"}
    one = next(each for each in found if each.operator == "layers.0.k_proj")
    # 4 rows of 2048 in BF16 and 512 x 2048 weights of two bytes or one
    assert (one.first, one.second) == (str(2 * 4 * 2048 + 2 * 512 * 2048), str(2 * 4 * 2048 + 512 * 2048))
    assert isinstance(config, LlmConfig)


def test_operators_that_one_of_two_traces_lacks(tmp_path):
    a = read_scalesim(written(tmp_path, GEMM + "a,1,2,3\nb,4,5,6\n"))
    b = read_scalesim(written(tmp_path, GEMM + "b,4,5,7\nc,1,1,1\n"))
    found = [(each.operator, each.what, each.first, each.second) for each in differences(a, b)]
    assert ("a", "kind", "matmul", "-") in found
    assert ("c", "kind", "-", "matmul") in found
    assert ("b", "flops", "240", "280") in found


@pytest.mark.bench
def test_reading_a_long_profile(tmp_path):
    events = [event("aten::mm", 2 * i, 1, [[2, 3], [3, 4]], ["float"]) for i in range(100_000)]
    path = profile(tmp_path, events)
    start = time.perf_counter()
    write_trace(read_pytorch(path).trace, tmp_path / "t.jsonl.gz")
    print(f"\n{len(events) / (time.perf_counter() - start):,.0f} events/s")
