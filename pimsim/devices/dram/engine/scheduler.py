"""The command scheduler: one decision a clock and bus, idle clocks skipped.

What one channel does in a clock, in this order:

1. a data command whose CAS (data-clock start) went out in the clock before;
2. the second half of an activate (ACT2) whose deadline has come;
3. the first of: a data command whose row was opened for it; the head of the maintenance queue
   (refreshes and the precharges they need); a request of the write queue in write mode, else of the
   read queue (or of the only queue). Commands that may go now beat those that may not, then, if row hits
   go first, data commands beat others, then the older request wins. In order, only the oldest request
   counts, and none while a row is open for an older one;
4. an owed ACT2.

A clock in which nothing can go is never visited: the plan says what goes next and when, and it holds until a
command goes out, a refresh falls due or a request arrives that can go sooner.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from pimsim.compiled import compiled, inlined
from pimsim.devices.dram.engine.commands import earliest, earliest_same_bank, issue, kept_earliest
from pimsim.devices.dram.engine.queues import NOTHING, forget_bounds, leave, take_out
from pimsim.devices.dram.engine.state import (
    ALL_BANK,
    ANY,
    C_BANKS,
    C_BL,
    C_BUSES,
    C_CAP,
    C_GROUPS,
    C_HIGH,
    C_HIT_CAP,
    C_LOW,
    C_ORDER,
    C_POSTPONE,
    C_RANKS,
    C_REFI,
    C_REFRESH,
    C_RL,
    C_SYNC,
    C_TIMEOUT,
    C_UNIFIED,
    COLUMN,
    FROM_MAINTENANCE,
    FROM_NOWHERE,
    FROM_OPENED,
    FROM_OWED,
    FROM_QUEUE,
    HALF_CLOCK,
    IN_ORDER,
    NEVER,
    ONE_BUS,
    PER_BANK,
    RANK_SCOPE,
    READY_FIRST,
    ROW,
    ROW_HIT_FIRST,
    X_CAS_SLOT,
    X_CONFLICTS,
    X_COUNTED,
    X_FREE,
    X_LAST,
    X_LAST_READ,
    X_MAINT_HEAD,
    X_MAINT_LEN,
    X_NEW,
    X_NEXT_REF,
    X_OPENED,
    X_OWED_BANK,
    X_OWED_BY,
    X_POSTPONED,
    X_READ_HITS,
    X_READ_MISSES,
    X_READS,
    X_REF_BANK,
    X_ROW_HITS,
    X_WRITE_MODE,
    X_WRITES,
    Channels,
    index,
)  # fmt: skip
from pimsim.devices.rules import ACT1, ACT2, CAS_RD, CAS_WR, PRE, PREA, RD, RDA, REFAB, REFPB, REFSB, WR, WRA

ROW_COMMANDS_LATER = 1 << 40
"""Added to the age of a row command where row hits go first."""


@inlined
def _half_clock(s: Channels, c: int, when: int, command: int, rank: int, bank: int) -> int:
    """The clock not before `when` at which the buses of a half-clock device take the command."""
    if when & 1:
        if command != PRE and command != PREA:
            return when + 1
        # In the half clock after a row command of the pseudo channel (three after an activate) only a
        # precharge of another bank may go, and none if that command was for all banks.
        last, was = s.last_row[c, rank, 0], s.last_row[c, rank, 1]
        if last == (when - 3 if was == ACT1 else when - 1) and (
            command == PREA or was in (PREA, REFAB) or s.last_row[c, rank, 2] == bank
        ):
            return when + 1
    return when


@inlined
def _on_bus(s: Channels, c: int, when: int, command: int, rank: int, bank: int) -> int:
    """The clock not before `when` at which the command buses take the command."""
    if s.cfg[C_BUSES] == HALF_CLOCK:
        return _half_clock(s, c, when, command, rank, bank)
    return when


@compiled
def _enter_maintenance(s: Channels, c: int, command: int, rank: int, bank: int) -> None:
    x = s.scalar
    at = (x[c, X_MAINT_HEAD] + x[c, X_MAINT_LEN]) % s.maint.shape[1]
    s.maint[c, at, 0] = command
    s.maint[c, at, 1] = rank
    s.maint[c, at, 2] = bank
    x[c, X_MAINT_LEN] += 1
    _forget(s, c)


@inlined
def _forget(s: Channels, c: int) -> None:
    s.plan[c, 0].valid = 0
    s.plan[c, 1].valid = 0


@compiled
def _enter_refresh(s: Channels, c: int) -> None:
    """Move one refresh of every rank into the maintenance queue."""
    cfg, x = s.cfg, s.scalar
    per_rank = cfg[C_GROUPS] * cfg[C_BANKS]
    for rank in range(cfg[C_RANKS]):
        if cfg[C_REFRESH] == ALL_BANK:
            _enter_maintenance(s, c, REFAB, rank, -1)
        else:
            command = REFPB if cfg[C_REFRESH] == PER_BANK else REFSB
            _enter_maintenance(s, c, command, rank, rank * per_rank + x[c, X_REF_BANK])
    turn = per_rank if cfg[C_REFRESH] == PER_BANK else cfg[C_BANKS]
    x[c, X_REF_BANK] = (x[c, X_REF_BANK] + 1) % turn


@inlined
def _is_busy(s: Channels, c: int) -> bool:
    x = s.scalar
    return x[c, X_READS] > 0 or x[c, X_WRITES] > 0 or x[c, X_OPENED] != 0 or x[c, X_CAS_SLOT] >= 0


@compiled
def _refresh_due(s: Channels, c: int, t: int) -> None:
    """Move refreshes whose time has come (clocks k x interval - 1) into the maintenance queue.

    While requests wait up to C_POSTPONE of them are only counted.
    """
    x = s.scalar
    while x[c, X_NEXT_REF] <= t:
        if x[c, X_POSTPONED] < s.cfg[C_POSTPONE] and _is_busy(s, c):
            x[c, X_POSTPONED] += 1
        else:
            _enter_refresh(s, c)
        x[c, X_NEXT_REF] += s.cfg[C_REFI]


@compiled
def _choose_maintenance(s: Channels, c: int) -> tuple[int, int, int]:
    """(command, rank, bank) that the oldest refresh needs next; command -1 while it must not go."""
    head = s.scalar[c, X_MAINT_HEAD]
    want, rank, bank = s.maint[c, head, 0], s.maint[c, head, 1], s.maint[c, head, 2]
    owed = s.scalar[c, X_OWED_BANK]
    if want == REFAB:
        per_rank = s.cfg[C_GROUPS] * s.cfg[C_BANKS]
        do = REFAB
        for b in range(rank * per_rank, (rank + 1) * per_rank):
            if s.banks[c, b].owner >= 0 or owed == b:
                return -1, rank, -1
            if s.open_row[c, b] >= 0:
                do = PREA
        return do, rank, -1
    if want == REFSB:
        for b in range(bank, bank + s.cfg[C_GROUPS] * s.cfg[C_BANKS], s.cfg[C_BANKS]):
            if s.banks[c, b].owner >= 0 or owed == b:
                return -1, rank, b
        for b in range(bank, bank + s.cfg[C_GROUPS] * s.cfg[C_BANKS], s.cfg[C_BANKS]):
            if s.open_row[c, b] >= 0:
                return PRE, rank, b
        return REFSB, rank, bank
    if s.banks[c, bank].owner >= 0 or owed == bank:
        return -1, rank, bank
    if want == REFPB and s.open_row[c, bank] < 0:
        return REFPB, rank, bank
    return PRE, rank, bank


@compiled
def _forget_all_bounds(s: Channels, c: int) -> None:
    """The bounds are those of the other queue's requests."""
    for bank in range(s.banks.shape[1]):
        forget_bounds(s, c, bank)


