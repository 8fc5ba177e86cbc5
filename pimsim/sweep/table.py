"""The results of a store as one table, and its best rows."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from pimsim.errors import StoreError, SweepError, suggest
from pimsim.sweep.expression import read
from pimsim.sweep.store import Store

if TYPE_CHECKING:
    import pandas as pd

LEAD = ("sweep", "point", "status", "error")


def _rank(name: str) -> tuple[int, str]:
    """Times first, in the order in which they are read, then other numbers, then memory by region."""
    first = ("ttft_s", "tpot_s", "total_s")
    if name in first:
        return first.index(name), ""
    return (5 if name == "memory_total_bytes" else 6 if name.startswith("memory_") else 4), name


def table(store: Store, sweep: str | None = None) -> pd.DataFrame:
    """One row a point, in order: sweep and number, what varies, status and error, the results.

    sweep: name or id of one sweep; None: all of the store. Points without a result yet are left out.
    """
    import pandas as pd

    known = store.sweeps()
    wanted = [name for name, called in known.items() if sweep in (None, name, called)]
    if sweep is not None and not wanted:
        raise StoreError(f"{store.path}: no sweep {sweep!r}{suggest(sweep, known.values())}")
    held = {record.key: record for record in store.records()}
    rows = []
    for name in wanted:
        for number, key, shown in store.points(name):
            if key in held:
                record = held[key]
                rows.append(
                    {"sweep": known[name], "point": number, **shown, "status": record.status,
                     "error": record.error, **record.outputs}
                )  # fmt: skip
    axes = list(dict.fromkeys(a for n in wanted for _, _, shown in store.points(n)[:1] for a in shown))
    outputs = {name for row in rows for name in row if name not in (*LEAD, *axes)}
    columns = ["sweep", "point", *axes, "status", "error", *sorted(outputs, key=_rank)]
    frame = pd.DataFrame([{name: row.get(name) for name in columns} for row in rows], columns=columns)
    for name in columns:
        values = [value for row in rows if (value := row.get(name)) is not None]
        if values and all(isinstance(value, int) and not isinstance(value, bool) for value in values):
            frame[name] = frame[name].astype("Int64")  # whole numbers stay whole beside missing ones
    return frame


def where(frame: pd.DataFrame, condition: str) -> pd.DataFrame:
    """The rows for which a condition holds; see `expression`."""
    expression = read(condition)
    for name in expression.names:
        if name not in frame.columns:
            raise SweepError(
                f"condition {condition!r}: no column {name!r}{suggest(name, map(str, frame.columns))}"
            )
    keep = []
    for row in frame.to_dict("records"):
        known = {str(name): value for name, value in row.items()}
        missing = any(_missing(known[name]) for name in expression.names)
        keep.append(not missing and expression.holds(known))
    return frame[np.array(keep, bool)] if len(frame) else frame


def _missing(value: object) -> bool:
    return value is None or str(value) == "<NA>" or (isinstance(value, float) and np.isnan(value))


def pareto(frame: pd.DataFrame, objectives: Sequence[str]) -> np.ndarray:
    """(n,) bool: rows of which no other row is at least as small in every objective and smaller in one.

    Rows with a missing value are never chosen.
    """
    values = frame[list(objectives)].to_numpy(float, na_value=np.nan)
    best: np.ndarray = ~np.isnan(values).any(axis=1)
    order: np.ndarray = np.lexsort(values.T[::-1])
    kept: list[int] = []
    for i in order.tolist():
        if best[i]:
            for k in kept:
                if (values[k] <= values[i]).all() and (values[k] < values[i]).any():
                    best[i] = False
                    break
            else:
                kept.append(i)
    return best


def export(frame: pd.DataFrame, path: str | Path) -> None:
    """Write a table as .csv, .json (a list of objects) or .parquet, by the name of the file."""
    import json

    from pimsim.result import csv_bytes, write_file
    from pimsim.sweep.work import parquet

    path = Path(path)
    if path.suffix == ".csv":
        data = csv_bytes(frame)
    elif path.suffix == ".parquet":
        data = parquet(frame.astype(object).where(frame.notna(), None))
    elif path.suffix == ".json":
        rows = [
            {str(k): None if _missing(v) else v for k, v in row.items()} for row in frame.to_dict("records")
        ]
        data = json.dumps(rows, indent=1, ensure_ascii=False, allow_nan=False).encode() + b"\n"
    else:
        raise StoreError(f"{path}: wanted a file that ends in .csv, .json or .parquet")
    write_file(path, data)
