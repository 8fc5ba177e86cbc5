"""Effective bits, mixed products and convolutions: exhaustive or against plain loops."""

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pimsim.errors import SpecError
from pimsim.quant.bits import (
    Lowering,
    bits_of,
    extract,
    group_peaks,
    lowered,
    lowering,
    mixed_conv,
    mixed_gemm,
    quantise_weights,
    shift_of,
)

RANGES = (0, 1, 3, 7, 15, 31, 63, 127, 128)  # ranges that need 1 to 9 bits when signed


@pytest.mark.parametrize("peak", RANGES)
def test_extraction_of_every_signed_code(peak):
    # The definition in real arithmetic.
    bits = math.ceil(math.log2(peak + 1)) + 1
    s = min(4, max(0, bits - 4))
    assert int(bits_of(np.array(peak))) == bits
    assert int(shift_of(np.array(peak))) == s
    codes = np.arange(-128, 128)
    wanted = [min(7, max(-8, math.floor(code / 2**s + 0.5))) for code in codes]
    assert extract(codes, np.array(s)).tolist() == wanted
    error = np.abs(codes - lowered(codes, np.array(s)))
    inside = (codes >= -8.5 * 2**s) & (codes < 7.5 * 2**s)  # not saturated
    assert error[inside].max() <= (2 ** (s - 1) if s else 0)
    covered = np.abs(codes) <= peak
    plain = np.abs(codes - lowered(codes, np.array(4)))
    assert error[covered].max() <= plain[covered].max()  # never worse than the top four bits
    if s == 0:
        assert error[covered].max() == 0


@pytest.mark.parametrize("peak", [0, 1, 3, 7, 15, 31, 63, 127, 255])
def test_extraction_of_every_unsigned_code(peak):
    bits = math.ceil(math.log2(peak + 1))
    s = max(0, bits - 4)
    assert int(shift_of(np.array(peak), signed=False)) == s
    codes = np.arange(256)
    wanted = [min(15, math.floor(code / 2**s + 0.5)) for code in codes]
    assert extract(codes, np.array(s), signed=False).tolist() == wanted
    covered = codes[codes <= peak]
    error = np.abs(covered - lowered(covered, np.array(s), signed=False))
    assert error.max() <= (2 ** (s - 1) if s else 0) + (2**s // 2)  # saturation from 15.5 x 2^s on
    if bits <= 4:
        assert error.max() == 0


def test_a_peak_beyond_a_code_is_an_error():
    with pytest.raises(SpecError, match="wanted 0 to 128"):
        bits_of(np.array(129))


def test_peaks_of_groups():
    codes = np.array([[1, -5, 2, 3, 9]])
    assert group_peaks(codes, 2).tolist() == [[5, 5, 3, 3, 9]]


def a_case(seed, m=5, n=6, c=12, group=4, signed=True):
    rng = np.random.default_rng(seed)
    top = 127 if signed else 255
    reach = rng.integers(1, top + 1, c)
    inputs = rng.integers(-reach if signed else 0, reach + 1, (m, c))
    weights = np.clip(rng.integers(-127, 128, (n, c)) >> rng.integers(0, 6, c), -127, 127)
    peaks = np.abs(inputs).max(axis=0)
    low = np.repeat(rng.random(-(-c // group)) < 0.5, group)[:c]
    return inputs, weights, lowering(weights, low, peaks, group, signed=signed)


def by_groups(inputs, weights, how, group=4):
    """The array's own way: 8-bit products, then 4-bit products of a group shifted once."""
    total = np.zeros((len(inputs), len(weights)), np.int64)
    for m in range(len(inputs)):
        for n in range(len(weights)):
            for start in range(0, inputs.shape[1], group):
                four = 0
                for c in range(start, min(start + group, inputs.shape[1])):
                    if how.low[c]:
                        va = int(extract(inputs[m, c], how.activation_shift[c], signed=how.signed))
                        four += va * int(extract(weights[n, c], how.weight_shift[n, c]))
                    else:
                        total[m, n] += inputs[m, c] * weights[n, c]
                total[m, n] += four << int(how.activation_shift[start] + how.weight_shift[n, start])
    return total


@pytest.mark.parametrize("signed", [True, False])
@pytest.mark.parametrize("seed", range(5))
def test_a_mixed_product_is_8_bit_products_plus_shifted_4_bit_ones(seed, signed):
    inputs, weights, how = a_case(seed, signed=signed)
    assert (mixed_gemm(inputs, weights, how) == by_groups(inputs, weights, how)).all()


@settings(max_examples=30, deadline=None)
@given(st.integers(0, 2**31), st.integers(0, 2**31))
def test_any_order_of_channels_gives_the_same_accumulators(seed, other):
    inputs, weights, how = a_case(seed)
    order = np.random.default_rng(other).permutation(inputs.shape[1])
    moved = mixed_gemm(inputs[:, order], weights[:, order], how.reordered(order))
    assert (moved == mixed_gemm(inputs, weights, how)).all()


def test_no_low_channels_is_int8():
    inputs, weights, how = a_case(3)
    none = Lowering(
        low=np.zeros(12, bool), activation_shift=how.activation_shift, weight_shift=how.weight_shift
    )
    assert (mixed_gemm(inputs, weights, none) == inputs @ weights.T).all()


def test_a_convolution_is_a_product_a_pixel():
    rng = np.random.default_rng(1)
    inputs, weights = rng.integers(0, 256, (2, 8, 5, 6)), rng.integers(-127, 128, (3, 8, 3, 3))
    peaks = inputs.max(axis=(0, 2, 3))
    low = np.array([True] * 4 + [False] * 4)
    how = lowering(weights, low, peaks, 4, signed=False)
    got = mixed_conv(inputs, weights, how, stride=2, padding=1)
    padded = np.pad(inputs, ((0, 0), (0, 0), (1, 1), (1, 1)))
    assert got.shape == (2, 3, 3, 3)
    for b in range(2):
        for p in range(3):
            for q in range(3):
                window = padded[b, :, 2 * p : 2 * p + 3, 2 * q : 2 * q + 3]
                total = np.zeros(3, np.int64)
                for r in range(3):
                    for s in range(3):
                        total += mixed_gemm(window[None, :, r, s], weights[:, :, r, s], how)[0]
                assert (got[b, :, p, q] == total).all()


def test_dynamic_positions_follow_the_tensor():
    inputs, weights = np.full((2, 4), 3), np.ones((1, 4), np.int64)
    low = np.ones(4, bool)
    static = lowering(weights, low, np.full(4, 127), 4)
    dynamic = lowering(weights, low, None, 4)
    assert mixed_gemm(inputs, weights, static).tolist() == [[0], [0]]  # 3 rounds to 0 in steps of 16
    assert mixed_gemm(inputs, weights, dynamic).tolist() == [[12], [12]]  # 3 needs 3 bits: nothing is lost


def test_weights_have_a_scale_an_output_channel():
    weights = np.array([[0.5, -1.0], [0.0, 0.0], [127.0, 1.0]])
    codes = quantise_weights(weights)
    assert codes.codes.tolist() == [[64, -127], [0, 0], [127, 1]]
    assert codes.scale == pytest.approx([1 / 127, 1.0, 1.0])
