"""A systolic array value by value, clock by clock: the reference of the closed forms in `array`.

Operands enter at the left (rows) and at the top (columns), one value a port and clock, and move one unit a
clock. Folds start as early as the ports, the registers and the timing allow; nothing here knows a formula for
the clocks of a product. Slow: for small products and tests.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from pimsim.devices.npu.array import spatial
from pimsim.devices.npu.spec import Timing
from pimsim.errors import SpecError

EMPTY = -1


def run(
    a: NDArray[np.int64], b: NDArray[np.int64], rows: int, cols: int, dataflow: str, timing: Timing
) -> tuple[int, NDArray[np.int64]]:
    """(clocks until the last value left the array, a @ b).

    a: (M, K), b: (K, N) int64.
    """
    if dataflow == "is":  # the transposed product with the operands' roles exchanged
        clocks, product = run(b.T, a.T, rows, cols, "ws", timing)
        return clocks, product.T
    m, n, k = a.shape[0], b.shape[1], a.shape[1]
    sr, sc, t = spatial(m, n, k, dataflow)
    folds = [(r, c) for c in range(0, sc, cols) for r in range(0, sr, rows)]
    starts = _starts(len(folds), t, rows, cols, dataflow, timing)
    if dataflow == "os":
        return _output_stationary(a, b, rows, cols, folds, starts)
    return _weight_stationary(a, b, rows, cols, folds, starts)


def _starts(folds: int, t: int, rows: int, cols: int, dataflow: str, timing: Timing) -> list[int]:
    """First clock of each fold at the first row's operand port, by reserving ports clock by clock.

    The first row's port is busy for t clocks a fold. In os a column's output port passes one result of every
    row on; in ws a column's load port takes one weight for every row, into registers that are free once the
    fold before has begun to stream.
    """
    if timing.row_chunk != 1 or timing.head_ck or timing.local:
        raise SpecError(f"timing {timing.name}: the stepped array moves single rows and has no head")
    operand: set[int] = set()
    column: set[int] = set()
    starts: list[int] = []
    load = rows if dataflow == "ws" else 0
    clock = load
    for _ in range(folds):
        if not timing.overlap and starts:  # everything of the last fold has left; the loads come after it
            clock = starts[-1] + t + rows + cols - 2 + load
        while True:
            feeds = range(clock, clock + t)
            # os: results of row r leave column 0 at clock + t - 1 + r; ws: the weights shift in just before.
            moves = (
                range(clock + t - 1, clock + t - 1 + rows) if dataflow == "os" else range(clock - load, clock)
            )
            free = not (operand.intersection(feeds) or column.intersection(moves))
            if dataflow == "ws" and starts:
                free = free and clock - load >= starts[-1]
            if free:
                break
            clock += 1
        operand.update(feeds)
        column.update(moves)
        starts.append(clock)
        clock += 1
    return starts


def _output_stationary(
    a: NDArray[np.int64],
    b: NDArray[np.int64],
    rows: int,
    cols: int,
    folds: list[tuple[int, int]],
    starts: list[int],
) -> tuple[int, NDArray[np.int64]]:
    m, n, depth = a.shape[0], b.shape[1], a.shape[1]
    product = np.zeros((m, n), np.int64)
    right = np.zeros((rows, cols, 2), np.int64)  # value, fold of the operand that moves right
    down = np.zeros((rows, cols, 3), np.int64)  # value, fold, step of the operand that moves down
    right[..., 1] = down[..., 1] = EMPTY
    sums = np.zeros((rows, cols), np.int64)
    last = 0
    for clock in range(starts[-1] + depth + rows + cols + 2):
        right[:, 1:] = right[:, :-1].copy()
        down[1:] = down[:-1].copy()
        right[:, 0], down[0] = (0, EMPTY), (0, EMPTY, 0)
        for f, start in enumerate(starts):
            if not start <= clock < start + depth + max(rows, cols):
                continue
            top, left = folds[f]
            for r in range(rows):
                step = clock - start - r
                if 0 <= step < depth:
                    right[r, 0] = (a[top + r, step] if top + r < m else 0, f)
            for c in range(cols):
                step = clock - start - c
                if 0 <= step < depth:
                    down[0, c] = (b[step, left + c] if left + c < n else 0, f, step)
        for r in range(rows):
            for c in range(cols):
                f = int(down[r, c, 1])
                if f == EMPTY:
                    continue
                assert right[r, c, 1] == f, "the operands of two folds met"
                step = int(down[r, c, 2])
                sums[r, c] = (0 if step == 0 else sums[r, c]) + right[r, c, 0] * down[r, c, 0]
                if step == depth - 1:  # handed to the column's output
                    top, left = folds[f]
                    if top + r < m and left + c < n:
                        product[top + r, left + c] = sums[r, c]
                    last = clock
    return last + 1, product


def _weight_stationary(
    a: NDArray[np.int64],
    b: NDArray[np.int64],
    rows: int,
    cols: int,
    folds: list[tuple[int, int]],
    starts: list[int],
) -> tuple[int, NDArray[np.int64]]:
    m, n, depth = a.shape[0], b.shape[1], a.shape[1]
    product = np.zeros((m, n), np.int64)
    weights = np.zeros((2, rows, cols), np.int64)  # two registers a unit
    shift = np.zeros((rows, cols), np.int64)
    right = np.zeros((rows, cols, 3), np.int64)  # value, fold, streamed row
    sums = np.zeros((rows, cols, 3), np.int64)
    right[..., 1] = sums[..., 1] = EMPTY
    last = 0
    for clock in range(starts[-1] + m + rows + cols + 2):
        # A unit works on what its neighbours held a clock ago.
        passed = sums.copy()
        right[:, 1:] = right[:, :-1].copy()
        right[:, 0] = (0, EMPTY, 0)
        for f, start in enumerate(starts):
            top, _ = folds[f]
            for r in range(rows):
                row = clock - start - r
                if 0 <= row < m:
                    right[r, 0] = (a[row, top + r] if top + r < depth else 0, f, row)
        for r in range(rows):
            for c in range(cols):
                f = int(right[r, c, 1])
                if f == EMPTY:
                    sums[r, c] = (0, EMPTY, 0)
                    continue
                above = 0
                if r:
                    assert passed[r - 1, c, 1] == f, "a partial sum met another fold's operand"
                    assert passed[r - 1, c, 2] == right[r, c, 2], "a partial sum met another row's operand"
                    above = passed[r - 1, c, 0]
                sums[r, c] = (above + right[r, c, 0] * weights[f % 2, r, c], f, right[r, c, 2])
                if r == rows - 1:
                    left = folds[f][1]
                    if left + c < n:
                        product[right[r, c, 2], left + c] += sums[r, c, 0]
                    last = clock
        for c in range(
            cols
        ):  # column c runs c clocks late, like its operands; the last row's weight goes first
            for f, start in enumerate(starts):
                late = clock - c
                if start - rows <= late < start:
                    top, left = folds[f]
                    place = top + start - 1 - late
                    shift[1:, c] = shift[:-1, c].copy()
                    shift[0, c] = b[place, left + c] if place < depth and left + c < n else 0
                    if late == start - 1:
                        weights[f % 2, :, c] = shift[:, c]
    return last + 1, product