@inlined
def _set_mode(s: Channels, c: int) -> bool:
    """Begin or end write mode; whether it changed."""
    cfg, x = s.cfg, s.scalar
    if x[c, X_COUNTED] == 0:
        return False
    x[c, X_COUNTED] = 0
    if cfg[C_UNIFIED]:
        return False
    if x[c, X_WRITE_MODE] == 0:
        if x[c, X_WRITES] <= cfg[C_HIGH] and x[c, X_READS] > 0:
            return False
    elif x[c, X_WRITES] >= cfg[C_LOW] or x[c, X_READS] == 0:
        return False
    x[c, X_WRITE_MODE] = 1 - x[c, X_WRITE_MODE]
    _forget_all_bounds(s, c)
    return True


@inlined
def _data_command(s: Channels, c: int, slot: int, bank: int) -> int:
    """The data command of a request: with auto precharge if its row has served its cap (-1: at once)."""
    if s.cfg[C_CAP] and s.banks[c, bank].accesses >= s.cfg[C_CAP]:
        return WRA if s.slots[c, slot].write else RDA
    return WR if s.slots[c, slot].write else RD


@inlined
def _hit_command(s: Channels, c: int, slot: int, bank: int) -> int:
    """What the oldest hit of a bank needs next; -1 if that must wait for another command to the bank."""
    if s.scalar[c, X_OWED_BANK] == bank:
        return -1
    do = _data_command(s, c, slot, bank)
    if (do in (RDA, WRA)) and s.banks[c, bank].owner >= 0:
        return -1  # it would close the row before the request that opened it is served
    if s.cfg[C_HIT_CAP] and s.banks[c, bank].accesses >= s.cfg[C_HIT_CAP]:
        older = s.lists[c, 2 * bank + index(s.slots[c, slot].queue)].miss
        if older >= 0 and s.slots[c, older].age < s.slots[c, slot].age:
            return -1
    return do


