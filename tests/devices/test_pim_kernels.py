"""PIM operations as programs: counts and clocks by hand, where lost clocks go, what a shape leaves idle."""

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from pimsim.devices import DramSpec, PimSpec, part, parts
from pimsim.devices.dram.channel import Controller, build
from pimsim.devices.pim import aim
from pimsim.devices.pim import machine as m
from pimsim.devices.pim.compile import (
    OPERATIONS,
    best_split,
    compile_elementwise,
    compile_gemv,
    lockstep_layout,
    part_rows,
)
from pimsim.devices.pim.cost import cost_of
from pimsim.devices.pim.kernel import (
    HostDrive,
    answers,
    clocked,
    column_list,
    prepare,
    time_kernel,
    with_rows,
)
from pimsim.devices.pim.program import gemv, time_program
from pimsim.devices.pim.repeat import find_repeats
from pimsim.devices.rules import ACTAB, MACAB, PRE, WRREG
from pimsim.errors import SpecError

UNITS = {name: value for name, value in parts().items() if isinstance(value, PimSpec)}
QUIET, REFRESHED = Controller(refresh="none"), Controller()


def dram_of(pim):
    return part(pim.dram, DramSpec)


def timed(name, rows, cols, controller=QUIET, **more):
    pim = UNITS[name]
    kernel = compile_gemv(pim, dram_of(pim), rows, cols, next(iter(pim.weight_dtypes)), **more)
    return time_kernel(dram_of(pim), pim, controller, kernel)


# By hand.


def test_two_tiles_of_inputs_on_hbm_pim():
    # HBM2 at 2 Gb/s, in clocks: tCCD_L 4, RTP 3, tRP 14, tRCDRD 14, tRCDWR 10, RL 20, WL 8, BL 2, tWR 16,
    # tWTR_L 9, read to write RL + BL + 2 - WL = 16.
    inputs = 7 * 4  # eight input writes, from the first to the last
    row = 31 * 4 + (3 + 14 + 14) + 31 * 4  # 64 MACs over two rows of the same bank
    # Even chunk (odd bank): its row is open by the time the inputs are written.
    even = inputs + (8 + 2 + 9) + row + 16
    # Odd chunk (even bank): the register row must close first, and again for the next inputs.
    odd = inputs + (8 + 2 + 16) + 14 + 14 + row + (3 + 14 + 10)
    clocks = {chunks: timed("hbm-pim-2000", 1, 128 * chunks).clocks for chunks in (2, 4, 6)}
    assert clocks[4] - clocks[2] == clocks[6] - clocks[4] == even + odd == 730


def test_counts_of_a_square_matrix_on_hbm_pim():
    # 4096 outputs are one tile of 64 channels x 8 units x 8; 4096 inputs are 32 chunks of 128, each 8 input
    # writes and 64 MACs over two rows. 5 writes program the units; 8 results a unit; 4 mode changes.
    counts = timed("hbm-pim-2000", 4096, 4096).counts
    assert counts["MACAB"] == 32 * 64
    assert counts["WRREG"] == 32 * 8 + 5
    assert counts["WRAB"] == 8
    assert counts["MODE"] == 4
    assert counts["RD"] == counts["ACT1"] == 2 * 16  # every bank once before and once after
    assert timed("hbm-pim-2000", 1, 4096).counts == counts  # as many for one row


def test_an_output_of_gddr6_aim():
    # In clocks of 0.5 ns: mode change 32, precharge 32, activate to MAC 56, a MAC every 2; from the last
    # MAC to the mode change 2, from the read to the next preset 3, from there to the mode change 3.
    one_by_one = {n: timed("gddr6-aim", 16 * n, 1024, channels=1, reuse=1).clocks for n in (2, 3)}
    assert one_by_one[3] - one_by_one[2] == 2 + 32 + 3 + 3 + 32 + 32 + 56 + 63 * 2 == 286
    # With accumulators for all outputs the row change is all that is left: MAC to precharge 12, and a
    # preset and a read more.
    together = {n: timed("gddr6-aim", 16 * n, 1024, channels=1).clocks for n in (2, 3)}
    assert together[3] - together[2] == 12 + 32 + 56 + 63 * 2 + 3 + 2 == 231


