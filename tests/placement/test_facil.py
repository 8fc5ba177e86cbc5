"""FACIL's maps: bits by hand, and what they must keep whatever the memory and the matrix."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pimsim.errors import PlacementError, SpecError
from pimsim.placement import FacilChoice, FacilPages, PimLayout, relayout

PHONE = FacilPages(channels=4, ranks=2, bank_groups=4, banks_per_group=4, rows=2**16)
BANK_FIRST = ("bank", "bankgroup", "rank", "channel")


@st.composite
def memories(draw: st.DrawFn) -> FacilPages:
    power = {
        name: 2 ** draw(st.integers(0, most))
        for name, most in [("channels", 2), ("ranks", 1), ("bank_groups", 2), ("banks_per_group", 1)]
    }
    chunk_rows, bursts = 2 ** draw(st.integers(0, 3)), 2 ** draw(st.integers(0, 2))
    row_bytes = chunk_rows * bursts * 32
    banks = power["channels"] * power["ranks"] * power["bank_groups"] * power["banks_per_group"]
    page = banks * row_bytes * 2 ** draw(st.integers(0, 3))
    return FacilPages(
        **power, rows=16, row_bytes=row_bytes, chunk_rows=chunk_rows, chunk_bytes=bursts * 32,
        page_bytes=page, unit_order=draw(st.sampled_from([BANK_FIRST, FacilPages.unit_order])),
    )  # fmt: skip


def row_limit(pages: FacilPages) -> int:
    """Bytes of the longest matrix row: a page's share of one bank in every rank."""
    return pages.bank_bytes * pages.channels * pages.ranks


def test_bounds_of_the_paper_and_of_a_phone() -> None:
    # Seeds: 13 for pages of 2 MiB, 8 banks and bursts of 32 bytes; 9 for 4 channels x 2 ranks x 16 banks.
    small = FacilPages(channels=1, ranks=1, bank_groups=2, banks_per_group=4, rows=2**16)
    assert (small.bound, PHONE.bound) == (13, 9)
    # Of the 9 bits 3 are columns of a chunk of 256 bytes and 3 the rows of the chunk.
    assert PHONE.max_map_id == 3
    whole_row = FacilPages(
        channels=4, ranks=2, bank_groups=4, banks_per_group=4, rows=2**16, chunk_rows=1, chunk_bytes=2048
    )
    assert whole_row.max_map_id == 3


def test_selection_by_hand() -> None:
    # 16 KiB of a page lie in a bank, 2 KiB for each row of a chunk of 8; a chunk is 256 bytes of a row.
    assert PHONE.select(128, 16) == FacilChoice(map_id=0, parts=1, pitch_bytes=256)
    assert PHONE.select(1, 4) == FacilChoice(map_id=0, parts=1, pitch_bytes=256)
    assert PHONE.select(1024, 16) == FacilChoice(map_id=3, parts=1, pitch_bytes=2048)
    assert PHONE.select(2048, 8) == FacilChoice(map_id=3, parts=1, pitch_bytes=2048)
    assert PHONE.select(4096, 16) == FacilChoice(map_id=3, parts=4, pitch_bytes=8192)
    assert PHONE.select(3072, 16).pitch_bytes == 8192  # 6 KiB, rounded up
    assert PHONE.padded_bytes(4096, 3072, 16) == 2**25
    assert PHONE.padded_bytes(1, 128, 16) == 2**21  # a huge page at least


def test_the_map_of_a_phone_by_hand() -> None:
    one = PHONE.mapping(PHONE.select(512, 16))  # 1 KiB a row: MapID 2
    assert str(one) == "row:14 bank:2 bankgroup:2 rank:1 channel:2 column:3 row:2 column:3"
    four = PHONE.mapping(PHONE.select(4096, 16))
    assert str(four) == "row:13 bank:2 bankgroup:2 rank:1 column:3 channel:2 row:3 column:3"


