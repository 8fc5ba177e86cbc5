"""Exact skipping: traffic that repeats is simulated once and counted as often as it comes.

The channels and requesters are looked at from time to time. When everything that matters is as it was at an
earlier look, except that clocks, rows and addresses have moved on, they will do the same again, as long as

- no stream comes to its end, to the end of a loop that it has not gone through, or to `until`;
- the mapping takes a move of each stream's addresses to a move of rows and nothing else, wherever the stream
  goes meanwhile (`Shift`);
- rows that were equal stay equal and rows that were not stay apart: all rows of the channels move alike, or
  those that move differently never meet.

Then whole periods are skipped. All counters, clocks and positions become what they would have been step by
step; requests may lie in other slots, plans and bounds, which are caches, are forgotten, and clocks too long
past to delay anything may differ.

When nothing repeats, looking costs time: looks become rarer whenever the memory of them is full.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from itertools import accumulate
from math import gcd
from operator import mul

import numpy as np
from numpy.typing import NDArray

from pimsim.devices.dram import drive as d
from pimsim.devices.dram import engine as e
from pimsim.devices.dram import snapshot as snap

WORDS, SNAPSHOTS = 1 << 22, 1 << 14
"""Size of the memory of looks: 32 MiB, of which what is used is touched."""
BURSTS_A_LOOK = 512
"""Fewer bursts than this between two looks would make looking dear."""
WORTH_IT = 16 * BURSTS_A_LOOK
"""With fewer bursts left nothing is looked for."""
LONG = 1 << 24
"""Bursts of a loop in which a period is likely to fit several times."""
EVERYWHERE = 1 << 62


@dataclass(frozen=True, kw_only=True)
class Shift:
    """Where a mapping takes a move of addresses to a move of rows: address bits [low, high).

    row_bit: the row bit of address bit `low`. wraps: no address bit from `high` on means anything, so rows
    wrap around there. images: (48,) what each address bit contributes to the packed coordinates.
    An address moved by a multiple of 1 << low moves its row by (move >> low) << row_bit, and nothing else, if
    its bits from `high` on stay as they are.
    """

    low: int
    high: int
    row_bit: int
    wraps: bool
    images: tuple[int, ...]

    @cached_property
    def modulus(self) -> int:
        """Rows beyond which rows wrap around; 0 if they do not."""
        return 1 << (self.row_bit + self.high - self.low) if self.wraps else 0

    def rows(self, move: int) -> int:
        """Rows by which a move of addresses moves; `move` is a multiple of 1 << low."""
        return (move >> self.low) << self.row_bit

    def within(self, first: int, last: int) -> tuple[int, int] | None:
        """Rows of addresses from `first` to `last`; None if their bits from `high` on differ."""
        if first < 0 or first >> self.high != last >> self.high:
            return None
        base = 0
        for bit in range(self.high, len(self.images)):
            if first >> bit & 1:
                base ^= self.images[bit] >> 36
        inside = (1 << (self.high - self.low)) - 1
        top = [base + ((address >> self.low & inside) << self.row_bit) for address in (first, last)]
        return top[0], top[1] + (1 << self.row_bit) - 1


def shift_of(table: NDArray[np.int64]) -> Shift | None:
    """The longest run of address bits that are the row's and nobody else's, with lower rows below it.

    table: (6, 256), as `lookup_tables` makes one for each mapping. None if there is no such run.
    """
    images = tuple(int(table[bit // 8, 1 << bit % 8]) for bit in range(48))
    best = None
    low = 0
    while low < len(images):
        row = images[low] >> 36
        if images[low] & ((1 << 36) - 1) or row.bit_count() != 1:
            low += 1
            continue
        high = low + 1
        while high < len(images) and images[high] == images[high - 1] << 1:
            high += 1
        bit = row.bit_length() - 1
        fits = all(image >> 36 < 1 << bit for image in images[:low]) and all(
            (image >> 36) % (1 << (bit + high - low)) == 0 for image in images[high:]
        )
        if fits and (best is None or high - low > best.high - best.low):
            wraps = not any(images[high:])
            best = Shift(low=low, high=high, row_bit=bit, wraps=wraps, images=images)
        low = high
    return best


def shifts_of(lut: NDArray[np.int64]) -> tuple[Shift | None, ...]:
    return tuple(shift_of(table) for table in lut)


@dataclass(frozen=True, kw_only=True)
class _Walk:
    """The loops of a phase, those that continue each other as one, and the loop whose steps may be skipped.

    loops: (count, stride), innermost first. level: the loop, or -1: all loops as a whole.
    low, up: bursts of a step of that loop, and of all its steps. period: bursts after which addresses have
    moved by a multiple of the mapping's shift. exact: addresses are as the loops say, not only up to where
    the mapping wraps around.
    """

    loops: tuple[tuple[int, int], ...]
    level: int
    low: int
    up: int
    period: int
    exact: bool
    shift: Shift | None

    def span(self, index: int, address: int, steps: int) -> tuple[int, int]:
        """Lowest and highest address met from `index`, where the walk is at `address`, for so many steps."""
        first = last = address
        for level, (count, stride) in enumerate(self.loops):
            digit, index = index % count, index // count
            if level < self.level or self.level < 0:
                reach = (count - 1 - digit) * stride, -digit * stride
            elif level == self.level:
                reach = steps * stride, 0
            else:
                break
            first, last = first + min(0, *reach), last + max(0, *reach)
        return first, last


def _walk(g: d.Requesters, a: int, p: int, shift: Shift | None) -> _Walk:
    loops: list[tuple[int, int]] = []
    exact = True
    for count, stride in g.loops[a, p].tolist():
        if count == 1:
            continue
        ahead = stride - loops[-1][0] * loops[-1][1] if loops else 0
        if loops and (ahead == 0 or (shift is not None and shift.wraps and ahead % (1 << shift.high) == 0)):
            exact = exact and ahead == 0
            loops[-1] = loops[-1][0] * count, loops[-1][1]
        else:
            loops.append((count, stride))
    unit = 1 << shift.low if shift is not None else EVERYWHERE
    sizes = [1, *accumulate((count for count, _ in loops), mul)]
    level, low, up, period = -1, EVERYWHERE, EVERYWHERE, sizes[-1]
    for k, (count, stride) in enumerate(loops):
        steps = unit // gcd(stride, unit)
        if count >= 4 * steps and 2 * sizes[k] * steps <= g.left[a, p]:
            level, low, up, period = k, sizes[k], sizes[k + 1], sizes[k] * steps
            if up >= LONG:
                break
    return _Walk(
        loops=tuple(loops), level=level, low=low, up=min(up, EVERYWHERE), period=min(period, EVERYWHERE),
        exact=exact, shift=shift,
    )  # fmt: skip


@dataclass(frozen=True, kw_only=True)
class _Move:
    """What one requester's phase does in a period: bursts, rows that it moves by, and steps of its loop."""

    walk: _Walk
    a: int
    p: int
    bursts: int
    bytes: int
    steps: int
    index: int
    address: int

    def rows(self) -> int:
        return self.walk.shift.rows(self.bytes) if self.walk.shift is not None else 0

    def span(self, periods: int) -> tuple[int, int]:
        """Addresses met in the period between the snapshots and so many more."""
        return self.walk.span(self.index, self.address, self.steps * (periods + 1))

    def interval(self, periods: int) -> tuple[int, int] | None:
        """Rows met, as `span`; None if they may be any or do not just move."""
        if self.walk.shift is None or not self.walk.exact:
            return None
        return self.walk.shift.within(*self.span(periods))


