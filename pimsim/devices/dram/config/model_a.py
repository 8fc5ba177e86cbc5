"""Configurations of model A: shared queues, first-ready first-come first-served.

A file's `constraints` become rules, its scheduler and refresh a `Controller`, its address bits an
`AddressMapping`. What the engine has no counterpart for is an error that names the file and the key: other
schedulers than the two first-ready ones, other row policies than open and capped, unknown refresh modes,
hashed addresses.
"""

from __future__ import annotations

import re
from fractions import Fraction
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
from numpy.typing import NDArray

from pimsim.devices.dram import engine as e
from pimsim.devices.dram.channel import REFRESH_MODES, Controller, set_policies
from pimsim.devices.dram.config.reference import ReferenceConfig
from pimsim.devices.rules import CODE, COMMANDS, SCOPES, Rule
from pimsim.devices.spec import AtLeast, DramGeometry, DramSpec
from pimsim.errors import SpecError, suggest
from pimsim.placement.mapping import AddressMapping

BUSES = {
    "single_command_bus": e.ONE_BUS,
    "lpddr5": e.ONE_BUS,
    "row_and_column_bus": e.ROW_AND_COLUMN,
    "row_and_column_bus_half_clock": e.HALF_CLOCK,
}
KINDS = tuple(BUSES)
ROW_POLICY = re.compile(r"open|closed_cap \(cap=(\d+)\)")
UNUSED_COMMANDS = ("RFMab", "RFMpb")  # refresh management, which no reference run issues
SCHEDULERS = {"fr_fcfs_ready_first": "ready_first", "fr_fcfs_row_hit_guard": "row_hit_guard"}
DATA_CLOCKS = {"need_sync": "on_demand", "always_on": "always_on"}
REFRESHES = {"off": "none", "all_bank": "all_bank", "per_bank_round_robin": "per_bank"}
REFRESH_SCOPES = {"all_bank": "rank", "per_bank": "bank"}
LEVELS = ("channel", "rank", "pseudochannel", "sid", "bankgroup", "bank", "row", "column")
NEEDED_LEVELS = {"channel", "bank", "row", "column"}
"""Levels of the hierarchy in their order; a part may lack the others, and has ranks or pseudo channels, which
are ranks to us."""
_RANKS = {"pseudochannel": "rank"}
_LPDDR5 = {
    "RCD": "nRCD", "RCD_WR": "nRCD", "RPpb": "nRP", "RPab": "nRPab", "RAS": "nRAS", "RRD": "nRRDS",
    "FAW": "nFAW", "WR": "nWR", "WTR_S": "nWTRS", "WTR_L": "nWTRL", "REFI": "nREFI",
    "REFIpb": "nREFIpb", "RFCab": "nRFC", "RFCpb": "nRFCpb", "PBR2PBR": "nPBR2PBR", "PBR2ACT": "nPBR2ACT",
    "RL": "nCL", "WL": "nCWL", "BL": "nBL_min", "BL_L": "nBL_max", "CCD_S": "nCCDS", "CCD_L": "nCCDL",
    "PPD": "nPPD", "AAD": "nAAD", "CS": "nCS", "WCKPST": "nWCKPST",
}  # fmt: skip
_DDR4 = {
    "RCD": "nRCD", "RP": "nRP", "RAS": "nRAS", "RRD_S": "nRRDS", "RRD_L": "nRRDL", "FAW": "nFAW",
    "RTP": "nRTP", "WR": "nWR", "WTR_S": "nWTRS", "WTR_L": "nWTRL", "REFI": "nREFI", "RFC": "nRFC",
    "CL": "nCL", "CWL": "nCWL", "BL": "nBL", "CCD_S": "nCCDS", "CCD_L": "nCCDL", "CS": "nCS",
}  # fmt: skip
_DDR5 = {name: theirs for name, theirs in _DDR4.items() if name != "RFC"} | {
    "RFC1": "nRFC", "CCD_S_WR": "nCCDS_WR", "CCD_L_WR": "nCCDL_WR", "PPD": "nPPD",
}  # fmt: skip
_HBM2 = {
    "RCDRD": "nRCDRD", "RCDWR": "nRCDWR", "RP": "nRP", "RAS": "nRAS", "RC": "nRC", "RRD_S": "nRRDS",
    "RRD_L": "nRRDL", "FAW": "nFAW", "RTP": "nRTPL", "WR": "nWR", "WTR_S": "nWTRS", "WTR_L": "nWTRL",
    "REFI": "nREFI", "REFIpb": "nREFIpb", "RFCab": "nRFC", "RFCpb": "nRFCpb", "RREFD": "nRREFD",
    "RL": "nCL", "WL": "nCWL", "BL": "nBL", "CCD_S": "nCCDS", "CCD_L": "nCCDL",
}  # fmt: skip
_HBM3 = _HBM2 | {"RTP": "nRTP", "CCD_R": "nCCDR", "RTW": "nRTW", "PPD": "nPPD"}
_PARTS = {
    "LPDDR5": ("lpddr5", 8, _LPDDR5),
    "DDR4": ("ddr4", 2, _DDR4),
    "DDR5": ("ddr5", 2, _DDR5),
    "HBM2": ("hbm2", 2, _HBM2),
    "HBM3": ("hbm3", 2, _HBM3),
}
_PREAMBLES = {"DDR4": 1, "DDR5": 2}
"""Our parts of a standard: family, transfers a clock, names; and the write preamble in clocks, which the
files hold only inside their read-to-write distance."""


