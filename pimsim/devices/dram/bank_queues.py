"""A controller with one queue a bank, visited in turn: the command scheduler of DRAMsim3.

What one channel does in a clock, in this order:

1. the host offers one request. Reads wait in a read queue, writes in a write buffer;
2. the command: a precharge or the refresh that a due refresh needs; else the bank queues are visited in
   turn, from the one after the last that was served, and the first command that may go now is taken. Of a
   queue that is its first entry whose next command may go; only the first entry may close the row, and only
   when no entry hits it or `row_hit_cap` data commands have used it. Where rows and columns have a bus
   each, the queues are visited once more: what is found goes too if it is for the other bus;
3. one waiting request moves to the queue of its bank: the first whose bank has room. These are reads until
   the write buffer is full, or holds more than `write_drain` while all bank queues are empty: then as many
   writes as wait at that moment, or until a write meets a waiting read of its address.

A write is acknowledged the clock after its acceptance; the last `write_drain` writes may never be issued.
A read of a waiting write's address completes the clock after acceptance, a read of a waiting read's address
together with that one, and a write to a waiting write's address is merged with it.

A clock in which nothing can happen is never visited: `when` holds for every bank a clock before which its
queue has nothing to issue. It stays a lower bound while other banks issue commands, for these only push
clocks up, and is looked at again once it has come.

Departures from DRAMsim3: a write that waits for a read of its address while all bank queues are empty lets
that read pass (DRAMsim3 stops for ever). Split activates (LPDDR5) and data-clock starts, which DRAMsim3 does
not have: the second half of an activate goes as soon as it may, before anything else and before the next
activate; a data clock is started in the clock before the data command that needs it.

Left out: queues a rank, a common queue for reads and writes, refresh of all ranks at once or of single
banks, self refresh, half-clock command buses (HBM3).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple, cast

import numpy as np
from numpy.typing import NDArray

from pimsim.compiled import decorator
from pimsim.devices.dram import channel as ch
from pimsim.devices.dram import engine as e
from pimsim.devices.rules import CODE, command_counts
from pimsim.devices.spec import DramSpec
from pimsim.errors import SpecError, suggest


def _codes(*names: str) -> tuple[int, ...]:
    """Command codes as 64-bit integers: of Python's own, Numba compiles a version of a function a value."""
    return tuple(cast(int, np.int64(CODE[name])) for name in names)


ACT1, ACT2, PRE, RD, WR, RDA, WRA, REFAB, CAS_RD, CAS_WR = _codes(
    "ACT1", "ACT2", "PRE", "RD", "WR", "RDA", "WRA", "REFAB", "CAS_RD", "CAS_WR"
)
NONE, FIRST = cast(int, np.int64(-1)), cast(int, np.int64(0))  # no bank, row or column; the first channel

ROW_POLICIES = ("open", "closed")
REFRESHES = ("none", "all_bank")


@dataclass(frozen=True, kw_only=True)
class BankQueues:
    """Settings of a controller with one queue a bank.

    bank_queue: requests a bank queue holds. read_queue, write_queue: requests that wait for one.
    row_hit_cap: data commands of an open row after which it may be closed although requests hit it.
    row_policy: "open", or "closed" (auto precharge on every access).
    write_drain: above so many, writes are served while all bank queues are empty; else once their buffer is
      full.
    refresh: "none" or "all_bank" (the ranks in turn, spread evenly over the interval).
    data_clock: "on_demand" (LPDDR5: a CAS starts it) or "always_on".
    """

    name: str = "dramsim3"
    bank_queue: int = 8
    read_queue: int = 32
    write_queue: int = 32
    row_hit_cap: int = 4
    row_policy: str = "open"
    write_drain: int = 8
    refresh: str = "all_bank"
    data_clock: str = "on_demand"

    def __post_init__(self) -> None:
        for name in ("bank_queue", "read_queue", "write_queue", "row_hit_cap"):
            if getattr(self, name) < 1:
                raise SpecError(f"controller {self.name}: {name}={getattr(self, name)}; wanted at least 1")
        if self.write_drain < 0:
            raise SpecError(f"controller {self.name}: write_drain={self.write_drain}; wanted at least 0")
        for name, wanted in (
            ("row_policy", ROW_POLICIES),
            ("refresh", REFRESHES),
            ("data_clock", ("on_demand", "always_on")),
        ):
            held = getattr(self, name)
            if held not in wanted:
                raise SpecError(
                    f"controller {self.name}: {name}={held!r}; wanted {' or '.join(wanted)}"
                    f"{suggest(held, wanted)}"
                )


