"""PIM programs: how many commands of which kind, and how long they take on the catalog part."""

from dataclasses import replace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pimsim.devices.catalog.lpddr5x import LPDDR5X_8533_16GB_X16, LPDDR5X_PIM_8533
from pimsim.devices.dram.channel import Controller
from pimsim.devices.dram.drive import G_BANK, G_COLUMN, G_COMMAND, G_FENCE, G_RANK, G_ROW
from pimsim.devices.pim.program import Gemv, HostDrive, ProgramTime, gemv, peak_clocks, time_program
from pimsim.devices.rules import ACTAB, MACAB, RDRES, WRREG
from pimsim.devices.spec import Clocks
from pimsim.errors import SpecError
from pimsim.placement import PimLayout

DRAM, PIM = LPDDR5X_8533_16GB_X16, LPDDR5X_PIM_8533
PHONE = PimLayout(channels=4, ranks=2, banks=16, bank_groups=4)
ONE_RANK = PimLayout(channels=1, ranks=1, banks=16, bank_groups=4)
QUIET, REFRESHED = Controller(refresh="none"), Controller(refresh="all_bank")


def timed(program: Gemv, controller: Controller = QUIET, **host: float) -> ProgramTime:
    return time_program(DRAM, PIM, controller, program.commands, HostDrive(**host))  # type: ignore[arg-type]


# Counts.


@pytest.mark.parametrize(
    ("dtype", "chunks", "inputs"),
    [
        # 2048 columns in chunks of 256 bytes; 64 column accesses a DRAM row. Inputs of one chunk:
        ("bf16", 16, 8),  # 128 values of 2 bytes are 8 bursts of 32 bytes
        ("int8", 8, 8),  # 256 values of 1 byte
        ("int4", 4, 16),  # 512 values of 1 byte
    ],
)
def test_counts_of_a_square_matrix(dtype: str, chunks: int, inputs: int) -> None:
    # 2048 outputs are 2 tiles of 8 x 16 x 2 x 4 = 1024.
    rows = 2 * 2 * chunks  # tiles x ranks x chunks, on every channel
    expected = {
        "ACTAB": rows,
        "PREA": rows,
        "MACAB": rows * 64,
        "WRREG": rows * inputs + 2 * 9,  # and what programs the units of each rank
        "RDRES": 2 * 2 * 16,  # tiles x ranks x banks: 8 results of 4 bytes are one burst
        "MODE": 4,  # two accesses in, two out
    }
    assert gemv(PIM, PHONE, 2048, 2048, dtype).counts() == expected
    assert gemv(PIM, PHONE, 2048, 2048, dtype, fences=True).counts() == expected
    assert gemv(PIM, PHONE, 1025, 2048, dtype).counts() == expected  # padded to whole tiles
    assert gemv(PIM, PHONE, 1, 2048, dtype, pad_rows_to=2048).counts() == expected


def test_without_an_adder_tree_all_lanes_are_read() -> None:
    # 8 accumulators x 16 lanes x 4 bytes are 16 bursts a bank.
    lanes = replace(PIM, lane_reduction=False)
    assert gemv(lanes, PHONE, 1, 1, "bf16").counts()["RDRES"] == 2 * 16 * 16


def test_results_are_read_from_the_bank_groups_in_turn() -> None:
    program = gemv(PIM, ONE_RANK, 1, 1, "bf16")
    reads = program.commands[program.commands[:, G_COMMAND] == RDRES]
    assert reads[:, G_BANK].tolist() == [0, 4, 8, 12, 1, 5, 9, 13, 2, 6, 10, 14, 3, 7, 11, 15]
    # Two bursts of results a bank: first one of every bank, so that neighbours stay in different groups.
    program = gemv(replace(PIM, result_bytes=8), replace(ONE_RANK, banks=4), 1, 1, "bf16")
    reads = program.commands[program.commands[:, G_COMMAND] == RDRES]
    assert reads[:, G_BANK].tolist() == [0, 1, 2, 3] * 2
    assert reads[:, G_COLUMN].tolist() == [0] * 4 + [1] * 4
    with pytest.raises(SpecError, match="PIM layout: 6 banks do not divide into 4 bank groups"):
        replace(ONE_RANK, banks=6)


def test_rows_follow_the_layout() -> None:
    program = gemv(PIM, PHONE, 1025, 300, "bf16", base_row=7)  # 2 tiles, 3 chunks
    opened = program.commands[program.commands[:, G_COMMAND] == ACTAB]
    assert opened[:, G_ROW].tolist() == [7, 8, 9, 7, 8, 9, 10, 11, 12, 10, 11, 12]
    assert opened[:, G_RANK].tolist() == [0, 0, 0, 1, 1, 1] * 2


