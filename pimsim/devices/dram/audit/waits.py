"""The least distances of two commands, family by family, from the datasheet's raw numbers alone.

Written from the command timing tables of the standards, command to command; nothing here knows how the
scheduler states its rules. Each family also says what its standard calls a few of the rules.
"""

from __future__ import annotations

from collections.abc import Callable

from pimsim.devices.dram.audit.walk import NEVER, Waits
from pimsim.devices.spec import Clocks, DramSpec, PimSpec
from pimsim.errors import SpecError, suggest

__all__ = ["NAMES", "POSTPONED", "waits_of"]

POSTPONED = {"lpddr5": 9, "lpddr4": 9, "ddr4": 9, "ddr5": 5, "gddr6": 9, "hbm2": 9, "hbm3": 9}
"""Longest time between two refreshes in units of tREFI: eight (DDR5 four) may be postponed; of GDDR6 and HBM
an estimate."""

NAMES: dict[str, dict[str, str]] = {
    "lpddr5": {},
    "lpddr4": {
        "tRBTP": "tRTP", "tRBTP+tRPpb": "tRTP+tRPpb", "tCCD_S": "tCCD", "tCCD_L": "tCCD", "tWTR_S": "tWTR",
        "tWTR_L": "tWTR", "tRCD_WR": "tRCD", "tPBR2PBR": "tRFCpb", "tPBR2ACT": "tRRD",
    },
    "ddr4": {
        "tRBTP": "tRTP", "tRPpb": "tRP", "tRPab": "tRP", "tRBTP+tRPpb": "tRTP+tRP", "tWR+tRPpb": "tWR+tRP",
        "tRRD": "tRRD_S", "tRFCab": "tRFC", "tRCD_WR": "tRCD",
    },
    "gddr6": {
        "tRBTP": "tRTP", "tRPpb": "tRP", "tRPab": "tRP", "tRBTP+tRPpb": "tRTP+tRP", "tWR+tRPpb": "tWR+tRP",
        "tRRD": "tRRD_S", "tRCD": "tRCDRD", "tRCD_WR": "tRCDWR", "tPBR2PBR": "tRREFD", "tPBR2ACT": "tRREFD",
    },
}  # fmt: skip
"""What the family calls a rule of the auditor, where it is not the LPDDR5 name."""
NAMES["ddr5"] = NAMES["ddr4"] | {
    "tRFCab": "tRFC1", "tRFCpb": "tRFCsb", "tPBR2PBR": "tRFCsb", "tPBR2ACT": "tREFSBRD", "tREFIpb": "tREFIsb",
}  # fmt: skip
NAMES["hbm2"] = NAMES["hbm3"] = NAMES["gddr6"]


def _lpddr5(n: Clocks) -> dict[str, int]:
    burst_max = n.BL_L  # write to read in its own bank group counts from BL/n_max
    return {
        "read_data": n.RL,
        "write_data": n.WL,
        "CCD_S": n.CCD_S,
        "CCD_L": n.CCD_L,
        "CCD_S_WR": n.CCD_S,
        "CCD_L_WR": n.CCD_L,
        "RTW": n.RL + n.BL + 2 - n.WL,
        "WTR_S": n.WL + n.BL + n.WTR_S,
        "WTR_L": n.WL + burst_max + n.WTR_L,
        "RTP": n.BL + n.RBTP,
        "WTP": n.WL + n.BL + n.WR,
        "RRD": n.RRD,
        "RCD": n.RCD,
        "RCD_WR": n.RCD_WR,
        "RC": n.RAS + n.RPpb,
        "RPpb": n.RPpb,
        "RPab": n.RPab,
        "PPD": n.PPD,
        "RFCab": n.RFCab,
        "RFCpb": n.RFCpb,
        "PBR2PBR": n.PBR2PBR,
        "PBR2ACT": n.PBR2ACT,
        "WCKPST": n.WCKPST if n.has("WCKPST") else NEVER,
        "AAD": n.AAD if n.has("AAD") else NEVER,
    }


