"""Configurations of model C: bank machines (DRAMSys).

A file holds the timings of the device but no rules: these follow here, standard by standard, from what the
simulator's timing checkers enforce, with its departures from the standards, each marked. A file that needs
what has no counterpart here is an error that names the file and the key: other standards, grouping
schedulers, reordered responses, postponed or pulled-in refreshes, power-down, hashed addresses. Stacks of
HBM2 share the machines of their banks, as in the simulator, so that they are no more than address bits.
Timings of power-down and self refresh must have known names but are not used.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
from numpy.typing import NDArray

from pimsim.devices.dram import engine as e
from pimsim.devices.dram.bank_machines import BankMachines
from pimsim.devices.dram.channel import REFRESH_MODES
from pimsim.devices.dram.config.reference import ReferenceConfig
from pimsim.devices.rules import LPDDR4_BUS_CK, READS, WRITES, Rule
from pimsim.devices.rules.shared import all_bank_refresh, bank_rows, counted_from_last_clock, per_bank_refresh
from pimsim.devices.spec import AtLeast, DramGeometry, DramSpec
from pimsim.errors import SpecError, suggest
from pimsim.placement.mapping import AddressMapping

SCHEDULERS = {"FrFcfs": "fr_fcfs", "Fifo": "fifo"}
BUFFERS = {"Bankwise": "bankwise", "Shared": "shared", "ReadWrite": "read_write"}
COMMAND_MUXES = {"Oldest": "oldest", "Strict": "strict"}
PAGE_POLICIES = {
    "Open": "open",
    "Closed": "closed",
    "OpenAdaptive": "open_adaptive",
    "ClosedAdaptive": "closed_adaptive",
}
REFRESHES = {"NoRefresh": "none", "AllBank": "all_bank", "PerBank": "per_bank"}
FIELDS = {"pseudochannel": "rank"}
_COUNTS = (
    "burstLength", "dataRate", "nbrOfBanks", "nbrOfColumns", "nbrOfRows", "width", "nbrOfDevices",
    "nbrOfBankGroups", "nbrOfRanks", "nbrOfPseudoChannels",
)  # fmt: skip
COMMANDS = ("ACT1", "PRE", "PREA", "RD", "WR", "RDA", "WRA", "REFAB")


class _Speed(msgspec.Struct, forbid_unknown_fields=True):
    cycle_ps: int | float
    cycle_is: str


class _Organisation(msgspec.Struct, forbid_unknown_fields=True):
    burstLength: int
    dataRate: int
    nbrOfBanks: int
    nbrOfColumns: int
    nbrOfRows: int
    width: int
    nbrOfDevices: int = 1
    nbrOfChannels: int = 1
    nbrOfBankGroups: int = 1
    nbrOfRanks: int = 1
    nbrOfPseudoChannels: int = 1
    nbrOfStacks: int = 1
    maxBurstLength: int | None = None
    per2BankOffset: int | None = None  # refresh of two banks at once, which is not modelled

    @property
    def ranks(self) -> int:
        """Ranks or pseudo channels."""
        return self.nbrOfRanks * self.nbrOfPseudoChannels


class _Piece(msgspec.Struct, forbid_unknown_fields=True):
    field: str
    bits: int


class _Mapping(msgspec.Struct, forbid_unknown_fields=True):
    transaction_bytes: int
    bits_lsb_to_msb: list[_Piece]
    xor: None = None
    xor_order: None = None


class _Controller(msgspec.Struct, forbid_unknown_fields=True):
    page_policy: str
    scheduler: str
    scheduler_buffer: str
    buffer_depth: int
    command_mux: str
    response_queue: str
    max_active_transactions: int
    arbiter: str
    power_down: str


class _Refresh(msgspec.Struct, forbid_unknown_fields=True):
    mode: str
    max_postponed: int = 0
    max_pulled_in: int = 0


class _Config(msgspec.Struct, forbid_unknown_fields=True):
    id: str
    model: str
    produced_by: str
    standard: str
    speed: _Speed
    organisation: _Organisation
    timing_cycles: dict[str, int]
    address_mapping: _Mapping
    controller: _Controller
    refresh: _Refresh


# Timing rules


def _turnarounds(*, read_write: int, write_read: int, others: tuple[int, int, int]) -> list[Rule]:
    """Reads and writes after each other; others: of two ranks, the same kind, read-write and write-read."""
    same, to_write, to_read = others
    return [
        Rule("rank", READS, WRITES, read_write),
        Rule("rank", WRITES, READS, write_read),
        Rule("rank", READS, READS, same, sibling=True),
        Rule("rank", WRITES, WRITES, same, sibling=True),
        Rule("rank", READS, WRITES, max(0, to_write), sibling=True),
        Rule("rank", WRITES, READS, max(0, to_read), sibling=True),
    ]


def _auto_precharge(read_precharge: int, write_precharge: int) -> list[Rule]:
    """A precharge in a data command: it waits for an earlier write, and a precharge of all banks for it."""
    return [
        Rule("bank", ("WR",), ("RDA",), max(0, write_precharge - read_precharge)),
        Rule("rank", ("RDA",), ("PREA",), read_precharge),
        Rule("rank", ("WRA",), ("PREA",), write_precharge),
    ]


def _without(rules: list[Rule], after: str, before: str) -> list[Rule]:
    return [rule for rule in rules if (rule.after, rule.before) != ((after,), (before,))]


def _four_activates(n: dict[str, int], clocks: dict[str, int]) -> list[Rule]:
    """Four row commands, refreshes of one bank among them, in a window.

    It counts from the end of the oldest to the start of the next less the length of the newest. The oldest is
    taken to be an activate: where it is a refresh, tRRD alone is no shorter.
    """
    row = ("ACT1", "REFPB")
    longer = clocks["ACT1"] - clocks["REFPB"]
    return [
        Rule("rank", ("ACT1",), row, n["FAW"], window=4),
        Rule("rank", ("REFPB",), row, n["FAW"] + longer, window=4, counted=("ACT1",)),
    ]


def _ddr3(n: dict[str, int], burst: int) -> list[Rule]:
    """No rule between a write and a precharge of all banks (departs from the standard). Also STT-MRAM.

    STT-MRAM is DDR3 that needs no refresh.
    """
    write_end = n["WL"] + burst
    closing = {
        "rp": n["RP"],
        "rp_all": n["RP"],
        "read_precharge": n["AL"] + n["RTP"],
        "write_precharge": write_end + n["WR"],
    }
    rows = bank_rows(rcd=n["RCD"] - n["AL"], rcd_wr=n["RCD"] - n["AL"], ras=n["RAS"], rc=n["RC"], **closing)
    others = burst + n["RTRS"], n["RL"] + burst + n["RTRS"] - n["WL"], write_end + n["RTRS"] - n["RL"]
    return [
        Rule("rank", READS, READS, n["CCD"]),
        Rule("rank", WRITES, WRITES, n["CCD"]),
        *_turnarounds(
            read_write=n["RL"] + burst + 2 - n["WL"],
            write_read=write_end + n["WTR"] - n["AL"],
            others=others,
        ),
        Rule("rank", ("ACT1",), ("ACT1",), n["RRD"]),
        Rule("rank", ("ACT1",), ("ACT1",), n["FAW"], window=4),
        *_without(rows, "WR", "PREA"),
        *_auto_precharge(closing["read_precharge"], closing["write_precharge"]),
        *all_bank_refresh(rc=n["RC"], rfc=n.get("RFC", 0), **closing),
    ]


def _ddr4(n: dict[str, int], burst: int) -> list[Rule]:
    """Activates of one bank keep tRCD instead of tRC, which shows where rows close by themselves."""
    write_end = n["WL"] + burst
    closing = {
        "rp": n["RP"],
        "rp_all": n["RP"],
        "read_precharge": n["AL"] + n["RTP"],
        "write_precharge": write_end + n["WR"],
    }
    rcd = n["RCD"] - n["AL"]
    others = (
        burst + n["RTRS"],
        n["RL"] + burst + n["RTRS"] - n["WL"] + n["WPRE"],
        write_end + n["RTRS"] - n["RL"] + n["RPRE"],
    )
    return [
        Rule("rank", READS, READS, n["CCD_S"]),
        Rule("rank", WRITES, WRITES, n["CCD_S"]),
        Rule("bankgroup", READS, READS, n["CCD_L"]),
        Rule("bankgroup", WRITES, WRITES, n["CCD_L"]),
        *_turnarounds(
            read_write=n["RL"] + burst + 1 - n["WL"] + n["WPRE"],
            write_read=write_end + n["WTR_S"] - n["AL"],
            others=others,
        ),
        Rule("bankgroup", WRITES, READS, write_end + n["WTR_L"] - n["AL"]),
        Rule("rank", ("ACT1",), ("ACT1",), n["RRD_S"]),
        Rule("bankgroup", ("ACT1",), ("ACT1",), n["RRD_L"]),
        Rule("rank", ("ACT1",), ("ACT1",), n["FAW"], window=4),
        *bank_rows(rcd=rcd, rcd_wr=rcd, ras=n["RAS"], rc=n["RCD"], **closing),
        *_auto_precharge(closing["read_precharge"], closing["write_precharge"]),
        *all_bank_refresh(rc=n["RC"], rfc=_ddr4_rfc(n), **closing),
    ]


def _ddr4_rfc(n: dict[str, int]) -> int:
    if n["REFM"] not in (1, 2, 4):
        raise SpecError(f"timing_cycles.REFM={n['REFM']}; wanted 1, 2 or 4")
    return n["RFC" if n["REFM"] == 1 else f"RFC{n['REFM']}"]


def _lpddr4(n: dict[str, int], burst: int) -> list[Rule]:
    """Waits count from the last clock of a command; a read keeps tRRD to the precharge of its bank.

    The latter departs from the standard: the precharge of all banks keeps tRTP.
    """
    closing = {
        "rp": n["RPPB"],
        "rp_all": n["RPAB"],
        "read_precharge": n["RTP"] + burst - 8,
        "write_precharge": n["WL"] + 1 + burst + n["WR"],
    }
    rows = bank_rows(rcd=n["RCD"], rcd_wr=n["RCD"], ras=n["RAS"], rc=n["RCPB"], **closing)
    others = (
        burst + n["RTRS"],
        n["RL"] + burst + n["RTRS"] - n["WL"],
        n["WL"] + burst + n["RTRS"] - n["RL"],
    )
    rules = [
        Rule("rank", READS, READS, n["CCD"]),
        Rule("rank", WRITES, WRITES, n["CCD"]),
        *_turnarounds(
            read_write=n["RL"] + n["DQSCK"] + burst - n["WL"] + n["WPRE"] + n["RPST"],
            write_read=n["WL"] + 1 + burst + n["WTR"],
            others=others,
        ),
        Rule("rank", ("ACT1",), ("ACT1",), n["RRD"]),
        *_without(rows, "RD", "PRE"),
        Rule("bank", ("RD",), ("PRE",), n["RRD"]),
        *_auto_precharge(closing["read_precharge"], closing["write_precharge"]),
        Rule("rank", ("PRE",), ("PRE", "PREA"), n["PPD"]),
        *all_bank_refresh(rc=n["RCPB"], rfc=n["RFCAB"], **closing),
        *per_bank_refresh(
            "REFPB",
            rc=n["RCPB"],
            rfc_all=n["RFCAB"],
            rfc=n["RFCPB"],
            activate_refresh=n["RRD"],
            refresh_activate=n["RRD"],
            refresh_refresh=n["RFCPB"],
            **closing,
        ),
    ]
    return counted_from_last_clock(rules, LPDDR4_BUS_CK) + _four_activates(n, LPDDR4_BUS_CK)


HBM2_ROW_CK = {"ACT1": 2, "PRE": 1, "PREA": 1, "REFAB": 1, "REFPB": 1}


def _hbm2(n: dict[str, int], burst: int) -> list[Rule]:
    """Waits count from the second clock of an activate; pseudo channels share nothing but the command buses.

    Left out: after a round of refreshes of all banks one by one the next waits tRFCSB instead of tRREFD.
    """
    write_end = n["WL"] + burst
    closing = {
        "rp": n["RP"],
        "rp_all": n["RP"],
        "read_precharge": n["RTP"],
        "write_precharge": write_end + n["WR"],
    }
    rules = [
        *bank_rows(rcd=n["RCDRD"], rcd_wr=n["RCDWR"], ras=n["RAS"], rc=n["RC"], **closing),
        Rule("rank", ("ACT1",), ("ACT1",), n["RRDS"]),
        Rule("bankgroup", ("ACT1",), ("ACT1", "REFPB"), n["RRDL"]),
        *all_bank_refresh(rc=n["RC"], rfc=n["RFC"], **closing),
        *per_bank_refresh(
            "REFPB",
            rc=n["RC"],
            rfc_all=n["RFC"],
            rfc=n["RFCSB"],
            activate_refresh=n["RRDS"],
            refresh_activate=n["RREFD"],
            refresh_refresh=n["RREFD"],
            **closing,
        ),
        Rule("bank", ("REFPB",), ("REFPB",), n["RFCSB"]),
    ]
    clocks = HBM2_ROW_CK | dict.fromkeys((*READS, *WRITES), 1)
    return [
        *(rule for rule in counted_from_last_clock(rules, clocks) if rule.scope != "channel"),
        Rule("channel", ("ACT1",), tuple(HBM2_ROW_CK), 2),
        Rule("rank", READS, READS, n["CCDS"]),
        Rule("rank", WRITES, WRITES, n["CCDS"]),
        Rule("bankgroup", READS, READS, n["CCDL"]),
        Rule("bankgroup", WRITES, WRITES, n["CCDL"]),
        Rule("rank", READS, WRITES, n["RTW"]),
        Rule("rank", WRITES, READS, write_end + n["WTRS"]),
        Rule("bankgroup", WRITES, READS, write_end + n["WTRL"]),
        *_auto_precharge(closing["read_precharge"], closing["write_precharge"]),
        *_four_activates(n, clocks),
    ]


def _wideio(n: dict[str, int], burst: int) -> list[Rule]:
    """Wide I/O, single data rate: a write's data begin with its command, and two activates share a window."""
    write_end = n["WL"] + burst - 1
    closing = {
        "rp": n["RP"],
        "rp_all": n["RP"],
        "read_precharge": burst,
        "write_precharge": write_end + n["WR"],
    }
    others = (
        burst + n["RTRS"],
        n["RL"] + burst + n["RTRS"] - n["WL"],
        n["WL"] + burst + n["RTRS"] - n["RL"],
    )
    return [
        Rule("rank", READS, READS, burst),
        Rule("rank", WRITES, WRITES, burst),
        *_turnarounds(read_write=n["RL"] + burst + 1, write_read=write_end + n["WTR"], others=others),
        Rule("rank", ("ACT1",), ("ACT1",), n["RRD"]),
        Rule("rank", ("ACT1",), ("ACT1",), n["TAW"], window=2),
        *bank_rows(rcd=n["RCD"], rcd_wr=n["RCD"], ras=n["RAS"], rc=n["RC"], **closing),
        *_auto_precharge(closing["read_precharge"], closing["write_precharge"]),
        *all_bank_refresh(rc=n["RC"], rfc=n["RFC"], **closing),
    ]


