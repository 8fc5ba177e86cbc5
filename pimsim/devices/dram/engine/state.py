"""State of DRAM channels as plain arrays, for the compiled scheduler.

`channel.py` builds it from a part and a controller and names things; the columns below are the meaning of
every number in it.
"""

from __future__ import annotations

from functools import lru_cache
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from pimsim.compiled import compiled as compiled
from pimsim.compiled import inlined as inlined
from pimsim.devices.rules import (
    ACT1,
    ACT2,
    CAS_RD,
    CAS_WR,
    COMMANDS,
    MACAB,
    PRE,
    RD,
    RDA,
    WR,
    WRA,
)
from pimsim.errors import SpecError

N_COMMANDS = len(COMMANDS)
NEVER = 1 << 62
MAX_BANKS = 1024
"""Banks of all ranks of a channel."""

# Columns of `Channels.cfg`, one row for all channels.
(C_RANKS, C_GROUPS, C_BANKS, C_READQ, C_WRITEQ, C_HIGH, C_LOW, C_SPLIT_ACT, C_AAD, C_SYNC, C_RL, C_WL,
 C_BL, C_WCKPST, C_REFRESH, C_REFI, C_ORDER, C_LOG, C_SIDS, C_BUSES, C_CAP, C_HIT_CAP, C_TIMEOUT, C_UNIFIED,
 C_POSTPONE, C_NUM) = range(26)  # fmt: skip
NO_REFRESH, ALL_BANK, PER_BANK, SAME_BANK = range(4)
READY_FIRST, ROW_HIT_GUARD, ROW_HIT_FIRST, IN_ORDER = range(4)
"""Who goes first (C_ORDER): see `channel.Controller.scheduler`."""
EVERY_ACCESS = -1
"""C_CAP of closed rows: every access precharges. 0: rows stay open; else accesses after which one closes."""
ONE_BUS, ROW_AND_COLUMN, HALF_CLOCK = range(3)
"""Command buses: one for all commands; one each for row and column commands (HBM2); the same with a
clock of the engine being half a clock of the device, on whose odd halves only precharges may go (HBM3)."""

ANY, COLUMN, ROW = range(3)
"""Which commands may be chosen."""

# Columns of `Channels.scalar`, one row a channel.
(X_WRITE_MODE, X_CAS_SLOT, X_LAST_READ, X_NEXT_REF, X_REF_BANK, X_MAINT_HEAD, X_MAINT_LEN, X_READS, X_WRITES,
 X_FREE, X_OWED_BANK, X_OWED_BY, X_OPENED, X_ROW_HITS, X_CONFLICTS, X_REFRESHES, X_LAST, X_READ_HITS,
 X_WRITE_HITS, X_AGE, X_POSTPONED, X_LEFT, X_LOOK, X_COLUMN_AT, X_ROW_AT, X_MAINT_AT, X_ALONE,
 X_NUM) = range(28)  # fmt: skip
"""X_LEFT: clock at which a request last left a queue. X_LOOK: 1 if what was accepted since the last step may
change what goes next. X_COLUMN_AT, X_ROW_AT, X_MAINT_AT: clocks before which no data command, no activate or
precharge for a request, and nothing of the maintenance queue can go (see `bounds.py`). X_ALONE: bank of the
only request that waits, -1 if others do or did since it came."""

FROM_NOWHERE, FROM_OPENED, FROM_MAINTENANCE, FROM_QUEUE, FROM_OWED = range(5)
"""Where a planned command comes from."""


def _record(*fields: str) -> np.dtype[np.void]:
    return np.dtype([(field, np.int64) for field in fields])


CHOICE = _record("source", "slot", "command", "rank", "bank", "age")
"""What goes now on a bus."""

SLOT = _record(
    "accept",
    "write",
    "queue",
    "bank",
    "row",
    "col",
    "tag",
    "opened",
    "seen",
    "age",
    "next",
    "before",
)
"""A request. write: 1 if it writes; queue: where it waits, 0 or 1 (all in 0 if there is one queue). opened:
its activate went out; seen: a command of it went out. next, before: the requests of its bank and queue in
order of acceptance."""

