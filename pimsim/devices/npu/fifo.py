"""Scratchpads that refill as a queue, in the order of first use: the memory model of SCALE-Sim, stepped.

Each operand has a scratchpad of its own with a port of its own to memory. Its words lie in sets (100 fill the
scratchpad); one half is read while the other fills with the sets that follow, round and round, and the halves
move on when the array asks for a word outside the half that is read. Nothing is kept for being used again,
so an operand a little larger than half of its scratchpad is fetched many times, and the wait for a refill is
booked twice: this is what the peer does, not what a scratchpad should. Results wait in a queue that drains by
halves. Our own parts use `engine`.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numba import njit
from numpy.typing import NDArray

from pimsim.devices.npu.array import spatial

SETS = 100
LATENCY_CK = 1
"""Of a scratchpad that holds the word, and of each refill."""
START, LAST, MOVES = range(3)


@dataclass(frozen=True, kw_only=True)
class FifoRun:
    """cycles: clocks until the last result is handed over. stalls: clocks that the array stood still.

    moves: refills of the (row operand, column operand) after the first.
    """

    cycles: int
    stalls: int
    moves: tuple[int, int]


@dataclass(frozen=True, kw_only=True)
class _Queue:
    """Words in the order of fetching, and (sets in all, sets of the half that is read, sets that a move
    brings, clocks of a move, words of a set)."""

    words: NDArray[np.int64]
    sizes: NDArray[np.int64]


def im2col(h: int, w: int, kernel_h: int, kernel_w: int, channels: int, stride: int) -> NDArray[np.int64]:
    """(M, K) word numbers of a convolution's inputs; K runs over rows, columns, channels.

    The last window may hang over the edge (sizes round up); words there are -1 and never asked for.
    """
    out_h, out_w = -(-(h - kernel_h) // stride) + 1, -(-(w - kernel_w) // stride) + 1
    y = (np.arange(out_h) * stride)[:, None, None, None] + np.arange(kernel_h)[:, None]
    x = (np.arange(out_w) * stride)[:, None, None] + np.arange(kernel_w)
    words = (y * w + x)[..., None] * channels + np.arange(channels)
    inside = ((y < h) & (x < w))[..., None]
    return np.where(inside, words, -1).reshape(out_h * out_w, -1)


def run(
    inputs: NDArray[np.int64],
    out_ch: int,
    rows: int,
    cols: int,
    dataflow: str,
    sizes: tuple[int, int, int],
    words_per_ck: int,
) -> FifoRun:
    """A product with scratchpads of `sizes` words (inputs, weights, outputs), each with its own port.

    inputs: (M, K) word numbers of the first operand, equal where words are shared (`im2col`).
    """
    m, k = inputs.shape
    weights = np.arange(k * out_ch, dtype=np.int64).reshape(k, out_ch)
    _, _, t = spatial(m, out_ch, k, dataflow)
    if dataflow == "os":
        row, col = inputs.T, weights
        row_queue = _queue(_order(row, rows, skewed=True), sizes[0], words_per_ck)
        col_queue = _queue(_order(col, cols, skewed=True), sizes[1], words_per_ck)
    elif dataflow == "ws":
        row, col = inputs, weights
        row_queue = _queue(_order(row, rows, skewed=True), sizes[0], words_per_ck)
        col_queue = _queue(_order(col, cols, skewed=False), sizes[1], words_per_ck)
    else:
        row, col = weights.T, inputs.T
        row_queue = _queue(_order(row, rows, skewed=True), sizes[1], words_per_ck)
        col_queue = _queue(_order(col, cols, skewed=False), sizes[0], words_per_ck)
    drain = sizes[2] // 2
    cycles, stalls, a, b = _step(
        np.ascontiguousarray(row),
        np.ascontiguousarray(col),
        dataflow == "os",
        t,
        rows,
        cols,
        row_queue.words,
        row_queue.sizes,
        col_queue.words,
        col_queue.sizes,
        np.array([sizes[2], drain, words_per_ck], np.int64),
    )
    return FifoRun(cycles=int(cycles), stalls=int(stalls), moves=(int(a), int(b)))


def _order(words: NDArray[np.int64], width: int, *, skewed: bool) -> NDArray[np.int64]:
    """Words in the order of fetching, -1 where a port has none: blocks of `width` columns below each other,
    read along diagonals if the operand enters skewed."""
    time, space = words.shape
    blocks = -(-space // width)
    padded = np.full((time, blocks * width), -1, np.int64)
    padded[:, :space] = words
    stacked = padded.reshape(time, blocks, width).transpose(1, 0, 2).reshape(blocks * time, width)
    if not skewed:
        return stacked.ravel()
    row, col = np.indices(stacked.shape)
    return stacked.ravel()[np.lexsort((-row.ravel(), (row + col).ravel()))]


def _queue(order: NDArray[np.int64], size: int, words_per_ck: int) -> _Queue:
    each = -(-size // SETS)
    words = np.ascontiguousarray(order[order >= 0])
    lines = len(words) // each + 1
    active = min(-(-(size - size // 2) // each), lines)
    moved = min(lines - active, -(-(size // 2) // each))
    refill_ck = -(-(size // 2) // words_per_ck)
    return _Queue(words=words, sizes=np.array([lines, active, moved, refill_ck, each], np.int64))


@njit(cache=True)
def _count(words, sizes, held, start, by):  # type: ignore[no-untyped-def]
    """Add `by` to the count of every word in the sets that are read when the first of them is `start`."""
    for k in range(sizes[1]):
        line = (start + k) % sizes[0]
        for at in range(line * sizes[4], min((line + 1) * sizes[4], len(words))):
            held[words[at]] += by


@njit(cache=True)
def _read(words, sizes, held, state, word, clock, wait):  # type: ignore[no-untyped-def]
    """Wait of a line after reading a word at `clock`, `wait` of it so far; moves the halves on until it
    is there.

    As the peer books it: what a refill ends after the line's time is added twice, what it ended before is
    taken off.
    """
    while word >= 0 and held[word] == 0:
        _count(words, sizes, held, state[START], -1)
        state[START] = (state[START] + sizes[2]) % sizes[0]
        _count(words, sizes, held, state[START], 1)
        state[LAST] += sizes[3] + LATENCY_CK
        state[MOVES] += 1
        late = state[LAST] - (clock + wait + LATENCY_CK)
        wait += 2 * late if late > 0 else late
    return wait


@njit(cache=True)
def _step(row, col, streams, t, rows, cols, row_words, row_sizes, col_words, col_sizes, out):  # type: ignore[no-untyped-def]
    """(clocks, stalls, moves of both operands), fold by fold, clock by clock."""
    sr = row.shape[1]
    sc = col.shape[1]
    row_state = np.zeros(3, np.int64)
    col_state = np.zeros(3, np.int64)
    row_held = np.zeros(row_words.max() + 1, np.int64)
    col_held = np.zeros(col_words.max() + 1, np.int64)
    _count(row_words, row_sizes, row_held, 0, 1)
    _count(col_words, col_sizes, col_held, 0, 1)
    row_state[LAST] = col_state[LAST] = -1
    size, half, rate = out[0], out[1], out[2]
    free, filled, partial, drained = size, 0, 0, 0  # words; whole lines; words of the open line; clock
    load = 0 if streams else rows
    length = load + rows + cols + t - 2
    first_out = t - 1 if streams else 2 * rows - 1
    depth_out = rows if streams else t
    clock, stalls, lines = 0, 0, 0
    for left in range(0, sc, cols):
        width = min(cols, sc - left)
        for top in range(0, sr, rows):
            height = min(rows, sr - top)
            for at in range(length):
                now = lines + stalls
                late = now
                wait = 0
                for r in range(height):
                    step = at - load - r
                    if 0 <= step < t:
                        wait = _read(row_words, row_sizes, row_held, row_state, row[step, top + r], now, wait)
                late = max(late, now + wait)
                wait = 0
                if streams:
                    for c in range(width):
                        step = at - c
                        if 0 <= step < t:
                            wait = _read(
                                col_words, col_sizes, col_held, col_state, col[step, left + c], now, wait
                            )
                elif at < rows and rows - 1 - at < height:
                    for c in range(width):
                        word = col[top + rows - 1 - at, left + c]
                        wait = _read(col_words, col_sizes, col_held, col_state, word, now, wait)
                late = max(late, now + wait)
                reach = now
                for c in range(width):
                    step = at - first_out - c
                    if step < 0 or step >= depth_out or (streams and rows - 1 - step >= height):
                        continue
                    free -= 1
                    partial += 1
                    if partial == rate:
                        filled += 1
                        partial = 0
                    if reach < drained:
                        if free <= 0:
                            reach = drained
                    elif free < size - half:
                        if partial:
                            filled += 1
                        wide = min(filled, -(-half // rate))
                        moved = wide * rate
                        if partial and wide == filled:
                            moved -= rate - partial
                        partial = 0
                        filled -= wide
                        free += moved
                        drained = reach + wide - 1
                late = max(late, reach)
                stalls += late - now
                lines += 1
                clock = now + 1 + late - now
    return clock, stalls, row_state[MOVES], col_state[MOVES]
