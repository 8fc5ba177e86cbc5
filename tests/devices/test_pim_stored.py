"""A PIM product over a matrix that lies in the wrong place or in the wrong way is refused, and says why."""

from dataclasses import replace

import numpy as np
import pytest

from pimsim.devices import DramSpec, PimSpec, part, parts
from pimsim.devices.pim.attention import AttentionShape, cache_layout, compile_attention
from pimsim.devices.pim.compile import (
    compile_elementwise,
    compile_gemv,
    gemv_layout,
    operand_layout,
    operations,
)
from pimsim.devices.pim.hbm_pim import PairedLayout
from pimsim.devices.pim.stored import Stored
from pimsim.errors import PlacementError
from pimsim.placement import Allocator, Attribute, HostLayout, PimLayout

UNITS = {name: value for name, value in parts().items() if isinstance(value, PimSpec)}
VECTORS = [
    (name, operation)
    for name, pim in UNITS.items()
    for operation in operations(pim, part(pim.dram, DramSpec))[1:]
]
PARTS = [("hbm-pim-2000", "fp16"), ("gddr6-aim", "bf16"), ("lpddr5x-pim-8533", "bf16")]
ROWS, COLS = 300, 500


def stored(layout, size_bytes, attribute=Attribute.NON_CACHEABLE, item="wq"):
    memory = Allocator(1 << 30)
    region = memory.region("pim weights", attribute, 1 << 29)
    return Stored(placed=memory.place(region, item, size_bytes), layout=layout)


def compiled(name, dtype, weights, **more):
    pim = part(name, PimSpec)
    return compile_gemv(pim, part(pim.dram, DramSpec), ROWS, COLS, dtype, weights=weights, **more)


def wanted(name, dtype, **more):
    pim = part(name, PimSpec)
    layout = gemv_layout(pim, part(pim.dram, DramSpec), ROWS, COLS, dtype, **more)
    return layout, layout.padded_bytes(ROWS, COLS, 16)


@pytest.mark.parametrize(("name", "dtype"), PARTS)
def test_where_it_should_lie_the_program_is_the_same(name, dtype):
    layout, size_bytes = wanted(name, dtype)
    there = compiled(name, dtype, stored(layout, size_bytes))
    assert (there.commands == compiled(name, dtype, None).commands).all()


@pytest.mark.parametrize(("name", "dtype"), PARTS)
def test_cacheable_weights_are_refused(name, dtype):
    weights = stored(*wanted(name, dtype), Attribute.CACHEABLE)
    text = f"{name}: 'wq' in region 'pim weights' is cacheable: .*allocate the region non-cacheable"
    with pytest.raises(PlacementError, match=text):
        compiled(name, dtype, weights)


@pytest.mark.parametrize(("name", "dtype"), PARTS)
def test_row_major_weights_are_refused(name, dtype):
    text = f"{name}: 'wq' in region 'pim weights' is row-major .*swizzle it into the PIM layout"
    with pytest.raises(PlacementError, match=text):
        compiled(name, dtype, stored(HostLayout(), 1 << 28))


@pytest.mark.parametrize(("name", "dtype"), PARTS)
def test_the_layout_of_other_channels_is_refused(name, dtype):
    layout, size_bytes = wanted(name, dtype)
    held = layout.tiles.channels if isinstance(layout, PairedLayout) else layout.channels
    with pytest.raises(PlacementError, match=rf"channels={held} \(not 1\); swizzle"):
        compiled(name, dtype, stored(layout, size_bytes), channels=1)


def test_the_layout_of_another_kind_of_unit_is_refused():
    weights = stored(*wanted("lpddr5x-pim-8533", "bf16"))
    with pytest.raises(
        PlacementError, match="a PIM layout of a matrix, one bank a unit, not of .*two banks a unit"
    ):
        compiled("hbm-pim-2000", "fp16", weights)
    layout, size_bytes = wanted("lpddr5x-pim-8533", "bf16")
    assert isinstance(layout, PimLayout)
    with pytest.raises(PlacementError, match=r"bank_groups=1 \(not 4\)"):
        compiled("lpddr5x-pim-8533", "bf16", stored(replace(layout, bank_groups=1), size_bytes))


