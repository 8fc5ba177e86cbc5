"""Tables for people: in a terminal with rich, in a file as plain text that never changes by itself."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence

import pandas as pd
from rich.console import Console
from rich.table import Table
from rich.text import Text

from pimsim.checks import Check, checks_frame, verdict

UNITS = {
    "fs": "fs",
    "ps": "ps",
    "ns": "ns",
    "us": "µs",
    "ms": "ms",
    "s": "s",
    "ck": "clocks",
    "bits": "bit",
    "bytes": "bytes",
    "kib": "KiB",
    "mib": "MiB",
    "gib": "GiB",
    "mb": "MB",
    "gb": "GB",
    "gbps": "GB/s",
    "gflop": "GFLOP",
    "gflops": "GFLOP/s",
    "mhz": "MHz",
    "ghz": "GHz",
    "pj": "pJ",
    "mj": "mJ",
    "percent": "%",
    "points": "points",
}
"""The endings of column names that are units, as they are printed."""


def header(column: object) -> str:
    """The heading of a column: `ttft_s` becomes `ttft [s]`; a dotted path stays as it is typed."""
    name = str(column)
    if "." in name and all(part.isidentifier() for part in name.split(".")):
        return name
    stem, _, end = name.rpartition("_")
    if stem and end in UNITS:
        return f"{stem.replace('_', ' ')} [{UNITS[end]}]"
    return name.replace("_", " ")


def cells(values: Sequence[object]) -> list[str]:
    """The text of one column.

    Integers have commas from five digits on. Floats have four significant digits and, where their sizes
    are alike, as many decimals as their largest needs, so that points stand below each other. Missing
    values are `-`.
    """
    floats = [abs(v) for v in values if isinstance(v, float) and math.isfinite(v) and v != 0]
    decimals: int | None = None
    if floats and max(floats) < 1e6 and min(floats) >= 1e-3 and max(floats) / min(floats) < 1e3:
        decimals = max(0, 3 - math.floor(math.log10(max(floats))))
        while decimals and all(f"{v:.{decimals}f}".endswith("0") for v in floats):
            decimals -= 1
    return [_cell(value, decimals) for value in values]


def frame_text(frame: pd.DataFrame) -> str:
    """`frame` as plain text, for files and pipes: columns two spaces apart, numbers to the right.

    The text depends on the values alone (not on the terminal, the locale or the versions of libraries)
    and ends in a newline.
    """
    names = [header(name) for name in frame.columns]
    columns = [_column(frame, index) for index in range(len(names))]
    right = [_numeric(values) for values in columns]
    texts = [cells(values) for values in columns]
    widths = [max([len(name), *map(len, text)]) for name, text in zip(names, texts, strict=True)]
    lines = [names, ["-" * width for width in widths], *map(list, zip(*texts, strict=True))]
    out = ""
    for line in lines:
        padded = [
            text.rjust(width) if numeric else text.ljust(width)
            for text, width, numeric in zip(line, widths, right, strict=True)
        ]
        out += "  ".join(padded).rstrip() + "\n"
    if not len(frame):
        out += "(no rows)\n"
    return out


def print_frame(frame: pd.DataFrame, title: str, console: Console) -> None:
    """Print a table with its title: drawn in a terminal, as `frame_text` into a pipe or file."""
    if not console.is_terminal:
        _print_plain(f"{title}\n\n{frame_text(frame)}" if title else frame_text(frame), console)
        return
    drawn = _table(title)
    columns = [_column(frame, index) for index in range(len(frame.columns))]
    for name, values in zip(frame.columns, columns, strict=True):
        drawn.add_column(Text(header(name)), justify="right" if _numeric(values) else "left")
    for row in zip(*map(cells, columns), strict=True):
        drawn.add_row(*[Text(text) for text in row])
    console.print(drawn)


def checks_text(checks: Iterable[Check]) -> str:
    """The checks as plain text, `ok` or `MISS` at the end of each line, and how many hold."""
    rows = list(checks)
    return f"{frame_text(_readable(rows))}\n{verdict(rows)}\n"


def print_checks(checks: Iterable[Check], console: Console, title: str = "Checks") -> None:
    """Print the checks: green `ok`, red `MISS`, and how many hold."""
    rows = list(checks)
    if not console.is_terminal:
        _print_plain(f"{title}\n\n{checks_text(rows)}", console)
        return
    frame = _readable(rows)
    drawn = _table(title)
    columns = [_column(frame, index) for index in range(len(frame.columns))]
    for name in frame.columns:
        right = name in ("ours", "expected", "difference")
        drawn.add_column(Text(header(name)), justify="right" if right else "left")
    for check, row in zip(rows, zip(*map(cells, columns), strict=True), strict=True):
        *start, end = [Text(text) for text in row]
        end.stylize("green" if check.ok else "bold red")
        drawn.add_row(*start, end)
    console.print(drawn)
    console.print(Text(verdict(rows), style="green" if all(c.ok for c in rows) else "bold red"))


def _readable(checks: Sequence[Check]) -> pd.DataFrame:
    """The frame of the checks with every number printed by itself: their units differ."""
    frame = checks_frame(checks)
    for name in ("ours", "expected"):
        frame[name] = pd.Series([_cell(value, None) for value in frame[name].tolist()], dtype=object)
    frame["difference"] = pd.Series([check.difference_text for check in checks], dtype=object)
    frame["ok"] = pd.Series(["ok" if check.ok else "MISS" for check in checks], dtype=object)
    return frame


def _column(frame: pd.DataFrame, index: int) -> list[object]:
    values: list[object] = frame.iloc[:, index].tolist()
    return values


def _numeric(values: Sequence[object]) -> bool:
    numbers = [v for v in values if v is not None]
    return bool(numbers) and all(isinstance(v, int | float) and not isinstance(v, bool) for v in numbers)


def _cell(value: object, decimals: int | None) -> str:
    if value is None or value is pd.NA or value is pd.NaT:
        return "-"
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, int):
        return f"{value:,}" if abs(value) >= 10_000 else str(value)
    if isinstance(value, float):
        if math.isnan(value):
            return "-"
        if decimals is not None:
            return f"{value:.{decimals}f}"
        return f"{value:.4g}"
    return str(value).replace("\n", " ")


def _table(title: str) -> Table:
    return Table(
        title=Text(title, style="bold") if title else None, title_justify="left", header_style="bold"
    )


def _print_plain(text: str, console: Console) -> None:
    console.out(text, end="", highlight=False)
