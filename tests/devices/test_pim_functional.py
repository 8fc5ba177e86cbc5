"""PIM programs on real data against NumPy: layout and program are right when the numbers are right."""

from dataclasses import replace

import ml_dtypes
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pimsim.devices.catalog.lpddr5x import LPDDR5X_8533_16GB_X16, LPDDR5X_PIM_8533
from pimsim.devices.dram.channel import Controller
from pimsim.devices.dram.drive import G_COLUMN, G_COMMAND, G_RANK, G_ROW
from pimsim.devices.pim.functional import bf16_bits, gemv_on_data, pack_int4, run
from pimsim.devices.pim.program import Gemv, gemv, time_program
from pimsim.devices.rules import ACT1, ACTAB, COMMANDS, MACAB, MODE, PREA, RDRES, WRREG
from pimsim.devices.spec import PimSpec
from pimsim.errors import SpecError
from pimsim.placement import PimLayout

PIM = LPDDR5X_PIM_8533
PHONE = PimLayout(channels=4, ranks=2, banks=16, bank_groups=4)
SMALL = PimLayout(channels=2, ranks=2, banks=2)  # tiles of 64 outputs
BITS = {"bf16": 16, "int8": 8, "int4": 4}

layouts = st.sampled_from(
    [
        PHONE,
        SMALL,
        PimLayout(channels=1, ranks=1, banks=16),
        PimLayout(channels=3, ranks=1, banks=2),
        PimLayout(channels=1, ranks=2, banks=1, row_bytes=1024, accumulators=4),
        PimLayout(channels=1, ranks=2, banks=8, bank_groups=4),
        PimLayout(channels=2, ranks=1, banks=3, row_bytes=256, accumulators=1),
    ]
)
units = st.sampled_from(
    [
        PIM,
        replace(PIM, name="three input registers", source_bytes=96),  # 3 does not divide 8 bursts
        replace(PIM, name="many input registers", source_bytes=1024),
        replace(PIM, name="no adder tree", lane_reduction=False),
        replace(PIM, name="always in PIM mode", mode_accesses=0),
    ]
)
dtypes = st.sampled_from(["bf16", "int8", "int4"])


