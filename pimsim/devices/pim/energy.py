"""Energy of a PIM program from the supply currents of its DRAM part: an estimate, whatever the currents are.

No datasheet gives currents of PIM commands. They are taken for what they do in the banks:

    all-bank activate                an activate, with its precharge, in every bank that it reaches
    column access of the units       the part's `unit_energy`: a share of a burst, in every bank that gives or
                                     takes one (of an AiM product of vectors: three of each group)
    register and result accesses     a burst on the data pins; where the part's currents include the pins, an
                                     ordinary burst, whose way from or to the bank is too much
    ordinary reads and writes        as on any channel

What all banks at once take beyond the sum of one by one is not known and left out.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd

from pimsim.devices.dram.channel import Controller
from pimsim.devices.dram.energy import Energy, event_energy, open_clocks
from pimsim.devices.pim.cost import ON_PINS, on_pins
from pimsim.devices.pim.kernel import UNHINDERED, HostDrive, Kernel, log_kernel
from pimsim.devices.spec import DramGeometry, DramSpec, PimSpec
from pimsim.errors import SpecError

FREE = ("PRE", "PREA", "CAS_RD", "CAS_WR")
"""Commands without an energy of their own: it is in the activate, or of the clock pins and left out."""
KNOWN = {*ON_PINS, *FREE, "ACT1", "ACTAB", "MACAB", "WRAB", "EWAB", "AFAB", "REFAB"}


def reach(pim: PimSpec, geometry: DramGeometry) -> int:
    """Banks that an all-bank command reaches: those of a rank, or half of them where units have two."""
    return geometry.banks // 2 if pim.protocol == "paired_banks" else geometry.banks


def unit_bursts(pim: PimSpec, geometry: DramGeometry, counts: dict[str, int]) -> tuple[int, int]:
    """(read, written) bursts of the banks of one channel that column commands of the units move."""
    banks, groups = reach(pim, geometry), geometry.bank_groups
    products = counts.get("EWAB", 0)
    read = banks * (counts.get("MACAB", 0) + counts.get("AFAB", 0)) + 2 * groups * products
    return read, banks * counts.get("WRAB", 0) + groups * products


def pim_energy(
    dram: DramSpec, pim: PimSpec, controller: Controller, kernel: Kernel, host: HostDrive = UNHINDERED
) -> Energy | None:
    """Energy of a kernel on all its channels; None if nothing is known of the part.

    read_pj, write_pj: of the units' column accesses and ordinary bursts, with those on the pins where the
    currents include them. background_pj: exact, from the commands. bits: of the operands in memory, so that
    `pj_per_bit` is for a bit of weights. A command whose energy nobody knows is a SpecError.
    """
    currents = dram.currents
    if currents is None:
        return None
    try:
        cost = event_energy(dram)
    except SpecError:  # currents of another chip: `event_energy` says which
        return None
    time, log = log_kernel(dram, pim, controller, kernel, host)
    unknown = sorted(set(time.counts) - KNOWN)
    if unknown:
        raise SpecError(f"{pim.name}: no energy of {', '.join(unknown)}; known: {', '.join(sorted(KNOWN))}")
    g, channels, count = dram.geometry, kernel.channels, time.counts.get
    opened = open_clocks(dram, bank_commands(log, pim, g), time.clocks)
    clocks_mw = (
        g.ranks * time.clocks * cost.closed_mw
        + opened.any_ck * cost.first_bank_mw
        + (opened.bank_ck - opened.any_ck) * cost.next_bank_mw
    )
    background_pj = channels * clocks_mw * dram.tck_fs / 1e6
    read, written = (bursts * pim.unit_energy.share for bursts in unit_bursts(pim, g, time.counts))
    io_pj = None
    moved = on_pins(pim, time.counts)
    if cost.io_read_pj is None or cost.io_write_pj is None:  # the pins are in the currents, or not known
        read, written = read + moved["read"], written + moved["write"]
    else:
        read, written = read + count("RD", 0), written + count("WR", 0)
        io_pj = channels * (moved["read"] * cost.io_read_pj + moved["write"] * cost.io_write_pj)
    activates = reach(pim, g) * count("ACTAB", 0) + count("ACT1", 0)
    return Energy(
        activate_pj=channels * activates * cost.activate_pj,
        read_pj=channels * read * cost.read_pj,
        write_pj=channels * written * cost.write_pj,
        refresh_pj=channels * count("REFAB", 0) * cost.refresh_pj,
        background_pj=background_pj,
        background_low_pj=background_pj,
        background_high_pj=background_pj,
        io_pj=io_pj,
        time_ns=time.clocks * dram.tck_fs / 1e6,
        bits=8 * kernel.operand_bytes,
        source=f"{currents.source}; units: {pim.unit_energy.source}",
        estimate=True,
    )


def bank_commands(log: pd.DataFrame, pim: PimSpec, geometry: DramGeometry) -> pd.DataFrame:
    """The log with an ACT of every bank that it reaches in place of each ACTAB, and so with PRE of such."""
    paired = pim.protocol == "paired_banks"
    whole = (log["command"] == "ACTAB") | (paired & (log["command"] == "PRE"))
    banks = reach(pim, geometry)
    each: Any = log[whole].loc[log.index[whole].repeat(banks)].copy()
    bank = np.tile(np.arange(banks), int(whole.sum()))
    if paired:  # a command names one bank of those with even or odd numbers
        bank = 2 * bank + each["bank"].to_numpy() % 2
    each["command"] = each["command"].replace({"ACTAB": "ACT"})
    each["bankgroup"], each["bank"] = np.divmod(bank, geometry.banks_per_group)
    frame: pd.DataFrame = pd.concat([log[~whole], each]).sort_values(
        "clock", kind="stable", ignore_index=True
    )
    return frame


__all__ = ["FREE", "KNOWN", "bank_commands", "pim_energy", "reach", "unit_bursts"]