def _lpddr4(n: Clocks) -> dict[str, int]:
    strobe = n.WL + n.DQSS
    return {
        "read_data": n.RL + n.DQSCK,
        "write_data": strobe,
        "CCD_S": n.CCD,
        "CCD_L": n.CCD,
        "CCD_S_WR": n.CCD,
        "CCD_L_WR": n.CCD,
        "RTW": n.RL + n.DQSCK + n.BL - n.WL + n.WPRE + n.RPST,
        "WTR_S": strobe + n.BL + n.WTR,
        "WTR_L": strobe + n.BL + n.WTR,
        "RTP": n.RTP + n.BL - 8,
        "WTP": strobe + n.BL + n.WR,
        "RRD": n.RRD,
        "RCD": n.RCD,
        "RCD_WR": n.RCD,
        "RC": n.RAS + n.RPpb,
        "RPpb": n.RPpb,
        "RPab": n.RPab,
        "PPD": n.PPD,
        "RFCab": n.RFCab,
        "RFCpb": n.RFCpb,
        "PBR2PBR": n.RFCpb,
        "PBR2ACT": n.RRD,
        "ACT2PBR": n.RRD,
        "act_ck": 4,
        "data_ck": 4,
        "other_ck": 2,
    }


def _ddr4(n: Clocks) -> dict[str, int]:
    return {
        "read_data": n.CL,
        "write_data": n.CWL,
        "CCD_S": n.CCD_S,
        "CCD_L": n.CCD_L,
        "CCD_S_WR": n.CCD_S,
        "CCD_L_WR": n.CCD_L,
        "RTW": n.CL - n.CWL + n.BL + 1 + n.WPRE,
        "WTR_S": n.CWL + n.BL + n.WTR_S,
        "WTR_L": n.CWL + n.BL + n.WTR_L,
        "RTP": n.RTP,
        "WTP": n.CWL + n.BL + n.WR,
        "RRD": n.RRD_S,
        "RRD_L": n.RRD_L,
        "RCD": n.RCD,
        "RCD_WR": n.RCD,
        "RC": n.RAS + n.RP,
        "RPpb": n.RP,
        "RPab": n.RP,
        "RFCab": n.RFC,
    }


def _ddr5(n: Clocks) -> dict[str, int]:
    return {
        "read_data": n.CL,
        "write_data": n.CWL,
        "CCD_S": n.CCD_S,
        "CCD_L": n.CCD_L,
        "CCD_S_WR": n.CCD_S_WR,
        "CCD_L_WR": n.CCD_L_WR,
        "RTW": n.CL - n.CWL + n.BL + 2 + n.WPRE,
        "WTR_S": n.CWL + n.BL + n.WTR_S,
        "WTR_L": n.CWL + n.BL + n.WTR_L,
        "RTP": n.RTP,
        "WTP": n.CWL + n.BL + n.WR,
        "RRD": n.RRD_S,
        "RRD_L": n.RRD_L,
        "RCD": n.RCD,
        "RCD_WR": n.RCD,
        "RC": n.RAS + n.RP,
        "RPpb": n.RP,
        "RPab": n.RP,
        "PPD": n.PPD,
        "RFCab": n.RFC1,
        "act_ck": 2,
        "data_ck": 2,
        **(_same_bank_refresh(n) if n.has("RFCsb") else {}),
        **({"CCD_M": n.CCD_M} if n.has("CCD_M") else {}),
        **({"CCD_M_WR": n.CCD_M_WR} if n.has("CCD_M_WR") else {}),
        **({"WTR_M": n.CWL + n.BL + n.WTR_M} if n.has("WTR_M") else {}),
    }


def _same_bank_refresh(n: Clocks) -> dict[str, int]:
    return {"RFCpb": n.RFCsb, "PBR2PBR": n.RFCsb, "PBR2ACT": n.REFSBRD, "ACT2PBR": n.RRD_L}


def _gddr6(n: Clocks) -> dict[str, int]:
    return {
        "read_data": n.RL,
        "write_data": n.WL,
        "CCD_S": n.CCD_S,
        "CCD_L": n.CCD_L,
        "CCD_S_WR": n.CCD_S,
        "CCD_L_WR": n.CCD_L,
        "RTW": n.RL + n.BL + 2 - n.WL,
        "WTR_S": n.WL + n.BL + n.WTR_S,
        "WTR_L": n.WL + n.BL + n.WTR_L,
        "RTP": n.RTP,
        "WTP": n.WL + n.BL + n.WR,
        "RRD": n.RRD_S,
        "RRD_L": n.RRD_L,
        "RCD": n.RCDRD,
        "RCD_WR": n.RCDWR,
        "RC": n.RC,
        "RPpb": n.RP,
        "RPab": n.RP,
        "RFCab": n.RFCab,
        "RFCpb": n.RFCpb,
        "PBR2PBR": n.RREFD,
        "PBR2ACT": n.RREFD,
        "ACT2PBR": n.RRD_L,
    }