def build(spec: DramSpec, controller: BankQueues, log_rows: int = 0) -> e.Channels:
    """One fresh channel of a part, for `replay` under this controller."""
    base = ch.Controller(name=controller.name, refresh=controller.refresh, data_clock=controller.data_clock)
    return ch.build(spec, base, 1, log_rows=log_rows)


def replay(
    channel: e.Channels,
    controller: BankQueues,
    arrive: NDArray[np.int64],
    write: NDArray[np.int64],
    bank: NDArray[np.int64],
    row: NDArray[np.int64],
    column: NDArray[np.int64],
    window: int = 0,
    address: NDArray[np.int64] | NDArray[np.uint64] | None = None,
) -> ch.Replayed:
    """Offer requests in order, each from its arrival clock on, at most `window` outstanding (0: no limit).

    arrive, write, bank, row, column: (n,) int64; `bank` counts over ranks, groups and banks.
    address: (n,) int64, equal where requests are to the same address; None: bank, row and column say so.
    Commands go on after the last completion until the writes that are being drained are issued.
    """
    if window < 0:
        raise SpecError(f"window={window}; wanted 0 (no limit) or a count of requests")
    _check(channel, controller)
    if address is None:
        columns, banks = int(np.max(column, initial=0)) + 1, channel.open_row.shape[1]
        address = (row * columns + column) * banks + bank
    request = np.full((len(arrive), R_NUM), -1, np.int64)
    for at, values in (
        (R_WRITE, write),
        (R_BANK, bank),
        (R_ROW, row),
        (R_COLUMN, column),
        (R_ADDRESS, address),
    ):
        request[:, at] = values
    q = _make_queues(channel, controller, request, window)
    last = int(_run(channel, q, np.ascontiguousarray(arrive, np.int64)))
    accepted, done = request[:, R_ACCEPTED].copy(), request[:, R_DONE].copy()
    if len(arrive) and last < 0:
        first = int(np.argmax(done < 0))
        raise SpecError(f"request {first} can never complete: no command can issue any more")
    return ch.Replayed(
        accepted=accepted,
        done=done,
        cycles=last + 1,
        counts=command_counts(channel.counts[0]),
        row_hits=int(q.x[X_ROW_HITS]),
        log=ch.command_log(channel) if channel.cfg[e.C_LOG] else None,
    )


def _check(channel: e.Channels, controller: BankQueues) -> None:
    cfg = channel.cfg
    if cfg[e.C_BUSES] == e.HALF_CLOCK:
        raise SpecError(f"controller {controller.name}: half-clock command buses are not modelled")
    if cfg[e.C_BUSES] != e.ONE_BUS and (cfg[e.C_SPLIT_ACT] or cfg[e.C_SYNC]):
        raise SpecError(
            f"controller {controller.name}: row and column buses are not modelled together with split "
            "activates or a data clock"
        )
    if cfg[e.C_REFRESH] != ch.REFRESH_MODES[controller.refresh]:
        mode = next(name for name, code in ch.REFRESH_MODES.items() if code == cfg[e.C_REFRESH])
        raise SpecError(
            f"controller {controller.name}: refresh={controller.refresh!r} but the channel was built for "
            f"{mode!r}"
        )
    if controller.refresh != "none" and cfg[e.C_REFI] < cfg[e.C_RANKS]:
        raise SpecError(
            f"controller {controller.name}: a refresh interval of {cfg[e.C_REFI]} clocks for "
            f"{cfg[e.C_RANKS]} ranks; wanted at least a clock a rank"
        )


