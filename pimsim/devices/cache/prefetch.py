"""Prefetchers, compiled: which lines they ask for."""

from __future__ import annotations

from pimsim.compiled import inlined
from pimsim.devices.cache.replace import ONE, TWO, Whole
from pimsim.devices.cache.state import (
    NEXT_LINE,
    P_CACHE,
    P_DEGREE,
    P_PREFETCH,
    STRIDE_ENTRIES,
    CacheArrays,
    U,
)


@inlined
def next_lines(s: CacheArrays, line: Whole, looked: Whole, page_shift: Whole) -> Whole:
    """Fill `ahead` with the (level, line) that the prefetchers ask for, in order; how many."""
    asked, page = U(0), line >> page_shift
    for i in range(looked):
        q, step = s.lookups[TWO * i], U(0)
        if s.par[q + P_PREFETCH] == NEXT_LINE:
            step = s.lookups[TWO * i + ONE]
        else:
            e = (s.par[q + P_CACHE] * STRIDE_ENTRIES + page % STRIDE_ENTRIES) * U(4)
            distance = line - s.strides[e + ONE]
            if s.strides[e] != page:
                s.strides[e], s.strides[e + ONE], s.strides[e + TWO] = page, line, U(0)
            elif distance:
                if distance == s.strides[e + TWO]:
                    step = distance
                s.strides[e + ONE], s.strides[e + TWO] = line, distance
        if step:
            target = line
            for _ in range(s.par[q + P_DEGREE]):
                target += step
                if target >> page_shift == page:
                    s.ahead[TWO * asked], s.ahead[TWO * asked + ONE] = q, target
                    asked += ONE
    return asked
