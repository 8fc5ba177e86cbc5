"""What a run gave: spans, counters, capacity, a summary, and the manifest to repeat it from.

On disk a result is a folder of CSV tables and `result.json`. The same result is the same bytes:
floats are written with `repr`, lines end in one newline, nothing depends on the date or the machine.
Reading a folder checks every name, type and number and runs nothing.
"""

from __future__ import annotations

import csv
import dataclasses
import enum
import hashlib
import importlib.metadata
import io
import json
import math
import os
import platform
import re
import shutil
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from pimsim import notebook
from pimsim.errors import PimsimError, suggest

SCHEMA = "pimsim.result"
VERSION = 1
MARKER = "result.json"

COLUMNS: dict[str, dict[str, type]] = {
    "spans": {
        "task": str,
        "kind": str,
        "phase": str,
        "layer": int,
        "engine": str,
        "start_ps": int,
        "end_ps": int,
    },
    "counters": {"component": str, "statistic": str, "value": float, "unit": str},
    "capacity": {"region": str, "attribute": str, "item": str, "kind": str, "bytes": int},
}
"""The tables of a result: column -> type; int is int64, float is float64. Layer -1 means none."""

OPTIONAL: dict[str, dict[str, type]] = {
    "traffic": {
        "start_ps": int,
        "end_ps": int,
        "channel": int,
        "read_bytes": int,
        "written_bytes": int,
        "pim_bytes": int,
        "outstanding": int,
    },
    "activity": {
        "start_ps": int,
        "end_ps": int,
        "channel": int,
        "bank": int,
        "activates": int,
        "reads": int,
        "writes": int,
        "pim": int,
    },
}
"""Tables that a result may lack; they are saved only where they have rows.

traffic: what crossed the pins of the DRAM between two times. channel -1: all channels together, evenly.
pim_bytes: what PIM units read inside their banks. outstanding: bursts that the running streams may have in
flight at most, over all channels. activity: commands of each bank, counted in equal times.
"""

SUMMARY: dict[str, type] = {
    "model": str,
    "method": str,
    "system": str,
    "prompt": int,
    "tokens": int,
    "ttft_s": float,
    "tpot_s": float,
    "total_s": float,
    "capacity_bytes": dict,
}
"""The fields every summary has; it may have more. `tpot_s` is None where one token was made."""


class ResultError(PimsimError):
    """A result contradicts itself, or its folder cannot be read or written."""


def table(which: str, rows: Iterable[Sequence[object]]) -> pd.DataFrame:
    """A table of a result from its rows: `which` names it, each row has its columns in order."""
    columns = _columns(which)
    held = [tuple(row) for row in rows]
    for number, row in enumerate(held):
        if len(row) != len(columns):
            raise ResultError(f"{which} row {number}: {len(row)} values for the columns {', '.join(columns)}")
    data = {}
    for index, (name, kind) in enumerate(columns.items()):
        values = [row[index] for row in held]
        data[name] = pd.Series(values, dtype=_dtype(kind))
    return pd.DataFrame(data, columns=list(columns))


def capacity_bytes(capacity: pd.DataFrame) -> dict[str, int]:
    """Bytes by region, in order of first appearance, and their `total`."""
    sums: dict[str, int] = {}
    for region, size in zip(capacity["region"], capacity["bytes"], strict=True):
        sums[str(region)] = sums.get(str(region), 0) + int(size)
    return sums | {"total": sum(sums.values())}


def breakdown(spans: pd.DataFrame) -> pd.DataFrame:
    """Busy time by phase, engine and kind of operator.

    spans: the table of a result.
    returns: columns phase, engine, kind, seconds; phases lose their index, so that
    `decode[0]` and `decode[1]` are one phase. Engines work at the same time: their times add up to
    more than the run took.
    """
    busy = pd.DataFrame(
        {
            "phase": [re.split(r"[\[:\s]", str(p), maxsplit=1)[0] for p in spans["phase"]],
            "engine": [str(e) for e in spans["engine"]],
            "kind": [str(k) for k in spans["kind"]],
            "ps": spans["end_ps"].to_numpy() - spans["start_ps"].to_numpy(),
        }
    )
    sums = busy.groupby(["phase", "engine", "kind"], sort=False, as_index=False)["ps"].sum()
    named: pd.DataFrame = sums.assign(seconds=sums["ps"] / 1e12).drop(columns="ps")
    return named


def digest(value: object) -> str:
    """SHA-256 (64 hex digits) of a plain value: dataclasses, enums, dicts, lists, arrays, numbers, text."""
    text = json.dumps(_plain(value), sort_keys=True, separators=(",", ":"), ensure_ascii=True)
    return hashlib.sha256(text.encode()).hexdigest()


