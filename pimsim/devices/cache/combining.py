"""Write combining, compiled: stores gather in a few buffers, a line each, and leave as bursts."""

from __future__ import annotations

from pimsim.compiled import compiled, inlined, inner
from pimsim.devices.cache.replace import Whole
from pimsim.devices.cache.state import (
    E_BURST,
    E_PART,
    T_USED,
    T_WC_BURSTS,
    T_WC_PARTIAL,
    T_WC_STORES,
    CacheArrays,
)

ALL_WRITTEN = -1


@inlined
def _send(s: CacheArrays, k: Whole, core: Whole, i: Whole, line_bits: Whole) -> None:
    """Write combining buffer `i` goes to memory, and those after it move up."""
    whole = s.wc_mask[core, i] == ALL_WRITTEN
    s.totals[T_WC_BURSTS if whole else T_WC_PARTIAL] += 1
    if len(s.events):
        used = s.totals[T_USED]
        s.events[used, 0], s.events[used, 1] = k, E_BURST if whole else E_PART
        s.events[used, 2], s.events[used, 3] = -1, s.wc_line[core, i] << line_bits
        s.totals[T_USED] = used + 1
    last = s.wc_line.shape[1] - 1
    for j in range(i, last):
        s.wc_line[core, j], s.wc_mask[core, j] = s.wc_line[core, j + 1], s.wc_mask[core, j + 1]
    s.wc_line[core, last] = -1


@inner
def combine(s: CacheArrays, k: Whole, core: Whole, line: Whole, mask: int, line_bits: Whole) -> None:
    """One store of a write-combining region; a line that is whole leaves at once."""
    s.totals[T_WC_STORES] += 1
    at = -1
    for i in range(s.wc_line.shape[1]):
        if s.wc_line[core, i] == line:
            s.wc_mask[core, i] |= mask
            at = i
            break
        if s.wc_line[core, i] < 0:
            s.wc_line[core, i], s.wc_mask[core, i] = line, mask
            at = i
            break
    if at < 0:  # all are taken: the oldest leaves
        _send(s, k, core, 0, line_bits)
        at = s.wc_line.shape[1] - 1
        s.wc_line[core, at], s.wc_mask[core, at] = line, mask
    if s.wc_mask[core, at] == ALL_WRITTEN:
        _send(s, k, core, at, line_bits)


@inner
def flush_line(s: CacheArrays, k: Whole, core: Whole, line: Whole, line_bits: Whole) -> None:
    """A load of a line that is being combined lets its stores go first."""
    for i in range(s.wc_line.shape[1]):
        if s.wc_line[core, i] == line:
            _send(s, k, core, i, line_bits)
            return


@compiled
def drain(s: CacheArrays, k: Whole, line_bits: Whole) -> None:
    """All combined stores go to memory, core by core, the oldest first."""
    for core in range(len(s.wc_line)):
        while s.wc_line[core, 0] >= 0:
            _send(s, k, core, 0, line_bits)
