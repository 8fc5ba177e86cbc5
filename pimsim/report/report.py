"""What an experiment returns: its question, tables, checks, figures, timelines and what it leaves out."""

from __future__ import annotations

import dataclasses
import json
import math
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from pimsim.checks import Check, Tolerance, checks_frame
from pimsim.errors import SpecError
from pimsim.report.tables import checks_text, frame_text
from pimsim.report.timeline import write_perfetto
from pimsim.result import csv_bytes, read_json, write_folder

if TYPE_CHECKING:
    from matplotlib.figure import Figure

MARKER = "report.json"
SCHEMA = "pimsim.report"


@dataclass(frozen=True, kw_only=True)
class Report:
    """The answer of one experiment.

    name: short, also the name of its folder. question: one line.
    tables: name -> table, units in the column names. checks: ours beside the expected.
    figures: name -> function that draws it, called only where figures are wanted.
    leaves_out: what the model does not have, one sentence each.
    spans: name -> spans table (columns as in a result), written as timelines.
    kept: folder that holds this report with its figures and timelines, if it was loaded from there.
    """

    name: str
    question: str
    tables: dict[str, pd.DataFrame]
    checks: list[Check]
    figures: dict[str, Callable[[], Figure]] = field(default_factory=dict)
    leaves_out: tuple[str, ...] = ()
    spans: dict[str, pd.DataFrame] = field(default_factory=dict)
    kept: Path | None = None

    def __post_init__(self) -> None:
        for name in (self.name, *self.tables, *self.figures, *self.spans):
            if not name or name.startswith(".") or any(letter in name for letter in "/\\\0\n"):
                raise SpecError(f"report {self.name!r}: {name!r} cannot name a file")
        if "checks" in self.tables:
            raise SpecError(f"report {self.name!r}: a table must not be named 'checks'")

    def to_json(self) -> dict[str, Any]:
        """`{"checks": [...], "tables": {name: [...]}}`, one object a row; missing values are null."""
        return reports_json([self])


def reports_json(reports: Iterable[Report]) -> dict[str, Any]:
    """The checks and tables of several reports; tables of equal names get the name of their report."""
    held = list(reports)
    names = [name for report in held for name in report.tables]
    tables = {
        (name if names.count(name) == 1 else f"{report.name}/{name}"): records(frame)
        for report in held
        for name, frame in report.tables.items()
    }
    checks = [check for report in held for check in report.checks]
    return {"checks": records(checks_frame(checks)), "tables": tables}


def records(frame: pd.DataFrame) -> list[dict[str, Any]]:
    """One dict a row with plain JSON values; missing and infinite numbers are None."""
    columns = {str(name): [_plain(value) for value in frame[name].tolist()] for name in frame.columns}
    return [dict(zip(columns, row, strict=True)) for row in zip(*columns.values(), strict=True)]


def report_text(report: Report) -> str:
    """The whole report as plain text: question, tables, checks, what the model leaves out."""
    parts = [f"{report.question}\n"]
    parts += [f"{name}\n\n{frame_text(frame)}" for name, frame in report.tables.items()]
    if report.checks:
        parts.append(f"checks\n\n{checks_text(report.checks)}")
    if report.leaves_out:
        parts.append("What the model leaves out\n\n" + "".join(f"- {line}\n" for line in report.leaves_out))
    return "\n".join(parts)


def write_report(report: Report, folder: str | Path) -> None:
    """Write report.txt, the tables and checks as CSV, the figures (PNG, SVG) and the timelines.

    folder: written whole or not at all; an older report there is replaced. A report that was loaded is
    copied from where it was kept.
    """

    def fill(here: Path) -> None:
        if report.kept is not None:
            for file in sorted(report.kept.iterdir()):
                if file.name != MARKER:
                    (here / file.name).write_bytes(file.read_bytes())
            return
        (here / "report.txt").write_bytes(report_text(report).encode())
        for name, frame in report.tables.items():
            (here / f"{name}.csv").write_bytes(csv_bytes(frame))
        (here / "checks.csv").write_bytes(csv_bytes(checks_frame(report.checks)))
        if report.figures:
            from pimsim.report.figures import save

            for name, draw in report.figures.items():
                save(draw(), here / name)
        for name, spans in report.spans.items():
            write_perfetto(spans, None, here / f"timeline_{name}.json.gz")

    head = {
        "schema": SCHEMA,
        "version": 1,
        "name": report.name,
        "question": report.question,
        "leaves_out": list(report.leaves_out),
        "columns": {name: [str(c) for c in frame.columns] for name, frame in report.tables.items()},
        "limits": [dataclasses.asdict(check.tolerance) for check in report.checks],
    } | report.to_json()
    write_folder(folder, fill, marker=MARKER, head=head)


def load_report(folder: str | Path) -> Report:
    """The report that `write_report` wrote into `folder`; its figures and timelines stay files there.

    What is not such a folder is a `SpecError` that says what is wrong.
    """
    path = Path(folder)
    held = read_json(path / MARKER)
    if held.get("schema") != SCHEMA or held.get("version") != 1:
        said = f"schema {held.get('schema')!r}, version {held.get('version')!r}"
        raise SpecError(f"{path / MARKER}: {said}; wanted {SCHEMA!r}, version 1")
    try:
        checks = [
            Check(
                quantity=row["quantity"],
                setting=row["setting"],
                ours=math.nan if row["ours"] is None else row["ours"],
                expected=row["expected"],
                unit=row["unit"],
                tolerance=Tolerance(**limits),
                source=row["source"],
            )
            for row, limits in zip(held["checks"], held["limits"], strict=True)
        ]
        return Report(
            name=held["name"],
            question=held["question"],
            tables={name: _table(rows, held["columns"][name]) for name, rows in held["tables"].items()},
            checks=checks,
            leaves_out=tuple(held["leaves_out"]),
            kept=path.resolve(),
        )
    except (KeyError, TypeError, ValueError, AttributeError) as problem:
        raise SpecError(f"{path / MARKER}: not a report: {problem!r}") from None


def _table(rows: list[dict[str, Any]], columns: list[str]) -> pd.DataFrame:
    """The table of its records; a missing number is NaN again."""
    frame = pd.DataFrame({name: [row[name] for row in rows] for name in columns})
    for name in columns:
        if frame[name].dtype == object and all(
            v is None or (isinstance(v, int | float) and not isinstance(v, bool)) for v in frame[name]
        ):
            frame[name] = frame[name].astype(float)
    return frame


def json_text(value: Any) -> str:
    """`value` as indented JSON."""
    return json.dumps(value, indent=2, ensure_ascii=False, allow_nan=False)


def _plain(value: Any) -> Any:
    if isinstance(value, np.generic):
        value = value.item()
    if value is None or value is pd.NA or value is pd.NaT:
        return None
    if isinstance(value, float) and not math.isfinite(value):
        return None
    return value if isinstance(value, bool | int | float | str) else str(value)
