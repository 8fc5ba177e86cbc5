"""Prefetchers, compiled: which lines they ask for."""

from __future__ import annotations

from pimsim.compiled import inlined
from pimsim.devices.cache.replace import ONE, TWO, Whole
from pimsim.devices.cache.state import (
    NEXT_LINE,
    P_CACHE,
    P_PREFETCH,
    STRIDE_ENTRIES,
    CacheArrays,
    U,
)


@inlined
def step_of(s: CacheArrays, q: Whole, line: Whole, missed: Whole, page_shift: Whole) -> Whole:
    """How far from a line, and from each other, the lines lie that the prefetcher of a level asks for.

    0: it asks for none. missed: 1 if the level lacked the line or had it prefetched and not used, else 0.
    """
    if s.lanes[q + P_PREFETCH] == NEXT_LINE:
        return missed
    page, step = line >> page_shift, U(0)
    e = (s.lanes[q + P_CACHE] * STRIDE_ENTRIES + page % STRIDE_ENTRIES) * U(4)
    distance = line - s.strides[e + ONE]
    if s.strides[e] != page:
        s.strides[e], s.strides[e + ONE], s.strides[e + TWO] = page, line, U(0)
    elif distance:
        if distance == s.strides[e + TWO]:
            step = distance
        s.strides[e + ONE], s.strides[e + TWO] = line, distance
    return step