def _wideio2(n: dict[str, int], burst: int) -> list[Rule]:
    write_end = n["WL"] + 1 + burst
    closing = {
        "rp": n["RPPB"],
        "rp_all": n["RPAB"],
        "read_precharge": burst + max(2, n["RTP"]) - 2,
        "write_precharge": write_end + n["WR"],
    }
    read_end = n["RL"] + n["DQSCK"] + burst
    others = burst + n["RTRS"], read_end + n["RTRS"] - n["WL"], write_end + n["RTRS"] - n["RL"]
    return [
        Rule("rank", READS, READS, n["CCD"]),
        Rule("rank", WRITES, WRITES, n["CCD"]),
        *_turnarounds(read_write=read_end + 1 - n["WL"], write_read=write_end + n["WTR"], others=others),
        Rule("rank", ("ACT1",), ("ACT1",), n["RRD"]),
        *bank_rows(rcd=n["RCD"], rcd_wr=n["RCD"], ras=n["RAS"], rc=n["RCPB"], **closing),
        *_auto_precharge(closing["read_precharge"], closing["write_precharge"]),
        Rule("rank", ("PRE",), ("PRE", "PREA"), 2),
        *all_bank_refresh(rc=n["RCPB"], rfc=n["RFCAB"], **closing),
        *per_bank_refresh(
            "REFPB",
            rc=n["RCPB"],
            rfc_all=n["RFCAB"],
            rfc=n["RFCPB"],
            activate_refresh=n["RRD"],
            refresh_activate=n["RRD"],
            refresh_refresh=n["RFCPB"],
            **closing,
        ),
        *_four_activates(n, {"ACT1": 1, "REFPB": 1}),
    ]


