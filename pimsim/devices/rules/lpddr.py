"""Rules of LPDDR4 and of LPDDR5 and LPDDR5X.

Left out: masked writes (tCCDMW), bursts of 32, LPDDR5's 16-bank and 8-bank modes, link ECC, and the
pairing of banks in a per-bank refresh of LPDDR5.
"""

from __future__ import annotations

from pimsim.devices.rules.rule import READS, WRITES, Rule
from pimsim.devices.rules.shared import (
    all_bank_refresh,
    bank_rows,
    counted_from_last_clock,
    data_bus,
    per_bank_refresh,
)
from pimsim.devices.spec import Clocks

LPDDR4_BUS_CK = dict.fromkeys(("ACT1", *READS, *WRITES), 4) | dict.fromkeys(
    ("PRE", "PREA", "REFAB", "REFPB"), 2
)
"""Clocks of the command bus that a command takes: two for each of its one or two parts."""


def lpddr4(n: Clocks) -> list[Rule]:
    """LPDDR4 (JESD209-4): eight banks without groups, bursts of 16.

    The two parts of an activate (and of a read or write) follow each other, so that each is one command of
    four clocks here; all waits count from the last clock of a command.
    """
    return counted_from_last_clock(lpddr4_waits(n), LPDDR4_BUS_CK)


def lpddr4_waits(n: Clocks) -> list[Rule]:
    """The waits of LPDDR4 as if every command took one clock.

    Read data come tDQSCK after RL, write data tDQSS after WL. A read counts tRTP from the last of the
    prefetches of eight clocks in its burst.
    """
    read, write = n.RL + n.DQSCK, n.WL + n.DQSS
    closing = {
        "rp": n.RPpb,
        "rp_all": n.RPab,
        "read_precharge": n.BL - 8 + n.RTP,
        "write_precharge": write + n.BL + n.WR,
    }
    rc = n.RAS + n.RPpb
    return [
        *data_bus(read=read, write=write, burst=n.BL, idle=n.CS),
        Rule("rank", READS, READS, n.CCD),
        Rule("rank", WRITES, WRITES, n.CCD),
        Rule("rank", READS, WRITES, read + n.BL + n.WPRE + n.RPST - n.WL),
        Rule("rank", WRITES, READS, write + n.BL + n.WTR),
        Rule("rank", ("ACT1",), ("ACT1",), n.RRD),
        Rule("rank", ("ACT1",), ("ACT1",), n.FAW, window=4),
        *bank_rows(rcd=n.RCD, rcd_wr=n.RCD, ras=n.RAS, rc=rc, **closing),
        Rule("rank", ("PRE", "PREA"), ("PRE", "PREA"), n.PPD),
        *all_bank_refresh(rc=rc, rfc=n.RFCab, **closing),
        *per_bank_refresh(
            "REFPB",
            rc=rc,
            rfc_all=n.RFCab,
            rfc=n.RFCpb,
            activate_refresh=n.RRD,
            refresh_activate=n.RRD,
            refresh_refresh=n.RFCpb,
            **closing,
        ),
    ]


def lpddr5(n: Clocks) -> list[Rule]:
    """LPDDR5 and LPDDR5X in bank-group mode, WCK:CK 4:1, one burst of 16 a column command."""
    write_data = n.WL + n.BL  # from the write command to the end of its data
    read_precharge = n.BL + n.RBTP
    return [
        Rule("channel", READS, READS, n.BL),
        Rule("channel", WRITES, WRITES, n.BL),
        Rule("rank", READS, READS, n.CCD_S),
        Rule("rank", WRITES, WRITES, n.CCD_S),
        Rule("bankgroup", READS, READS, n.CCD_L),
        Rule("bankgroup", WRITES, WRITES, n.CCD_L),
        Rule("rank", READS, WRITES, n.RL + n.BL + 2 - n.WL),
        Rule("rank", WRITES, READS, write_data + n.WTR_S),
        Rule("bankgroup", WRITES, READS, n.WL + n.BL_L + n.WTR_L),
        # Another rank: the data bus must be free for CS clocks between the bursts.
        Rule("rank", READS, READS, n.BL + n.CS, sibling=True),
        Rule("rank", WRITES, WRITES, n.BL + n.CS, sibling=True),
        Rule("rank", READS, WRITES, n.RL + n.BL + n.CS - n.WL, sibling=True),
        Rule("rank", WRITES, READS, max(1, n.WL + n.BL + n.CS - n.RL), sibling=True),
        # Rows.
        Rule("rank", ("ACT1",), ("ACT1",), n.RRD),
        Rule("rank", ("ACT1",), ("ACT1",), n.FAW, window=4),
        Rule("bank", ("ACT1",), ("ACT1",), n.RAS + n.RPpb),
        Rule("bank", ("ACT1",), READS, n.RCD),
        Rule("bank", ("ACT1",), WRITES, n.RCD_WR),
        Rule("bank", ("ACT1",), ("PRE",), n.RAS),
        Rule("rank", ("ACT1",), ("PREA",), n.RAS),
        Rule("bank", ("RD",), ("PRE",), read_precharge),
        Rule("rank", ("RD",), ("PREA",), read_precharge),
        Rule("bank", ("WR",), ("PRE",), write_data + n.WR),
        Rule("rank", ("WR",), ("PREA",), write_data + n.WR),
        Rule("bank", ("PRE",), ("ACT1",), n.RPpb),
        Rule("rank", ("PREA",), ("ACT1",), n.RPab),
        Rule("bank", ("RDA",), ("ACT1",), read_precharge + n.RPpb),
        Rule("bank", ("WRA",), ("ACT1",), write_data + n.WR + n.RPpb),
        Rule("rank", ("PRE", "PREA"), ("PRE", "PREA"), n.PPD),
        # Refresh.
        Rule("rank", ("ACT1",), ("REFAB",), n.RAS + n.RPpb),
        Rule("rank", ("PRE",), ("REFAB",), n.RPpb),
        Rule("rank", ("PREA",), ("REFAB",), n.RPab),
        Rule("rank", ("RDA",), ("REFAB",), read_precharge + n.RPpb),
        Rule("rank", ("WRA",), ("REFAB",), write_data + n.WR + n.RPpb),
        Rule("rank", ("REFAB",), ("ACT1", "PREA", "REFAB", "REFPB"), n.RFCab),
        Rule("bank", ("ACT1",), ("REFPB",), n.RAS + n.RPpb),
        Rule("bank", ("PRE",), ("REFPB",), n.RPpb),
        Rule("rank", ("PREA",), ("REFPB",), n.RPab),
        Rule("bank", ("RDA",), ("REFPB",), read_precharge + n.RPpb),
        Rule("bank", ("WRA",), ("REFPB",), write_data + n.WR + n.RPpb),
        Rule("bank", ("REFPB",), ("ACT1", "REFPB"), n.RFCpb),
        Rule("rank", ("REFPB",), ("REFAB",), n.RFCpb),
        Rule("rank", ("REFPB",), ("REFPB",), n.PBR2PBR),
        Rule("rank", ("REFPB",), ("ACT1",), n.PBR2ACT),
    ]
