"""Write combining, compiled: stores gather in a few buffers, a line each, and leave as bursts."""

from __future__ import annotations

from pimsim.compiled import compiled, inlined
from pimsim.devices.cache.log import note
from pimsim.devices.cache.replace import ONE, Whole
from pimsim.devices.cache.state import (
    E_BURST,
    E_PART,
    LAST,
    T_WC_BURSTS,
    T_WC_PARTIAL,
    T_WC_STORES,
    CacheArrays,
    U,
)

ALL_WRITTEN = LAST


@inlined
def written(offset: Whole, size: Whole, line_bits: Whole) -> Whole:
    """Which 64ths of its line a store of `size` bytes from `offset` on writes."""
    return (ALL_WRITTEN >> (U(64) - ((size << U(6)) >> line_bits))) << ((offset << U(6)) >> line_bits)


@inlined
def _send(s: CacheArrays, k: Whole, at: Whole, end: Whole, line_bits: Whole) -> None:
    """Write combining buffer `at` goes to memory, and those after it, up to `end`, move up."""
    whole = s.wc_mask[at] == ALL_WRITTEN
    s.totals[T_WC_BURSTS if whole else T_WC_PARTIAL] += 1
    note(s, True, k, E_BURST if whole else E_PART, LAST, s.wc_line[at] << line_bits)
    at += ONE
    while at != end and s.wc_line[at] != LAST:
        s.wc_line[at - ONE], s.wc_mask[at - ONE] = s.wc_line[at], s.wc_mask[at]
        at += ONE
    s.wc_line[at - ONE] = LAST


@inlined
def combine(s: CacheArrays, k: Whole, core: Whole, line: Whole, mask: Whole, line_bits: Whole) -> None:
    """One access to a write-combining region.

    mask: the 64ths that a store writes; a line that is whole leaves at once, and the oldest one leaves if
    there is no buffer left. 0: a load, which lets the stores to its line go first.
    """
    n = U(len(s.wc_line)) // U(len(s.depth))
    first = core * n
    end = first + n
    while True:
        at = first
        while at != end and s.wc_line[at] != line and s.wc_line[at] != LAST:
            at += ONE
        taken = at == end
        if taken:
            at = first
        elif mask:
            if s.wc_line[at] != line:
                s.wc_line[at], s.wc_mask[at] = line, U(0)
            s.wc_mask[at] |= mask
        leaves = taken and mask != U(0)
        if not taken and s.wc_line[at] == line:
            leaves = mask == U(0) or s.wc_mask[at] == ALL_WRITTEN
        if leaves:
            _send(s, k, at, end, line_bits)
        if not taken or not mask:
            break
    if mask:
        s.totals[T_WC_STORES] += 1


@compiled
def drain(s: CacheArrays, k: Whole, line_bits: Whole) -> None:
    """All combined stores go to memory, core by core, the oldest first."""
    n = U(len(s.wc_line)) // U(len(s.depth))
    for core in range(U(len(s.depth))):
        while s.wc_line[core * n] != LAST:
            _send(s, k, core * n, core * n + n, line_bits)
