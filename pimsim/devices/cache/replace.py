"""Replacement, compiled: who is most recent in a set, and who leaves a full one.

q: where the level's lane begins. at: number of the set.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from pimsim.compiled import inlined
from pimsim.devices.cache.state import (
    EMPTY,
    LRU,
    NO_TAG,
    P_CACHE,
    P_OF_POLICY,
    P_POLICY,
    P_WAY_BITS,
    P_WAYS,
    RANDOM,
    SRRIP,
    TREE_PLRU,
    CacheArrays,
    U,
)
from pimsim.devices.cache.vector import lowest, match, put_entry

Whole = Any  # an unsigned number of 64 bits
ONE, TWO, THREE, FOUR, FIFTEEN = U(1), U(2), U(3), U(4), U(15)
ONES, EIGHTS = U(0x1111111111111111), U(0x8888888888888888)
FULL = U(1 << 63)


def _tree_masks() -> tuple[NDArray[np.uint64], NDArray[np.uint64]]:
    """For 16 * ways + way of tree-PLRU: the nodes that a use leaves alone, and those it points right."""
    kept, pointed = np.full((17, 16), -1, np.int64), np.zeros((17, 16), np.int64)
    for ways in (1, 2, 4, 8, 16):
        for way in range(ways):
            node, half = 1, ways >> 1
            while half:
                kept[ways, way] &= ~(1 << node)
                if way & half:
                    node = 2 * node + 1
                else:
                    pointed[ways, way] |= 1 << node
                    node = 2 * node
                half >>= 1
    return kept.ravel().view(np.uint64), pointed.ravel().view(np.uint64)


_KEPT, _POINTED = _tree_masks()


@inlined
def up_to(word: Whole, way: Whole) -> Whole:
    """The bits of all nibbles up to the first that is `way`."""
    other = word ^ (way * ONES)
    zero = (other - ONES) & ~other & EIGHTS
    return zero ^ (zero - ONE)


@inlined
def touch(s: CacheArrays, q: Whole, at: Whole, way: Whole) -> None:
    """`way` was used."""
    policy, word = s.lanes[q + P_POLICY], s.order[at]
    if policy == LRU:
        if word & FIFTEEN != way:
            moved = up_to(word, way)
            s.order[at] = (word & ~moved) | ((word << FOUR) & moved) | way
    elif policy == TREE_PLRU:
        s.order[at] = away(word, s.lanes[q + P_WAYS], way)
    elif policy == SRRIP:
        s.order[at] = word & ~(THREE << (TWO * way))


@inlined
def away(word: Whole, ways: Whole, way: Whole) -> Any:
    """The tree with every node on the way to `way` pointing to the other side."""
    return (word & _KEPT[ways * U(16) + way]) | _POINTED[ways * U(16) + way]


@inlined
def room(s: CacheArrays, q: Whole, at: Whole) -> Whole:
    """The way that a new entry takes: an empty one, or else the victim; it counts as entered."""
    policy: Whole = s.lanes[q + P_POLICY]
    word: Whole = s.order[at]
    if policy == LRU:
        way = (word >> s.lanes[q + P_OF_POLICY]) & FIFTEEN
        s.order[at] = (word << FOUR) | way
        return way
    empty = U(0)
    if word < FULL:
        empty = match(s.entries, at, NO_TAG) & s.lanes[q + P_WAY_BITS]
        way = lowest(empty)
        if empty & (empty - ONE) == U(0):
            word |= FULL
    full = empty == U(0)
    ways = s.lanes[q + P_WAYS]
    if policy == TREE_PLRU:
        if full:
            node = ONE
            while node < ways:
                node = TWO * node + ((word >> node) & ONE)
            way = node - ways
        word = away(word, ways, way)
    elif policy == RANDOM:
        if full:
            x = s.rng[s.lanes[q + P_CACHE]]
            x ^= (x << U(13)) & U(0xFFFFFFFF)
            x ^= x >> U(17)
            x ^= (x << U(5)) & U(0xFFFFFFFF)
            s.rng[s.lanes[q + P_CACHE]] = x
            way = x % ways if ways & (ways - ONE) else x & (ways - ONE)
    else:  # SRRIP: all age until one is at 3
        if full:
            lows = s.lanes[q + P_OF_POLICY]
            high = word >> ONE
            up = TWO if word & lows else THREE
            if high & lows:
                up = U(0) if word & high & lows else ONE
            word += up * lows
            way = lowest(word & (word >> ONE) & lows) >> ONE
        word = (word & ~(THREE << (TWO * way))) | (TWO << (TWO * way))
    s.order[at] = word
    return way


@inlined
def remove(s: CacheArrays, q: Whole, at: Whole, way: Whole) -> None:
    """`way` is empty from now on; in LRU order it goes behind all others."""
    put_entry(s.entries, at, way, EMPTY)
    word = s.order[at]
    if s.lanes[q + P_POLICY] == LRU:
        before, last = up_to(word, way) >> FOUR, s.lanes[q + P_OF_POLICY]
        word = (word & before) | ((word >> FOUR) & ~before)
        s.order[at] = (word & ~(FIFTEEN << last)) | (way << last)
    else:
        s.order[at] = word & ~FULL
