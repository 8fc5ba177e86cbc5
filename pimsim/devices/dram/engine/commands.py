"""Commands on the bus: when the rules allow one, and what it changes."""

from __future__ import annotations

from pimsim.compiled import compiled, inlined, inner
from pimsim.devices.dram.engine.bounds import renew
from pimsim.devices.dram.engine.queues import reclassify
from pimsim.devices.dram.engine.state import (
    BANK_SCOPE,
    C_AAD,
    C_BANKS,
    C_BL,
    C_BUSES,
    C_GROUPS,
    C_LOG,
    C_RANKS,
    C_RL,
    C_SIDS,
    C_SPLIT_ACT,
    C_WCKPST,
    C_WL,
    GROUP_SCOPE,
    HALF_CLOCK,
    N_COMMANDS,
    RANK_SCOPE,
    SID_SCOPE,
    X_LAST,
    X_OWED_BANK,
    X_OWED_BY,
    X_REFRESHES,
    X_ROW_AT,
    Channels,
    index,
)  # fmt: skip
from pimsim.devices.rules import (
    ACT1,
    ACT2,
    ACTAB,
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
)  # fmt: skip


@compiled
def earliest(s: Channels, c: int, command: int, rank: int, bank: int) -> int:
    """Earliest clock at which the rules allow `command` (bank -1: a command to a whole rank)."""
    k = s.column[command]
    t = max(s.ready[c, k], s.ready[c, (1 + rank) * N_COMMANDS + k])
    if bank >= 0:
        for scope in range(SID_SCOPE, BANK_SCOPE + 1):
            t = max(t, s.ready[c, s.at[5 * bank + scope] + k])
    for r in range(s.late_first[command], s.late_first[command + 1]):
        rule = s.late[r]
        if rule.scope <= RANK_SCOPE:
            t = max(t, s.last[c, rule.scope * (1 + rank) * N_COMMANDS + rule.after] + rule.wait)
        elif bank >= 0:
            t = max(t, s.last[c, s.at[5 * bank + rule.scope] + rule.after] + rule.wait)
    return t


@inner
def earliest_same_bank(s: Channels, c: int, rank: int, bank: int) -> int:
    """`earliest` of a refresh of `bank`, of the first bank group, and its likes in the other groups."""
    t = 0
    for group in range(s.cfg[C_GROUPS]):
        t = max(t, earliest(s, c, REFSB, rank, bank + group * s.cfg[C_BANKS]))
    return t


@inlined
def _nodes(s: Channels, scope: int, rank: int, bank: int) -> tuple[int, int]:
    """Nodes of `scope` that a command to this rank and bank touches, as (first, count)."""
    if scope <= RANK_SCOPE:
        return scope * (1 + rank), 1
    if bank >= 0:
        return s.place[bank, scope - 1], 1
    ranks, groups, per, sids = s.cfg[C_RANKS], s.cfg[C_GROUPS], s.cfg[C_BANKS], s.cfg[C_SIDS]
    if scope == SID_SCOPE:
        return 1 + ranks + rank * sids, sids
    first_group = 1 + ranks + ranks * sids
    if scope == GROUP_SCOPE:
        return first_group + rank * groups, groups
    return first_group + ranks * groups + rank * groups * per, groups * per


@inlined
def _delay_siblings(s: Channels, c: int, scope: int, rank: int, bank: int, k: int, clock: int) -> None:
    """Delay column `k` in the other ranks, or in the other stack levels of a pseudo channel."""
    if scope == RANK_SCOPE:
        node, first, count = 1 + rank, 1, s.cfg[C_RANKS]
    else:
        node, count = s.place[bank, 1], s.cfg[C_SIDS]
        first = 1 + s.cfg[C_RANKS] + rank * count
    for other in range(first, first + count):
        if other != node:
            s.ready[c, other * N_COMMANDS + k] = max(s.ready[c, other * N_COMMANDS + k], clock)


@inlined
def _count_in_rings(s: Channels, c: int, t: int, command: int, rank: int, bank: int) -> None:
    """Note a command that windowed rules count, and what it delays."""
    for ring in range(s.ring_spec.shape[0]):
        if (s.ring_spec[ring, 2] >> command) & 1:
            node, _ = _nodes(s, s.ring_spec[ring, 0], rank, bank)
            at = s.ring_at[c, ring, node]
            s.ring[c, ring, node, at] = t
            at += 1
            if at == s.ring_spec[ring, 1]:
                at = 0
            s.ring_at[c, ring, node] = at
            oldest = s.ring[c, ring, node, at]
            for r in range(s.ring_first[command], s.ring_first[command + 1]):
                if s.ring_rows[r].ring == ring:
                    k = node * N_COMMANDS + s.ring_rows[r].column
                    s.ready[c, k] = max(s.ready[c, k], oldest + s.ring_rows[r].wait)


@inner
def _write_log(s: Channels, c: int, t: int, command: int, rank: int, bank: int, row: int, col: int) -> None:
    k = s.log_used[0]
    if k < s.log.shape[0]:
        per_rank = s.cfg[C_GROUPS] * s.cfg[C_BANKS]
        s.log[k, 0] = t
        s.log[k, 1] = command
        s.log[k, 2] = c
        s.log[k, 3] = rank
        s.log[k, 4] = (bank % per_rank) // s.cfg[C_BANKS] if bank >= 0 and command != REFSB else -1
        s.log[k, 5] = bank % s.cfg[C_BANKS] if bank >= 0 else -1
        s.log[k, 6] = row
        s.log[k, 7] = col
    s.log_used[0] = k + 1


