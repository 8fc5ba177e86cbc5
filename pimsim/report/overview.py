"""Many workloads on several systems in one figure: time, memory, and what bounds each."""

from __future__ import annotations

import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from pimsim.report.colours import SPARE_MARKERS
from pimsim.report.figures import _need, _styled

BOUND_COLOURS = {
    "compute": "#0072B2",
    "bandwidth": "#E69F00",
    "dispatch": "#888888",
    "capacity": "#D55E00",
}


@_styled
def workload_dots(frame: pd.DataFrame, capacity_gb: dict[str, float]) -> Figure:
    """One line a workload: left its time, right its memory, one marker a system, coloured by its bound.

    frame: columns group, workload, system, time_ms, memory_gb, bound. capacity_gb: system -> its memory,
    drawn as a line at the right. Both axes are logarithmic.
    """
    _need(frame, "group", "workload", "system", "time_ms", "memory_gb", "bound")
    names = list(dict.fromkeys(frame["workload"]))
    systems = list(dict.fromkeys(frame["system"]))
    groups = frame.drop_duplicates("workload").set_index("workload")["group"]
    fig = Figure(figsize=(11.0, 1.6 + 0.27 * len(names)), layout="constrained")
    left, right = fig.subplots(1, 2, sharey=True)
    markers = dict(zip(systems, SPARE_MARKERS, strict=False))
    place = {name: i for i, name in enumerate(names)}
    for axes, column in ((left, "time_ms"), (right, "memory_gb")):
        for row in frame.to_dict("records"):
            axes.plot(
                [row[column]],
                [place[row["workload"]]],
                marker=markers[row["system"]],
                color=BOUND_COLOURS[row["bound"]],
                markersize=7.5,
                linestyle="",
            )
        _axes(axes, names, groups)
    for system, size in capacity_gb.items():
        right.axvline(size, color="#555555", linewidth=1.0, linestyle=":")
        right.annotate(system, (size, -0.9), fontsize=8, rotation=90, ha="right", va="top", color="#555555")
    left.set_xlabel("time [ms]")
    right.set_xlabel("memory [GB]; dotted: what the system has")
    handles = [
        Line2D([], [], marker=markers[name], color="#333333", linestyle="", label=name) for name in systems
    ]
    handles += [
        Line2D([], [], marker="s", color=colour, linestyle="", label=f"bound by {name}")
        for name, colour in BOUND_COLOURS.items()
        if name in set(frame["bound"])
    ]
    fig.legend(handles=handles, loc="outside upper left", ncols=len(handles))
    return fig


def _axes(axes: Axes, names: list[str], groups: pd.Series) -> None:
    """Workloads from the top down, a line between groups."""
    axes.set_xscale("log")
    axes.set_yticks(range(len(names)), names)
    axes.set_ylim(len(names) - 0.4, -1.1)
    axes.grid(axis="x")
    for i in range(1, len(names)):
        if groups[names[i]] != groups[names[i - 1]]:
            axes.axhline(i - 0.5, color="#BBBBBB", linewidth=0.8)
    axes.tick_params(axis="y", length=0)