@inlined
def _miss_command(s: Channels, c: int, slot: int, bank: int) -> int:
    """What the oldest miss of a bank needs next; -1 if that must wait for another command to the bank."""
    if s.open_row[c, bank] < 0:
        return ACT1
    if s.banks[c, bank].owner >= 0:
        return -1
    if s.cfg[C_ORDER] != READY_FIRST and s.cfg[C_ORDER] != IN_ORDER:
        hit = s.lists[c, 2 * bank + index(s.slots[c, slot].queue)].hit
        if hit >= 0:
            if s.slots[c, hit].age < s.slots[c, slot].age:
                return -1
            capped = s.cfg[C_HIT_CAP] and s.banks[c, bank].accesses >= s.cfg[C_HIT_CAP]
            if s.cfg[C_ORDER] == ROW_HIT_FIRST and not capped:
                return -1
    return PRE


@inlined
def _row_age(s: Channels, age: int) -> int:
    """The age by which an activate or a precharge competes with data commands."""
    return age + ROW_COMMANDS_LATER if s.cfg[C_ORDER] == ROW_HIT_FIRST else age


@inlined
def _floor(s: Channels, c: int, command: int, bank: int) -> int:
    """A clock before which no bank of the rank can take the command: saves most looks at single banks."""
    k = index(s.column[command])
    return max(s.ready[c, k], s.ready[c, index(s.at[5 * index(bank) + RANK_SCOPE]) + k])


@inlined
def _propose(p: Any, when: int, age: int, source: int, slot: int, command: int, rank: int, bank: int) -> None:
    """Take a command into the plan if it goes sooner, or as soon and is older."""
    if when < p.when or (when == p.when and age < p.age):
        p.when = when
        p.age = age
        p.source = source
        p.slot = slot
        p.command = command
        p.rank = rank
        p.bank = bank


