"""Timing rules as data: which command must wait how long after which other command.

A rule reads: a `before` command waits `wait` clocks from the `window`-th last `after` command in the
same `scope` (with `sibling=True`: in any *other* node of that level). The scheduler, ordinary DRAM
commands and PIM commands all use the same table; a new standard is a new function in `FAMILIES`.

Sources: JESD209-5C (LPDDR5/5X) section 4 and its command timing tables, as carried by the public
configurations that `docs/validation.md` names; rules of all-bank PIM commands: see `pim_rules`.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from pimsim.devices.spec import Clocks, DramSpec, PimSpec
from pimsim.errors import SpecError, suggest

COMMANDS = (
    "ACT1", "ACT2", "PRE", "PREA", "RD", "WR", "RDA", "WRA", "REFAB", "REFPB", "CAS_RD", "CAS_WR",
    "ACTAB", "MACAB", "WRREG", "RDRES", "MODE",
)  # fmt: skip
"""Command names; a command's number is its place here. ACT1 is also the plain ACT of parts that have
no second half. ACTAB: activate one row in all banks; MACAB: one column access in all banks, consumed
by the PIM units; WRREG: one burst into the input registers of all units; RDRES: one bank's results;
MODE: an access to a reserved row that switches the channel between normal and PIM operation."""

CODE = {name: code for code, name in enumerate(COMMANDS)}
CODE["ACT"] = CODE["ACT1"]
SCOPES = ("channel", "rank", "bankgroup", "bank")

ACT1, ACT2, PRE, PREA, RD, WR, RDA, WRA, REFAB, REFPB, CAS_RD, CAS_WR = range(12)
ACTAB, MACAB, WRREG, RDRES, MODE = range(12, 17)


@dataclass(frozen=True)
class Rule:
    """`before` waits `wait` clocks from the `window`-th last `after` in the same `scope`."""

    scope: str
    after: tuple[str, ...]
    before: tuple[str, ...]
    wait: int
    window: int = 1
    sibling: bool = False


READS, WRITES = ("RD", "RDA"), ("WR", "WRA")
DATA = READS + WRITES


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
        Rule("bank", ("REFPB",), ("ACT1",), n.RFCpb),
        Rule("rank", ("REFPB",), ("REFAB",), n.RFCpb),
        Rule("rank", ("REFPB",), ("REFPB",), n.PBR2PBR),
        Rule("rank", ("REFPB",), ("ACT1",), n.PBR2ACT),
    ]


def pim_rules(n: Clocks, pim: PimSpec) -> list[Rule]:
    """Rules of all-bank PIM commands on a channel: the same DRAM limits, applied to all banks at once.

    A MAC reads its column in every bank of every group, so it keeps the same-group spacing tCCD_L;
    that rule alone yields every internal bandwidth that Samsung published for HBM-PIM, LPDDR5-PIM and
    LPDDR5X-PIM. A register write moves one burst over the data bus like a write and needs no open row.
    A result read is a read in its own bank group. An all-bank activate is one row cycle in every bank, and
    like any command of the units it waits for the refresh of its rank. After a mode change every command
    waits but the second half of an activate and the start of the data clock.
    """
    bus_read, bus_write = ("MACAB", "RDRES"), ("WRREG",)
    settled = tuple(name for name in COMMANDS if name not in ("ACT2", "CAS_RD", "CAS_WR"))
    return [
        Rule("rank", ("MACAB",), ("MACAB",), n.CCD_L),
        Rule("rank", ("MACAB",), ("RDRES",), max(n.CCD_L, pim.mac_pipeline_ck)),
        Rule("rank", ("RDRES",), ("MACAB",), n.CCD_L),  # a MAC reads in the bank group of the result, too
        Rule("rank", ("RDRES",), ("RDRES",), n.CCD_S),
        Rule("bankgroup", ("RDRES",), ("RDRES",), n.CCD_L),
        Rule("rank", bus_write, bus_write, n.CCD_L),  # it reaches every bank, so every bank group
        Rule("rank", bus_read, bus_write, n.RL + n.BL + 2 - n.WL),
        Rule("rank", bus_write, bus_read, n.WL + n.BL_L + n.WTR_L),
        Rule("rank", bus_read, bus_read, n.BL + n.CS, sibling=True),
        Rule("rank", bus_write, bus_write, n.BL + n.CS, sibling=True),
        Rule("rank", bus_read, bus_write, n.RL + n.BL + n.CS - n.WL, sibling=True),
        Rule("rank", bus_write, bus_read, max(1, n.WL + n.BL + n.CS - n.RL), sibling=True),
        Rule("rank", ("ACTAB",), ("ACTAB",), n.RAS + n.RPab),
        Rule("rank", ("ACTAB",), ("MACAB",), n.RCD),
        Rule("rank", ("ACTAB",), ("PREA",), n.RAS),
        Rule("rank", ("ACTAB",), ("REFAB",), n.RAS + n.RPab),
        Rule("channel", ("ACTAB",), COMMANDS, 2),  # an activate takes two slots of the command bus
        Rule("rank", ("MACAB",), ("PREA",), n.BL + n.RBTP),
        Rule("rank", ("PREA",), ("ACTAB",), n.RPab),
        Rule("rank", ("PRE",), ("ACTAB",), n.RPpb),
        Rule("rank", ("RDA",), ("ACTAB",), n.BL + n.RBTP + n.RPpb),
        Rule("rank", ("WRA",), ("ACTAB",), n.WL + n.BL + n.WR + n.RPpb),
        Rule("rank", ("REFAB",), ("ACTAB", "MACAB", "WRREG", "RDRES"), n.RFCab),
        Rule("rank", ("REFPB",), ("ACTAB",), n.RFCpb),
        # Ordinary traffic before and after: the mode change waits for it and it for the mode change.
        Rule("channel", READS, ("MODE",), n.RL + n.BL),
        Rule("channel", WRITES, ("MODE",), n.WL + n.BL_L + n.WTR_L),
        Rule("channel", ("MACAB", "RDRES"), ("MODE",), n.RL + n.BL),
        Rule("channel", ("WRREG",), ("MODE",), n.WL + n.BL_L + n.WTR_L),
        Rule("channel", ("REFAB",), ("MODE",), n.RFCab),  # it switches the units of every rank
        Rule("channel", ("MODE",), settled, pim.mode_ck),
        Rule("rank", ("ACT1",), ("ACTAB",), n.RAS + n.RPpb),
        Rule("rank", ("ACTAB",), ("ACT1",), n.RAS + n.RPab),
    ]


FAMILIES: dict[str, Callable[[Clocks], list[Rule]]] = {"lpddr5": lpddr5}


def rules_of(spec: DramSpec, pim: PimSpec | None = None) -> list[Rule]:
    """All rules of a part in its own clocks, those of its PIM unit included."""
    if spec.family not in FAMILIES:
        raise SpecError(f"{spec.name}: no rules for family {spec.family!r}{suggest(spec.family, FAMILIES)}")
    n = Clocks(spec)
    return FAMILIES[spec.family](n) + (pim_rules(n, pim) if pim is not None else [])


@dataclass(frozen=True, kw_only=True)
class RuleTable:
    """Rules as arrays that a compiled loop walks: those of command c are rows first[c] .. first[c+1]-1.

    rows: (n, 5) int64: scope number, before command, wait, ring (-1: plain rule), sibling.
    rings: (m, 3) int64, one a windowed rule and `after` set: scope number, window, after command mask.
    """

    first: NDArray[np.int64]
    rows: NDArray[np.int64]
    rings: NDArray[np.int64]


def _codes(rule: Rule, names: tuple[str, ...]) -> list[int]:
    for name in names:
        if name not in CODE:
            raise SpecError(f"rule {rule}: no command {name!r}{suggest(name, CODE)}")
    return [CODE[name] for name in names]


def compile_rules(rules: list[Rule]) -> RuleTable:
    """Arrange rules by their `after` command; of several plain rules for one pair the longest wins."""
    plain: dict[tuple[int, int, int, int], int] = {}
    rings: list[tuple[int, int, int]] = []
    by_ring: dict[int, list[tuple[int, int, int]]] = {}
    for rule in rules:
        if rule.scope not in SCOPES:
            raise SpecError(f"rule {rule}: no scope {rule.scope!r}{suggest(rule.scope, SCOPES)}")
        if rule.window < 1:
            raise SpecError(f"rule {rule}: window {rule.window}; wanted at least 1")
        if rule.sibling and (rule.scope != "rank" or rule.window != 1):
            raise SpecError(f"rule {rule}: sibling is modelled only for scope 'rank' and window 1")
        scope = SCOPES.index(rule.scope)
        after, before = _codes(rule, rule.after), _codes(rule, rule.before)
        if rule.window == 1:
            for a in after:
                for b in before:
                    key = (a, scope, b, int(rule.sibling))
                    plain[key] = max(plain.get(key, 0), rule.wait)
        else:
            ring = (scope, rule.window, sum(1 << a for a in after))
            if ring not in rings:
                rings.append(ring)
            index = rings.index(ring)
            for a in after:
                by_ring.setdefault(a, []).extend((index, b, rule.wait) for b in before)
    first, rows = [0], []
    for command in range(len(COMMANDS)):
        for (a, scope, b, sibling), wait in sorted(plain.items()):
            if a == command:
                rows.append((scope, b, wait, -1, sibling))
        for index, b, wait in by_ring.get(command, ()):
            rows.append((rings[index][0], b, wait, index, 0))
        first.append(len(rows))
    return RuleTable(
        first=np.array(first, dtype=np.int64),
        rows=np.array(rows, dtype=np.int64).reshape(-1, 5),
        rings=np.array(rings, dtype=np.int64).reshape(-1, 3),
    )
