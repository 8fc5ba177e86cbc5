from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pimsim.errors import PlacementError
from pimsim.placement import Allocator, Attribute

ALIGNS = st.sampled_from([1, 3, 64, 4096])
REQUESTS = st.lists(
    st.tuples(st.integers(0, 20_000), ALIGNS, st.lists(st.tuples(st.integers(0, 6_000), ALIGNS), max_size=5)),
    max_size=6,
)


@given(st.integers(0, 60_000), REQUESTS)
def test_nothing_overlaps_and_nothing_sticks_out(
    capacity: int, requests: list[tuple[int, int, list[tuple[int, int]]]]
) -> None:
    memory = Allocator(capacity)
    for i, (size, align, items) in enumerate(requests):
        free = memory.free_bytes()
        try:
            region = memory.region(f"r{i}", Attribute.CACHEABLE, size, align)
        except PlacementError:
            assert memory.free_bytes() == free
            assert size + align > free
            continue
        assert region.base % align == 0
        assert region.size_bytes == size
        for j, (item_size, item_align) in enumerate(items):
            room = memory.free_bytes(region)
            try:
                made = memory.place(region, f"i{j}", item_size, item_align)
            except PlacementError:
                assert memory.free_bytes(region) == room
                assert item_size + item_align > room
                continue
            assert made.base % item_align == 0
            assert region.base <= made.base
            assert made.end <= region.end
    spans = [(r.base, r.end) for r in memory.regions]
    assert all(base >= 0 and end <= capacity for base, end in spans)
    assert all(a[1] <= b[0] for a, b in pairwise(spans))
    for region in memory.regions:
        inside = [(p.base, p.end) for p in memory.placed if p.region == region]
        assert all(a[1] <= b[0] for a, b in pairwise(inside))


def test_what_does_not_fit_is_named() -> None:
    memory = Allocator(10_000)
    region = memory.region("weights", Attribute.NON_CACHEABLE, 5_000, align=1)
    memory.place(region, "a", 100, align=1)
    with pytest.raises(
        PlacementError,
        match=r"'b' does not fit in region 'weights': 4900 bytes needed, 4872 free after 28 to align to 64",
    ):
        memory.place(region, "b", 4_900, align=64)
    memory.place(region, "b", 4_900, align=1)
    with pytest.raises(PlacementError, match=r"region 'kv' does not fit in the memory: 5001 .* 5000 free"):
        memory.region("kv", Attribute.CACHEABLE, 5_001, align=1)


def test_names_are_unique_and_regions_are_ones_own() -> None:
    memory, other = Allocator(1000), Allocator(1000)
    region = memory.region("a", Attribute.CACHEABLE, 100, align=1)
    memory.place(region, "x", 1)
    with pytest.raises(PlacementError, match="'a' exists already"):
        memory.region("a", Attribute.CACHEABLE, 100)
    with pytest.raises(PlacementError, match="'x' is placed already"):
        memory.place(region, "x", 1)
    with pytest.raises(PlacementError, match="not from this memory"):
        other.place(region, "x", 1)
    with pytest.raises(PlacementError, match="-1 bytes"):
        memory.place(region, "y", -1)
    with pytest.raises(PlacementError, match="-5 bytes"):
        Allocator(-5)