@dataclass(frozen=True, kw_only=True)
class _Period:
    """Two snapshots with the same words. Totals are those of the later one, grown what they grew."""

    channels: int
    running: tuple[int, ...]
    rows: NDArray[np.int64]
    moved: NDArray[np.int64]
    totals: NDArray[np.int64]
    grown: NDArray[np.int64]

    @property
    def clocks(self) -> int:
        return int(self.grown[0])

    def channel(self, totals: NDArray[np.int64], c: int) -> NDArray[np.int64]:
        size = snap.T_CHANNEL
        return totals[1 + c * size : 1 + (c + 1) * size]

    def requester(self, totals: NDArray[np.int64], k: int) -> NDArray[np.int64]:
        first = 1 + self.channels * snap.T_CHANNEL + k * snap.T_REQUESTER
        return totals[first : first + snap.T_REQUESTER]


def _period(memory: snap.Memory, i: int, j: int, channels: int, running: NDArray[np.int64]) -> _Period:
    def part(k: int, first: int, last: int) -> NDArray[np.int64]:
        return memory.words[int(memory.at[k, first]) :][:last] if last else memory.words[:0]

    sizes = [int(memory.at[k, snap.AT_TOTALS] - memory.at[k, snap.AT_ROWS]) for k in (i, j)]
    assert sizes[0] == sizes[1]
    held = 1 + channels * snap.T_CHANNEL + len(running) * snap.T_REQUESTER
    rows = [part(k, snap.AT_ROWS, sizes[0]) for k in (i, j)]
    totals = [part(k, snap.AT_TOTALS, held) for k in (i, j)]
    return _Period(
        channels=channels, running=tuple(running.tolist()), rows=rows[1].copy(), moved=rows[1] - rows[0],
        totals=totals[1].copy(), grown=totals[1] - totals[0],
    )  # fmt: skip


