"""Plain figures of numbers over numbers: lines, bars, tornados, and steps from one number to another."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.patches import Patch
from numpy.typing import NDArray

from pimsim.report.colours import SPARE_COLOURS, SPARE_MARKERS
from pimsim.report.figures import _legend, _need, _styled

HIDDEN = 1 / 300
"""A bar of this share of the largest is a pixel high."""


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
    log_x: bool = False,
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
    if log_x:
        axes.set_xscale("log")
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
    """One group of bars a value of `x`, one bar a value of `series`, both in the order of the frame.

    Bars are drawn over powers of ten where the smallest could not be seen beside the largest (`HIDDEN`).
    """
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
    drawn = frame[y].astype(float)
    if drawn.min() > 0 and drawn.min() < HIDDEN * drawn.max():
        axes.set_yscale("log")
        axes.set_ylim(10 ** (np.floor(np.log10(drawn.min())) - 1))
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
def tornado(frame: pd.DataFrame, *, title: str) -> Figure:
    """What each constant moves: one panel a quantity, one bar a constant from its low to its high setting.

    frame: columns quantity (with its unit), base (value with nothing changed), constant, low, high (values of
    the quantity at the lower and the higher setting). Panels share the constants, in the order of the frame.
    """
    _need(frame, "quantity", "base", "constant", "low", "high")
    quantities, constants = list(dict.fromkeys(frame["quantity"])), list(dict.fromkeys(frame["constant"]))
    fig = Figure(figsize=(2.2 + 2.9 * len(quantities), 1.5 + 0.3 * len(constants)), layout="constrained")
    every = fig.subplots(1, len(quantities), squeeze=False, sharey=True)[0]
    for axes, quantity in zip(every, quantities, strict=True):
        part = frame[frame["quantity"] == quantity].set_index("constant")
        base = float(part["base"].iloc[0])
        for place, constant in enumerate(constants):
            for end, colour in (("low", SPARE_COLOURS[5]), ("high", SPARE_COLOURS[0])):
                axes.barh(
                    place, float(part.loc[constant, end]) - base, 0.62, left=base, color=colour, alpha=0.85
                )
        axes.axvline(base, color="#000000", linewidth=1.0)
        axes.set_yticks(range(len(constants)), constants)
        axes.set_ylim(len(constants) - 0.4, -0.6)
        axes.grid(axis="x")
        axes.set_xlabel(quantity)
        axes.tick_params(axis="y", length=0)
    every[0].set_title(title)
    _legend(
        fig,
        [
            Patch(color=SPARE_COLOURS[5], label="constant at its lower setting"),
            Patch(color=SPARE_COLOURS[0], label="at its higher setting"),
        ],
    )
    return fig


@_styled
def waterfall(frame: pd.DataFrame, *, start: tuple[str, float], end: str, title: str, x_label: str) -> Figure:
    """Steps from one number to another: a bar for the start, one a row, one for the end.

    frame: columns part (text) and difference, in the order to draw. start: name and number of the first bar;
    end: name of the last, which is the start plus all differences.
    """
    _need(frame, "part", "difference")
    steps = [float(value) for value in frame["difference"].tolist()]
    names = [start[0], *(str(name) for name in frame["part"]), end]
    fig = Figure(figsize=(8.6, 1.3 + 0.36 * len(names)), layout="constrained")
    axes: Axes = fig.subplots()
    level, lefts = start[1], [0.0]
    for step in steps:
        lefts.append(min(level, level + step))
        level += step
    lefts.append(0.0)
    widths = [start[1], *map(abs, steps), level]
    colours = ["#555555", *("#D55E00" if step > 0 else "#117733" for step in steps), "#555555"]
    axes.barh(range(len(names)), widths, 0.62, left=lefts, color=colours)
    texts = [f"{start[1]:.4g}", *(f"{step:+.3g}" for step in steps), f"{level:.4g}"]
    for place, (left, width, text) in enumerate(zip(lefts, widths, texts, strict=True)):
        axes.annotate(text, (left + width, place), (4, 0), textcoords="offset points", va="center")
    axes.set_yticks(range(len(names)), names)
    axes.set_ylim(len(names) - 0.5, -0.5)
    axes.set_xlim(0, 1.15 * max(left + width for left, width in zip(lefts, widths, strict=True)) or 1.0)
    axes.tick_params(axis="y", length=0)
    axes.grid(axis="x")
    axes.set_title(title)
    axes.set_xlabel(x_label)
    return fig


@_styled
def histograms(
    values: Mapping[str, NDArray[np.floating]],
    *,
    title: str,
    x_label: str,
    bins: int = 80,
    marks: Mapping[str, Sequence[float]] | None = None,
) -> Figure:
    """Shares of each named set of values over common bins; marks: name -> places of dashed lines."""
    fig = Figure(figsize=(7.0, 4.2), layout="constrained")
    axes: Axes = fig.subplots()
    edges = np.linspace(
        min(float(v.min()) for v in values.values()), max(float(v.max()) for v in values.values()), bins + 1
    )
    handles: list[Any] = []
    for i, (name, held) in enumerate(values.items()):
        colour = SPARE_COLOURS[i % len(SPARE_COLOURS)]
        share = np.full(len(held), 100 / len(held))
        _, _, bars = axes.hist(held, edges.tolist(), weights=share, color=colour, alpha=0.6)
        bars.set_label(f"{name} ({len(held):,})")  # type: ignore[union-attr]
        handles.append(bars)
    for name, places in (marks or {}).items():
        for place in places:
            line = axes.axvline(place, color="#000000", linestyle="--", linewidth=1.2, label=name)
        handles.append(line)
    axes.grid(axis="y")
    axes.set_title(title)
    axes.set_xlabel(x_label)
    axes.set_ylabel("share of the pairs [%]")
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
