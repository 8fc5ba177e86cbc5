import ml_dtypes
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pimsim.errors import PlacementError, SpecError
from pimsim.placement import AddressMapping, HostLayout, PimLayout

PHONE = PimLayout(channels=4, ranks=2, banks=16)
SMALL = PimLayout(channels=2, ranks=2, banks=4, row_bytes=256, accumulators=2)  # tiles of 32, 128 B chunks
LAYOUTS = st.sampled_from(
    [
        SMALL,
        PimLayout(channels=1, ranks=1, banks=2, row_bytes=64, accumulators=1),
        PimLayout(channels=3, ranks=1, banks=2, row_bytes=128, burst_bytes=16, accumulators=4),
    ]
)


def filled(n: int, row_bytes: int) -> np.ndarray:
    """(n, row_bytes) uint8 of which no two neighbourhoods look alike."""
    return np.random.default_rng(n * 1000 + row_bytes).integers(1, 256, (n, row_bytes)).astype(np.uint8)


def test_a_tile_of_the_phone() -> None:
    # Four channels, two ranks, 16 banks, 8 accumulators: 1024 outputs; 2048 B / 8 = 256 B pieces.
    assert (PHONE.tile_rows, PHONE.chunk_bytes, PHONE.chunk_bursts) == (1024, 256, 8)
    assert PHONE.padded_shape(512, 2048, 16) == (1024, 2048)
    assert PHONE.padded_shape(1, 1, 16) == (1024, 128)
    assert PHONE.padded_shape(1, 1, 8) == (1024, 256)
    assert PHONE.padded_shape(1, 1, 4) == (1024, 512)
    assert PHONE.padded_shape(128256, 2048, 16, pad_rows_to=131072) == (131072, 2048)
    assert PHONE.padded_bytes(1025, 129, 16) == 2 * 2 * 256 * 1024
    assert PHONE.dram_rows(2048, 8192, 16) == 2 * 64


def test_coordinates_by_hand() -> None:
    where = PHONE.coordinates([0, 7, 8, 128, 256, 1023, 1024], 0, k=2048, bits=16, base_row=100)
    assert np.stack(where, axis=1).tolist() == [
        [0, 0, 0, 100, 0],
        [0, 0, 0, 100, 56],
        [0, 0, 1, 100, 0],
        [0, 1, 0, 100, 0],
        [1, 0, 0, 100, 0],
        [3, 1, 15, 100, 56],
        [0, 0, 0, 116, 0],  # 2048 x 2 B / 256 B = 16 chunks later
    ]
    assert [int(v) for v in PHONE.coordinates(9, 13, k=2048, bits=16)] == [0, 0, 1, 1, 13]


@settings(max_examples=60, deadline=None)
@given(LAYOUTS, st.integers(1, 70), st.integers(1, 700), st.sampled_from([4, 8, 16, 32]), st.integers(0, 5))
def test_every_burst_has_its_own_place(layout: PimLayout, n: int, k: int, bits: int, base_row: int) -> None:
    rows, _ = layout.padded_shape(n, k, bits)
    bursts = layout.chunks(k, bits) * layout.chunk_bursts
    out, burst = np.mgrid[:rows, :bursts]
    where = layout.coordinates(out, burst, k=k, bits=bits, base_row=base_row)
    back = layout.indices(*where, k=k, bits=bits, base_row=base_row)
    np.testing.assert_array_equal(back[0], out)
    np.testing.assert_array_equal(back[1], burst)
    # the padded matrix is one gapless range of the canonical order: a bijection
    offsets = np.sort(layout.offset(out, burst, k=k, bits=bits, base_row=base_row).ravel())
    per_row = layout.channels * layout.ranks * layout.banks * layout.row_bytes
    first = base_row * per_row
    wanted = np.arange(first, first + layout.padded_bytes(n, k, bits), layout.burst_bytes)
    np.testing.assert_array_equal(offsets, wanted)
    # and a matrix row stays in one bank
    for axis in where[:3]:
        assert (axis == axis[:, :1]).all()


