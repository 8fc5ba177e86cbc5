"""GEMV on paired banks with the sums of every chunk kept apart and added in a second pass: timing only.

First the host clears a space of `accumulators` bursts in every bank with ordinary writes. Then each chunk of
the inputs ends with its sums being written to the bank that the chunk's weights are not in, and after the
last chunk all of them are read again and added. Worked out from measured counts and clocks, as `hbm_pim`.
"""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from pimsim.devices.pim import hbm_pim as h
from pimsim.devices.pim import machine as m
from pimsim.devices.pim.kernel import DATA, Ints, Kernel, column_list, split, with_rows
from pimsim.devices.rules import ACT1, MACAB, MODE, PREA, WR, WRAB
from pimsim.devices.spec import DramSpec, PimSpec


def gemv_tree(pim: PimSpec, dram: DramSpec, channels: int, n: int, k: int, dtype: str) -> Kernel:
    """y = W x as `hbm_pim.gemv`, by way of partial sums."""
    plain = h.gemv(pim, dram, channels, n, k, dtype)
    bits, g = pim.weight_dtypes[dtype], dram.geometry
    layout = h.layout_of(pim, dram, channels)
    tiles, chunks, results = layout.tiles.tiles(n), layout.tiles.chunks(k, bits), pim.accumulators
    first = layout.rows(n, k, bits)
    space = -(-tiles * chunks * results // g.bursts_per_row)
    h.fits(pim, dram, f"weights and sums of {n} x {k} {dtype}", first + space)
    body = np.column_stack([plain.commands, plain.data])
    columns = body[~np.isin(body[:, m.G_COMMAND], m.ROW_COMMANDS)]
    modes = np.flatnonzero(np.diff(columns[:, m.G_COMMAND] == MODE, prepend=False))
    head, tail = columns[: modes[2]], columns[modes[-2] :]
    inner: list[Ints] = []
    each = layout.chunk_bursts + pim.source_bytes // g.burst_bytes
    middle = columns[modes[2] : modes[-2]]
    middle = middle[(middle[:, m.G_COMMAND] != WRAB) & (middle[:, m.G_COMMAND] != MODE)]
    for tile in range(tiles):
        inner.append(h.mode_change(dram, on=True))
        for chunk in range(chunks):
            at = (tile * chunks + chunk) * results + np.arange(results)
            out = column_list(WRAB, results, bank=chunk % 2)
            out[:, m.G_ROW], out[:, m.G_COLUMN] = first + at // g.bursts_per_row, at % g.bursts_per_row
            begin = (tile * chunks + chunk) * each
            inner += [middle[begin : begin + each], out]
        inner.append(h.program_write(dram, 1))
        for chunk in range(chunks):
            at = (tile * chunks + chunk) * results + np.arange(results)
            back = column_list(MACAB, results, bank=chunk % 2)
            back[:, m.G_ROW], back[:, m.G_COLUMN] = first + at // g.bursts_per_row, at % g.bursts_per_row
            back[:, DATA] = h.SUM
            inner.append(back)
        inner.append(h.mode_change(dram, on=False))
    parked = 2 * g.banks + 1
    opened = body[:parked]
    used = with_rows(np.concatenate([head[g.banks :], *inner, tail[:1]]))
    ending = body[len(body) - parked - 1 :]
    commands, data = split(np.concatenate([_clear(dram, first, results), opened, used, ending]))
    count = int((~np.isin(commands[:, m.G_COMMAND], m.ROW_COMMANDS)).sum())
    return replace(plain, commands=commands, data=data, quiet=count - g.banks - 1)


def _clear(dram: DramSpec, row: int, bursts: int) -> Ints:
    """Ordinary writes of `bursts` bursts in every bank, banks of all groups in turn."""
    g = dram.geometry
    banks = np.arange(g.banks).reshape(g.bank_groups, -1).T.ravel()
    opened = column_list(ACT1, g.banks, row=row)
    opened[:, m.G_BANK] = banks
    writes = column_list(WR, g.banks * bursts)
    writes[:, m.G_BANK] = np.tile(banks, bursts)
    writes[:, m.G_COLUMN] = np.repeat(np.arange(bursts), g.banks)
    return np.concatenate([opened, writes, column_list(PREA, 1)])


__all__ = ["gemv_tree"]