def manifest(
    *, parts: Mapping[str, object], trace_digest: str, settings: Mapping[str, object], seed: int = 0
) -> dict[str, Any]:
    """What is needed to repeat a run: versions, the digest of every part and of the trace, settings.

    parts: name -> table (any value that `digest` takes). settings: plain values. There is no date, host
    name or path in it, so equal runs have equal manifests.
    """
    return {
        "pimsim": _version("pimsim"),
        "python": platform.python_version(),
        "numpy": np.__version__,
        "numba": _version("numba"),
        "parts": {name: digest(part) for name, part in parts.items()},
        "trace": trace_digest,
        "settings": {name: _plain(value) for name, value in settings.items()},
        "seed": seed,
    }


@dataclass(frozen=True, kw_only=True)
class Result:
    """A finished run. The tables have the columns of `COLUMNS`, the summary the fields of `SUMMARY`.

    spans: what ran where and when, integer picoseconds from the start of the run.
    counters: what the components counted.
    capacity: who holds how many bytes of which region; the summary holds its sums.
    manifest: what is needed to repeat the run (see `manifest`).
    traffic, activity: see `OPTIONAL`; without rows where they were not recorded.
    """

    spans: pd.DataFrame
    counters: pd.DataFrame
    capacity: pd.DataFrame
    summary: dict[str, Any]
    manifest: dict[str, Any]
    traffic: pd.DataFrame = field(default_factory=lambda: table("traffic", []))
    activity: pd.DataFrame = field(default_factory=lambda: table("activity", []))

    def __post_init__(self) -> None:
        for which in (*COLUMNS, *OPTIONAL):
            _check_table(which, getattr(self, which))
        _check_summary(self.summary)
        held = capacity_bytes(self.capacity)
        said = self.summary["capacity_bytes"]
        if said != held:
            raise ResultError(f"summary capacity_bytes {said} differs from the capacity table: {held}")
        for name in ("summary", "manifest"):
            try:
                json.dumps(getattr(self, name), allow_nan=False)
            except (TypeError, ValueError) as problem:
                raise ResultError(f"{name}: {problem}; plain finite JSON values are wanted") from None

    def _repr_html_(self) -> str:
        """In a notebook: the summary, and which tables there are."""
        said = self.summary
        tpot = said["tpot_s"]
        rows: list[tuple[str, object]] = [
            ("model", f"{said['model']}, prompt {said['prompt']}, {said['tokens']} tokens"),
            ("system", said["system"]),
            ("method", said["method"]),
            ("time to first token", f"{said['ttft_s']:.4g} s"),
            ("time per further token", "-" if tpot is None else f"{tpot * 1e3:.4g} ms"),
            ("total", f"{said['total_s']:.4g} s"),
            *((f"memory, {n}", f"{size / 1e9:.4g} GB") for n, size in said["capacity_bytes"].items()),
        ]
        held = [f"{which} ({len(getattr(self, which)):,} rows)" for which in (*COLUMNS, *OPTIONAL)]
        return notebook.card("Result", rows, f"tables: {', '.join(held)}")

    def to_frame(self, which: str) -> pd.DataFrame:
        """A copy of a table (`COLUMNS`, `OPTIONAL`); or "summary" (one row) or "breakdown" (busy time)."""
        if which == "summary":
            flat = {name: value for name, value in self.summary.items() if name != "capacity_bytes"}
            for region, size in self.summary["capacity_bytes"].items():
                flat[f"capacity_{region}_bytes"] = size
            return pd.DataFrame([flat])
        if which == "breakdown":
            return breakdown(self.spans)
        known = [*COLUMNS, *OPTIONAL]
        if which not in known:
            raise ResultError(
                f"a result has no table {which!r}{suggest(which, [*known, 'summary', 'breakdown'])}"
            )
        frame: pd.DataFrame = getattr(self, which)
        return frame.copy()

    def to_json(self) -> str:
        """One JSON object: the fields of the summary, and `manifest`."""
        return json.dumps(self.summary | {"manifest": self.manifest}, indent=2, ensure_ascii=False)

    def save(self, folder: str | Path, add: Callable[[Path], None] | None = None) -> None:
        """Write the result as `folder`, whole or not at all.

        add: writes more files (figures, a timeline) into the folder it is given, before that folder
        takes its final name. A folder that is there already is replaced if it is a result and holds
        nothing else; any other is refused.
        """

        held = [*COLUMNS, *(which for which in OPTIONAL if len(getattr(self, which)))]

        def fill(here: Path) -> None:
            for which in held:
                (here / f"{which}.csv").write_bytes(csv_bytes(getattr(self, which)))
            if add is not None:
                add(here)

        head = {
            "schema": SCHEMA,
            "version": VERSION,
            "summary": self.summary,
            "manifest": self.manifest,
            "rows": {which: len(getattr(self, which)) for which in held},
        }
        write_folder(folder, fill, marker=MARKER, head=head)

    @classmethod
    def load(cls, folder: str | Path) -> Result:
        """The result that `save` wrote as `folder`; every error names file and line."""
        path = Path(folder)
        if not path.is_dir():
            raise ResultError(f"{path}: no such folder")
        head = _read_head(path / MARKER)
        known = COLUMNS | OPTIONAL
        for which in head["rows"]:
            if which not in known:
                raise ResultError(f"{path / MARKER}: rows: no table {which!r}{suggest(which, known)}")
        held = [*COLUMNS, *(which for which in OPTIONAL if which in head["rows"])]
        tables = {which: _read_table(path / f"{which}.csv", which) for which in held}
        for which, frame in tables.items():
            if head["rows"].get(which) != len(frame):
                raise ResultError(
                    f"{path / which}.csv: {len(frame)} rows, but {MARKER} says {head['rows'].get(which)}"
                )
        try:
            return cls(**tables, summary=head["summary"], manifest=head["manifest"])
        except ResultError as problem:
            raise ResultError(f"{path}: {problem}") from None