@settings(max_examples=40, deadline=None)
@given(LAYOUTS, st.integers(1, 70), st.integers(1, 300), st.sampled_from([0, 100]))
def test_swizzle_puts_bytes_where_coordinates_say(
    layout: PimLayout, n: int, row_bytes: int, pad_rows_to: int
) -> None:
    matrix = filled(n, row_bytes)
    banks = layout.swizzle(matrix, pad_rows_to)
    assert banks.nbytes == layout.padded_bytes(n, row_bytes, 8, pad_rows_to)
    assert banks.sum(dtype=np.int64) == matrix.sum(dtype=np.int64)  # padding is zero
    out, byte = np.mgrid[:n, :row_bytes]
    channel, rank, bank, row, column = layout.coordinates(
        out, byte // layout.burst_bytes, k=row_bytes, bits=8
    )
    at = column * layout.burst_bytes + byte % layout.burst_bytes
    np.testing.assert_array_equal(banks[channel, rank, bank, row, at], matrix)
    np.testing.assert_array_equal(layout.unswizzle(banks, n, row_bytes, np.uint8), matrix)


@pytest.mark.parametrize(("n", "k"), [(1, 1), (31, 64), (32, 64), (33, 65), (70, 200)])
@pytest.mark.parametrize("dtype", [np.uint16, ml_dtypes.bfloat16, np.int8, np.float32])
def test_unswizzle_is_exact_for_every_type(n: int, k: int, dtype: type) -> None:
    width = np.dtype(dtype).itemsize
    matrix = filled(n, k * width).view(dtype)  # any bit pattern, NaNs included
    back = SMALL.unswizzle(SMALL.swizzle(matrix), n, k, dtype)
    assert back.dtype == np.dtype(dtype)
    assert back.shape == (n, k)
    np.testing.assert_array_equal(back.view(np.uint8), matrix.view(np.uint8))


