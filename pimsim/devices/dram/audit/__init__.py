"""An independent reader of DRAM command logs: which commands broke which rule of their part.

The scheduler is held to these rules by a table of its own; nothing of it is used here. This reader walks
a log once and, for every command, looks back at when the commands that matter to it were last seen.
The rules are those of LPDDR5 and LPDDR5X in bank-group mode (JESD209-5C), LPDDR4 (JESD209-4), DDR4 and
DDR5 (JESD79-4, -5), GDDR6 (JESD250), HBM2 (JESD235) and HBM3 (JESD238), whose pseudo channels are ranks
here. For the commands of a PIM unit they are ordinary DRAM timing at rank level: an all-bank activate is an
activate of every bank, a MAC is a read that stays in the chip, a register write is a write of every bank, a
result read is a read of its bank.

Left out: per-two-bank refresh, masked writes, mode registers, power-down and self-refresh,
temperature derating, the pairing of banks in a per-bank refresh, link training, and whether a MODE command
really addresses the reserved row.
"""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import NamedTuple

import numpy as np
import numpy.typing as npt
import pandas as pd

from pimsim.devices import part, parts
from pimsim.devices.dram.audit.log import Commands, by_channel, parse, read
from pimsim.devices.dram.audit.waits import NAMES, POSTPONED, waits_of
from pimsim.devices.dram.audit.walk import (
    ACT1,
    COMMANDS,
    MOST,
    NEVER,
    REFAB,
    REFPB,
    REFSB,
    RULES,
    T_AAD,
    T_REFI,
    T_REFIPB,
    Found,
    History,
    nothing_yet,
    walk,
)
from pimsim.devices.part_file import read_part
from pimsim.devices.spec import DramSpec, PimSpec
from pimsim.errors import SpecError, suggest

__all__ = ["POSTPONED", "audit", "audit_blocks", "audit_file"]

_Ints = npt.NDArray[np.int64]
_END = "END"
_DATA = ("RD", "WR", "RDA", "WRA")


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


def audit(
    log: pd.DataFrame, spec: DramSpec, pim: PimSpec | None = None, data_clock: str = "on_demand"
) -> pd.DataFrame:
    """Every broken rule of a command log, one row each, in the order of the log; no row means legal.

    log: columns clock, command, rank, bankgroup, bank, row, column and, where there are several, channel.
        Clocks are whole, from 0, and never go backwards within a channel; `bank` counts within its bank
        group, `bankgroup` over the stack levels unless a column sid names them; empty or -1 does not apply.
        Several channels may be mixed or follow each other. A rank may be called pseudochannel.
    spec: the part that every channel is made of; pim: the unit in its banks, needed for PIM commands.
    data_clock: "on_demand" (LPDDR5: a CAS starts it) or "always_on", as the controller held it.
    returns: clock, command, channel, rank, bankgroup, bank as in the log (-1: does not apply), `rule` in
        words, `wanted` and `slack` = clock - wanted, which is negative for a command that came too early.
        `wanted` is the earliest clock that this rule allows. Where the rule is a deadline (tAAD, tREFI,
        tREFIpb) it is the latest and slack is positive. Where no other clock would help (a closed bank),
        both are NA. What is still overdue when the log ends is reported in a row with the command END.

    The log is taken to start with all banks closed, the data clock off, ordinary mode, and ranks freshly
    refreshed. A log without any refresh command is not asked for one.
    """
    return audit_blocks([log], spec, pim, data_clock)


def audit_blocks(
    blocks: Iterable[pd.DataFrame],
    spec: DramSpec,
    pim: PimSpec | None = None,
    data_clock: str = "on_demand",
) -> pd.DataFrame:
    """`audit` of a log that comes in blocks, one after the other, so that it need not be held as a whole."""
    reader = _Reader(spec, pim, data_clock)
    for block in blocks:
        reader.read(parse(block, spec, pim, first=reader.commands))
    return reader.report()


def audit_file(path: str | Path, part_name: str) -> pd.DataFrame:
    """`audit` of a CSV file (also gzip).

    part_name: of a DRAM part, of a PIM unit (with its DRAM), or of a TOML file (`part_file.read_part`).
    """
    if part_name.endswith(".toml"):
        return _audit_file(path, read_part(part_name), None)
    known = {k: v for k, v in parts().items() if isinstance(v, DramSpec | PimSpec)}
    if part_name not in known:
        raise SpecError(f"no DramSpec or PimSpec named {part_name!r}{suggest(part_name, known)}")
    named = known[part_name]
    pim = named if isinstance(named, PimSpec) else None
    return _audit_file(path, part(named.dram, DramSpec) if isinstance(named, PimSpec) else named, pim)


def _audit_file(path: str | Path, spec: DramSpec, pim: PimSpec | None) -> pd.DataFrame:
    reader = _Reader(spec, pim)
    reader.read(read(path, spec, pim))
    return reader.report()