# Standards


@dataclass(frozen=True, kw_only=True)
class _Standard:
    """What a standard needs beside its rules.

    used, unused: names of timings. delays: clocks from a read and from a write command to its first data.
    interval: clocks between refreshes of all banks, and of one bank (None: has none; 0: never).
    """

    used: str
    unused: str
    rules: Callable[[dict[str, int], int], list[Rule]]
    delays: Callable[[dict[str, int]], tuple[int, int]]
    interval: Callable[[dict[str, int]], tuple[int, int | None]]
    buses: int = e.ONE_BUS


def _ddr4_interval(n: dict[str, int]) -> tuple[int, None]:
    if n["REFI"] % n["REFM"]:
        raise SpecError(f"timing_cycles.REFI={n['REFI']} is no multiple of REFM={n['REFM']}")
    return n["REFI"] // n["REFM"], None


def _wideio2_interval(n: dict[str, int]) -> tuple[int, int]:
    if n["REFM"] != 1:
        raise SpecError(f"timing_cycles.REFM={n['REFM']} is not modelled; modelled: 1")
    return n["REFI"], n["REFIPB"]


STANDARDS = {
    "DDR3": _Standard(
        used="AL CCD FAW RAS RC RCD REFI RFC RL RP RRD RTP RTRS WL WR WTR",
        unused="ACTPDEN CKE CKESR CL DQSCK PRPDEN REFPDEN XP XPDLL XS XSDLL",
        rules=_ddr3,
        delays=lambda n: (n["RL"], n["WL"]),
        interval=lambda n: (n["REFI"], None),
    ),
    "DDR4": _Standard(
        used="AL CCD_L CCD_S CL FAW RAS RC RCD REFI REFM RFC RFC2 RFC4 RL RP RPRE RRD_L RRD_S RTP RTRS WL "
        "WPRE WR WTR_L WTR_S",
        unused="ACTPDEN CKE CKESR DQSCK PRPDEN REFPDEN XP XPDLL XS XSDLL",
        rules=_ddr4,
        delays=lambda n: (n["RL"], n["WL"]),
        interval=_ddr4_interval,
    ),
    "LPDDR4": _Standard(
        used="CCD DQS2DQ DQSCK DQSS FAW PPD RAS RCD RCPB REFI REFIPB RFCAB RFCPB RL RPAB RPPB RPST RRD RTP "
        "RTRS WL WPRE WR WTR",
        unused="CCDMW CKE CMDCKE ESCKE RCAB SR XP XSR",
        rules=_lpddr4,
        delays=lambda n: (n["RL"] + n["DQSCK"] + 3, n["WL"] + n["DQSS"] + n["DQS2DQ"] + 3),
        interval=lambda n: (n["REFI"], n["REFIPB"]),
    ),
    "HBM2": _Standard(
        used="CCDL CCDR CCDS DQSCK FAW RAS RC RCDRD RCDWR REFI REFISB RFC RFCSB RL RP RRDL RRDS RREFD RTP "
        "RTW WL WR WTRL WTRS",
        unused="CKE PL XP XS",
        rules=_hbm2,
        delays=lambda n: (n["RL"] + n["DQSCK"], n["WL"]),
        interval=lambda n: (n["REFI"], n["REFISB"]),
        buses=e.ROW_AND_COLUMN,
    ),
    "STT-MRAM": _Standard(
        used="AL CCD FAW RAS RC RCD RL RP RRD RTP RTRS WL WR WTR",
        unused="ACTPDEN CKE CKESR CL DQSCK PRPDEN XP XPDLL XS XSDLL",
        rules=_ddr3,
        delays=lambda n: (n["RL"], n["WL"]),
        interval=lambda n: (0, None),
    ),
    "WIDEIO_SDR": _Standard(
        used="AC RAS RC RCD REFI RFC RL RP RRD RTRS TAW WL WR WTR",
        unused="CCD_R CCD_W CKE CKESR DQSCK XP XSR",
        rules=_wideio,
        delays=lambda n: (n["RL"] + n["AC"], n["WL"]),
        interval=lambda n: (n["REFI"], None),
    ),
    "WIDEIO2": _Standard(
        used="CCD DQSCK DQSS FAW RAS RCD RCPB REFI REFIPB REFM RFCAB RFCPB RL RPAB RPPB RRD RTP RTRS WL WR "
        "WTR",
        unused="CKE CKESR RCAB XP XSR",
        rules=_wideio2,
        delays=lambda n: (n["RL"] + n["DQSCK"], n["WL"] + n["DQSS"]),
        interval=_wideio2_interval,
    ),
}

