"""Timing rules as data: which command must wait how long after which other command.

A rule reads: a `before` command waits `wait` clocks from the `window`-th last `after` command in the
same `scope` (with `sibling=True`: in any *other* node of that level). The scheduler, ordinary DRAM
commands and PIM commands all use the same table.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache

import numpy as np
from numpy.typing import NDArray

from pimsim.errors import SpecError, suggest

COMMANDS = (
    "ACT1", "ACT2", "PRE", "PREA", "RD", "WR", "RDA", "WRA", "REFAB", "REFPB", "CAS_RD", "CAS_WR",
    "ACTAB", "MACAB", "WRREG", "RDRES", "MODE", "REFSB", "WRAB", "EWAB", "AFAB", "WRACC",
)  # fmt: skip
"""Command names; a command's number is its place here. ACT1 is also the plain ACT of parts that have
no second half. ACTAB: activate one row in all banks; MACAB: one column access in all banks, consumed
by the PIM units; WRREG: one burst into the input registers of all units; RDRES: one bank's results;
MODE: an access to a reserved row that switches the channel between normal and PIM operation. REFSB: refresh
the bank of one number in every bank group (DDR5). WRAB: one column in all banks written by the units; EWAB:
one column in all banks read and its products written; AFAB: one lookup of an activation function in all
banks; WRACC: one burst into the accumulators."""

CODE = {name: code for code, name in enumerate(COMMANDS)}
CODE["ACT"] = CODE["ACT1"]
SCOPES = ("channel", "rank", "sid", "bankgroup", "bank")

ACT1, ACT2, PRE, PREA, RD, WR, RDA, WRA, REFAB, REFPB, CAS_RD, CAS_WR = range(12)
ACTAB, MACAB, WRREG, RDRES, MODE, REFSB = range(12, 18)
WRAB, EWAB, AFAB, WRACC = range(18, 22)


def command_counts(counts: NDArray[np.int64]) -> dict[str, int]:
    """Commands by name of an array that counts them by number, those never issued left out."""
    return {name: int(k) for name, k in zip(COMMANDS, counts, strict=True) if k}


@dataclass(frozen=True)
class Rule:
    """`before` waits `wait` clocks from the `window`-th last `after` in the same `scope`.

    counted: further commands that take a place in the window without starting this rule's wait.
    """

    scope: str
    after: tuple[str, ...]
    before: tuple[str, ...]
    wait: int
    window: int = 1
    sibling: bool = False
    counted: tuple[str, ...] = ()


READS, WRITES = ("RD", "RDA"), ("WR", "WRA")
DATA = (*READS, *WRITES)


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
    return _compile_rules(tuple(rules))


@lru_cache(maxsize=64)
def _compile_rules(rules: tuple[Rule, ...]) -> RuleTable:
    plain: dict[tuple[int, int, int, int], int] = {}
    rings: list[tuple[int, int, int]] = []
    by_ring: dict[int, list[tuple[int, int, int]]] = {}
    for rule in rules:
        if rule.scope not in SCOPES:
            raise SpecError(f"rule {rule}: no scope {rule.scope!r}{suggest(rule.scope, SCOPES)}")
        if rule.window < 1:
            raise SpecError(f"rule {rule}: window {rule.window}; wanted at least 1")
        if rule.sibling and (rule.scope not in ("rank", "sid") or rule.window != 1):
            raise SpecError(f"rule {rule}: sibling is modelled only for scopes 'rank' and 'sid' and window 1")
        scope = SCOPES.index(rule.scope)
        after, before = _codes(rule, rule.after), _codes(rule, rule.before)
        if rule.window == 1:
            for a in after:
                for b in before:
                    key = (a, scope, b, int(rule.sibling))
                    plain[key] = max(plain.get(key, 0), rule.wait)
        else:
            ring = (scope, rule.window, sum(1 << a for a in {*after, *_codes(rule, rule.counted)}))
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
