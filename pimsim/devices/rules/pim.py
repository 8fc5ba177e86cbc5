"""Rules of the all-bank commands of a PIM unit, by the protocol of the part."""

from __future__ import annotations

from dataclasses import replace

from pimsim.devices.rules.rule import COMMANDS, READS, WRITES, Rule
from pimsim.devices.spec import Clocks, PimSpec
from pimsim.errors import SpecError

PIM_FAMILIES = {
    "lockstep": ("lpddr5",),
    "paired_banks": ("hbm2", "gddr6"),
    "global_buffer": ("gddr6", "lpddr5"),
}
"""Families of parts that units of a protocol are modelled in."""

ORDINARY = {"ACT1": ("ACTAB",), "RD": ("MACAB",), "WR": ("WRREG", "WRAB", "MODE")}
"""Which ordinary command an all-bank command of paired banks is, with one bank for all of its kind."""


def with_pim(rules: list[Rule], n: Clocks, pim: PimSpec, burst_bits: int) -> list[Rule]:
    """Rules of a part, whose column access gives `burst_bits`, and of the units in its banks."""
    if pim.protocol == "paired_banks":
        return _paired(rules, pim)
    if pim.protocol == "global_buffer":
        return rules + _global_buffer(n, pim)
    return rules + pim_rules(n, pim, mac_passes(pim, burst_bits))


def mac_passes(pim: PimSpec, burst_bits: int) -> int:
    """Passes in which a unit multiplies what one column access gives: its datapath may be narrower."""
    if pim.lanes_bits > burst_bits:
        raise SpecError(
            f"{pim.name}: lanes_bits={pim.lanes_bits} but a column access of its part gives {burst_bits} bits"
        )
    return -(-burst_bits // pim.lanes_bits)


def _paired(rules: list[Rule], pim: PimSpec) -> list[Rule]:
    """Every DRAM rule holds for all-bank commands, too: they are ordinary commands sent to all banks.

    A command names the first even or odd bank for all of its kind, and as both lie in one bank group it
    keeps the same-group spacings, which is right for a command that reaches every group.
    """

    def alike(names: tuple[str, ...]) -> tuple[str, ...]:
        return tuple(each for name in names for each in (name, *ORDINARY.get(name, ())))

    held = [
        replace(rule, after=alike(rule.after), before=alike(rule.before), counted=alike(rule.counted))
        for rule in rules
    ]
    settled = tuple(name for name in COMMANDS if name not in ("PRE", "PREA"))
    return [*held, Rule("channel", ("MODE",), settled, pim.mode_ck)] if pim.mode_ck else held


def _global_buffer(n: Clocks, pim: PimSpec) -> list[Rule]:
    """Units with a buffer of inputs a channel and one accumulator a bank; every command reaches all banks.

    How long an activate takes until its row can be used depends on the use. Products that EWAB writes never
    cross the data bus, so write recovery counts without the burst. Register commands have no array latency.
    """
    t = {name: value.clocks(n.tck_fs) for name, value in pim.timings.items()}
    rp, rc = (n.RPab if n.has("RPab") else n.RP), (n.RC if n.has("RC") else n.RAS + n.RPab)
    rtp = t["RTPMAC"]
    columns = ("MACAB", "EWAB", "AFAB")
    units = (*columns, "ACTAB", "PREA", "WRREG", "WRACC", "RDRES", "REFAB")
    return [
        Rule("rank", ("ACTAB",), ("MACAB",), t["RCDMAC"]),
        Rule("rank", ("ACTAB",), ("EWAB",), t["RCDEW"]),
        Rule("rank", ("ACTAB",), ("AFAB",), t["RCDAF"]),
        Rule("rank", ("ACTAB",), ("PREA",), n.RAS),
        Rule("rank", ("ACTAB",), ("ACTAB", "REFAB"), rc),
        Rule("channel", ("ACTAB",), COMMANDS, 2 if n.has("AAD") else 1),
        Rule("rank", columns, columns, n.CCD_L),
        Rule("rank", ("MACAB", "AFAB"), ("PREA",), rtp),
        Rule("rank", ("EWAB",), ("PREA",), n.WL + n.WR),
        Rule("rank", ("PREA",), ("ACTAB", "REFAB"), rp),
        Rule("rank", ("REFAB",), units, n.RFCab),
        Rule("rank", ("WRREG", "RDRES"), ("WRREG", "RDRES"), n.BL),
        Rule("rank", ("WRREG",), ("WRACC",), n.BL),
        Rule("rank", ("WRACC",), ("WRACC", "WRREG", "RDRES", "MODE"), t["REGWR"]),
        Rule("rank", ("RDRES",), ("WRREG", "WRACC"), t["REGRTW"]),
        Rule("rank", (*columns, "WRREG", "RDRES"), ("MODE",), n.BL),
        Rule("channel", READS, ("MODE",), n.RL + n.BL),
        Rule("channel", WRITES, ("MODE",), n.WL + n.BL + n.WTR_L),
        Rule("channel", ("REFAB",), ("MODE",), n.RFCab),
        Rule("channel", ("MODE",), tuple(name for name in COMMANDS if name != "ACT2"), pim.mode_ck),
    ]


def pim_rules(n: Clocks, pim: PimSpec, passes: int = 1) -> list[Rule]:
    """Rules of all-bank PIM commands on a channel: the same DRAM limits, applied to all banks at once.

    passes: see `mac_passes`; a unit that needs several takes its next column so many tCCD_L later (estimate).

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
        Rule("rank", ("MACAB",), ("MACAB",), n.CCD_L * passes),
        Rule("rank", ("MACAB",), ("RDRES",), max(n.CCD_L, pim.mac_pipeline_ck) + n.CCD_L * (passes - 1)),
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