@inlined
def _plan_opened(s: Channels, c: int, t: int, p: Any) -> None:
    """Plan the data command of a request for which a row was opened."""
    owed = s.scalar[c, X_OWED_BANK]
    oldest = NEVER
    for k in range(index(s.scalar[c, X_OPENED])):
        bank = index(s.opened[c, k])
        b = s.banks[c, bank]
        if bank == owed or b.opened_bound > p.when:
            continue
        slot = index(b.owner)
        do = _data_command(s, c, slot, bank)
        accepted = s.slots[c, slot].accept
        floor = max(t, _floor(s, c, do, bank))
        if floor > p.when or (floor == p.when and accepted > oldest):
            continue
        b.opened_bound = kept_earliest(s, c, do, bank)
        when = _on_bus(s, c, max(t, b.opened_bound), do, b.rank, bank)
        # Of those that several requesters put in at one clock, that of the lowest bank.
        older = accepted < oldest or (accepted == oldest and bank < p.bank)
        if when < p.when or (when == p.when and older):
            oldest = accepted
            p.when = when
            p.age = -2
            p.source = FROM_OPENED
            p.slot = slot
            p.command = do
            p.rank = b.rank
            p.bank = bank


@inlined
def _plan_hits(s: Channels, c: int, t: int, p: Any) -> None:
    """Plan the data commands of the banks' oldest hits."""
    write = index(s.scalar[c, X_WRITE_MODE])
    for k in range(index(s.scalar[c, X_READ_HITS + write])):
        bank = index(s.hit_bank[c, write, k])
        b = s.banks[c, bank]
        if b.hit_bound > p.when:
            continue
        slot = index(s.lists[c, 2 * bank + write].hit)
        do = _hit_command(s, c, slot, bank)
        if do < 0:
            b.hit_bound = NEVER  # until something happens to the bank
            continue
        floor = max(t, _floor(s, c, do, bank))
        if floor > p.when or (floor == p.when and s.slots[c, slot].age >= p.age):
            continue
        b.hit_bound = kept_earliest(s, c, do, bank)
        when = _on_bus(s, c, max(t, b.hit_bound), do, b.rank, bank)
        _propose(p, when, s.slots[c, slot].age, FROM_QUEUE, slot, do, b.rank, bank)


@inlined
def _plan_misses(s: Channels, c: int, t: int, p: Any) -> None:
    """Plan the activates and precharges that the banks' oldest misses need, oldest first."""
    write = index(s.scalar[c, X_WRITE_MODE])
    best, age = p.when, p.age
    for k in range(index(s.scalar[c, X_READ_MISSES + write])):
        mine = _row_age(s, s.miss_age[c, write, k])
        if best <= t and age < mine:
            return
        bank = index(s.miss_bank[c, write, k])
        if s.miss_bound[c, bank] > best:
            continue
        floor = _floor(s, c, PRE if s.open_row[c, bank] >= 0 else ACT1, bank)
        if floor > best or (age < mine and max(floor, s.miss_bound[c, bank]) >= best):
            continue
        slot = index(s.lists[c, 2 * bank + write].miss)
        do = _miss_command(s, c, slot, bank)
        if do < 0:
            s.miss_bound[c, bank] = NEVER  # until something happens to the bank
            continue
        bound = kept_earliest(s, c, do, bank)
        s.miss_bound[c, bank] = bound
        if do == PRE or s.scalar[c, X_OWED_BANK] < 0:
            rank = s.banks[c, bank].rank
            when = _on_bus(s, c, max(t, bound), do, rank, bank)
            _propose(p, when, mine, FROM_QUEUE, slot, do, rank, bank)
            best, age = p.when, p.age


@compiled
def _plan_oldest(s: Channels, c: int, t: int, kind: int, p: Any) -> None:
    """Plan what the oldest request needs; nothing while a row is open for one that has left its queue."""
    x = s.scalar
    if x[c, X_OPENED]:
        return
    write = index(x[c, X_WRITE_MODE])
    slot = -1
    if x[c, X_READ_MISSES + write]:
        slot = s.lists[c, 2 * s.miss_bank[c, write, 0] + write].miss
    hit = False
    for k in range(x[c, X_READ_HITS + write]):
        other = s.lists[c, 2 * s.hit_bank[c, write, k] + write].hit
        if slot < 0 or s.slots[c, other].age < s.slots[c, slot].age:
            slot, hit = other, True
    if slot < 0 or kind == (ROW if hit else COLUMN):
        return
    bank = index(s.slots[c, slot].bank)
    do = _hit_command(s, c, slot, bank) if hit else _miss_command(s, c, slot, bank)
    if do >= 0:
        rank = s.banks[c, bank].rank
        when = _on_bus(s, c, max(t, kept_earliest(s, c, do, bank)), do, rank, bank)
        _propose(p, when, s.slots[c, slot].age, FROM_QUEUE, slot, do, rank, bank)