_DDR4_PART = {
    "RCD": "RCD", "RP": "RP", "RAS": "RAS", "RRD_S": "RRD_S", "RRD_L": "RRD_L", "FAW": "FAW", "RTP": "RTP",
    "WR": "WR", "WTR_S": "WTR_S", "WTR_L": "WTR_L", "REFI": "REFI", "CL": "CL", "CWL": "WL", "CCD_S": "CCD_S",
    "CCD_L": "CCD_L", "WPRE": "WPRE", "CS": "RTRS",
}  # fmt: skip
_LPDDR4_PART = {
    "RCD": "RCD", "RPpb": "RPPB", "RPab": "RPAB", "RAS": "RAS", "RRD": "RRD", "FAW": "FAW", "RTP": "RTP",
    "WR": "WR", "WTR": "WTR", "REFI": "REFI", "REFIpb": "REFIPB", "RFCab": "RFCAB", "RFCpb": "RFCPB",
    "RL": "RL", "WL": "WL", "CCD": "CCD", "PPD": "PPD", "DQSCK": "DQSCK", "DQSS": "DQSS", "WPRE": "WPRE",
    "RPST": "RPST", "CS": "RTRS",
}  # fmt: skip
_PARTS = {"DDR4": ("ddr4", _DDR4_PART), "LPDDR4": ("lpddr4", _LPDDR4_PART)}
"""Our parts of a standard: family and names."""


