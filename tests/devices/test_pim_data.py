"""PIM programs on real numbers, part by part: products right, layouts and their inverses exact."""

import ml_dtypes
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pimsim.devices import DramSpec, PimSpec, part, parts
from pimsim.devices.pim import buffer_data, functional, hbm_pim, paired_data
from pimsim.devices.pim.compile import compile_elementwise, compile_gemv
from pimsim.devices.pim.machine import G_BANK, G_COLUMN, G_COMMAND, G_ROW
from pimsim.devices.pim.selftest import check_gemv, sum_on_data
from pimsim.devices.pim.vectors import VectorLayout
from pimsim.devices.rules import ACTAB, MACAB, MODE, PRE, WRREG
from pimsim.errors import SpecError

UNITS = {name: value for name, value in parts().items() if isinstance(value, PimSpec)}
HBM, AIM = UNITS["hbm-pim-2000"], UNITS["gddr6-aim"]
KINDS = [(name, dtype) for name, pim in UNITS.items() for dtype in pim.weight_dtypes]


def dram_of(pim):
    return part(pim.dram, DramSpec)


@pytest.mark.parametrize(("name", "dtype"), KINDS)
@settings(max_examples=8, deadline=None)
@given(n=st.integers(1, 200), k=st.integers(1, 700), batch=st.integers(1, 2), channels=st.integers(1, 3))
def test_products_are_right(name, dtype, n, k, batch, channels):
    pim = UNITS[name]
    done = check_gemv(pim, dram_of(pim), n, k, dtype, batch=batch, channels=channels, seed=n * 1000 + k)
    assert done["ok"], done["text"]
    assert done["exact"] == (dtype not in ("fp16", "bf16", "fp8", "w8a16fp"))


@pytest.mark.parametrize("dtype", UNITS["lpddr5x-pim-9600"].weight_dtypes)
@settings(max_examples=6, deadline=None)
@given(n=st.integers(1, 300), k=st.integers(8, 700), split=st.integers(0, 4), channels=st.integers(2, 3))
def test_products_by_parts_of_the_columns(dtype, n, k, split, channels):
    pim = UNITS["lpddr5x-pim-9600"]
    done = check_gemv(pim, dram_of(pim), n, k, dtype, channels=channels, split=split, seed=n + k)
    assert done["ok"], done["text"]


# Small whole numbers: every product and sum is exact in FP16 and BF16, so the whole result must be.


@settings(max_examples=20, deadline=None)
@given(n=st.integers(1, 300), k=st.integers(1, 600), batch=st.integers(1, 3), channels=st.integers(1, 3))
def test_hbm_pim_is_exact_on_whole_numbers(n, k, batch, channels):
    rng = np.random.default_rng(n + 1000 * k)
    w = rng.integers(-2, 3, (n, k)).astype(np.float16)
    x = rng.integers(-2, 3, (batch, k)).astype(np.float16)
    kernel = compile_gemv(HBM, dram_of(HBM), n, k, "fp16", batch=batch, channels=channels)
    ours = paired_data.gemv_on_data(HBM, dram_of(HBM), kernel, w, x)
    assert (ours == x.astype(np.float64) @ w.astype(np.float64).T).all()


@settings(max_examples=20, deadline=None)
@given(n=st.integers(1, 100), k=st.integers(1, 2500), channels=st.integers(1, 3), reuse=st.integers(1, 32))
def test_aim_is_exact_on_whole_numbers(n, k, channels, reuse):
    rng = np.random.default_rng(n + 1000 * k)
    w = functional.bf16_bits(rng.integers(-1, 2, (n, k)))
    x = functional.bf16_bits((rng.random((1, k)) < 200 / k).astype(float))  # sums stay below 2**8
    kernel = compile_gemv(AIM, dram_of(AIM), n, k, "bf16", channels=channels, reuse=reuse)
    ours = buffer_data.gemv_on_data(AIM, dram_of(AIM), kernel, w, x)
    exact = functional.bf16_values(x).astype(float) @ functional.bf16_values(w).astype(float).T
    assert (np.abs(exact) < 256).all()
    assert (ours == exact).all()


