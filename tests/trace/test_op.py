"""Tensors, operators and traces: derived numbers against hand arithmetic, and checks."""

from dataclasses import FrozenInstanceError, replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pimsim.errors import TraceError
from pimsim.trace import Attrs, Operator, Tensor, Trace, plain


def tensor(name, *shape, dtype="bf16", role="activation"):
    return Tensor(name=name, shape=shape, dtype=dtype, role=role)


def one(kind, inputs, outputs, **attrs):
    """A trace of one operator over these tensors."""
    op = Operator(
        kind=kind,
        name="it",
        inputs=tuple(each.name for each in inputs),
        outputs=tuple(each.name for each in outputs),
        attrs=attrs,
        phase="prefill",
    )
    tensors = {each.name: each for each in [*inputs, *outputs]}
    return Trace(name="t", tensors=tuple(tensors.values()), operators=(op,))


def numbers(trace):
    cost = trace.cost(trace.operators[0])
    return cost.flops, cost.bytes_read, cost.bytes_written


@pytest.mark.parametrize(
    ("dtype", "expected"),
    [
        ("fp32", 60),
        ("bf16", 30),
        ("fp16", 30),
        ("fp8", 15),
        ("int32", 60),
        ("int8", 15),
        ("int4", 8),
        ("bool", 15),
    ],
)
def test_tensor_bytes(dtype, expected):
    assert tensor("t", 3, 5, dtype=dtype).bytes == expected  # 15 elements; int4: 7.5 bytes
    assert tensor("t", 3, 5, dtype=dtype).elements == 15


