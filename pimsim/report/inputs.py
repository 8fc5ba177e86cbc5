"""What a page is made of: saved runs, saved reports of experiments, tables of sweeps."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pandas as pd

from pimsim.errors import suggest
from pimsim.report import report as reports
from pimsim.report.explain import label
from pimsim.result import MARKER, Result, ResultError, read_json

STORE = "results.sqlite"
"""The store of a sweep in its folder."""


@dataclass(frozen=True, kw_only=True)
class SavedReport:
    """A report that `pimsim reproduce --out` wrote: its question, checks, tables, limits and figures."""

    name: str
    question: str
    checks: pd.DataFrame
    tables: dict[str, pd.DataFrame]
    leaves_out: tuple[str, ...]
    figures: tuple[Path, ...]


@dataclass(frozen=True, kw_only=True)
class Inputs:
    """runs: name -> result, names unlike each other; frames: title -> table, as of a sweep."""

    runs: dict[str, Result] = field(default_factory=dict)
    reports: tuple[SavedReport, ...] = ()
    frames: dict[str, pd.DataFrame] = field(default_factory=dict)


def read_inputs(paths: Iterable[Path]) -> Inputs:
    """Read folders of runs, reports and sweeps; a folder that holds such folders stands for all of them.

    A sweep is its folder or its store (.sqlite); the table of its points is a frame.
    """
    found: list[tuple[Path, Result]] = []
    read: list[SavedReport] = []
    frames: dict[str, pd.DataFrame] = {}
    for folder in (each for path in paths for each in _folders(path)):
        if folder.is_file() or (folder / STORE).exists():
            frames[f"Sweep {folder}"] = _sweep(folder if folder.is_file() else folder / STORE)
        elif (folder / MARKER).exists():
            found.append((folder, Result.load(folder)))
        else:
            read.append(_report(folder))
    return Inputs(runs=_named(found), reports=tuple(read), frames=frames)


def _folders(path: Path) -> Iterator[Path]:
    markers = (MARKER, reports.MARKER, STORE)
    if path.is_file() and path.suffix == ".sqlite":
        yield path
        return
    if not path.is_dir():
        near = suggest(path.name, [p.name for p in path.parent.iterdir()]) if path.parent.is_dir() else ""
        raise ResultError(f"{path}: no such folder{near}")
    if any((path / marker).exists() for marker in markers):
        yield path
        return
    below = [p for p in sorted(path.iterdir()) if any((p / marker).exists() for marker in markers)]
    if not below:
        raise ResultError(
            f"{path}: holds neither a run ({MARKER}, from pimsim run --out) nor a report "
            f"({reports.MARKER}, from pimsim reproduce --out) nor a sweep ({STORE}), nor folders of such"
        )
    yield from below


def _sweep(path: Path) -> pd.DataFrame:
    """The points of a store; columns that say the same of all of them are left out."""
    from pimsim.sweep import Store, table

    with Store.open(path) as store:
        frame = table(store)
    if len(frame) < 2:
        return frame
    differ = [name for name in frame.columns if frame[name].astype(str).nunique() > 1]
    return frame[differ] if differ else frame


def _named(found: list[tuple[Path, Result]]) -> dict[str, Result]:
    """Runs by the shortest name that tells them apart: the method, all of the label, or the folder."""
    for name in (
        lambda path, run: str(run.summary["method"]),
        lambda path, run: label(run),
        lambda path, run: path.name,
        lambda path, run: str(path),
    ):
        names = [name(path, run) for path, run in found]
        if len(set(names)) == len(names):
            return dict(zip(names, (run for _, run in found), strict=True))
    raise ResultError(f"the same run is given twice: {', '.join(str(path) for path, _ in found)}")


def _report(folder: Path) -> SavedReport:
    path = folder / reports.MARKER
    head = read_json(path)
    if head.get("schema") != reports.SCHEMA:
        raise ResultError(f"{path}: schema {head.get('schema')!r}; wanted is {reports.SCHEMA!r}")
    wanted: dict[str, type] = {"name": str, "checks": list, "tables": dict}
    for name, kind in wanted.items():
        if not isinstance(head.get(name), kind):
            raise ResultError(f"{path}: {name} is missing or no {kind.__name__}")
    tables = {str(name): _frame(path, name, rows) for name, rows in head["tables"].items()}
    return SavedReport(
        name=head["name"],
        question=str(head.get("question", head["name"])),
        checks=_frame(path, "checks", head["checks"]),
        tables=tables,
        leaves_out=tuple(str(line) for line in head.get("leaves_out", ())),
        figures=tuple(sorted(folder.glob("*.png"))),
    )


def _frame(path: Path, name: str, rows: Any) -> pd.DataFrame:
    if not isinstance(rows, list) or not all(isinstance(row, dict) for row in rows):
        raise ResultError(f"{path}: {name}: a list of objects is wanted, one a row")
    return pd.DataFrame(rows)