BANK = _record("rank", "owner", "accesses", "used", "opened_bound", "hit_bound")
"""owner: slot whose activate opened the bank and whose data command is pending, or -1. accesses: data
commands since then; used: clock of the last one, or of the activate. Bounds: clocks before which the request
that opened the bank and its oldest hit cannot go; no more than bounds, so that most banks need no look."""

LIST = _record("hit", "miss", "head", "tail")
"""Requests of a bank in one queue: the oldest that hits the open row and the oldest that does not, and the
ends of the list; -1 for none."""

RULE = _record("scope", "column", "wait", "sibling")
LATE = _record("scope", "after", "wait")
RING = _record("ring", "column", "wait")

CHANNEL_SCOPE, RANK_SCOPE, SID_SCOPE, GROUP_SCOPE, BANK_SCOPE = range(5)
"""Scopes of rules, as in `pimsim.devices.rules.SCOPES`."""

LOG_COLUMNS = ("clock", "command", "channel", "rank", "bankgroup", "bank", "row", "column")

# The earliest clocks of these commands are asked for in every clock, so they are kept up to date; those of
# the others are worked out when they are needed.
_KEPT = frozenset((ACT1, ACT2, PRE, RD, WR, RDA, WRA, MACAB, CAS_RD, CAS_WR))


@inlined
def index(i: int) -> int:
    """A number known to be no less than 0, so that no code for counting from the end is made."""
    return i & 0xFFFFFFFF


class Channels(NamedTuple):
    """State of several equal channels; every array from `scalar` on has the channel as its first axis.

    Nodes are the channel, its ranks, stack levels (sid), bank groups and banks.
    place[bank]: rank, node of the stack level, node of the bank group, node of the bank.
    at[5 * bank + scope]: where the bank's node of a scope begins in a row of `ready`, of N_COMMANDS columns
      a node, so that no clock pays a division.
    column[command]: column of its earliest clocks; commands that wait alike share one.
    kept_first, kept: rules of commands whose earliest clocks are kept up to date.
    late_first, late: rules of the others, by the command that waits.
    marks[command]: scopes in which late rules ask for its last clock, as a bit set.
    bus[command]: clocks of the command bus that it takes: how long after it any precharge must wait.
    ring_spec: windowed rules (tFAW): scope, window, commands that count, as a bit set.
    ring_first, ring_rows: what a command that counts delays.
    ready: earliest clock by node and column. last: last clock by node and command.
    ring, ring_at: clocks of the last commands of windowed rules, and where the next one goes.
    slots, free: requests, and the slots that hold none.
    lists[c, 2 * bank + queue]: requests of a bank; queue 0 are the reads (or all), 1 the writes.
    opened[c], hit_bank[c, queue]: banks whose row is open for a request that has left its queue (X_OPENED of
      them), and banks with a hit in a queue (X_READ_HITS, X_WRITE_HITS), in no order.
    row_turn[c, queue, bank]: age of the bank's oldest miss x MAX_BANKS + bank, NEVER for none: the least goes
      first. row_bound[c, bank]: a clock before which it cannot go.
    maint: queue of (command, rank, bank) refreshes.
    last_row[c, rank]: clock, command and bank of the last row command on an even half clock.
    """

    cfg: NDArray[np.int64]
    place: NDArray[np.int64]
    at: NDArray[np.int64]
    column: NDArray[np.int64]
    kept_first: NDArray[np.int64]
    kept: NDArray[np.void]
    late_first: NDArray[np.int64]
    late: NDArray[np.void]
    marks: NDArray[np.int64]
    bus: NDArray[np.int64]
    ring_spec: NDArray[np.int64]
    ring_first: NDArray[np.int64]
    ring_rows: NDArray[np.void]
    scalar: NDArray[np.int64]
    choice: NDArray[np.void]
    ready: NDArray[np.int64]
    last: NDArray[np.int64]
    ring: NDArray[np.int64]
    ring_at: NDArray[np.int64]
    open_row: NDArray[np.int64]
    banks: NDArray[np.void]
    slots: NDArray[np.void]
    free: NDArray[np.int64]
    lists: NDArray[np.void]
    opened: NDArray[np.int64]
    hit_bank: NDArray[np.int64]
    row_turn: NDArray[np.int64]
    row_bound: NDArray[np.int64]
    maint: NDArray[np.int64]
    wck_until: NDArray[np.int64]
    last_row: NDArray[np.int64]
    counts: NDArray[np.int64]
    log: NDArray[np.int64]
    log_used: NDArray[np.int64]