def test_matmul():
    x, w, y = tensor("x", 4, 8), tensor("w", 6, 8, role="weight", dtype="int4"), tensor("y", 4, 6)
    trace = one("matmul", [x, w], [y])
    assert trace.matmul_shape(trace.operators[0]) == (4, 6, 8)
    assert numbers(trace) == (2 * 4 * 6 * 8, 4 * 8 * 2 + 6 * 8 // 2, 4 * 6 * 2)
    assert trace.flops() == 384


def test_matmul_with_bias_and_leading_axes():
    x, w, b, y = tensor("x", 2, 3, 8), tensor("w", 6, 8), tensor("b", 6), tensor("y", 2, 3, 6)
    trace = one("matmul", [x, w, b], [y])
    assert trace.matmul_shape(trace.operators[0]) == (6, 6, 8)
    assert numbers(trace) == (2 * 6 * 6 * 8 + 36, 2 * (48 + 48 + 6), 2 * 36)


@pytest.mark.parametrize(
    ("w", "y", "says"),
    [
        ((8, 6), (4, 6), r"wanted x \(\.\.\., K\) and w \(N, K\), got 'x' \(4, 8\) and 'w' \(8, 6\)"),
        ((6, 8), (6, 4), r"matmul 'it': output 'y' \(6, 4\), wanted shape \(4, 6\)"),
    ],
)
def test_matmul_of_other_shapes_is_refused(w, y, says):
    with pytest.raises(TraceError, match=says):
        one("matmul", [tensor("x", 4, 8), tensor("w", *w)], [tensor("y", *y)])


def attention(m, context, *, causal=True, rows=None, **changes):
    attrs = {"heads": 4, "kv_heads": 2, "head_dim": 8, "context": context, "causal": causal} | changes
    caches = [tensor(name, rows or context, 16, role="kv", dtype="int8") for name in "kv"]
    return one("attention", [tensor("q", m, 32), *caches], [tensor("o", m, 32)], **attrs)


@given(st.integers(1, 12), st.integers(0, 12), st.booleans())
def test_attention_counts_every_query_key_pair_in_sight(m, earlier, causal):
    context = earlier + m
    pairs = sum(not causal or key <= earlier + query for query in range(m) for key in range(context))
    flops, read, written = numbers(attention(m, context, causal=causal))
    assert flops == 2 * 2 * 4 * 8 * pairs  # two matmuls, multiply and add, 4 heads of 8
    assert read == m * 32 * 2 + 2 * context * 16
    assert written == m * 32 * 2


def test_attention_reads_only_the_context_of_a_longer_cache():
    assert numbers(attention(1, 5, rows=100)) == numbers(attention(1, 5))


@pytest.mark.parametrize(
    ("changes", "says"),
    [
        ({"causal": None}, "causal=None: wanted true or false"),
        ({"heads": 0}, "heads is 0: wanted an integer >= 1"),
        ({"kv_heads": 3}, "heads=4 is no multiple of kv_heads=3"),
        ({"head_dim": 16}, r"wanted q \(M, 64\), got 'q' \(3, 32\)"),
        ({"context": 2}, "3 queries but context=2"),
        ({"context": 9}, "wanted k and v of 9 or more rows of 16, got 'k'"),
    ],
)
def test_attention_that_cannot_be_is_refused(changes, says):
    with pytest.raises(TraceError, match=says):
        attention(3, **({"context": 3, "rows": 3} | changes))


def test_conv2d():
    # ResNet-50's first layer: 7x7, stride 2, 224 -> 112; 118 013 952 multiply-adds.
    x, w, y = tensor("x", 1, 3, 224, 224), tensor("w", 64, 3, 7, 7), tensor("y", 1, 64, 112, 112)
    trace = one("conv2d", [x, w], [y], stride=2, padding=3, dilation=1, groups=1)
    assert numbers(trace) == (2 * 118_013_952, 2 * (3 * 224 * 224 + 64 * 147), 2 * 64 * 112 * 112)


def test_depthwise_conv2d():
    x, w, y = tensor("x", 1, 8, 5, 5), tensor("w", 8, 1, 3, 3), tensor("y", 1, 8, 5, 3)
    trace = one("conv2d", [x, w], [y], stride=[1, 2], padding=1, dilation=1, groups=8)
    assert trace.flops() == 2 * 8 * 15 * 9


@pytest.mark.parametrize(
    "attrs", [{"stride": 0}, {"stride": [1, 2, 3]}, {"padding": True}, {"dilation": "1"}]
)
def test_conv2d_names_a_bad_attribute(attrs):
    good = {"stride": 1, "padding": 0, "dilation": 1, "groups": 1}
    with pytest.raises(TraceError, match=next(iter(attrs))):
        one(
            "conv2d",
            [tensor("x", 1, 1, 4, 4), tensor("w", 1, 1, 1, 1)],
            [tensor("y", 1, 1, 4, 4)],
            **good | attrs,
        )


def test_gather_reads_only_the_gathered_rows():
    table, ids = tensor("table", 1000, 16, role="weight"), tensor("ids", 3, dtype="int32", role="input")
    assert numbers(one("gather", [table, ids], [tensor("y", 3, 16)], rows=3)) == (0, 3 * 32 + 12, 3 * 32)


def test_copy_touches_what_it_moves():
    new, cache = tensor("new", 2, 16), tensor("cache", 100, 16, dtype="int8", role="kv")
    assert numbers(one("copy", [new], [cache])) == (0, 64, 32)
    with pytest.raises(TraceError, match="does not fit into"):
        one("copy", [cache], [new])


def test_norm_of_the_last_row_reads_one_row():
    x, w = tensor("x", 7, 16), tensor("w", 16, role="weight")
    assert numbers(one("norm", [x, w], [tensor("y", 1, 16)])) == (4 * 16, 32 + 32, 32)


def test_elementwise_softmax_reduce():
    x, y = tensor("x", 2, 8), tensor("y", 2, 8)
    assert numbers(one("elementwise", [x, x], [y])) == (16, 32, 32)  # x twice is read once
    assert one("elementwise", [x], [y], function="silu_mul").flops() == 80
    assert numbers(one("softmax", [x], [y])) == (80, 32, 32)
    assert numbers(one("reduce", [x], [tensor("z", 2)])) == (16, 32, 4)
    with pytest.raises(TraceError, match="no function 'silu_mu'; did you mean 'silu_mul'"):
        one("elementwise", [x], [y], function="silu_mu")


@pytest.mark.parametrize(
    ("changes", "says"),
    [
        ({"name": ""}, "empty name"),
        ({"shape": (3, 0)}, r"tensor 'x': shape \(3, 0\)"),
        ({"shape": (3, True)}, "integer >= 1"),
        ({"shape": (2.0,)}, "integer >= 1"),
        ({"dtype": "bf61"}, "no dtype 'bf61'; did you mean 'bf16'"),
        ({"role": "weights"}, "no role 'weights'; did you mean 'weight'"),
    ],
)
def test_a_bad_tensor_is_named(changes, says):
    with pytest.raises(TraceError, match=says):
        replace(tensor("x", 4), **changes)


@pytest.mark.parametrize(
    ("changes", "says"),
    [
        ({"name": ""}, "empty name"),
        ({"kind": "gemm"}, "no kind 'gemm'"),
        ({"inputs": ()}, "at least one input"),
        ({"phase": "decode 0"}, "phase 'decode 0'"),
        ({"layer": -1}, "layer -1"),
        ({"attrs": {"a": {1, 2}}}, "attribute a is a set"),
        ({"attrs": {"a": [float("nan")]}}, r"attribute a\[0\]: nan"),
        ({"attrs": {"a": 2**63}}, "64 bits"),
        ({"attrs": {1: 2}}, "1 is a int"),
    ],
)
def test_a_bad_operator_is_named(changes, says):
    good = Operator(kind="copy", name="c", inputs=("a",), outputs=("b",), phase="decode[0]", layer=0)
    with pytest.raises(TraceError, match=says):
        replace(good, **changes)


def test_a_trace_checks_its_names():
    good = one("copy", [tensor("a", 4)], [tensor("b", 4)])
    op = good.operators[0]
    with pytest.raises(TraceError, match="two tensors are named 'a'"):
        replace(good, tensors=(*good.tensors, tensor("a", 1)))
    with pytest.raises(TraceError, match="two operators of prefill are named 'it'"):
        replace(good, operators=(op, op))
    with pytest.raises(TraceError, match="copy 'it': no tensor named 'aa'; did you mean 'a'"):
        replace(good, operators=(replace(op, inputs=("aa",)),))
    with pytest.raises(TraceError, match="no tensor named 'zzz'$"):
        good.tensor("zzz")
    with pytest.raises(TraceError, match="2 inputs but 1 outputs"):
        replace(good, operators=(replace(op, inputs=("a", "b")),))
    replace(good, operators=(op, replace(op, phase="decode[0]")))


def test_a_shared_weight_counts_once():
    w, x, y, z = tensor("w", 8, 8, role="weight"), tensor("x", 1, 8), tensor("y", 1, 8), tensor("z", 1, 8)
    ops = tuple(
        Operator(kind="matmul", name=name, inputs=(source, "w"), outputs=(name,), phase="prefill")
        for name, source in (("y", "x"), ("z", "y"))
    )
    trace = Trace(name="tied", tensors=(w, x, y, z), operators=ops)
    assert trace.parameters() == 64
    assert trace.weights() == (w,)
    assert trace.flops() == 2 * 128
    assert trace.bytes_read() == 2 * (128 + 16)
    assert trace.bytes_written() == 2 * 16


def test_values_are_immutable_and_hashable():
    trace = one("reduce", [tensor("x", 4)], [tensor("y", 1)], axes=[0], nested={"b": 1, "a": [None, "s"]})
    op = trace.operators[0]
    with pytest.raises(FrozenInstanceError):
        op.name = "other"
    with pytest.raises(TypeError):
        op.attrs["axes"] = 1
    assert op.attrs["axes"] == (0,)
    assert len({trace, replace(trace)}) == 1
    assert plain(op.attrs) == {"axes": [0], "nested": {"a": [None, "s"], "b": 1}}


def test_the_digest_follows_the_content():
    trace = one("reduce", [tensor("x", 4)], [tensor("y", 1)], axis=0, keep=True)
    same = one("reduce", [tensor("x", 4)], [tensor("y", 1)], keep=True, axis=0)
    assert trace.digest() == same.digest()
    assert len(trace.digest()) == 64
    others = [
        replace(trace, name="u"),
        replace(trace, meta={"a": 1}),
        replace(trace, tensors=(tensor("x", 4, dtype="fp16"), trace.tensors[1])),
        replace(trace, operators=(replace(trace.operators[0], layer=1),)),
        replace(trace, operators=(replace(trace.operators[0], attrs={"axis": 0, "keep": 1}),)),
    ]
    assert len({trace.digest(), *(other.digest() for other in others)}) == 6


json_values = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-(2**63), 2**63 - 1)
    | st.floats(allow_nan=False, allow_infinity=False),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=3), inner, max_size=3),
    max_leaves=8,
)


