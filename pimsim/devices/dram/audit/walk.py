"""The walk through one channel's commands: every rule is a look back at what came before.

A history keeps, for each bank, bank group, rank and the channel, the clock at which each command was last
seen. A command that broke a rule still takes effect, so that one mistake is not reported for ever.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from pimsim.compiled import compiled, decorator

# The steps of the walk are called from compiled code only: no way in from Python halves compilation. They
# become part of it, since a call would copy the descriptions of all arrays of the history.
_inner = decorator(_nrt=False, no_cpython_wrapper=True, no_cfunc_wrapper=True, forceinline=True)
_Ints = npt.NDArray[np.int64]

COMMANDS = (
    "ACT1", "ACT2", "PRE", "PREA", "RD", "WR", "RDA", "WRA", "REFAB", "REFPB",
    "CAS_RD", "CAS_WR", "ACTAB", "MACAB", "WRREG", "RDRES", "MODE", "REFSB",
)  # fmt: skip
ACT1, ACT2, PRE, PREA, RD, WR, RDA, WRA, REFAB, REFPB = range(10)
CAS_RD, CAS_WR, ACTAB, MACAB, WRREG, RDRES, MODE, REFSB = range(10, 18)

MOST = 4096
"""More rules than one command can break: a few for each of at most 1024 banks."""
NEVER = -1
"""Clock of a command that was not seen, and a row, bank or wanted clock that does not exist."""

# Rule number -> words. {before} at {since} is what was looked back at, {then} the command that came.
_SPACINGS = (
    "tCCD_S", "tCCD_L", "tRTW", "tWTR_S", "tWTR_L", "tRRD", "tFAW", "tRC", "tRCab", "tRCD", "tRCD_WR", "tRAS",
    "tRBTP", "tWR", "tRPpb", "tRPab", "tRBTP+tRPpb", "tWR+tRPpb", "tPPD", "tRFCab", "tRFCpb", "tPBR2PBR",
    "tPBR2ACT", "MAC pipeline", "reads done", "writes done", "mode_ck", "command bus", "data bus", "tRRD_L",
    "tRRD to REFPB", "tCCD_R", "half clock", "tCCD_M", "tWTR_M",
)  # fmt: skip
(T_CCD_S, T_CCD_L, T_RTW, T_WTR_S, T_WTR_L, T_RRD, T_FAW, T_RC, T_RCAB, T_RCD, T_RCD_WR, T_RAS) = range(12)
(T_RBTP, T_WR, T_RPPB, T_RPAB, T_RBTP_RPPB, T_WR_RPPB, T_PPD, T_RFCAB, T_RFCPB, T_PBR2PBR) = range(12, 22)
(T_PBR2ACT, T_PIPELINE, T_READS, T_WRITES, T_MODE, T_COMMAND_BUS, T_DATA_BUS, T_RRD_L, T_ACT2PBR, T_CCD_R,
 T_HALF, T_CCD_M, T_WTR_M) = range(22, 35)  # fmt: skip
_OTHERS = (
    "tAAD: ACT1 at {since} to ACT2",
    "tREFI: last whole refresh of the rank at {since}",
    "tREFIpb: last refresh of the bank at {since}",
    "WCK: {then} without its CAS in the clock before, data clock off since {since}",
    "state: {then} to an open bank (row {since})",
    "state: {then} to a closed bank",
    "state: {then} to another row than the open row {since}",
    "state: {then} before ACT2 (ACT1 at {since})",
    "state: {then} without ACT1",
    "state: {then} while bank {since} of the rank is open",
    "state: {then} while all banks hold row {since}",
    "state: {then} without a row open in all banks",
    "state: {then} in all-bank mode",
    "state: {then} outside all-bank mode",
    "state: {then} between the MODE commands of one switch (last at {since})",
    "half clock: {then} in the second half of a clock",
)
T_AAD, T_REFI, T_REFIPB, NO_WCK, OPEN, CLOSED, OTHER_ROW, HALF_OPEN, NO_ACT1 = range(35, 44)
BANK_OPEN, ALL_OPEN, NOT_ALL, IN_PIM, NOT_IN_PIM, HALF_SWITCH, SECOND_HALF = range(44, 51)
RULES = tuple(f"{name}: {{before}} at {{since}} to {{then}}" for name in _SPACINGS) + _OTHERS


class Waits(NamedTuple):
    """Least clocks between commands, each counted from command to command, and counts of the part."""

    read_data: int  # read to the first of its data
    write_data: int
    BL: int
    CS: int
    CCD_S: int
    CCD_L: int
    CCD_M: int  # two banks of one group (DDR5); as CCD_L where the part has no such value
    CCD_R: int  # reads of two stack levels
    CCD_S_WR: int
    CCD_L_WR: int
    CCD_M_WR: int
    RTW: int
    WTR_S: int
    WTR_L: int
    WTR_M: int
    RTP: int
    WTP: int  # write to precharge
    RRD: int
    RRD_L: int
    FAW: int
    RCD: int
    RCD_WR: int
    RAS: int
    RC: int
    RPpb: int
    RPab: int
    PPD: int
    RFCab: int
    RFCpb: int
    PBR2PBR: int
    PBR2ACT: int
    ACT2PBR: int
    WCKPST: int  # NEVER: the part has no data clock to start
    AAD: int  # NEVER: an activate is one command
    mode_ck: int
    mac_pipeline_ck: int
    mode_accesses: int
    banks_per_group: int
    groups_per_sid: int
    refresh_set: int  # per-bank refreshes that count as one all-bank refresh
    refresh_rank_ck: int
    refresh_bank_ck: int
    act_ck: int  # clocks of the command bus that an activate takes
    data_ck: int  # and a read or write
    other_ck: int  # and any other command
    column_bus: int  # 1: reads and writes have a command bus of their own
    half_clocks: int  # 1: clocks are halves, of which the second is for precharges only
    own_data_bus: int  # 1: every rank has a data bus of its own


class History(NamedTuple):
    """What was seen so far. Arrays end in one column per command where they hold its last clock."""

    bank: _Ints  # (ranks, banks, commands)
    group: _Ints  # (ranks, bank groups, commands)
    rank: _Ints  # (ranks, commands)
    channel: _Ints  # (commands,)
    activates: _Ints  # (ranks, 4) clocks of the last four ACT1, the oldest at `activated % 4`
    activated: _Ints  # (ranks,)
    row: _Ints  # (ranks, banks) open row
    half: _Ints  # (ranks, banks) 1 while ACT2 is owed
    all_row: _Ints  # (ranks,) row opened in all banks
    data_clock: _Ints  # (ranks,) first clock at which WCK is off
    bursts: _Ints  # (last ones, a power of two; 4) data on the bus: first clock, rank, command, its clock
    counts: _Ints  # (2,) bursts and MODE commands seen
    last: _Ints  # (2, 2) latest command on the bus (rows, or all; columns) and its clock
    first_half: _Ints  # (ranks, 3) latest row command in a first half: its last clock, command, bank
    refreshed: _Ints  # (ranks,) clock since which the whole rank waits for refresh
    refreshes: _Ints  # (ranks,) per-bank refreshes since then
    bank_refreshed: _Ints  # (ranks, banks)


class Found(NamedTuple):
    """Broken rules: as many as `rows` holds, and how many there were.

    rows: (n, 5) index of the command, rule, earlier command, `since` of its words, wanted clock.
    """

    rows: _Ints
    total: _Ints  # (1,)


def nothing_yet(w: Waits, ranks: int, groups: int, start: int) -> History:
    """The history before the first command, at clock `start`, with all banks closed."""
    banks, commands = groups * w.banks_per_group, len(COMMANDS)

    def never(*shape: int) -> _Ints:
        return np.full(shape, NEVER, dtype=np.int64)

    return History(
        bank=never(ranks, banks, commands),
        group=never(ranks, groups, commands),
        rank=never(ranks, commands),
        channel=never(commands),
        activates=never(ranks, 4),
        activated=np.zeros(ranks, dtype=np.int64),
        row=never(ranks, banks),
        half=np.zeros((ranks, banks), dtype=np.int64),
        all_row=never(ranks),
        data_clock=np.full(ranks, start, dtype=np.int64),
        bursts=never(1 << _burst_span(w).bit_length(), 4),
        counts=np.zeros(2, dtype=np.int64),
        last=never(2, 2),
        first_half=never(ranks, 3),
        refreshed=np.full(ranks, start, dtype=np.int64),
        refreshes=np.zeros(ranks, dtype=np.int64),
        bank_refreshed=np.full((ranks, banks), start, dtype=np.int64),
    )


def _burst_span(w: Waits) -> int:
    """Clocks after which two data commands cannot meet on the data bus, whatever their order there."""
    return abs(w.read_data - w.write_data) + w.BL + w.CS


@_inner
def further_clocks(cmd: int, w: Waits) -> int:
    """Clocks between the first and the last clock of a command, from which it is timed, on its bus."""
    if cmd == ACT1:
        return w.act_ck - 1
    return (w.data_ck if cmd in (RD, WR, RDA, WRA) else w.other_ck) - 1


@_inner
def _note(found: Found, i: int, rule: int, before: int, since: int, wanted: int) -> None:
    n = found.total[0]
    if n < len(found.rows):
        row = found.rows[n]
        row[0], row[1], row[2], row[3], row[4] = i, rule, before, since, wanted
    found.total[0] = n + 1


@_inner
def _after(found: Found, i: int, clock: int, rule: int, seen: Any, before: int, wait: int) -> None:
    """Note command i if it came less than `wait` clocks after the last `before` in the history `seen`."""
    since = seen[before]
    if since != NEVER and clock < since + wait:
        _note(found, i, rule, before, since, since + wait)


@_inner
def _mode(found: Found, i: int, clock: int, cmd: int, w: Waits, h: History) -> None:
    """Is the command allowed in this mode, and has the mode settled?"""
    if cmd == MODE:
        for before in (RD, RDA, MACAB, RDRES):
            _after(found, i, clock, T_READS, h.channel, before, w.read_data + w.BL)
        for before in (WR, WRA, WRREG):
            _after(found, i, clock, T_WRITES, h.channel, before, w.WTR_L)
        _after(found, i, clock, T_RFCAB, h.channel, REFAB, w.RFCab)
    if cmd not in (ACT2, CAS_RD, CAS_WR):
        _after(found, i, clock, T_MODE, h.channel, MODE, w.mode_ck)
    ordinary = cmd in (ACT1, RD, WR, RDA, WRA)
    all_bank = cmd in (ACTAB, MACAB, WRREG, RDRES)
    if not (ordinary or all_bank):
        return
    in_pim = (h.counts[1] // w.mode_accesses) % 2 == 1
    if h.counts[1] % w.mode_accesses != 0:
        _note(found, i, HALF_SWITCH, MODE, h.channel[MODE], NEVER)
    elif ordinary and in_pim:
        _note(found, i, IN_PIM, MODE, h.channel[MODE], NEVER)
    elif all_bank and not in_pim:
        _note(found, i, NOT_IN_PIM, MODE, h.channel[MODE], NEVER)


@_inner
def _precharged(found: Found, i: int, clock: int, w: Waits, seen: Any) -> None:
    """Precharges of one bank, explicit or not, are over; `seen` says of which bank or of all."""
    _after(found, i, clock, T_RPPB, seen, PRE, w.RPpb)
    _after(found, i, clock, T_RBTP_RPPB, seen, RDA, w.RTP + w.RPpb)
    _after(found, i, clock, T_WR_RPPB, seen, WRA, w.WTP + w.RPpb)
    _after(found, i, clock, T_RC, seen, ACT1, w.RC)


@_inner
def _all_idle(found: Found, i: int, clock: int, rank: int, w: Waits, h: History) -> None:
    """No bank of the rank is open (commands that act on all banks)."""
    if h.all_row[rank] != NEVER:
        _note(found, i, ALL_OPEN, ACTAB, h.all_row[rank], NEVER)
    for bank in range(h.row.shape[1]):
        if h.row[rank, bank] != NEVER:
            _note(found, i, BANK_OPEN, ACT1, bank, NEVER)
            break
    seen = h.rank[rank]
    _precharged(found, i, clock, w, seen)
    _after(found, i, clock, T_RFCPB, seen, REFSB, w.RFCpb)
    _after(found, i, clock, T_RPAB, seen, PREA, w.RPab)
    _after(found, i, clock, T_RCAB, seen, ACTAB, w.RAS + w.RPab)
    _after(found, i, clock, T_RFCAB, seen, REFAB, w.RFCab)
    _after(found, i, clock, T_RFCPB, seen, REFPB, w.RFCpb)


@_inner
def _one_idle(found: Found, i: int, clock: int, rank: int, bank: int, w: Waits, h: History) -> None:
    """The bank is closed and ready (ACT1, REFPB, REFSB)."""
    if h.all_row[rank] != NEVER:
        _note(found, i, ALL_OPEN, ACTAB, h.all_row[rank], NEVER)
    elif h.row[rank, bank] != NEVER:
        _note(found, i, OPEN, ACT1, h.row[rank, bank], NEVER)
    _precharged(found, i, clock, w, h.bank[rank, bank])
    _after(found, i, clock, T_RFCPB, h.bank[rank, bank], REFPB, w.RFCpb)
    _after(found, i, clock, T_RFCPB, h.bank[rank, bank], REFSB, w.RFCpb)
    _after(found, i, clock, T_RPAB, h.rank[rank], PREA, w.RPab)
    _after(found, i, clock, T_RFCAB, h.rank[rank], REFAB, w.RFCab)


@_inner
def _activate(found: Found, i: int, clock: int, rank: int, bank: int, w: Waits, h: History) -> None:
    _one_idle(found, i, clock, rank, bank, w, h)
    seen = h.rank[rank]
    _after(found, i, clock, T_RRD, seen, ACT1, w.RRD)
    _after(found, i, clock, T_RRD_L, h.group[rank, bank // w.banks_per_group], ACT1, w.RRD_L)
    _after(found, i, clock, T_RCAB, seen, ACTAB, w.RAS + w.RPab)
    for refresh in (REFPB, REFSB):
        if h.bank[rank, bank, refresh] != seen[refresh]:
            _after(found, i, clock, T_PBR2ACT, seen, refresh, w.PBR2ACT)
    fourth = h.activates[rank, h.activated[rank] & 3]
    if fourth != NEVER and clock < fourth + w.FAW:
        _note(found, i, T_FAW, ACT1, fourth, fourth + w.FAW)


@_inner
def _second_half(found: Found, i: int, clock: int, rank: int, bank: int, w: Waits, h: History) -> None:
    since = h.bank[rank, bank, ACT1]
    if h.half[rank, bank] == 0:
        _note(found, i, NO_ACT1, ACT1, NEVER, NEVER)
    elif clock > since + w.AAD:
        _note(found, i, T_AAD, ACT1, since, since + w.AAD)


@_inner
def _precharge(
    found: Found, i: int, clock: int, cmd: int, rank: int, bank: int, w: Waits, h: History
) -> None:
    seen = h.rank[rank] if cmd == PREA else h.bank[rank, bank]
    _after(found, i, clock, T_RAS, seen, ACT1, w.RAS)
    _after(found, i, clock, T_RBTP, seen, RD, w.RTP)
    _after(found, i, clock, T_WR, seen, WR, w.WTP)
    for before in (PRE, PREA):
        _after(found, i, clock, T_PPD, h.rank[rank], before, w.PPD)
    if cmd == PREA:
        _after(found, i, clock, T_RAS, seen, ACTAB, w.RAS)
        _after(found, i, clock, T_RBTP, seen, MACAB, w.RTP)
        _after(found, i, clock, T_RFCAB, seen, REFAB, w.RFCab)
    elif h.all_row[rank] != NEVER:
        _note(found, i, ALL_OPEN, ACTAB, h.all_row[rank], NEVER)
    if w.AAD != NEVER:
        for b in range(h.half.shape[1]):
            if h.half[rank, b] == 1 and (cmd == PREA or b == bank):
                _note(found, i, HALF_OPEN, ACT1, h.bank[rank, b, ACT1], NEVER)


@_inner
def _access(
    found: Found, i: int, clock: int, cmd: int, rank: int, bank: int, row: int, w: Waits, h: History
) -> None:
    """An ordinary read or write: its row, and the other accesses of the rank, group by group."""
    reads = cmd in (RD, RDA)
    if h.row[rank, bank] == NEVER:
        _note(found, i, CLOSED, ACT1, NEVER, NEVER)
    elif row != NEVER and row != h.row[rank, bank]:
        _note(found, i, OTHER_ROW, ACT1, h.row[rank, bank], NEVER)
    elif h.half[rank, bank] == 1:
        _note(found, i, HALF_OPEN, ACT1, h.bank[rank, bank, ACT1], NEVER)
    if reads:
        _after(found, i, clock, T_RCD, h.bank[rank, bank], ACT1, w.RCD)
    else:
        _after(found, i, clock, T_RCD_WR, h.bank[rank, bank], ACT1, w.RCD_WR)
        for before in (RD, RDA):
            _after(found, i, clock, T_RTW, h.rank[rank], before, w.RTW)
    mine = bank // w.banks_per_group
    level = mine - mine % w.groups_per_sid  # the first group of this stack level
    within = w.CCD_M if reads else w.CCD_M_WR
    longer = w.CCD_L if reads else w.CCD_L_WR  # in the same bank; the same where a part has no tCCD_M
    for g in range(h.group.shape[1]):
        own = g == mine
        seen = h.group[rank, g]
        spacing, ccd = T_CCD_S, w.CCD_S if reads else w.CCD_S_WR
        if own:
            spacing, ccd = T_CCD_L if within == longer else T_CCD_M, within
        if reads:
            if not level <= g < level + w.groups_per_sid:
                spacing, ccd = T_CCD_R, w.CCD_R
            _after(found, i, clock, spacing, seen, RD, ccd)
            _after(found, i, clock, spacing, seen, RDA, ccd)
            turn, wtr = T_WTR_S, w.WTR_S
            if own:
                turn, wtr = T_WTR_L if w.WTR_M == w.WTR_L else T_WTR_M, w.WTR_M
            _after(found, i, clock, turn, seen, WR, wtr)
            _after(found, i, clock, turn, seen, WRA, wtr)
        else:
            _after(found, i, clock, spacing, seen, WR, ccd)
            _after(found, i, clock, spacing, seen, WRA, ccd)
    seen = h.bank[rank, bank]
    if within != longer:
        _after(found, i, clock, T_CCD_L, seen, RD if reads else WR, longer)
    if reads and w.WTR_M != w.WTR_L:
        _after(found, i, clock, T_WTR_L, seen, WR, w.WTR_L)


@_inner
def _pim_access(
    found: Found, i: int, clock: int, cmd: int, rank: int, bank: int, row: int, w: Waits, h: History
) -> None:
    """MACAB and WRREG, which reach every bank and so every bank group of the rank, and RDRES of one bank."""
    seen = h.rank[rank]
    _after(found, i, clock, T_RFCAB, seen, REFAB, w.RFCab)
    if cmd == WRREG:
        _after(found, i, clock, T_CCD_L, seen, WRREG, w.CCD_L)
        for before in (MACAB, RDRES):
            _after(found, i, clock, T_RTW, seen, before, w.RTW)
        return
    _after(found, i, clock, T_WTR_L, seen, WRREG, w.WTR_L)
    if cmd == RDRES:
        for g in range(h.group.shape[1]):
            own = g == bank // w.banks_per_group
            spacing, ccd = (T_CCD_L, w.CCD_L) if own else (T_CCD_S, w.CCD_S)
            _after(found, i, clock, spacing, h.group[rank, g], RDRES, ccd)
        _after(found, i, clock, T_PIPELINE, seen, MACAB, max(w.CCD_L, w.mac_pipeline_ck))
        return
    _after(found, i, clock, T_CCD_L, seen, RDRES, w.CCD_L)
    _after(found, i, clock, T_CCD_L, seen, MACAB, w.CCD_L)
    _after(found, i, clock, T_RCD, seen, ACTAB, w.RCD)
    if h.all_row[rank] == NEVER:
        _note(found, i, NOT_ALL, ACTAB, NEVER, NEVER)
    elif row != NEVER and row != h.all_row[rank]:
        _note(found, i, OTHER_ROW, ACTAB, h.all_row[rank], NEVER)


@_inner
def _data(found: Found, i: int, clock: int, cmd: int, rank: int, w: Waits, h: History) -> None:
    """The data clock runs, and no other burst is on the bus or, from another rank, within CS clocks."""
    reads = cmd in (RD, RDA, MACAB, RDRES)
    cas = CAS_RD if reads else CAS_WR
    latency = w.read_data if reads else w.write_data
    if w.WCKPST != NEVER:
        if clock >= h.data_clock[rank] and (clock == 0 or h.rank[rank, cas] != clock - 1):
            _note(found, i, NO_WCK, cas, h.data_clock[rank], NEVER)
        h.data_clock[rank] = max(h.data_clock[rank], clock + latency + w.BL + w.WCKPST)
    start, free, last = clock + latency, NEVER, NEVER
    size = len(h.bursts)
    for back in range(1, min(size, h.counts[0]) + 1):
        other = h.bursts[(h.counts[0] - back) & (size - 1)]
        if other[3] + size <= clock:
            break
        gap = w.BL if other[1] == rank else 0 if w.own_data_bus else w.BL + w.CS
        if start < other[0] + gap and other[0] < start + gap and other[0] + gap > free:
            free, last = other[0] + gap, (h.counts[0] - back) & (size - 1)
    if last != NEVER:
        _note(found, i, T_DATA_BUS, h.bursts[last, 2], h.bursts[last, 3], free - latency)
    burst = h.bursts[h.counts[0] & (size - 1)]
    burst[0], burst[1], burst[2], burst[3] = start, rank, cmd, clock
    h.counts[0] += 1


@_inner
def _refreshed(
    found: Found, i: int, clock: int, cmd: int, rank: int, bank: int, w: Waits, h: History
) -> None:
    """The rank, and for a refresh of some banks these, did not wait too long; then the wait begins anew."""
    if cmd in (REFPB, REFSB):
        step = w.banks_per_group if cmd == REFSB else h.row.shape[1]
        for b in range(bank, h.row.shape[1], step):
            since = h.bank_refreshed[rank, b]
            if clock > since + w.refresh_bank_ck:
                _note(found, i, T_REFIPB, cmd, since, since + w.refresh_bank_ck)
            h.bank_refreshed[rank, b] = clock
        h.refreshes[rank] += 1
        if h.refreshes[rank] < w.refresh_set:
            return
    else:
        h.bank_refreshed[rank, :] = clock
    since = h.refreshed[rank]
    if clock > since + w.refresh_rank_ck:
        _note(found, i, T_REFI, cmd, since, since + w.refresh_rank_ck)
    h.refreshed[rank] = clock
    h.refreshes[rank] = 0


@_inner
def _bus(cmd: int, w: Waits) -> int:
    return 1 if w.column_bus and cmd in (RD, WR, RDA, WRA) else 0


@_inner
def _half_clock(
    found: Found, i: int, clock: int, cmd: int, rank: int, bank: int, w: Waits, h: History
) -> None:
    """Only precharges begin in a second half; behind a row command of the rank only one of another bank."""
    if (clock - further_clocks(cmd, w)) % 2 == 0:
        return
    before = h.first_half[rank]
    if cmd not in (PRE, PREA):
        _note(found, i, SECOND_HALF, cmd, NEVER, clock + 1)
    elif before[0] == clock - 1 and (cmd == PREA or before[1] in (PREA, REFAB) or before[2] == bank):
        _note(found, i, T_HALF, before[1], before[0], clock + 1)


@_inner
def _check(
    found: Found, i: int, clock: int, cmd: int, rank: int, bank: int, row: int, w: Waits, h: History
) -> None:
    """Every rule that this command can break. Refresh and data also enter their own histories here.

    `clock` is the command's last one on the command bus, and so are the clocks in the history.
    """
    last = h.last[_bus(cmd, w)]
    if last[0] != NEVER:
        free = last[1] + (2 if last[0] == ACTAB else 1) + further_clocks(cmd, w)
        if clock < free:
            _note(found, i, T_COMMAND_BUS, last[0], last[1], free)
    if w.half_clocks:
        _half_clock(found, i, clock, cmd, rank, bank, w, h)
    if h.counts[1] or (cmd >= ACTAB and cmd != REFSB):
        _mode(found, i, clock, cmd, w, h)
    if cmd == ACT1:
        _activate(found, i, clock, rank, bank, w, h)
    elif cmd == ACT2:
        _second_half(found, i, clock, rank, bank, w, h)
    elif cmd in (PRE, PREA):
        _precharge(found, i, clock, cmd, rank, bank, w, h)
    elif cmd in (RD, RDA, WR, WRA):
        _access(found, i, clock, cmd, rank, bank, row, w, h)
        _data(found, i, clock, cmd, rank, w, h)
    elif cmd in (MACAB, RDRES, WRREG):
        _pim_access(found, i, clock, cmd, rank, bank, row, w, h)
        _data(found, i, clock, cmd, rank, w, h)
    elif cmd in (ACTAB, REFAB):
        _all_idle(found, i, clock, rank, w, h)
        if cmd == REFAB:
            _refreshed(found, i, clock, cmd, rank, bank, w, h)
    elif cmd == REFPB:
        _one_idle(found, i, clock, rank, bank, w, h)
        _after(found, i, clock, T_ACT2PBR, h.rank[rank], ACT1, w.ACT2PBR)
        _after(found, i, clock, T_PBR2PBR, h.rank[rank], REFPB, w.PBR2PBR)
        _refreshed(found, i, clock, cmd, rank, bank, w, h)
    elif cmd == REFSB:
        for b in range(bank, h.row.shape[1], w.banks_per_group):
            _one_idle(found, i, clock, rank, b, w, h)
        _after(found, i, clock, T_ACT2PBR, h.rank[rank], ACT1, w.ACT2PBR)
        _after(found, i, clock, T_PBR2PBR, h.rank[rank], REFSB, w.PBR2PBR)
        _refreshed(found, i, clock, cmd, rank, bank, w, h)


@_inner
def _remember(clock: int, cmd: int, rank: int, bank: int, row: int, w: Waits, h: History) -> None:
    """What the command leaves behind."""
    last = h.last[_bus(cmd, w)]
    if last[0] != ACTAB or clock > last[1]:
        last[0], last[1] = cmd, clock
    if w.half_clocks and cmd not in (RD, WR, RDA, WRA) and (clock - further_clocks(cmd, w)) % 2 == 0:
        h.first_half[rank, 0], h.first_half[rank, 1], h.first_half[rank, 2] = clock, cmd, bank
    h.channel[cmd] = clock
    if cmd == MODE:
        h.counts[1] += 1
        return
    h.rank[rank, cmd] = clock
    if cmd == REFSB:
        for b in range(bank, h.row.shape[1], w.banks_per_group):
            h.bank[rank, b, cmd] = clock
    elif bank != NEVER:
        h.bank[rank, bank, cmd] = clock
        h.group[rank, bank // w.banks_per_group, cmd] = clock
    if cmd == ACT1:
        h.row[rank, bank] = row
        h.half[rank, bank] = 0 if w.AAD == NEVER else 1
        h.activates[rank, h.activated[rank] & 3] = clock
        h.activated[rank] += 1
    elif cmd == ACT2:
        h.half[rank, bank] = 0
    elif cmd in (PRE, RDA, WRA):
        h.row[rank, bank] = NEVER
        h.half[rank, bank] = 0
    elif cmd == PREA:
        h.row[rank, :] = NEVER
        h.half[rank, :] = 0
        h.all_row[rank] = NEVER
    elif cmd == ACTAB:
        h.all_row[rank] = row


@compiled
def walk(
    clock: _Ints, cmd: _Ints, rank: _Ints, bank: _Ints, row: _Ints, w: Waits, h: History, found: Found,
    first: int,
) -> int:  # fmt: skip
    """Check the commands of one channel in order, from number `first` on; `h` and `found` are filled.

    clock, cmd, rank, bank, row: (n,); `cmd` indexes COMMANDS, `bank` counts within its rank, NEVER where a
    field does not apply.
    returns: the number of the next command, n or one before which `found` was almost full.
    """
    for i in range(first, len(clock)):
        if found.total[0] > len(found.rows) - MOST:
            return i
        last = clock[i] + further_clocks(cmd[i], w)
        _check(found, i, last, cmd[i], rank[i], bank[i], row[i], w, h)
        _remember(last, cmd[i], rank[i], bank[i], row[i], w, h)
    return len(clock)