# Columns of `Queues.x`.
(X_BANK_QUEUE, X_READ_QUEUE, X_WRITE_QUEUE, X_CAP, X_CLOSED, X_WRITE_DRAIN, X_INTERVAL, X_WINDOW, X_TURN,
 X_READS, X_WRITES, X_DRAIN, X_QUEUED, X_TRY, X_SOONEST, X_REF_NEXT, X_REF_RANK, X_REF_DUE, X_REF_ON,
 X_OWED, X_OWED_BY, X_SLOT, X_SLOT_AT, X_ROW_HITS, X_LAST_DATA, X_LAST_DONE, X_UNFINISHED,
 X_NUM) = range(28)  # fmt: skip

# Columns of `Queues.request`.
R_WRITE, R_BANK, R_ROW, R_COLUMN, R_ADDRESS, R_ACCEPTED, R_DONE, R_SAME, R_NUM = range(9)

# Columns of `Queues.bank`.
B_LENGTH, B_SERVED, B_STALE, B_READ, B_WRITE, B_CLOSE, B_NUM = range(7)

FILTER = 1024
READ_DONE, SHORT_DONE = range(2)


class Queues(NamedTuple):
    """State of the controller; requests are numbers in the order of the list.

    x: (X_NUM,) the settings, then: bank served last (turn); waiting reads and writes; writes still to move
    (drain); requests in bank queues (queued); whether a request may move now (try); no bank queue has a
    command before (soonest); clock of the next refresh, rank of the oldest of `ref_due` refreshes, rank that
    it holds up or -1 (ref_on); bank whose activate lacks its second half or -1, and its deadline (owed,
    owed_by); bank, -1 for none, and queue place of the data command whose data clock is started (slot,
    slot_at); results.
    request: (n, R_NUM) the requests; address: a number an address; same: the next request that completes
    with this read, or -1.
    waiting: (2, depth) reads and writes in order of acceptance. queue: (banks, depth) requests.
    bank: (banks, B_NUM) requests in its queue; data commands since its activate; whether what follows is
    stale: places of the first read and write that hit the open row, -1 without one, and whether the first
    entry may close the row.
    when: (banks,) no command of the bank's queue may go before.
    held: (2, FILTER) reads and writes that wait for their data command, by a hash of the address.
    completions: (2, window) rings of completion clocks, in order: reads that were issued, and requests that
    complete the clock after acceptance. completed: (2, 2) where their first and their next entry are.
    """

    x: NDArray[np.int64]
    request: NDArray[np.int64]
    waiting: NDArray[np.int64]
    queue: NDArray[np.int64]
    bank: NDArray[np.int64]
    when: NDArray[np.int64]
    held: NDArray[np.int64]
    completions: NDArray[np.int64]
    completed: NDArray[np.int64]


def _make_queues(
    channel: e.Channels, controller: BankQueues, request: NDArray[np.int64], window: int
) -> Queues:
    banks = channel.open_row.shape[1]
    x = np.zeros(X_NUM, np.int64)
    x[X_BANK_QUEUE] = controller.bank_queue
    x[X_READ_QUEUE], x[X_WRITE_QUEUE] = controller.read_queue, controller.write_queue
    x[X_CAP], x[X_CLOSED] = controller.row_hit_cap, controller.row_policy == "closed"
    x[X_WRITE_DRAIN], x[X_WINDOW] = controller.write_drain, window
    x[X_INTERVAL] = channel.cfg[e.C_REFI] // channel.cfg[e.C_RANKS]
    x[X_REF_NEXT] = e.NEVER if controller.refresh == "none" else x[X_INTERVAL]
    x[[X_REF_ON, X_OWED, X_SLOT, X_LAST_DATA, X_LAST_DONE]] = -1
    x[X_UNFINISHED] = len(request)
    x[X_SOONEST] = e.NEVER
    return Queues(
        x=x,
        request=request,
        waiting=np.zeros((2, max(controller.read_queue, controller.write_queue)), np.int64),
        queue=np.zeros((banks, controller.bank_queue), np.int64),
        bank=np.zeros((banks, B_NUM), np.int64),
        when=np.full(banks, e.NEVER, np.int64),
        held=np.zeros((2, FILTER), np.int64),
        completions=np.zeros((2, max(1, window)), np.int64),
        completed=np.zeros((2, 2), np.int64),
    )