def build(path: Path, raw: dict[str, Any]) -> ReferenceConfig:
    """The configuration that `raw`, the object in the file, describes."""
    try:
        return _build(msgspec.convert(raw, _Config))
    except (msgspec.ValidationError, SpecError) as error:
        raise SpecError(f"{path}: {error}") from None


def _chosen(key: str, value: str, known: dict[str, str]) -> str:
    if value not in known:
        raise SpecError(f"{key}={value!r} is not modelled; modelled: {', '.join(known)}")
    return known[value]


def _check_fixed(read: _Config) -> None:
    """What the simulator can vary but this model cannot."""
    for key, value, wanted in (
        ("controller.response_queue", read.controller.response_queue, "Fifo"),
        ("controller.arbiter", read.controller.arbiter, "Simple"),
        ("controller.power_down", read.controller.power_down, "NoPowerDown"),
        ("refresh.max_postponed", read.refresh.max_postponed, 0),
        ("refresh.max_pulled_in", read.refresh.max_pulled_in, 0),
        ("organisation.nbrOfChannels", read.organisation.nbrOfChannels, 1),
    ):
        if value != wanted:
            raise SpecError(f"{key}={value!r} is not modelled; modelled: {wanted}")


def _build(read: _Config) -> ReferenceConfig:
    _check_fixed(read)
    if read.standard not in STANDARDS:
        raise SpecError(f"standard={read.standard!r} is not modelled; modelled: {', '.join(STANDARDS)}")
    standard, n, held = STANDARDS[read.standard], read.timing_cycles, read.controller
    known = set(standard.used.split()) | set(standard.unused.split())
    for name in n:
        if name not in known:
            raise SpecError(f"timing_cycles has no {name!r} in {read.standard}{suggest(name, known)}")
    for name in standard.used.split():
        if name not in n:
            raise SpecError(f"timing_cycles.{name} is missing")
    if read.organisation.nbrOfStacks > 1 and n.get("CCDR", e.NEVER) > n.get("CCDS", 0):
        raise SpecError("organisation.nbrOfStacks: stacks further apart than tCCDS are not modelled")
    geometry = _geometry(read)
    controller = BankMachines(
        name=read.id,
        scheduler=_chosen("controller.scheduler", held.scheduler, SCHEDULERS),
        buffer=_chosen("controller.scheduler_buffer", held.scheduler_buffer, BUFFERS),
        depth=held.buffer_depth,
        command_mux=_chosen("controller.command_mux", held.command_mux, COMMAND_MUXES),
        row_policy=_chosen("controller.page_policy", held.page_policy, PAGE_POLICIES),
        refresh=_chosen("refresh.mode", read.refresh.mode, REFRESHES),
        max_active=0,  # the simple arbiter does not look at max_active_transactions
    )
    burst = read.organisation.burstLength // read.organisation.dataRate
    per_bank = standard.interval(n)[1] is not None
    return ReferenceConfig(
        id=read.id,
        model=read.model,
        standard=read.standard,
        produced_by=read.produced_by,
        cycle_ps=round(read.speed.cycle_ps),
        data_rate_mtps=round(1e6 * read.organisation.dataRate / read.speed.cycle_ps),
        geometry=geometry,
        timings=n,
        commands=(*COMMANDS, *(("REFPB",) if per_bank else ())),
        rules=tuple(standard.rules(n, burst)),
        controller=controller,
        mapping=_mapping(read, geometry),
        cfg=_configure(read, geometry, controller, standard, burst),
        part=_part(read, geometry),
    )


