"""What the future of channels and requesters depends on, as a list of words; and a memory of such lists.

A snapshot has three parts:

- words: everything that matters, with clocks relative to now and addresses relative to the shifts that the
  mapping allows (see `skip.py`). A clock in the past that can delay nothing any more is left out, and so are
  bounds and clocks of the next look, which only save work. Requests are named by bank, queue and position,
  not by slot.
- rows: the open row of every bank and the row of every request, in the order of the words.
- totals: the clock, counters and positions of the walks: what grows from one repetition to the next.

Left out: command logs, and requesters that do not run.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from pimsim.compiled import compiled, inner
from pimsim.devices.dram import drive as d
from pimsim.devices.dram.drive import (
    MAX_LOOPS,
    MAX_PHASES,
    P_INTERVAL,
    P_PHASES,
    P_STRETCH,
    P_WINDOW,
    RING,
    S_BLOCKED,
    S_COUNT,
    S_END,
    S_HEAD,
    S_ISSUED,
    S_LAST_RET,
    S_NEXT,
    S_OUT,
    S_PHASE,
    S_RESUME,
    S_SERVED,
    S_START,
    S_TAIL,
    S_WHEN,
    TICKS,
    Requesters,
)
from pimsim.devices.dram.engine import (
    C_BUSES,
    C_CAP,
    C_HIT_CAP,
    C_TIMEOUT,
    HALF_CLOCK,
    N_COMMANDS,
    NEVER,
    X_AGE,
    X_CAS_SLOT,
    X_CONFLICTS,
    X_LAST,
    X_LAST_READ,
    X_MAINT_HEAD,
    X_MAINT_LEN,
    X_NEXT_REF,
    X_OPENED,
    X_OWED_BANK,
    X_OWED_BY,
    X_POSTPONED,
    X_READ_HITS,
    X_READS,
    X_REF_BANK,
    X_REFRESHES,
    X_ROW_HITS,
    X_WRITE_HITS,
    X_WRITE_MODE,
    X_WRITES,
    Channels,
)

# Columns of `Walks`, one row a phase of a requester.
W_LOW, W_UP, W_MASK, W_NUM = range(4)
# Totals: the clock; of every channel the commands by code and these four; of every running requester bursts
# issued (first phase, this iteration) and of every phase these three.
T_ROW_HITS, T_CONFLICTS, T_REFRESHES, T_AGE, T_CHANNEL = range(N_COMMANDS, N_COMMANDS + 5)
T_LEFT, T_INDEX, T_ADDRESS, T_PHASE = range(4)
T_REQUESTER = 2 + MAX_PHASES * T_PHASE
# Columns of `Memory.at`.
AT_HASH, AT_START, AT_ROWS, AT_TOTALS, AT_NUM = range(5)
# What a search found.
ENDED, FULL, FOUND = range(3)


class Memory(NamedTuple):
    """Snapshots by hash. at: where each begins and what its parts are; table: numbers of snapshots plus one.

    used: snapshots, words.
    """

    words: NDArray[np.int64]
    at: NDArray[np.int64]
    table: NDArray[np.int64]
    used: NDArray[np.int64]


def make_memory(words: int, snapshots: int) -> Memory:
    """Room for so many; `snapshots` is a power of two."""
    return Memory(
        words=np.empty(words, np.int64),
        at=np.empty((snapshots, AT_NUM), np.int64),
        table=np.zeros(2 * snapshots, np.int64),
        used=np.zeros(2, np.int64),
    )


def forget(memory: Memory) -> None:
    memory.table[:] = 0
    memory.used[:] = 0


def longest(s: Channels, running: int) -> int:
    """Words that a snapshot cannot exceed."""
    nodes = s.ready.shape[1]
    ring = 2 * int(np.prod(s.ring.shape[1:]))
    ranks, banks, slots = s.wck_until.shape[1], s.open_row.shape[1], s.slots.shape[1]
    channel = 4 * nodes + ring + 32 + 8 * ranks + 25 * banks + 13 * slots + 3 * s.maint.shape[1] + T_CHANNEL
    return len(s.scalar) * channel + running * (RING + 16 + 4 * MAX_PHASES + T_REQUESTER) + 8


@inner
def index_of(g: Requesters, a: int, p: int) -> int:
    """Bursts that a phase has walked since its loops last began anew."""
    index, size = 0, 1
    for level in range(MAX_LOOPS):
        index += g.place[a, p, level] * size
        size *= g.loops[a, p, level, 0]
    return index


def reach_of(s: Channels) -> int:
    """Clocks after which a command of the past delays no other by a rule that asks for its clock."""
    return max([0, *(wait for rules in (s.late, s.ring_rows) for wait in rules["wait"].tolist())])


@inner
def _request(s: Channels, c: int, t: int, slot: int, w: NDArray[np.int64], n: int) -> int:
    r = s.slots[c, slot]
    w[n] = r.age - s.scalar[c, X_AGE]
    w[n + 1] = r.accept - t
    w[n + 2] = r.col
    w[n + 3] = r.tag if r.tag & 1 else -2
    w[n + 4] = r.opened
    w[n + 5] = r.seen
    w[n + 6] = r.write
    return n + 7


@inner
def _age(s: Channels, c: int, slot: int) -> int:
    """A name for a request, or for none."""
    return s.slots[c, slot].age - s.scalar[c, X_AGE] if slot >= 0 else NEVER


@inner
def _channel(s: Channels, c: int, t: int, reach: int, w: NDArray[np.int64], n: int) -> int:
    """Words of a channel from place `n` on; returns the place after them."""
    x = s.scalar
    for k in range(s.ready.shape[1]):
        if s.ready[c, k] > t:
            w[n] = k
            w[n + 1] = s.ready[c, k] - t
            n += 2
    w[n] = -1
    n += 1
    for k in range(s.last.shape[1]):
        if s.last[c, k] > t - reach:
            w[n] = k
            w[n + 1] = s.last[c, k] - t
            n += 2
    w[n] = -1
    n += 1
    for ring in range(s.ring_spec.shape[0]):
        size = s.ring_spec[ring, 1]
        for node in range(s.ring.shape[2]):
            for k in range(size):
                clock = s.ring[c, ring, node, (s.ring_at[c, ring, node] + k) % size]
                if clock > t - reach:
                    w[n] = (ring * s.ring.shape[2] + node) * size + k
                    w[n + 1] = clock - t
                    n += 2
    w[n] = -1
    w[n + 1] = x[c, X_WRITE_MODE]
    w[n + 2] = _age(s, c, x[c, X_CAS_SLOT])
    w[n + 3] = max(x[c, X_LAST_READ], t) - t
    w[n + 4] = x[c, X_NEXT_REF] - t if x[c, X_NEXT_REF] < NEVER else NEVER
    w[n + 5] = x[c, X_REF_BANK]
    w[n + 6] = x[c, X_READS]
    w[n + 7] = x[c, X_WRITES]
    w[n + 8] = x[c, X_OWED_BANK]
    w[n + 9] = x[c, X_OWED_BY] - t if x[c, X_OWED_BANK] >= 0 else 0
    w[n + 10] = x[c, X_OPENED]
    w[n + 11] = max(x[c, X_LAST], t - 1) - t
    w[n + 12] = x[c, X_READ_HITS]
    w[n + 13] = x[c, X_WRITE_HITS]
    w[n + 14] = x[c, X_MAINT_LEN]
    w[n + 15] = x[c, X_POSTPONED]
    n += 16
    for k in range(x[c, X_MAINT_LEN]):
        at = (x[c, X_MAINT_HEAD] + k) % s.maint.shape[1]
        for field in range(3):
            w[n] = s.maint[c, at, field]
            n += 1
    for rank in range(s.wck_until.shape[1]):
        w[n] = max(s.wck_until[c, rank], t) - t
        n += 1
        if s.cfg[C_BUSES] == HALF_CLOCK and s.last_row[c, rank, 0] >= t - 3:
            for field in range(3):
                w[n + field] = s.last_row[c, rank, field] - (t if field == 0 else 0)
            n += 3
        w[n] = NEVER
        n += 1
    for bank in range(s.open_row.shape[1]):
        owner = s.banks[c, bank].owner
        w[n] = s.open_row[c, bank] >= 0
        w[n + 1] = min(s.banks[c, bank].accesses, max(s.cfg[C_CAP], s.cfg[C_HIT_CAP]))
        w[n + 2] = owner >= 0
        w[n + 3] = max(s.banks[c, bank].used - t, -s.cfg[C_TIMEOUT])
        n += 4
        if owner >= 0:
            n = _request(s, c, t, owner, w, n)
        for queue in range(2):
            waiting = s.lists[c, 2 * bank + queue]
            if waiting.head >= 0:
                w[n] = _age(s, c, waiting.hit)
                w[n + 1] = _age(s, c, waiting.miss)
                n += 2
                slot = waiting.head
                while slot >= 0:
                    n = _request(s, c, t, slot, w, n)
                    slot = s.slots[c, slot].next
            w[n] = NEVER
            n += 1
    return n


@inner
def _rows(s: Channels, w: NDArray[np.int64], n: int) -> int:
    for c in range(s.scalar.shape[0]):
        for bank in range(s.open_row.shape[1]):
            w[n] = s.open_row[c, bank]
            n += 1
            owner = s.banks[c, bank].owner
            if owner >= 0:
                w[n] = s.slots[c, owner].row
                n += 1
            for queue in range(2):
                slot = s.lists[c, 2 * bank + queue].head
                while slot >= 0:
                    w[n] = s.slots[c, slot].row
                    n += 1
                    slot = s.slots[c, slot].next
    return n


@inner
def _requester(g: Requesters, a: int, t: int, walks: NDArray[np.int64], w: NDArray[np.int64], n: int) -> int:
    """Words of a requester from place `n` on; returns the place after them."""
    st, par = g.state, g.par
    gap = par[a, P_INTERVAL] * par[a, P_STRETCH]
    w[n] = st[a, S_PHASE]
    w[n + 1] = st[a, S_OUT]
    w[n + 2] = st[a, S_BLOCKED]
    # An older time for the next burst counts as no burst for a whole window.
    w[n + 3] = max(st[a, S_NEXT] - t * TICKS, -(par[a, P_WINDOW] + 1) * gap)
    w[n + 4] = max(st[a, S_RESUME], t) - t
    w[n + 5] = max(st[a, S_WHEN], t) - t if st[a, S_WHEN] < NEVER else NEVER
    w[n + 6] = st[a, S_SERVED] - t
    w[n + 7] = max(st[a, S_LAST_RET], t) - t
    w[n + 8] = st[a, S_START] - t if par[a, P_PHASES] > 1 and par[a, P_STRETCH] > 1 else 0
    n += 9
    at = st[a, S_HEAD]
    while at != st[a, S_TAIL]:
        w[n] = max(g.returns[a, at], t) - t
        n += 1
        at = (at + 1) % RING
    w[n] = -1
    n += 1
    for p in range(par[a, P_PHASES]):
        index = index_of(g, a, p)
        w[n] = index % walks[a, p, W_LOW]
        w[n + 1] = index // walks[a, p, W_UP]
        w[n + 2] = g.address[a, p] & walks[a, p, W_MASK]
        w[n + 3] = g.left[a, p] > 0
        n += 4
    return n


@inner
def _totals(
    s: Channels, g: Requesters, running: NDArray[np.int64], t: int, w: NDArray[np.int64], n: int
) -> int:
    w[n] = t
    n += 1
    for c in range(s.scalar.shape[0]):
        for command in range(N_COMMANDS):
            w[n + command] = s.counts[c, command]
        n += N_COMMANDS
        w[n] = s.scalar[c, X_ROW_HITS]
        w[n + 1] = s.scalar[c, X_CONFLICTS]
        w[n + 2] = s.scalar[c, X_REFRESHES]
        w[n + 3] = s.scalar[c, X_AGE]
        n += 4
    for k in range(running.shape[0]):
        a = running[k]
        w[n] = g.state[a, S_COUNT]
        w[n + 1] = g.state[a, S_ISSUED]
        n += 2
        for p in range(MAX_PHASES):
            w[n] = g.left[a, p]
            w[n + 1] = index_of(g, a, p)
            w[n + 2] = g.address[a, p]
            n += 3
    return n


@inner
def take(
    s: Channels, g: Requesters, wake: NDArray[np.int64], running: NDArray[np.int64], t: int, reach: int,
    walks: NDArray[np.int64], memory: Memory,
) -> int:  # fmt: skip
    """Put a snapshot at the end of the memory; returns its number. Nothing finds it yet.

    reach: clocks after which a command delays no other.
    """
    k, n = memory.used[0], memory.used[1]
    w, at = memory.words, memory.at
    at[k, AT_START] = n
    w[n] = t & 1 if s.cfg[C_BUSES] == HALF_CLOCK else 0
    n += 1
    for c in range(wake.shape[0]):
        n = _channel(s, c, t, reach, w, n)
    for i in range(running.shape[0]):
        n = _requester(g, running[i], t, walks, w, n)
    at[k, AT_ROWS] = n
    mixed = 0
    for i in range(at[k, AT_START], n):
        mixed = (mixed ^ w[i]) * 1099511628211
        mixed ^= (mixed >> 29) & 0xFFFFFFFF
    at[k, AT_HASH] = mixed
    n = _rows(s, w, n)
    at[k, AT_TOTALS] = n
    memory.used[0] = k + 1
    memory.used[1] = _totals(s, g, running, t, w, n)
    return k


@inner
def _same(memory: Memory, i: int, j: int) -> bool:
    at, w = memory.at, memory.words
    size = at[i, AT_ROWS] - at[i, AT_START]
    if at[i, AT_HASH] != at[j, AT_HASH] or size != at[j, AT_ROWS] - at[j, AT_START]:
        return False
    for k in range(size):  # noqa: SIM110 (compiled: no generators)
        if w[at[i, AT_START] + k] != w[at[j, AT_START] + k]:
            return False
    return True


@inner
def _find(memory: Memory, k: int) -> int:
    """An older snapshot with the same words as number `k`, or -1; `k` can be found from now on."""
    mask = memory.table.shape[0] - 1
    place = memory.at[k, AT_HASH] & mask
    while memory.table[place] > 0:
        if _same(memory, memory.table[place] - 1, k):
            return memory.table[place] - 1
        place = (place + 1) & mask
    memory.table[place] = k + 1
    return -1


@inner
def _issued(g: Requesters, running: NDArray[np.int64]) -> int:
    bursts = 0
    for k in range(running.shape[0]):
        bursts += g.state[running[k], S_COUNT]
    return bursts


@compiled
def search(
    s: Channels, g: Requesters, wake: NDArray[np.int64], running: NDArray[np.int64], t: int, until: int,
    lead: int, every: int, bursts: int, reach: int, room: int, walks: NDArray[np.int64], memory: Memory,
    found: NDArray[np.int64], out: NDArray[np.int64],
) -> int:  # fmt: skip
    """Advance until a snapshot has the words of an older one: FOUND. ENDED: as `drive.advance` ends; FULL.

    lead, every: a snapshot after so many bursts of this requester, or (lead -1) a multiple of so many clocks
      in which all requesters issue `bursts`.
    room: words that a snapshot may need. found: (3,), the clock reached and the two snapshots.
    """
    found[0] = t
    goal = _issued(g, running) + bursts
    while True:
        if memory.used[0] >= memory.at.shape[0] or memory.used[1] + room > memory.words.shape[0]:
            return FULL
        if lead >= 0:
            t = d.advance_to(s, g, wake, running, t, until, lead, g.state[lead, S_COUNT] + every, out)
        else:
            t = d.advance_to(s, g, wake, running, t, min(until, t + every), -1, 0, out)
        found[0] = t
        if t < 0 or t >= until:
            return ENDED
        for k in range(running.shape[0]):
            if g.state[running[k], S_END] >= 0:
                return ENDED
        if lead < 0 and _issued(g, running) < goal:
            continue
        goal = _issued(g, running) + bursts
        k = take(s, g, wake, running, t, reach, walks, memory)
        found[1] = _find(memory, k)
        found[2] = k
        if found[1] >= 0:
            return FOUND