def test_hbm_pim_rounds_each_product_and_sum():
    # One unit, one lane, in the order of the program: 16 lanes take every sixteenth weight.
    rng = np.random.default_rng(3)
    w, x = rng.uniform(-3, 3, (1, 400)).astype(np.float16), rng.uniform(-3, 3, (1, 400)).astype(np.float16)
    kernel = compile_gemv(HBM, dram_of(HBM), 1, 400, "fp16", channels=1)
    ours = paired_data.gemv_on_data(HBM, dram_of(HBM), kernel, w, x)
    lanes = np.zeros(16, np.float16)
    for k in range(400):
        lanes[k % 16] = np.float16(lanes[k % 16] + np.float16(w[0, k] * x[0, k]))
    assert ours[0, 0] == lanes.astype(np.float32).sum()


def test_aim_rounds_a_result_between_pieces_of_the_input():
    # 1 + 2**-7 is a BF16 value; 256 + 1 + 2**-7 is 256 when it is read, so the second piece starts there.
    w = np.ones((1, 1025))
    x = np.zeros((1, 1025))
    x[0, :2], x[0, 1024] = (256, 0.5), 1
    kernel = compile_gemv(AIM, dram_of(AIM), 1, 1025, "bf16", channels=1)
    bits = functional.bf16_bits
    ours = buffer_data.gemv_on_data(AIM, dram_of(AIM), kernel, bits(w), bits(x))
    assert ours[0, 0] == 256  # 256.5 -> 256; 256 + 1 = 257 -> 256 (ties to even)


@pytest.mark.parametrize("operation", ["add", "mul", "relu", "scale-shift"])
@settings(max_examples=15, deadline=None)
@given(n=st.integers(1, 30_000), channels=st.integers(1, 3))
def test_elementwise_operations(operation, n, channels):
    rng = np.random.default_rng(n)
    operands = [rng.uniform(-2, 2, n).astype(np.float16) for _ in hbm_pim.ELEMENTWISE[operation]]
    kernel = compile_elementwise(HBM, dram_of(HBM), operation, n, "fp16", channels=channels)
    ours = paired_data.elementwise_on_data(HBM, dram_of(HBM), kernel, tuple(operands), (2.5, -1))
    exact = {
        "add": lambda a, b: a + b,
        "mul": lambda a, b: a * b,
        "relu": lambda a: np.maximum(a, np.float16(0)),
        "scale-shift": lambda a: a * np.float16(2.5) + np.float16(-1),
    }[operation](*operands)
    assert ours.dtype == np.float16
    assert (ours == exact).all()


@settings(max_examples=15, deadline=None)
@given(n=st.integers(1, 30_000), channels=st.integers(1, 3))
def test_sums(n, channels):
    # Whole numbers: no partial sum of at most 30 of them leaves FP16's exact range.
    values = np.random.default_rng(n).integers(-20, 21, n).astype(np.float16)
    kernel = compile_elementwise(HBM, dram_of(HBM), "sum", n, "fp16", channels=channels)
    assert paired_data.sum_on_data(HBM, dram_of(HBM), kernel, values) == values.astype(np.float64).sum()


@pytest.mark.parametrize(
    ("name", "operation"), [("gddr6-aim", "mul"), ("lpddr5-aim", "mul"), ("gddr6-aim", "add")]
)
@settings(max_examples=10, deadline=None)
@given(n=st.integers(1, 20_000), channels=st.integers(1, 3))
def test_aim_multiplies_and_adds_vectors(name, operation, n, channels):
    pim = UNITS[name]
    rng = np.random.default_rng(n)
    a, b = (functional.bf16_bits(rng.uniform(-2, 2, n)) for _ in range(2))
    kernel = compile_elementwise(pim, dram_of(pim), operation, n, "bf16", channels=channels)
    ours = buffer_data.vectors_on_data(pim, dram_of(pim), kernel, a, b)
    first, second = a.view(ml_dtypes.bfloat16), b.view(ml_dtypes.bfloat16)
    exact = first * second if operation == "mul" else first + second
    np.testing.assert_array_equal(ours, exact.view(np.uint16))


