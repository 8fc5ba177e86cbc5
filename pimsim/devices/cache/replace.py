"""Replacement, compiled: who is most recent in a set, and who leaves a full one.

p: the level's row of parameters. first: index of the set's first entry. at: index of its word in `order`.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from pimsim.compiled import inlined
from pimsim.devices.cache.state import LRU, P_CACHE, P_POLICY, P_WAYS, RANDOM, SRRIP, TREE_PLRU, CacheArrays

Whole = Any  # an integer of some width, signed or not


def _tree_masks() -> tuple[NDArray[np.int64], NDArray[np.int64]]:
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
    return kept.ravel(), pointed.ravel()


_KEPT, _POINTED = _tree_masks()
_WAY_OF = np.zeros(37, np.int64)
_WAY_OF[[4**way % 37 for way in range(16)]] = range(16)
"""The way of a lone bit 2 * way: the powers of 4 below 4**16 are all different modulo 37."""


@inlined
def find(entries: NDArray[np.int32], first: Whole, ways: Whole, key: Whole) -> int:
    """The way whose entry is `key` but for its flags, or -1."""
    held, wanted, tags = entries[np.int64(first) : np.int64(first + ways)], np.int32(key), np.int32(~3)
    found = 0
    for way in range(len(held)):  # no early end: compiled to vector instructions
        if held[way] & tags == wanted:
            found |= way + 1
    return found - 1


@inlined
def shift(entries: NDArray[np.int32], first: Whole, way: Whole, entry: Whole) -> None:
    """`entry` becomes the first of its set, those before `way` move one back."""
    base = np.uint64(first)
    if way == 15:  # the usual lengths are compiled to a few vector moves
        for i in range(15):
            entries[base + np.uint64(15 - i)] = entries[base + np.uint64(14 - i)]
    elif way == 7:
        for i in range(7):
            entries[base + np.uint64(7 - i)] = entries[base + np.uint64(6 - i)]
    elif way == 3:
        for i in range(3):
            entries[base + np.uint64(3 - i)] = entries[base + np.uint64(2 - i)]
    else:
        for i in range(way, 0, -1):
            entries[base + np.uint64(i)] = entries[base + np.uint64(i - 1)]
    entries[base] = entry


@inlined
def touch(s: CacheArrays, p: NDArray[np.int64], first: Whole, at: Whole, way: Whole, entry: Whole) -> None:
    """`way` was used and holds `entry` from now on."""
    policy = p[P_POLICY]
    if policy == LRU:
        if way:
            shift(s.entries, first, way, entry)
        else:
            s.entries[first] = entry
        return
    s.entries[first + way] = entry
    if policy == TREE_PLRU:
        s.order[at] = away(s.order[at], p[P_WAYS], way)
    elif policy == SRRIP:
        s.order[at] &= ~(3 << (2 * way))


@inlined
def away(word: Whole, ways: Whole, way: Whole) -> Whole:
    """The tree with every node on the way to `way` pointing to the other side."""
    return (word & _KEPT[ways * 16 + way]) | _POINTED[ways * 16 + way]


@inlined
def replace(s: CacheArrays, p: NDArray[np.int64], first: Whole, at: Whole, entry: Whole) -> int:
    """Put a new entry into the set; what it replaces, -1 if a way was empty."""
    policy, ways = p[P_POLICY], p[P_WAYS]
    if policy == LRU:
        old = s.entries[first + ways - 1]
        shift(s.entries, first, ways - 1, entry)
        return old
    held = s.entries[first : first + ways]
    way = ways
    for w in range(len(held)):  # no early end: compiled to vector instructions
        way = min(way, w if held[w] < 0 else ways)
    if way == ways:
        way = -1
    word = s.order[at]
    if policy == TREE_PLRU:
        if way < 0:
            node, half, way = 1, ways >> 1, 0
            while half:
                if (word >> node) & 1:
                    way |= half
                    node = 2 * node + 1
                else:
                    node = 2 * node
                half >>= 1
        s.order[at] = away(word, ways, way)
    elif policy == RANDOM:
        if way < 0:
            x = s.rng[p[P_CACHE]]
            x ^= (x << 13) & 0xFFFFFFFF
            x ^= x >> 17
            x ^= (x << 5) & 0xFFFFFFFF
            s.rng[p[P_CACHE]] = x
            way = x % ways if ways & (ways - 1) else x & (ways - 1)
    else:  # SRRIP: all age until one is at 3
        if way < 0:
            lows = 0x55555555 & ((1 << (2 * ways)) - 1)
            oldest = word & (word >> 1) & lows
            while oldest == 0:
                word += lows
                oldest = word & (word >> 1) & lows
            way = _WAY_OF[(oldest & -oldest) % 37]
        s.order[at] = (word & ~(3 << (2 * way))) | (2 << (2 * way))
    old = s.entries[first + way]
    s.entries[first + way] = entry
    return old


@inlined
def remove(s: CacheArrays, p: NDArray[np.int64], first: int, way: int) -> None:
    """`way` is empty from now on; in LRU order it goes behind all others."""
    last = way
    if p[P_POLICY] == LRU:
        last = p[P_WAYS] - 1
        for i in range(way, last):
            s.entries[first + i] = s.entries[first + i + 1]
    s.entries[first + last] = -1
