"""Configurations of model B: one queue a bank, visited in turn.

A file's `constraints` are distances of pairs (same bank, other bank of the bank group, other bank group,
other rank); they become rules of nested scopes that give each listed pair its distance. What has no
counterpart here is an error that names the file and the key: other schedulers and row policies, refresh of
single banks or of all ranks at once, hashed addresses. Self refresh and per-bank refresh are never issued,
so constraints on their commands are left out.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import msgspec
import numpy as np
from numpy.typing import NDArray

from pimsim.devices.dram import engine as e
from pimsim.devices.dram.bank_queues import BankQueues
from pimsim.devices.dram.channel import REFRESH_MODES
from pimsim.devices.dram.config.reference import ReferenceConfig
from pimsim.devices.rules import CODE, COMMANDS, Rule
from pimsim.devices.spec import AtLeast, DramGeometry, DramSpec
from pimsim.errors import SpecError, suggest
from pimsim.placement.mapping import AddressMapping

BUSES = {
    "single_command_bus": e.ONE_BUS,
    "row_and_column_command_same_cycle": e.ROW_AND_COLUMN,
}
SCHEDULERS = ("per_bank_queues_round_robin_fr_fcfs",)
ROW_POLICIES = {"open": "open", "close (auto precharge on every access)": "closed"}
REFRESHES = {"off": "none", "all_bank_rank_staggered": "all_bank"}
SAME_RANK, SAME_BANK, SAME_GROUP, OTHER_GROUP, OTHER_RANK = PAIR_SCOPES = (
    "same_rank",
    "same_bank",
    "other_bank_same_bankgroup",
    "other_bankgroup",
    "other_rank",
)
UNUSED_COMMANDS = ("REFPB", "SREFEN", "SREFEX")
ISSUED = ("ACT", "PRE", "RD", "WR", "RDA", "WRA", "REFAB")
_DDR4 = {
    "RCD": "tRCD", "RP": "tRP", "RAS": "tRAS", "RRD_S": "tRRD_S", "RRD_L": "tRRD_L", "FAW": "tFAW",
    "RTP": "tRTP", "WR": "tWR", "WTR_S": "tWTR_S", "WTR_L": "tWTR_L", "REFI": "tREFI", "RFC": "tRFC",
    "CL": "CL", "CWL": "CWL", "CCD_S": "tCCD_S", "CCD_L": "tCCD_L", "WPRE": "tWPRE",
}  # fmt: skip
"""Our names of a DDR4 part. The other standards of these files have commands of one clock, or bank groups,
that ours do not have."""
_DATA = ("RD", "WR", "RDA", "WRA")
_CLOSING = ("RDA", "WRA")


class _Speed(msgspec.Struct, forbid_unknown_fields=True):
    cycle_ps: int
    cycle_is: str


class _Organisation(msgspec.Struct, forbid_unknown_fields=True):
    ranks: int
    bankgroups: int
    banks_per_group: int
    rows: int
    columns: int
    burst_length: int
    device_width: int
    bus_width: int
    note: str = ""


class _Effective(msgspec.Struct, forbid_unknown_fields=True):
    read_latency: int
    RL: int
    WL: int
    burst: int
    tRTP: int
    tRTRS: int
    tFAW: int
    tRC: int
    t32AW: int | None = None


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
    bank_queue: int
    read_queue: int
    write_queue: int
    row_hit_cap: int


class _Refresh(msgspec.Struct, forbid_unknown_fields=True):
    mode: str
    interval_cycles: int | None = None
    recovery_cycles: int | None = None
    scope: str | None = None


class _Constraint(msgspec.Struct, forbid_unknown_fields=True):
    scope: str
    first: str
    then: str
    cycles: int


class _Config(msgspec.Struct, forbid_unknown_fields=True):
    id: str
    model: str
    produced_by: str
    standard: str
    speed: _Speed
    organisation: _Organisation
    timing_cycles_given: dict[str, int]
    timing_cycles_effective: _Effective
    address_mapping: _Mapping
    controller: _Controller
    refresh: _Refresh
    constraints: list[_Constraint]


def build(path: Path, raw: dict[str, Any]) -> ReferenceConfig:
    """The configuration that `raw`, the object in the file, describes."""
    try:
        return _build(msgspec.convert(raw, _Config))
    except (msgspec.ValidationError, SpecError) as error:
        raise SpecError(f"{path}: {error}") from None


def _modelled(key: str, held: str, modelled: tuple[str, ...]) -> str:
    if held not in modelled:
        raise SpecError(f"{key}={held!r} is not modelled; modelled: {', '.join(modelled)}")
    return held


def _build(read: _Config) -> ReferenceConfig:
    org, held, n = read.organisation, read.controller, read.timing_cycles_effective
    _modelled("controller.kind", held.kind, tuple(BUSES))
    _modelled("controller.scheduler", held.scheduler, SCHEDULERS)
    _modelled("controller.row_policy", held.row_policy, tuple(ROW_POLICIES))
    _modelled("refresh.mode", read.refresh.mode, tuple(REFRESHES))
    for name in ("ranks", "bankgroups", "banks_per_group", "rows", "columns", "burst_length", "bus_width"):
        if getattr(org, name) < 1:
            raise SpecError(f"organisation.{name}={getattr(org, name)}; wanted at least 1")
    geometry = DramGeometry(
        ranks=org.ranks,
        bank_groups=org.bankgroups,
        banks_per_group=org.banks_per_group,
        rows=org.rows,
        columns=org.columns,
        dq_bits=org.bus_width,
        burst_length=org.burst_length,
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
    if n.read_latency != n.RL + n.burst:
        raise SpecError(
            f"timing_cycles_effective.read_latency={n.read_latency} but RL={n.RL} and burst={n.burst}"
        )
    mapping = AddressMapping(
        pieces=tuple((piece.field, piece.bits) for piece in read.address_mapping.bits_lsb_to_msb),
        transaction_bytes=read.address_mapping.transaction_bytes,
    )
    units = {"rank": org.ranks, "bankgroup": org.bankgroups, "bank": org.banks_per_group, "row": org.rows}
    units["column"] = geometry.bursts_per_row
    mapping.check(units)
    rules, split_groups = _rules(read)
    controller = BankQueues(
        name=held.scheduler,
        bank_queue=held.bank_queue,
        read_queue=held.read_queue,
        write_queue=held.write_queue,
        row_hit_cap=held.row_hit_cap,
        row_policy=ROW_POLICIES[held.row_policy],
        refresh=REFRESHES[read.refresh.mode],
    )
    names = {each.first for each in read.constraints} | {each.then for each in read.constraints}
    return ReferenceConfig(
        id=read.id,
        model=read.model,
        standard=read.standard,
        produced_by=read.produced_by,
        cycle_ps=read.speed.cycle_ps,
        data_rate_mtps=_data_rate(read),
        geometry=geometry,
        timings=read.timing_cycles_given,
        commands=tuple(COMMANDS[CODE[name]] for name in ISSUED if name in names),
        rules=rules,
        controller=controller,
        mapping=mapping,
        cfg=_configure(read, geometry, controller, split_groups),
        part=_part(read, geometry),
    )


def _part(read: _Config, geometry: DramGeometry) -> DramSpec | None:
    """A DDR4 device as one of our parts, timings in clocks; None for other standards."""
    n = read.timing_cycles_given
    if read.standard != "DDR4" or n.get("AL") or any(theirs not in n for theirs in _DDR4.values()):
        return None
    clocks = {ours: n[theirs] for ours, theirs in _DDR4.items()}
    clocks["CS"] = read.timing_cycles_effective.tRTRS
    return DramSpec(
        name=read.id,
        family="ddr4",
        source=read.produced_by,
        density_gbit=geometry.rank_bytes * 8 // 2**30,
        data_rate_mtps=_data_rate(read),
        tck_fs=read.speed.cycle_ps * 1000,
        clock_ratio=2,
        geometry=geometry,
        timings={name: AtLeast(ck=value) for name, value in clocks.items()},
    )


def _data_rate(read: _Config) -> int:
    """Transfers a microsecond: a burst takes `burst` clocks."""
    clocks_ps = read.timing_cycles_effective.burst * read.speed.cycle_ps
    if clocks_ps < 1:
        raise SpecError(
            f"timing_cycles_effective.burst={read.timing_cycles_effective.burst} and "
            f"speed.cycle_ps={read.speed.cycle_ps}; wanted at least 1 each"
        )
    return round(read.organisation.burst_length * 1_000_000 / clocks_ps)


def _pairs(read: _Config) -> dict[tuple[str, str], dict[str, int]]:
    """Distances by scope of each pair of commands that are issued."""
    pairs: dict[tuple[str, str], dict[str, int]] = {}
    for number, each in enumerate(read.constraints):
        where = f"constraints[{number}]"
        if each.scope not in PAIR_SCOPES:
            raise SpecError(f"{where}.scope={each.scope!r}{suggest(each.scope, PAIR_SCOPES)}")
        for key, name in (("first", each.first), ("then", each.then)):
            if name not in (*ISSUED, *UNUSED_COMMANDS):
                raise SpecError(f"{where}.{key}: no command {name!r}{suggest(name, ISSUED)}")
        if each.first in UNUSED_COMMANDS or each.then in UNUSED_COMMANDS:
            continue
        if (each.scope == SAME_RANK) != (each.first == "REFAB"):
            raise SpecError(
                f"{where}: scope {each.scope!r} after {each.first} is not modelled; same_rank is for REFAB"
            )
        held = pairs.setdefault((each.first, each.then), {})
        if each.scope in held:
            raise SpecError(f"{where}: a second distance of {each.first} and {each.then}, {each.scope}")
        held[each.scope] = each.cycles
    return pairs


def _reopened(pairs: dict[tuple[str, str], dict[str, int]], first: str, then: str) -> int:
    """Distance that a bank's next activate keeps between two commands of which the first closes the bank."""
    if (first, then) == ("PRE", "PRE"):
        legs = (("PRE", "ACT"), ("ACT", "PRE"))
    elif first in _CLOSING and then in _DATA:
        legs = ((first, "ACT"), ("ACT", then))
    else:
        return 0
    return sum(pairs.get(leg, {}).get(SAME_BANK, 0) for leg in legs)