@pytest.mark.parametrize(("n", "k"), [(5, 513), (40, 512), (33, 6)])
def test_packed_int4(n: int, k: int) -> None:
    matrix = filled(n, -(-k // 2))
    banks = SMALL.swizzle(matrix)
    assert banks.nbytes == SMALL.padded_bytes(n, k, 4)
    np.testing.assert_array_equal(SMALL.unswizzle(banks, n, k, np.uint8, bits=4), matrix)


def test_a_strided_matrix_swizzles_like_its_copy() -> None:
    matrix = filled(64, 256).T
    np.testing.assert_array_equal(SMALL.swizzle(matrix), SMALL.swizzle(matrix.copy()))


@settings(max_examples=40, deadline=None)
@given(LAYOUTS, st.integers(1, 70), st.integers(1, 700), st.sampled_from([4, 8, 16]))
def test_the_copy_rebuilds_the_matrix(layout: PimLayout, n: int, k: int, bits: int) -> None:
    row_bytes = -(-k * bits // 8)
    matrix = filled(n, row_bytes)
    linear = layout.swizzle(matrix).transpose(3, 0, 1, 2, 4).ravel()  # the canonical order
    pattern = layout.copy_order(n, k, bits)
    sources, destinations, sizes = layout.copy_runs(n, k, bits)
    result = np.zeros(n * row_bytes, np.uint8)
    for source, destination, size in zip(sources, destinations, sizes, strict=True):
        result[destination : destination + size] = linear[source : source + size]
    np.testing.assert_array_equal(result.reshape(n, row_bytes), matrix)
    assert (np.diff(sources) > 0).all()
    assert len(sources) == pattern.runs
    assert sizes.sum() == pattern.total_bytes
    assert set(sizes) <= {pattern.run_bytes, pattern.tail_run_bytes}
    assert len(np.unique(sources // layout.row_bytes)) == pattern.source_rows
    same_row = np.diff(sources // layout.row_bytes) == 0
    assert (np.diff(destinations)[same_row] == pattern.dest_stride_bytes).all()
    assert np.bincount(sources // layout.row_bytes).max() == pattern.runs_per_source_row


def test_copy_order_of_a_feed_forward_matrix() -> None:
    # 8192 x 2048 BF16: 32 MiB in 256-byte runs, eight of them from each open 2 KiB row.
    pattern = PHONE.copy_order(8192, 2048, 16)
    assert (pattern.run_bytes, pattern.tail_run_bytes, pattern.runs) == (256, 256, 2**17)
    assert (pattern.runs_per_source_row, pattern.source_rows) == (8, 2**14)
    assert (pattern.dest_stride_bytes, pattern.total_bytes) == (4096, 2**25)


def test_system_addresses_decode_to_the_coordinates() -> None:
    mapping = AddressMapping.parse("row:8 rank:1 bank:2 bankgroup:2 column:5 channel:2 column:1")
    out, burst = np.mgrid[:1030:7, :16]
    found = mapping.decode(PHONE.addresses(out, burst, k=256, bits=16, mapping=mapping, base_row=3))
    got = dict(zip(mapping.fields, found.T, strict=True))
    channel, rank, bank, row, column = PHONE.coordinates(out, burst, k=256, bits=16, base_row=3)
    np.testing.assert_array_equal(got["channel"], channel.ravel())
    np.testing.assert_array_equal(got["rank"], rank.ravel())
    np.testing.assert_array_equal(got["bankgroup"] * 4 + got["bank"], bank.ravel())
    np.testing.assert_array_equal(got["row"], row.ravel())
    np.testing.assert_array_equal(got["column"], column.ravel())
    with pytest.raises(PlacementError, match="row 256 does not exist"):
        PHONE.addresses(0, 0, k=256, bits=16, mapping=mapping, base_row=256)


def test_a_mapping_of_another_machine_is_refused() -> None:
    with pytest.raises(SpecError, match="channels 2, but the PIM layout has 4"):
        PHONE.check(AddressMapping.parse("row:8 rank:1 bank:2 bankgroup:2 column:6 channel:1"))
    with pytest.raises(SpecError, match="burst_bytes 64, but the PIM layout has 32"):
        PHONE.check(AddressMapping.parse("row:8 rank:1 bank:2 bankgroup:2 column:5 channel:2", 64))
    with pytest.raises(SpecError, match=r"\['pages'\] mean nothing"):
        PHONE.check(AddressMapping.parse("pages:8 column:5 channel:2"))


def test_host_layout_is_row_major_through_the_mapping() -> None:
    host = HostLayout()
    mapping = AddressMapping.parse("row:4 bank:2 channel:2 column:2")
    assert host.padded_shape(5, 7, 16) == (5, 7)
    assert host.padded_shape(5, 7, 4) == (5, 8)
    assert host.padded_bytes(5, 7, 4) == 20
    assert host.offset([0, 1, 2], [3, 0, 5], k=64, bits=16).tolist() == [6, 128, 266]
    assert host.offset(1, 3, k=7, bits=4).tolist() == 5
    # 128-byte rows: one matrix row per channel turn, all four columns of it
    where = host.coordinates(np.arange(5), 0, k=64, bits=16, mapping=mapping, base=128)
    assert where[:, 2].tolist() == [1, 2, 3, 0, 1]
    assert where[:, 1].tolist() == [0, 0, 0, 1, 1]


def test_what_makes_no_layout_is_refused() -> None:
    with pytest.raises(SpecError, match="does not divide into 3 outputs"):
        PimLayout(channels=1, ranks=1, banks=1, accumulators=3)
    with pytest.raises(SpecError, match="banks=0"):
        PimLayout(channels=1, ranks=1, banks=0)
    with pytest.raises(PlacementError, match="6 bits"):
        PHONE.padded_shape(1, 1, 6)
    with pytest.raises(PlacementError, match="0 rows"):
        PHONE.padded_shape(0, 1, 8)
    with pytest.raises(PlacementError, match=r"wanted \(n, k\)"):
        PHONE.swizzle(np.zeros(3))
    with pytest.raises(PlacementError, match="a padded row has 8 bursts"):
        PHONE.coordinates(0, 8, k=128, bits=16)
    with pytest.raises(PlacementError, match="33 x 128 needs"):
        SMALL.unswizzle(SMALL.swizzle(filled(32, 128)), 33, 128, np.uint8)