def test_an_activation_of_gddr6_aim():
    # After the last MAC: to the precharge 12, precharge 32, activate to a lookup 86; it ends like a MAC.
    plain, active = (
        timed("gddr6-aim", 16, 1024, channels=1, reuse=1, activation=function) for function in ("", "relu")
    )
    assert active.clocks - plain.clocks == 12 + 32 + 86
    assert active.counts["AFAB"] == 1
    # Two pieces of the input: only the whole sum passes the function.
    assert timed("gddr6-aim", 16, 2048, channels=1, activation="relu").counts["AFAB"] == 1


def test_an_addition_of_gddr6_aim_crosses_the_pins():
    # 16 banks of 1 burst on one channel: two operands read, one written; no unit works.
    pim = UNITS["gddr6-aim"]
    kernel = compile_elementwise(pim, dram_of(pim), "add", 16 * 16, "bf16", channels=1)
    time = time_kernel(dram_of(pim), pim, QUIET, kernel)
    assert time.counts == {"ACT1": 48, "RD": 32, "WR": 16, "PREA": 3}
    assert time.booked["work"] == 0
    assert sum(time.booked.values()) == time.clocks
    # Long vectors move at most at the full rate of the pins: a burst in 2 clocks.
    n = 16 * 16 * 64 * 8
    long = time_kernel(
        dram_of(pim), pim, QUIET, compile_elementwise(pim, dram_of(pim), "add", n, "bf16", channels=1)
    )
    assert 0.7 < 3 * n * 2 / 32 * 2 / long.clocks < 1


def test_inputs_of_several_rows_are_written_at_once():
    # LPDDR5X-9600: 16 sums a unit, so a row holds 4 bursts of each of 16 outputs; int8 inputs of a row are
    # 4 bursts, and 2 KB of registers hold those of 16 rows. 4096 columns are 32 rows.
    kernel = compile_gemv(
        UNITS["lpddr5x-pim-9600"], part("lpddr5x-9600-16gb-x16", DramSpec), 2048, 4096, "int8"
    )
    inputs = kernel.commands[kernel.head :]  # without the writes that program the units
    command = inputs[inputs[:, m.G_RANK] == 0, m.G_COMMAND]
    runs = np.flatnonzero(np.diff((command == WRREG).astype(int)) == 1)
    assert len(runs) == 2
    assert (command == WRREG).sum() == 32 * 4
    assert (command == MACAB).sum() == 32 * 64


# Speed-ups of LP5X-PIM Sim (arXiv 2606.00636) at dimension 4096, four channels; 8 % either way.
@pytest.mark.parametrize(
    ("dtype", "low", "high", "fenced", "fenced_high"),
    [
        ("int8", 6.0, 6.2, 5.0, 6.2),
        ("w4a4", 6.0, 6.2, 5.0, 6.2),
        ("fp8", 6.0, 6.2, 5.0, 6.2),
        ("w8a16", 5.7, 5.8, 5.0, 5.8),
        ("w4a16", 5.7, 5.8, 4.1, 4.1),
        ("w8a16fp", 5.7, 5.8, 5.0, 5.8),
    ],
)
def test_speed_ups_of_lpddr5x_pim(dtype, low, high, fenced, fenced_high):
    pim = UNITS["lpddr5x-pim-9600"]
    dram = dram_of(pim)
    free = cost_of(dram, pim, REFRESHED, compile_gemv(pim, dram, 4096, 4096, dtype, channels=4))
    assert low * 0.92 <= free.speedup_over_read <= high * 1.08
    kernel = compile_gemv(pim, dram, 4096, 4096, dtype, channels=4, fences=True)
    slow = cost_of(dram, pim, REFRESHED, kernel, HostDrive(fence_ns=150))
    assert fenced * 0.92 <= slow.speedup_over_read <= min(fenced_high * 1.08, free.speedup_over_read)
    assert slow.lost["fences"] > 0 == free.lost["fences"]


def test_fewer_sums_a_tile_fill_more_units():
    # 1024 rows are half a tile of 16 sums a unit, but a whole one of 8: 1024 columns are 4 rows instead of 8.
    pim = UNITS["lpddr5x-pim-9600"]
    dram = dram_of(pim)
    few = compile_gemv(pim, dram, 1024, 1024, "int8")
    assert few.counts()["ACTAB"] == 2 * 4  # both ranks
    assert few.notes == ()
    assert compile_gemv(pim, dram, 2048, 1024, "int8").counts()["ACTAB"] == 2 * 8