class _Speed(msgspec.Struct, forbid_unknown_fields=True):
    cycle_ps: int
    cycle_is: str
    data_rate_MTps: int


class _Organisation(msgspec.Struct, forbid_unknown_fields=True):
    dq: int
    channel_width: int
    bank: int
    row: int
    column: int
    density_Mb: int
    burst_length: int
    bankgroup: int = 1
    rank: int = 1
    pseudochannel: int = 1
    sid: int = 1
    note: str = ""

    @property
    def ranks(self) -> int:
        """Ranks or pseudo channels."""
        return self.rank * self.pseudochannel


class _Piece(msgspec.Struct, forbid_unknown_fields=True):
    field: str
    bits: int


class _Mapping(msgspec.Struct, forbid_unknown_fields=True):
    transaction_bytes: int
    bits_lsb_to_msb: list[_Piece]
    xor: None = None
    xor_order: None = None


class _Controller(msgspec.Struct, forbid_unknown_fields=True):
    kind: str
    scheduler: str
    row_policy: str
    read_queue: int
    write_queue: int
    write_low_watermark: float
    write_high_watermark: float
    priority_queue: int = 0  # the maintenance queue never fills
    wck_sync_mode: str | None = None


class _Refresh(msgspec.Struct, forbid_unknown_fields=True):
    mode: str
    interval_cycles: int | None = None
    recovery_cycles: int | None = None
    scope: str | None = None


class _Constraint(msgspec.Struct, forbid_unknown_fields=True):
    scope: str
    first: list[str]
    then: list[str]
    cycles: int
    nth_previous: int
    sibling: bool


class _Config(msgspec.Struct, forbid_unknown_fields=True):
    id: str
    model: str
    produced_by: str
    standard: str
    speed: _Speed
    organisation: _Organisation
    levels: list[str]
    timing_cycles: dict[str, int]
    command_cycles: dict[str, int]
    read_latency_cycles: int
    address_mapping: _Mapping
    controller: _Controller
    refresh: _Refresh
    constraints: list[_Constraint]


def build(path: Path, raw: dict[str, Any]) -> ReferenceConfig:
    """The configuration that `raw`, the object in the file, describes."""
    _check_modelled(path, raw)
    try:
        return _build(msgspec.convert(raw, _Config))
    except (msgspec.ValidationError, SpecError) as error:
        raise SpecError(f"{path}: {error}") from None


def _check_modelled(path: Path, raw: dict[str, Any]) -> None:
    """Refuse what the engine has no counterpart for, before the rest of such a file is looked at."""
    wanted: dict[str, tuple[str | None, ...]] = {
        "controller.kind": KINDS,
        "controller.scheduler": tuple(SCHEDULERS),
        "controller.wck_sync_mode": (*DATA_CLOCKS, None),
        "refresh.mode": tuple(REFRESHES),
        "address_mapping.xor": (None,),
    }
    for key, modelled in wanted.items():
        section, _, name = key.rpartition(".")
        held = raw.get(section, {}) if section else raw
        if not isinstance(held, dict):
            raise SpecError(f"{path}: {section} is {type(held).__name__}; wanted an object")
        if name not in held and None not in modelled:
            raise SpecError(f"{path}: {key} is missing")
        if held.get(name) not in modelled:
            said = ", ".join("none" if each is None else each for each in modelled)
            raise SpecError(f"{path}: {key}={held[name]!r} is not modelled; modelled: {said}")