_inline = decorator(_nrt=False, inline="always")
"""Compiled into the caller, before its types are known: handing over all arrays of both states would take
longer than the work."""


@_inline
def _hash(address: int) -> int:
    return (address ^ address >> 10 ^ address >> 20) & (FILTER - 1)


@_inline
def _find(q: Queues, r: int, write: int) -> int:
    """A read (write: a write) of the address of request `r` that waits for its data command, or -1."""
    address, found = q.request[r, R_ADDRESS], -1
    if q.held[write, _hash(address)]:
        for k in range(q.x[X_WRITES] if write else q.x[X_READS]):
            other = q.waiting[write, k]
            if q.request[other, R_ADDRESS] == address:
                found = other
        bank = q.request[r, R_BANK]
        for k in range(q.bank[bank, B_LENGTH]):
            other = q.queue[bank, k]
            if q.request[other, R_WRITE] == write and q.request[other, R_ADDRESS] == address:
                found = other
    return found


@_inline
def _complete(q: Queues, r: int, clock: int, ring: int) -> None:
    x, window = q.x, q.x[X_WINDOW]
    q.request[r, R_DONE] = clock
    x[X_UNFINISHED] -= 1
    x[X_LAST_DONE] = max(x[X_LAST_DONE], clock)
    if window:
        q.completions[ring, q.completed[ring, 1] % window] = clock
        q.completed[ring, 1] += 1


@_inline
def _accept(q: Queues, t: int, r: int) -> None:
    """Take request `r` at clock `t`."""
    x, write = q.x, q.request[r, R_WRITE]
    q.request[r, R_ACCEPTED] = t
    known = _find(q, r, 1) >= 0
    if write or known:
        _complete(q, r, t + 1, SHORT_DONE)
        if known:
            return
    else:
        other = _find(q, r, 0)
        if other >= 0:
            q.request[r, R_SAME] = q.request[other, R_SAME]
            q.request[other, R_SAME] = r
            return
    count = X_WRITES if write else X_READS
    q.waiting[write, x[count]] = r
    x[count] += 1
    q.held[write, _hash(q.request[r, R_ADDRESS])] += 1
    x[X_TRY] = 1


@_inline
def _bound(s: e.Channels, q: Queues, bank: int) -> int:
    """A clock before which none of a bank's commands may go."""
    rank = s.place[bank, 0]
    if s.open_row[0, bank] < 0:
        clock = e.earliest(s, FIRST, ACT1, rank, bank)
    else:
        clock = e.earliest(s, FIRST, PRE, rank, bank)
        clock = min(clock, e.earliest(s, FIRST, RDA if q.x[X_CLOSED] else RD, rank, bank))
        clock = min(clock, e.earliest(s, FIRST, WRA if q.x[X_CLOSED] else WR, rank, bank))
    return clock


@_inline
def _move(s: e.Channels, q: Queues) -> bool:
    """Move one waiting request to the queue of its bank, if one has room; whether one moved."""
    x = q.x
    started = False
    if x[X_DRAIN] == 0 and (
        x[X_WRITES] >= x[X_WRITE_QUEUE] or (x[X_WRITES] > x[X_WRITE_DRAIN] and x[X_QUEUED] == 0)
    ):
        x[X_DRAIN] = x[X_WRITES]
        started = True
    write = 1 if x[X_DRAIN] > 0 else 0
    x[X_TRY] = 0
    place, n = 0, x[X_WRITES] if write else x[X_READS]
    while place < n and q.bank[q.request[q.waiting[write, place], R_BANK], B_LENGTH] >= x[X_BANK_QUEUE]:
        place += 1
    if place == n:
        return False
    if write:
        if _find(q, q.waiting[1, place], 0) >= 0:
            x[X_DRAIN] = 0
            if not started:
                x[X_TRY] = 1  # reads move from the next clock on, unless draining starts again
                return False
            if x[X_QUEUED] > 0:
                return False
            write, place = 0, 0  # nothing else would ever happen
        else:
            x[X_DRAIN] -= 1
    r = q.waiting[write, place]
    count = X_WRITES if write else X_READS
    x[count] -= 1
    for k in range(place, x[count]):
        q.waiting[write, k] = q.waiting[write, k + 1]
    bank = q.request[r, R_BANK]
    q.queue[bank, q.bank[bank, B_LENGTH]] = r
    q.bank[bank, B_LENGTH] += 1
    q.bank[bank, B_STALE] = 1
    q.when[bank] = min(q.when[bank], _bound(s, q, bank))
    x[X_SOONEST] = min(x[X_SOONEST], q.when[bank])
    x[X_QUEUED] += 1
    x[X_TRY] = 1 if x[X_READS] + x[X_WRITES] > 0 else 0
    return True


