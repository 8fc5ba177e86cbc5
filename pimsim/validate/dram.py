"""The DRAM engine beside recorded runs of other simulators: one row a case and quantity.

The request traces of a folder of reference cases run under each case's own configuration; clocks, counts and
whole command logs are compared. `tests/reference/dram/README.md` describes the folder's form. A case that
cannot be run has one row that says why.
"""

from __future__ import annotations

import csv
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache
from pathlib import Path

import numpy as np
import pandas as pd

from pimsim.devices.dram import engine
from pimsim.devices.dram.bank_queues import BankQueues
from pimsim.devices.dram.channel import Replayed
from pimsim.devices.dram.config import ReferenceConfig, read_config
from pimsim.devices.dram.requests import Requests, read_requests
from pimsim.devices.rules import CODE, COMMANDS, DATA, RuleTable, compile_rules, rules_of
from pimsim.errors import SpecError, suggest
from pimsim.validate.rows import Row, comparison, unsupported

_CASE_KEYS = (
    "case",
    "config",
    "trace",
    "window",
    "cycles",
    "avg_read_latency",
    "data_cmds_row_hit",
    "command_trace",
)
_LOG_FIELDS = ("cycle", "command", "rank", "bankgroup", "bank", "row", "column")
_PSEUDO_FIELDS = ("cycle", "command", "pseudochannel", "bankgroup", "bank", "row", "column")

_ONE_PSEUDO_CHANNEL = ("same_bank", "other_bank_same_bankgroup", "other_bankgroup", "other_sid")
PEER_DEFECTS = (
    ("*", "other_rank", ("RD", "RDA"), ("WR", "WRA"), "the bursts of two ranks may overlap"),
    ("DDR4", "other_rank", ("WR", "WRA"), ("WR", "WRA"), "no idle clock between the bursts of two ranks"),
    ("DDR4", "same_rank", ("REFAB",), ("REFAB",), "no rule"),
    ("DDR5", "same_rank", ("REFAB",), ("REFAB",), "no rule"),
    ("LPDDR5", "other_rank", ("WR", "WRA"), ("RD", "RDA"), "longer than needed"),
    ("LPDDR5", "same_bank", ("RDA", "WRA"), ("REFPB",), "no rule"),
    ("LPDDR5", "*", ("PREA",), ("REFPB",), "no rule"),
    ("LPDDR5", "*", ("PREA",), ("REFAB",), "one-bank instead of all-bank precharge time"),
    ("LPDDR5", "same_bank", ("REFPB",), ("REFPB",), "the distance of two banks"),
    ("HBM2", "same_bank", ("RDA", "WRA"), ("REFPB",), "no rule"),
    ("HBM3", "same_bank", ("RDA", "WRA"), ("REFPB",), "no rule"),
    ("HBM3", "same_bank", ("REFPB",), ("REFPB",), "the distance of two banks"),
    *(("HBM2", relation, ("REFPB",), ("REFPB",), "no rule") for relation in _ONE_PSEUDO_CHANNEL),
    *(
        (standard, relation, first, then, "no rule")
        for standard in ("HBM2", "HBM3")
        for relation in _ONE_PSEUDO_CHANNEL
        for first, then in (
            (("PREA",), ("REFPB",)),
            (("REFPB",), ("REFAB",)),
            (("REFAB",), ("REFAB", "REFPB")),
        )
    ),
)
"""Where the reference simulator departs from the standard: (standard, relation, first, then, how)."""


def by_group(frame: pd.DataFrame) -> pd.DataFrame:
    """The rows of `dram_rows` in one row a simulator and standard.

    cases, and those with no error in any quantity; |error| of the clocks of the end, and the largest of a
    command count; cases with a log, and those of which every acceptance, completion and command has the same
    clock; pairs of commands (without documented defects of the reference), and those with the same distance.
    """
    rows = []
    for group, mine in frame.groupby("group", sort=False):
        quantity, error = mine["quantity"].astype(str), mine["error"].astype(float).abs()
        paired = quantity.str.startswith("min_gap_cycles")
        plain = paired & ~quantity.str.contains("documented defect")
        of_cases = mine[~paired].assign(size=error)
        cycles = error[quantity == "cycles"] * 100
        counts = error[quantity.str.startswith("n_")] * 100
        logs = of_cases[of_cases["quantity"].str.endswith("_mismatches")].groupby("case")["size"].max()
        worst = of_cases.groupby("case")["size"].max()
        rows.append(
            (
                group,
                len(worst),
                int((worst == 0).sum()),
                float(cycles.median()),
                float(cycles.max()),
                float(counts.max()),
                len(logs),
                int((logs == 0).sum()),
                int(plain.sum()),
                int((error[plain] == 0).sum()),
            )
        )
    columns = (
        "simulator and standard",
        "cases",
        "exact",
        "clocks_median_percent",
        "clocks_worst_percent",
        "counts_worst_percent",
        "logs",
        "logs equal",
        "pairs",
        "pairs equal",
    )
    return pd.DataFrame(rows, columns=list(columns))