def make_channels(
    n: int, cfg: NDArray[np.int64], first: NDArray[np.int64], rows: NDArray[np.int64],
    rings: NDArray[np.int64], log_rows: int = 0,
) -> Channels:  # fmt: skip
    """Fresh state of `n` channels: all banks closed, nothing waiting, clock 0.

    first, rows, rings: rules as `compile_rules` arranges them.
    """
    ranks, groups, per_group = int(cfg[C_RANKS]), int(cfg[C_GROUPS]), int(cfg[C_BANKS])
    banks = ranks * groups * per_group
    if banks > MAX_BANKS:
        raise SpecError(
            f"a channel of {ranks} ranks x {groups} bank groups x {per_group} banks has {banks} banks; "
            f"at most {MAX_BANKS} are modelled"
        )
    sids = max(1, int(cfg[C_SIDS]))
    cfg[C_SIDS] = sids
    nodes = 1 + ranks + ranks * sids + ranks * groups + banks
    first_group = 1 + ranks + ranks * sids
    slots = int(cfg[C_READQ] + cfg[C_WRITEQ]) + banks
    window = int(rings[:, 1].max()) if len(rings) else 1
    b = np.arange(banks, dtype=np.int64)
    scalar = np.zeros((n, X_NUM), np.int64)
    scalar[:, [X_CAS_SLOT, X_LAST, X_LEFT, X_OWED_BANK, X_ALONE]] = -1
    scalar[:, X_FREE] = slots
    scalar[:, X_NEXT_REF] = cfg[C_REFI] - 1 if cfg[C_REFRESH] else NEVER
    rings = rings.copy()
    rings[:, 0] = [_scope(scope, ranks, sids) for scope in rings[:, 0].tolist()]
    column, kept_first, kept, late_first, late, marks, ring_first, ring_rows = _arrange(
        first.tobytes(), rows.tobytes(), ranks, sids
    )
    rank = b // (groups * per_group)
    place = [
        rank,
        1 + ranks + b // (groups * per_group // sids),
        first_group + b // per_group,
        first_group + ranks * groups + b,
    ]
    states = np.zeros((n, banks), BANK)
    states["rank"], states["owner"] = rank, -1
    lists = np.zeros((n, 2 * banks), LIST)
    for field in lists.dtype.names or ():
        lists[field] = -1
    return Channels(
        cfg=cfg.astype(np.int64),
        place=np.stack(place, axis=1),
        at=np.stack([0 * b, 1 + rank, *place[1:]], axis=1).ravel() * N_COMMANDS,
        column=column,
        kept_first=kept_first,
        kept=kept,
        late_first=late_first,
        late=late,
        marks=marks,
        bus=_bus_clocks(first, rows),
        ring_spec=rings,
        ring_first=ring_first,
        ring_rows=ring_rows,
        scalar=scalar,
        choice=np.zeros(n, CHOICE),
        ready=np.zeros((n, nodes * N_COMMANDS), np.int64),
        last=np.full((n, nodes * N_COMMANDS), -NEVER, np.int64),
        ring=np.full((n, max(1, len(rings)), nodes, window), -NEVER, np.int64),
        ring_at=np.zeros((n, max(1, len(rings)), nodes), np.int64),
        open_row=np.full((n, banks), -1, np.int64),
        banks=states,
        slots=np.zeros((n, slots), SLOT),
        free=np.tile(np.arange(slots, dtype=np.int64), (n, 1)),
        lists=lists,
        opened=np.zeros((n, banks), np.int64),
        hit_bank=np.zeros((n, 2, banks), np.int64),
        row_turn=np.full((n, 2, banks), NEVER, np.int64),
        row_bound=np.full((n, banks), NEVER, np.int64),
        maint=np.zeros((n, 64 + 2 * banks, 3), np.int64),
        wck_until=np.full((n, ranks), -NEVER, np.int64),
        last_row=np.full((n, ranks, 3), -9, np.int64),
        counts=np.zeros((n, N_COMMANDS), np.int64),
        log=np.zeros((log_rows, len(LOG_COLUMNS)), np.int64),
        log_used=np.zeros(1, np.int64),
    )


