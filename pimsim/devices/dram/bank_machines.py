"""A controller of bank machines: each bank decides its own next command, one choice a clock among them.

This is the controller of DRAMSys 5. Requests wait in one queue a bank; the machine of a bank wants the
activate, precharge or data command of one of them. Of the commands that all machines and the refresh
managers want, the one that leaves the command bus first goes (it may be one that starts later but is
shorter), and of equal ones that of the oldest request.

In a clock, in this order:

1. the request at the door, offered a clock ago or earlier, enters the queue of its bank, unless the bank
   that took the last request is full: no bank overflows, but one full bank stops all;
2. the host offers its next request, if the door is free; this is its acceptance;
3. each refresh manager (one a rank) whose time has come names its command and blocks the banks concerned;
4. one command goes out; after a data command a request at the door may enter at once, and the refresh
   managers look again.

Only clocks in which something can happen are visited: the next command, the arrival of a request, a
completion that a host waits for, or a refresh that falls due.

Left out: refreshes postponed or pulled in, refresh of two or of the same banks at once, refresh
management, power-down, masked writes, responses reordered into request order, schedulers that group
reads and writes, HBM3's half clocks.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from pimsim.compiled import compiled, counted
from pimsim.devices.dram import engine as e
from pimsim.devices.dram.channel import REFRESH_MODES, Controller, Replayed, command_log
from pimsim.devices.dram.channel import build as build_channels
from pimsim.devices.rules import (
    ACT1,
    ACT2,
    CAS_RD,
    CAS_WR,
    PRE,
    PREA,
    RD,
    RDA,
    REFAB,
    REFPB,
    WR,
    WRA,
    command_counts,
)
from pimsim.devices.spec import DramSpec, PimSpec
from pimsim.errors import SpecError, suggest

SCHEDULERS = {"fr_fcfs": 0, "fifo": 1}
BUFFERS = {"bankwise": 0, "shared": 1, "read_write": 2}
COMMAND_MUXES = {"oldest": 0, "strict": 1}
OPEN, CLOSED, OPEN_ADAPTIVE, CLOSED_ADAPTIVE = range(4)
ROW_POLICIES = {
    "open": OPEN,
    "closed": CLOSED,
    "open_adaptive": OPEN_ADAPTIVE,
    "closed_adaptive": CLOSED_ADAPTIVE,
}
_CHOICES = {
    "scheduler": SCHEDULERS, "buffer": BUFFERS, "command_mux": COMMAND_MUXES, "row_policy": ROW_POLICIES,
    "refresh": REFRESH_MODES,
}  # fmt: skip


@dataclass(frozen=True, kw_only=True)
class BankMachines:
    """What a controller of bank machines decides.

    scheduler: request that a bank machine works for: "fr_fcfs" (oldest row hit, else oldest) or "fifo".
    buffer: what `depth` requests share: each bank ("bankwise"), the channel ("shared"), or reads and writes
      apart ("read_write").
    command_mux: "oldest", or "strict": data commands in the order of arrival, which needs "fifo".
    row_policy: "open"; "closed" (every data command precharges); "open_adaptive" (it precharges when others
      wait and none hits the row); "closed_adaptive" (when none hits the row).
    refresh: "none", "all_bank" or "per_bank" (banks without requests first).
    max_active: most requests between acceptance and completion; 0 is no limit.
    """

    name: str = "dramsys"
    scheduler: str = "fr_fcfs"
    buffer: str = "bankwise"
    depth: int = 8
    command_mux: str = "oldest"
    row_policy: str = "open"
    refresh: str = "all_bank"
    max_active: int = 128

    def __post_init__(self) -> None:
        for key, known in _CHOICES.items():
            value = getattr(self, key)
            if value not in known:
                raise SpecError(f"controller {self.name}: {key}={value!r}{suggest(str(value), known)}")
        if self.depth < 1:
            raise SpecError(f"controller {self.name}: depth={self.depth}; wanted at least 1")
        if self.max_active < 0:
            raise SpecError(
                f"controller {self.name}: max_active={self.max_active}; wanted 0 (no limit) or a count"
            )
        if self.command_mux == "strict" and self.scheduler != "fifo":
            raise SpecError(
                f"controller {self.name}: command_mux='strict' with scheduler={self.scheduler!r} would stop "
                "for ever; wanted scheduler='fifo'"
            )


def build(
    spec: DramSpec, controller: BankMachines, channels: int = 1, pim: PimSpec | None = None, log_rows: int = 0
) -> e.Channels:
    """Fresh channels of a part, refreshed as `controller` says."""
    return build_channels(spec, Controller(refresh=controller.refresh), channels, pim, log_rows)


# Columns of `Machines.setting`.
S_FIFO, S_BUFFER, S_DEPTH, S_STRICT, S_POLICY, S_ACTIVE, S_WINDOW, S_NUM = range(8)

# Columns of `Machines.scalar`.
(X_LAST_BANK, X_QUEUED, X_QUEUED_WRITES, X_DOOR, X_DOOR_FROM, X_NEXT_DATA, X_DUE, X_BUS, X_ROW_BUS, X_CAS,
 X_LAST_DONE, X_ROW_HITS, X_DIRTY, X_NUM) = range(14)  # fmt: skip

# Columns of `Machines.best`: the command that goes next.
B_WHEN, B_KEY, B_COMMAND, B_RANK, B_BANK, B_REQUEST, B_NUM = range(7)
KEY_SHIFT = 27
NO_KEY = 2**63 - 1
"""A key orders commands: end of the command, then request (at most 2^27 - 2 of them) in the low bits."""

# Columns of a request.
R_ARRIVE, R_WRITE, R_BANK, R_ROW, R_COL, R_NUM = range(6)


class Machines(NamedTuple):
    """State of the bank machines and refresh managers of one channel; all int64.

    setting, scalar, best: see the columns. clocks[command]: clocks of the command bus it takes.
    queue, rows[bank, k]: waiting requests in order of arrival and their rows; queued[bank]: how many.
    command, request[bank]: what the machine wants (-1: nothing) and for which request.
    blocked[bank]: its machine waits for a refresh; fresh[bank]: no data command since the activate.
    due[rank]: when the next refresh falls due; left[bank]: not refreshed yet in this round.
    picked[rank]: bank to refresh; held[rank]: that choice is final; wanted[rank]: command, or -1.
    completed: completion clocks in order.
    """

    setting: NDArray[np.int64]
    scalar: NDArray[np.int64]
    best: NDArray[np.int64]
    clocks: NDArray[np.int64]
    queue: NDArray[np.int64]
    rows: NDArray[np.int64]
    queued: NDArray[np.int64]
    command: NDArray[np.int64]
    request: NDArray[np.int64]
    blocked: NDArray[np.int64]
    fresh: NDArray[np.int64]
    due: NDArray[np.int64]
    left: NDArray[np.int64]
    picked: NDArray[np.int64]
    held: NDArray[np.int64]
    wanted: NDArray[np.int64]
    completed: NDArray[np.int64]


def first_refresh(interval: int, ranks: int) -> list[int]:
    """Clock at which the first refresh of each rank falls due: spread out, ranks bit-reversed."""
    bits = ranks.bit_length() - 1
    turns = [int(f"{rank:0{bits}b}"[::-1], 2) if bits else 0 for rank in range(ranks)]
    return [-(-(interval * ranks - turn * interval) // ranks) for turn in turns]


def make_machines(channel: e.Channels, controller: BankMachines, window: int, requests: int) -> Machines:
    """Idle machines for a fresh channel."""
    cfg = channel.cfg
    if cfg[e.C_BUSES] == e.HALF_CLOCK:
        raise SpecError(f"controller {controller.name}: half clocks on the command bus are not modelled")
    if cfg[e.C_REFRESH] != REFRESH_MODES[controller.refresh]:
        built = next(name for name, mode in REFRESH_MODES.items() if mode == cfg[e.C_REFRESH])
        raise SpecError(
            f"controller {controller.name}: refresh={controller.refresh!r} but the channel was built with "
            f"{built!r}"
        )
    ranks, banks = int(cfg[e.C_RANKS]), channel.open_row.shape[1]
    if ranks & (ranks - 1):
        raise SpecError(f"controller {controller.name}: {ranks} ranks; wanted a power of two")
    setting = np.zeros(S_NUM, np.int64)
    setting[S_FIFO], setting[S_BUFFER] = SCHEDULERS[controller.scheduler], BUFFERS[controller.buffer]
    setting[S_DEPTH], setting[S_STRICT] = controller.depth, COMMAND_MUXES[controller.command_mux]
    setting[S_POLICY] = ROW_POLICIES[controller.row_policy]
    setting[S_ACTIVE] = controller.max_active or e.NEVER
    setting[S_WINDOW] = window or e.NEVER
    due = np.full(ranks, e.NEVER, np.int64)
    if cfg[e.C_REFRESH]:
        due[:] = first_refresh(int(cfg[e.C_REFI]), ranks)
    scalar = np.zeros(X_NUM, np.int64)
    scalar[[X_LAST_BANK, X_DOOR, X_CAS, X_LAST_DONE]] = -1
    scalar[X_DUE] = due.min()
    scalar[X_DIRTY] = 1
    room = controller.depth * (2 if controller.buffer == "read_write" else 1)

    def zeros(*shape: int) -> NDArray[np.int64]:
        return np.zeros(shape, np.int64)

    return Machines(
        setting=setting,
        scalar=scalar,
        best=zeros(B_NUM),
        clocks=channel.bus,
        queue=zeros(banks, room),
        rows=zeros(banks, room),
        queued=zeros(banks),
        command=np.full(banks, -1, np.int64),
        request=np.full(banks, -1, np.int64),
        blocked=zeros(banks),
        fresh=zeros(banks),
        due=due,
        left=np.ones(banks, np.int64),
        picked=zeros(ranks),
        held=zeros(ranks),
        wanted=np.full(ranks, -1, np.int64),
        completed=np.full(max(1, requests), e.NEVER, np.int64),
    )


@compiled
def _want(s: e.Channels, m: Machines, bank: int, requests: NDArray[np.int64]) -> None:
    """Decide anew which command the machine of `bank` wants, and for which request."""
    n, row, policy = m.queued[bank], s.open_row[0, bank], m.setting[S_POLICY]
    if n == 0:
        m.command[bank] = -1
        return
    if s.cfg[e.C_SPLIT_ACT] and s.scalar[0, e.X_OWED_BANK] == bank:
        m.command[bank] = ACT2
        return
    if row < 0:
        m.command[bank] = ACT1
        m.request[bank] = m.queue[bank, 0]
        return
    at = 0
    if not m.setting[S_FIFO]:
        while at < n and m.rows[bank, at] != row:
            at += 1
        if at == n:
            at = 0
    index = m.queue[bank, at]
    m.request[bank] = index
    if m.rows[bank, at] != row and policy != CLOSED:
        m.command[bank] = PRE
        return
    closes = policy == CLOSED
    if policy > CLOSED:
        hits = False  # whether another request hits the row
        if m.setting[S_FIFO]:
            hits = n >= 2 and m.rows[bank, 1] == row
        else:
            for k in range(at + 1, n):
                hits = hits or m.rows[bank, k] == row
        closes = not hits and (n >= 2 or policy == CLOSED_ADAPTIVE)
    if requests[index, R_WRITE]:
        m.command[bank] = WRA if closes else WR
    else:
        m.command[bank] = RDA if closes else RD


@compiled
def _has_room(m: Machines) -> bool:
    x, depth = m.scalar, m.setting[S_DEPTH]
    if m.setting[S_BUFFER] == 0:
        return bool(x[X_LAST_BANK] < 0 or m.queued[x[X_LAST_BANK]] < depth)
    if m.setting[S_BUFFER] == 1:
        return bool(x[X_QUEUED] < depth)
    return bool(x[X_QUEUED_WRITES] < depth and x[X_QUEUED] - x[X_QUEUED_WRITES] < depth)


@compiled
def _enter(s: e.Channels, m: Machines, t: int, requests: NDArray[np.int64]) -> None:
    """Move the request at the door into the queue of its bank, if it came in time and there is room."""
    x = m.scalar
    if x[X_DOOR] < 0 or x[X_DOOR_FROM] > t or not _has_room(m):
        return
    index = x[X_DOOR]
    bank = requests[index, R_BANK]
    x[X_DOOR] = -1
    x[X_LAST_BANK] = bank
    x[X_QUEUED] += 1
    x[X_QUEUED_WRITES] += requests[index, R_WRITE]
    m.queue[bank, m.queued[bank]] = index
    m.rows[bank, m.queued[bank]] = requests[index, R_ROW]
    m.queued[bank] += 1
    command = m.command[bank]
    if (
        command >= 0
        and m.setting[S_POLICY] == OPEN
        and (command != PRE or m.setting[S_FIFO] or requests[index, R_ROW] != s.open_row[0, bank])
    ):
        return  # younger than the request that the machine works for, and no first hit
    _want(s, m, bank, requests)
    if x[X_CAS] >= 0:
        return
    if command >= 0 or s.cfg[e.C_BUSES] or s.cfg[e.C_SPLIT_ACT]:
        x[X_DIRTY] = 1
    elif not x[X_DIRTY] and not m.blocked[bank]:  # one more candidate
        command = m.command[bank]
        when = max(t, m.scalar[X_BUS], e.earliest(s, 0, command, s.place[bank, 0], bank))
        key = (when + m.clocks[command]) << KEY_SHIFT | (index + 1)
        data = command in (RD, WR, RDA, WRA)
        if key < m.best[B_KEY] and not (data and m.setting[S_STRICT] and index != x[X_NEXT_DATA]):
            m.best[B_WHEN], m.best[B_KEY], m.best[B_COMMAND] = when, key, command
            m.best[B_RANK], m.best[B_BANK], m.best[B_REQUEST] = s.place[bank, 0], bank, index


@compiled
def _scan(s: e.Channels, m: Machines, t: int, kind: int) -> None:
    """Find the best command of a kind (ANY, COLUMN or ROW) among all that are wanted, from clock `t` on.

    The best ends first, then it is for the oldest request; a refresh is older than all.
    """
    best, strict = m.best, m.setting[S_STRICT]
    column_bus = max(t, m.scalar[X_BUS])
    row_bus = column_bus if s.cfg[e.C_BUSES] == e.ONE_BUS else max(t, m.scalar[X_ROW_BUS])
    first, chosen = NO_KEY, -1
    if kind != e.COLUMN and m.scalar[X_DUE] <= t:
        for rank in range(m.wanted.shape[0]):
            command = m.wanted[rank]
            if command >= 0:
                bank = m.picked[rank] if command in (PRE, REFPB) else -1
                when = max(row_bus, e.earliest(s, 0, command, rank, bank))
                key = (when + m.clocks[command]) << KEY_SHIFT
                if key < first:
                    first, chosen = key, -2 - rank
    owed = s.cfg[e.C_SPLIT_ACT] and s.scalar[0, e.X_OWED_BANK] >= 0
    for bank in range(m.command.shape[0]):
        command = m.command[bank]
        if command < 0 or (m.blocked[bank] and command != ACT2) or (owed and command == ACT1):
            continue
        data = command in (RD, WR, RDA, WRA)
        if (kind == e.COLUMN and not data) or (kind == e.ROW and data):
            continue
        if strict and data and m.request[bank] != m.scalar[X_NEXT_DATA]:
            continue
        when = max(column_bus if data else row_bus, e.earliest(s, 0, command, s.place[bank, 0], bank))
        key = (when + m.clocks[command]) << KEY_SHIFT | (m.request[bank] + 1)
        chosen = bank if key < first else chosen
        first = min(first, key)
    best[B_KEY] = first
    if chosen == -1:
        best[B_WHEN], best[B_COMMAND], best[B_REQUEST] = e.NEVER, -1, e.NEVER
        return
    if chosen >= 0:
        best[B_BANK], best[B_COMMAND], best[B_REQUEST] = chosen, m.command[chosen], m.request[chosen]
        best[B_RANK] = s.place[chosen, 0]
    else:
        rank = -2 - chosen
        best[B_RANK], best[B_COMMAND], best[B_REQUEST] = rank, m.wanted[rank], -1
        best[B_BANK] = m.picked[rank] if m.wanted[rank] in (PRE, REFPB) else -1
    best[B_WHEN] = (first >> KEY_SHIFT) - m.clocks[best[B_COMMAND]]


@compiled
def _choose(s: e.Channels, m: Machines, t: int) -> None:
    """The next command, at clock `t` or later, as if nothing arrived until then."""
    best = m.best
    m.scalar[X_DIRTY] = 0
    if s.cfg[e.C_BUSES] == e.ONE_BUS:
        _scan(s, m, t, e.ANY)
        if s.cfg[e.C_SPLIT_ACT]:
            _keep_deadline(s, m)
        return
    _scan(s, m, t, e.ROW)
    when, command, request = best[B_WHEN], best[B_COMMAND], best[B_REQUEST]
    rank, bank = best[B_RANK], best[B_BANK]
    _scan(s, m, t, e.COLUMN)
    if when < best[B_WHEN] or (when == best[B_WHEN] and request < best[B_REQUEST]):
        best[B_WHEN], best[B_COMMAND] = when, command
        best[B_RANK], best[B_BANK], best[B_REQUEST] = rank, bank, request


@compiled
def _keep_deadline(s: e.Channels, m: Machines) -> None:
    """The second half of an activate goes at its deadline, whatever else is ready then.

    A data command that must start the data clock takes two clocks, so that a deadline in its second counts.
    """
    best, bank = m.best, s.scalar[0, e.X_OWED_BANK]
    if m.scalar[X_CAS] >= 0 or bank < 0:
        return
    rank, deadline = s.place[bank, 0], s.scalar[0, e.X_OWED_BY]
    starts = s.cfg[e.C_SYNC] and best[B_COMMAND] in (RD, WR, RDA, WRA)
    if deadline <= best[B_WHEN] + (1 if starts and best[B_WHEN] >= s.wck_until[0, best[B_RANK]] else 0):
        best[B_WHEN] = max(m.scalar[X_BUS], min(deadline, best[B_WHEN]))
        best[B_COMMAND], best[B_RANK], best[B_BANK] = ACT2, rank, bank
        best[B_REQUEST] = m.request[bank]


@compiled
def _manage_refresh(s: e.Channels, m: Machines, t: int) -> None:
    """Refresh managers whose time has come name their command and block the banks it is for."""
    x, refi = m.scalar, s.cfg[e.C_REFI]
    if x[X_DUE] > t:
        return
    per_rank = s.cfg[e.C_GROUPS] * s.cfg[e.C_BANKS]
    x[X_DIRTY] = 1
    for rank in range(m.due.shape[0]):
        m.wanted[rank] = -1
        if m.due[rank] > t:
            continue
        while t >= m.due[rank] + refi:  # a whole interval late: one refresh is lost
            m.due[rank] += refi
        first = rank * per_rank
        if s.cfg[e.C_REFRESH] == e.ALL_BANK:
            m.wanted[rank] = REFAB
            for bank in range(first, first + per_rank):
                m.blocked[bank] = 1
                if s.open_row[0, bank] >= 0:
                    m.wanted[rank] = PREA
            continue
        if not m.held[rank]:
            pick = -1
            for bank in range(first, first + per_rank):
                if m.left[bank]:
                    if m.queued[bank] == 0:
                        pick = bank
                        break
                    if pick < 0:
                        pick = bank
            m.picked[rank] = pick
        bank = m.picked[rank]
        if s.open_row[0, bank] >= 0:
            m.wanted[rank] = PRE
        else:
            m.wanted[rank] = REFPB
            m.blocked[bank] = 1
            m.held[rank] = 1


@compiled
def _refreshed(s: e.Channels, m: Machines, command: int, rank: int, bank: int) -> None:
    """A refresh went out: its banks work again, and the next one falls due an interval later."""
    per_rank = s.cfg[e.C_GROUPS] * s.cfg[e.C_BANKS]
    first = rank * per_rank
    m.wanted[rank] = -1
    m.due[rank] += s.cfg[e.C_REFI]
    m.scalar[X_DUE] = m.due[0]
    for k in range(1, m.due.shape[0]):
        m.scalar[X_DUE] = min(m.scalar[X_DUE], m.due[k])
    if command == REFAB:
        for k in range(first, first + per_rank):
            m.blocked[k] = 0
        return
    m.blocked[bank] = 0
    m.held[rank] = 0
    m.left[bank] = 0
    for k in range(first, first + per_rank):
        if m.left[k]:
            return
    for k in range(first, first + per_rank):
        m.left[k] = 1


@compiled
def _go(s: e.Channels, m: Machines, t: int, requests: NDArray[np.int64], done: NDArray[np.int64]) -> int:
    """Put the best command on the bus at clock `t`; returns how many requests that completes."""
    x, best, cfg = m.scalar, m.best, s.cfg
    command, rank, bank, index = best[B_COMMAND], best[B_RANK], best[B_BANK], best[B_REQUEST]
    data = command in (RD, WR, RDA, WRA)
    x[X_DIRTY] = 1
    x[X_BUS if data or cfg[e.C_BUSES] == e.ONE_BUS else X_ROW_BUS] = t + 1
    if data and cfg[e.C_SYNC] and x[X_CAS] < 0 and t >= s.wck_until[0, rank]:
        e.issue(s, 0, t, CAS_WR if requests[index, R_WRITE] else CAS_RD, rank, bank, requests[index, R_ROW],
                requests[index, R_COL])  # fmt: skip
        x[X_CAS] = bank
        best[B_WHEN] = t + 1
        x[X_DIRTY] = 0
        return 0
    row, col = -1, -1
    if index >= 0 and command != PRE:
        row = requests[index, R_ROW]
        if data:
            col = requests[index, R_COL]
    e.issue(s, 0, t, command, rank, bank, row, col)
    if command in (REFAB, REFPB):
        _refreshed(s, m, command, rank, bank)
        return 0
    if command == PREA:
        per_rank = cfg[e.C_GROUPS] * cfg[e.C_BANKS]
        for k in range(rank * per_rank, (rank + 1) * per_rank):
            _want(s, m, k, requests)
        return 0
    if not data:
        m.fresh[bank] = 1
        _want(s, m, bank, requests)
        return 0
    x[X_CAS] = -1
    x[X_ROW_HITS] += 1 - m.fresh[bank]
    m.fresh[bank] = 0
    write = requests[index, R_WRITE]
    n, at = m.queued[bank], 0
    while m.queue[bank, at] != index:
        at += 1
    for k in range(at, n - 1):
        m.queue[bank, k] = m.queue[bank, k + 1]
        m.rows[bank, k] = m.rows[bank, k + 1]
    m.queued[bank] = n - 1
    x[X_QUEUED] -= 1
    x[X_QUEUED_WRITES] -= write
    _want(s, m, bank, requests)
    # Responses leave in the order of the data commands, one a clock.
    end = max(t + cfg[e.C_WL if write else e.C_RL] + cfg[e.C_BL], x[X_LAST_DONE] + 1)
    x[X_LAST_DONE] = end
    done[index] = end
    m.completed[x[X_NEXT_DATA]] = end
    x[X_NEXT_DATA] += 1
    _enter(s, m, t, requests)
    return 1


@counted
def _replay(
    s: e.Channels, m: Machines, requests: NDArray[np.int64], accepted: NDArray[np.int64],
    done: NDArray[np.int64],
) -> int:  # fmt: skip
    """Drive channel 0 with all requests; fills `accepted` and `done`; returns the last completion, or -1."""
    n = len(requests)
    x, best = m.scalar, m.best
    most = min(m.setting[S_WINDOW], m.setting[S_ACTIVE])
    unfinished, at, finished, t = n, 0, 0, 0
    while unfinished > 0 or t <= x[X_LAST_DONE]:
        _enter(s, m, t, requests)
        while finished < n and m.completed[finished] <= t:
            finished += 1
        if x[X_DOOR] < 0 and at < n and requests[at, R_ARRIVE] <= t and at - finished < most:
            accepted[at] = t
            x[X_DOOR], x[X_DOOR_FROM] = at, t + 1
            at += 1
        if x[X_CAS] < 0:
            _manage_refresh(s, m, t)
        while True:
            if x[X_DIRTY]:
                _choose(s, m, t)
            if best[B_WHEN] > t:
                break
            unfinished -= _go(s, m, t, requests, done)
            if x[X_CAS] < 0:
                _manage_refresh(s, m, t)
        nxt = best[B_WHEN]
        if x[X_DUE] > t:
            nxt = min(nxt, x[X_DUE])
        if x[X_DOOR] >= 0:
            if x[X_DOOR_FROM] > t and _has_room(m):
                nxt = min(nxt, x[X_DOOR_FROM])
        elif at < n:
            free = max(t + 1, requests[at, R_ARRIVE])
            if at - finished >= most:
                free = max(free, m.completed[finished])
            nxt = min(nxt, free)
        if nxt >= e.NEVER:
            if unfinished:
                return -1
            break
        t = nxt
    return int(x[X_LAST_DONE])


def replay(
    channel: e.Channels,
    controller: BankMachines,
    arrive: NDArray[np.int64],
    write: NDArray[np.int64],
    bank: NDArray[np.int64],
    row: NDArray[np.int64],
    column: NDArray[np.int64],
    window: int = 0,
) -> Replayed:
    """Offer requests in order, each from its arrival clock on, at most `window` outstanding (0: no limit).

    channel: fresh; its rules, latencies and refresh interval are used, its queues are not.
    arrive, write, bank, row, column: (n,) int64; `bank` counts over ranks, groups and banks. Reads and
    writes are done when their last data have been moved.
    """
    if window < 0:
        raise SpecError(f"window={window}; wanted 0 (no limit) or a count of requests")
    if len(arrive) >= 1 << KEY_SHIFT:
        raise SpecError(f"{len(arrive)} requests; wanted fewer than {1 << KEY_SHIFT}")
    machines = make_machines(channel, controller, window, len(arrive))
    requests = np.stack([arrive, write, bank, row, column], axis=1).astype(np.int64)
    accepted = np.full(len(arrive), -1, np.int64)
    done = np.full(len(arrive), -1, np.int64)
    last = _replay(channel, machines, requests, accepted, done)
    if (done < 0).any():
        first = int(np.argmax(done < 0))
        raise SpecError(f"request {first} can never complete: no command can issue any more")
    return Replayed(
        accepted=accepted,
        done=done,
        cycles=last + 1,
        counts=command_counts(channel.counts[0]),
        row_hits=int(machines.scalar[X_ROW_HITS]),
        log=command_log(channel) if channel.cfg[e.C_LOG] else None,
    )