@_inline
def _find_hits(q: Queues, bank: int, row: int) -> None:
    first_read, first_write = -1, -1
    for k in range(q.bank[bank, B_LENGTH]):
        r = q.queue[bank, k]
        if q.request[r, R_ROW] == row:
            if q.request[r, R_WRITE]:
                if first_write < 0:
                    first_write = k
            elif first_read < 0:
                first_read = k
    q.bank[bank, B_READ], q.bank[bank, B_WRITE] = first_read, first_write
    close = first_read != 0 and first_write != 0
    if first_read > 0 or first_write > 0:
        close = close and q.bank[bank, B_SERVED] >= q.x[X_CAP]
    q.bank[bank, B_CLOSE] = close
    q.bank[bank, B_STALE] = 0


@_inline
def _ready(s: e.Channels, q: Queues, t: int, bank: int) -> tuple[int, int]:
    """(place, command) of the bank queue's first entry whose next command may go; -1 without one.

    Without one, `when` becomes the earliest clock at which an entry's command may go.
    """
    place, command, soonest = -1, -1, e.NEVER
    rank, row = s.place[bank, 0], s.open_row[0, bank]
    if q.bank[bank, B_LENGTH] > 0 and row < 0:
        soonest = e.earliest(s, FIRST, ACT1, rank, bank)
        if q.x[X_OWED] >= 0:
            soonest = max(soonest, t + 1)
        if soonest <= t:
            place, command = 0, ACT1
    elif q.bank[bank, B_LENGTH] > 0:
        if q.bank[bank, B_STALE]:
            _find_hits(q, bank, row)
        if q.bank[bank, B_CLOSE]:
            soonest = e.earliest(s, FIRST, PRE, rank, bank)
            if soonest <= t:
                place, command = 0, PRE
        for write in range(2):
            at = q.bank[bank, B_WRITE] if write else q.bank[bank, B_READ]
            if at >= 0 and (place < 0 or at < place):
                do = WR if write else RD
                if q.x[X_CLOSED]:
                    do = WRA if write else RDA
                clock = e.earliest(s, FIRST, do, rank, bank)
                if q.x[X_OWED] == bank:
                    clock = max(clock, t + 1)
                soonest = min(soonest, clock)
                if clock <= t:
                    place, command = at, do
    if place < 0:
        q.when[bank] = soonest
    return place, command


@_inline
def _choose(s: e.Channels, q: Queues, t: int) -> tuple[int, int, int]:
    """(bank, place, command) of the next bank queue in turn with something to issue now; -1 without one."""
    banks, blocked = len(q.when), q.x[X_REF_ON]
    bank, place, command = q.x[X_TURN], -1, -1
    for _ in range(banks):
        bank += 1
        if bank == banks:
            bank = 0
        if q.when[bank] <= t and s.place[bank, 0] != blocked:
            place, command = _ready(s, q, t, bank)
            if place >= 0:
                q.x[X_TURN] = bank
                break
    return bank, place, command


@_inline
def _soonest(s: e.Channels, q: Queues) -> int:
    """The first clock at which a bank queue may have something to issue."""
    blocked, nxt = q.x[X_REF_ON], e.NEVER
    if blocked < 0:
        for bank in range(len(q.when)):
            nxt = min(nxt, q.when[bank])
    else:
        for bank in range(len(q.when)):
            if s.place[bank, 0] != blocked:
                nxt = min(nxt, q.when[bank])
    return nxt


@_inline
def _is_data(command: int) -> bool:
    return command in (RD, WR, RDA, WRA)