@inlined
def _make_plan(s: Channels, c: int, t: int, kind: int) -> None:
    """Find what goes next at clock `t` or later if nothing else happens."""
    x = s.scalar
    p = s.plan[c, 1 if kind == ROW else 0]
    p.valid = 1
    p.when = NEVER
    p.age = NEVER
    p.source = FROM_NOWHERE
    p.bank = -1
    if kind != ROW:
        _plan_opened(s, c, t, p)
        if p.when <= t:
            return
    if x[c, X_MAINT_LEN]:
        if kind != COLUMN:
            do, rank, bank = _choose_maintenance(s, c)
            if do >= 0:
                same = do == REFSB
                when = earliest_same_bank(s, c, rank, bank) if same else earliest(s, c, do, rank, bank)
                when = _on_bus(s, c, max(t, when), do, rank, bank)
                _propose(p, when, -1, FROM_MAINTENANCE, -1, do, rank, bank)
    else:
        if _set_mode(s, c):
            s.plan[c, 0 if kind == ROW else 1].valid = 0
        if s.cfg[C_ORDER] == IN_ORDER:
            _plan_oldest(s, c, t, kind, p)
        else:
            if kind != ROW:
                _plan_hits(s, c, t, p)
            if kind != COLUMN:
                _plan_misses(s, c, t, p)
    owed = x[c, X_OWED_BANK]
    if owed >= 0:
        when = max(t, kept_earliest(s, c, ACT2, owed))
        _propose(p, when, NEVER - 1, FROM_OWED, -1, ACT2, s.banks[c, owed].rank, owed)


@inlined
def _update_plan(s: Channels, c: int, t: int, kind: int) -> None:
    """Bring the plan up to date at clock `t`: a request may have arrived or gone since it was made."""
    x = s.scalar
    p = s.plan[c, 1 if kind == ROW else 0]
    if p.valid and (x[c, X_NEW] != NOTHING or x[c, X_COUNTED]):
        urgent = p.when <= t and (p.source == FROM_OPENED or p.source == FROM_MAINTENANCE)
        if not urgent and x[c, X_MAINT_LEN] == 0:
            if _set_mode(s, c):
                _forget(s, c)
            elif x[c, X_NEW] != NOTHING:
                if s.cfg[C_ORDER] >= ROW_HIT_FIRST:  # a new hit may keep a planned precharge from going
                    p.valid = 0
                else:
                    _propose_new(s, c, t, kind, p)
    if p.valid == 0:
        _make_plan(s, c, t, kind)


@inlined
def _propose_new(s: Channels, c: int, t: int, kind: int, p: Any) -> None:
    """Take the request that has just arrived into the plan if its command goes sooner."""
    slot = index(s.scalar[c, X_NEW])
    bank = index(s.slots[c, slot].bank)
    if s.slots[c, slot].queue != s.scalar[c, X_WRITE_MODE]:
        return
    if s.open_row[c, bank] == s.slots[c, slot].row:
        do = _hit_command(s, c, slot, bank) if kind != ROW else -1
    else:
        do = _miss_command(s, c, slot, bank) if kind != COLUMN else -1
        if do == ACT1 and s.scalar[c, X_OWED_BANK] >= 0:
            return
    if do >= 0:
        rank = s.banks[c, bank].rank
        when = _on_bus(s, c, max(t, kept_earliest(s, c, do, bank)), do, rank, bank)
        _propose(p, when, s.slots[c, slot].age, FROM_QUEUE, slot, do, rank, bank)


