"""FACIL: an address map per huge page, under which a row-major matrix lies as PIM units want it.

    pages = FacilPages(channels=4, ranks=2, bank_groups=4, banks_per_group=4, rows=2**16)
    choice = pages.select(k=2048, bits=16)              # FacilChoice(map_id, parts, pitch_bytes), O(1)
    mapping = pages.mapping(choice)                     # AddressMapping of the whole memory
    where = mapping.decode(base + i * choice.pitch_bytes + byte)
    pages.padded_bytes(n=4096, k=2048, bits=16)         # whole huge pages
    relayout([(4096, 2048, 16), ...])                   # bytes that the baseline without FACIL moves

The page table entry of a huge page holds a MapID, and the memory controller wires the page-offset bits to
DRAM coordinates by it. The host sees a row-major matrix (`pitch_bytes` from row to row, the leading
dimension of a BLAS), while all of a matrix row lies in one bank, or each of its `parts` does. From the
lowest address bit:

    byte of a burst | column bits of a chunk | MapID bits of the DRAM row | column bits of the chunk's
    rows | bits that select the unit (channel, rank, bank group, bank) | the rest of the DRAM row

A chunk is what a unit works on in one DRAM row: `chunk_rows` rows of the matrix of `chunk_bytes` each, 8 x
256 bytes in the style of HBM-PIM, 1 x a DRAM row in that of AiM.

Source: S. H. Seo et al., "FACIL: Flexible DRAM Address Mapping for SoC-PIM Cooperative On-device LLM
Inference", HPCA 2025: abstract, and a secondary summary for the meaning, bound and selection of the MapID.
Ours, since neither says: that a page's share of a bank is divided among the rows of a chunk (which all lie in
the page); the order of the bits that select the unit; that the parts of a row which is too
long go to channels and ranks first (each has inputs of its own), below the rows of a chunk; and that the
pitch is a power of two.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, replace

from pimsim.errors import PlacementError, SpecError
from pimsim.placement.layout import PimLayout, row_bytes_of
from pimsim.placement.mapping import AddressMapping
from pimsim.units import ceil_div

HUGE_PAGE = 2 * 2**20
UNIT_FIELDS = ("channel", "rank", "bankgroup", "bank")


@dataclass(frozen=True, kw_only=True)
class FacilChoice:
    """The map of the pages of one matrix.

    map_id: address bits between the column bits of a chunk and those that follow.
    parts: pieces that a matrix row is cut into, 1 unless it is longer than a page has for a row in a bank.
    pitch_bytes: from the start of a matrix row to that of the next in virtual addresses, a power of two.
    """

    map_id: int
    parts: int
    pitch_bytes: int


@dataclass(frozen=True, kw_only=True)
class FacilPages:
    """A memory in huge pages whose maps are chosen by MapID.

    channels .. rows: of the memory, all powers of two (an address bit is one bit of a coordinate).
    chunk_rows, chunk_bytes: see the module. unit_order: which unit bits are lowest; channels first lets a
    host that reads in order use all of them soonest.
    """

    channels: int
    ranks: int
    bank_groups: int
    banks_per_group: int
    rows: int
    row_bytes: int = 2048
    burst_bytes: int = 32
    chunk_rows: int = 8
    chunk_bytes: int = 256
    page_bytes: int = HUGE_PAGE
    unit_order: tuple[str, ...] = UNIT_FIELDS

    def __post_init__(self) -> None:
        for name in (
            "channels", "ranks", "bank_groups", "banks_per_group", "rows", "row_bytes", "burst_bytes",
            "chunk_rows", "chunk_bytes", "page_bytes",
        ):  # fmt: skip
            value = getattr(self, name)
            if value < 1 or value & (value - 1):
                raise SpecError(f"FACIL pages: {name}={value}; wanted a power of two")
        if sorted(self.unit_order) != sorted(UNIT_FIELDS):
            raise SpecError(f"FACIL pages: unit_order={self.unit_order}; wanted each of {UNIT_FIELDS} once")
        if self.chunk_bytes < self.burst_bytes or self.chunk_rows * self.chunk_bytes != self.row_bytes:
            raise SpecError(
                f"FACIL pages: chunks of {self.chunk_rows} rows of {self.chunk_bytes} bytes; wanted whole "
                f"bursts that fill a DRAM row of {self.row_bytes} bytes"
            )
        if self.bank_bytes < self.row_bytes:
            raise SpecError(
                f"FACIL pages: a page of {self.page_bytes} bytes has {self.bank_bytes} in each of "
                f"{self.banks} banks, less than a chunk of {self.row_bytes}; use larger pages"
            )
        if self.rows * self.row_bytes < self.bank_bytes:
            raise SpecError(f"FACIL pages: {self.rows} rows a bank hold no page of {self.page_bytes} bytes")

    @classmethod
    def of(
        cls, layout: PimLayout, rows: int, *, page_bytes: int = HUGE_PAGE,
        unit_order: tuple[str, ...] = UNIT_FIELDS,
    ) -> FacilPages:  # fmt: skip
        """Pages whose chunks are those of a PIM layout, in banks of `rows` DRAM rows."""
        return cls(
            channels=layout.channels, ranks=layout.ranks, bank_groups=layout.bank_groups,
            banks_per_group=layout.banks // layout.bank_groups, rows=rows, row_bytes=layout.row_bytes,
            burst_bytes=layout.burst_bytes, chunk_rows=layout.accumulators, chunk_bytes=layout.chunk_bytes,
            page_bytes=page_bytes, unit_order=unit_order,
        )  # fmt: skip

    @property
    def banks(self) -> int:
        """Banks of the whole memory."""
        return self.channels * self.ranks * self.bank_groups * self.banks_per_group

    @property
    def bank_bytes(self) -> int:
        """Bytes of a page in each bank."""
        return self.page_bytes // self.banks

    @property
    def bound(self) -> int:
        """log2(page / (banks x burst)): no MapID is larger for any chunk (2 MiB, 8 banks, 32 B: 13)."""
        return _log2(self.bank_bytes // self.burst_bytes)

    @property
    def max_map_id(self) -> int:
        """The largest MapID: what the bound leaves above the column bits of a chunk and of its rows."""
        return _log2(self.bank_bytes // self.row_bytes)

    def select(self, k: int, bits: int) -> FacilChoice:
        """The map for a matrix whose rows have `k` values of `bits` bits, in O(1).

        MapID = log2(row, or what a page has for a row in a bank if that is less) - log2(chunk_bytes), the
        row rounded up to a power of two and at least a chunk.
        """
        pitch = max(self.chunk_bytes, _power_above(row_bytes_of(k, bits)))
        most = self.bank_bytes // self.chunk_rows
        longest = most * self.chunk_rows * self.channels * self.ranks
        if pitch > longest:
            raise PlacementError(
                f"a matrix row of {k} values of {bits} bits takes {pitch} bytes; in pages of "
                f"{self.page_bytes} the banks of a rank meet the same inputs up to {longest}; cut the matrix "
                "by columns or use larger pages"
            )
        return FacilChoice(
            map_id=_log2(min(pitch, most)) - _log2(self.chunk_bytes), parts=max(1, pitch // most),
            pitch_bytes=pitch,
        )  # fmt: skip

    def mapping(self, choice: FacilChoice) -> AddressMapping:
        """Physical addresses <-> channel, rank, bankgroup, bank, row, column of pages with this map.

        Pages begin at multiples of `page_bytes`; the bits above a page are the upper bits of the DRAM row.
        """
        if not 0 <= choice.map_id <= self.max_map_id:
            raise SpecError(f"MapID {choice.map_id}; these pages have 0 to {self.max_map_id}")
        left = {
            "channel": _log2(self.channels), "rank": _log2(self.ranks),
            "bankgroup": _log2(self.bank_groups), "bank": _log2(self.banks_per_group),
        }  # fmt: skip
        pieces = [("column", _log2(self.chunk_bytes // self.burst_bytes)), ("row", choice.map_id)]
        leading = _log2(choice.parts)
        for field in ("channel", "rank"):
            taken = min(leading, left[field])
            pieces.append((field, taken))
            left[field] -= taken
            leading -= taken
        pieces.append(("column", _log2(self.chunk_rows)))
        pieces += [(field, left[field]) for field in self.unit_order]
        pieces.append(("row", _log2(self.rows) - choice.map_id))
        return AddressMapping(pieces=_kept(pieces), transaction_bytes=self.burst_bytes)

    def banks_of_row(self, choice: FacilChoice) -> int:
        """Banks that a matrix row lies in: one a part, but no more than one in every rank."""
        return min(choice.parts, self.channels * self.ranks)

    def padded_bytes(self, n: int, k: int, bits: int) -> int:
        """Bytes of the pages of a matrix of `n` rows: rows padded to the pitch, the whole to huge pages."""
        if n < 1:
            raise PlacementError(f"a matrix of {n} rows")
        return ceil_div(n * self.select(k, bits).pitch_bytes, self.page_bytes) * self.page_bytes


@dataclass(frozen=True, kw_only=True)
class Relayout:
    """Bytes that the SoC-PIM baseline without FACIL moves before a prefill can read row-major weights.

    read_bytes: from the PIM layout; write_bytes: of the row-major copy. buffer_bytes: room for the largest
    copy, when matrices are copied one by one.
    """

    read_bytes: int = 0
    write_bytes: int = 0
    buffer_bytes: int = 0

    @property
    def moved_bytes(self) -> int:
        return self.read_bytes + self.write_bytes


def relayout(matrices: Iterable[tuple[int, int, int]]) -> Relayout:
    """What a re-layout of matrices, (n, k, bits) each, moves: every value once each way, no padding."""
    total = Relayout()
    for n, k, bits in matrices:
        if n < 1:
            raise PlacementError(f"a matrix of {n} rows")
        held = n * row_bytes_of(k, bits)
        total = replace(
            total, read_bytes=total.read_bytes + held, write_bytes=total.write_bytes + held,
            buffer_bytes=max(total.buffer_bytes, held),
        )  # fmt: skip
    return total


def _log2(value: int) -> int:
    return value.bit_length() - 1


def _power_above(value: int) -> int:
    return 1 << (value - 1).bit_length()


def _kept(pieces: list[tuple[str, int]]) -> tuple[tuple[str, int], ...]:
    """Pieces without those of 0 bits, one of which stays for a field that has no other."""
    sized = [piece for piece in pieces if piece[1]]
    fields = {field for field, _ in sized}
    return tuple(sized + [(field, 0) for field in (*UNIT_FIELDS, "row", "column") if field not in fields])


__all__ = ["HUGE_PAGE", "UNIT_FIELDS", "FacilChoice", "FacilPages", "Relayout", "relayout"]