def matrix(n: int, k: int, dtype: str, seed: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """(w as stored, w as float64 or int64, x) with random values, the extremes of the integers included."""
    rng = np.random.default_rng(seed)
    if dtype == "bf16":
        w = (rng.standard_normal((n, k)) * 2.0 ** rng.integers(-6, 7, (n, k))).astype(ml_dtypes.bfloat16)
        return w, w.astype(np.float64), rng.standard_normal(k).astype(ml_dtypes.bfloat16)
    x = rng.integers(-128, 128, k).astype(np.int8)
    if dtype == "int8":
        w = rng.integers(-128, 128, (n, k)).astype(np.int8)
        return w, w.astype(np.int64), x
    w = rng.integers(-8, 8, (n, k))
    return pack_int4(w), w, x


def assert_is_product(y: np.ndarray, w: np.ndarray, x: np.ndarray, dtype: str) -> None:
    """Integers exactly. BF16: products of 8-bit mantissas are exact in FP32, so only additions round,
    each by 2^-24 of a partial sum that |w| |x| bounds: 4 levels of the tree (10 where the host adds
    lanes) and one addition a burst, which half as many again covers in full."""
    if dtype == "bf16":
        wide = x.astype(np.float64)
        bound = (10 + 1.5 * (len(x) / 16 + 8)) * 2.0**-24 * (np.abs(w) @ np.abs(wide))
        assert y.dtype == np.float32
        assert (np.abs(y - w @ wide) <= bound).all()
        np.testing.assert_allclose(y, w @ wide, rtol=1e-2, atol=bound.max())
    else:
        assert y.dtype == np.int32
        np.testing.assert_array_equal(y, w @ x.astype(np.int64))


@st.composite
def shapes(draw: st.DrawFn) -> tuple[PimLayout, int, int]:
    layout = draw(layouts)
    return layout, draw(st.integers(1, min(1100, 3 * layout.tile_rows))), draw(st.integers(1, 700))


@settings(max_examples=60, deadline=None)
@given(shapes(), units, dtypes, st.integers(0, 2**32 - 1), st.integers(0, 3))
def test_any_shape_equals_numpy(
    shape: tuple[PimLayout, int, int], pim: PimSpec, dtype: str, seed: int, base_row: int
) -> None:
    layout, n, k = shape
    held, w, x = matrix(n, k, dtype, seed)
    program = gemv(pim, layout, n, k, dtype, base_row=base_row, fences=bool(base_row))
    y = run(program, pim, layout.swizzle(held), x)
    assert y.shape == (n,)
    assert_is_product(y, w, x, dtype)


@pytest.mark.parametrize("dtype", BITS)
def test_a_phone_matrix_with_padded_rows(dtype: str) -> None:
    held, w, x = matrix(1100, 700, dtype, 1)
    program = gemv(PIM, PHONE, 1100, 700, dtype, pad_rows_to=3000)
    y = run(program, PIM, PHONE.swizzle(held, pad_rows_to=3000), x)
    assert_is_product(y, w, x, dtype)


@settings(max_examples=40, deadline=None)
@given(shapes(), units, dtypes, st.integers(0, 9))
def test_every_burst_meets_one_mac(
    shape: tuple[PimLayout, int, int], pim: PimSpec, dtype: str, base_row: int
) -> None:
    layout, n, k = shape
    program = gemv(pim, layout, n, k, dtype, base_row=base_row)
    rows = layout.dram_rows(n, k, BITS[dtype])
    visits = np.zeros((layout.ranks, base_row + rows, layout.row_bytes // layout.burst_bytes), np.int64)
    macs = program.commands[program.commands[:, G_COMMAND] == MACAB]
    np.add.at(visits, (macs[:, G_RANK], macs[:, G_ROW], macs[:, G_COLUMN]), 1)  # in all channels and banks
    bursts = layout.chunks(k, BITS[dtype]) * layout.chunk_bursts
    _, rank, _, row, column = layout.coordinates(
        np.arange(n)[:, None], np.arange(bursts), k=k, bits=BITS[dtype], base_row=base_row
    )
    assert (visits[rank, row, column] == 1).all()
    assert (visits[:, :base_row] == 0).all()
    assert (visits[:, base_row:] == 1).all()


def test_the_timed_commands_are_the_ones_that_run() -> None:
    held, w, x = matrix(70, 300, "int8", 2)
    layout = PimLayout(channels=2, ranks=2, banks=16)
    program = gemv(PIM, layout, 70, 300, "int8")
    commands, data = program.commands.copy(), program.data.copy()
    timed = time_program(LPDDR5X_8533_16GB_X16, PIM, Controller(), program.commands)
    assert_is_product(run(program, PIM, layout.swizzle(held), x), w, x, "int8")
    np.testing.assert_array_equal(program.commands, commands)
    np.testing.assert_array_equal(program.data, data)
    assert {name: timed.counts[name] for name in program.counts()} == program.counts()


# Mutations: what is wrong in layout or program shows in the numbers.


def test_two_swapped_bytes_change_what_they_should() -> None:
    n, k = 70, 300
    held, w, x = matrix(n, k, "int8", 3)
    banks = SMALL.swizzle(held)
    program = gemv(PIM, SMALL, n, k, "int8")
    rng = np.random.default_rng(4)
    wrong = 0
    for _ in range(8):
        out, value = rng.integers(0, n, 2), rng.integers(0, k, 2)
        channel, rank, bank, row, column = SMALL.coordinates(out, value // 32, k=k, bits=8)
        at = (channel, rank, bank, row, column * 32 + value % 32)
        swapped, swapped_w = banks.copy(), w.copy()
        swapped[at] = swapped[at][::-1]
        swapped_w[out, value] = swapped_w[out, value][::-1]
        y = run(program, PIM, swapped, x)
        np.testing.assert_array_equal(y, swapped_w @ x.astype(np.int64))
        wrong += bool((y != w @ x.astype(np.int64)).any())
    assert wrong >= 7  # a swap of equal bytes, or of two bytes that meet equal inputs, may change nothing


@pytest.mark.parametrize("axis", range(4))
def test_banks_in_another_order_are_wrong(axis: int) -> None:
    held, w, x = matrix(64, 300, "int8", 5)
    wrong = np.flip(SMALL.swizzle(held), axis)
    assert (run(gemv(PIM, SMALL, 64, 300, "int8"), PIM, wrong, x) != w @ x.astype(np.int64)).any()


def test_high_nibble_first_is_wrong() -> None:
    held, w, x = matrix(64, 300, "int4", 6)
    turned = (held >> 4 | held << 4).astype(np.uint8)
    assert (gemv_on_data(PIM, SMALL, turned, x, "int4") != w @ x.astype(np.int64)).any()


def test_inputs_in_each_others_registers_are_wrong() -> None:
    held, w, x = matrix(64, 300, "int8", 7)
    program = gemv(PIM, SMALL, 64, 300, "int8")
    data = program.data.copy()
    first, second = np.flatnonzero((program.commands[:, G_COMMAND] == WRREG) & (data >= 0))[:2]
    data[[first, second]] = data[[second, first]]
    y = run(replace(program, data=data), PIM, SMALL.swizzle(held), x)
    assert (y != w @ x.astype(np.int64)).any()


# Small cases by hand.


def test_small_products_by_hand() -> None:
    one = PimLayout(channels=1, ranks=1, banks=1)
    # Two's complement, low nibble first: 1, -8, 7, -1 are 0x81 and 0xF7.
    w = pack_int4(np.array([[1, -8, 7, -1], [0, 0, 0, -2]]))
    assert w.tolist() == [[0x81, 0xF7], [0x00, 0xE0]]
    # 1 * 1 - 8 * 2 + 7 * 3 - 1 * (-128) = 134; -2 * (-128) = 256.
    assert gemv_on_data(PIM, one, w, np.array([1, 2, 3, -128], np.int8), "int4").tolist() == [134, 256]
    assert pack_int4(np.array([[-1, 2, 3]])).tolist() == [[0x2F, 0x03]]
    # 1.5 is 0x3FC0 in BF16, -2 is 0xC000: 1.5 * 1.5 + 2 * 2 = 6.25.
    bits = np.array([0x3FC0, 0xC000], np.uint16)
    assert gemv_on_data(PIM, one, bits[None, :], bits, "bf16").tolist() == [6.25]


def test_bf16_adds_in_fp32_lanes_first() -> None:
    # 16 ones a burst: the tree sums them to 16 before the accumulator sees them. At 2^24 an FP32
    # accumulator loses single ones but keeps a 16, so 2^24 + 16 tells a tree from a chain.
    one = PimLayout(channels=1, ranks=1, banks=1)
    w = bf16_bits(np.array([[4096.0] + [0.0] * 15 + [1.0] * 16]))
    x = bf16_bits(np.array([4096.0] + [0.0] * 15 + [1.0] * 16))
    assert gemv_on_data(PIM, one, w, x, "bf16").tolist() == [2.0**24 + 16]


def test_bf16_rounding_is_that_of_the_format() -> None:
    values = np.random.default_rng(8).standard_normal(1000).astype(np.float32)
    halfway = np.array([1 + 2.0**-8, 1 + 3 * 2.0**-8, -0.0, np.inf], np.float32)
    for given_ in (values, halfway):
        np.testing.assert_array_equal(bf16_bits(given_), given_.astype(ml_dtypes.bfloat16).view(np.uint16))


def test_a_sum_that_int32_does_not_hold_is_an_error() -> None:
    # 131072 products of (-128)(-128) = 2^14 are 2^31, one more than INT32 holds; one product less fits.
    layout = PimLayout(channels=1, ranks=1, banks=1, accumulators=1)
    w = np.full((1, 2**17), -128, np.int8)
    with pytest.raises(
        SpecError, match=r"RDRES: a result of tile 0, rank 0, bank 0 leaves INT32.*2147483648"
    ):
        gemv_on_data(PIM, layout, w, w[0], "int8")
    y = gemv_on_data(PIM, layout, w[:, :-1], w[0, :-1], "int8")
    assert y.tolist() == [2**31 - 2**14]
    lanes = replace(PIM, lane_reduction=False)  # each of 16 lanes fits, but not their sum at the host
    with pytest.raises(SpecError, match="a sum of lanes leaves INT32"):
        gemv_on_data(lanes, layout, w, w[0], "int8")


# Errors.


def compiled(dtype: str = "int8") -> tuple[Gemv, np.ndarray, np.ndarray]:
    held, _, x = matrix(64, 300, dtype, 9)
    return gemv(PIM, SMALL, 64, 300, dtype), SMALL.swizzle(held), x


def without(program: Gemv, keep: np.ndarray) -> Gemv:
    return replace(program, commands=program.commands[keep], data=program.data[keep])


def first_of(program: Gemv, command: int) -> int:
    return int(np.argmax(program.commands[:, G_COMMAND] == command))


def changed(program: Gemv, at: int, column: int, value: int) -> Gemv:
    commands = program.commands.copy()
    commands[at, column] = value
    return replace(program, commands=commands)


def test_banks_and_input_must_fit_the_program() -> None:
    program, banks, x = compiled()
    with pytest.raises(SpecError, match=r"banks of shape \(2, 2, 2, 1, 2048\).*wants \(2, 2, 2, 2, 2048\)"):
        run(program, PIM, banks[:, :, :, :1], x)
    with pytest.raises(SpecError, match="type int8; a GEMV of 64 x 300 with int8 weights wants .* of uint8"):
        run(program, PIM, banks.view(np.int8), x)
    with pytest.raises(SpecError, match=r"shape \(299,\) and type int8; .* wants \(300,\) of int8"):
        run(program, PIM, banks, x[:-1])
    with pytest.raises(SpecError, match=r"type float32; .* wants \(300,\) of int8"):
        run(program, PIM, banks, x.astype(np.float32))
    program, banks, x = compiled("bf16")
    with pytest.raises(SpecError, match=r"type float32; .* wants \(300,\) of bfloat16 or uint16"):
        run(program, PIM, banks, x.astype(np.float32))
    with pytest.raises(SpecError, match="do not fit 300 inputs of int8"):
        gemv_on_data(PIM, SMALL, np.zeros((3, 299), np.int8), np.zeros(300, np.int8), "int8")
    with pytest.raises(SpecError, match="results of 2 bytes; wanted bf16 of 16 bits and results of 4 bytes"):
        run(program, replace(PIM, result_bytes=2), banks, x)
    with pytest.raises(SpecError, match=r"int4 values .* wanted \(n, k\) integers of -8..7"):
        pack_int4(np.array([[8]]))


def test_programs_out_of_order_are_refused() -> None:
    program, banks, x = compiled()
    code = program.commands[:, G_COMMAND]
    everything = np.ones(len(code), np.bool_)

    def refused(mutant: Gemv, message: str) -> None:
        with pytest.raises(SpecError, match=message):
            run(mutant, PIM, banks, x)

    def dropped(at: int) -> Gemv:
        keep = everything.copy()
        keep[at] = False
        return without(program, keep)

    refused(dropped(0), "command 1, WRREG: PIM mode is not entered: 2 MODE accesses")
    refused(without(program, code != MODE), "command 0, WRREG: PIM mode is not entered")
    refused(dropped(len(code) - 1), "ends in PIM mode")
    refused(dropped(first_of(program, ACTAB)), r"MACAB: row 0 of rank 0 is not open \(open: -1")
    refused(dropped(first_of(program, PREA)), "ACTAB: row 0 of rank 0 is still open")
    inputs = (code == WRREG) & (program.data >= 0)
    refused(without(program, ~inputs), r"MACAB: input registers 0..0 were never written")
    refused(dropped(2), "ACTAB: rank 0 is programmed by 8 writes; wanted 9")
    refused(without(program, code != MACAB), "RDRES: no result 0 in bank 0 of rank 0: no MAC came before")
    refused(dropped(first_of(program, RDRES)), "ends without reading tile 0 of rank 0 bank 0")
    refused(changed(program, first_of(program, MACAB), G_ROW, 1), "MACAB: row 1 of rank 0 is not open")
    refused(changed(program, first_of(program, MACAB), G_COLUMN, 64), "column 64 lie outside the matrix")
    written = int(np.argmax(inputs))
    refused(changed(program, written, G_COLUMN, 8), "WRREG: no input register 8: 256 bytes")
    refused(changed(program, first_of(program, ACTAB), G_RANK, 2), "no rank 2; the layout has 2")
    refused(changed(program, first_of(program, ACTAB), G_COMMAND, ACT1), f"{COMMANDS[ACT1]}: no PIM command")
    data = program.data.copy()
    data[written] = 99
    refused(replace(program, data=data), "WRREG: no input burst 99: the padded vector has 16")
    data = program.data.copy()
    data[first_of(program, RDRES)] = 1
    refused(replace(program, data=data), "RDRES: tile 1 does not exist")


def test_macs_between_the_reads_of_a_tile_are_refused() -> None:
    program, banks, x = compiled()
    reads, macs = first_of(program, RDRES), first_of(program, MACAB)
    row = np.arange(first_of(program, ACTAB), macs + 1)
    order = np.concatenate([np.arange(reads + 1), row, np.arange(reads + 1, len(program.commands))])
    with pytest.raises(SpecError, match="MACAB: some results of rank 0 are read and others are not"):
        run(without(program, order), PIM, banks, x)
