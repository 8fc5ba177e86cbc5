"""Energy of a PIM program from the supply currents of its DRAM part: an estimate, whatever the currents are.

No datasheet gives currents of PIM commands. They are taken for what they do in the banks:

    all-bank activate                an activate, with its precharge, in every bank of the rank
    MAC                              a read without the pins in every bank of the rank
    register and result accesses     a burst on the data pins

A read without the pins still includes the way from the bank to them, which a MAC does not go. The
multipliers, the registers and what all banks at once take beyond the sum of one by one are not known and left
out. So are parts whose units serve two banks.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd

from pimsim.devices.dram.channel import Controller
from pimsim.devices.dram.energy import Energy, event_energy, open_clocks
from pimsim.devices.pim.kernel import UNHINDERED, HostDrive, Kernel, log_kernel
from pimsim.devices.spec import DramGeometry, DramSpec, PimSpec
from pimsim.errors import SpecError

ON_PINS = {"RDRES": "read", "WRREG": "write", "WRACC": "write", "MODE": "write"}
"""PIM commands that move one burst over the data pins, and which way."""
FREE = ("PREA", "CAS_RD", "CAS_WR")
"""Commands without an energy of their own: it is in the activate, or of the clock pins and left out."""
KNOWN = {*ON_PINS, *FREE, "ACTAB", "MACAB", "REFAB"}


def pim_energy(
    dram: DramSpec, pim: PimSpec, controller: Controller, kernel: Kernel, host: HostDrive = UNHINDERED
) -> Energy | None:
    """Energy of a kernel on all its channels; None if nothing is known of the part.

    read_pj: of the MACs' column accesses. background_pj: exact, from the commands. bits: of the operands in
    memory, so that `pj_per_bit` is for a bit of weights. Commands other than a product's are a SpecError.
    """
    currents = dram.currents
    if currents is None or pim.protocol == "paired_banks":
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
    opened = open_clocks(dram, bank_commands(log, g), time.clocks)
    clocks_mw = (
        g.ranks * time.clocks * cost.closed_mw
        + opened.any_ck * cost.first_bank_mw
        + (opened.bank_ck - opened.any_ck) * cost.next_bank_mw
    )
    background_pj = channels * clocks_mw * dram.tck_fs / 1e6
    io_pj = None
    if cost.io_read_pj is not None and cost.io_write_pj is not None:
        pins = {"read": cost.io_read_pj, "write": cost.io_write_pj}
        io_pj = channels * sum(count(name, 0) * pins[way] for name, way in ON_PINS.items())
    return Energy(
        activate_pj=channels * count("ACTAB", 0) * g.banks * cost.activate_pj,
        read_pj=channels * count("MACAB", 0) * g.banks * cost.read_pj,
        write_pj=0.0,
        refresh_pj=channels * count("REFAB", 0) * cost.refresh_pj,
        background_pj=background_pj,
        background_low_pj=background_pj,
        background_high_pj=background_pj,
        io_pj=io_pj,
        time_ns=time.clocks * dram.tck_fs / 1e6,
        bits=8 * kernel.operand_bytes,
        source=currents.source,
        estimate=True,
    )


def bank_commands(log: pd.DataFrame, geometry: DramGeometry) -> pd.DataFrame:
    """The log with an ACT of every bank of the rank in place of each ACTAB."""
    whole = log["command"] == "ACTAB"
    each: Any = log[whole].loc[log.index[whole].repeat(geometry.banks)].copy()
    bank = np.tile(np.arange(geometry.banks), int(whole.sum()))
    each["command"] = "ACT"
    each["bankgroup"], each["bank"] = np.divmod(bank, geometry.banks_per_group)
    frame: pd.DataFrame = pd.concat([log[~whole], each]).sort_values(
        "clock", kind="stable", ignore_index=True
    )
    return frame


__all__ = ["FREE", "KNOWN", "ON_PINS", "bank_commands", "pim_energy"]