@inlined
def _comes_first(s: Channels, c: int, t: int, command: int, bank: int, p: Any) -> bool:
    """Whether a command to `bank` has let another one there go before `p`, the plan of the other bus."""
    if command == ACT1:
        return min(kept_earliest(s, c, RD, bank), kept_earliest(s, c, WR, bank)) <= p.when
    if command == PRE:
        return False
    if command != RD and command != WR:
        return True
    slot = s.lists[c, 2 * bank + index(s.scalar[c, X_WRITE_MODE])].miss
    if slot < 0:
        return False
    do = _miss_command(s, c, slot, bank)
    if do < 0:
        return False
    return _on_bus(s, c, max(t, kept_earliest(s, c, do, bank)), do, s.banks[c, bank].rank, bank) <= p.when


@inlined
def _finish(s: Channels, c: int, t: int, slot: int, bank: int, out: NDArray[np.int64]) -> None:
    """The data command of a request goes out."""
    x, request = s.scalar, s.slots[c, slot]
    s.banks[c, bank].accesses += 1
    s.banks[c, bank].used = t
    forget_bounds(s, c, bank)
    if request.opened:
        s.banks[c, bank].owner = -1
        take_out(s.opened[c], x[c, X_OPENED], bank)
        x[c, X_OPENED] -= 1
    else:
        x[c, X_ROW_HITS] += 1
        leave(s, c, slot)
    out[0] = request.tag
    out[1] = t
    out[2] = -1
    if request.write == 0:
        out[1] = t + s.cfg[C_RL] + s.cfg[C_BL]
        out[2] = out[1] - request.accept
        x[c, X_LAST_READ] = out[1]
    s.free[c, index(x[c, X_FREE])] = slot
    x[c, X_FREE] += 1


@inlined
def _act(s: Channels, c: int, t: int, kind: int, out: NDArray[np.int64]) -> int:
    """Issue at most one command of `kind` at clock `t`; returns the next clock worth a try."""
    cfg, x = s.cfg, s.scalar
    source, slot, command, rank, bank = FROM_NOWHERE, -1, -1, 0, -1
    if x[c, X_CAS_SLOT] >= 0:
        slot = x[c, X_CAS_SLOT]
        x[c, X_CAS_SLOT] = -1
        bank = s.slots[c, slot].bank
        command = _data_command(s, c, slot, index(bank))
        rank = s.banks[c, bank].rank
    elif x[c, X_OWED_BANK] >= 0 and x[c, X_OWED_BY] <= t:
        command = ACT2
        bank = x[c, X_OWED_BANK]
        rank = s.banks[c, bank].rank
    else:
        _update_plan(s, c, t, kind)
        p = s.plan[c, 1 if kind == ROW else 0]
        if p.when > t:
            return min(p.when, x[c, X_NEXT_REF])
        source, slot, command, rank, bank = p.source, p.slot, p.command, p.rank, p.bank
        if cfg[C_SYNC] and (command in (RD, WR, RDA, WRA)) and t >= s.wck_until[c, index(rank)]:
            if x[c, X_OWED_BANK] >= 0 and x[c, X_OWED_BY] <= t + 1:
                command, slot, bank = ACT2, -1, x[c, X_OWED_BANK]
                rank = s.banks[c, bank].rank
            else:
                command = CAS_WR if s.slots[c, slot].write else CAS_RD

    row, col = -1, -1
    if command == ACT2:
        row = s.open_row[c, bank]
    elif slot >= 0:
        if command == PRE:
            x[c, X_CONFLICTS] += 1 - s.slots[c, slot].seen
            s.slots[c, slot].seen = 1
        elif command == ACT1:
            row = s.slots[c, slot].row
            s.slots[c, slot].opened = 1
            s.banks[c, bank].owner = slot
            s.opened[c, index(x[c, X_OPENED])] = bank
            x[c, X_OPENED] += 1
            leave(s, c, slot)
        else:
            row, col = s.slots[c, slot].row, s.slots[c, slot].col
            if command in (CAS_RD, CAS_WR):
                x[c, X_CAS_SLOT] = slot
            else:
                _finish(s, c, t, slot, index(bank), out)
    other = s.plan[c, 0 if kind == ROW else 1]
    keep = kind != ANY and other.valid and x[c, X_MAINT_LEN] == 0 and s.apart[command]
    keep = keep and cfg[C_ORDER] != IN_ORDER
    issue(s, c, t, command, rank, bank, row, col)
    if keep and other.bank != bank and not _comes_first(s, c, t, command, index(bank), other):
        other.valid = 1
    if source == FROM_MAINTENANCE and command == s.maint[c, x[c, X_MAINT_HEAD], 0]:
        x[c, X_MAINT_HEAD] = (x[c, X_MAINT_HEAD] + 1) % s.maint.shape[1]
        x[c, X_MAINT_LEN] -= 1
    return t + 1