@settings(max_examples=60, deadline=None)
@given(memories(), st.data())
def test_maps_are_bijections(pages: FacilPages, data: st.DataObject) -> None:
    k = data.draw(st.integers(1, row_limit(pages)))
    mapping = pages.mapping(pages.select(k, 8))
    capacity = pages.banks * pages.rows * pages.row_bytes
    assert mapping.capacity_bytes == capacity
    addresses = np.arange(0, capacity, pages.burst_bytes, dtype=np.uint64)
    where = mapping.decode(addresses)
    np.testing.assert_array_equal(mapping.encode(where), addresses)
    assert len(np.unique(where, axis=0)) == len(addresses)
    # A page changes only what lies below its size: each has an equal share of rows of its own in every bank.
    page = addresses // pages.page_bytes
    row = where[:, mapping.fields.index("row")]
    share = pages.bank_bytes // pages.row_bytes
    np.testing.assert_array_equal(row // share, page)


@settings(max_examples=60, deadline=None)
@given(memories(), st.data())
def test_rows_lie_in_banks_and_banks_of_a_rank_meet_the_same_inputs(
    pages: FacilPages, data: st.DataObject
) -> None:
    k = data.draw(st.integers(1, row_limit(pages)))
    choice = pages.select(k, 8)
    mapping = pages.mapping(choice)
    fit = pages.page_bytes * 2 // choice.pitch_bytes
    n = data.draw(st.integers(1, max(1, fit)))
    byte = np.arange(0, choice.pitch_bytes, pages.burst_bytes)
    address = np.arange(n)[:, None] * choice.pitch_bytes + byte  # row-major with one pitch
    where = dict(zip(mapping.fields, mapping.decode(address.ravel()).T, strict=True))
    rank = where["channel"].astype(np.int64) * pages.ranks + where["rank"]
    bank = (rank * pages.bank_groups + where["bankgroup"]) * pages.banks_per_group + where["bank"]
    banks = bank.reshape(n, -1)
    for row in banks:
        assert len(np.unique(row)) == pages.banks_of_row(choice)
    if choice.parts == 1:
        assert (banks == banks[:, :1]).all()
    # What an all-bank command of a rank touches is the same piece of every matrix row that it meets.
    place = np.column_stack([rank, where["row"], where["column"]])
    _, group = np.unique(place, axis=0, return_inverse=True)
    piece = np.broadcast_to(byte, (n, len(byte))).ravel()
    first = np.full(group.max() + 1, -1)
    first[group.ravel()] = piece
    np.testing.assert_array_equal(first[group.ravel()], piece)


@settings(max_examples=30, deadline=None)
@given(st.sampled_from([64, 128, 256, 512]), st.integers(1, 100), st.integers(0, 2))
def test_short_rows_of_a_power_of_two_lie_as_in_the_pim_layout(k: int, n: int, page: int) -> None:
    # One page map, two descriptions: tiles over banks, ranks and channels, chunk by chunk.
    layout = PimLayout(channels=2, ranks=2, banks=4, row_bytes=256, accumulators=4, bank_groups=2)
    pages = FacilPages.of(layout, 64, page_bytes=2**15, unit_order=BANK_FIRST)
    choice = pages.select(k, 8)
    assert choice.parts == 1
    out, burst = np.mgrid[:n, : k // 32]
    address = page * pages.page_bytes + out * choice.pitch_bytes + burst * 32
    mapping = pages.mapping(choice)
    where = dict(zip(mapping.fields, mapping.decode(address.ravel()).T, strict=True))
    base_row = page * pages.bank_bytes // pages.row_bytes
    channel, rank, bank, row, column = layout.coordinates(out, burst, k=k, bits=8, base_row=base_row)
    np.testing.assert_array_equal(where["channel"], channel.ravel())
    np.testing.assert_array_equal(where["rank"], rank.ravel())
    np.testing.assert_array_equal(where["bankgroup"] * 2 + where["bank"], bank.ravel())
    np.testing.assert_array_equal(where["row"], row.ravel())
    np.testing.assert_array_equal(where["column"], column.ravel())


def test_bytes_of_a_relayout() -> None:
    # Llama 3.2 1B: 60,817,408 parameters of 2 bytes in the linear layers of a block (its configuration).
    block = [(2048, 2048, 16), (512, 2048, 16), (512, 2048, 16), (2048, 2048, 16)]
    block += [(8192, 2048, 16), (8192, 2048, 16), (2048, 8192, 16)]
    moved = relayout(block)
    assert moved.read_bytes == moved.write_bytes == 2 * 60_817_408
    assert (moved.moved_bytes, moved.buffer_bytes) == (4 * 60_817_408, 2**25)
    assert relayout([(3, 5, 4)]).read_bytes == 9  # rows of whole bytes
    assert relayout([]).moved_bytes == 0


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"channels": 3}, "channels=3; wanted a power of two"),
        ({"page_bytes": 2**17}, "larger pages"),
        ({"chunk_rows": 4}, "fill a DRAM row of 2048"),
        ({"unit_order": ("bank", "bank", "rank", "channel")}, "each of"),
        ({"rows": 4}, "4 rows a bank hold no page"),
    ],
)
def test_pages_that_cannot_be(change: dict[str, object], said: str) -> None:
    held = {"channels": 4, "ranks": 2, "bank_groups": 4, "banks_per_group": 4, "rows": 2**16}
    with pytest.raises(SpecError, match=said):
        FacilPages(**(held | change))  # type: ignore[arg-type]


def test_matrices_that_do_not_go() -> None:
    assert PHONE.select(2**17, 8).parts == 64  # 8 ranks, 8 rows of a chunk each
    with pytest.raises(PlacementError, match="up to 131072; cut the matrix by columns"):
        PHONE.select(2**17 + 1, 8)
    with pytest.raises(PlacementError, match="a matrix of 0 rows"):
        PHONE.padded_bytes(0, 128, 16)
    with pytest.raises(PlacementError, match="a matrix of 0 rows"):
        relayout([(0, 128, 16)])
    with pytest.raises(SpecError, match="MapID 4; these pages have 0 to 3"):
        PHONE.mapping(FacilChoice(map_id=4, parts=1, pitch_bytes=4096))