def _rules(read: _Config) -> tuple[tuple[Rule, ...], bool]:
    """Rules that give each pair its distance; whether bank groups must be told apart as stack levels.

    A rule of a scope holds for all that lies inside, so nested scopes hold distances that shrink outwards.
    Where other bank groups are further away than the own one, the groups are also the stack levels of the
    channel, of which a rule may name the others. A same-bank distance may be missing after a command that
    closes the bank, when the activate in between keeps it.
    """
    org, n = read.organisation, read.timing_cycles_effective
    pairs = _pairs(read)
    rules = [Rule("rank", ("ACT1",), ("ACT1",), n.tFAW, 4)]
    window = n.t32AW
    if read.standard.startswith("GDDR"):
        window = window or read.timing_cycles_given.get("t32AW")
    if window is not None:
        rules.append(Rule("rank", ("ACT1",), ("ACT1",), window, 32))
    split_groups = False
    for (first, then), held in pairs.items():
        after, before = (COMMANDS[CODE[first]],), (COMMANDS[CODE[then]],)
        if then == "REFAB":  # takes part in every bank of the rank
            rules += [
                Rule("rank", after, before, wait) for scope, wait in held.items() if scope != OTHER_RANK
            ]
            continue
        if first == "REFAB":
            rules.append(Rule("rank", after, before, held[SAME_RANK]))
            continue
        own = held.get(SAME_BANK)
        group = held.get(SAME_GROUP) if org.banks_per_group > 1 else None
        others = held.get(OTHER_GROUP) if org.bankgroups > 1 else None
        if own is not None:
            rules.append(Rule("bank", after, before, own))
        nearest = own if own is not None else _reopened(pairs, first, then)
        if group is not None and nearest < group:
            raise SpecError(
                f"constraints: {first} to {then} may be {nearest} clocks apart in a bank but {group} in a "
                "bank group; wanted no less in the bank"
            )
        if group is not None:
            rules.append(Rule("bankgroup", after, before, group))
        if others is not None:
            if min(nearest, nearest if group is None else group) < others:
                split_groups = True
                rules.append(Rule("sid", after, before, others, sibling=True))
            else:
                rules.append(Rule("rank", after, before, others))
        if org.ranks > 1 and OTHER_RANK in held:
            rules.append(Rule("rank", after, before, held[OTHER_RANK], sibling=True))
    return tuple(rule for rule in rules if rule.wait > 0), split_groups