@compiled
def _close_capped(s: Channels, c: int, t: int) -> int:
    """Queue a precharge of each bank that has served its cap of accesses and may close; the next such clock.

    A precharge that is queued goes out even if an auto precharge has closed the bank meanwhile.
    """
    nxt = NEVER
    for bank in range(s.open_row.shape[1]):
        if s.open_row[c, bank] >= 0 and s.banks[c, bank].accesses >= s.cfg[C_CAP]:
            when = kept_earliest(s, c, PRE, bank)
            if when > t:
                nxt = min(nxt, when)
            elif not _is_queued(s, c, PRE, bank):
                _enter_maintenance(s, c, PRE, s.place[bank, 0], bank)
    return nxt


@compiled
def _close_unused(s: Channels, c: int, t: int) -> int:
    """Queue a precharge of each bank that no waiting request hits and none has used for C_TIMEOUT clocks."""
    nxt = NEVER
    for bank in range(s.open_row.shape[1]):
        b = s.banks[c, bank]
        hit = s.lists[c, 2 * bank].hit >= 0 or s.lists[c, 2 * bank + 1].hit >= 0
        if s.open_row[c, bank] < 0 or b.owner >= 0 or hit or s.scalar[c, X_OWED_BANK] == bank:
            continue
        when = max(b.used + s.cfg[C_TIMEOUT], kept_earliest(s, c, PRE, bank))
        if when > t:
            nxt = min(nxt, when)
        elif not _is_queued(s, c, PRE, bank):
            _enter_maintenance(s, c, PRE, b.rank, bank)
    return nxt


@compiled
def _is_queued(s: Channels, c: int, command: int, bank: int) -> bool:
    for k in range(s.scalar[c, X_MAINT_LEN]):
        at = (s.scalar[c, X_MAINT_HEAD] + k) % s.maint.shape[1]
        if s.maint[c, at, 0] == command and s.maint[c, at, 2] == bank:
            return True
    return False


@inlined
def step(s: Channels, c: int, t: int, out: NDArray[np.int64]) -> int:
    """Act for clock `t`: one command a bus at most; returns the next clock worth a step.

    out: (3,). out[0] becomes the tag of a request whose data command went out (else -1), out[1] its
    completion and out[2] its latency, counted from acceptance (-1 for a write).
    """
    cfg, x = s.cfg, s.scalar
    out[0] = -1
    if x[c, X_LAST] >= t:  # a request may arrive in a clock whose command is out already
        return x[c, X_LAST] + 1
    if x[c, X_NEXT_REF] <= t:
        _refresh_due(s, c, t)
    if x[c, X_POSTPONED] and x[c, X_MAINT_LEN] == 0 and not _is_busy(s, c):
        _enter_refresh(s, c)
        x[c, X_POSTPONED] -= 1
    nxt = _close_capped(s, c, t) if cfg[C_CAP] > 0 else NEVER
    if cfg[C_TIMEOUT]:
        nxt = min(nxt, _close_unused(s, c, t))
    kind = ANY if cfg[C_BUSES] == ONE_BUS else COLUMN
    while True:  # one pass, or two of one piece of code
        nxt = min(nxt, _act(s, c, t, kind, out))
        if kind != COLUMN:
            break
        kind = ROW
    x[c, X_NEW] = NOTHING
    return nxt
