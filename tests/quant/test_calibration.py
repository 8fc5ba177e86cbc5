"""What a calibration says: counts and means of codes, positions of least error, errors to expect."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pimsim.errors import SpecError
from pimsim.quant.bits import bits_of, extract, lowered, quantise, shift_of
from pimsim.quant.calibration import (
    UNCHANGED,
    Calibration,
    calibrate,
    code_table,
    expected_errors,
    lower_layer,
    mean_errors,
    reaches,
)
from pimsim.quant.integer import MixedNetwork
from pimsim.quant.network import Network, Node, convolve, forward, made_up_network, plain_product

NETWORK = made_up_network()
SAMPLES = np.random.default_rng(7).normal(0, 1, (6, 3, 8, 8))
CALIBRATION = calibrate(NETWORK, SAMPLES)
LAYERS = {node.name: node for node in NETWORK.layers}


def inputs_of(name):
    """INT8 codes that the calibration saw at a layer."""
    seen = {}

    def watch(node, values):
        seen[node.name] = quantise(values, CALIBRATION.scale(node), signed=not node.relu)
        return plain_product(node, values)

    forward(NETWORK, SAMPLES, watch)
    return seen[name]


@pytest.mark.parametrize("signed", [False, True])
def test_the_table_holds_the_definition(signed):
    codes = np.arange(-128, 128) if signed else np.arange(256)
    table = code_table(signed)
    assert (table[UNCHANGED] == codes).all()
    for shift in range(5):
        assert (table[shift] == extract(codes, np.array(shift), signed=signed) * 2**shift).all()


@pytest.mark.parametrize("name", ["stem", "block0.conv1", "block1.conv2", "head"])
def test_counts_are_those_of_the_codes(name):
    codes = inputs_of(name)
    lowest = 0 if LAYERS[name].relu else -128
    for channel in range(codes.shape[1]):
        wanted = np.bincount(codes[:, channel].ravel() - lowest, minlength=256)
        assert (CALIBRATION.counts[name][channel] == wanted).all()


@pytest.mark.parametrize("name", ["stem", "block0.conv1", "head"])
def test_means_give_the_mean_of_a_layer_s_sums(name):
    # The mean over pictures and pixels of a convolution is the product of its weights and the mean inputs.
    node, codes = LAYERS[name], inputs_of(name)
    sums = convolve(codes.astype(float), node.weights, node.stride, node.padding, 1)
    by_means = (node.weights * CALIBRATION.means[name]).sum(axis=(1, 2, 3))
    assert by_means == pytest.approx(sums.mean(axis=(0, 2, 3)), rel=1e-9)


def test_the_share_inside():
    # By hand: 3 x 3 on 8 x 8 with a border of 1: an outer row or column of weights misses one in eight.
    side = np.array([7 / 8, 1, 7 / 8])
    assert CALIBRATION.inside["block0.conv1"] == pytest.approx(np.outer(side, side))


@settings(max_examples=30, deadline=None)
@given(seed=st.integers(0, 2**31), relu=st.booleans(), width=st.floats(1, 300))
def test_positions_have_the_least_squared_error(seed, relu, width):
    rng = np.random.default_rng(seed)
    node = Node(
        name="n", weights=rng.normal(size=(3, 8, 1, 1)), bias=np.zeros(3), reads="a", writes="b", relu=relu
    )
    top = 255 if relu else 127
    codes = np.clip(np.rint(rng.laplace(0, width, (8, 200))), 0 if relu else -128, top).astype(int)
    counts = np.array([np.bincount(row + (0 if relu else 128), minlength=256) for row in codes])
    weights = rng.integers(-127, 128, (3, 8, 1, 1))
    calibration = Calibration(peaks={"n": np.full(8, float(top))}, counts={"n": counts})
    shift = shift_of(reaches(node, calibration, weights, 4), signed=not relu)
    for group in range(2):
        channels = slice(4 * group, 4 * group + 4)
        by_hand = [
            sum(
                (weights[:, c] ** 2).sum()
                * ((lowered(codes[c], np.array(s), signed=not relu) - codes[c]) ** 2).sum()
                for c in range(4 * group, 4 * group + 4)
            )
            for s in range(5)
        ]
        assert set(shift[channels]) == {int(np.argmin(by_hand))}


def test_positions_by_the_largest_code_without_counts():
    node = LAYERS["block0.conv1"]
    weights = lower_layer(node, CALIBRATION, 1).weights.codes
    got = reaches(node, CALIBRATION.peaks_only, weights, 1)
    assert (got == inputs_of(node.name).max(axis=(0, 2, 3))).all()
    assert (shift_of(got, signed=False) == np.maximum(0, bits_of(got, signed=False) - 4)).all()


def test_rounding_half_up_adds_half_a_code_wherever_the_bits_lie():
    # Of the 2^s codes that share a step, errors run from -(2^(s-1) - 1) to 2^(s-1): 1/2 on average.
    for shift in (1, 2, 3, 4):
        step = 2**shift
        codes = np.arange(-3 * step - step // 2, 3 * step - step // 2)  # six whole steps
        assert (lowered(codes, np.array(shift)) - codes).mean() == 0.5


@pytest.mark.parametrize("plain", [False, True])
def test_mean_errors_are_those_of_the_sums(plain):
    node, codes = LAYERS["block1.conv1"], inputs_of("block1.conv1")
    layer = lower_layer(node, CALIBRATION, 4, plain=plain)
    low = lowered(codes, layer.activation_shift[:, None, None], signed=False)
    for channel in (0, 5):
        here = np.s_[:, channel : channel + 1]
        four = convolve(low[here].astype(float), layer.low_codes[here].astype(float), 1, 1, 1)
        eight = convolve(codes[here].astype(float), layer.weights.codes[here].astype(float), 1, 1, 1)
        wanted = (four - eight).mean(axis=(0, 2, 3))
        got = mean_errors(node, CALIBRATION, layer)[:, channel]
        # The change of an input by rounding is taken as equal in all pixels inside: a few percent.
        assert got == pytest.approx(wanted, abs=0.05 * np.abs(wanted).max())


def test_the_mean_error_of_the_outputs_goes_and_that_of_peaks_only_stays():
    whole = {name: np.ones(width, bool) for name, width in NETWORK.widths.items()}
    exact = NETWORK.run(SAMPLES)

    def common(calibration):
        error = MixedNetwork(NETWORK, calibration, plain=True).run(SAMPLES, whole) - exact
        return float(np.square(error.mean(axis=0)).mean())

    assert common(CALIBRATION) < common(CALIBRATION.peaks_only) / 4


@pytest.mark.parametrize("plain", [False, True])
def test_errors_to_expect_are_near_those_measured(plain):
    # Independent inputs, as the estimate supposes: no two pixels or channels of one picture are related.
    rng = np.random.default_rng(3)
    node = Node(
        name="n",
        weights=rng.normal(size=(16, 12, 3, 3)) * 2.0 ** -rng.integers(0, 3, (1, 12, 1, 1)),
        bias=np.zeros(16),
        reads="input",
        writes="output",
    )
    codes = np.clip(rng.laplace(20, 30, (8, 12, 12, 12)), 0, 255)
    codes[0, 0, 0, 0] = 255
    network = Network(nodes=(node,))
    calibration = calibrate(network, codes)
    got = expected_errors(node, calibration, 4, plain=plain)
    layer = lower_layer(node, calibration, 4, plain=plain)
    q = quantise(codes, calibration.scale(node), signed=False)
    low = lowered(q, layer.activation_shift[:, None, None], signed=False)
    scale = layer.weights.scale[None, :, None, None]

    def sums(inputs, weights):
        return convolve(inputs.astype(float), weights.astype(float), 1, 0, 1) * scale

    output = sums(q, layer.weights.codes)
    variance = (output - output.mean(axis=(0, 2, 3), keepdims=True)).var()
    for group in range(3):
        here = np.s_[:, 4 * group : 4 * group + 4]
        error = sums(low[here], layer.low_codes[here]) - sums(q[here], layer.weights.codes[here])
        measured = (error - error.mean(axis=(0, 2, 3), keepdims=True)).var() / variance
        assert got[group] == pytest.approx(measured, rel=0.25)


def test_errors_need_counts():
    with pytest.raises(SpecError, match="layer head: this calibration has no counts"):
        expected_errors(LAYERS["head"], CALIBRATION.peaks_only, 4)


@pytest.mark.extra
def test_real_weights_err_less_with_effective_bits_once_their_mean_is_taken_back():
    pytest.importorskip("face_recognition_models", exc_type=ImportError)
    from experiments.face.dlib_model import as_inputs
    from experiments.face.orl import network

    dlib = network()
    rng = np.random.default_rng(0)
    # Blurred noise: eight pictures to calibrate with, four others to look at.
    coarse = rng.integers(0, 256, (12, 10, 10, 3)).astype(np.uint8)
    inputs = as_inputs(coarse.repeat(15, axis=1).repeat(15, axis=2))
    calibration, others = calibrate(dlib, inputs[:8]), inputs[8:]
    exact = dlib.run(others)
    whole = {name: np.ones(width, bool) for name, width in dlib.widths.items()}

    def error(seen, plain):
        mixed = MixedNetwork(dlib, seen, plain=plain, keep=("fc",))
        return float(np.square(mixed.run(others, whole) - exact).mean())

    effective, plain = error(calibration, False), error(calibration, True)
    assert effective < plain < error(calibration.peaks_only, True)
    for how in (False, True):  # rounding half up: half a code a weight, whatever the lowering
        layers = [lower_layer(node, calibration, 4, plain=how) for node in dlib.layers]
        means = [float((layer.low_codes - layer.weights.codes).mean()) for layer in layers]
        assert 0.35 < np.mean(means) < 0.5