# Files: whole or not at all, and the same bytes every time.


def csv_bytes(frame: pd.DataFrame) -> bytes:
    """`frame` as CSV: UTF-8, a header line, floats by `repr`, missing values empty, newline line ends."""
    columns = [[_cell(value) for value in frame[name].tolist()] for name in frame.columns]
    rows = [[_quoted(str(name)) for name in frame.columns], *zip(*columns, strict=True)]
    return "".join(",".join(row) + "\n" for row in rows).encode()


def write_file(path: str | Path, data: bytes) -> None:
    """Write a file whole or not at all: under another name first, then renamed."""
    path = Path(path)
    draft = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    try:
        draft.write_bytes(data)
        os.replace(draft, path)
    except OSError as problem:
        raise ResultError(f"{path}: cannot be written: {problem.strerror}") from None
    finally:
        draft.unlink(missing_ok=True)


def write_folder(
    folder: str | Path, fill: Callable[[Path], None], *, marker: str, head: Mapping[str, Any]
) -> None:
    """Write a folder whole or not at all.

    fill: writes the files into the empty folder it is given.
    marker, head: a JSON file of that name is added, which holds `head` and the list of files; by it a
    later call knows a folder that it may replace.
    """
    path = Path(folder).resolve()
    check_folder(path, marker)
    draft = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    old = path.with_name(f".{path.name}.{os.getpid()}.old")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        draft.mkdir()
        fill(draft)
        files = sorted([file.name for file in draft.iterdir()] + [marker])
        text = json.dumps(dict(head) | {"files": files}, indent=2, ensure_ascii=False, allow_nan=False)
        (draft / marker).write_bytes(text.encode() + b"\n")
        if path.exists():
            path.rename(old)
        draft.rename(path)
    except OSError as problem:
        raise ResultError(f"{path}: cannot be written: {problem.strerror or problem}") from None
    finally:
        if old.exists() and not path.exists():
            old.rename(path)
        shutil.rmtree(draft, ignore_errors=True)
        shutil.rmtree(old, ignore_errors=True)


def check_folder(folder: str | Path, marker: str = MARKER) -> None:
    """Refuse a folder that `write_folder` must not replace: call it before a long run."""
    path = Path(folder).resolve()
    if not path.exists():
        return
    if not path.is_dir():
        raise ResultError(f"{path}: is a file; a folder is wanted")
    if path == Path.cwd():
        raise ResultError(f"{path}: is the current folder; give one that can be replaced")
    held = {file.name for file in path.iterdir()}
    if not held:
        return
    wanted = "give another folder or remove it first"
    if marker not in held:
        raise ResultError(f"{path}: holds files but no {marker}, so pimsim did not write it; {wanted}")
    known = read_json(path / marker).get("files")
    if not isinstance(known, list):
        raise ResultError(f"{path / marker}: no list `files`, so pimsim did not write it; {wanted}")
    strange = sorted(held - {str(name) for name in known})
    if strange:
        raise ResultError(f"{path}: holds {strange[0]!r}, which pimsim did not write; {wanted}")


