"""The ledger: who holds how many bytes, padding included, and what a method saves.

Capacity is a sum over the placement and nothing else.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

import pandas as pd

from pimsim.errors import PlacementError, suggest
from pimsim.placement.layout import PimLayout
from pimsim.placement.region import Attribute
from pimsim.trace.op import DTYPE_BITS, Tensor

KINDS = ("weights", "padding", "buffer", "kv", "activation")


@dataclass(frozen=True, kw_only=True)
class LedgerRow:
    """One item in one region. kind: one of `KINDS`."""

    region: str
    attribute: Attribute
    item: str
    kind: str
    bytes: int

    def __post_init__(self) -> None:
        if self.kind not in KINDS:
            raise PlacementError(f"{self.item!r}: no kind named {self.kind!r}{suggest(self.kind, KINDS)}")
        if self.bytes < 0:
            raise PlacementError(f"{self.item!r} in {self.region!r}: {self.bytes} bytes")


@dataclass(frozen=True, kw_only=True)
class Ledger:
    """Every byte of a placement, one row per item and kind. `a + b` holds the rows of both."""

    rows: tuple[LedgerRow, ...] = ()

    def __add__(self, other: Ledger) -> Ledger:
        return Ledger(rows=self.rows + other.rows)

    def total(self) -> int:
        """Bytes of all rows."""
        return sum(row.bytes for row in self.rows)

    def by_region(self) -> dict[str, int]:
        """Region name -> bytes, in order of first appearance."""
        return self._sums("region")

    def by_kind(self) -> dict[str, int]:
        """Kind -> bytes, in order of first appearance."""
        return self._sums("kind")

    def _sums(self, column: str) -> dict[str, int]:
        sums: dict[str, int] = {}
        for row in self.rows:
            key = getattr(row, column)
            sums[key] = sums.get(key, 0) + row.bytes
        return sums

    def to_frame(self) -> pd.DataFrame:
        """One line per row: region, attribute, item, kind, bytes."""
        columns: dict[str, list[Any]] = {
            "region": [row.region for row in self.rows],
            "attribute": [row.attribute.value for row in self.rows],
            "item": [row.item for row in self.rows],
            "kind": [row.kind for row in self.rows],
            "bytes": [row.bytes for row in self.rows],
        }
        return pd.DataFrame(columns).astype({"bytes": "int64"})


def host_bytes(weights: Iterable[Tensor]) -> int:
    """Bytes of one host-friendly copy of the weights: no padding. A tied tensor is given once."""
    return sum(weight.bytes for weight in weights)


def host_rows(
    weights: Iterable[Tensor], *, region: str, attribute: Attribute = Attribute.CACHEABLE
) -> Ledger:
    """One host-friendly copy of the weights: a row per tensor."""
    return Ledger(
        rows=tuple(
            LedgerRow(region=region, attribute=attribute, item=w.name, kind="weights", bytes=w.bytes)
            for w in weights
        )
    )


def pim_rows(
    weights: Iterable[Tensor],
    layout: PimLayout,
    *,
    region: str,
    attribute: Attribute = Attribute.NON_CACHEABLE,
    pad_rows: Mapping[str, int] | None = None,
) -> Ledger:
    """One PIM-aware copy of the weights: a row per tensor, and one more for its padding if it has any.

    pad_rows: tensor name -> rows to pad to at least (a vocabulary, for one), besides whole tiles.
    Only matrices are padded; a vector (norm weight, bias) is kept as it is.
    """
    pad, rows, seen = dict(pad_rows or {}), [], set()
    for weight in weights:
        seen.add(weight.name)
        parts = {"weights": weight.bytes}
        if len(weight.shape) == 2:
            n, k = weight.shape
            padded = layout.padded_bytes(n, k, DTYPE_BITS[weight.dtype], pad.get(weight.name, 0))
            parts["padding"] = padded - weight.bytes
        for kind, size in parts.items():
            if size or kind == "weights":
                rows.append(
                    LedgerRow(region=region, attribute=attribute, item=weight.name, kind=kind, bytes=size)
                )
    for name in pad:
        if name not in seen:
            raise PlacementError(f"pad_rows: no weight named {name!r}{suggest(name, seen)}")
    return Ledger(rows=tuple(rows))


def pim_copy_bytes(
    weights: Iterable[Tensor], layout: PimLayout, pad_rows: Mapping[str, int] | None = None
) -> int:
    """Bytes of one PIM-aware copy of the weights, padding included (see `pim_rows`)."""
    return pim_rows(weights, layout, region="pim", pad_rows=pad_rows).total()


def saving(baseline_bytes: int, ours_bytes: int) -> float:
    """Percent of the baseline that we do without; negative where we need more."""
    if baseline_bytes <= 0:
        raise PlacementError(f"a saving against a baseline of {baseline_bytes} bytes")
    return 100 * (baseline_bytes - ours_bytes) / baseline_bytes
