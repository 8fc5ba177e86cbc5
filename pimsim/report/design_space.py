"""Figures of sweeps: an objective against each axis, and the best trade-offs of two objectives."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from pimsim.report.colours import SPARE_COLOURS, SPARE_MARKERS
from pimsim.report.figures import _need, _styled
from pimsim.report.tables import header

PANELS_A_ROW = 3
SCALES = {"_bytes": (1e-9, "GB"), "_s": (1.0, "s"), "_j": (1.0, "J")}
"""How columns are drawn: factor and unit by the end of their name."""


def _scaled(frame: pd.DataFrame, column: str) -> tuple[pd.Series, str]:
    """The values of a column in the unit in which they are drawn, and the label of their axis."""
    values = frame[column].astype(float)
    for end, (factor, unit) in SCALES.items():
        if column.endswith(end):
            if end == "_s" and values.max() < 1:
                factor, unit = 1e3, "ms"
            return values * factor, f"{column.removesuffix(end).replace('_', ' ')} ({unit})"
    return values, header(column)


def _groups(frame: pd.DataFrame, axis: str) -> tuple[list[object], np.ndarray, bool]:
    """(values of the axis in order, place of each row among them, whether they are numbers)."""
    held = frame[axis].tolist()
    numbers = all(isinstance(value, int | float) and not isinstance(value, bool) for value in held)
    values: list[object] = sorted(set(held)) if numbers else list(dict.fromkeys(held))
    return values, np.array([values.index(value) for value in held]), numbers


def _below(fig: Figure, handles: list[Line2D], title: str | None = None) -> None:
    """A legend under the panels; a title of its own names what the entries are values of."""
    legend = fig.legend(
        handles=handles,
        loc="outside lower center",
        ncols=min(len(handles), 6),
        title=title,
        title_fontsize=9.5,
    )
    legend.set_in_layout(True)


@_styled
def overview(frame: pd.DataFrame, *, axes: Sequence[str], objective: str, title: str) -> Figure:
    """One panel an axis: every point, and over the values of the axis the median and the best.

    frame: one row a point that is done. Axes with many values are drawn to scale, few ones evenly apart.
    """
    _need(frame, *axes, objective)
    values, label = _scaled(frame, objective)
    rows = -(-len(axes) // PANELS_A_ROW)
    columns = min(len(axes), PANELS_A_ROW)
    fig = Figure(figsize=(max(6.0, 3.7 * columns), 0.9 + 3.1 * rows), layout="constrained")
    panels = fig.subplots(rows, columns, squeeze=False, sharey=True).ravel()
    for number, (panel, axis) in enumerate(zip(panels, axes, strict=False)):
        _axis_panel(panel, frame, axis, values.to_numpy())
        if number % columns == 0:
            panel.set_ylabel(label)
    for panel in panels[len(axes) :]:
        panel.set_visible(False)
    panels[0].set_ylim(0, 1.06 * float(values.max()) or 1.0)
    fig.suptitle(title, x=0.01, ha="left", fontweight="bold", fontsize=11)
    _below(
        fig,
        [
            Line2D([], [], linestyle="", marker="o", markersize=4, color="#9ECAE1", label="one point"),
            Line2D([], [], color="#0072B2", marker="o", markersize=5, label="median"),
            Line2D([], [], color="#D55E00", marker="v", markersize=5, label="best"),
        ],
    )
    return fig


def _axis_panel(panel: Axes, frame: pd.DataFrame, axis: str, values: np.ndarray) -> None:
    held, places, numbers = _groups(frame, axis)
    to_scale = numbers and len(held) > 8
    x = np.array([float(str(held[i])) if to_scale else float(i) for i in places])
    spread = 0.0 if to_scale else 0.28 if len(frame) > 60 else 0.1
    shift = ((np.arange(len(x)) * 0.618034) % 1 - 0.5) * 2 * spread  # so that points do not hide each other
    panel.plot(x + shift, values, linestyle="", marker="o", markersize=2.6, color="#9ECAE1", alpha=0.75)
    at = [float(str(v)) if to_scale else float(i) for i, v in enumerate(held)]
    if not to_scale or len(held) <= len(frame) / 4:
        groups = [values[places == i] for i in range(len(held))]
        panel.plot(at, [np.median(g) for g in groups], color="#0072B2", marker="o", markersize=5)
        panel.plot(at, [g.min() for g in groups], color="#D55E00", marker="v", markersize=5)
    if not to_scale:
        names = [f"{v:g}" if isinstance(v, float) else str(v) for v in held]
        long = max(map(len, names)) > 6 and len(names) > 3
        panel.set_xticks(
            range(len(held)), names, rotation=25 if long else 0, ha="right" if long else "center"
        )
    panel.set_xlabel(axis)
    panel.grid(axis="y")


@_styled
def trade_offs(
    frame: pd.DataFrame,
    *,
    objectives: Sequence[str],
    best: np.ndarray,
    title: str,
    colour_by: str | None = None,
) -> Figure:
    """Every point in the plane of each pair of objectives, and the line of those that no other one beats.

    best: (n,) bool, the rows of `frame` on that line. colour_by: an axis that colours the points.
    """
    _need(frame, *objectives)
    pairs = [(a, b) for i, a in enumerate(objectives) for b in objectives[i + 1 :]]
    fig = Figure(figsize=(max(7.6, 4.6 * len(pairs)), 4.4), layout="constrained")
    handles: list[Line2D] = []
    for panel, (across, up) in zip(fig.subplots(1, len(pairs), squeeze=False)[0], pairs, strict=True):
        x, x_label = _scaled(frame, across)
        y, y_label = _scaled(frame, up)
        handles = []
        for name, rows, colour, marker in _series(frame, colour_by):
            panel.plot(x[rows], y[rows], linestyle="", marker=marker, markersize=4, color=colour, alpha=0.55)
            handles.append(Line2D([], [], linestyle="", marker=marker, color=colour, label=name))
        line = frame.index[best]
        order = x[line].sort_values(kind="stable").index
        panel.plot(
            x[order], y[order], color="#000000", marker="o", markersize=7, fillstyle="none",
            drawstyle="steps-post" if len(objectives) == 2 else "default",
            linewidth=1.2 if len(objectives) == 2 else 0.0,
        )  # fmt: skip
        panel.set_xlabel(x_label)
        panel.set_ylabel(y_label)
        panel.margins(0.08)
        panel.grid()
    handles.append(
        Line2D(
            [],
            [],
            color="#000000",
            marker="o",
            markersize=7,
            fillstyle="none",
            linewidth=1.2 if len(objectives) == 2 else 0.0,
            label="best trade-offs",
        )
    )
    fig.suptitle(title, x=0.01, ha="left", fontweight="bold", fontsize=11)
    _below(fig, handles, title=colour_by)
    return fig


def _series(frame: pd.DataFrame, colour_by: str | None) -> list[tuple[str, pd.Index, str, str]]:
    """(name, rows, colour, marker) of the points of each value of an axis."""
    if colour_by is None:
        return [("a point", frame.index, "#56B4E9", "o")]
    held, places, _ = _groups(frame, colour_by)
    return [
        (
            str(value),
            frame.index[places == i],
            SPARE_COLOURS[i % len(SPARE_COLOURS)],
            SPARE_MARKERS[i % len(SPARE_MARKERS)],
        )
        for i, value in enumerate(held)
    ]