def _moves(g: d.Requesters, period: _Period, walks: dict[tuple[int, int], _Walk]) -> tuple[list[_Move], int]:
    """What the phases do in a period, and how often the streams and their loops allow to repeat it."""
    most = EVERYWHERE
    moves = []
    for k, a in enumerate(period.running):
        now, grown = (period.requester(totals, k).tolist() for totals in (period.totals, period.grown))
        issued = grown[1]
        if issued:
            p = int(g.state[a, d.S_PHASE])
            if issued < 0 or issued != -grown[2 + p * snap.T_PHASE + snap.T_LEFT]:
                return [], 0
            most = min(most, (int(g.phase[a, p, d.F_BURSTS]) - 1 - now[1]) // issued)
        for p in range(int(g.par[a, d.P_PHASES])):
            first = 2 + p * snap.T_PHASE
            left, index, address = now[first : first + snap.T_PHASE]
            bursts, steps, move = grown[first : first + snap.T_PHASE]
            bursts = -bursts
            if bursts == 0:
                if steps or move:
                    return [], 0
                continue
            walk = walks[a, p]
            if walk.level < 0:
                if steps or move:
                    return [], 0
            elif steps != bursts or steps % walk.low:
                return [], 0
            else:
                count = walk.loops[walk.level][0]
                steps //= walk.low
                most = min(most, (count - 1 - index % walk.up // walk.low) // steps)
            most = min(most, (left - 1) // bursts)
            if move and (walk.shift is None or move % (1 << walk.shift.low)):
                return [], 0
            moves.append(
                _Move(
                    walk=walk, a=a, p=p, bursts=bursts, bytes=move, steps=steps,
                    index=index - bursts if walk.level >= 0 else index, address=address - move,
                )
            )  # fmt: skip
    return moves, most


def _alike(moves: list[_Move], rows: NDArray[np.int64], moved: NDArray[np.int64]) -> int | None:
    """The modulus up to which all rows move alike, 0 if none is needed; None if they do not."""
    if all(move.bytes == 0 for move in moves):
        return None if moved.any() else 0
    shifts = [move.walk.shift for move in moves]
    if any(shift is None or not shift.wraps for shift in shifts):
        return None
    moduli = {shift.modulus for shift in shifts if shift is not None}
    if len(moduli) != 1:
        return None
    modulus = moduli.pop()
    if ((rows >= modulus) | (rows - moved >= modulus)).any():
        return None
    step = moves[0].rows() % modulus
    same = all(move.rows() % modulus == step for move in moves) and (moved % modulus == step).all()
    return modulus if same else None


def _never_meet(moves: list[_Move], rows: NDArray[np.int64], moved: NDArray[np.int64], periods: int) -> bool:
    """Whether rows that move differently stay apart in so many more periods."""
    first, last, by = [], [], []
    for move in moves:
        interval = move.interval(periods)
        if interval is None:
            if move.bytes:
                return False
            interval = 0, EVERYWHERE
        first.append(interval[0])
        last.append(interval[1])
        by.append(move.rows())
    known = np.unique(np.stack([rows - moved, moved], axis=1), axis=0)
    ends = known[:, 0], known[:, 0] + known[:, 1] * (periods + 1)
    a = np.concatenate([np.array(first, np.int64), np.minimum(*ends)])
    b = np.concatenate([np.array(last, np.int64), np.maximum(*ends)])
    r = np.concatenate([np.array(by, np.int64), known[:, 1]])
    meet = (a[:, None] <= b[None, :]) & (a[None, :] <= b[:, None]) & (r[:, None] != r[None, :])
    return not meet.any()


def _repetitions(
    g: d.Requesters, period: _Period, walks: dict[tuple[int, int], _Walk], until: int
) -> tuple[int, int]:
    """How many whole periods may be skipped, and the modulus of the rows (0: none)."""
    moves, most = _moves(g, period, walks)
    most = min(most, (until - int(period.totals[0])) // period.clocks)
    if most <= 0:
        return 0, 0
    open_ = period.rows >= 0
    rows, moved = period.rows[open_], period.moved[open_]
    modulus = _alike(moves, rows, moved)
    if modulus is not None:
        return most, modulus
    least = 0
    while least < most:  # the most periods in which no rows meet
        middle = (least + most + 1) // 2
        if _never_meet(moves, rows, moved, middle):
            least = middle
        else:
            most = middle - 1
    return least, 0


def _skip(
    s: e.Channels, g: d.Requesters, wake: NDArray[np.int64], period: _Period, times: int, modulus: int
) -> None:
    """Bring channels and requesters to where they are after so many more periods."""
    clocks = times * period.clocks
    by_row = dict(zip(period.rows.tolist(), period.moved.tolist(), strict=True))

    def later(array: NDArray[np.int64]) -> None:
        array[np.abs(array) < e.NEVER // 2] += clocks

    def moved(rows: NDArray[np.int64]) -> NDArray[np.int64]:
        new = [row + times * by_row[row] if row >= 0 else row for row in rows.tolist()]
        return np.array([row % modulus if modulus and row >= 0 else row for row in new], np.int64)

    later(wake)
    for array in (s.ready, s.last, s.ring, s.wck_until):
        later(array)
    looks = e.X_COLUMN_AT, e.X_ROW_AT, e.X_MAINT_AT
    for column in (e.X_LAST_READ, e.X_NEXT_REF, e.X_OWED_BY, e.X_LAST, *looks):
        later(s.scalar[:, column])
    later(s.last_row[:, :, 0])
    for bound in (s.banks["opened_bound"], s.banks["hit_bound"], s.row_bound):
        later(bound)
    for c in range(len(s.scalar)):
        grown = times * period.channel(period.grown, c)
        s.counts[c] += grown[: e.N_COMMANDS]
        s.scalar[c, [e.X_ROW_HITS, e.X_CONFLICTS, e.X_REFRESHES, e.X_AGE]] += grown[e.N_COMMANDS :]
        used = np.ones(s.slots.shape[1], bool)
        used[s.free[c, : s.scalar[c, e.X_FREE]]] = False
        slots = s.slots[c]
        slots["accept"][used] += clocks
        slots["age"][used] += grown[snap.T_AGE]
        s.banks["used"][c] += clocks
        s.row_turn[c][s.row_turn[c] < e.NEVER] += grown[snap.T_AGE] * e.MAX_BANKS
        slots["row"][used] = moved(slots["row"][used])
        s.open_row[c] = moved(s.open_row[c])
    for k, a in enumerate(period.running):
        _skip_requester(g, a, clocks, times * period.requester(period.grown, k))


def _skip_requester(g: d.Requesters, a: int, clocks: int, grown: NDArray[np.int64]) -> None:
    st = g.state[a]
    for column in (d.S_START, d.S_RESUME, d.S_SERVED, d.S_LAST_RET):
        st[column] += clocks
    if st[d.S_WHEN] < e.NEVER:
        st[d.S_WHEN] += clocks
    st[d.S_NEXT] += clocks * d.TICKS
    g.returns[a] += clocks
    st[d.S_COUNT] += grown[0]
    st[d.S_ISSUED] += grown[1]
    for p in range(int(g.par[a, d.P_PHASES])):
        bursts = -int(grown[2 + p * snap.T_PHASE + snap.T_LEFT])
        g.left[a, p] -= bursts
        carry = bursts
        for level, (count, stride) in enumerate(g.loops[a, p].tolist()):
            before = int(g.place[a, p, level])
            carry, place = divmod(before + carry, count)
            g.place[a, p, level] = place
            g.address[a, p] += (place - before) * stride


def advance(
    s: e.Channels, g: d.Requesters, wake: NDArray[np.int64], running: NDArray[np.int64], t: int, until: int,
    shifts: tuple[Shift | None, ...],
) -> tuple[int, int]:  # fmt: skip
    """`drive.advance`, with periods that repeat skipped: (clock reached, clocks skipped).

    shifts: of the requesters' mappings (`shifts_of`).
    """
    skipped, rarer = 0, 1
    reach = snap.reach_of(s)
    room = snap.longest(s, len(running))
    memory = None
    found = np.array([t, 0, 0], np.int64)
    while True:
        if t >= until or s.cfg[e.C_LOG] or not _worth_it(g, running) or 2 * room > WORDS:
            return d.advance(s, g, wake, running, t, until), skipped
        walks = {
            (a, p): _walk(g, a, p, shifts[g.phase[a, p, d.F_MAP]])
            for a in running.tolist()
            for p in range(g.par[a, d.P_PHASES])
        }
        columns = np.ones((len(g.par), d.MAX_PHASES, snap.W_NUM), np.int64)
        for (a, p), walk in walks.items():
            mask = (1 << walk.shift.low) - 1 if walk.shift is not None else -1
            columns[a, p] = walk.low, walk.up, mask
        if memory is None:
            memory = snap.make_memory(WORDS, SNAPSHOTS)
        snap.forget(memory)
        lead, every = _looks(s, running, walks)
        end = snap.search(
            s, g, wake, running, t, until, lead, min(every * (rarer if lead >= 0 else 1), EVERYWHERE),
            BURSTS_A_LOOK * rarer, reach, room, columns, memory, found, np.zeros(3, np.int64),
        )  # fmt: skip
        t = int(found[0])
        if end == snap.ENDED:
            return t, skipped
        times = 0
        if end == snap.FOUND:
            period = _period(memory, int(found[1]), int(found[2]), len(s.scalar), running)
            times, modulus = _repetitions(g, period, walks, until)
            if times:
                _skip(s, g, wake, period, times, modulus)
                t += times * period.clocks
                skipped += times * period.clocks
        rarer = rarer if times else 2 * rarer


def _worth_it(g: d.Requesters, running: NDArray[np.int64]) -> bool:
    """Whether there is enough left to do, and walks are short enough to be counted in 64 bits."""
    left = 0
    for a in running.tolist():
        for p in range(int(g.par[a, d.P_PHASES])):
            index, size = 0, 1
            for place, count in zip(g.place[a, p].tolist(), g.loops[a, p, :, 0].tolist(), strict=True):
                index, size = index + place * size, size * count
            if index + int(g.left[a, p]) >= EVERYWHERE:
                return False
        left += max(0, int(g.left[a, 0]))
    return left >= WORTH_IT


def _looks(s: e.Channels, running: NDArray[np.int64], walks: dict[tuple[int, int], _Walk]) -> tuple[int, int]:
    """When to look: (requester, bursts), or with refresh (-1, clocks)."""
    if s.cfg[e.C_REFRESH] == e.NO_REFRESH:
        period, lead = min((walks[a, 0].period, a) for a in running.tolist())
        return lead, period * -(-BURSTS_A_LOOK // period)
    same = s.cfg[e.C_BANKS] if s.cfg[e.C_REFRESH] == e.SAME_BANK else 1
    turn = s.cfg[e.C_GROUPS] * s.cfg[e.C_BANKS] if s.cfg[e.C_REFRESH] == e.PER_BANK else same
    return -1, int(s.cfg[e.C_REFI] * turn)
