"""Command logs as they are written: read, checked against the part, and turned into numbers."""

from __future__ import annotations

import zlib
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NoReturn

import numpy as np
import numpy.typing as npt
import pandas as pd

from pimsim.devices.dram.audit.walk import COMMANDS, NEVER, REFSB
from pimsim.devices.spec import DramSpec, PimSpec
from pimsim.errors import SpecError, suggest

_Ints = npt.NDArray[np.int64]
_NEEDED = ("clock", "command", "rank", "bankgroup", "bank", "row", "column")
_Fail = Callable[[int, str], NoReturn]
_NUMBERS = ("clock", "channel", "rank", "bankgroup", "bank", "row", "column")
_PIM = {"ACTAB", "MACAB", "WRREG", "RDRES", "MODE"}
_NEEDS = {
    "rank": set(COMMANDS) - {"MODE"},
    "bankgroup": {"ACT1", "ACT2", "PRE", "RD", "WR", "RDA", "WRA", "REFPB", "RDRES"},
    "row": {"ACT1", "ACTAB"},
}
_NEEDS["bank"] = _NEEDS["bankgroup"] | {"REFSB"}


@dataclass(frozen=True, kw_only=True)
class Commands:
    """A log in numbers, one entry a command; -1 where a field does not apply.

    words, word: the names in the log, and the place of each command's among them; code: index into COMMANDS
    (the one-command ACT is ACT1); bankgroup counts over stack levels; flat: bank within its rank.
    """

    words: list[str]
    word: _Ints
    code: _Ints
    clock: _Ints
    channel: _Ints
    rank: _Ints
    bankgroup: _Ints
    bank: _Ints
    row: _Ints
    flat: _Ints


def read(path: str | Path, spec: DramSpec, pim: PimSpec | None) -> Commands:
    """The log in a CSV file, gzip or not; an error names the file and the line, the header being line 1."""
    try:
        log = pd.read_csv(path, dtype={"command": str}, skip_blank_lines=False, low_memory=False)
    except (OSError, EOFError, UnicodeDecodeError, zlib.error) as error:
        raise SpecError(f"{path}: cannot be read: {error}") from error
    except (pd.errors.ParserError, pd.errors.EmptyDataError) as error:
        raise SpecError(f"{path}: is no table: {str(error).strip()}") from error
    if not isinstance(log.index, pd.RangeIndex):
        raise SpecError(f"{path}, line 2: has more fields than the {len(log.columns)} of the header")
    return parse(log, spec, pim, str(path), "line", 2)


def parse(
    log: pd.DataFrame,
    spec: DramSpec,
    pim: PimSpec | None,
    name: str = "log",
    unit: str = "row",
    first: int = 0,
) -> Commands:
    """The log in a table; an error names `name` and the place, counted in `unit` from `first`."""

    def fail(at: int, text: str) -> NoReturn:
        raise SpecError(f"{name}, {unit} {at + first}: {text}")

    g = spec.geometry
    for other, ours in (("cycle", "clock"), ("pseudochannel", "rank")):
        if ours not in log.columns:
            log = log.rename(columns={other: ours})
    stacked = g.sids > 1 and "sid" in log.columns
    missing = [c for c in _NEEDED if c not in log.columns]
    unknown = [str(c) for c in log.columns if c not in (*_NEEDED, "channel") and not (stacked and c == "sid")]
    if missing or unknown or log.columns.has_duplicates:
        what = [f"lacks {', '.join(missing)}"] * bool(missing) + [f"has unknown {', '.join(unknown)}"] * bool(
            unknown
        )
        raise SpecError(
            f"{name}: the header {' and '.join(what) or 'names a column twice'}; wanted clock (or cycle), "
            f"command, channel (or none), rank (or pseudochannel), bankgroup, bank, row, column"
        )
    if "channel" not in log.columns:
        log = log.assign(channel=0)
    value = {}
    for column in (*_NUMBERS, "sid") if stacked else _NUMBERS:
        value[column], bad = _whole(log[column])
        if bad is not None:
            given = log[column].iloc[bad]
            text = f"no {column}" if pd.isna(given) else f"{column} {str(given)!r}"
            fail(bad, f"{text}; wanted a whole number{' or nothing' * (column != 'clock')}")
    value["channel"] = np.maximum(value["channel"], 0)

    if stacked:
        value["bankgroup"] = _over_levels(value["sid"], value["bankgroup"], spec, fail)
    word, unique = pd.factorize(log["command"], use_na_sentinel=False)
    words = ["" if pd.isna(each) else str(each) for each in unique]
    code = _codes(word, words, spec, pim, fail)
    _check_addresses(word, words, code, value, spec, fail)
    if g.ranks == 1:
        value["rank"] = np.maximum(value["rank"], 0)
    _check_order(value["clock"], value["channel"], fail)
    flat = np.where(
        (value["bank"] < 0) | (value["bankgroup"] < 0),
        NEVER,
        value["bankgroup"] * g.banks_per_group + value["bank"],
    )
    flat = np.where(code == REFSB, value["bank"], flat)  # the first of the banks that it refreshes
    return Commands(
        words=words,
        word=word,
        code=code,
        flat=flat.astype(np.int64),
        **{k: value[k] for k in ("clock", "channel", "rank", "bankgroup", "bank", "row")},
    )