def _hbm2(n: Clocks) -> dict[str, int]:
    return {
        "read_data": n.RL,
        "write_data": n.WL,
        "CCD_S": n.CCD_S,
        "CCD_L": n.CCD_L,
        "CCD_S_WR": n.CCD_S,
        "CCD_L_WR": n.CCD_L,
        "RTW": n.RL + n.BL - n.WL + 2,
        "WTR_S": n.WL + n.BL + n.WTR_S,
        "WTR_L": n.WL + n.BL + n.WTR_L,
        "RTP": n.RTP,
        "WTP": n.WL + n.BL + n.WR,
        "RRD": n.RRD_S,
        "RRD_L": n.RRD_L,
        "RCD": n.RCDRD,
        "RCD_WR": n.RCDWR,
        "RC": n.RC,
        "RPpb": n.RP,
        "RPab": n.RP,
        "RFCab": n.RFCab,
        "RFCpb": n.RFCpb,
        "PBR2PBR": n.RREFD,
        "PBR2ACT": n.RREFD,
        "ACT2PBR": n.RRD_S,
        "act_ck": 2,
        "column_bus": 1,
        "own_data_bus": 1,
    }


def _hbm3(n: Clocks) -> dict[str, int]:
    """In half clocks: an activate takes three, a read or write two."""
    return _hbm2(n) | {
        "CCD_R": n.CCD_R,
        "RTW": n.RTW,
        "PPD": n.PPD,
        "act_ck": 3,
        "data_ck": 2,
        "half_clocks": 1,
    }


_FAMILIES: dict[str, Callable[[Clocks], dict[str, int]]] = {
    "lpddr5": _lpddr5,
    "lpddr4": _lpddr4,
    "ddr4": _ddr4,
    "ddr5": _ddr5,
    "gddr6": _gddr6,
    "hbm2": _hbm2,
    "hbm3": _hbm3,
}


def waits_of(spec: DramSpec, pim: PimSpec | None) -> Waits:
    """What the walk needs of a part; what a family has no rule for is 0 (no wait) or NEVER."""
    if spec.family not in _FAMILIES:
        known = ", ".join(_FAMILIES)
        near = suggest(spec.family, _FAMILIES).partition("; known")[0]
        raise SpecError(f"{spec.name}: family {spec.family!r} has no auditor{near}; known: {known}")
    if pim is not None and spec.family != "lpddr5":
        raise SpecError(f"{pim.name}: the auditor knows PIM units in LPDDR5 parts, not in {spec.family!r}")
    if pim is not None and pim.mode_accesses < 1:
        raise SpecError(f"{pim.name}: mode_accesses={pim.mode_accesses}; wanted at least 1")
    n = Clocks(spec)
    own = _FAMILIES[spec.family](n)
    longest = POSTPONED[spec.family]
    per_bank, banks_in_turn = n.REFIpb if n.has("REFIpb") else n.REFI, spec.geometry.banks
    if n.has("REFIsb"):
        per_bank, banks_in_turn = n.REFIsb, spec.geometry.banks_per_group
    general = {
        **dict.fromkeys(("RRD_L", "PPD", "RFCpb", "PBR2PBR", "PBR2ACT", "ACT2PBR"), 0),
        **dict.fromkeys(("act_ck", "data_ck", "other_ck"), 1),
        **dict.fromkeys(("column_bus", "half_clocks", "own_data_bus"), 0),
        **dict.fromkeys(("WCKPST", "AAD"), NEVER),
        "BL": n.BL,
        "CS": n.CS if n.has("CS") else 0,
        "CCD_M": own["CCD_L"],
        "CCD_M_WR": own["CCD_L_WR"],
        "WTR_M": own["WTR_L"],
        "CCD_R": own["CCD_S"],
        "FAW": n.FAW,
        "RAS": n.RAS,
        "mode_ck": pim.mode_ck if pim else 0,
        "mac_pipeline_ck": pim.mac_pipeline_ck if pim else 0,
        "mode_accesses": pim.mode_accesses if pim else 1,
        "banks_per_group": spec.geometry.banks_per_group,
        "groups_per_sid": spec.geometry.bank_groups // spec.geometry.sids,
        # As many refreshes of some banks as fit in tREFI are owed for one of all banks (LPDDR: eight; DDR5:
        # twice the banks of a group, each in half of tREFI).
        "refresh_set": max(1, round(n.REFI / per_bank)),
        "refresh_rank_ck": longest * n.REFI,
        "refresh_bank_ck": longest * per_bank * banks_in_turn,
    }
    return Waits(**(general | own))