def _geometry(read: _Config) -> DramGeometry:
    org = read.organisation
    for name in _COUNTS:
        if getattr(org, name) < 1:
            raise SpecError(f"organisation.{name}={getattr(org, name)}; wanted at least 1")
    if org.nbrOfBanks % org.nbrOfBankGroups:
        raise SpecError(
            f"organisation: nbrOfBanks={org.nbrOfBanks} is no multiple of "
            f"nbrOfBankGroups={org.nbrOfBankGroups}"
        )
    if org.burstLength % org.dataRate:
        raise SpecError(
            f"organisation.burstLength={org.burstLength} is no multiple of dataRate={org.dataRate}"
        )
    # HBM2 files count columns in bursts.
    in_bursts = read.standard == "HBM2" and org.nbrOfColumns == _bursts_mapped(read)
    geometry = DramGeometry(
        ranks=org.ranks,
        bank_groups=org.nbrOfBankGroups,
        banks_per_group=org.nbrOfBanks // org.nbrOfBankGroups,
        rows=org.nbrOfRows,
        columns=org.nbrOfColumns * (org.burstLength if in_bursts else 1),
        dq_bits=org.width * org.nbrOfDevices,
        burst_length=org.burstLength,
    )
    if geometry.ranks * geometry.banks > e.MAX_BANKS:
        raise SpecError(
            f"organisation: {geometry.ranks * geometry.banks} banks; at most {e.MAX_BANKS} are modelled"
        )
    return geometry


