"""Plain figures of numbers over numbers: lines and grouped bars, one series a colour and marker."""

from __future__ import annotations

from collections.abc import Sequence

import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from pimsim.report.figures import SPARE_COLOURS, SPARE_MARKERS, _legend, _need, _styled


@_styled
def line_chart(
    frame: pd.DataFrame,
    *,
    x: str,
    y: str,
    series: str,
    title: str,
    x_label: str,
    y_label: str,
    log_y: bool = False,
    y_from: float = 0.0,
    markers: bool = True,
    marks: Sequence[tuple[float, float, str]] = (),
) -> Figure:
    """One line a value of `series`, in the order of the frame; marks: (x, y, text) of single points
    beside them."""
    _need(frame, x, y, series)
    fig = Figure(figsize=(7.0, 4.2), layout="constrained")
    axes: Axes = fig.subplots()
    handles = []
    for i, name in enumerate(dict.fromkeys(frame[series])):
        part = frame[frame[series] == name]
        (line,) = axes.plot(
            part[x],
            part[y],
            color=SPARE_COLOURS[i % len(SPARE_COLOURS)],
            marker=SPARE_MARKERS[(i + i // len(SPARE_MARKERS)) % len(SPARE_MARKERS)] if markers else None,
            markersize=5,
            linewidth=1.8,
            linestyle="-" if i < len(SPARE_COLOURS) else "--",
            label=str(name),
        )
        handles.append(line)
    for at, value, text in marks:
        (point,) = axes.plot(
            [at], [value], linestyle="", marker="X", markersize=9, color="#000000", label=text
        )
        handles.append(point)
    if log_y:
        axes.set_yscale("log")
    else:
        axes.set_ylim(bottom=y_from)
    axes.grid(axis="y")
    axes.set_title(title)
    axes.set_xlabel(x_label)
    axes.set_ylabel(y_label)
    _legend(fig, handles)
    return fig


@_styled
def grouped_bars(
    frame: pd.DataFrame, *, x: str, y: str, series: str, title: str, x_label: str, y_label: str
) -> Figure:
    """One group of bars a value of `x`, one bar a value of `series`, both in the order of the frame."""
    _need(frame, x, y, series)
    groups, names = list(dict.fromkeys(frame[x])), list(dict.fromkeys(frame[series]))
    fig = Figure(figsize=(max(7.0, 1.0 + 0.9 * len(groups)), 4.2), layout="constrained")
    axes: Axes = fig.subplots()
    width = 0.8 / len(names)
    handles = []
    for i, name in enumerate(names):
        part = frame[frame[series] == name].set_index(x)[y]
        bars = axes.bar(
            [g + (i - (len(names) - 1) / 2) * width for g in range(len(groups))],
            [float(part.loc[group]) for group in groups],
            width,
            color=SPARE_COLOURS[i % len(SPARE_COLOURS)],
            label=str(name),
        )
        handles.append(bars)
    axes.set_xticks(
        range(len(groups)), [str(group) for group in groups], rotation=20 if len(groups) > 5 else 0
    )
    axes.grid(axis="y")
    axes.set_title(title)
    axes.set_xlabel(x_label)
    axes.set_ylabel(y_label)
    _legend(fig, handles)
    return fig


@_styled
def stacked_areas(
    frame: pd.DataFrame, *, x: str, y: str, series: str, title: str, x_label: str, y_label: str
) -> Figure:
    """Values of each series over x, one on top of the other, in the order of the frame; steps, not slopes."""
    _need(frame, x, y, series)
    names = list(dict.fromkeys(frame[series]))
    fig = Figure(figsize=(7.0, 4.2), layout="constrained")
    axes: Axes = fig.subplots()
    rows = [frame[frame[series] == name] for name in names]
    colours = [SPARE_COLOURS[i % len(SPARE_COLOURS)] for i in range(len(names))]
    at = list(rows[0][x])
    handles = axes.stackplot(at, [list(part[y]) for part in rows], step="mid", colors=colours, linewidth=0)
    for handle, name in zip(handles, names, strict=True):
        handle.set_label(str(name))
    axes.set_xlim(min(at), max(max(at), min(at) + 1))
    axes.set_ylim(bottom=0)
    axes.grid(axis="y")
    axes.set_title(title)
    axes.set_xlabel(x_label)
    axes.set_ylabel(y_label)
    _legend(fig, handles)
    return fig