@_inline
def _issue(s: e.Channels, q: Queues, t: int, bank: int, place: int, command: int) -> None:
    """Issue the command of a bank queue's entry, or the data-clock start that it needs."""
    x, cfg, request = q.x, s.cfg, q.request
    rank, r = s.place[bank, 0], q.queue[bank, place]
    write, row, column = request[r, R_WRITE], request[r, R_ROW], request[r, R_COLUMN]
    data = _is_data(command)
    if command == PRE:
        row, column = -1, -1
    elif command == ACT1:
        column = -1
        q.bank[bank, B_SERVED] = 0
        if cfg[e.C_SPLIT_ACT]:
            x[X_OWED], x[X_OWED_BY] = bank, t + cfg[e.C_AAD]
    elif cfg[e.C_SYNC] and x[X_SLOT] < 0 and t >= s.wck_until[0, rank]:
        command, data = CAS_WR if write else CAS_RD, False
        x[X_SLOT], x[X_SLOT_AT] = bank, place
    e.issue(s, FIRST, t, command, rank, bank, row, column)
    if data:
        if cfg[e.C_SYNC]:
            until = t + cfg[e.C_BL] + cfg[e.C_WCKPST] + (cfg[e.C_WL] if write else cfg[e.C_RL])
            s.wck_until[0, rank] = max(s.wck_until[0, rank], until)
        x[X_SLOT] = -1
        x[X_LAST_DATA] = t
        if q.bank[bank, B_SERVED]:
            x[X_ROW_HITS] += 1
        q.bank[bank, B_SERVED] += 1
        q.held[write, _hash(request[r, R_ADDRESS])] -= 1
        if not write:
            clock = t + cfg[e.C_RL] + cfg[e.C_BL]
            while r >= 0:
                _complete(q, r, clock, READ_DONE)
                r = request[r, R_SAME]
        q.bank[bank, B_LENGTH] -= 1
        x[X_QUEUED] -= 1
        for k in range(place, q.bank[bank, B_LENGTH]):
            q.queue[bank, k] = q.queue[bank, k + 1]
        x[X_TRY] = 1
    q.bank[bank, B_STALE] = 1
    q.when[bank] = _bound(s, q, bank) if q.bank[bank, B_LENGTH] else e.NEVER


@e.compiled
def _refresh(s: e.Channels, q: Queues, t: int) -> tuple[int, int]:
    """(command, next clock): issue what the oldest due refresh needs, if it may go now; else command -1."""
    x, nxt = q.x, e.NEVER
    rank = x[X_REF_RANK]
    x[X_REF_ON] = rank
    per_rank = len(q.when) // s.cfg[e.C_RANKS]
    closed = True
    for bank in range(rank * per_rank, (rank + 1) * per_rank):
        if s.open_row[0, bank] >= 0:
            closed = False
            clock = e.earliest(s, FIRST, PRE, rank, bank)
            if clock <= t:
                e.issue(s, FIRST, t, PRE, rank, bank, NONE, NONE)
                q.bank[bank, B_STALE] = 1
                q.when[bank] = 0
                return PRE, t + 1
            nxt = min(nxt, clock)
    if closed:
        nxt = e.earliest(s, FIRST, REFAB, rank, NONE)
        if nxt <= t:
            e.issue(s, FIRST, t, REFAB, rank, NONE, NONE, NONE)
            x[X_REF_ON] = -1
            x[X_REF_DUE] -= 1
            x[X_REF_RANK] = (rank + 1) % s.cfg[e.C_RANKS]
            return REFAB, t + 1
    return -1, nxt


@e.compiled
def _finish(s: e.Channels, q: Queues, t: int) -> tuple[bool, int]:
    """Go on with a started data clock or a split activate: (whether nothing else may go, next clock)."""
    x = q.x
    if x[X_SLOT] >= 0:
        bank, place = x[X_SLOT], x[X_SLOT_AT]
        if q.request[q.queue[bank, place], R_WRITE]:
            command = WRA if x[X_CLOSED] else WR
        else:
            command = RDA if x[X_CLOSED] else RD
        _issue(s, q, t, bank, place, command)
        return True, t + 1
    bank = x[X_OWED]
    rank = s.place[bank, 0]
    clock = e.earliest(s, FIRST, ACT2, rank, bank)
    if clock <= t:
        e.issue(s, FIRST, t, ACT2, rank, bank, s.open_row[0, bank], NONE)
        x[X_OWED] = -1
        return True, t + 1
    # The data command after a data-clock start would push the second half past its deadline.
    return s.cfg[e.C_SYNC] != 0 and x[X_OWED_BY] <= t + 1, clock