@pytest.mark.parametrize(("name", "dtype"), PARTS)
def test_room_without_padding_is_too_small(name, dtype):
    layout, size_bytes = wanted(name, dtype)
    matrix = np.zeros((ROWS, COLS), np.uint16)
    if name != "hbm-pim-2000":  # there the last DRAM row, half full, may serve the next matrix
        assert layout.swizzle(matrix).nbytes == size_bytes
    compiled(name, dtype, stored(layout, size_bytes))
    with pytest.raises(PlacementError, match=rf"has {size_bytes - 1} bytes, .* takes {size_bytes}; place it"):
        compiled(name, dtype, stored(layout, size_bytes - 1))


def test_columns_in_parts_need_the_room_of_all_parts():
    # 64 rows are a rank's tile of 8 x 16 = 128 rows in each of the 8 ranks, 8 parts of 63 columns (126 bytes
    # of a chunk of 256): one DRAM row of 2 KB in each of 4 x 2 x 16 banks.
    pim = part("lpddr5x-pim-8533", PimSpec)
    dram = part(pim.dram, DramSpec)
    layout = gemv_layout(pim, dram, 64, 500, "bf16")
    room = 4 * 2 * 16 * 2048
    compile_gemv(pim, dram, 64, 500, "bf16", split=8, weights=stored(layout, room))
    with pytest.raises(PlacementError, match=f"takes {room}; place it"):
        compile_gemv(pim, dram, 64, 500, "bf16", split=8, weights=stored(layout, room - 1))


@pytest.mark.parametrize(("name", "operation"), VECTORS)
def test_vectors_are_checked_like_matrices(name, operation):
    pim = UNITS[name]
    dram, dtype = part(pim.dram, DramSpec), next(iter(pim.weight_dtypes))

    def compiled_with(*vectors):
        return compile_elementwise(pim, dram, operation, 10_000, dtype, operands=vectors)

    layout, sizes = operand_layout(pim, dram, operation, 10_000, dtype)
    right = [stored(layout, size) for size in sizes]
    plain = compile_elementwise(pim, dram, operation, 10_000, dtype)
    assert (compiled_with(*right).commands == plain.commands).all()
    last = sizes[-1]
    for wrong, text in (
        (stored(layout, last, Attribute.CACHEABLE, "y"), "'y' in region 'pim weights' is cacheable"),
        (stored(HostLayout(), last, item="y"), "'y' .*is row-major .*swizzle it into the PIM layout"),
        (stored(replace_channels(layout), last), r"channels=1 \(not "),
        (stored(layout, last - 1), f"has {last - 1} bytes, but with its padding it takes {last}"),
    ):
        with pytest.raises(PlacementError, match=f"{name}: .*{text}"):
            compiled_with(*right[:-1], wrong)
    with pytest.raises(PlacementError, match=f"{len(sizes) + 1} operands are placed; wanted {len(sizes)}"):
        compiled_with(*right, right[0])


def replace_channels(layout):
    return replace(layout, channels=1)


@pytest.mark.parametrize(("name", "dtype"), [PARTS[1], PARTS[2]])
def test_a_kv_cache_is_checked(name, dtype):
    pim = part(name, PimSpec)
    dram = part(pim.dram, DramSpec)
    shape = AttentionShape(heads=6, kv_heads=3, head_dim=64, context=300)
    halves = compile_attention(pim, dram, shape, dtype)
    places = [cache_layout(pim, dram, half) for half in halves]
    k, v = (stored(*place) for place in places)
    again = compile_attention(pim, dram, shape, dtype, cache=(k, v))
    assert all((a.kernel.commands == b.kernel.commands).all() for a, b in zip(halves, again, strict=True))
    layout, room = places[1]
    for wrong, text in (
        (stored(layout, room, Attribute.CACHEABLE, "v"), "'v' in region 'pim weights' is cacheable"),
        (stored(HostLayout(), room, item="v"), "'v' .*is row-major"),
        (stored(layout, room - 1), f"it takes {room}"),
    ):
        with pytest.raises(PlacementError, match=text):
            compile_attention(pim, dram, shape, dtype, cache=(k, wrong))