@pytest.mark.parametrize("dtype", ["int8", "w8a16", "fp8", "w8a16fp"])
def test_splitting_columns_pays_for_few_rows(dtype):
    # arXiv 2606.00636: reshaping gains up to 1.65 below dimension 2048; 8 % either way.
    pim = UNITS["lpddr5x-pim-9600"]
    dram = dram_of(pim)
    gains = {}
    for n in (512, 1024, 1536, 2048, 4096):
        plain, split = (
            time_kernel(dram, pim, REFRESHED, compile_gemv(pim, dram, n, n, dtype, split=s)) for s in (1, 0)
        )
        gains[n] = plain.clocks / split.clocks
    assert min(gains.values()) == 1
    assert max(gains.values()) == gains[512] == pytest.approx(1.65, rel=0.08)
    assert gains[2048] == gains[4096] == 1


def test_parts_of_a_split_are_noted_and_limited():
    pim = UNITS["lpddr5x-pim-9600"]
    dram = dram_of(pim)
    kernel = compile_gemv(pim, dram, 512, 512, "int8", split=2)
    assert "the columns lie in 2 parts of 256" in kernel.notes[0]
    with pytest.raises(SpecError, match="split=9; wanted 0 .the best. to 8"):
        compile_gemv(pim, dram, 512, 512, "int8", split=9)
    with pytest.raises(SpecError, match="split=2; columns are split for parts in lockstep only"):
        compile_gemv(UNITS["gddr6-aim"], part("gddr6-aim-16000-4gb-x16", DramSpec), 8, 8, "bf16", split=2)