def _bursts_mapped(read: _Config) -> int:
    return 1 << sum(piece.bits for piece in read.address_mapping.bits_lsb_to_msb if piece.field == "column")


def _mapping(read: _Config, geometry: DramGeometry) -> AddressMapping:
    held = read.address_mapping
    if held.transaction_bytes != geometry.burst_bytes:
        raise SpecError(
            f"address_mapping.transaction_bytes={held.transaction_bytes} but a burst of organisation has "
            f"{geometry.burst_bytes} bytes"
        )
    mapping = AddressMapping(
        pieces=tuple((FIELDS.get(piece.field, piece.field), piece.bits) for piece in held.bits_lsb_to_msb),
        transaction_bytes=held.transaction_bytes,
    )
    mapping.check(
        {
            "rank": geometry.ranks,
            "bankgroup": geometry.bank_groups,
            "bank": geometry.banks_per_group,
            "row": geometry.rows,
            "column": geometry.bursts_per_row,
            "stack": read.organisation.nbrOfStacks,
        }
    )
    return mapping


def _part(read: _Config, geometry: DramGeometry) -> DramSpec | None:
    """The device as one of our parts, timings in clocks; None if we have no rules for its family."""
    if read.standard not in _PARTS:
        return None
    family, names = _PARTS[read.standard]
    clocks = {ours: read.timing_cycles[theirs] for ours, theirs in names.items()}
    if read.standard == "DDR4":
        if read.timing_cycles["AL"]:
            return None
        clocks["RFC"] = _ddr4_rfc(read.timing_cycles)
    return DramSpec(
        name=read.id,
        family=family,
        source=read.produced_by,
        density_gbit=geometry.rank_bytes * 8 // 2**30,
        data_rate_mtps=round(1e6 * read.organisation.dataRate / read.speed.cycle_ps),
        tck_fs=round(read.speed.cycle_ps * 1000),
        clock_ratio=read.organisation.dataRate,
        geometry=geometry,
        timings={name: AtLeast(ck=value) for name, value in clocks.items()},
    )