def _configure(
    read: _Config, geometry: DramGeometry, controller: BankQueues, split_groups: bool
) -> NDArray[np.int64]:
    """The engine's configuration row; `channel.configure` does the same for a part of ours."""
    n = read.timing_cycles_effective
    cfg = np.zeros(e.C_NUM, np.int64)
    cfg[e.C_RANKS], cfg[e.C_GROUPS], cfg[e.C_BANKS] = (
        geometry.ranks,
        geometry.bank_groups,
        geometry.banks_per_group,
    )
    cfg[e.C_READQ], cfg[e.C_WRITEQ] = controller.read_queue, controller.write_queue
    cfg[e.C_RL], cfg[e.C_WL], cfg[e.C_BL] = n.RL, n.WL, n.burst
    cfg[e.C_REFRESH] = REFRESH_MODES[controller.refresh]
    if controller.refresh != "none":
        cfg[e.C_REFI] = _interval(read)
    cfg[e.C_SIDS] = geometry.bank_groups if split_groups else 1
    cfg[e.C_BUSES] = BUSES[read.controller.kind]
    return cfg


def _interval(read: _Config) -> int:
    """Clocks between two refreshes of a rank; the file may give those between two of any rank."""
    held, each, ranks = read.refresh, read.timing_cycles_given.get("tREFI"), read.organisation.ranks
    if held.scope != "rank":
        raise SpecError(f"refresh.scope={held.scope!r} is not modelled; modelled: rank")
    if each is None or each < ranks or held.interval_cycles not in (each, each // ranks):
        raise SpecError(
            f"refresh.interval_cycles={held.interval_cycles} but timing_cycles_given.tREFI={each}; wanted "
            f"tREFI or its {ranks}th part"
        )
    return each