class _Reader:
    """What was read so far: the history of every channel, and what was found."""

    def __init__(self, spec: DramSpec, pim: PimSpec | None, data_clock: str = "on_demand") -> None:
        if data_clock not in ("on_demand", "always_on"):
            raise SpecError(f"audit: data_clock={data_clock!r}; wanted on_demand or always_on")
        self.spec, self.waits = spec, waits_of(spec, pim)
        if data_clock == "always_on":
            self.waits = self.waits._replace(WCKPST=NEVER)
        self.commands = 0
        self.history: dict[int, History] = {}
        self.clock: dict[int, int] = {}  # of the latest command of a channel
        self.refreshing = self.per_bank = False
        self.findings: list[_Finding] = []

    def read(self, log: Commands) -> None:
        """Go on with the next commands."""
        g = self.spec.geometry
        for channel, mine in by_channel(log.channel):
            fields = (log.clock[mine], log.code[mine], log.rank[mine], log.flat[mine], log.row[mine])
            first, last = int(fields[0][0]), int(fields[0][-1])
            if channel not in self.history:
                self.history[channel] = nothing_yet(self.waits, g.ranks, g.bank_groups, first)
            elif first < self.clock[channel]:
                raise SpecError(
                    f"log: clock {first} of channel {channel} comes after clock {self.clock[channel]}"
                )
            self.clock[channel] = last
            at = 0
            while at < len(fields[0]):
                found = Found(rows=np.empty((8 * MOST, 5), np.int64), total=np.zeros(1, np.int64))
                at = walk(*fields, self.waits, self.history[channel], found, at)
                self._early(log, mine, found)
        self.per_bank |= bool(((log.code == REFPB) | (log.code == REFSB)).any())
        self.refreshing |= self.per_bank or bool((log.code == REFAB).any())
        self.commands += len(log.code)

    def report(self) -> pd.DataFrame:
        """All that was found, and what is overdue at the end."""
        findings = self.findings + [
            each for channel in sorted(self.history) for each in self._overdue(channel)
        ]
        findings.sort(key=lambda finding: finding.at)
        report = pd.DataFrame(findings, columns=list(_Finding._fields)).drop(columns="at")
        numbers = dict.fromkeys(("clock", "channel", "rank", "bankgroup", "bank"), "int64")
        return report.astype(numbers | {"wanted": "Int64", "slack": "Int64"})

    def _early(self, log: Commands, mine: slice | _Ints, found: Found) -> None:
        """The rules that the walk found broken, in words; clocks are a command's first on the bus."""
        waits, own_names = self.waits, NAMES[self.spec.family]
        bus_ck = dict.fromkeys(("ACT", "ACT1"), waits.act_ck) | dict.fromkeys(_DATA, waits.data_ck)

        def lead(name: str) -> int:
            return bus_ck.get(name, waits.other_ck) - 1

        for i, rule, before, since, wanted in found.rows[: found.total[0]].tolist():
            k = i if isinstance(mine, slice) else int(mine[i])
            clock, command = int(log.clock[k]), log.words[log.word[k]]
            name, rest = RULES[rule].split(":", 1)
            before_name = "ACT" if COMMANDS[before] == "ACT1" and waits.AAD == NEVER else COMMANDS[before]
            if "{before}" in rest:
                since -= lead(before_name)
            words = f"{own_names.get(name, name)}:" + rest.format(
                before=before_name, since=since, then=command
            )
            where = (int(log.channel[k]), int(log.rank[k]), int(log.bankgroup[k]), int(log.bank[k]))
            known = wanted != NEVER
            wanted -= lead(command) if known else 0
            self.findings.append(
                _Finding(
                    self.commands + k,
                    clock,
                    command,
                    *where,
                    words,
                    wanted if known else None,
                    clock - wanted if known else None,
                )
            )

    def _overdue(self, channel: int) -> list[_Finding]:
        """What one channel still owes when its log ends: refreshes and second halves of activates."""
        w, h, g, end = self.waits, self.history[channel], self.spec.geometry, self.clock[channel]
        out = []

        def owed(rank: int, bank: int, rule: int, since: int, wait: int) -> None:
            if end > since + wait:
                group, within = divmod(bank, g.banks_per_group) if bank != NEVER else (NEVER, NEVER)
                words = RULES[rule].format(since=since)
                place = (channel, rank, group, within)
                out.append(
                    _Finding(self.commands, end, _END, *place, words, since + wait, end - since - wait)
                )

        for rank in range(g.ranks):
            if self.refreshing:
                owed(rank, NEVER, T_REFI, int(h.refreshed[rank]), w.refresh_rank_ck)
            for bank in range(g.banks):
                if self.per_bank:
                    owed(rank, bank, T_REFIPB, int(h.bank_refreshed[rank, bank]), w.refresh_bank_ck)
                if h.half[rank, bank]:
                    owed(rank, bank, T_AAD, int(h.bank[rank, bank, ACT1]), w.AAD)
        return out
