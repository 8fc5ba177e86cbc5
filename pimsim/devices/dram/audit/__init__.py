"""An independent reader of DRAM command logs: which commands broke which rule of their part.

The scheduler is held to these rules by a table of its own; nothing of it is used here. This reader walks
a log once and, for every command, looks back at when the commands that matter to it were last seen.
The rules are those of LPDDR5 and LPDDR5X in bank-group mode (JESD209-5C), LPDDR4 (JESD209-4), DDR4 and
DDR5 (JESD79-4, -5) and GDDR6 (JESD250). For the commands of a PIM unit they are ordinary DRAM timing at rank
level: an all-bank activate is an activate of every bank, a MAC is a read that stays in the chip, a register
write is a write of every bank, a result read is a read of its bank.

Left out: same-bank and per-two-bank refresh, masked writes, mode registers, power-down and self-refresh,
temperature derating, the pairing of banks in a per-bank refresh, link training, and whether a MODE command
really addresses the reserved row.
"""

from __future__ import annotations

from pathlib import Path
from typing import NamedTuple

import numpy as np
import numpy.typing as npt
import pandas as pd

from pimsim.devices import part, parts
from pimsim.devices.dram.audit.log import Commands, parse, read
from pimsim.devices.dram.audit.waits import NAMES, POSTPONED, waits_of
from pimsim.devices.dram.audit.walk import (
    ACT1,
    COMMANDS,
    NEVER,
    REFAB,
    REFPB,
    RULES,
    T_AAD,
    T_REFI,
    T_REFIPB,
    Found,
    History,
    Waits,
    nothing_yet,
    walk,
)
from pimsim.devices.spec import DramSpec, PimSpec
from pimsim.errors import SpecError, suggest

__all__ = ["POSTPONED", "audit", "audit_file"]

_Ints = npt.NDArray[np.int64]
_END = "END"
_LONG = ("ACT", "ACT1", "RD", "WR", "RDA", "WRA")
"""Commands that take more clocks of the command bus than others where a family has such."""


class _Finding(NamedTuple):
    """One row of the report; the fields of `audit`, and first the place in the log that it is sorted by."""

    at: int
    clock: int
    command: str
    channel: int
    rank: int
    bankgroup: int
    bank: int
    rule: str
    wanted: int | None
    slack: int | None


def audit(log: pd.DataFrame, spec: DramSpec, pim: PimSpec | None = None) -> pd.DataFrame:
    """Every broken rule of a command log, one row each, in the order of the log; no row means legal.

    log: columns clock, command, rank, bankgroup, bank, row, column and, where there are several, channel.
        Clocks are whole, from 0, and never go backwards within a channel; `bank` counts within its bank
        group; empty or -1 does not apply. Several channels may be mixed or follow each other.
    spec: the part that every channel is made of; pim: the unit in its banks, needed for PIM commands.
    returns: clock, command, channel, rank, bankgroup, bank as in the log (-1: does not apply), `rule` in
        words, `wanted` and `slack` = clock - wanted, which is negative for a command that came too early.
        `wanted` is the earliest clock that this rule allows. Where the rule is a deadline (tAAD, tREFI,
        tREFIpb) it is the latest and slack is positive. Where no other clock would help (a closed bank),
        both are NA. What is still overdue when the log ends is reported in a row with the command END.

    The log is taken to start with all banks closed, the data clock off, ordinary mode, and ranks freshly
    refreshed. A log without any refresh command is not asked for one.
    """
    return _audit(parse(log, spec, pim), spec, pim)


def audit_file(path: str | Path, part_name: str) -> pd.DataFrame:
    """`audit` of a CSV file (also gzip) against the DRAM part, or the PIM unit and its DRAM, of this name."""
    known = {k: v for k, v in parts().items() if isinstance(v, DramSpec | PimSpec)}
    if part_name not in known:
        raise SpecError(f"no DramSpec or PimSpec named {part_name!r}{suggest(part_name, known)}")
    named = known[part_name]
    pim = named if isinstance(named, PimSpec) else None
    spec = part(named.dram, DramSpec) if isinstance(named, PimSpec) else named
    return _audit(read(path, spec, pim), spec, pim)