@pytest.mark.parametrize("function", buffer_data.ACTIVATIONS)
@settings(max_examples=6, deadline=None)
@given(n=st.integers(1, 60), k=st.integers(1, 2500))
def test_aim_adds_a_bias_and_applies_a_function(function, n, k):
    # Whole numbers: sums are exact in BF16, so the result is the function of the exact sum, rounded.
    rng = np.random.default_rng(n + 1000 * k)
    bits, values = functional.bf16_bits, functional.bf16_values
    w, bias = bits(rng.integers(-1, 2, (n, k))), bits(rng.integers(-9, 10, n))
    x = bits((rng.random((1, k)) < 100 / k).astype(float))
    kernel = compile_gemv(AIM, dram_of(AIM), n, k, "bf16", channels=1, activation=function)
    ours = buffer_data.gemv_on_data(AIM, dram_of(AIM), kernel, w, x, bias=bias)
    exact = values(x).astype(float) @ values(w).astype(float).T + values(bias)
    assert (np.abs(exact) < 256).all()
    wanted = {
        "relu": np.maximum(exact, 0),
        "leaky-relu": np.where(exact > 0, exact, exact / 100),
        "sigmoid": 1 / (1 + np.exp(-exact)),
        "tanh": np.tanh(exact),
        "gelu": exact * (1 + np.tanh(0.7978845608 * (exact + 0.044715 * exact**3))) / 2,
    }[function]
    np.testing.assert_allclose(ours, wanted, rtol=2**-8, atol=1e-6)


SUMMED = [(name, dtype) for name, dtype in KINDS if UNITS[name].lane_reduction]


@pytest.mark.parametrize(("name", "dtype"), SUMMED)
@settings(max_examples=5, deadline=None)
@given(n=st.integers(1, 6000), channels=st.integers(1, 2))
def test_sums_of_parts_with_an_adder_tree(name, dtype, n, channels):
    # Small whole numbers: no partial sum leaves what BF16 holds exactly, and FP8 E4M3 has all up to 16.
    pim = UNITS[name]
    rng = np.random.default_rng(n)
    values = rng.integers(-1, 2, n + n % 2)
    held = {
        "bf16": functional.bf16_bits,
        "fp8": lambda v: np.array([0xB8, 0, 0x38], np.uint8)[v + 1],  # -1, 0 and 1
        "w8a16fp": lambda v: np.array([0xB8, 0, 0x38], np.uint8)[v + 1],
        "int8": lambda v: v.astype(np.int8),
        "w8a16": lambda v: v.astype(np.int8),
    }.get(dtype, lambda v: functional.pack_int4(v[None])[0])(values)
    assert sum_on_data(pim, dram_of(pim), held, dtype, channels=channels) == values.sum()
    kernel = compile_elementwise(pim, dram_of(pim), "sum", n, dtype, channels=channels)
    assert "a product with ones" in kernel.notes[0]