@inner
def _issue_to_rank(s: Channels, c: int, t: int, command: int, rank: int, row: int) -> None:
    """What `issue` does of a command to all banks of a rank."""
    for r in range(s.kept_first[command], s.kept_first[command + 1]):
        rule = s.kept[r]
        if rule.sibling:
            _delay_siblings(s, c, rule.scope, rank, -1, rule.column, t + rule.wait)
        else:
            first, count = _nodes(s, rule.scope, rank, -1)
            for node in range(first, first + count):
                k = node * N_COMMANDS + rule.column
                s.ready[c, k] = max(s.ready[c, k], t + rule.wait)
    for scope in range(BANK_SCOPE + 1):
        if (s.marks[command] >> scope) & 1:
            first, count = _nodes(s, scope, rank, -1)
            for node in range(first, first + count):
                s.last[c, node * N_COMMANDS + command] = t
    if command in (PREA, ACTAB):
        per_rank = s.cfg[C_GROUPS] * s.cfg[C_BANKS]
        for b in range(rank * per_rank, (rank + 1) * per_rank):
            if command == ACTAB or s.open_row[c, b] >= 0:
                s.open_row[c, b] = row if command == ACTAB else -1
                reclassify(s, c, b)
                renew(s, c, b)


@inlined
def _issue_to_bank(s: Channels, c: int, t: int, command: int, rank: int, bank: int) -> None:
    """Apply the rules of a command to one bank."""
    bank = index(bank)
    for r in range(index(s.kept_first[command]), index(s.kept_first[command + 1])):
        rule = s.kept[r]
        if rule.sibling:
            _delay_siblings(s, c, rule.scope, rank, bank, rule.column, t + rule.wait)
        else:
            k = index(s.at[5 * bank + index(rule.scope)]) + index(rule.column)
            s.ready[c, k] = max(s.ready[c, k], t + rule.wait)
    marks = s.marks[command]
    scope = 0
    while marks:
        if marks & 1:
            s.last[c, index(s.at[5 * bank + scope]) + command] = t
        marks >>= 1
        scope += 1


@inner
def _issue_to_same_banks(s: Channels, c: int, t: int, command: int, rank: int, bank: int) -> None:
    """Apply the rules of a command to the bank and its likes in the other bank groups."""
    for group in range(s.cfg[C_GROUPS]):
        _issue_to_bank(s, c, t, command, rank, bank + group * s.cfg[C_BANKS])


@inlined
def _keep_data_clock(s: Channels, c: int, t: int, rank: int, latency: int) -> None:
    until = t + latency + s.cfg[C_BL] + s.cfg[C_WCKPST]
    s.wck_until[c, index(rank)] = max(s.wck_until[c, index(rank)], until)


@inlined
def issue_read(s: Channels, c: int, t: int, rank: int, bank: int, row: int, col: int) -> None:
    """`issue` of an RD; the bounds of its bank are left to the caller."""
    _issue_to_bank(s, c, t, RD, rank, bank)
    s.counts[c, RD] += 1
    s.scalar[c, X_LAST] = t
    _keep_data_clock(s, c, t, rank, s.cfg[C_RL])
    if s.cfg[C_LOG]:
        _write_log(s, c, t, RD, rank, bank, row, col)


@inlined
def issue(s: Channels, c: int, t: int, command: int, rank: int, bank: int, row: int, col: int) -> None:
    """Put one command on the bus at clock `t`: apply its rules, count it, log it. No legality check."""
    cfg, command = s.cfg, index(command)
    if bank < 0:
        _issue_to_rank(s, c, t, command, rank, row)
    elif command == REFSB:
        _issue_to_same_banks(s, c, t, command, rank, bank)
    else:
        _issue_to_bank(s, c, t, command, rank, bank)
    if s.ring_first[command] < s.ring_first[command + 1]:
        _count_in_rings(s, c, t, command, rank, bank)
    s.counts[c, command] += 1
    s.scalar[c, X_LAST] = t
    if cfg[C_BUSES] == HALF_CLOCK and t & 1 == 0 and command not in (RD, WR, RDA, WRA):
        s.last_row[c, rank, 0] = t
        s.last_row[c, rank, 1] = command
        s.last_row[c, rank, 2] = bank
    if command in (RD, RDA, MACAB, RDRES):
        _keep_data_clock(s, c, t, rank, cfg[C_RL])
    elif command in (WR, WRA, WRREG):
        _keep_data_clock(s, c, t, rank, cfg[C_WL])
    elif command == ACT1:
        s.open_row[c, index(bank)] = row
        s.banks[c, index(bank)].accesses = 0
        s.banks[c, index(bank)].used = t
        if cfg[C_SPLIT_ACT]:
            s.scalar[c, X_OWED_BANK] = bank
            s.scalar[c, X_OWED_BY] = t + cfg[C_AAD]
    elif command == ACT2:
        s.scalar[c, X_OWED_BANK] = -1
        s.scalar[c, X_ROW_AT] = t  # other banks may be activated again
    elif command in (REFAB, REFPB, REFSB):
        s.scalar[c, X_REFRESHES] += 1
    if command in (PRE, RDA, WRA):
        s.open_row[c, index(bank)] = -1
    if command in (ACT1, PRE, RDA, WRA):
        reclassify(s, c, index(bank))
    if command in (ACT1, ACT2, PRE, RD, WR, RDA, WRA):
        renew(s, c, index(bank))
    if cfg[C_LOG]:
        _write_log(s, c, t, command, rank, bank, row, col)


@compiled
def put(s: Channels, c: int, t: int, command: int, rank: int, bank: int, row: int, col: int) -> None:
    """`issue`, for callers in Python."""
    issue(s, c, t, command, rank, bank, row, col)