def _audit(log: Commands, spec: DramSpec, pim: PimSpec | None) -> pd.DataFrame:
    waits = waits_of(spec, pim)
    per_bank = bool((log.code == REFPB).any())
    refreshing = per_bank or bool((log.code == REFAB).any())
    findings: list[_Finding] = []
    for channel in np.unique(log.channel):
        mine = np.flatnonzero(log.channel == channel)
        history, found = _walk(log, mine, spec, waits)
        findings += _early(log, mine, found, spec, waits)
        findings += _overdue(log, mine, spec, waits, history, refreshing, per_bank)
    findings.sort(key=lambda finding: finding.at)
    report = pd.DataFrame(findings, columns=list(_Finding._fields)).drop(columns="at")
    numbers = dict.fromkeys(("clock", "channel", "rank", "bankgroup", "bank"), "int64")
    return report.astype(numbers | {"wanted": "Int64", "slack": "Int64"})


def _walk(log: Commands, mine: _Ints, spec: DramSpec, waits: Waits) -> tuple[History, Found]:
    """Walk one channel; walk it again with more room if it broke more rules than expected."""
    g = spec.geometry
    room = 1024
    while True:
        history = nothing_yet(waits, g.ranks, g.bank_groups, int(log.clock[mine[0]]))
        found = Found(rows=np.empty((room, 5), dtype=np.int64), total=np.zeros(1, dtype=np.int64))
        clock, code, rank = log.clock[mine], log.code[mine], log.rank[mine]
        walk(clock, code, rank, log.flat[mine], log.row[mine], waits, history, found)
        if found.total[0] <= room:
            return history, found
        room = int(found.total[0])


def _early(log: Commands, mine: _Ints, found: Found, spec: DramSpec, waits: Waits) -> list[_Finding]:
    """The rules that the walk found broken, in words; clocks are those of a command's first on the bus."""
    out = []

    def lead(name: str) -> int:
        return (waits.long_ck if name in _LONG else waits.short_ck) - 1

    for i, rule, before, since, wanted in found.rows[: found.total[0]].tolist():
        k = int(mine[i])
        clock, command = int(log.clock[k]), str(log.names[k])
        name, rest = RULES[rule].split(":", 1)
        before_name = "ACT" if COMMANDS[before] == "ACT1" and waits.AAD == NEVER else COMMANDS[before]
        if "{before}" in rest:
            since -= lead(before_name)
        words = f"{NAMES[spec.family].get(name, name)}:" + rest.format(
            before=before_name, since=since, then=command
        )
        where = (int(log.channel[k]), int(log.rank[k]), int(log.bankgroup[k]), int(log.bank[k]))
        known = wanted != NEVER
        wanted -= lead(command) if known else 0
        out.append(
            _Finding(
                k, clock, command, *where, words, wanted if known else None, clock - wanted if known else None
            )
        )
    return out


def _overdue(
    log: Commands,
    mine: _Ints,
    spec: DramSpec,
    w: Waits,
    h: History,
    refreshing: bool,
    per_bank: bool,
) -> list[_Finding]:
    """What one channel still owes when its log ends: refreshes and second halves of activates."""
    end, channel = int(log.clock[mine[-1]]), int(log.channel[mine[0]])
    out = []

    def owed(rank: int, bank: int, rule: int, since: int, wait: int) -> None:
        if end > since + wait:
            group, within = divmod(bank, spec.geometry.banks_per_group) if bank != NEVER else (NEVER, NEVER)
            words = RULES[rule].format(since=since)
            place = (channel, rank, group, within)
            out.append(_Finding(len(log.code), end, _END, *place, words, since + wait, end - since - wait))

    for rank in range(spec.geometry.ranks):
        if refreshing:
            owed(rank, NEVER, T_REFI, int(h.refreshed[rank]), w.refresh_rank_ck)
        for bank in range(spec.geometry.banks):
            if per_bank:
                owed(rank, bank, T_REFIPB, int(h.bank_refreshed[rank, bank]), w.refresh_bank_ck)
            if h.half[rank, bank]:
                owed(rank, bank, T_AAD, int(h.bank[rank, bank, ACT1]), w.AAD)
    return out