@dataclass(frozen=True, kw_only=True)
class _Case:
    """One line of cases.csv. counts: command name -> how often it was issued."""

    case: str
    config: str
    trace: str
    window: int
    cycles: int
    latency: str
    last_data: str
    row_hits: int
    traced: bool
    counts: dict[str, int]


class _Configs:
    """The configurations of a folder, each read once."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder / "configs"
        self._read: dict[str, ReferenceConfig | str] = {}

    def get(self, name: str) -> tuple[ReferenceConfig | str, bool]:
        """A configuration, or why it is not supported; and whether it is the first time it is asked for."""
        new = name not in self._read
        if new:
            path = self.folder / f"{name}.json"
            try:
                self._read[name] = read_config(path)
            except SpecError as error:
                self._read[name] = str(error).removeprefix(f"{path}: ")
        return self._read[name], new


SIMULATORS = {"A": "Ramulator 2.1", "B": "DRAMsim3", "C": "DRAMSys 5.1"}


def holds_cases(folder: Path) -> bool:
    """Whether this is a folder of DRAM cases."""
    return (folder / "cases.csv").is_file()


def dram_rows(folder: Path) -> Iterator[tuple[*Row, str]]:
    """Rows (case, quantity, ours, reference, error, simulator and standard) of every case and pair."""

    @cache
    def requests(path: Path, burst_bytes: int) -> Requests:
        return read_requests(path, burst_bytes)

    configs = _Configs(folder)
    for case in _cases(folder / "cases.csv"):
        config, new = configs.get(case.config)
        if isinstance(config, str):
            if new:
                yield *unsupported(case.config, config), case.config
            continue
        group = _group(config)
        trace = _file(folder / "traces", case.trace)
        if trace is None:
            yield *unsupported(case.case, f"no trace {case.trace!r} in traces/"), group
            continue
        for row in _compare(folder, case, config, requests(trace, config.burst_bytes)):
            yield *row, group
    yield from _pairs(folder, configs)


def _group(config: ReferenceConfig) -> str:
    return f"{SIMULATORS[config.model]}, {config.standard}"


def _file(folder: Path, name: str) -> Path | None:
    for path in (folder / f"{name}.csv.gz", folder / f"{name}.csv"):
        if path.is_file():
            return path
    return None


def _cases(path: Path) -> list[_Case]:
    cases = []
    with open(path, encoding="utf-8", newline="") as file:
        lines = csv.DictReader(file)
        for key in _CASE_KEYS:
            if key not in (lines.fieldnames or ()):
                raise SpecError(
                    f"{path}:1: no column {key!r}; the header is {','.join(lines.fieldnames or ())!r}"
                )
        for held in lines:
            try:
                case = _Case(
                    case=held["case"],
                    config=held["config"],
                    trace=held["trace"],
                    window=int(held["window"]),
                    cycles=int(held["cycles"]),
                    latency=held["avg_read_latency"],
                    last_data=held.get("last_data_cmd_cycle") or "",
                    row_hits=int(held["data_cmds_row_hit"]),
                    traced=_yes(held["command_trace"]),
                    counts={
                        key[2:]: int(value) for key, value in held.items() if key.startswith("n_") and value
                    },
                )
                if case.latency:
                    float(case.latency)
                if case.last_data:
                    int(case.last_data)
            except (TypeError, ValueError, AttributeError) as error:
                raise SpecError(f"{path}:{lines.line_num}: {error}") from None
            cases.append(case)
    return cases


def _yes(text: str) -> bool:
    if text.lower() not in ("true", "false"):
        raise ValueError(f"command_trace={text!r}; wanted True or False")
    return text.lower() == "true"


def _run(config: ReferenceConfig, requests: Requests, window: int, log_rows: int = 0) -> Replayed:
    return config.run(requests.arrive, requests.write, requests.address, window, log_rows)


def _compare(folder: Path, case: _Case, config: ReferenceConfig, requests: Requests) -> Iterator[Row]:
    run = _run(config, requests, case.window)
    yield comparison(case.case, "cycles", run.cycles, case.cycles)
    reads = requests.write == 0
    if case.latency and reads.any():
        digits = len(case.latency.partition(".")[2])
        latency = round(float((run.done - run.accepted)[reads].mean()), digits)
        yield comparison(case.case, "avg_read_latency", latency, float(case.latency))
    others = [name for name, theirs in case.counts.items() if theirs and name not in _theirs(config)]
    for name in (*_theirs(config), *others):
        ours = run.counts.get(_ours(name), 0)
        yield comparison(case.case, f"n_{name}", ours, case.counts.get(name, 0))
    yield comparison(case.case, "data_cmds_row_hit", run.row_hits, case.row_hits)
    if case.last_data and isinstance(config.controller, BankQueues):  # writes go on after their completion
        kept = _run(config, requests, case.window, sum(run.counts.values())).log
        data = kept.loc[kept["command"].isin(DATA), "clock"] if kept is not None else pd.Series(dtype=int)
        yield comparison(
            case.case, "last_data_cmd_cycle", int(data.max()) if len(data) else -1, int(case.last_data)
        )
    if not case.traced:
        return
    name = case.case.removeprefix(f"{case.config}/")
    times = _file(folder / "requests" / case.config, name)
    if times is None:
        yield unsupported(case.case, f"no times of requests in requests/{case.config}/")
    else:
        held = _table(times, ("index", "accept", "done")).set_index("index").reindex(range(len(requests)))
        for key, clocks in (("accept", run.accepted), ("done", run.done)):
            yield comparison(case.case, f"{key}_mismatches", int((held[key].to_numpy() != clocks).sum()), 0)
    commands = _file(folder / "commands" / case.config, name)
    if commands is None:
        yield unsupported(case.case, f"no commands in commands/{case.config}/")
        return
    logged = _run(config, requests, case.window, sum(run.counts.values()))
    log, wanted = _commands(logged, config), _reference_commands(commands, config)
    differ = max((log - wanted).total(), (wanted - log).total())
    yield comparison(case.case, "command_mismatches", differ, 0)


def _theirs(config: ReferenceConfig) -> tuple[str, ...]:
    """The device's commands as the reference writes them: an activate in one piece is ACT."""
    return tuple("ACT" if name == "ACT1" and not config.split_activate else name for name in config.commands)


