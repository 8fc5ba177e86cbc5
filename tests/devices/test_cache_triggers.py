"""PIM through a cacheable region goes wrong on data (the attribute inconsistency); products by NumPy."""

import numpy as np
import pytest

from pimsim.devices import CacheSpec
from pimsim.devices.cache import Hierarchy, cpu_hierarchy
from pimsim.devices.cache.patterns import PATTERNS, packed_product, walk
from pimsim.devices.cache.triggers import drive_through
from pimsim.errors import SpecError
from pimsim.placement.region import Attribute
from pimsim.system import exynos2400

PHONE = exynos2400()
RANDOM = np.random.default_rng(1)
W = RANDOM.integers(-128, 128, (2048, 1024)).astype(np.int8)
XS = [RANDOM.integers(-128, 128, 1024).astype(np.int8) for _ in range(3)]


def drive(attribute, hierarchy=None):
    return drive_through(
        hierarchy or cpu_hierarchy(PHONE.cpu),
        attribute,
        PHONE.pim,
        PHONE.layout,
        PHONE.pim_mapping,
        W,
        XS,
        "int8",
    )


def right(driven):
    return [bool((y == W.astype(np.int64) @ x).all()) for y, x in zip(driven.products, XS, strict=True)]


@pytest.mark.parametrize("attribute", [Attribute.NON_CACHEABLE, Attribute.WRITE_COMBINING])
def test_loads_of_a_region_that_is_not_cached_all_trigger(attribute):
    driven = drive(attribute)
    assert right(driven) == [True, True, True]
    # By hand: 2 x 1024 outputs, 1024 bytes each in 32 bursts, 8 outputs a bank and rank: 2 x 2 x 8 x 32.
    assert driven.reached == (driven.loads,) * 3 == (1024,) * 3


def test_a_cacheable_region_works_once_and_then_swallows_every_trigger():
    driven = drive(Attribute.CACHEABLE)
    assert right(driven) == [True, False, False]  # the first product's loads all miss
    assert driven.reached == (1024, 0, 0)
    assert not driven.products[1].any()  # nothing was multiplied: the registers hold zeros


def test_a_small_cache_swallows_some_triggers_and_the_product_is_wrong_but_not_zero():
    small = CacheSpec(name="L1", size_bytes=16384, ways=4, line_bytes=64, hit_ns=1, policy="random",
                      source="test")  # fmt: skip
    driven = drive(Attribute.CACHEABLE, Hierarchy(cores=((small,),)))
    assert right(driven) == [True, False, False]
    assert 0 < driven.reached[1] < 1024
    assert driven.products[1].any()


def test_a_line_that_is_read_burst_by_burst_triggers_each():
    """Lines of 32 bytes are bursts: every load of the first product misses, and triggers its own."""
    tiny = CacheSpec(name="L1", size_bytes=1024, ways=4, line_bytes=32, hit_ns=1, source="test")
    assert drive(Attribute.CACHEABLE, Hierarchy(cores=((tiny,),))).reached[0] == 1024


# Patterns


@pytest.mark.parametrize("name", [name for name in PATTERNS if name not in ("random", "gemm")])
def test_patterns_touch_every_line(name):
    made = walk(name, 1 << 16)
    assert set((made.addresses // 64).tolist()) == set(range(1024))


def test_strided_visits_each_stride_before_the_next_line():
    assert (walk("strided", 1024, stride_bytes=256).addresses // 64).tolist()[:6] == [0, 4, 8, 12, 1, 5]


def test_a_packed_product_touches_what_its_loops_say():
    # m = n = 16, k = 32 of 2 bytes: a row of A is one line, as is a column of B; a row of C half a line.
    made = packed_product(16, 16, 32, mc=8, kc=32, nc=16)
    line = made.addresses // 64
    a, b, c, a_packed, b_packed = 0, 64, 128, 192, 256  # pages of 4096 bytes are 64 lines
    where = [
        (first, int(((line >= first) & (line < first + 64)).sum())) for first in (a, b, c, a_packed, b_packed)
    ]
    # A and B packed once each; packed A: written 2 x 8, read for 2 (jr) x 8 twice; packed B: written 16, read
    # 2 x (2 x 8). C: of each of 4 blocks 8 rows, which are 4 lines, read and written.
    assert dict(where) == {a: 16, b: 16, c: 32, a_packed: 16 + 32, b_packed: 16 + 32}
    assert int(made.writes.sum()) == 16 + 16 + 16


def test_bad_patterns_are_refused():
    for make, said in (
        (lambda: walk("strem", 4096), "did you mean 'stream'"),
        (lambda: walk("stream", 64), "at least two lines"),
        (lambda: walk("strided", 4096, stride_bytes=100), "stride_bytes=100; wanted a multiple of 64"),
        (lambda: packed_product(0, 1, 1, mc=1, kc=1, nc=1), "m=0; wanted at least 1"),
    ):
        with pytest.raises(SpecError, match=said):
            make()
    with pytest.raises(SpecError, match="int9"):
        drive_through(
            cpu_hierarchy(PHONE.cpu),
            Attribute.CACHEABLE,
            PHONE.pim,
            PHONE.layout,
            PHONE.pim_mapping,
            W,
            XS,
            "int9",
        )