@settings(max_examples=40, deadline=None)
@given(
    st.builds(
        VectorLayout, channels=st.integers(1, 3), units=st.integers(1, 4), banks=st.integers(1, 2),
        group_bursts=st.sampled_from([1, 2, 8]), burst_bytes=st.sampled_from([16, 32]),
        row_bursts=st.sampled_from([8, 32]),
    ),
    st.integers(1, 5000), st.sampled_from(["uint8", "float16", "float32"]),
)  # fmt: skip
def test_vectors_and_their_inverse(layout, n, dtype):
    vector = np.random.default_rng(n).integers(1, 200, n).astype(dtype)
    banks = layout.swizzle(vector)
    back = layout.unswizzle(banks, n, dtype)
    assert back.dtype == vector.dtype
    np.testing.assert_array_equal(back, vector)
    bits = vector.itemsize * 8
    assert np.count_nonzero(banks.view(dtype)) == n  # every value once, padding zero
    assert layout.padded_bytes(n, bits) <= banks.size
    row = layout.channels * layout.units * layout.banks * layout.row_bursts * layout.burst_bytes
    assert banks.size == layout.rows(n, bits) * row
    assert banks.size - layout.padded_bytes(n, bits) < row
    round_bytes = layout.banks * layout.channels * layout.units * layout.group_bursts * layout.burst_bytes
    assert layout.padded_bytes(n, bits) == -(-n * bits // 8 // round_bytes) * round_bytes


def test_fp8_values_are_those_of_the_standard():
    ours, theirs = functional.FP8_VALUES, np.arange(256).astype(np.uint8).view(ml_dtypes.float8_e4m3fn)
    assert np.array_equal(ours, theirs.astype(np.float32), equal_nan=True)


# Layout of paired banks.


@settings(max_examples=40, deadline=None)
@given(n=st.integers(1, 400), k=st.integers(1, 900), channels=st.integers(1, 3))
def test_swizzle_and_its_inverse(n, k, channels):
    layout = hbm_pim.layout_of(HBM, dram_of(HBM), channels)
    w = np.arange(1, n * k + 1, dtype=np.uint16).reshape(n, k)
    banks = layout.swizzle(w)
    assert banks.shape == (channels, 1, 16, layout.rows(n, k, 16), 1024)
    assert (layout.unswizzle(banks, n, k, "uint16") == w).all()
    # Padding, byte for byte: what is not weights is zero, and whole tiles of both banks are taken.
    values = banks.view(np.uint16)
    assert np.count_nonzero(values) == np.count_nonzero(w)
    padded = layout.padded_bytes(n, k, 16)
    assert padded <= banks.size
    assert banks.size - padded < 16 * channels * 1024  # the rest of the last DRAM row of every bank
    tiles = -(-n // (64 * channels))
    assert padded == tiles * 64 * channels * -(-k // 256) * 256 * 2


@settings(max_examples=20, deadline=None)
@given(n=st.integers(1, 300), k=st.integers(1, 700), channels=st.integers(1, 2))
def test_every_weight_is_met_once_where_the_layout_says(n, k, channels):
    layout = hbm_pim.layout_of(HBM, dram_of(HBM), channels)
    kernel = compile_gemv(HBM, dram_of(HBM), n, k, "fp16", channels=channels)
    macs = kernel.commands[kernel.commands[:, G_COMMAND] == MACAB][:, [G_BANK, G_ROW, G_COLUMN]]
    chunks = layout.tiles.chunks(k, 16)
    tile, chunk, burst = np.meshgrid(
        np.arange(layout.tiles.tiles(n)), np.arange(chunks), np.arange(64), indexing="ij"
    )
    place = np.stack([p.ravel() for p in layout.place(tile, chunk, burst, chunks)], axis=1)
    assert len(np.unique(place, axis=0)) == len(place)
    assert sorted(map(tuple, macs.tolist())) == sorted(map(tuple, place.tolist()))


# A wrong program is found.


def changed(kernel, which, column, value):
    from dataclasses import replace

    commands = kernel.commands.copy()
    at = np.flatnonzero(commands[:, G_COMMAND] == which)[0]
    commands[at, column] = value
    return replace(kernel, commands=commands)


def test_a_program_out_of_order_is_refused():
    rng = np.random.default_rng(0)
    w, x = rng.random((10, 200)).astype(np.float16), rng.random((1, 200)).astype(np.float16)
    kernel = compile_gemv(HBM, dram_of(HBM), 10, 200, "fp16", channels=1)

    def refused(wrong, text):
        with pytest.raises(SpecError, match=text):
            paired_data.gemv_on_data(HBM, dram_of(HBM), wrong, w, x)

    refused(changed(kernel, MACAB, G_ROW, 1), "row 1 of bank set 1 is not open")
    refused(changed(kernel, MACAB, G_COLUMN, 5), "not used exactly once")
    refused(changed(kernel, PRE, G_COMMAND, ACTAB), "still open")
    refused(changed(kernel, WRREG, G_ROW, 3), "is not open")
    with pytest.raises(SpecError, match=r"wanted \(10, 200\)"):
        paired_data.gemv_on_data(HBM, dram_of(HBM), kernel, w.astype(np.float32), x)

    kernel = compile_gemv(AIM, dram_of(AIM), 10, 200, "bf16", channels=1)
    bits = functional.bf16_bits
    for which, column, value, text in (
        (MACAB, G_ROW, 1, "row 1 is not open"),
        (MODE, G_COMMAND, ACTAB, "in the other mode"),
    ):
        with pytest.raises(SpecError, match=text):
            buffer_data.gemv_on_data(
                AIM, dram_of(AIM), changed(kernel, which, column, value), bits(w), bits(x)
            )
