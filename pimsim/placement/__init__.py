"""WHERE: every byte of every tensor: regions, address mapping, layouts and the capacity ledger."""

from pimsim.placement.capacity import (
    KINDS,
    Ledger,
    LedgerRow,
    host_bytes,
    host_rows,
    pim_copy_bytes,
    pim_rows,
    saving,
)
from pimsim.placement.facil import FacilChoice, FacilPages, Relayout, relayout
from pimsim.placement.layout import CopyPattern, HostLayout, PimLayout, row_bytes_of
from pimsim.placement.mapping import AddressMapping, DecodeTables, FieldBit, XorHash, decode_one
from pimsim.placement.region import Allocator, Attribute, Placed, Region

__all__ = [
    "KINDS",
    "AddressMapping",
    "Allocator",
    "Attribute",
    "CopyPattern",
    "DecodeTables",
    "FacilChoice",
    "FacilPages",
    "FieldBit",
    "HostLayout",
    "Ledger",
    "LedgerRow",
    "PimLayout",
    "Placed",
    "Region",
    "Relayout",
    "XorHash",
    "decode_one",
    "host_bytes",
    "host_rows",
    "pim_copy_bytes",
    "pim_rows",
    "relayout",
    "row_bytes_of",
    "saving",
]
