"""Timing rules as data: which command must wait how long after which other command.

A family of parts is a function that derives its rules from the datasheet's names; a new standard is a new
function in `FAMILIES`. Sources: JESD209-4 and -5C, JESD79-4 and -5, JESD250, JESD235 and JESD238 and their
command timing tables, as carried by the public configurations that `docs/validation.md` names.
"""

from __future__ import annotations

from collections.abc import Callable

from pimsim.devices.rules.ddr import ddr4, ddr5, gddr6
from pimsim.devices.rules.hbm import hbm2, hbm3
from pimsim.devices.rules.lpddr import LPDDR4_BUS_CK, lpddr4, lpddr5
from pimsim.devices.rules.pim import PIM_FAMILIES, pim_rules, with_pim
from pimsim.devices.rules.rule import (
    ACT1,
    ACT2,
    ACTAB,
    AFAB,
    CAS_RD,
    CAS_WR,
    CODE,
    COMMANDS,
    DATA,
    EWAB,
    MACAB,
    MODE,
    PRE,
    PREA,
    RD,
    RDA,
    RDRES,
    READS,
    REFAB,
    REFPB,
    REFSB,
    SCOPES,
    WR,
    WRA,
    WRAB,
    WRACC,
    WRITES,
    WRREG,
    Rule,
    RuleTable,
    command_counts,
    compile_rules,
)
from pimsim.devices.spec import Clocks, DramSpec, PimSpec
from pimsim.errors import SpecError, suggest

__all__ = [
    "ACT1",
    "ACT2",
    "ACTAB",
    "AFAB",
    "CAS_RD",
    "CAS_WR",
    "CODE",
    "COMMANDS",
    "DATA",
    "EWAB",
    "FAMILIES",
    "LPDDR4_BUS_CK",
    "MACAB",
    "MODE",
    "PRE",
    "PREA",
    "PSEUDO_CHANNELS",
    "RD",
    "RDA",
    "RDRES",
    "READS",
    "REFAB",
    "REFPB",
    "REFSB",
    "SCOPES",
    "STACKED",
    "WR",
    "WRA",
    "WRAB",
    "WRACC",
    "WRITES",
    "WRREG",
    "Rule",
    "RuleTable",
    "command_counts",
    "compile_rules",
    "pim_rules",
    "rules_of",
]

FAMILIES: dict[str, Callable[[Clocks], list[Rule]]] = {
    "lpddr4": lpddr4,
    "lpddr5": lpddr5,
    "ddr4": ddr4,
    "ddr5": ddr5,
    "gddr6": gddr6,
    "hbm2": hbm2,
    "hbm3": hbm3,
}
PSEUDO_CHANNELS = ("hbm2", "hbm3")
"""Families whose ranks are pseudo channels, each with a data bus of its own."""
STACKED = ("hbm3",)
"""Families with rules between the stack levels of a rank."""


def rules_of(spec: DramSpec, pim: PimSpec | None = None) -> list[Rule]:
    """All rules of a part in its own clocks, those of its PIM unit included."""
    if spec.family not in FAMILIES:
        raise SpecError(f"{spec.name}: no rules for family {spec.family!r}{suggest(spec.family, FAMILIES)}")
    if pim is not None and spec.family not in PIM_FAMILIES[pim.protocol]:
        raise SpecError(
            f"{pim.name}: its units ({pim.protocol}) are modelled in parts of "
            f"{' and '.join(PIM_FAMILIES[pim.protocol])}, not in family {spec.family!r}"
        )
    g = spec.geometry
    buses = g.ranks if spec.family in PSEUDO_CHANNELS else 1
    if g.data_buses != buses:
        raise SpecError(
            f"{spec.name}: geometry.data_buses={g.data_buses} but family {spec.family!r} has {buses} "
            f"for ranks={g.ranks}"
        )
    if g.sids > 1 and spec.family not in STACKED:
        raise SpecError(
            f"{spec.name}: geometry.sids={g.sids} but family {spec.family!r} has no rules of stack levels"
        )
    n = Clocks(spec)
    rules = FAMILIES[spec.family](n)
    return rules if pim is None else with_pim(rules, n, pim, 8 * g.burst_bytes)