def _whole(column: pd.Series[Any]) -> tuple[_Ints, int | None]:
    """A column as integers with -1 for empty entries, and the place of the first that is no such number."""
    if pd.api.types.is_integer_dtype(column.dtype):
        number = column.fillna(NEVER).to_numpy(dtype=np.int64)
        empty = bad = np.zeros(len(column), dtype=bool)
    else:
        real = pd.to_numeric(column, errors="coerce").to_numpy(dtype=np.float64, na_value=np.nan)
        empty = column.isna().to_numpy(dtype=bool) | (column.astype(object) == "").to_numpy(dtype=bool)
        # Doubles hold whole numbers exactly up to 2**53.
        bad = ~empty & ~((np.floor(real) == real) & (np.abs(real) < 2.0**53))
        number = np.where(empty | bad, NEVER, real).astype(np.int64)
    bad = bad | (number < NEVER)
    if column.name == "clock":
        bad = bad | (number < 0)
    return number, int(np.argmax(bad)) if bad.any() else None


def _over_levels(sid: _Ints, group: _Ints, spec: DramSpec, fail: _Fail) -> _Ints:
    """Bank groups counted over the stack levels of their rank."""
    g = spec.geometry
    per_level = g.bank_groups // g.sids
    for field, number, limit in (("sid", sid, g.sids), ("bankgroup", group, per_level)):
        if (number >= limit).any():
            at = int(np.argmax(number >= limit))
            fail(at, f"{field} {number[at]}; {spec.name} has {limit}, counted from 0")
    lost = (group >= 0) & (sid < 0)
    if lost.any():
        fail(int(np.argmax(lost)), "a bankgroup without a sid")
    return np.where(group >= 0, sid * per_level + group, group)


def _codes(word: _Ints, words: list[str], spec: DramSpec, pim: PimSpec | None, fail: _Fail) -> _Ints:
    """Command numbers; a name that this part does not know is an error."""
    timed = spec.latencies_ck.keys() | spec.timings.keys()
    two_step = "AAD" in timed
    not_here = {"ACT"} if two_step else {"ACT1", "ACT2"}
    absent = {name for name, timing in (("REFPB", "RFCpb"), ("REFSB", "RFCsb")) if timing not in timed}
    number = {command: k for k, command in enumerate(COMMANDS)} | {"ACT": COMMANDS.index("ACT1")}
    code_of = np.zeros(len(words), dtype=np.int64)
    for k, command in enumerate(words):
        at = int(np.argmax(word == k))
        if command not in number:
            fail(at, f"no command named {command!r}{suggest(command, set(number) - not_here - absent)}")
        if command in not_here:
            fail(at, f"{command}: {spec.name} activates by {'ACT1 and ACT2' if two_step else 'ACT'}")
        if command in absent:
            fail(at, f"{command}: {spec.name} has no such command")
        if command in _PIM and pim is None:
            fail(
                at,
                f"{command} is for a PIM unit, and {spec.name} alone has none; name the PIM unit instead",
            )
        code_of[k] = number[command]
    return code_of[word]


def _check_addresses(
    word: _Ints, words: list[str], code: _Ints, value: dict[str, _Ints], spec: DramSpec, fail: _Fail
) -> None:
    """Every field lies inside the part, and every command names what it acts on."""
    g = spec.geometry
    limits = {
        "rank": g.ranks,
        "bankgroup": g.bank_groups,
        "bank": g.banks_per_group,
        "row": g.rows,
        "column": g.columns,
    }
    for field, limit in limits.items():
        outside = value[field] >= limit
        if outside.any():
            at = int(np.argmax(outside))
            fail(at, f"{field} {value[field][at]}; {spec.name} has {limit}, counted from 0")
    for field, commands in _NEEDS.items():
        if field == "rank" and g.ranks == 1:
            continue
        needed = np.array([command in commands for command in COMMANDS])
        absent = needed[code] & (value[field] < 0)
        if absent.any():
            at = int(np.argmax(absent))
            fail(at, f"{words[word[at]]} without a {field}")


def _check_order(clock: _Ints, channel: _Ints, fail: _Fail) -> None:
    """Clocks never go backwards within a channel."""
    for c, mine in by_channel(channel):
        back = np.diff(clock[mine]) < 0
        if back.any():
            k = int(np.argmax(back))
            at = k + 1 if isinstance(mine, slice) else int(mine[k + 1])
            fail(at, f"clock {clock[mine][k + 1]} of channel {c} comes after clock {clock[mine][k]}")


def by_channel(channel: _Ints) -> list[tuple[int, slice | _Ints]]:
    """The channels in a log, each with the places of its commands in order."""
    if not len(channel):
        return []
    if (channel == channel[0]).all():
        return [(int(channel[0]), slice(None))]
    order = np.argsort(channel, kind="stable")
    parts = np.split(order, np.flatnonzero(np.diff(channel[order])) + 1)
    return [(int(channel[part[0]]), part) for part in parts]
