"""How busy each bank was over time, from a command log."""

from __future__ import annotations

import numpy as np
import pandas as pd

from pimsim.devices.spec import DramSpec

COUNTED = {
    "activates": ("ACT", "ACT1", "ACTAB"),
    "reads": ("RD", "RDA"),
    "writes": ("WR", "WRA"),
    "pim": ("MACAB", "EWAB", "AFAB"),
}
"""What is counted: column -> commands. An activate in two halves counts once; PIM: its column accesses."""


def bank_activity(log: pd.DataFrame, spec: DramSpec, bins: int = 120) -> pd.DataFrame:
    """Commands of each bank in `bins` equal times, as in the table `activity` of a result.

    log: as `command_log` gives it. bank: counts over ranks, bank groups and banks of a channel. A command
    to all banks counts in each bank of its rank, or of every rank if it names none. Rows without commands
    are left out.
    """
    kinds = {name: column for column, names in COUNTED.items() for name in names}
    kind = log["command"].map(kinds)
    used = log[kind.notna()].assign(kind=kind[kind.notna()])
    width = max(1, -(-(int(log["clock"].max()) + 1) // bins)) if len(log) else 1
    used = used.assign(bin=used["clock"] // width)
    keys = ["bin", "channel", "rank", "bankgroup", "bank", "kind"]
    counts = used.groupby(keys, as_index=False).size()
    g = spec.geometry
    ranks, banks = np.arange(g.ranks), np.arange(g.banks)
    rows: dict[tuple[int, int, int], dict[str, int]] = {}
    for at, channel, rank, group, bank, what, size in counts.itertuples(index=False):
        for r in ranks if rank < 0 else [rank]:
            for b in banks if bank < 0 else [group * g.banks_per_group + bank]:
                row = rows.setdefault(
                    (int(at), int(channel), int(r * g.banks + b)), dict.fromkeys(COUNTED, 0)
                )
                row[what] += int(size)
    edge = [round(clock * spec.tck_fs / 1000) for clock in range(0, (bins + 1) * width, width)]
    columns = ["start_ps", "end_ps", "channel", "bank", *COUNTED]
    made = [
        (edge[at], edge[at + 1], channel, bank, *row.values())
        for (at, channel, bank), row in sorted(rows.items())
    ]
    return pd.DataFrame(made, columns=columns).astype("int64")