def _ours(name: str) -> str:
    return COMMANDS[CODE[name]] if name in CODE else name


def _commands(run: Replayed, config: ReferenceConfig) -> Counter[tuple[object, ...]]:
    """Our command log as a multiset of (cycle, command, rank, bankgroup, bank, row, column), -1 for none."""
    assert run.log is not None
    log = run.log.rename(columns={"clock": "cycle"})
    if not config.split_activate:
        log["command"] = log["command"].replace("ACT1", "ACT")
    return Counter(log[list(_LOG_FIELDS)].itertuples(index=False, name=None))


def _reference_commands(path: Path, config: ReferenceConfig) -> Counter[tuple[object, ...]]:
    """The reference's log in our coordinates: pseudo channels are ranks, groups count over stack levels."""
    log = _table(path, ("cycle", "command"))
    pseudo = "pseudochannel" in log.columns
    if not pseudo and "rank" not in log.columns:  # a device without ranks
        log["rank"] = 0
    if "bankgroup" not in log.columns:  # one without bank groups: ours counts one
        log["bankgroup"] = np.where(log["bank"].isna(), np.nan, 0) if "bank" in log.columns else np.nan
    _wanted(path, log, _PSEUDO_FIELDS if pseudo else _LOG_FIELDS)
    log = log.rename(columns={"pseudochannel": "rank"})
    numbers = [field for field in _LOG_FIELDS if field != "command"]
    log[numbers] = log[numbers].fillna(-1).astype(np.int64)
    if "sid" in log.columns:
        sids = int(config.cfg[engine.C_SIDS])
        sid = log["sid"].fillna(0).astype(np.int64)
        log["bankgroup"] += np.where(log["bankgroup"] >= 0, sid * (config.geometry.bank_groups // sids), 0)
    return Counter(log[list(_LOG_FIELDS)].itertuples(index=False, name=None))


def _table(path: Path, columns: tuple[str, ...]) -> pd.DataFrame:
    """A CSV file that must have `columns`."""
    try:
        frame = pd.read_csv(path)
    except (OSError, EOFError, ValueError) as error:
        raise SpecError(f"{path}: cannot be read: {error}") from None
    _wanted(path, frame, columns)
    return frame


def _wanted(path: Path, frame: pd.DataFrame, columns: tuple[str, ...]) -> None:
    for name in columns:
        if name not in frame.columns:
            raise SpecError(f"{path}:1: no column {name!r}{suggest(name, map(str, frame.columns))}")


# Distances of two commands


def _pairs(folder: Path, configs: _Configs) -> Iterator[tuple[*Row, str]]:
    """Smallest distance of two commands on an idle device, by the rules of the file and by our own."""
    files = sorted((folder / "pairs").glob("*.csv"))
    for path in files:
        config = _family(path.stem, [other.stem for other in files], configs)
        if isinstance(config, str):
            yield *unsupported(f"pairs/{path.stem}", config), path.stem
            continue
        group = _group(config)
        tables = {"min_gap_cycles": config.table}
        part = config.part
        if part is not None:
            tables["min_gap_cycles by our rules"] = compile_rules(rules_of(part))
        pairs = _table(path, ("relation", "first", "then", "min_gap_cycles"))
        for quantity, table in tables.items():
            for relation, first, then, theirs in pairs[
                ["relation", "first", "then", "min_gap_cycles"]
            ].itertuples(index=False, name=None):
                case = f"pairs/{path.stem}/{relation} {first} {then}"
                ours = _gap(config, table, relation, first, then)
                if ours is None:
                    yield *unsupported(case, f"{quantity}: no such pair in this device"), group
                else:
                    defect = _defect(config.standard, relation, first, then)
                    yield *comparison(case, quantity + defect, ours, theirs), group


def _family(stem: str, stems: list[str], configs: _Configs) -> ReferenceConfig | str:
    """A supported configuration of the family that a pair file is about, or why there is none.

    "x.csv" is about the configurations "x" and "x_...", unless a file with a longer name claims them.
    """
    longer = [other for other in stems if other.startswith(f"{stem}_")]
    reason = "no configuration of this family in configs/"
    for path in sorted([*configs.folder.glob(f"{stem}.json"), *configs.folder.glob(f"{stem}_*.json")]):
        if any(path.stem == other or path.stem.startswith(f"{other}_") for other in longer):
            continue
        config, _ = configs.get(path.stem)
        if isinstance(config, ReferenceConfig):
            return config
        reason = config
    return reason


def _gap(config: ReferenceConfig, table: RuleTable, relation: str, first: str, then: str) -> int | None:
    """Clocks from `first` at clock 0 to the earliest `then`, at least 1: one command a clock."""
    g, sids = config.geometry, int(config.cfg[engine.C_SIDS])
    other = {
        "same_bank": 0,
        "other_bank_same_bankgroup": 1 if g.banks_per_group > 1 else None,
        "other_bankgroup": g.banks_per_group if g.bank_groups > sids else None,
        "other_rank": g.banks if g.ranks > 1 else None,
        "other_pseudochannel": g.banks if g.ranks > 1 else None,
        "other_sid": g.banks // sids if sids > 1 else None,
    }.get(relation)
    if other is None or first not in CODE or then not in CODE:
        return None
    channel = engine.make_channels(1, config.cfg, table.first, table.rows, table.rings)
    whole_rank = ("PREA", "REFAB")
    engine.put(channel, 0, 0, CODE[first], 0, -1 if first in whole_rank else 0, -1, -1)
    rank, bank = other // g.banks, -1 if then in whole_rank else other
    return max(1, int(engine.earliest(channel, 0, CODE[then], rank, bank)))


def _defect(standard: str, relation: str, first: str, then: str) -> str:
    for where, how, before, after, text in PEER_DEFECTS:
        relations = ("*", relation, "other_rank" if relation == "other_rank" else "same_rank")
        if where in ("*", standard) and how in relations and first in before and then in after:
            return f", documented defect of the reference: {text}"
    return ""