@settings(max_examples=30, deadline=None)
@given(st.integers(1, 1500), st.integers(1, 2000))
def test_parts_of_a_split_matrix_lie_in_ranks_of_their_own(rows, cols):
    pim = UNITS["lpddr5x-pim-9600"]
    layout = lockstep_layout(pim, dram_of(pim), 4, rows, cols, 8)
    parts = best_split(layout, rows, cols, 8)
    each = part_rows(layout, rows)
    if parts == 1:
        return
    out = np.arange(parts * each)
    channel, rank, *_ = layout.coordinates(out, np.zeros_like(out), k=-(-cols // parts), bits=8)
    owners = {}
    where = zip(channel.tolist(), rank.tolist(), (out // layout.tile_rows).tolist(), strict=True)
    for place, part_of in zip(where, (out // each).tolist(), strict=True):  # each tile is fed on its own
        owners.setdefault(place, set()).add(part_of)
    assert all(len(found) == 1 for found in owners.values())


# Losses.


@pytest.mark.parametrize("name", UNITS)
@pytest.mark.parametrize("controller", [QUIET, REFRESHED], ids=["quiet", "refreshed"])
@pytest.mark.parametrize("drive", [{}, {"window": 2, "path_ns": 50, "fence_ns": 100}], ids=["free", "host"])
def test_losses_and_work_sum_to_the_total(name, controller, drive):
    pim = UNITS[name]
    dram = dram_of(pim)
    kernel = compile_gemv(pim, dram, 700, 3000, next(iter(pim.weight_dtypes)), channels=4, fences=bool(drive))
    cost = cost_of(dram, pim, controller, kernel, HostDrive(**drive))
    assert cost.peak_clocks + sum(cost.lost.values()) == cost.clocks
    assert min(cost.lost.values()) >= 0
    assert (cost.lost["refresh"] > 0) == (cost.refreshes > 0)
    assert (cost.lost["fences"] > 0) == bool(drive)
    assert cost.refreshes_due - dram.geometry.ranks <= cost.refreshes <= cost.refreshes_due
    assert cost.share_of_peak < 1
    assert cost.speedup < cost.possible_speedup
    assert cost.external_gbps < cost.external_peak_gbps


def test_hbm_pim_gains_2_74_of_4():
    # The public measurement: 13,166 clocks against 36,082 of the host's own read, 64 pseudo channels.
    pim = UNITS["hbm-pim-2000"]
    dram = dram_of(pim)
    cost = cost_of(dram, pim, REFRESHED, compile_gemv(pim, dram, 4096, 4096, "fp16"))
    assert cost.possible_speedup == pytest.approx(4)
    assert cost.speedup_over_read == pytest.approx(36082 / 13166, rel=0.01)
    assert cost.clocks == pytest.approx(13166, rel=0.01)
    assert cost.lost["padding and idle units"] == 0


def test_idle_units_are_counted_and_named():
    pim = UNITS["hbm-pim-2000"]
    dram = dram_of(pim)
    few, many = (cost_of(dram, pim, REFRESHED, compile_gemv(pim, dram, n, 4096, "fp16")) for n in (128, 4096))
    assert few.clocks == many.clocks
    assert few.peak_clocks == many.peak_clocks / 32
    assert few.lost["padding and idle units"] == many.peak_clocks - few.peak_clocks
    assert "128 rows are computed as 4096" in few.notes[0]
    assert many.notes == ()


def test_batches_read_the_weights_again():
    for name in UNITS:
        one, four = (timed(name, 100, 1000, batch=b) for b in (1, 4))
        assert four.counts["MACAB"] == 4 * one.counts["MACAB"]
        assert four.clocks > 3 * one.clocks - 2000


# The machine.


@pytest.mark.parametrize("dtype", ["bf16", "int4"])
def test_a_kernel_takes_what_its_program_takes(dtype):
    pim = UNITS["lpddr5x-pim-8533"]
    dram = dram_of(pim)
    kernel = compile_gemv(pim, dram, 1500, 1000, dtype)
    program = gemv(pim, lockstep_layout(pim, dram, 4), 1500, 1000, dtype).commands
    for controller in (QUIET, REFRESHED):
        whole = time_kernel(dram, pim, controller, kernel)
        plain = time_program(dram, pim, controller, program)
        assert (whole.clocks, whole.counts) == (plain.clocks, plain.counts)


def test_looking_ahead_never_costs_and_pays_where_banks_differ():
    pim = UNITS["hbm-pim-2000"]
    dram = dram_of(pim)
    kernel = compile_gemv(pim, dram, 64, 1024, "fp16", channels=1)
    clocks = [
        time_kernel(dram, pim, QUIET, replace(kernel, lookahead=ahead)).clocks for ahead in (0, 1, 4, 16, 64)
    ]
    assert clocks == sorted(clocks, reverse=True)
    assert clocks[0] - clocks[-1] > 100  # the early activates of four odd banks, some 28 clocks each
    assert clocks[-1] == time_kernel(dram, pim, QUIET, replace(kernel, lookahead=1000)).clocks


@settings(max_examples=60, deadline=None)
@given(
    name=st.sampled_from(sorted(UNITS)), rows=st.integers(1, 3000), cols=st.integers(1, 4000),
    batch=st.integers(1, 3), fences=st.booleans(), controller=st.sampled_from([QUIET, REFRESHED]),
    drive=st.sampled_from([{}, {"window": 1, "path_ns": 30}, {"window": 5, "path_ns": 70, "fence_ns": 90}]),
)  # fmt: skip
@example(name="hbm-pim-2000", rows=1281, cols=1, batch=1, fences=False, controller=REFRESHED, drive={})
def test_skipping_periods_changes_nothing(name, rows, cols, batch, fences, controller, drive):
    pim = UNITS[name]
    dram, dtype = dram_of(pim), next(iter(pim.weight_dtypes))
    kernel = compile_gemv(pim, dram, rows, cols, dtype, batch=batch, channels=2, fences=fences)
    plain, skipped = (
        time_kernel(dram, pim, controller, kernel, HostDrive(**drive), skip=skip) for skip in (False, True)
    )
    assert plain == skipped


def test_periods_are_found():
    # An output takes five blocks: RDRES, WRACC, MODE, MACAB, MODE.
    pim = UNITS["gddr6-aim"]
    kernel = compile_gemv(pim, dram_of(pim), 16 * 200, 1024, "bf16", channels=1, reuse=1)
    channel = prepare(dram_of(pim), pim, QUIET)
    rows = np.isin(kernel.commands[:, m.G_COMMAND], m.ROW_COMMANDS)
    held = find_repeats(
        kernel.commands, np.flatnonzero(~rows), np.flatnonzero(rows), channel, 0, len(m.CAUSES)
    )
    assert held.run[5].max() > 5 * 190
    assert held.run[4].max() <= 4


@pytest.mark.parametrize("name", UNITS)
def test_channels_in_lockstep_are_one(name):
    # Every channel runs the same commands on its own weights: run them all, and compare.
    pim = UNITS[name]
    dram = dram_of(pim)
    kernel = compile_gemv(pim, dram, 300, 1000, next(iter(pim.weight_dtypes)), channels=3)
    folded = time_kernel(dram, pim, REFRESHED, kernel)
    channels = build(dram, REFRESHED, 3, pim)
    more = {"lookahead": kernel.lookahead, "quiet": kernel.quiet, "latency": answers(dram, pim)}
    for c in range(3):
        lost = np.zeros(3, np.int64)
        clocks = m.run_program(channels, c, kernel.commands, 0, 0, 0, 0, lost, clocked=clocked(pim), **more)
        assert clocks == folded.clocks
        assert channels.counts[c].sum() == sum(folded.counts.values())


def test_rows_are_opened_before_their_columns():
    columns = column_list(MACAB, 5)
    columns[:, m.G_BANK] = [0, 1, 0, 1, 0]
    columns[:, m.G_ROW] = [7, 3, 7, 4, 8]
    rows = with_rows(columns)
    assert rows[:, [m.G_COMMAND, m.G_BANK, m.G_ROW]].tolist() == [
        [ACTAB, 0, 7], [MACAB, 0, 7], [ACTAB, 1, 3], [MACAB, 1, 3], [MACAB, 0, 7],
        [PRE, 1, -1], [ACTAB, 1, 4], [MACAB, 1, 4], [PRE, 0, -1], [ACTAB, 0, 8], [MACAB, 0, 8],
    ]  # fmt: skip


@settings(max_examples=40, deadline=None)
@given(
    st.sampled_from(sorted(UNITS)), st.integers(1, 600), st.integers(1, 2500), st.integers(1, 3),
    st.booleans(), st.booleans(),
)  # fmt: skip
def test_macs_bound_the_time(name, rows, cols, batch, fences, refresh):
    pim = UNITS[name]
    dram = dram_of(pim)
    kernel = compile_gemv(
        pim, dram, rows, cols, next(iter(pim.weight_dtypes)), batch=batch, channels=2, fences=fences
    )
    time = time_kernel(dram, pim, REFRESHED if refresh else QUIET, kernel)
    assert sum(time.booked.values()) == time.clocks
    assert min(time.booked.values()) >= 0
    step = dram.latencies_ck["CCD_L"]
    assert time.clocks > (time.counts["MACAB"] - 1) * step
    # Every byte of the padded weights is met once a vector.
    met = time.counts["MACAB"] * 2 * kernel.units * kernel.unit_bytes
    assert met >= kernel.operand_bytes
    assert all(time.counts[command] >= count for command, count in kernel.counts().items())


def test_refreshes_wait_while_a_program_leaves_its_mode():
    # With an interval that falls due just before the end, the refresh comes after the last result.
    pim = UNITS["hbm-pim-2000"]
    dram = dram_of(pim)
    kernel = compile_gemv(pim, dram, 64, 256, "fp16", channels=1)
    quiet = time_kernel(dram, pim, QUIET, kernel).clocks
    from pimsim.devices.dram.engine import X_NEXT_REF

    for early, clocks in ((20, quiet), (400, None)):
        channel = prepare(dram, pim, REFRESHED)
        channel.scalar[:, X_NEXT_REF] = quiet - early
        time = time_kernel(dram, pim, REFRESHED, kernel, channel=channel)
        assert time.refreshes == 1
        assert (time.clocks == quiet) == (clocks is not None)


# Element-wise operations.


def test_groups_of_an_elementwise_operation_by_hand():
    # In clocks: eight reads of each operand, eight writes, rows of the same bank in between; the next group
    # lies in the other bank, whose row opens meanwhile, so that only write to read (19) is left.
    # Row to row: 3 + 14 + 14, row to row for a write 3 + 14 + 10.
    add = 28 + (3 + 14 + 14) + 28 + (3 + 14 + 10) + 28 + 19
    relu = 28 + (3 + 14 + 10) + 28 + 19
    pim = UNITS["hbm-pim-2000"]
    dram = dram_of(pim)
    for operation, group in (("add", add), ("mul", add), ("relu", relu), ("scale-shift", relu)):
        clocks = [
            time_kernel(
                dram, pim, QUIET, compile_elementwise(pim, dram, operation, 1024 * n, "fp16", channels=1)
            ).clocks
            for n in (4, 6, 8)
        ]
        assert clocks[1] - clocks[0] == clocks[2] - clocks[1] == 2 * group


def test_products_on_gddr6_aim():
    # A row: activate to product 25, 64 products 2 apart, then WL 6 + tWR 33 and precharge 32.
    pim = UNITS["gddr6-aim"]
    dram = dram_of(pim)
    clocks = [
        time_kernel(
            dram, pim, QUIET, compile_elementwise(pim, dram, "mul", 64 * 16 * 4 * n, "bf16", channels=1)
        ).clocks
        for n in (1, 2, 3)
    ]
    assert clocks[2] - clocks[1] == clocks[1] - clocks[0] == 25 + 63 * 2 + 39 + 32


# Errors.


def test_errors_say_what_is_wrong_and_what_to_do():
    hbm, dram = UNITS["hbm-pim-2000"], part("hbm2-pim-2000-2gb-x64", DramSpec)
    with pytest.raises(SpecError, match="hbm-pim-2000 runs no gemv of type 'int8'; known: fp16"):
        compile_gemv(hbm, dram, 8, 8, "int8")
    for shape in ({"rows": 0, "cols": 8}, {"rows": 8, "cols": 0}, {"rows": 8, "cols": 8, "batch": 0}):
        wrong = next(name for name, value in shape.items() if value == 0)
        with pytest.raises(SpecError, match=f"gemv with {wrong}=0; wanted at least 1"):
            compile_gemv(hbm, dram, dtype="fp16", **shape)
    with pytest.raises(SpecError, match=r"rows of every bank but 16368 are free; use more channels"):
        compile_gemv(hbm, dram, 1 << 17, 1 << 16, "fp16", channels=1)
    with pytest.raises(SpecError, match="use more channels or a smaller matrix"):
        compile_gemv(UNITS["gddr6-aim"], part("gddr6-aim-16000-4gb-x16", DramSpec), 1 << 17, 1 << 14, "bf16",
                     channels=1)  # fmt: skip
    with pytest.raises(SpecError, match="lpddr5x-pim-8533: weights of .* use more channels"):
        compile_gemv(UNITS["lpddr5x-pim-8533"], part("lpddr5x-8533-16gb-x16", DramSpec), 1 << 18, 1 << 17,
                     "bf16", channels=1)  # fmt: skip
    lpddr5_aim = UNITS["lpddr5-aim"]
    with pytest.raises(SpecError, match="lpddr5-aim has no operation 'add': .*in LPDDR5 the host adds"):
        compile_elementwise(lpddr5_aim, dram_of(lpddr5_aim), "add", 8, "bf16")
    with pytest.raises(SpecError, match="lpddr5x-pim-8533 has no operation 'relu': its units are published"):
        compile_elementwise(
            UNITS["lpddr5x-pim-8533"], part("lpddr5x-8533-16gb-x16", DramSpec), "relu", 8, "bf16"
        )
    with pytest.raises(SpecError, match="hbm-pim-2000 has no operation 'softmax'; known: add, gemv"):
        compile_elementwise(hbm, dram, "softmax", 8, "fp16")
    with pytest.raises(SpecError, match="hbm-pim-2000: activation='relu'; its units have no table"):
        compile_gemv(hbm, dram, 8, 8, "fp16", activation="relu")
    with pytest.raises(SpecError, match="gddr6-aim: activation='rely'; did you mean 'relu'?"):
        compile_gemv(UNITS["gddr6-aim"], part("gddr6-aim-16000-4gb-x16", DramSpec), 8, 8, "bf16",
                     activation="rely")  # fmt: skip
    with pytest.raises(SpecError, match="relu with elements=0"):
        compile_elementwise(hbm, dram, "relu", 0, "fp16")
    with pytest.raises(SpecError, match="sits in 'hbm2-pim-2000-2gb-x64', not in"):
        compile_gemv(hbm, part("gddr6-aim-16000-4gb-x16", DramSpec), 8, 8, "fp16")
    with pytest.raises(SpecError, match="reuse=33; wanted 1 to 32"):
        compile_gemv(UNITS["gddr6-aim"], part("gddr6-aim-16000-4gb-x16", DramSpec), 8, 8, "bf16", reuse=33)
    with pytest.raises(SpecError, match="all-bank or no refresh"):
        time_kernel(dram, hbm, Controller(refresh="per_bank"), compile_gemv(hbm, dram, 8, 8, "fp16"))
    with pytest.raises(SpecError, match="protocol='pairs'; did you mean 'paired_banks'"):
        replace(hbm, protocol="pairs")


def test_every_protocol_has_operations_and_a_part():
    assert {pim.protocol for pim in UNITS.values()} == set(OPERATIONS)


def test_a_stream_of_instructions_adds_modes_and_rows():
    rows = aim.stream([aim.Step(MACAB, 5, 2), aim.Step(MACAB, 6, 1)], leave=False)
    names = [int(c) for c in rows[:, m.G_COMMAND]]
    from pimsim.devices.rules import PREA

    assert names == [ACTAB, MACAB, MACAB, PREA, ACTAB, MACAB]