def _build(read: _Config) -> ReferenceConfig:
    org, held = read.organisation, read.controller
    if held.kind == "lpddr5" and held.wck_sync_mode is None:
        raise SpecError("controller.wck_sync_mode is missing")
    held_levels = [level for level in LEVELS if level in read.levels]
    if held_levels != read.levels or NEEDED_LEVELS - {*held_levels} or {*_RANKS, "rank"} <= {*held_levels}:
        raise SpecError(
            f"levels={read.levels} are not modelled; wanted some of {', '.join(LEVELS)} in this order, with "
            f"{', '.join(sorted(NEEDED_LEVELS))}, and ranks or pseudo channels"
        )
    for name in ("rank", "pseudochannel", "sid", "bankgroup", "bank", "row", "column", "burst_length"):
        if getattr(org, name) < 1:
            raise SpecError(f"organisation.{name}={getattr(org, name)}; wanted at least 1")
    geometry = DramGeometry(
        ranks=org.ranks,
        bank_groups=org.sid * org.bankgroup,
        banks_per_group=org.bank,
        rows=org.row,
        columns=org.column,
        dq_bits=org.channel_width,
        burst_length=org.burst_length,
        sids=org.sid,
        data_buses=org.pseudochannel,
    )
    if geometry.ranks * geometry.banks > e.MAX_BANKS:
        raise SpecError(
            f"organisation: {geometry.ranks * geometry.banks} banks; at most {e.MAX_BANKS} are modelled"
        )
    if read.address_mapping.transaction_bytes != geometry.burst_bytes:
        raise SpecError(
            f"address_mapping.transaction_bytes={read.address_mapping.transaction_bytes} but a burst of "
            f"organisation has {geometry.burst_bytes} bytes"
        )
    held_mbit = geometry.rank_bytes * 8 * org.dq // org.channel_width // 2**20
    if org.pseudochannel == 1 and held_mbit != org.density_Mb:
        raise SpecError(f"organisation: a device of {held_mbit} Mbit but density_Mb={org.density_Mb}")
    mapping = AddressMapping(
        pieces=tuple(
            (_RANKS.get(piece.field, piece.field), piece.bits)
            for piece in read.address_mapping.bits_lsb_to_msb
        ),
        transaction_bytes=read.address_mapping.transaction_bytes,
    )
    units = {"rank": org.ranks, "sid": org.sid, "bankgroup": org.bankgroup, "bank": org.bank, "row": org.row}
    mapping.check({**units, "column": geometry.bursts_per_row})
    rules = tuple(
        rule for number, each in enumerate(read.constraints) if (rule := _rule(number, each)) is not None
    )
    policy = ROW_POLICY.fullmatch(held.row_policy)
    if policy is None:
        raise SpecError(
            f"controller.row_policy={held.row_policy!r} is not modelled; modelled: open, closed_cap (cap=N)"
        )
    row_cap = int(policy[1] or 0)
    controller = Controller(
        name=held.scheduler,
        read_queue=held.read_queue,
        write_queue=held.write_queue,
        # "more than high x queue" and "fewer than low x queue" as whole requests
        write_high=int(Fraction(str(held.write_high_watermark)) * held.write_queue),
        write_low=-int(-Fraction(str(held.write_low_watermark)) * held.write_queue // 1),
        scheduler=SCHEDULERS[held.scheduler],
        row_policy="capped" if row_cap else "open",
        row_cap=row_cap or 1,
        refresh=REFRESHES[read.refresh.mode],
        data_clock=DATA_CLOCKS[held.wck_sync_mode or "always_on"],
    )
    return ReferenceConfig(
        id=read.id,
        model=read.model,
        standard=read.standard,
        produced_by=read.produced_by,
        cycle_ps=read.speed.cycle_ps,
        data_rate_mtps=read.speed.data_rate_MTps,
        geometry=geometry,
        timings=read.timing_cycles,
        commands=tuple(
            _command("command_cycles", name) for name in read.command_cycles if name not in UNUSED_COMMANDS
        ),
        rules=rules,
        controller=controller,
        mapping=mapping,
        cfg=_configure(read, geometry, controller),
        part=_part(read, geometry),
    )


def _part(read: _Config, geometry: DramGeometry) -> DramSpec | None:
    """The device as one of our parts, timings in clocks; None if we have no rules for its family."""
    if read.standard not in _PARTS:
        return None
    family, clock_ratio, names = _PARTS[read.standard]
    for theirs in (*names.values(), *(("nRTP",) if read.standard == "LPDDR5" else ())):
        if theirs not in read.timing_cycles:
            raise SpecError(f"{read.id}: timing_cycles.{theirs} is missing")
    clocks = {ours: read.timing_cycles[theirs] for ours, theirs in names.items()}
    if read.standard == "LPDDR5":
        clocks["RBTP"] = read.timing_cycles["nRTP"] - clocks["BL"]  # nRTP is counted from the command
    elif read.standard in _PREAMBLES:
        clocks["WPRE"] = _PREAMBLES[read.standard]
    return DramSpec(
        name=read.id,
        family=family,
        source=read.produced_by,
        density_gbit=geometry.rank_bytes * 8 // 2**30,
        data_rate_mtps=read.speed.data_rate_MTps,
        tck_fs=read.speed.cycle_ps * 1000,
        clock_ratio=clock_ratio,
        geometry=geometry,
        timings={name: AtLeast(ck=value) for name, value in clocks.items()},
    )


def _command(where: str, name: str) -> str:
    """Our name of a command of the file."""
    if name not in CODE:
        raise SpecError(f"{where}: no command {name!r}{suggest(name, CODE)}")
    return COMMANDS[CODE[name]]


def _rule(number: int, held: _Constraint) -> Rule | None:
    """The rule of a constraint, or None if it is only about commands that nobody issues."""
    where = f"constraints[{number}]"
    scope = _RANKS.get(held.scope, held.scope)
    if scope not in SCOPES:
        raise SpecError(f"{where}.scope={held.scope!r}{suggest(held.scope, SCOPES)}")
    used_first = [name for name in held.first if name not in UNUSED_COMMANDS]
    used_then = [name for name in held.then if name not in UNUSED_COMMANDS]
    if not used_first or not used_then:
        return None
    if held.nth_previous < 1:
        raise SpecError(f"{where}.nth_previous={held.nth_previous}; wanted at least 1")
    if held.sibling and (scope not in ("rank", "sid") or held.nth_previous != 1):
        raise SpecError(f"{where}.sibling is modelled only for scopes 'rank' and 'sid' and nth_previous 1")
    first = tuple(_command(f"{where}.first", name) for name in used_first)
    then = tuple(_command(f"{where}.then", name) for name in used_then)
    if any(name.startswith("CAS") for name in then) or (
        any(name.startswith("CAS") for name in first) and held.cycles > 1
    ):
        raise SpecError(f"{where}: a CAS goes out in the clock before its data command; no wait is modelled")
    return Rule(scope, first, then, held.cycles, held.nth_previous, held.sibling)


def _configure(read: _Config, geometry: DramGeometry, controller: Controller) -> NDArray[np.int64]:
    """The engine's configuration row; `channel.configure` does the same for a part of ours."""
    split = read.controller.kind == "lpddr5"
    burst = "nBL_min" if split else "nBL"
    needed = ["nCL", "nCWL", burst, *(("nAAD", "nWCKPST") if split else ())]
    for name in needed:
        if name not in read.timing_cycles:
            raise SpecError(f"timing_cycles.{name} is missing")
    n = read.timing_cycles
    if read.read_latency_cycles != n["nCL"] + n[burst]:
        raise SpecError(
            f"read_latency_cycles={read.read_latency_cycles} but timing_cycles has nCL={n['nCL']} and "
            f"{burst}={n[burst]}"
        )
    cfg = np.zeros(e.C_NUM, np.int64)
    cfg[e.C_RANKS], cfg[e.C_GROUPS], cfg[e.C_BANKS] = (
        geometry.ranks,
        geometry.bank_groups,
        geometry.banks_per_group,
    )
    cfg[e.C_SPLIT_ACT], cfg[e.C_AAD] = split, n["nAAD"] if split else 0
    cfg[e.C_SYNC] = split and controller.data_clock == "on_demand"
    cfg[e.C_WCKPST] = n["nWCKPST"] if split else 0
    cfg[e.C_RL], cfg[e.C_WL], cfg[e.C_BL] = n["nCL"], n["nCWL"], n[burst]
    cfg[e.C_REFRESH] = REFRESH_MODES[controller.refresh]
    if controller.refresh != "none":
        if not read.refresh.interval_cycles or read.refresh.interval_cycles < 1:
            raise SpecError(
                f"refresh.interval_cycles={read.refresh.interval_cycles}; wanted a count of clocks"
            )
        scope = REFRESH_SCOPES[controller.refresh]
        given = _RANKS.get(read.refresh.scope or "", read.refresh.scope)
        if given == "channel" and geometry.ranks == 1:
            given = "rank"
        if given != scope:
            raise SpecError(f"refresh.scope={read.refresh.scope!r} is not modelled; modelled: {scope}")
        cfg[e.C_REFI] = read.refresh.interval_cycles
    set_policies(cfg, controller)
    cfg[e.C_SIDS] = read.organisation.sid
    cfg[e.C_BUSES] = BUSES[read.controller.kind]
    return cfg