def _configure(
    read: _Config, geometry: DramGeometry, controller: BankMachines, standard: _Standard, burst: int
) -> NDArray[np.int64]:
    """The engine's configuration row; latencies are to the first data, of writes too."""
    cfg = np.zeros(e.C_NUM, np.int64)
    cfg[e.C_RANKS], cfg[e.C_GROUPS], cfg[e.C_BANKS] = (
        geometry.ranks,
        geometry.bank_groups,
        geometry.banks_per_group,
    )
    cfg[e.C_READQ] = cfg[e.C_WRITEQ] = controller.depth
    cfg[e.C_RL], cfg[e.C_WL] = standard.delays(read.timing_cycles)
    cfg[e.C_BL] = burst
    cfg[e.C_REFRESH] = REFRESH_MODES[controller.refresh]
    every, of_one = standard.interval(read.timing_cycles)
    if controller.refresh == "per_bank":
        if of_one is None:
            raise SpecError(f"refresh.mode='PerBank': {read.standard} has no refresh of one bank")
        cfg[e.C_REFI] = of_one
    elif controller.refresh == "all_bank":
        cfg[e.C_REFI] = every
    if controller.refresh != "none" and cfg[e.C_REFI] < 1:
        raise SpecError(f"timing_cycles: refreshes every {cfg[e.C_REFI]} clocks; wanted at least 1")
    cfg[e.C_SIDS] = 1
    cfg[e.C_BUSES] = standard.buses
    return cfg