def _bus_clocks(first: NDArray[np.int64], rows: NDArray[np.int64]) -> NDArray[np.int64]:
    clocks = np.ones(N_COMMANDS, np.int64)
    for command in range(N_COMMANDS):
        for scope, before, wait, ring, _ in rows[first[command] : first[command + 1]].tolist():
            if scope == CHANNEL_SCOPE and before == PRE and ring < 0:
                clocks[command] = max(1, wait)
    return clocks


def _scope(scope: int, ranks: int, sids: int) -> int:
    """The widest scope that is the same: a single rank is the channel, a single stack level its rank."""
    if scope == SID_SCOPE and sids == 1:
        scope = RANK_SCOPE
    return CHANNEL_SCOPE if scope == RANK_SCOPE and ranks == 1 else scope


@lru_cache(maxsize=64)
def _arrange(first_bytes: bytes, rows_bytes: bytes, ranks: int, sids: int) -> tuple[NDArray[Any], ...]:
    """Rules as the scheduler walks them: see `Channels`. Rules that another one implies are left out."""
    first = np.frombuffer(first_bytes, np.int64)
    rows = np.frombuffer(rows_bytes, np.int64).reshape(-1, 5)
    plain: dict[tuple[int, int], dict[tuple[int, int], int]] = {}  # (after, before): {(scope, sibling): wait}
    windowed: list[tuple[int, int, int, int]] = []  # after, ring, before, wait
    for after in range(N_COMMANDS):
        for scope, before, wait, ring, sibling in rows[first[after] : first[after + 1]].tolist():
            if ring >= 0:
                windowed.append((after, ring, before, wait))
            elif not (sibling and (ranks if scope == RANK_SCOPE else sids) == 1):
                key = scope if sibling else _scope(scope, ranks, sids), sibling
                held = plain.setdefault((after, before), {})
                held[key] = max(wait, held.get(key, 0))
    for held in plain.values():
        for scope, sibling in sorted(held, reverse=True):
            if not sibling and any(held.get((wider, 0), -1) >= held[scope, 0] for wider in range(scope)):
                del held[scope, 0]

    def waits(before: int) -> tuple[object, ...]:
        """All that a command waits for."""
        return (
            sorted((after, sorted(held.items())) for (after, b), held in plain.items() if b == before),
            sorted((after, ring, wait) for after, ring, b, wait in windowed if b == before),
        )

    alike = {before: waits(before) for before in range(N_COMMANDS)}
    column = [min(b for b in range(N_COMMANDS) if alike[b] == alike[before]) for before in range(N_COMMANDS)]
    kept: list[list[tuple[int, ...]]] = [[] for _ in range(N_COMMANDS)]
    late: list[list[tuple[int, ...]]] = [[] for _ in range(N_COMMANDS)]
    marks = [0] * N_COMMANDS
    for (after, before), held in sorted(plain.items()):
        for (scope, sibling), wait in sorted(held.items()):
            if before in _KEPT or sibling or after not in _KEPT:
                kept[after].append((scope, column[before], wait, sibling))
            else:
                late[before].append((scope, after, wait))
                marks[after] |= 1 << scope
    ringed: list[list[tuple[int, ...]]] = [[] for _ in range(N_COMMANDS)]
    for after, ring, before, wait in windowed:
        ringed[after].append((ring, column[before], wait))

    def flat(
        lists: list[list[tuple[int, ...]]], kind: np.dtype[np.void]
    ) -> tuple[NDArray[np.int64], NDArray[np.void]]:
        unique = [list(dict.fromkeys(held)) for held in lists]
        starts = np.cumsum([0, *map(len, unique)], dtype=np.int64)
        return starts, np.array([row for held in unique for row in held], kind)

    return (
        np.array(column, np.int64), *flat(kept, RULE), *flat(late, LATE), np.array(marks, np.int64),
        *flat(ringed, RING),
    )  # fmt: skip