def read_json(path: Path) -> dict[str, Any]:
    """The JSON object in a file; errors name file, line and column."""

    def unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
        held: dict[str, Any] = {}
        for key, value in pairs:
            if key in held:
                raise ValueError(f"the key {key!r} appears twice")
            held[key] = value
        return held

    def no_constant(name: str) -> None:
        raise ValueError(f"{name} is not a number of JSON")

    text = _read_text(path)
    try:
        value = json.loads(text, object_pairs_hook=unique, parse_constant=no_constant)
    except json.JSONDecodeError as problem:
        raise ResultError(f"{path}:{problem.lineno}:{problem.colno}: {problem.msg}") from None
    except (ValueError, RecursionError) as problem:
        raise ResultError(f"{path}: {problem}") from None
    if not isinstance(value, dict):
        raise ResultError(f"{path}:1: an object is wanted, not {type(value).__name__}")
    return value


# Checks of what is in memory.


def _columns(which: str) -> dict[str, type]:
    known = COLUMNS | OPTIONAL
    if which not in known:
        raise ResultError(f"a result has no table {which!r}{suggest(which, known)}")
    return known[which]


def _dtype(kind: type) -> str:
    return {str: "str", int: "int64", float: "float64"}[kind]


def _check_table(which: str, frame: pd.DataFrame) -> None:
    columns = _columns(which)
    if list(frame.columns) != list(columns):
        raise ResultError(f"{which}: columns {list(frame.columns)}; wanted are {list(columns)}")
    for name, kind in columns.items():
        series = frame[name]
        if kind is str:
            bad = [value for value in series.tolist() if not isinstance(value, str)]
            if bad:
                raise ResultError(f"{which}.{name}: {bad[0]!r} is not text")
        elif str(series.dtype) != _dtype(kind):
            raise ResultError(f"{which}.{name}: type {series.dtype}; wanted is {_dtype(kind)}")
    if "start_ps" in columns:
        start, end = frame["start_ps"].to_numpy(), frame["end_ps"].to_numpy()
        wrong = np.flatnonzero((start < 0) | (end < start))
        if wrong.size:
            row = int(wrong[0])
            what = f" ({frame['task'].iloc[row]})" if "task" in columns else ""
            raise ResultError(f"{which} row {row}{what}: runs {start[row]}..{end[row]} ps")
    for name in [] if which in COLUMNS else [*columns][3:]:
        wrong = np.flatnonzero(frame[name].to_numpy() < 0)
        if wrong.size:
            raise ResultError(f"{which} row {int(wrong[0])}: {name} is negative")
    if which == "counters":
        wrong = np.flatnonzero(~np.isfinite(frame["value"].to_numpy()))
        if wrong.size:
            name = "/".join(frame[["component", "statistic"]].iloc[int(wrong[0])])
            raise ResultError(f"counters row {int(wrong[0])} ({name}): the value is not finite")
    if which == "capacity":
        wrong = np.flatnonzero(frame["bytes"].to_numpy() < 0)
        if wrong.size:
            name = frame["item"].iloc[int(wrong[0])]
            raise ResultError(f"capacity row {int(wrong[0])} ({name}): negative bytes")


def _check_summary(summary: Mapping[str, Any]) -> None:
    for name, kind in SUMMARY.items():
        if name not in summary:
            raise ResultError(f"summary: {name} is missing")
        value = summary[name]
        if name == "tpot_s" and value is None:
            continue
        if kind is float:
            fits = isinstance(value, int | float) and not isinstance(value, bool)
            fits = fits and math.isfinite(value) and value >= 0
        elif kind is int:
            fits = isinstance(value, int) and not isinstance(value, bool) and value > 0
        else:
            fits = isinstance(value, kind)
        if not fits:
            raise ResultError(f"summary: {name}={value!r} is not a valid {kind.__name__}")


# Reading.


def _read_text(path: Path) -> str:
    try:
        return path.read_bytes().decode()
    except OSError as problem:
        raise ResultError(f"{path}: cannot be read: {problem.strerror}") from None
    except UnicodeDecodeError as problem:
        raise ResultError(f"{path}: byte {problem.start} is not UTF-8") from None


def _read_head(path: Path) -> dict[str, Any]:
    head = read_json(path)
    if head.get("schema") != SCHEMA:
        raise ResultError(f"{path}: schema {head.get('schema')!r}; wanted is {SCHEMA!r}")
    if head.get("version") != VERSION or isinstance(head.get("version"), bool):
        raise ResultError(f"{path}: version {head.get('version')!r}; this pimsim reads version {VERSION}")
    known = {"schema": str, "version": int, "summary": dict, "manifest": dict, "rows": dict, "files": list}
    for name in head:
        if name not in known:
            raise ResultError(f"{path}: unknown key {name!r}{suggest(name, known)}")
    for name, kind in known.items():
        if not isinstance(head.get(name), kind):
            raise ResultError(f"{path}: {name} is missing or no {kind.__name__}")
    return head


