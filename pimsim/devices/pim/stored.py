"""Operands where they lie in memory, and whether PIM commands can reach them there."""

from __future__ import annotations

from dataclasses import dataclass, fields
from typing import Any

from pimsim.devices.pim.hbm_pim import PairedLayout
from pimsim.devices.pim.vectors import VectorLayout
from pimsim.errors import PlacementError
from pimsim.placement.layout import HostLayout, PimLayout
from pimsim.placement.region import Attribute, Placed

UnitLayout = PimLayout | PairedLayout | VectorLayout
KINDS = {
    PimLayout: "of a matrix, one bank a unit", PairedLayout: "of a matrix, two banks a unit",
    VectorLayout: "of a vector",
}  # fmt: skip


@dataclass(frozen=True, kw_only=True)
class Stored:
    """A matrix or vector as an item of a region, and the layout that its values lie in."""

    placed: Placed
    layout: HostLayout | UnitLayout


def check_stored(name: str, stored: Stored, wanted: UnitLayout, needed_bytes: int) -> None:
    """PlacementError unless an operation on the part `name` can work on `stored` where it lies.

    wanted, needed_bytes: the layout that the operation reads, and the bytes of the operand in it, with
    padding.
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
            f"{what} is row-major (HostLayout): its bursts run across the banks; swizzle it into the PIM "
            "layout of this operation first"
        )
    if stored.layout != wanted:
        raise PlacementError(
            f"{what} has a PIM layout {_difference(stored.layout, wanted)}; swizzle it into the PIM "
            "layout of this operation first"
        )
    if placed.size_bytes < needed_bytes:
        raise PlacementError(
            f"{what} has {placed.size_bytes} bytes, but with its padding it takes {needed_bytes}; place it "
            "with so many"
        )


def check_each(
    name: str, stored: tuple[Stored, ...], wanted: UnitLayout, needed_bytes: tuple[int, ...]
) -> None:
    """`check_stored` of every operand, of which there must be as many as sizes."""
    if len(stored) != len(needed_bytes):
        raise PlacementError(f"{name}: {len(stored)} operands are placed; wanted {len(needed_bytes)}")
    for each, size in zip(stored, needed_bytes, strict=True):
        check_stored(name, each, wanted, size)


def _difference(held: UnitLayout, wanted: UnitLayout) -> str:
    """Fields of `held` that differ from `wanted`, with both values; or the kinds of the two."""
    if type(held) is not type(wanted):
        return f"{KINDS[type(held)]}, not {KINDS[type(wanted)]}"
    if isinstance(held, PairedLayout) and isinstance(wanted, PairedLayout) and held.tiles != wanted.tiles:
        return _difference(held.tiles, wanted.tiles)
    pairs: list[tuple[str, Any, Any]] = [
        (f.name, getattr(held, f.name), getattr(wanted, f.name)) for f in fields(wanted)
    ]
    differ = ", ".join(f"{field}={has} (not {needs})" for field, has, needs in pairs if has != needs)
    return f"of {differ}"


__all__ = ["Stored", "UnitLayout", "check_each", "check_stored"]