@settings(max_examples=60, deadline=None)
@given(
    st.integers(1, 300),
    st.integers(1, 3000),
    st.sampled_from(["bf16", "int8", "int4"]),
    st.sampled_from([64, 96, 160, 256, 2048]),
)
def test_a_mac_finds_its_inputs_in_the_registers(n: int, k: int, dtype: str, source_bytes: int) -> None:
    pim = replace(PIM, source_bytes=source_bytes)
    program = gemv(pim, ONE_RANK, n, k, dtype)
    meets = 2 if dtype == "int4" else 1  # input bursts that a weight burst meets
    chunk = -1
    held: dict[int, int] = {}
    written: list[int] = []
    for row, data in zip(program.commands.tolist(), program.data.tolist(), strict=True):
        if row[G_COMMAND] == ACTAB:
            chunk = row[G_ROW] % ONE_RANK.chunks(k, {"bf16": 16, "int8": 8, "int4": 4}[dtype])
        elif row[G_COMMAND] == WRREG and data >= 0:
            assert 0 <= row[G_COLUMN] < source_bytes // 32
            held[row[G_COLUMN]] = data
            written.append(data)
        elif row[G_COMMAND] == MACAB:
            first = (chunk * 8 + row[G_COLUMN] % 8) * meets
            assert {first, first + meets - 1} <= set(held.values())
    vector = -(-k // (128 * 16 // {"bf16": 16, "int8": 8, "int4": 4}[dtype])) * 8 * meets
    assert written == list(range(vector)) * ONE_RANK.tiles(n)  # each input once a tile, in order


def test_fences_stand_before_each_group() -> None:
    program = gemv(PIM, ONE_RANK, 1, 1, "int4", fences=True)
    fenced = program.commands[program.commands[:, G_FENCE] == 1]
    assert fenced[:, G_COMMAND].tolist() == [WRREG, WRREG, MACAB, WRREG, MACAB, RDRES]
    assert not gemv(PIM, ONE_RANK, 1, 1, "int4").commands[:, G_FENCE].any()


# Time.


def test_one_row_by_hand() -> None:
    # LPDDR5X-8533, tCK 0.9375 ns: tRCD 18 ns = 20, RL 23, WL 12, BL/n 2 (own group 4), tWTR_L 12 ns = 13,
    # tCCD_L 4, tCCD_S 2; of the PIM part: mode 32, MAC pipeline 16. In clocks, from 0:
    mode = 0 + 32  # the second of two accesses
    code = mode + 32 + 1 + 8 * 4  # the data clock starts; the last of 9 writes that program the units
    activate = code + 1
    write = code + 8 * 4  # the last of 8 register writes, which reach all bank groups
    assert write + 12 + 4 + 13 == 158 > activate + 20  # the first MAC waits for the write, not for tRCD
    mac = 158 + 1 + 63 * 4  # the data clock has stopped (write + WL + BL + 1 = 144); the last of 64 MACs
    read = mac + 16 + 15 * 2  # the last of 16 banks, neighbours in different groups; the data clock runs
    leave = read + 23 + 2 + 32  # the reads are over, then two accesses
    end = leave + 23 + 2
    assert end == 539
    program = gemv(PIM, ONE_RANK, 1, 1, "bf16")
    time = timed(program)
    assert time.clocks == end
    assert time.seconds == pytest.approx(539 * 0.9375e-9)
    assert time.counts == program.counts() | {"CAS_WR": 1, "CAS_RD": 1}
    assert time.lost_ck == {"host": 0, "fence": 0, "refresh": 0}
    # Read in the order of the banks, three of four reads are in the group of the read before: tCCD_L.
    in_order = gemv(PIM, replace(ONE_RANK, bank_groups=1), 1, 1, "bf16")
    assert timed(in_order).clocks == end - 15 * 2 + 4 * 3 * 4 + 3 * 2
    # A fence waits until what came before is over, RL + BL = 25 clocks: after the last programming write
    # instead of 4 clocks, with the data clock to start again, and after the last MAC instead of the 16 of
    # the pipeline.
    assert timed(gemv(PIM, ONE_RANK, 1, 1, "bf16", fences=True)).clocks == end + (25 - 4 + 1) + 9


def test_one_row_in_two_passes_by_hand() -> None:
    # INT4: 8 input writes, 32 MACs (8 outputs x 4 bursts), and again; clocks as above.
    first = 159 + 31 * 4
    write = first + (23 + 2 + 2 - 12) + 7 * 4  # read to write: RL + BL + 2 - WL
    second = write + (12 + 4 + 13) + 1 + 31 * 4
    end = second + 16 + 15 * 2 + (23 + 2) + 32 + (23 + 2)
    assert timed(gemv(PIM, ONE_RANK, 1, 1, "int4")).clocks == end == 608


def test_one_access_at_a_time_by_hand() -> None:
    # Each of 101 accesses (4 mode, 9 + 8 + 64 + 16 column) is over, RL + BL + path clocks later, before the
    # next; 100 ns are 107 clocks. In between the data clock stops, so each column access needs its own CAS.
    program = gemv(PIM, ONE_RANK, 1, 1, "bf16")
    assert timed(program, window=1, path_ns=100).clocks == 101 * (23 + 2 + 107) + 97


@settings(max_examples=25, deadline=None)
@given(
    st.integers(1, 600),
    st.integers(1, 1500),
    st.sampled_from(["bf16", "int8", "int4"]),
    st.sampled_from([QUIET, REFRESHED]),
)
def test_macs_bound_the_time(n: int, k: int, dtype: str, controller: Controller) -> None:
    program = gemv(PIM, PHONE, n, k, dtype)
    time = timed(program, controller)
    macs = program.counts()["MACAB"]
    assert peak_clocks(DRAM, program) == macs * 4  # tCCD_L
    # From row to row of one rank: 8 input writes, write to read (29), MACs, read to write (15), each pass.
    passes, macs_each = (2, 32) if dtype == "int4" else (1, 64)
    rows = PHONE.tiles(n) * 2 * (PHONE.chunks(k, PIM.weight_dtypes[dtype]) - 1)
    assert time.clocks > max(macs * 4, rows * passes * (7 * 4 + 29 + (macs_each - 1) * 4 + 15))
    assert time.counts["MACAB"] == macs
    assert time == timed(program, controller)  # the same twice


@pytest.mark.parametrize("dtype", ["bf16", "int4"])
def test_fences_and_a_narrow_host_never_help(dtype: str) -> None:
    layout = PimLayout(channels=1, ranks=2, banks=16)
    free, fenced = (gemv(PIM, layout, 300, 500, dtype, fences=f) for f in (False, True))
    for path_ns in (0, 33, 200):
        assert timed(free, path_ns=path_ns).lost_ck["host"] == 0
        slower = None
        for window in (1, 2, 3, 4, 8, 16, 32, 128, 0):  # 0: no limit
            a = timed(free, window=window, path_ns=path_ns).clocks
            b = timed(fenced, window=window, path_ns=path_ns).clocks
            c = timed(fenced, window=window, path_ns=path_ns, fence_ns=150).clocks
            assert a <= b <= c
            assert slower is None or all(x <= y for x, y in zip((a, b, c), slower, strict=True))
            slower = (a, b, c)


@pytest.mark.parametrize("host", [{}, {"window": 1, "path_ns": 300}, {"window": 8, "path_ns": 100}])
def test_refreshes_done_are_refreshes_due(host: dict[str, float]) -> None:
    program = gemv(PIM, PHONE, 2048, 2048, "bf16", fences=bool(host))
    time, quiet = timed(program, REFRESHED, **host), timed(program, **host)
    done = time.counts["REFAB"] / DRAM.geometry.ranks
    due = time.clocks // Clocks(DRAM).REFI
    assert done in (due, due - 1)  # one may fall due while the last accesses come back
    assert time.clocks > quiet.clocks
    assert "REFAB" not in quiet.counts
    assert time.lost_ck["refresh"] > 0 == quiet.lost_ck["refresh"]


def test_every_row_is_opened_again_after_a_refresh() -> None:
    time = timed(program := gemv(PIM, PHONE, 2048, 2048, "bf16"), REFRESHED)
    again = time.counts["ACTAB"] - program.counts()["ACTAB"]
    assert 0 < again == time.counts["PREA"] - program.counts()["PREA"] <= time.counts["REFAB"]


# Errors.


def test_errors_name_what_is_wrong() -> None:
    with pytest.raises(SpecError, match="no weights of type 'int9'; did you mean 'int8'?"):
        gemv(PIM, PHONE, 8, 8, "int9")
    with pytest.raises(
        SpecError, match="no weights of type 'fp6'"
    ):  # a part may list what no rule is known for
        gemv(replace(PIM, weight_dtypes={"bf16": 16, "fp6": 8}), PHONE, 8, 8, "fp6")
    for n, k in ((0, 8), (8, 0), (-1, 8)):
        with pytest.raises(SpecError, match=f"GEMV of {n} x {k}; wanted at least one row and one column"):
            gemv(PIM, PHONE, n, k, "bf16")
    with pytest.raises(
        SpecError, match="source_bytes=32 but a burst of int4 weights meets 64 bytes of inputs"
    ):
        gemv(replace(PIM, source_bytes=32), PHONE, 8, 8, "int4")
    with pytest.raises(SpecError, match="layout with 16 accumulators a unit; lpddr5x-pim-8533 has 8"):
        gemv(PIM, replace(PHONE, accumulators=16), 8, 8, "bf16")
    program = gemv(PIM, PHONE, 8, 8, "bf16")
    with pytest.raises(SpecError, match="PIM programs need all-bank or no refresh"):
        timed(program, Controller(refresh="per_bank"))
    for name in ("window", "path_ns", "fence_ns"):
        with pytest.raises(SpecError, match=f"host drive: {name}=-1; wanted no negative value"):
            HostDrive(**{name: -1})