@_inline
def _command(s: e.Channels, q: Queues, t: int) -> int:
    """Issue what goes at clock `t`; returns the next clock worth a try."""
    x, nxt, first, free = q.x, e.NEVER, -1, True
    both = s.cfg[e.C_BUSES] == e.ROW_AND_COLUMN
    if x[X_SLOT] >= 0 or x[X_OWED] >= 0:
        all_done, nxt = _finish(s, q, t)
        free = not all_done
    if free and x[X_REF_DUE]:
        first, clock = _refresh(s, q, t)
        nxt = min(nxt, clock)
    if not free or first >= 0 or x[X_SOONEST] <= t:
        go_on = free and (first < 0 or both)
        while go_on:
            bank, place, command = _choose(s, q, t)
            go_on = both and first < 0 and command >= 0
            if command >= 0 and (first < 0 or _is_data(first) != _is_data(command)):
                _issue(s, q, t, bank, place, command)
            first = command
        x[X_SOONEST] = _soonest(s, q)
    if x[X_SLOT] >= 0 or x[X_OWED] >= 0:
        nxt = t + 1
    return int(min(nxt, max(t + 1, x[X_SOONEST])))


@_inline
def _clock(s: e.Channels, q: Queues, t: int) -> int:
    """Act for clock `t`; returns the next clock at which something can happen without a new request."""
    x = q.x
    while x[X_REF_NEXT] <= t:
        x[X_REF_DUE] += 1
        x[X_REF_NEXT] += x[X_INTERVAL]
    nxt = min(_command(s, q, t), x[X_REF_NEXT])
    if x[X_TRY] and (_move(s, q) or x[X_TRY]):
        nxt = t + 1
    return int(nxt)


@e.compiled
def _outstanding(q: Queues, t: int, accepted: int) -> tuple[int, int]:
    """(requests not complete before clock `t`, first completion of one)."""
    first = e.NEVER
    for ring in range(2):
        at, window = q.completed[ring, 0], q.x[X_WINDOW]
        while at < q.completed[ring, 1] and q.completions[ring, at % window] < t:
            at += 1
        q.completed[ring, 0] = at
        accepted -= at
        if at < q.completed[ring, 1]:
            first = min(first, q.completions[ring, at % window])
    return accepted, first


@e.compiled
def _run(s: e.Channels, q: Queues, arrive: NDArray[np.int64]) -> int:
    """Drive channel 0 with the requests; returns the clock of the last completion, -1 if it never comes."""
    x, n, window = q.x, len(arrive), q.x[X_WINDOW]
    at, t, wake = FIRST, FIRST, x[X_REF_NEXT]
    last = FIRST
    while t < e.NEVER and (t <= last or x[X_UNFINISHED] > 0 or x[X_QUEUED] > 0 or x[X_TRY]):
        offered, full = e.NEVER, False
        if at < n and arrive[at] > t:
            offered = arrive[at]
        elif at < n:
            if window:
                outstanding, _ = _outstanding(q, t, at)
                full = outstanding >= window
            count, room = (X_WRITES, X_WRITE_QUEUE) if q.request[at, R_WRITE] else (X_READS, X_READ_QUEUE)
            if not full and x[count] < x[room]:
                _accept(q, t, at)
                at += 1
                wake = t
                offered = t + 1
        if wake <= t:
            wake = _clock(s, q, t)
        if full:
            _, first = _outstanding(q, t, at)
            offered = min(first, e.NEVER - 1) + 1
        t = min(wake, offered)
        last = max(x[X_LAST_DONE], x[X_LAST_DATA])
    return int(x[X_LAST_DONE]) if x[X_UNFINISHED] == 0 and x[X_QUEUED] == 0 else -1