@given(st.dictionaries(st.text(max_size=4), json_values, max_size=4))
def test_attrs_give_back_what_they_got(values):
    assert plain(Attrs(values)) == values
    assert hash(Attrs(values)) == hash(Attrs(dict(reversed(values.items()))))


def test_the_summary_has_the_totals():
    text = one("matmul", [tensor("x", 4, 8), tensor("w", 6, 8, role="weight")], [tensor("y", 4, 6)]).summary()
    assert text.splitlines()[0] == "t: 1 operators, 3 tensors"
    assert "parameters 48, weights 96 B" in text


def test_a_window_bounds_the_keys_that_are_read():
    # Queries 3, 4, 5 of six see the windows {2, 3}, {3, 4}, {4, 5}: 6 pairs over 4 rows of K and V.
    flops, read, _ = numbers(attention(3, 6, window=2))
    assert flops == 2 * 2 * 4 * 8 * 6
    assert read == 3 * 32 * 2 + 2 * 4 * 16
    assert numbers(attention(3, 6, window=6)) == numbers(attention(3, 6))
    with pytest.raises(TraceError, match="window=2 without causal"):
        attention(3, 6, window=2, causal=False)
    with pytest.raises(TraceError, match="attribute window is 0: wanted an integer >= 1"):
        attention(3, 6, window=0)


def test_norm_of_the_parts_of_a_row():
    x, w = tensor("x", 2, 16), tensor("w", 4)
    assert numbers(one("norm", [x, w], [tensor("y", 2, 16)], groups=4)) == (4 * 32, 2 * 32 + 2 * 4, 2 * 32)
    with pytest.raises(TraceError, match=r"wanted weights of shape \(16,\), got 'w' \(4,\)"):
        one("norm", [x, w], [tensor("y", 2, 16)])
    with pytest.raises(TraceError, match="rows of 16 do not divide into groups=3"):
        one("norm", [x, w], [tensor("y", 2, 16)], groups=3)


def test_elements_that_are_only_passed_on_cost_nothing():
    x, y = tensor("x", 2, 16), tensor("y", 2, 16)
    assert numbers(one("elementwise", [x], [y], function="rope", active=24)) == (3 * 24, 64, 64)
    with pytest.raises(TraceError, match="active=33 of 32 elements"):
        one("elementwise", [x], [y], function="rope", active=33)
