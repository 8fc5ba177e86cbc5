"""Networks in integers: products equal to the definition in `bits`, layers without weights, streams."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pimsim.errors import SpecError
from pimsim.quant.bits import lowering, mixed_conv
from pimsim.quant.calibration import Calibration, calibrate
from pimsim.quant.integer import MixedNetwork, may_lower, stream_errors
from pimsim.quant.network import (
    EXACT_TERMS,
    Network,
    Node,
    Pool,
    convolve,
    made_up_network,
)


def by_definition(values, weights, stride, padding, groups):
    """A convolution one output at a time."""
    before, after = padding
    padded = np.pad(values, ((0, 0), (0, 0), (before, after), (before, after)))
    n, depth, r, s = weights.shape
    p, q = (padded.shape[2] - r) // stride + 1, (padded.shape[3] - s) // stride + 1
    out = np.zeros((len(values), n, p, q))
    for i in range(n):
        first = i // (n // groups) * depth
        for y in range(p):
            for x in range(q):
                window = padded[
                    :, first : first + depth, y * stride : y * stride + r, x * stride : x * stride + s
                ]
                out[:, i, y, x] = (window * weights[i]).sum(axis=(1, 2, 3))
    return out


@settings(max_examples=25, deadline=None)
@given(
    seed=st.integers(0, 2**31),
    groups=st.sampled_from([1, 2, 4]),
    depth=st.integers(1, 3),
    kernel=st.integers(1, 3),
    stride=st.integers(1, 2),
    padding=st.tuples(st.integers(0, 1), st.integers(0, 2)),
)
def test_a_convolution_is_the_sum_over_its_window(seed, groups, depth, kernel, stride, padding):
    rng = np.random.default_rng(seed)
    values = rng.integers(0, 256, (2, groups * depth, 5, 6)).astype(np.float32)
    weights = rng.integers(-127, 128, (groups * 2, depth, kernel, kernel)).astype(np.float32)
    got = convolve(values, weights, stride, padding, groups)
    assert (got == by_definition(values, weights, stride, padding, groups)).all()


def test_a_depthwise_convolution_multiplies_each_channel_by_its_own_window():
    rng = np.random.default_rng(5)
    values, weights = rng.normal(size=(1, 3, 4, 4)), rng.normal(size=(3, 1, 3, 3))
    got = convolve(values, weights, 1, 1, 3)
    assert got == pytest.approx(by_definition(values, weights, 1, (1, 1), 3))


@pytest.mark.parametrize("channels", [EXACT_TERMS, EXACT_TERMS + 1, 2000])
def test_the_largest_codes_sum_up_exactly_in_single_precision(channels):
    values = np.full((1, channels, 3, 3), 255, np.float32)
    weights = np.full((1, channels, 3, 3), 127, np.float32)
    weights[0, 0, 0, 0] = 126  # an odd sum: the last bit counts
    assert convolve(values, weights, 1, 0, 1).item() == channels * 9 * 255 * 127 - 255


@settings(max_examples=20, deadline=None)
@given(seed=st.integers(0, 2**31), plain=st.booleans(), dynamic=st.booleans(), relu=st.booleans())
def test_a_layer_s_sums_are_those_of_the_definition(seed, plain, dynamic, relu):
    rng = np.random.default_rng(seed)
    first = Node(
        name="first",
        weights=np.eye(8)[:, :, None, None],
        bias=np.zeros(8),
        reads="input",
        writes="middle",
        relu=False,
    )
    second = Node(
        name="second",
        weights=rng.normal(size=(3, 8, 4, 4)),
        bias=np.zeros(3),
        reads="middle",
        writes="output",
        relu=relu,
    )
    network = Network(nodes=(first, second))
    # Codes of the first layer give values back exactly: scale 1 for inputs up to 127.
    inputs = rng.integers(-127, 128, (2, 8, 4, 4)).astype(np.float64)
    inputs[0, 0, 0, 0] = 127
    reach = np.full(8, 127.0)
    calibration = Calibration(peaks={"first": reach, "second": reach * (255 / 127 if relu else 1)})
    low = np.repeat(rng.random(2) < 0.5, 4)
    mixed = MixedNetwork(network, calibration, group=4, plain=plain, dynamic=dynamic and not plain)
    got = mixed.run(inputs, {"middle": low}, batch=2)

    held = mixed._layers["second"]
    codes = np.maximum(inputs, 0) if relu else inputs
    peaks = np.full(8, 255 if relu else 127)
    how = lowering(
        held.codes.astype(np.int64),
        low,
        None if dynamic and not plain else peaks,
        4,
        signed=not relu,
        plain=plain,
    )
    # One picture at a time: dynamic positions are those of a picture.
    each = [mixed_conv(part, held.codes.astype(np.int64), how) for part in codes.astype(np.int64)[:, None]]
    sums = np.concatenate(each)[:, :, 0, 0]
    assert got == pytest.approx(sums * held.scale * held.input_scale, rel=1e-12)


def test_layers_without_weights():
    pool = Pool(
        name="pool", kind="mean", reads="input", writes="a", channels=3, kernel=2, stride=2, relu=False
    )
    head = Node(
        name="head", weights=np.eye(3)[:, :, None, None], bias=np.zeros(3), reads="a", writes="output"
    )
    values = np.arange(16.0).reshape(1, 1, 4, 4)
    # By hand: means of the four quarters are 2.5, 4.5, 10.5, 12.5; the added channels are zero.
    assert Network(nodes=(pool, Node(**{**vars(head), "pool": True}))).run(values).tolist() == [[7.5, 0, 0]]


def test_branches_of_unequal_size_add_where_both_are():
    one = Pool(name="one", kind="max", reads="input", writes="sum", channels=1, relu=False)
    two = Pool(name="two", kind="max", reads="input", writes="sum", channels=1, kernel=2, relu=False)
    head = Node(
        name="head", weights=np.ones((1, 1, 2, 2)), bias=np.zeros(1), reads="sum", writes="output", relu=False
    )
    # By hand: [[1, 2], [3, 4]] plus [[4]] in the corner, summed.
    values = np.array([[[[1.0, 2.0], [3.0, 4.0]]]])
    assert Network(nodes=(one, two, head)).run(values).item() == 14


def test_relu6_cuts_off_only_where_there_is_a_relu():
    weights, bias = np.ones((1, 1, 1, 1)), np.zeros(1)
    for relu, wanted in ((True, 6.0), (False, 9.0)):
        node = Node(
            name="n", weights=weights, bias=bias, reads="input", writes="output", relu=relu, ceiling=6.0
        )
        assert Network(nodes=(node,)).run(np.full((1, 1, 1, 1), 9.0)).item() == wanted


def test_tensors_that_shortcuts_tie_are_one_stream():
    def layer(name, reads, writes):
        weights = np.zeros((8, 8, 1, 1))
        return Node(name=name, weights=weights, bias=np.zeros(8), reads=reads, writes=writes)

    network = Network(
        nodes=(
            layer("a", "input", "x"),
            layer("b", "x", "inner"),
            layer("c", "inner", "y"),
            Pool(name="shortcut", kind="mean", reads="x", writes="y", channels=8),
            layer("d", "y", "output"),
        )
    )
    assert network.streams == {"input": "input", "x": "x", "inner": "inner", "y": "x", "output": "output"}
    assert set(stream_errors(network, calibrate(network, np.ones((1, 8, 1, 1))), 4)) == {"x", "inner"}


def test_what_stays_at_8_bits():
    network = made_up_network()
    assert [may_lower(node) for node in network.layers] == [False, True, True, True, True, True]
    assert not may_lower(network.layers[-1], frozenset(["head"]))


def test_an_order_that_a_shortcut_cannot_follow_is_an_error():
    widen = Pool(name="widen", kind="mean", reads="input", writes="x", channels=4)
    head = Node(name="h", weights=np.ones((1, 4, 1, 1)), bias=np.zeros(1), reads="x", writes="output")
    with pytest.raises(SpecError, match="layer widen changes the number of channels"):
        Network(nodes=(widen, head)).reordered({"x": np.arange(4)})


def test_a_pooling_that_is_not_known_is_an_error():
    with pytest.raises(SpecError, match="layer p: pooling 'sum'; wanted max or mean"):
        Pool(name="p", kind="sum", reads="input", writes="x", channels=1)
