"""Rules of DDR4, DDR5 and GDDR6: one command bus, an activate in one command, bank groups.

Left out: gear-down mode and command parity, DDR4 fine-granularity refresh, DDR5
refresh management, DDR5 burst chop, GDDR6 per-two-bank refresh and pseudo-channel mode.
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

DDR5_BUS_CK = dict.fromkeys(("ACT1", *READS, *WRITES), 2) | dict.fromkeys(
    ("PRE", "PREA", "REFAB", "REFSB"), 1
)
"""Clocks of the command bus that a command takes."""


def _activates(n: Clocks) -> list[Rule]:
    """Activates of other banks, with bank groups."""
    return [
        Rule("rank", ("ACT1",), ("ACT1",), n.RRD_S),
        Rule("bankgroup", ("ACT1",), ("ACT1",), n.RRD_L),
        Rule("rank", ("ACT1",), ("ACT1",), n.FAW, window=4),
    ]


def ddr4(n: Clocks) -> list[Rule]:
    """DDR4 (JESD79-4), additive latency 0, so that RL is CL and WL is CWL; preambles of WPRE clocks.

    Read to write: the write preamble and one clock of turnaround come after the read data.
    """
    write_end = n.WL + n.BL
    closing = {"rp": n.RP, "rp_all": n.RP, "read_precharge": n.RTP, "write_precharge": write_end + n.WR}
    rc = n.RAS + n.RP
    return [
        *data_bus(read=n.RL, write=n.WL, burst=n.BL, idle=n.CS),
        Rule("rank", READS, READS, n.CCD_S),
        Rule("rank", WRITES, WRITES, n.CCD_S),
        Rule("bankgroup", READS, READS, n.CCD_L),
        Rule("bankgroup", WRITES, WRITES, n.CCD_L),
        Rule("rank", READS, WRITES, n.RL + n.BL + 1 + n.WPRE - n.WL),
        Rule("rank", WRITES, READS, write_end + n.WTR_S),
        Rule("bankgroup", WRITES, READS, write_end + n.WTR_L),
        *_activates(n),
        *bank_rows(rcd=n.RCD, rcd_wr=n.RCD, ras=n.RAS, rc=rc, **closing),
        *all_bank_refresh(rc=rc, rfc=n.RFC, **closing),
    ]


def ddr5(n: Clocks) -> list[Rule]:
    """DDR5 (JESD79-5), one 32-bit subchannel; all-bank refresh in normal mode (tRFC1), same-bank refresh.

    Same-bank refresh (REFsb): the activate after it waits tRFCsb in the banks that were refreshed and
    tREFSBRD in others; the one before it is tRRD_L away; two of them are tRFCsb apart. A part that gives
    tCCD_M, tCCD_M_WR or tWTR_M has them between different banks of one group, the long ones within a bank.
    Activates, reads and writes take two clocks of the command bus and count from the second. Writes to
    one bank group are far apart (tCCD_L_WR): the chip reads, corrects and writes back.
    """
    write_end = n.WL + n.BL
    closing = {"rp": n.RP, "rp_all": n.RP, "read_precharge": n.RTP, "write_precharge": write_end + n.WR}
    rc = n.RAS + n.RP
    rules = [
        *data_bus(read=n.RL, write=n.WL, burst=n.BL, idle=n.CS),
        Rule("rank", READS, READS, n.CCD_S),
        Rule("rank", WRITES, WRITES, n.CCD_S_WR),
        Rule("bankgroup", READS, READS, n.CCD_M if n.has("CCD_M") else n.CCD_L),
        Rule("bank", ("RD",), READS, n.CCD_L),
        Rule("bankgroup", WRITES, WRITES, n.CCD_M_WR if n.has("CCD_M_WR") else n.CCD_L_WR),
        Rule("bank", ("WR",), WRITES, n.CCD_L_WR),
        Rule("rank", READS, WRITES, n.RL + n.BL + 2 + n.WPRE - n.WL),
        Rule("rank", WRITES, READS, write_end + n.WTR_S),
        Rule("bankgroup", WRITES, READS, write_end + (n.WTR_M if n.has("WTR_M") else n.WTR_L)),
        Rule("bank", ("WR",), READS, write_end + n.WTR_L),
        *_activates(n),
        *bank_rows(rcd=n.RCD, rcd_wr=n.RCD, ras=n.RAS, rc=rc, **closing),
        Rule("rank", ("PRE", "PREA"), ("PRE", "PREA"), n.PPD),
        *all_bank_refresh(rc=rc, rfc=n.RFC1, **closing),
    ]
    if n.has("RFCsb"):
        rules += per_bank_refresh(
            "REFSB",
            rc=rc,
            rfc_all=n.RFC1,
            rfc=n.RFCsb,
            activate_refresh=n.RRD_L,
            refresh_activate=n.REFSBRD,
            refresh_refresh=n.RFCsb,
            **closing,
        )
    return counted_from_last_clock(rules, DDR5_BUS_CK)


def gddr6(n: Clocks) -> list[Rule]:
    """GDDR6 (JESD250), one 16-bit channel, bank groups on.

    Between the data of a read and of a write lie two clocks, as in GDDR5: an estimate.
    tRC is a value of its own: it may be shorter than tRAS + tRP as rounded to clocks.
    """
    write_end = n.WL + n.BL
    closing = {"rp": n.RP, "rp_all": n.RP, "read_precharge": n.RTP, "write_precharge": write_end + n.WR}
    return [
        *data_bus(read=n.RL, write=n.WL, burst=n.BL, idle=n.CS),
        Rule("rank", READS, READS, n.CCD_S),
        Rule("rank", WRITES, WRITES, n.CCD_S),
        Rule("bankgroup", READS, READS, n.CCD_L),
        Rule("bankgroup", WRITES, WRITES, n.CCD_L),
        Rule("rank", READS, WRITES, n.RL + n.BL + 2 - n.WL),
        Rule("rank", WRITES, READS, write_end + n.WTR_S),
        Rule("bankgroup", WRITES, READS, write_end + n.WTR_L),
        *_activates(n),
        *bank_rows(rcd=n.RCDRD, rcd_wr=n.RCDWR, ras=n.RAS, rc=n.RC, **closing),
        *all_bank_refresh(rc=n.RC, rfc=n.RFCab, **closing),
        *per_bank_refresh(
            "REFPB",
            rc=n.RC,
            rfc_all=n.RFCab,
            rfc=n.RFCpb,
            activate_refresh=n.RRD_L,
            refresh_activate=n.RREFD,
            refresh_refresh=n.RREFD,
            **closing,
        ),
    ]
