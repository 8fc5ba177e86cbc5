"""A matrix where it lies in memory, and whether PIM commands can reach it there."""

from __future__ import annotations

from dataclasses import dataclass, fields

from pimsim.devices.pim.hbm_pim import PairedLayout
from pimsim.errors import PlacementError
from pimsim.placement.layout import HostLayout, PimLayout
from pimsim.placement.region import Attribute, Placed


@dataclass(frozen=True, kw_only=True)
class Stored:
    """A matrix as an item of a region, and the layout that its values lie in."""

    placed: Placed
    layout: HostLayout | PimLayout | PairedLayout


def check_stored(name: str, stored: Stored, wanted: PimLayout | PairedLayout, needed_bytes: int) -> None:
    """PlacementError unless a product on the part `name` can work on `stored` where it lies.

    wanted, needed_bytes: the layout that the product reads, and the bytes of the matrix in it, with padding.
    """
    placed, region = stored.placed, stored.placed.region
    what = f"{name}: {placed.item!r} in region {region.name!r}"
    if region.attribute is not Attribute.NON_CACHEABLE:
        raise PlacementError(
            f"{what} is {region.attribute.value}: caches would answer the accesses that trigger PIM "
            "commands; allocate the region non-cacheable"
        )
    if isinstance(stored.layout, HostLayout):
        raise PlacementError(
            f"{what} is row-major (HostLayout): its rows run across the banks; swizzle it into the PIM "
            "layout of this product first"
        )
    if stored.layout != wanted:
        raise PlacementError(
            f"{what} has a PIM layout of {_difference(stored.layout, wanted)}; swizzle it into the PIM "
            "layout of this product first"
        )
    if placed.size_bytes < needed_bytes:
        raise PlacementError(
            f"{what} has {placed.size_bytes} bytes, but padded to whole tiles the matrix takes "
            f"{needed_bytes}; place it with so many"
        )


def _difference(held: PimLayout | PairedLayout, wanted: PimLayout | PairedLayout) -> str:
    """Fields of `held` that differ from `wanted`, with both values."""
    if isinstance(held, PairedLayout) and isinstance(wanted, PairedLayout):
        if held.tiles != wanted.tiles:
            return _difference(held.tiles, wanted.tiles)
    elif isinstance(held, PairedLayout) or isinstance(wanted, PairedLayout):
        return f"{_banks(held)}, not {_banks(wanted)}"
    pairs = [(f.name, getattr(held, f.name), getattr(wanted, f.name)) for f in fields(wanted)]
    return ", ".join(f"{field}={has} (not {needs})" for field, has, needs in pairs if has != needs)


def _banks(layout: PimLayout | PairedLayout) -> str:
    return "two banks a unit" if isinstance(layout, PairedLayout) else "one bank a unit"


__all__ = ["Stored", "check_stored"]
