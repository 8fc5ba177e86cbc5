"""Where the bursts of a vector lie for element-wise operations: every unit has a contiguous share."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pimsim.devices.spec import DramSpec, PimSpec
from pimsim.units import ceil_div

Ints = NDArray[np.int64]


@dataclass(frozen=True, kw_only=True)
class VectorLayout:
    """A vector over all units of all channels, groups of bursts in turn in the banks of a unit.

    units: places of a channel that work at once: units, bank groups whose banks hold an operand each, or
    banks.
    banks: of a unit that hold one vector; groups of `group_bursts` lie in each in turn, in whole rounds.
    row_bursts: of a DRAM row.
    """

    channels: int
    units: int
    banks: int
    group_bursts: int
    burst_bytes: int
    row_bursts: int

    def groups(self, n: int, bits: int) -> int:
        """Groups of a unit, with padding."""
        round_bytes = self.banks * self.channels * self.units * self.group_bursts * self.burst_bytes
        return self.banks * ceil_div(ceil_div(n * bits, 8), round_bytes)

    def rows(self, n: int, bits: int) -> int:
        """DRAM rows of every bank that a vector of n values takes."""
        return ceil_div(self.groups(n, bits) // self.banks * self.group_bursts, self.row_bursts)

    def padded_bytes(self, n: int, bits: int) -> int:
        """Bytes of the vector with its padding."""
        return self.groups(n, bits) * self.channels * self.units * self.group_bursts * self.burst_bytes

    def place(self, group: Ints, burst: Ints) -> tuple[Ints, Ints, Ints]:
        """(bank of the unit, row, column) of bursts of groups of a unit; rows from that of the vector on."""
        at = group // self.banks * self.group_bursts + burst
        return group % self.banks, at // self.row_bursts, at % self.row_bursts

    def _indices(self, n: int, bits: int) -> tuple[Ints, Ints, Ints]:
        group, burst = np.divmod(np.arange(self.groups(n, bits) * self.group_bursts), self.group_bursts)
        return self.place(group, burst)

    def swizzle(self, vector: NDArray[Any]) -> NDArray[np.uint8]:
        """Bytes of the banks that hold `vector`, (n,) of whole bytes a value; padding is zero.

        returns: (channels, units, banks, rows, bursts, burst bytes) uint8.
        """
        bits = vector.itemsize * 8
        held = np.zeros(self.padded_bytes(len(vector), bits), np.uint8)
        held[: vector.nbytes] = np.ascontiguousarray(vector).view(np.uint8)
        shape = (self.channels, self.units, self.banks, self.rows(len(vector), bits), self.row_bursts)
        out = np.zeros((*shape, self.burst_bytes), np.uint8)
        bank, row, column = self._indices(len(vector), bits)
        out[:, :, bank, row, column] = held.reshape(self.channels, self.units, -1, self.burst_bytes)
        return out

    def unswizzle(self, banks: NDArray[np.uint8], n: int, dtype: str) -> NDArray[Any]:
        """The vector in `banks`: the inverse of `swizzle`, padding dropped."""
        kind = np.dtype(dtype)
        bank, row, column = self._indices(n, kind.itemsize * 8)
        held = np.ascontiguousarray(banks[:, :, bank, row, column]).reshape(-1)
        return held[: n * kind.itemsize].view(kind)


def vector_layout(pim: PimSpec, dram: DramSpec, channels: int, operation: str = "") -> VectorLayout:
    """The layout of operands and results of an element-wise operation of a part."""
    g = dram.geometry
    if pim.protocol == "paired_banks":
        return VectorLayout(
            channels=channels, units=round(g.banks * pim.units_per_bank), banks=2,
            group_bursts=pim.source_bytes // g.burst_bytes, burst_bytes=g.burst_bytes,
            row_bursts=g.bursts_per_row,
        )  # fmt: skip
    return VectorLayout(
        channels=channels, units=g.banks if operation == "add" else g.bank_groups, banks=1, group_bursts=1,
        burst_bytes=g.burst_bytes, row_bursts=g.bursts_per_row,
    )  # fmt: skip


__all__ = ["VectorLayout", "vector_layout"]
