"""Compiled driver of one channel by a list of requests, in blocks of any size.

The host offers one request a clock, oldest first, each from its arrival on, while fewer than a window are
outstanding. What it knows between two blocks is a few numbers, so that a list of any length runs in memory
of constant size.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from pimsim.compiled import compiled, inlined
from pimsim.devices.dram.engine import (
    ALL_BANK,
    C_BL,
    C_RANKS,
    C_REFRESH,
    C_RL,
    NEVER,
    X_COLUMN_AT,
    X_LEFT,
    X_LOOK,
    X_OPENED,
    X_READS,
    X_REFRESHES,
    X_WRITES,
    Channels,
    accept,
    step,
)
from pimsim.devices.dram.engine.hits import (
    begins_run,
    joins,
    may_run,
    next_hit,
    others_from,
    serve_hit,
    serves_hit,
)

PATIENCE = 64
"""Refreshes of every rank or bank after which a request that waits counts as stuck."""
LATENCIES = 1 << 16
"""Read latencies are counted clock by clock up to here."""

# Columns of `Host.at`.
(H_CLOCK, H_WAKE, H_LAST, H_OUTSTANDING, H_PROGRESS, H_OPEN, H_FIRST, H_READS, H_LATENCY, H_LONGEST,
 H_NUM) = range(11)  # fmt: skip


class Host(NamedTuple):
    """What the host knows between two blocks.

    at: clock; next clock worth a step of the channel; last completion; requests outstanding in the window;
      refreshes when something last went on; requests not completed; requests of the blocks before; reads
      that completed, the sum of their latencies and the longest.
    latencies: (LATENCIES + 1,) reads by their latency in clocks, the last place for all that take longer.
    pending: (max(1, window),) clocks at which requests of the window complete, or -1 - number.
    out: (3,), scratch: the last data command's request, its completion, and its latency (-1 for writes).
    """

    at: NDArray[np.int64]
    latencies: NDArray[np.int64]
    pending: NDArray[np.int64]
    out: NDArray[np.int64]


def make_host(window: int) -> Host:
    """A host that has offered nothing yet; window: most requests outstanding, 0 for no limit."""
    return Host(
        at=np.zeros(H_NUM, np.int64),
        latencies=np.zeros(LATENCIES + 1, np.int64),
        pending=np.zeros(max(1, window), np.int64),
        out=np.zeros(3, np.int64),
    )


@compiled
def decode_all(lut: NDArray[np.int64], address: NDArray[np.int64], packed: NDArray[np.int64]) -> None:
    """Coordinates of byte addresses, as `channel.pack` packs them; lut: (6, 256) from `lookup_tables`."""
    for i in range(len(address)):
        where = address[i]
        got = lut[0, where & 255] ^ lut[1, where >> 8 & 255] ^ lut[2, where >> 16 & 255]
        got ^= lut[3, where >> 24 & 255] ^ lut[4, where >> 32 & 255] ^ lut[5, where >> 40 & 255]
        packed[i] = got


@inlined
def _completed(h: Host, clock: int, latency: int) -> None:
    """Count a request that completes at `clock`; latency -1: a write."""
    at = h.at
    at[H_OPEN] -= 1
    at[H_LAST] = max(at[H_LAST], clock)
    if latency >= 0:
        at[H_READS] += 1
        at[H_LATENCY] += latency
        at[H_LONGEST] = max(at[H_LONGEST], latency)
        h.latencies[min(latency, LATENCIES)] += 1


@inlined
def _run_of_hits(
    s: Channels, h: Host, t: int, k: int, first: int, arrive: NDArray[np.int64], write: NDArray[np.int64],
    packed: NDArray[np.int64], accepted: NDArray[np.int64], done: NDArray[np.int64],
) -> tuple[int, int, int]:  # fmt: skip
    """Go on from clock `t`, in which a command made room for request `k`, while reads that hit follow.

    Returns the clock that was looked at last, the next request, and a clock before which no command can go.
    """
    others = others_from(s, 0)
    while True:
        when, bank = next_hit(s, 0)
        wake = min(when, others)
        if wake <= t + 1 or k == len(arrive) or arrive[k] > t + 1 or write[k]:
            break
        where = packed[k]
        if not joins(s, 0, t + 1, where >> 8 & 4095, where >> 36, where >> 20 & 65535, first + k):
            break
        t += 1
        if len(accepted):
            accepted[k] = t
        k += 1
        if when >= others or (k < len(arrive) and write[k]) or not serves_hit(s, 0, when, bank):
            break  # a write needs not wait for the room that this hit makes
        t = when
        request = s.slots[0, serve_hit(s, 0, t, bank)]
        finished = t + s.cfg[C_RL] + s.cfg[C_BL]
        _completed(h, finished, finished - request.accept)
        if len(done):
            done[request.tag] = finished
    s.scalar[0, X_COLUMN_AT] = wake
    return t, k, max(t + 1, wake)


@compiled
def offer(
    s: Channels, h: Host, arrive: NDArray[np.int64], write: NDArray[np.int64], packed: NDArray[np.int64],
    window: int, more: bool, accepted: NDArray[np.int64], done: NDArray[np.int64],
) -> bool:  # fmt: skip
    """Drive channel 0 with the next block of requests; whether that went well.

    arrive, write, packed: (n,) int64; `packed` as `channel.pack` makes it.
    more: whether further blocks follow: then return once all of this one are accepted, else once all are
      done. What falls due until the last completion is issued too, such as a refresh while data arrive.
    accepted, done: (n,) clocks, filled if the list is one block; length 0: not kept.
    False: the requests that are left can never complete.
    """
    at = h.at
    n = len(arrive)
    keep = len(accepted) > 0
    patience = PATIENCE * (s.cfg[C_RANKS] if s.cfg[C_REFRESH] == ALL_BANK else s.open_row.shape[1])
    first = at[H_FIRST]
    at[H_OPEN] += n
    t, wake, outstanding, progress = at[H_CLOCK], at[H_WAKE], at[H_OUTSTANDING], at[H_PROGRESS]
    pending, out = h.pending, h.out
    plain = may_run(s) and window == 0
    k, full = 0, -2  # full: what X_LEFT was when a request was refused: until it changes the next is, too
    while True:
        if k == n and (more or (at[H_OPEN] == 0 and wake > at[H_LAST])):
            break
        offered = NEVER
        if k < n:
            if window:
                p = 0
                while p < outstanding:
                    if pending[p] >= 0 and pending[p] < t:
                        pending[p] = pending[outstanding - 1]
                        outstanding -= 1
                    else:
                        p += 1
            if arrive[k] > t:
                offered = arrive[k]
            elif window and outstanding >= window:
                for p in range(outstanding):
                    if pending[p] >= 0:
                        offered = min(offered, pending[p] + 1)
            elif s.scalar[0, X_LEFT] != full:
                where = packed[k]
                status = accept(
                    s, 0, t, write[k], where >> 8 & 4095, where >> 36, where >> 20 & 65535, first + k
                )
                if status == -2:
                    full = s.scalar[0, X_LEFT]
                else:
                    if keep:
                        accepted[k] = t
                    if status >= 0:
                        if keep:
                            done[k] = status
                        _completed(h, status, -1 if write[k] else status - t)
                        if window:
                            pending[outstanding] = status
                            outstanding += 1
                    elif window:
                        pending[outstanding] = -1 - (first + k)
                        outstanding += 1
                    k += 1
                    if s.scalar[0, X_LOOK]:
                        wake = min(wake, t)
                    offered = t + 1
                    progress = s.scalar[0, X_REFRESHES]
        if wake <= t:
            wake = step(s, 0, t, out)
            if out[0] >= 0:
                if keep:
                    done[out[0]] = out[1]
                _completed(h, out[1], out[2])
                progress = s.scalar[0, X_REFRESHES]
                if window:
                    offered = min(offered, max(t, out[1]) + 1)
                    for p in range(outstanding):
                        if pending[p] == -1 - out[0]:
                            pending[p] = out[1]
                            break
                if plain and begins_run(s, 0):
                    t, k, wake = _run_of_hits(s, h, t, k, first, arrive, write, packed, accepted, done)
                    full, offered = -1, t + 1
                    progress = s.scalar[0, X_REFRESHES]
            if s.scalar[0, X_LEFT] == t and full > -2:  # there may be room again
                offered = min(offered, t + 1)
        nxt = min(wake, offered)
        if nxt >= NEVER:
            if at[H_OPEN] == 0:
                break
            return False
        if s.scalar[0, X_REFRESHES] - progress > patience:
            if s.scalar[0, X_READS] or s.scalar[0, X_WRITES] or s.scalar[0, X_OPENED]:
                return False
            progress = s.scalar[0, X_REFRESHES]
        t = nxt
    at[H_CLOCK], at[H_WAKE], at[H_OUTSTANDING], at[H_PROGRESS] = t, wake, outstanding, progress
    at[H_FIRST] = first + n
    return True
