"""Clocks before which requests cannot go: kept a bank and a kind of command, so that most need no look.

Of every bank are kept a bound of the request that opened its row, of its oldest hit and of its oldest miss;
of the channel one of all data commands (X_COLUMN_AT) and one of all row commands (X_ROW_AT). Rules only push
clocks up, so a bound holds until something happens to its bank: a command, a new oldest request, or a change
between reads and writes. NEVER: not before such a thing. Bounds are of requests in the queue that is served.
"""

from __future__ import annotations

from pimsim.compiled import inlined, inner
from pimsim.devices.dram.engine.state import (
    BANK_SCOPE,
    C_BUSES,
    C_CAP,
    C_RANKS,
    C_SIDS,
    GROUP_SCOPE,
    HALF_CLOCK,
    NEVER,
    RANK_SCOPE,
    SID_SCOPE,
    X_COLUMN_AT,
    X_OPENED,
    X_OWED_BANK,
    X_READS,
    X_ROW_AT,
    X_WRITE_MODE,
    Channels,
    index,
)  # fmt: skip
from pimsim.devices.rules import ACT1, PRE, RD, RDA, WR, WRA


@inlined
def kept_earliest(s: Channels, c: int, command: int, bank: int) -> int:
    """`commands.earliest` of a bank's ACT, ACT2, PRE or data command."""
    k = index(s.column[command])
    at = 5 * index(bank)
    t = max(s.ready[c, k], s.ready[c, index(s.at[at + GROUP_SCOPE]) + k])
    t = max(t, s.ready[c, index(s.at[at + BANK_SCOPE]) + k])
    if s.cfg[C_RANKS] > 1:
        t = max(t, s.ready[c, index(s.at[at + RANK_SCOPE]) + k])
    if s.cfg[C_SIDS] > 1:
        t = max(t, s.ready[c, index(s.at[at + SID_SCOPE]) + k])
    return t


@inlined
def data_command(s: Channels, c: int, slot: int, bank: int) -> int:
    """The data command of a request: with auto precharge if its row has served its cap (-1: at once)."""
    if s.cfg[C_CAP] and s.banks[c, bank].accesses >= s.cfg[C_CAP]:
        return WRA if s.slots[c, slot].write else RDA
    return WR if s.slots[c, slot].write else RD


@inlined
def renew(s: Channels, c: int, bank: int) -> None:
    """Something has happened to a bank: find its bounds anew, and lower those of the channel to them."""
    x, b = s.scalar, s.banks[c, bank]
    waiting = s.lists[c, 2 * bank + index(x[c, X_WRITE_MODE])]
    even = 1 if s.cfg[C_BUSES] == HALF_CLOCK else 0  # only precharges go on odd half clocks
    row = NEVER
    if s.open_row[c, bank] < 0:
        if waiting.miss >= 0:
            row = kept_earliest(s, c, ACT1, bank)
            row += row & even
    else:
        if waiting.miss >= 0 and b.owner < 0:
            row = kept_earliest(s, c, PRE, bank)
        column = NEVER
        b.opened_bound = NEVER
        b.hit_bound = NEVER
        if x[c, X_OWED_BANK] != bank:
            if b.owner >= 0:
                column = kept_earliest(s, c, data_command(s, c, index(b.owner), bank), bank)
                column += column & even
                b.opened_bound = column
            if waiting.hit >= 0:
                b.hit_bound = kept_earliest(s, c, data_command(s, c, index(waiting.hit), bank), bank)
                b.hit_bound += b.hit_bound & even
                column = min(column, b.hit_bound)
            x[c, X_COLUMN_AT] = min(x[c, X_COLUMN_AT], column)
    s.row_bound[c, bank] = row
    x[c, X_ROW_AT] = min(x[c, X_ROW_AT], row)


@inner
def change_mode(s: Channels, c: int) -> None:
    """Serve writes from now on instead of reads, or the other way round: other requests have bounds now.

    Those of banks of which no request waits in the queue that is served may stay as they are.
    """
    x = s.scalar
    write = 1 - x[c, X_WRITE_MODE]
    x[c, X_WRITE_MODE] = write
    x[c, X_ROW_AT] = NEVER
    soonest = NEVER
    for k in range(index(x[c, X_OPENED])):
        soonest = min(soonest, s.banks[c, index(s.opened[c, k])].opened_bound)
    x[c, X_COLUMN_AT] = soonest
    if x[c, X_READS + write]:
        for bank in range(s.banks.shape[1]):
            if s.row_turn[c, write, bank] < NEVER or s.lists[c, 2 * bank + write].hit >= 0:
                renew(s, c, bank)


@inlined
def look_at_all(s: Channels, c: int) -> None:
    """Anything may go at once, as far as the bounds of the channel tell."""
    s.scalar[c, X_COLUMN_AT] = 0
    s.scalar[c, X_ROW_AT] = 0
