"""Rules of HBM2 and HBM3: a bus for row and one for column commands, shared by two pseudo channels.

A pseudo channel is a rank with a data bus of its own. Left out: legacy mode, the pairing of banks in a
refresh of one bank, refresh management, temperature-dependent refresh, ECC and data parity.
"""

from __future__ import annotations

from pimsim.devices.rules.rule import DATA, READS, WRITES, Rule
from pimsim.devices.rules.shared import (
    all_bank_refresh,
    bank_rows,
    counted_from_last_clock,
    per_bank_refresh,
)
from pimsim.devices.spec import Clocks

_OTHER_ROW = ("PRE", "PREA", "REFAB", "REFPB")
HBM2_ROW_CK = {"ACT1": 2} | dict.fromkeys(_OTHER_ROW, 1)
HBM2_COLUMN_CK = dict.fromkeys(DATA, 1)
"""Clocks of its bus that a command takes."""
HBM3_ROW_CK = {"ACT1": 3} | dict.fromkeys(_OTHER_ROW, 1)
HBM3_COLUMN_CK = dict.fromkeys(DATA, 2)
"""Half clocks of its bus that a command takes."""


def hbm2(n: Clocks) -> list[Rule]:
    """HBM2 (JESD235) in pseudo-channel mode; an activate takes two clocks and counts from the second.

    Read to write: two clocks of turnaround come after the read data, an estimate of the public presets.
    """
    return counted_from_last_clock(_waits(n, n.RL + n.BL + 2 - n.WL), HBM2_ROW_CK, HBM2_COLUMN_CK)


def hbm3(n: Clocks) -> list[Rule]:
    """HBM3 (JESD238), all times in half clocks; reads of two stack levels are tCCD_R apart.

    An activate takes three halves, a read or write two; all times count from the last.
    """
    rules = [
        *_waits(n, n.RTW),
        Rule("sid", READS, READS, n.CCD_R, sibling=True),
        Rule("rank", ("PRE", "PREA"), ("PRE", "PREA"), n.PPD),
    ]
    return counted_from_last_clock(rules, HBM3_ROW_CK, HBM3_COLUMN_CK)


def _waits(n: Clocks, read_write: int) -> list[Rule]:
    """The waits of a pseudo channel as if every command took one clock; `read_write`: read to write."""
    write_end = n.WL + n.BL
    closing = {"rp": n.RP, "rp_all": n.RP, "read_precharge": n.RTP, "write_precharge": write_end + n.WR}
    return [
        Rule("rank", READS, READS, n.BL),
        Rule("rank", WRITES, WRITES, n.BL),
        Rule("rank", READS, READS, n.CCD_S),
        Rule("rank", WRITES, WRITES, n.CCD_S),
        Rule("bankgroup", READS, READS, n.CCD_L),
        Rule("bankgroup", WRITES, WRITES, n.CCD_L),
        Rule("rank", READS, WRITES, read_write),
        Rule("rank", WRITES, READS, write_end + n.WTR_S),
        Rule("bankgroup", WRITES, READS, write_end + n.WTR_L),
        Rule("rank", ("ACT1",), ("ACT1",), n.RRD_S),
        Rule("bankgroup", ("ACT1",), ("ACT1",), n.RRD_L),
        Rule("rank", ("ACT1",), ("ACT1",), n.FAW, window=4),
        *bank_rows(rcd=n.RCDRD, rcd_wr=n.RCDWR, ras=n.RAS, rc=n.RC, **closing),
        *all_bank_refresh(rc=n.RC, rfc=n.RFCab, **closing),
        *per_bank_refresh(
            "REFPB",
            rc=n.RC,
            rfc_all=n.RFCab,
            rfc=n.RFCpb,
            activate_refresh=n.RRD_S,
            refresh_activate=n.RREFD,
            refresh_refresh=n.RREFD,
            **closing,
        ),
    ]
