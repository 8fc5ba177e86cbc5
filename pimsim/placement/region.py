"""Regions of memory with a memory attribute, and what lies where in them.

PIM commands are triggered by reads that must reach the DRAM, so the weights of PIM live in a
non-cacheable region; the host's own copies live in a cacheable one.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum

from pimsim.errors import PlacementError


class Attribute(Enum):
    """Whether the host's caches may hold a copy; write-combining: no, but stores are merged into bursts."""

    CACHEABLE = "cacheable"
    NON_CACHEABLE = "non-cacheable"
    WRITE_COMBINING = "write-combining"


@dataclass(frozen=True, kw_only=True)
class Region:
    """A physically contiguous piece of memory with one attribute. base, size_bytes: bytes."""

    name: str
    attribute: Attribute
    base: int
    size_bytes: int

    @property
    def end(self) -> int:
        """The first byte address after the region."""
        return self.base + self.size_bytes


@dataclass(frozen=True, kw_only=True)
class Placed:
    """An item in a region. base: byte address from the start of the memory, not of the region."""

    item: str
    region: Region
    base: int
    size_bytes: int

    @property
    def end(self) -> int:
        """The first byte address after the item."""
        return self.base + self.size_bytes


class Allocator:
    """Hands out memory from low to high addresses and never takes any back.

    Regions are carved from `[0, capacity_bytes)`, items from their region; neither ever overlap.
    """

    def __init__(self, capacity_bytes: int) -> None:
        if capacity_bytes < 0:
            raise PlacementError(f"memory of {capacity_bytes} bytes")
        self.capacity_bytes = capacity_bytes
        self._regions: dict[str, Region] = {}
        self._placed: dict[tuple[str, str], Placed] = {}
        self._next = 0
        self._next_in: dict[str, int] = {}

    @property
    def regions(self) -> tuple[Region, ...]:
        """Every region, in the order of allocation, which is the order of addresses."""
        return tuple(self._regions.values())

    @property
    def placed(self) -> tuple[Placed, ...]:
        """Every item of every region, in the order of placement."""
        return tuple(self._placed.values())

    def free_bytes(self, region: Region | None = None) -> int:
        """Bytes after the last allocation: of the memory, or of one region."""
        if region is None:
            return self.capacity_bytes - self._next
        self._own(region)
        return region.end - self._next_in[region.name]

    def region(self, name: str, attribute: Attribute, size_bytes: int, align: int = 4096) -> Region:
        """A new contiguous region whose base is a multiple of `align` bytes."""
        if name in self._regions:
            raise PlacementError(f"region {name!r} exists already: {self._regions[name]}")
        base = _fit(f"region {name!r}", size_bytes, align, self._next, self.capacity_bytes, "the memory")
        made = Region(name=name, attribute=attribute, base=base, size_bytes=size_bytes)
        self._regions[name] = made
        self._next, self._next_in[name] = made.end, base
        return made

    def place(self, region: Region, item: str, size_bytes: int, align: int = 64) -> Placed:
        """A new item in `region` whose base address is a multiple of `align` bytes."""
        self._own(region)
        if (region.name, item) in self._placed:
            raise PlacementError(f"{item!r} is placed already: {self._placed[region.name, item]}")
        start = self._next_in[region.name]
        base = _fit(f"{item!r}", size_bytes, align, start, region.end, f"region {region.name!r}")
        made = Placed(item=item, region=region, base=base, size_bytes=size_bytes)
        self._placed[region.name, item] = made
        self._next_in[region.name] = made.end
        return made

    def _own(self, region: Region) -> None:
        if self._regions.get(region.name) != region:
            raise PlacementError(f"region {region.name!r} is not from this memory")


def _fit(what: str, size_bytes: int, align: int, start: int, end: int, where: str) -> int:
    """The lowest aligned base at or after `start` with `size_bytes` before `end`."""
    if size_bytes < 0 or align < 1:
        raise PlacementError(f"{what}: size of {size_bytes} bytes aligned to {align}")
    base = -(-start // align) * align
    if base + size_bytes > end:
        skipped = f" after {base - start} to align to {align}" if base > start else ""
        raise PlacementError(
            f"{what} does not fit in {where}: {size_bytes} bytes needed, {max(end - base, 0)} free{skipped}"
        )
    return base
