"""Compiled drivers of the channels: requesters in streams, and PIM command programs.

A requester repeats a short list of phases. Each phase issues a number of bursts along an affine
address pattern and, if it waits, ends when the last of them has come back. One phase with a window
is an ordinary stream; a swizzled copy is three phases (non-cacheable loads, fills of the destination
lines, write-backs). Requesters and channels share one clock and are visited in a fixed order, so a
run is deterministic.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from pimsim.compiled import compiled, inner
from pimsim.devices.dram.engine import (
    NEVER,
    X_LEFT,
    X_LOOK,
    X_MAINT_LEN,
    Channels,
    accept,
    step,
)
from pimsim.devices.pim.machine import (
    G_BANK,
    G_COLUMN,
    G_COMMAND,
    G_FENCE,
    G_NUM,
    G_RANK,
    G_ROW,
    run_program,
)

__all__ = [
    "G_BANK", "G_COLUMN", "G_COMMAND", "G_FENCE", "G_NUM", "G_RANK", "G_ROW", "Requesters", "advance",
    "advance_to", "decode", "make_requesters", "run_program",
]  # fmt: skip

MAX_PHASES = 3
MAX_LOOPS = 5
RING = 512  # completions that one requester may have waiting; bounds its window
TICKS = 256  # issue intervals are in 1/256 clock

# Requesters.par columns
P_WINDOW, P_INTERVAL, P_PATH, P_PHASES, P_STRETCH, P_NUM = range(6)
# Requesters.phase columns
F_WRITE, F_BURSTS, F_WAIT, F_THINK, F_MAP, F_STEP, F_NUM = range(7)
# Requesters.state columns
(S_PHASE, S_ISSUED, S_OUT, S_NEXT, S_START, S_RESUME, S_END, S_BLOCKED, S_HEAD, S_TAIL, S_LAST_RET, S_COUNT,
 S_WHEN, S_SERVED, S_NUM) = range(15)  # fmt: skip


class Requesters(NamedTuple):
    """Streams on the channels; the first axis of every array is the requester.

    par: window (bursts in flight), issue interval (1/256 clocks a burst), path (clocks outside DRAM a
      round trip), number of phases, stretch (threads that share the core).
    phase: (n, 3, 6) write, bursts an iteration, wait, think clocks after it, mapping, bytes of a burst.
    loops: (n, 3, 5, 2) count and stride in bytes, innermost first; place: position in them.
    address, left: next address and bursts still to issue, a phase.
    returns: ring of clocks at which outstanding bursts come back.
    """

    par: NDArray[np.int64]
    phase: NDArray[np.int64]
    loops: NDArray[np.int64]
    place: NDArray[np.int64]
    address: NDArray[np.int64]
    left: NDArray[np.int64]
    state: NDArray[np.int64]
    returns: NDArray[np.int64]
    lut: NDArray[np.int64]


def make_requesters(n: int, lut: NDArray[np.int64]) -> Requesters:
    """`n` idle requesters (state column S_END holds 0: nothing to do)."""
    state = np.zeros((n, S_NUM), np.int64)
    state[:, S_WHEN] = NEVER
    return Requesters(
        par=np.zeros((n, P_NUM), np.int64),
        phase=np.zeros((n, MAX_PHASES, F_NUM), np.int64),
        loops=np.ones((n, MAX_PHASES, MAX_LOOPS, 2), np.int64),
        place=np.zeros((n, MAX_PHASES, MAX_LOOPS), np.int64),
        address=np.zeros((n, MAX_PHASES), np.int64),
        left=np.zeros((n, MAX_PHASES), np.int64),
        state=state,
        returns=np.zeros((n, RING), np.int64),
        lut=lut,
    )


@compiled
def decode(lut: NDArray[np.int64], which: int, address: int) -> int:
    """Coordinates of a byte address packed as channel | bank << 8 | column << 20 | row << 36."""
    packed = 0
    for k in range(lut.shape[1]):
        packed ^= lut[which, k, (address >> (8 * k)) & 255]
    return packed


@inner
def _return(g: Requesters, a: int, clock: int) -> None:
    """Note that one burst of requester `a` comes back at `clock`, in order."""
    st = g.state
    clock = max(clock, st[a, S_LAST_RET])
    st[a, S_LAST_RET] = clock
    g.returns[a, st[a, S_TAIL]] = clock
    st[a, S_TAIL] = (st[a, S_TAIL] + 1) % RING
    st[a, S_WHEN] = min(st[a, S_WHEN], clock)


@inner
def _act(s: Channels, g: Requesters, a: int, t: int, wake: NDArray[np.int64]) -> int:
    """Let requester `a` do all it can at clock `t`; returns when to look at it again."""
    st, par, phase = g.state, g.par, g.phase
    while st[a, S_HEAD] != st[a, S_TAIL] and g.returns[a, st[a, S_HEAD]] <= t:
        st[a, S_HEAD] = (st[a, S_HEAD] + 1) % RING
        st[a, S_OUT] -= 1
    known = st[a, S_HEAD] != st[a, S_TAIL]
    back = int(g.returns[a, st[a, S_HEAD]]) if known else NEVER
    while True:
        resume = int(st[a, S_RESUME])
        if t < resume:
            return resume
        p = st[a, S_PHASE]
        wait = phase[a, p, F_WAIT]
        if st[a, S_ISSUED] < phase[a, p, F_BURSTS] and g.left[a, p] > 0:
            if wait and st[a, S_OUT] >= par[a, P_WINDOW]:
                return back
            if t * TICKS < st[a, S_NEXT]:
                return -int(-st[a, S_NEXT] // TICKS)
            where = decode(g.lut, phase[a, p, F_MAP], g.address[a, p])
            c, bank, row, column = where & 255, (where >> 8) & 4095, where >> 36, (where >> 20) & 65535
            status = accept(s, c, t, phase[a, p, F_WRITE], bank, row, column, a * 2 + wait)
            if status == -2:
                st[a, S_BLOCKED] = c
                return back
            st[a, S_BLOCKED] = -1
            st[a, S_SERVED] = t
            if s.scalar[c, X_LOOK]:
                wake[c] = min(wake[c], t)
            if wait:
                st[a, S_OUT] += 1
                if status >= 0:
                    _return(g, a, status + par[a, P_PATH])
                    known = True
                    back = int(g.returns[a, st[a, S_HEAD]])
            gap = par[a, P_INTERVAL] * par[a, P_STRETCH]
            st[a, S_NEXT] = max(st[a, S_NEXT] + gap, t * TICKS - par[a, P_WINDOW] * gap)
            st[a, S_ISSUED] += 1
            if p == 0:
                st[a, S_COUNT] += 1
            g.left[a, p] -= 1
            for level in range(MAX_LOOPS):
                g.place[a, p, level] += 1
                g.address[a, p] += g.loops[a, p, level, 1]
                if g.place[a, p, level] < g.loops[a, p, level, 0]:
                    break
                g.place[a, p, level] = 0
                g.address[a, p] -= g.loops[a, p, level, 0] * g.loops[a, p, level, 1]
            return max(t, -int(-st[a, S_NEXT] // TICKS))
        else:
            if wait and st[a, S_OUT] > 0:
                return back
            shared = par[a, P_STRETCH] - 1 if par[a, P_PHASES] > 1 else 0
            pause = phase[a, p, F_THINK] * par[a, P_STRETCH] + shared * (t - st[a, S_START])
            st[a, S_RESUME] = t + pause
            st[a, S_START] = t + pause
            st[a, S_ISSUED] = 0
            p += 1
            if p == par[a, P_PHASES]:
                p = 0
                if g.left[a, 0] <= 0:
                    st[a, S_END] = t + pause
                    st[a, S_PHASE] = 0
                    return NEVER
            st[a, S_PHASE] = p


def advance(
    s: Channels, g: Requesters, wake: NDArray[np.int64], running: NDArray[np.int64], t: int, until: int
) -> int:
    """Advance channels and requesters from clock `t`; stop before `until` or after a requester's end.

    running: numbers of the requesters in use. Returns the clock reached; a requester that ended has
    its last clock in state S_END (which may lie ahead by its own last pause), -1 while it runs.
    Returns -1 if nothing can ever happen again.
    """
    return int(_advance(s, g, wake, running, t, until, np.zeros(3, np.int64)))


@compiled
def _advance(
    s: Channels, g: Requesters, wake: NDArray[np.int64], running: NDArray[np.int64], t: int, until: int,
    out: NDArray[np.int64],
) -> int:  # fmt: skip
    return advance_to(s, g, wake, running, t, until, -1, 0, out)


@inner
def advance_to(
    s: Channels, g: Requesters, wake: NDArray[np.int64], running: NDArray[np.int64], t: int, until: int,
    lead: int, goal: int, out: NDArray[np.int64],
) -> int:  # fmt: skip
    """`advance`, but also stop once requester `lead` (-1: none) has issued `goal` bursts of its first phase.

    out: (3,), scratch: see `engine.step`.
    """
    st = g.state
    while t < until:
        ended = False
        while True:
            # Of those that may act now, the one that has gone longest without an accepted burst.
            a, oldest = -1, NEVER
            for k in range(running.shape[0]):
                if st[running[k], S_WHEN] <= t and st[running[k], S_SERVED] < oldest:
                    a, oldest = running[k], st[running[k], S_SERVED]
            if a < 0:
                break
            st[a, S_WHEN] = NEVER
            st[a, S_WHEN] = min(st[a, S_WHEN], _act(s, g, a, t, wake))
            if st[a, S_END] >= 0:
                ended = True
        for c in range(wake.shape[0]):
            if wake[c] <= t:
                wake[c] = step(s, c, t, out)
                if out[0] >= 0 and out[0] & 1:
                    a = out[0] >> 1
                    _return(g, a, out[1] + g.par[a, P_PATH])
                if s.scalar[c, X_MAINT_LEN] >= s.maint.shape[1]:
                    return -1  # refreshes fall due faster than they go: nothing else ever will
                if s.scalar[c, X_LEFT] == t:  # there is room
                    for k in range(running.shape[0]):
                        a = running[k]
                        if st[a, S_BLOCKED] == c:
                            st[a, S_WHEN] = min(st[a, S_WHEN], t + 1)
        if ended or (lead >= 0 and st[lead, S_COUNT] >= goal):
            return t + 1
        nxt = NEVER
        for k in range(running.shape[0]):
            nxt = min(nxt, st[running[k], S_WHEN])
        for c in range(wake.shape[0]):
            nxt = min(nxt, wake[c])
        if nxt >= NEVER:
            return -1
        t = nxt
    return until