def _read_table(path: Path, which: str) -> pd.DataFrame:
    columns = _columns(which)
    text = _read_text(path)
    if not text.endswith("\n"):
        raise ResultError(f"{path}:{text.count(chr(10)) + 1}: the file ends within a line; was it cut off?")
    reader = csv.reader(io.StringIO(text, newline=""), strict=True)
    rows: list[list[str]] = []
    lines: list[int] = []
    try:
        header = next(reader)
        if header != list(columns):
            raise ResultError(f"{path}:1: columns {','.join(header)}; wanted are {','.join(columns)}")
        for cells in reader:
            if len(cells) != len(columns):
                raise ResultError(f"{path}:{reader.line_num}: {len(cells)} values for {len(columns)} columns")
            rows.append(cells)
            lines.append(reader.line_num)
    except csv.Error as problem:
        raise ResultError(f"{path}:{reader.line_num}: {problem}") from None
    held = list(zip(*rows, strict=True)) if rows else [() for _ in columns]
    try:
        data = {n: _column(cells, kind) for cells, (n, kind) in zip(held, columns.items(), strict=True)}
    except (ValueError, OverflowError):  # some cell is wrong: look at them one by one, for its line
        for line, cells in zip(lines, rows, strict=True):
            for cell, (name, kind) in zip(cells, columns.items(), strict=True):
                _parse(cell, kind, f"{path}:{line}: {name}")
        raise
    return pd.DataFrame(data, columns=list(columns))


def _column(cells: Sequence[str], kind: type) -> pd.Series[Any]:
    """The cells of a column; ValueError or OverflowError where `_parse` refuses one."""
    if kind is int and not re.fullmatch(r"(?:-?[0-9]{1,19}\n)*", "".join(f"{cell}\n" for cell in cells)):
        raise ValueError
    values = cells if kind is str else np.array(list(map(kind, cells)), _dtype(kind))
    if kind is float and not np.isfinite(values).all():
        raise ValueError
    return pd.Series(values, dtype=_dtype(kind))


def _parse(cell: str, kind: type, where: str) -> object:
    if kind is str:
        return cell
    if kind is int:
        if re.fullmatch(r"-?[0-9]{1,19}", cell) and -(2**63) <= int(cell) < 2**63:
            return int(cell)
        raise ResultError(f"{where}: {cell!r} is not a 64-bit integer")
    try:
        value = float(cell)
    except ValueError:
        value = math.nan
    if not math.isfinite(value):
        raise ResultError(f"{where}: {cell!r} is not a finite number")
    return value


# Plain values.


def _cell(value: object) -> str:
    if value is None or value is pd.NA or value is pd.NaT:
        return ""
    if isinstance(value, float):
        return "" if math.isnan(value) else repr(float(value))
    return _quoted(str(value))


def _quoted(text: str) -> str:
    """One CSV cell (RFC 4180); unlike `csv.writer` in all Pythons, a lone carriage return is quoted."""
    if any(letter in text for letter in ',"\r\n'):
        return '"' + text.replace('"', '""') + '"'
    return text


def _plain(value: object) -> Any:
    """`value` as JSON types, with the type name of every dataclass; anything else is refused."""
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        fields = {field.name: _plain(getattr(value, field.name)) for field in dataclasses.fields(value)}
        return {"type": type(value).__name__} | fields
    if isinstance(value, enum.Enum):
        return value.name
    if isinstance(value, Mapping):
        return {str(key): _plain(held) for key, held in value.items()}
    if isinstance(value, frozenset | set):
        return sorted((_plain(held) for held in value), key=repr)
    if isinstance(value, tuple | list):
        return [_plain(held) for held in value]
    if isinstance(value, np.ndarray):
        return [str(value.dtype), value.tolist()]
    if isinstance(value, np.generic):
        return value.item()
    if value is None or isinstance(value, bool | int | float | str):
        return value
    if callable(value) and hasattr(value, "__qualname__"):
        return f"{value.__module__}.{value.__qualname__}"
    raise ResultError(f"{type(value).__name__} {value!r} has no digest; plain values and dataclasses have")


def _version(package: str) -> str:
    try:
        return importlib.metadata.version(package)
    except importlib.metadata.PackageNotFoundError:
        return "unknown"
