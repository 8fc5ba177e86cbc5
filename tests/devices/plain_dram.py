"""The command scheduler of DRAM channels as it reads in its description, in plain Python and slow.

Every clock at which something could go is visited, and every request in the queues is looked at in order of
age. The compiled engine is tested against it, clock for clock.

What one channel does in a clock, in this order:

1. a data command whose CAS (data-clock start) went out in the clock before;
2. the second half of an activate (ACT2) whose deadline has come;
3. the first of: a data command whose row was opened for it; the head of the maintenance queue
   (refreshes and the precharges they need); a request of the write queue in write mode, else of the
   read queue (or of the only queue). Commands that may go now beat those that may not, then, if row hits
   go first, data commands beat others, then the older request wins. In order, only the oldest request
   counts, and none while a row is open for an older one;
4. an owed ACT2.

A clock in which nothing can go is never visited: a step that issues nothing returns the earliest
clock at which any candidate could go, and candidates change only when a command is issued, a request
arrives, or a refresh falls due.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from pimsim.devices.rules import (
    ACT1,
    ACT2,
    ACTAB,
    CAS_RD,
    CAS_WR,
    COMMANDS,
    MACAB,
    PRE,
    PREA,
    RD,
    RDA,
    RDRES,
    REFAB,
    REFPB,
    REFSB,
    WR,
    WRA,
    WRREG,
)

N_COMMANDS = len(COMMANDS)
NEVER = 1 << 62

# Columns of `Channels.cfg`, one row for all channels.
(C_RANKS, C_GROUPS, C_BANKS, C_READQ, C_WRITEQ, C_HIGH, C_LOW, C_SPLIT_ACT, C_AAD, C_SYNC, C_RL, C_WL,
 C_BL, C_WCKPST, C_REFRESH, C_REFI, C_ORDER, C_LOG, C_SIDS, C_BUSES, C_CAP, C_HIT_CAP, C_TIMEOUT, C_UNIFIED,
 C_POSTPONE, C_NUM) = range(26)  # fmt: skip
NO_REFRESH, ALL_BANK, PER_BANK, SAME_BANK = range(4)
READY_FIRST, ROW_HIT_GUARD, ROW_HIT_FIRST, IN_ORDER = range(4)
ONE_BUS, ROW_AND_COLUMN, HALF_CLOCK = range(3)
"""Command buses: one for all commands; one each for row and column commands (HBM2); the same with a
clock of the engine being half a clock of the device, on whose odd halves only precharges may go (HBM3)."""
ANY, COLUMN, ROW = range(3)  # which commands a pass over the candidates may choose

# Columns of `Channels.scalar`, one row a channel.
(X_WRITE_MODE, X_CAS_SLOT, X_LAST_READ, X_NEXT_REF, X_REF_BANK, X_MAINT_HEAD, X_MAINT_LEN, X_READS, X_WRITES,
 X_FREE, X_OWED, X_ACTIVE, X_ROW_HITS, X_REFRESHES, X_LAST, X_POSTPONED, X_NUM) = range(17)  # fmt: skip

# Columns of a request slot.
Q_ACCEPT, Q_WRITE, Q_BANK, Q_ROW, Q_COL, Q_TAG, Q_OPENED, Q_NUM = range(8)

LOG_COLUMNS = ("clock", "command", "channel", "rank", "bankgroup", "bank", "row", "column")


class Channels(NamedTuple):
    """State of several equal channels; every array has the channel as its first axis.

    ready[c, node, command]: earliest clock; nodes are the channel, its ranks, bank groups and banks.
    ring, ring_at: clocks of the last commands of windowed rules (tFAW), and where the next one goes.
    slots, order: requests, and the queues (0 reads or all, 1 writes) as slot numbers in order of acceptance.
    waiting: requests in each queue. used[c, bank]: clock of the last data command, or of the activate.
    owner[c, bank]: slot whose activate opened the bank and whose data command is pending, or -1.
    owed[c, bank]: deadline of the second half of an activate, or -1.
    maint: queue of (command, rank, bank) refreshes.
    accesses[c, bank]: data commands since the bank was opened; last_row[c, rank]: clock, command and bank of
    the last row command on an even half clock.
    place[bank]: rank, node of the stack level (sid), node of the bank group, node of the bank, so that no
    clock pays a division.
    """

    cfg: NDArray[np.int64]
    rule_first: NDArray[np.int64]
    rule_rows: NDArray[np.int64]
    ring_spec: NDArray[np.int64]
    scalar: NDArray[np.int64]
    ready: NDArray[np.int64]
    ring: NDArray[np.int64]
    ring_at: NDArray[np.int64]
    open_row: NDArray[np.int64]
    owner: NDArray[np.int64]
    owed: NDArray[np.int64]
    slots: NDArray[np.int64]
    free: NDArray[np.int64]
    order: NDArray[np.int64]
    maint: NDArray[np.int64]
    wck_until: NDArray[np.int64]
    place: NDArray[np.int64]
    accesses: NDArray[np.int64]
    waiting: NDArray[np.int64]
    used: NDArray[np.int64]
    last_row: NDArray[np.int64]
    counts: NDArray[np.int64]
    log: NDArray[np.int64]
    log_used: NDArray[np.int64]


def make_channels(
    n: int, cfg: NDArray[np.int64], first: NDArray[np.int64], rows: NDArray[np.int64],
    rings: NDArray[np.int64], log_rows: int = 0,
) -> Channels:  # fmt: skip
    """Fresh state of `n` channels: all banks closed, nothing waiting, clock 0."""
    ranks, groups, per_group = int(cfg[C_RANKS]), int(cfg[C_GROUPS]), int(cfg[C_BANKS])
    banks = ranks * groups * per_group
    sids = max(1, int(cfg[C_SIDS]))
    cfg[C_SIDS] = sids
    nodes = 1 + ranks + ranks * sids + ranks * groups + banks
    first_group = 1 + ranks + ranks * sids
    depth = int(max(cfg[C_READQ], cfg[C_WRITEQ]))
    slots = int(cfg[C_READQ] + cfg[C_WRITEQ]) + banks
    window = int(rings[:, 1].max()) if len(rings) else 1
    b = np.arange(banks, dtype=np.int64)
    scalar = np.zeros((n, X_NUM), np.int64)
    scalar[:, X_CAS_SLOT] = -1
    scalar[:, X_FREE] = slots
    scalar[:, X_NEXT_REF] = cfg[C_REFI] - 1 if cfg[C_REFRESH] else NEVER
    scalar[:, X_LAST] = -1
    return Channels(
        cfg=cfg.astype(np.int64),
        rule_first=first,
        rule_rows=rows,
        ring_spec=rings,
        scalar=scalar,
        ready=np.zeros((n, nodes, N_COMMANDS), np.int64),
        ring=np.full((n, max(1, len(rings)), nodes, window), -NEVER, np.int64),
        ring_at=np.zeros((n, max(1, len(rings)), nodes), np.int64),
        open_row=np.full((n, banks), -1, np.int64),
        owner=np.full((n, banks), -1, np.int64),
        owed=np.full((n, banks), -1, np.int64),
        slots=np.zeros((n, slots, Q_NUM), np.int64),
        free=np.tile(np.arange(slots, dtype=np.int64), (n, 1)),
        order=np.zeros((n, 2, depth), np.int64),
        maint=np.zeros((n, 64 + 2 * banks, 3), np.int64),
        wck_until=np.full((n, ranks), -NEVER, np.int64),
        place=np.stack(
            [
                b // (groups * per_group),
                1 + ranks + b // (groups * per_group // sids),
                first_group + b // per_group,
                first_group + ranks * groups + b,
            ],
            axis=1,
        ),
        accesses=np.zeros((n, banks), np.int64),
        waiting=np.zeros((n, 2), np.int64),
        used=np.zeros((n, banks), np.int64),
        last_row=np.full((n, ranks, 3), -9, np.int64),
        counts=np.zeros((n, N_COMMANDS), np.int64),
        log=np.zeros((log_rows, len(LOG_COLUMNS)), np.int64),
        log_used=np.zeros(1, np.int64),
    )


def earliest(s: Channels, c: int, command: int, rank: int, bank: int) -> int:
    """Earliest clock at which the rules allow `command` (bank -1: a command to a whole rank)."""
    ready, place = s.ready, s.place
    t = max(ready[c, 0, command], ready[c, 1 + rank, command])
    if bank >= 0:
        t = max(t, ready[c, place[bank, 2], command])
        t = max(t, ready[c, place[bank, 3], command])
        if s.cfg[C_SIDS] > 1:
            t = max(t, ready[c, place[bank, 1], command])
    return int(t)


def earliest_same_bank(s: Channels, c: int, rank: int, bank: int) -> int:
    """`earliest` of a refresh of `bank`, of the first bank group, and its likes in the other groups."""
    likes = range(bank, bank + int(s.cfg[C_GROUPS] * s.cfg[C_BANKS]), int(s.cfg[C_BANKS]))
    return max(earliest(s, c, REFSB, rank, like) for like in likes)


def _raise(ready: NDArray[np.int64], c: int, node: int, command: int, clock: int) -> None:
    if ready[c, node, command] < clock:
        ready[c, node, command] = clock


def _nodes(s: Channels, scope: int, rank: int, bank: int) -> tuple[int, int]:
    """Nodes of `scope` that a command to this rank and bank touches, as (first, count)."""
    if scope == 0:
        return 0, 1
    if scope == 1:
        return 1 + rank, 1
    if bank >= 0:
        return s.place[bank, scope - 1], 1
    ranks, groups, per, sids = s.cfg[C_RANKS], s.cfg[C_GROUPS], s.cfg[C_BANKS], s.cfg[C_SIDS]
    if scope == 2:
        return 1 + ranks + rank * sids, sids
    first_group = 1 + ranks + ranks * sids
    if scope == 3:
        return first_group + rank * groups, groups
    return first_group + ranks * groups + rank * groups * per, groups * per


def _apply_rules(s: Channels, c: int, t: int, command: int, rank: int, bank: int) -> None:
    cfg = s.cfg
    ready = s.ready
    for r in range(s.rule_first[command], s.rule_first[command + 1]):
        scope, before, wait = s.rule_rows[r, 0], s.rule_rows[r, 1], s.rule_rows[r, 2]
        ring, sibling = s.rule_rows[r, 3], s.rule_rows[r, 4]
        if ring < 0:
            if sibling:
                if scope == 1:
                    node, first, count = 1 + rank, 1, cfg[C_RANKS]
                else:  # stack levels of the same pseudo channel
                    node, count = s.place[bank, 1], cfg[C_SIDS]
                    first = 1 + cfg[C_RANKS] + rank * count
                for other in range(first, first + count):
                    if other != node:
                        _raise(ready, c, other, before, t + wait)
            else:
                node, count = _nodes(s, scope, rank, bank)
                for k in range(node, node + count):
                    _raise(ready, c, k, before, t + wait)


def issue(s: Channels, c: int, t: int, command: int, rank: int, bank: int, row: int, col: int) -> None:
    """Put one command on the bus at clock `t`: apply its rules, count it, log it. No legality check."""
    cfg = s.cfg
    ready = s.ready
    likes = range(bank, bank + int(cfg[C_GROUPS] * cfg[C_BANKS]), int(cfg[C_BANKS]))
    for each in likes if command == REFSB else [bank]:
        _apply_rules(s, c, t, command, rank, each)
    for ring in range(s.ring_spec.shape[0]):
        if (s.ring_spec[ring, 2] >> command) & 1:
            node, _ = _nodes(s, s.ring_spec[ring, 0], rank, bank)
            window = s.ring_spec[ring, 1]
            at = s.ring_at[c, ring, node]
            s.ring[c, ring, node, at] = t
            at = (at + 1) % window
            s.ring_at[c, ring, node] = at
            oldest = s.ring[c, ring, node, at]
            for r in range(s.rule_first[command], s.rule_first[command + 1]):
                if s.rule_rows[r, 3] == ring:
                    _raise(ready, c, node, s.rule_rows[r, 1], oldest + s.rule_rows[r, 2])
    s.counts[c, command] += 1
    s.scalar[c, X_LAST] = t
    per_rank = cfg[C_GROUPS] * cfg[C_BANKS]
    if cfg[C_BUSES] == HALF_CLOCK and t & 1 == 0 and command not in (RD, WR, RDA, WRA):
        s.last_row[c, rank, 0] = t
        s.last_row[c, rank, 1] = command
        s.last_row[c, rank, 2] = bank
    if command == ACT1:
        s.open_row[c, bank] = row
        s.accesses[c, bank] = 0
        s.used[c, bank] = t
        if cfg[C_SPLIT_ACT]:
            s.owed[c, bank] = t + cfg[C_AAD]
            s.scalar[c, X_OWED] += 1
    elif command == ACT2:
        s.owed[c, bank] = -1
        s.scalar[c, X_OWED] -= 1
    elif command == PRE:
        s.open_row[c, bank] = -1
    elif command == PREA:
        for b in range(rank * per_rank, (rank + 1) * per_rank):
            s.open_row[c, b] = -1
    elif command == ACTAB:
        for b in range(rank * per_rank, (rank + 1) * per_rank):
            s.open_row[c, b] = row
    elif command in (RD, RDA, MACAB, RDRES):
        s.wck_until[c, rank] = max(s.wck_until[c, rank], t + cfg[C_RL] + cfg[C_BL] + cfg[C_WCKPST])
    elif command in (WR, WRA, WRREG):
        s.wck_until[c, rank] = max(s.wck_until[c, rank], t + cfg[C_WL] + cfg[C_BL] + cfg[C_WCKPST])
    elif command in (REFAB, REFPB, REFSB):
        s.scalar[c, X_REFRESHES] += 1
    if command in (RDA, WRA):
        s.open_row[c, bank] = -1
    if cfg[C_LOG]:
        k = s.log_used[0]
        if k < s.log.shape[0]:
            s.log[k, 0] = t
            s.log[k, 1] = command
            s.log[k, 2] = c
            s.log[k, 3] = rank
            s.log[k, 4] = (bank % per_rank) // cfg[C_BANKS] if bank >= 0 and command != REFSB else -1
            s.log[k, 5] = bank % cfg[C_BANKS] if bank >= 0 else -1
            s.log[k, 6] = row
            s.log[k, 7] = col
        s.log_used[0] = k + 1


def _when(s: Channels, c: int, t: int, command: int, rank: int, bank: int) -> int:
    """Earliest clock, not before `t`, at which rules and command bus allow `command`."""
    when = earliest_same_bank(s, c, rank, bank) if command == REFSB else earliest(s, c, command, rank, bank)
    when = max(t, when)
    if s.cfg[C_BUSES] == HALF_CLOCK and when & 1:
        if command not in (PRE, PREA):
            return when + 1
        # In the half clock after a row command of the pseudo channel (three after an activate) only a
        # precharge of another bank may go, and none if that command was for all banks.
        last, was = s.last_row[c, rank, 0], s.last_row[c, rank, 1]
        if last == (when - 3 if was == ACT1 else when - 1) and (
            command == PREA or was in (PREA, REFAB) or s.last_row[c, rank, 2] == bank
        ):
            return when + 1
    return when


def accept(s: Channels, c: int, t: int, write: int, bank: int, row: int, col: int, tag: int) -> int:
    """Offer a request at clock `t`: -2 refused (queue full), -1 accepted, else the clock it is done.

    A read of an address that waits in the write queue is served from there, but reads complete in
    order; a write to an address that already waits is merged with it.
    """
    cfg, x, slots = s.cfg, s.scalar, s.slots
    queue = 0 if cfg[C_UNIFIED] else write
    for k in range(s.waiting[c, 0 if cfg[C_UNIFIED] else 1]):
        held = slots[c, s.order[c, 0 if cfg[C_UNIFIED] else 1, k]]
        if held[Q_WRITE] and (held[Q_BANK], held[Q_ROW], held[Q_COL]) == (bank, row, col):
            return t if write else max(t, x[c, X_LAST_READ])
    at = s.waiting[c, queue]
    if at >= (cfg[C_WRITEQ] if queue else cfg[C_READQ]):
        return -2
    x[c, X_FREE] -= 1
    index = s.free[c, x[c, X_FREE]]
    slots[c, index, Q_ACCEPT] = t
    slots[c, index, Q_WRITE] = write
    slots[c, index, Q_BANK] = bank
    slots[c, index, Q_ROW] = row
    slots[c, index, Q_COL] = col
    slots[c, index, Q_TAG] = tag
    slots[c, index, Q_OPENED] = 0
    s.order[c, queue, at] = index
    s.waiting[c, queue] += 1
    x[c, X_WRITES if write else X_READS] += 1
    return -1


def _leave_queue(s: Channels, c: int, write: int, place: int) -> None:
    queue = 0 if s.cfg[C_UNIFIED] else write
    for k in range(place, s.waiting[c, queue] - 1):
        s.order[c, queue, k] = s.order[c, queue, k + 1]
    s.waiting[c, queue] -= 1
    s.scalar[c, X_WRITES if write else X_READS] -= 1


def _enter_maintenance(s: Channels, c: int, command: int, rank: int, bank: int) -> None:
    x = s.scalar
    room = s.maint.shape[1]
    at = (x[c, X_MAINT_HEAD] + x[c, X_MAINT_LEN]) % room
    s.maint[c, at, 0] = command
    s.maint[c, at, 1] = rank
    s.maint[c, at, 2] = bank
    x[c, X_MAINT_LEN] += 1


def _enter_refresh(s: Channels, c: int) -> None:
    """Move one refresh of every rank into the maintenance queue."""
    cfg, x = s.cfg, s.scalar
    per_rank = cfg[C_GROUPS] * cfg[C_BANKS]
    for rank in range(cfg[C_RANKS]):
        if cfg[C_REFRESH] == ALL_BANK:
            _enter_maintenance(s, c, REFAB, rank, -1)
        elif cfg[C_REFRESH] == PER_BANK:
            _enter_maintenance(s, c, REFPB, rank, rank * per_rank + x[c, X_REF_BANK])
        else:
            _enter_maintenance(s, c, REFSB, rank, rank * per_rank + x[c, X_REF_BANK])
    x[c, X_REF_BANK] = (x[c, X_REF_BANK] + 1) % (per_rank if cfg[C_REFRESH] == PER_BANK else cfg[C_BANKS])


def _is_busy(s: Channels, c: int) -> bool:
    x = s.scalar
    return bool(x[c, X_READS] or x[c, X_WRITES] or x[c, X_ACTIVE] or x[c, X_CAS_SLOT] >= 0)


def _refresh_due(s: Channels, c: int, t: int) -> None:
    """Refreshes whose time has come (clocks k x interval - 1): due, or postponed while requests wait."""
    cfg, x = s.cfg, s.scalar
    while x[c, X_NEXT_REF] <= t:
        if _is_busy(s, c) and x[c, X_POSTPONED] < cfg[C_POSTPONE]:
            x[c, X_POSTPONED] += 1
        else:
            _enter_refresh(s, c)
        x[c, X_NEXT_REF] += cfg[C_REFI]


def _earliest_owed(s: Channels, c: int) -> int:
    """Bank whose ACT2 falls due first, or -1."""
    best, when = -1, NEVER
    if s.scalar[c, X_OWED]:
        for b in range(s.owed.shape[1]):
            if s.owed[c, b] >= 0 and s.owed[c, b] < when:
                best, when = b, s.owed[c, b]
    return best


def _data_command(s: Channels, c: int, index: int) -> int:
    """The data command of a request: with auto precharge if its row has served its cap (-1: at once)."""
    if s.cfg[C_CAP] and s.accesses[c, s.slots[c, index, Q_BANK]] >= s.cfg[C_CAP]:
        return WRA if s.slots[c, index, Q_WRITE] else RDA
    return WR if s.slots[c, index, Q_WRITE] else RD


def _choose_opened(s: Channels, c: int, t: int) -> tuple[int, int]:
    """(slot, next clock): oldest request whose row was opened for it and whose data may go now, or -1."""
    nxt, chosen, oldest = NEVER, -1, NEVER
    for bank in range(s.owner.shape[1]):
        index = s.owner[c, bank]
        if index < 0 or s.owed[c, bank] >= 0:
            continue
        do = _data_command(s, c, index)
        when = _when(s, c, t, do, s.place[bank, 0], bank)
        if when > t:
            nxt = min(nxt, when)
        elif s.slots[c, index, Q_ACCEPT] < oldest:
            oldest, chosen = s.slots[c, index, Q_ACCEPT], index
    return chosen, nxt


def _choose_maintenance(s: Channels, c: int) -> tuple[int, int, int]:
    """(command, rank, bank) that the oldest refresh needs next; command -1 while it must not go."""
    head = s.scalar[c, X_MAINT_HEAD]
    want, rank, bank = s.maint[c, head, 0], s.maint[c, head, 1], s.maint[c, head, 2]
    if want == PRE:
        if s.owner[c, bank] >= 0 or s.owed[c, bank] >= 0:
            return -1, rank, bank
        return PRE, rank, bank
    if want == REFPB:
        if s.owner[c, bank] >= 0 or s.owed[c, bank] >= 0:
            return -1, rank, bank
        return (PRE if s.open_row[c, bank] >= 0 else REFPB), rank, bank
    per_rank = s.cfg[C_GROUPS] * s.cfg[C_BANKS]
    if want == REFSB:
        likes = range(bank, bank + int(per_rank), int(s.cfg[C_BANKS]))
        if any(s.owner[c, b] >= 0 or s.owed[c, b] >= 0 for b in likes):
            return -1, rank, bank
        still_open = [b for b in likes if s.open_row[c, b] >= 0]
        return (PRE, rank, still_open[0]) if still_open else (REFSB, rank, bank)
    do = REFAB
    for b in range(rank * per_rank, (rank + 1) * per_rank):
        if s.owner[c, b] >= 0 or s.owed[c, b] >= 0:
            return -1, rank, -1
        if s.open_row[c, b] >= 0:
            do = PREA
    return do, rank, -1


def _choose_request(s: Channels, c: int, t: int, kind: int) -> tuple[int, int, int]:
    """(place in its queue or -1, command, next clock) of the request to serve now."""
    cfg, x = s.cfg, s.scalar
    if cfg[C_UNIFIED]:
        pass
    elif x[c, X_WRITE_MODE] == 0:
        if x[c, X_WRITES] > cfg[C_HIGH] or x[c, X_READS] == 0:
            x[c, X_WRITE_MODE] = 1
    elif x[c, X_WRITES] < cfg[C_LOW] and x[c, X_READS] > 0:
        x[c, X_WRITE_MODE] = 0
    queue = x[c, X_WRITE_MODE]
    if cfg[C_ORDER] == IN_ORDER and x[c, X_ACTIVE]:
        return -1, -1, NEVER
    places = range(min(1, s.waiting[c, queue]) if cfg[C_ORDER] == IN_ORDER else s.waiting[c, queue])
    hits: dict[int, int] = {}  # place of each bank's oldest request that hits its open row
    misses: dict[int, int] = {}  # and of its oldest other request
    for k in places:
        held = s.slots[c, s.order[c, queue, k]]
        bank = int(held[Q_BANK])
        if s.owed[c, bank] < 0:
            (hits if s.open_row[c, bank] == held[Q_ROW] else misses).setdefault(bank, k)
    candidates = []  # (data commands last if row hits go first, place, command, bank)
    for bank, k in hits.items():
        write = s.slots[c, s.order[c, queue, k], Q_WRITE]
        closing = cfg[C_CAP] and s.accesses[c, bank] >= cfg[C_CAP]
        if closing and s.owner[c, bank] >= 0:
            continue  # it would close the row before the request that opened it is served
        if cfg[C_HIT_CAP] and s.accesses[c, bank] >= cfg[C_HIT_CAP] and misses.get(bank, NEVER) < k:
            continue
        do = (WRA if write else RDA) if closing else (WR if write else RD)
        candidates.append((0, k, do, bank))
    for bank, k in misses.items():
        if s.open_row[c, bank] < 0:
            do = ACT1
            if x[c, X_OWED] > 0:
                continue
        else:
            do = PRE
            if s.owner[c, bank] >= 0:
                continue
            capped = cfg[C_HIT_CAP] and s.accesses[c, bank] >= cfg[C_HIT_CAP]
            if cfg[C_ORDER] in (ROW_HIT_GUARD, ROW_HIT_FIRST) and hits.get(bank, NEVER) < k:
                continue
            if cfg[C_ORDER] == ROW_HIT_FIRST and bank in hits and not capped:
                continue
        candidates.append((1 if cfg[C_ORDER] == ROW_HIT_FIRST else 0, k, do, bank))
    nxt = NEVER
    for _, k, do, bank in sorted(candidates):
        if kind == (COLUMN if do in (ACT1, PRE) else ROW):
            continue
        when = _when(s, c, t, do, s.place[bank, 0], bank)
        if when <= t:
            return k, do, nxt
        nxt = min(nxt, when)
    return -1, -1, nxt


def _act(s: Channels, c: int, t: int, kind: int, out: NDArray[np.int64]) -> int:
    """Issue at most one command of `kind` at clock `t`; returns the next clock worth a try."""
    cfg, x = s.cfg, s.scalar
    urgent = _earliest_owed(s, c)
    index, place, command, rank, bank = -1, -1, -1, 0, -1
    maintenance = False

    if x[c, X_CAS_SLOT] >= 0:
        index = x[c, X_CAS_SLOT]
        x[c, X_CAS_SLOT] = -1
        command = _data_command(s, c, index)
    elif urgent >= 0 and s.owed[c, urgent] <= t:
        command = ACT2
    else:
        nxt = x[c, X_NEXT_REF]
        if kind != ROW and x[c, X_ACTIVE]:
            index, when = _choose_opened(s, c, t)
            nxt = min(nxt, when)
            if index >= 0:
                command = _data_command(s, c, index)
        if kind != COLUMN and command < 0 and x[c, X_MAINT_LEN]:
            do, rank, bank = _choose_maintenance(s, c)
            if do >= 0:
                when = _when(s, c, t, do, rank, bank)
                if when <= t:
                    command, maintenance = do, True
                else:
                    nxt = min(nxt, when)
        if command < 0 and x[c, X_MAINT_LEN] == 0:
            place, command, when = _choose_request(s, c, t, kind)
            nxt = min(nxt, when)
            if place >= 0:
                index = s.order[c, x[c, X_WRITE_MODE], place]
        if command < 0 and urgent >= 0:
            when = earliest(s, c, ACT2, s.place[urgent, 0], urgent)
            if when <= t:
                command = ACT2
            else:
                nxt = min(nxt, when)
        if command < 0:
            return int(nxt)
        if command in (RD, WR, RDA, WRA) and cfg[C_SYNC]:
            bank = s.slots[c, index, Q_BANK]
            if t >= s.wck_until[c, s.place[bank, 0]]:
                if urgent >= 0 and s.owed[c, urgent] <= t + 1:
                    command, index = ACT2, -1
                else:
                    command = CAS_WR if s.slots[c, index, Q_WRITE] else CAS_RD

    row, col = -1, -1
    if command == ACT2:
        bank = urgent
        row = s.open_row[c, bank]
    elif index >= 0:
        bank = s.slots[c, index, Q_BANK]
        if command != PRE:
            row = s.slots[c, index, Q_ROW]
            if command != ACT1:
                col = s.slots[c, index, Q_COL]
    if bank >= 0:
        rank = s.place[bank, 0]
    issue(s, c, t, command, rank, bank, row, col)

    if maintenance:
        if command == s.maint[c, x[c, X_MAINT_HEAD], 0]:
            x[c, X_MAINT_HEAD] = (x[c, X_MAINT_HEAD] + 1) % s.maint.shape[1]
            x[c, X_MAINT_LEN] -= 1
    elif command in (CAS_RD, CAS_WR):
        x[c, X_CAS_SLOT] = index
    elif command == ACT1:
        s.slots[c, index, Q_OPENED] = 1
        s.owner[c, bank] = index
        x[c, X_ACTIVE] += 1
        _leave_queue(s, c, s.slots[c, index, Q_WRITE], place)
    elif command in (RD, WR, RDA, WRA):
        s.accesses[c, bank] += 1
        s.used[c, bank] = t
        write = s.slots[c, index, Q_WRITE]
        if s.slots[c, index, Q_OPENED]:
            s.owner[c, bank] = -1
            x[c, X_ACTIVE] -= 1
        else:
            x[c, X_ROW_HITS] += 1
            if place < 0:  # its CAS went out a clock ago
                place = 0
                while s.order[c, 0 if cfg[C_UNIFIED] else write, place] != index:
                    place += 1
            _leave_queue(s, c, write, place)
        out[0] = s.slots[c, index, Q_TAG]
        out[1] = t
        if not write:
            out[1] = t + cfg[C_RL] + cfg[C_BL]
            x[c, X_LAST_READ] = out[1]
        s.free[c, x[c, X_FREE]] = index
        x[c, X_FREE] += 1
    return t + 1


def _close_capped(s: Channels, c: int, t: int) -> int:
    """Queue a precharge of each bank that has served its cap of accesses and may close; the next such clock.

    A precharge that is queued goes out even if an auto precharge has closed the bank meanwhile.
    """
    nxt = NEVER
    for bank in range(s.open_row.shape[1]):
        if s.open_row[c, bank] >= 0 and s.accesses[c, bank] >= s.cfg[C_CAP]:
            rank = s.place[bank, 0]
            when = earliest(s, c, PRE, rank, bank)
            if when > t:
                nxt = min(nxt, when)
            elif not _is_queued(s, c, PRE, bank):
                _enter_maintenance(s, c, PRE, rank, bank)
    return nxt


def _close_unused(s: Channels, c: int, t: int) -> int:
    """Queue a precharge of each bank that no waiting request hits and none has used for C_TIMEOUT clocks."""
    nxt = NEVER
    for bank in range(s.open_row.shape[1]):
        waiting = [s.slots[c, s.order[c, q, k]] for q in range(2) for k in range(s.waiting[c, q])]
        hit = any(held[Q_BANK] == bank and held[Q_ROW] == s.open_row[c, bank] for held in waiting)
        if s.open_row[c, bank] < 0 or s.owner[c, bank] >= 0 or hit or s.owed[c, bank] >= 0:
            continue
        rank = s.place[bank, 0]
        when = max(s.used[c, bank] + s.cfg[C_TIMEOUT], earliest(s, c, PRE, rank, bank))
        if when > t:
            nxt = min(nxt, int(when))
        elif not _is_queued(s, c, PRE, bank):
            _enter_maintenance(s, c, PRE, rank, bank)
    return nxt


def _is_queued(s: Channels, c: int, command: int, bank: int) -> bool:
    for k in range(s.scalar[c, X_MAINT_LEN]):
        at = (s.scalar[c, X_MAINT_HEAD] + k) % s.maint.shape[1]
        if s.maint[c, at, 0] == command and s.maint[c, at, 2] == bank:
            return True
    return False


def step(s: Channels, c: int, t: int, out: NDArray[np.int64]) -> int:
    """Act for clock `t`: one command a bus at most; returns the next clock worth a step.

    out[0] becomes the tag of a request whose data command went out (else -1), out[1] its completion.
    """
    cfg, x = s.cfg, s.scalar
    out[0] = -1
    if x[c, X_LAST] >= t:  # a request may arrive in a clock whose command is out already
        return int(x[c, X_LAST]) + 1
    if x[c, X_NEXT_REF] <= t:
        _refresh_due(s, c, t)
    if x[c, X_POSTPONED] and x[c, X_MAINT_LEN] == 0 and not _is_busy(s, c):
        _enter_refresh(s, c)
        x[c, X_POSTPONED] -= 1
    nxt = _close_capped(s, c, t) if cfg[C_CAP] > 0 else NEVER
    if cfg[C_TIMEOUT]:
        nxt = min(nxt, _close_unused(s, c, t))
    if cfg[C_BUSES] == ONE_BUS:
        return min(nxt, _act(s, c, t, ANY, out))
    nxt = min(nxt, _act(s, c, t, COLUMN, out))
    tag, done = out[0], out[1]
    nxt = min(nxt, _act(s, c, t, ROW, out))
    out[0], out[1] = tag, done
    return nxt


def replay(
    s: Channels, arrive: NDArray[np.int64], write: NDArray[np.int64], bank: NDArray[np.int64],
    row: NDArray[np.int64], col: NDArray[np.int64], window: int, accepted: NDArray[np.int64],
    done: NDArray[np.int64],
) -> int:  # fmt: skip
    """Drive channel 0 with a request list in order; fills `accepted` and `done`; returns the last clock.

    One request is offered a clock, oldest first, while fewer than `window` are outstanding (0: no limit).
    What falls due until the last completion is issued too, such as a refresh while the last data arrive.
    """
    n = len(arrive)
    out = np.zeros(2, np.int64)
    pending = np.zeros(max(1, window), np.int64)  # completion clocks of outstanding requests
    outstanding = 0
    unfinished = n
    at, t, last = 0, 0, 0
    wake = 0
    while unfinished > 0:
        offered = NEVER
        if at < n:
            if window:
                k = 0
                while k < outstanding:
                    if pending[k] >= 0 and pending[k] < t:
                        pending[k] = pending[outstanding - 1]
                        outstanding -= 1
                    else:
                        k += 1
            if arrive[at] > t:
                offered = arrive[at]
            elif window and outstanding >= window:
                for k in range(outstanding):
                    if pending[k] >= 0:
                        offered = min(offered, pending[k] + 1)
            else:
                status = accept(s, 0, t, write[at], bank[at], row[at], col[at], at)
                if status != -2:
                    accepted[at] = t
                    if status >= 0:
                        done[at] = status
                        last = max(last, status)
                        unfinished -= 1
                        if window:
                            pending[outstanding] = status
                            outstanding += 1
                    elif window:
                        pending[outstanding] = -1 - at
                        outstanding += 1
                    at += 1
                    wake = t
                    offered = t + 1
        if wake <= t:
            wake = step(s, 0, t, out)
            if out[0] >= 0:
                done[out[0]] = out[1]
                last = max(last, out[1])
                unfinished -= 1
                if window:
                    for k in range(outstanding):
                        if pending[k] == -1 - out[0]:
                            pending[k] = out[1]
                            break
        nxt = min(wake, offered)
        if nxt >= NEVER:
            return -1
        t = nxt
    while wake <= last:
        wake = step(s, 0, wake, out)
    return last
