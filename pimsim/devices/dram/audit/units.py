"""Logs of PIM programs whose parts are not LPDDR5: what their commands are to an auditor.

Paired banks: an all-bank command is the ordinary command of the same kind, sent to all even or all odd
banks; with one bank in the place of all of its kind, ordinary rules are all there are. Besides, no bank but
the named ones may be used while rows of all of a kind are open.

Units with one buffer a channel: the waits are restated here, command to command, from the raw numbers.
"""

from __future__ import annotations

from collections.abc import Callable

import pandas as pd

from pimsim.devices.spec import Clocks, DramSpec, PimSpec

ORDINARY = {"ACTAB": "ACT", "MACAB": "RD", "WRREG": "WR", "WRAB": "WR", "MODE": "WR"}
COLUMNS = ["clock", "command", "channel", "rank", "bankgroup", "bank", "rule", "wanted", "slack"]
_UNITS = {"ACTAB", "MACAB", "EWAB", "AFAB", "WRREG", "WRACC", "RDRES", "MODE"}
_SHARED = {"PREA", "REFAB", "CAS_RD", "CAS_WR"}


def as_ordinary(log: pd.DataFrame) -> pd.DataFrame:
    """A log of paired banks with ordinary commands in the place of all-bank commands."""
    return log.assign(command=log["command"].replace(ORDINARY))


def sharing(log: pd.DataFrame) -> pd.DataFrame:
    """Commands to single banks while a row is open in all banks of a kind, in the form of `audit`."""
    found: list[tuple[object, ...]] = []
    opened: dict[tuple[int, int], set[tuple[int, int]]] = {}
    channels = log["channel"] if "channel" in log else pd.Series(0, index=log.index)
    fields = [log[name].fillna(-1).astype(int).tolist() for name in ("clock", "rank", "bankgroup", "bank")]
    for command, channel, clock, rank, group, bank in zip(
        log["command"].astype(str).tolist(), channels.astype(int).tolist(), *fields, strict=True
    ):
        place = opened.setdefault((channel, rank), set())
        if command == "ACTAB":
            place.add((group, bank))
        elif command == "PREA":
            place.clear()
        elif command == "PRE":
            place.discard((group, bank))
        elif command in ("ACT", "ACT1", "RD", "RDA", "WRA") and place:
            rule = f"state: {command} while a row is open in all banks of a kind"
            found.append((clock, command, channel, rank, group, bank, rule, pd.NA, pd.NA))
    return pd.DataFrame(found, columns=COLUMNS)


def ordinary_part(log: pd.DataFrame) -> pd.DataFrame:
    """The commands of a log that are no commands of units with a buffer."""
    return log[~log["command"].isin(_UNITS)]


def buffer_findings(log: pd.DataFrame, spec: DramSpec, pim: PimSpec) -> pd.DataFrame:
    """Broken rules of commands of units with one buffer a channel, in the form of `audit`."""
    waits = _waits(spec, pim)
    found: list[tuple[object, ...]] = []
    for channel, mine in log[log["command"].isin(_UNITS | _SHARED)].groupby(
        log["channel"] if "channel" in log else pd.Series(0, index=log.index)
    ):
        _walk(mine, int(str(channel)), waits, found)
    return pd.DataFrame(found, columns=COLUMNS)


def _walk(
    log: pd.DataFrame, channel: int, waits: dict[str, dict[str, int]], found: list[tuple[object, ...]]
) -> None:
    last: dict[str, int] = {}
    row, registers = -1, False
    clocks, rows = (log[name].fillna(-1).astype(int).tolist() for name in ("clock", "row"))
    for command, clock, wanted_row in zip(log["command"].astype(str).tolist(), clocks, rows, strict=True):

        def tell(rule: str, wanted: int | None = None, name: str = command, at: int = clock) -> None:
            slack = at - wanted if wanted is not None else pd.NA
            found.append((at, name, channel, 0, -1, -1, rule, pd.NA if wanted is None else wanted, slack))

        for before, wait in waits.get(command, {}).items():
            if before in last and clock < last[before] + wait:
                tell(f"{before} at {last[before]} to {command}: {wait} clocks", last[before] + wait)
        row, registers = _state(command, wanted_row, row, registers, tell)
        last[command] = clock


def _state(
    command: str, wanted: int, row: int, registers: bool, tell: Callable[[str], None]
) -> tuple[int, bool]:
    """(open row, whether registers may be used) after a command; tells what was out of order."""
    if command == "ACTAB":
        if row >= 0:
            tell(f"state: ACTAB while row {row} is open")
        return wanted, registers
    if command == "PREA":
        return -1, registers
    if command == "MODE":
        return row, not registers
    if command in ("MACAB", "EWAB", "AFAB"):
        if row != wanted:
            tell(f"state: {command} of row {wanted} while row {row} is open")
        if registers:
            tell(f"state: {command} in register mode")
    elif command in ("WRACC", "RDRES") and not registers:
        tell(f"state: {command} in array mode")
    elif command == "REFAB" and row >= 0:
        tell(f"state: REFAB while row {row} is open")
    return row, registers


def _waits(spec: DramSpec, pim: PimSpec) -> dict[str, dict[str, int]]:
    """command -> command before it -> least clocks between the two."""
    n = Clocks(spec)
    ck = {name: value.clocks(spec.tck_fs) for name, value in pim.timings.items()}
    rp = n.RPab if n.has("RPab") else n.RP
    row_cycle = n.RC if n.has("RC") else n.RAS + n.RPab
    column = dict.fromkeys(("MACAB", "EWAB", "AFAB"), n.CCD_L)
    settled = {"MODE": pim.mode_ck, "REFAB": n.RFCab}
    return {
        "MACAB": column | settled | {"ACTAB": ck["RCDMAC"]},
        "EWAB": column | settled | {"ACTAB": ck["RCDEW"]},
        "AFAB": column | settled | {"ACTAB": ck["RCDAF"]},
        "ACTAB": settled | {"PREA": rp, "ACTAB": row_cycle},
        "PREA": {
            "MODE": pim.mode_ck,
            "ACTAB": n.RAS,
            "MACAB": ck["RTPMAC"],
            "AFAB": ck["RTPMAC"],
            "EWAB": n.WL + n.WR,
        },
        "REFAB": {"PREA": rp, "ACTAB": row_cycle, "REFAB": n.RFCab, "MODE": pim.mode_ck},
        "WRREG": settled | {"WRREG": n.BL, "WRACC": ck["REGWR"], "RDRES": ck["REGRTW"]},
        "WRACC": settled | {"WRREG": n.BL, "WRACC": ck["REGWR"], "RDRES": ck["REGRTW"]},
        "RDRES": settled | {"RDRES": n.BL, "WRACC": ck["REGWR"], "WRREG": n.BL},
        "MODE": dict.fromkeys(("MACAB", "EWAB", "AFAB", "WRREG", "RDRES"), n.BL)
        | {"WRACC": ck["REGWR"], "MODE": pim.mode_ck, "REFAB": n.RFCab},
    }


__all__ = ["as_ordinary", "buffer_findings", "ordinary_part", "sharing"]
