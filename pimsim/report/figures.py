"""Figures. The only module that imports Matplotlib; it draws on `Figure` objects and keeps no state.

The colours are those of `pimsim.report.colours`.
"""

from __future__ import annotations

import io
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import Any

import matplotlib
import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.colors import LinearSegmentedColormap, to_rgb
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.patches import Patch
from matplotlib.ticker import MaxNLocator

from pimsim.errors import SpecError
from pimsim.report.colours import (
    KIND_COLOURS,
    METHOD_COLOURS,
    METHOD_MARKERS,
    SPARE_COLOURS,
    SPARE_MARKERS,
)
from pimsim.result import write_file

_SPEEDUPS = LinearSegmentedColormap.from_list("speedups", ["#F7FBFF", "#9ECAE1", "#2171B5", "#08306B"])

_STYLE: Any = {
    "font.family": "DejaVu Sans",
    "font.size": 10,
    "axes.titlesize": 11,
    "axes.titleweight": "bold",
    "axes.titlelocation": "left",
    "axes.labelsize": 10,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.axisbelow": True,
    "axes.edgecolor": "#444444",
    "grid.color": "#DDDDDD",
    "grid.linewidth": 0.8,
    "legend.frameon": False,
    "legend.fontsize": 9.5,
    "xtick.labelsize": 9.5,
    "ytick.labelsize": 9.5,
    "svg.hashsalt": "pimsim",
    "svg.fonttype": "path",
    "figure.dpi": 100,
}


def _styled(draw: Callable[..., Figure]) -> Callable[..., Figure]:
    """`draw` with the style of this module and whatever the user's matplotlibrc says left out."""

    def styled(*args: Any, **named: Any) -> Figure:
        with matplotlib.rc_context():
            matplotlib.rcdefaults()
            matplotlib.rcParams.update(_STYLE)
            return draw(*args, **named)

    styled.__doc__, styled.__name__ = draw.__doc__, draw.__name__
    return styled


def save(fig: Figure, path_stem: str | Path) -> None:
    """Write `fig` as path_stem.png (150 dots per inch) and path_stem.svg; equal figures, equal bytes."""
    stem = Path(path_stem)
    with matplotlib.rc_context():
        matplotlib.rcdefaults()
        matplotlib.rcParams.update(_STYLE)
        for ending, named in (
            ("png", {"dpi": 150, "metadata": {"Software": None}}),
            ("svg", {"metadata": {"Date": None, "Creator": None}}),
        ):
            data = io.BytesIO()
            fig.savefig(data, format=ending, facecolor="white", **named)
            write_file(stem.with_name(f"{stem.name}.{ending}"), data.getvalue())


@_styled
def capacity_bars(frame: pd.DataFrame) -> Figure:
    """Memory by method, one panel a model, one bar a method.

    frame: columns model, method, kind (weights, padding, buffers), bytes; rows of equal names add up.
    """
    _need(frame, "model", "method", "kind", "bytes")
    models = _names(frame["model"])
    kinds = _ordered(_names(frame["kind"]), KIND_COLOURS)
    colours = _colours(kinds, KIND_COLOURS)
    most = max(len(_names(part["method"])) for _, part in frame.groupby("model"))
    fig = Figure(figsize=(0.8 + len(models) * max(3.4, 0.95 * most + 0.6), 4.2), layout="constrained")
    for index, (axes, model) in enumerate(zip(_row(fig, len(models)), models, strict=True)):
        part = frame[frame["model"] == model]
        methods = _names(part["method"])
        floor = np.zeros(len(methods))
        for kind in kinds:
            sums = [_sum(part, method, kind) / 1e9 for method in methods]
            axes.bar(
                range(len(methods)),
                sums,
                0.62,
                bottom=floor,
                color=colours[kind],
            )
            floor = floor + np.array(sums)
        for place, total in enumerate(floor):
            axes.annotate(
                f"{total:.2f}", (place, total), (0, 3), textcoords="offset points", ha="center", va="bottom"
            )
        axes.set_xticks(range(len(methods)), [_wrapped(method) for method in methods])
        axes.set_ylim(0, 1.12 * float(floor.max()) or 1.0)
        axes.set_title(str(model))
        axes.grid(axis="y")
        axes.tick_params(axis="x", length=0)
        if index == 0:
            axes.set_ylabel("memory (GB = 10⁹ bytes)")
    _legend(fig, [Patch(color=colours[kind], label=str(kind)) for kind in kinds])
    return fig


@_styled
def ttft_lines(frame: pd.DataFrame) -> Figure:
    """Time to first token against prompt length, one panel a model, one line a method.

    frame: columns model, method, prompt (tokens), ttft_s.
    """
    _need(frame, "model", "method", "prompt", "ttft_s")
    models, methods = _names(frame["model"]), _names(frame["method"])
    colours, markers = _colours(methods, METHOD_COLOURS), _markers(methods)
    fig = Figure(figsize=(0.8 + 4.4 * len(models), 4.0), layout="constrained")
    for index, (axes, model) in enumerate(zip(_row(fig, len(models)), models, strict=True)):
        part = frame[frame["model"] == model]
        for rank, method in enumerate(methods):
            line = part[part["method"] == method].sort_values("prompt")
            axes.plot(
                line["prompt"],
                line["ttft_s"],
                color=colours[method],
                marker=markers[method],
                markersize=6,
                linewidth=_width(rank, len(methods)),
                markeredgewidth=1.6,
                fillstyle="none",
            )
        prompts = sorted({int(prompt) for prompt in part["prompt"]})
        if len(prompts) <= 10:
            axes.set_xticks(_apart(prompts))
        axes.set_xlim(left=0)
        axes.set_ylim(bottom=0)
        axes.set_title(str(model))
        axes.set_xlabel("prompt length (tokens)")
        axes.grid()
        if index == 0:
            axes.set_ylabel("time to first token (s)")
    _legend(
        fig,
        [
            Line2D(
                [],
                [],
                color=colours[name],
                marker=markers[name],
                linewidth=_width(rank, len(methods)),
                fillstyle="none",
                markeredgewidth=1.6,
                label=_spaced(name),
            )
            for rank, name in enumerate(methods)
        ],
    )
    return fig


@_styled
def speedup_heatmaps(frame: pd.DataFrame) -> Figure:
    """End-to-end speed-up over the host alone, one panel a model (rows) and method (columns).

    frame: columns model, method, prompt, tokens, speedup; a cell that is missing stays empty.
    """
    _need(frame, "model", "method", "prompt", "tokens", "speedup")
    models, methods = _names(frame["model"]), _names(frame["method"])
    prompts, tokens = sorted(set(frame["prompt"])), sorted(set(frame["tokens"]))
    top = max(float(frame["speedup"].max()), 1.0)
    bottom = min(float(frame["speedup"].min()), 1.0)
    width = max(2.2, 0.56 * len(tokens) + 0.5)
    height = max(1.8, 0.44 * len(prompts) + 0.7)
    size = (1.6 + width * len(methods), 1.0 + height * len(models))
    fig = Figure(figsize=size, layout="constrained")
    grid = fig.subplots(len(models), len(methods), squeeze=False)
    image = None
    for row, model in enumerate(models):
        for column, method in enumerate(methods):
            axes = grid[row][column]
            part = frame[(frame["model"] == model) & (frame["method"] == method)]
            values = np.full((len(prompts), len(tokens)), np.nan)
            for prompt, count, speedup in zip(part["prompt"], part["tokens"], part["speedup"], strict=True):
                values[prompts.index(prompt), tokens.index(count)] = speedup
            image = axes.imshow(values, cmap=_SPEEDUPS, vmin=bottom, vmax=top, aspect="auto", origin="lower")
            for (y, x), value in np.ndenumerate(values):
                if np.isfinite(value):
                    dark = (value - bottom) / ((top - bottom) or 1.0) > 0.5
                    colour = "white" if dark else "#111111"
                    axes.text(x, y, f"{value:.2f}", ha="center", va="center", color=colour, fontsize=9)
            axes.set_xticks(range(len(tokens)), [str(count) for count in tokens])
            axes.set_yticks(range(len(prompts)), [str(prompt) for prompt in prompts])
            axes.tick_params(length=0)
            axes.spines[:].set_visible(False)
            axes.set_title(f"{model}\n{_spaced(method)}", fontsize=10)
            if row == len(models) - 1:
                axes.set_xlabel("output (tokens)")
            if column == 0:
                axes.set_ylabel("prompt (tokens)")
    if image is not None:
        colour_bar = fig.colorbar(image, ax=grid, shrink=0.9, pad=0.02)
        colour_bar.set_label("speed-up over host only (times)")
        colour_bar.outline.set_visible(False)
    return fig


@_styled
def timeline(
    panels: Sequence[tuple[str, pd.DataFrame]],
    *,
    layer: int | None = None,
    phase: str | None = None,
    share_time: bool = True,
) -> Figure:
    """What runs where and when: one panel a (title, spans), one track an engine, colours by kind.

    panels: drawn below each other, so that their times can be compared; spans as in a result.
    phase: only spans of phases that begin so. layer: the window in which that layer computes (its spans
    other than copies); whatever else runs then is drawn too, cut at the edges of the window.
    share_time: one time scale for all panels; else each has its own.
    """
    shown = []
    for title, spans in panels:
        _need(spans, "task", "kind", "phase", "layer", "engine", "start_ps", "end_ps")
        shown.append((title, _window(spans, layer, phase)))
    kinds = _ordered(_names(pd.concat([spans["kind"] for _, spans in shown])), KIND_COLOURS)
    colours = _colours(kinds, KIND_COLOURS)
    laid = [(title, spans, _tracks(spans)) for title, spans in shown]
    heights = [max(sum(len(set(ln)) for _, _, ln in tracks), 1) for _, _, tracks in laid]
    size = (11.0, 1.0 + sum(0.42 * height + 0.85 for height in heights))
    fig = Figure(figsize=size, layout="constrained")
    every = fig.subplots(
        len(laid), 1, squeeze=False, sharex=share_time, height_ratios=[h + 0.6 for h in heights]
    )[:, 0]
    ends = [spans["to_ms"].max() if len(spans) else 0.0 for _, spans, _ in laid]
    for index, (axes, (title, _, tracks)) in enumerate(zip(every, laid, strict=True)):
        end = max(ends) if share_time else ends[index]
        end = end or 1.0
        base, ticks, labels = 0, [], []
        for engine, rows, chosen in tracks:
            count = max(chosen) + 1
            for lane, task, kind, start, stop in zip(
                chosen, rows["task"], rows["kind"], rows["from_ms"], rows["to_ms"], strict=True
            ):
                _box(axes, base + lane, start, stop, str(task), colours[str(kind)], end)
            ticks.append(base + (count - 1) / 2)
            labels.append(engine)
            base += count
            axes.axhline(base - 0.5, color="#DDDDDD", linewidth=0.8, zorder=0)
        axes.set_yticks(ticks, labels)
        axes.set_ylim(max(base, 1) - 0.45, -0.55)
        axes.set_xlim(0, end * 1.005)
        axes.xaxis.set_major_locator(MaxNLocator(10))
        axes.tick_params(axis="y", length=0)
        axes.grid(axis="x")
        axes.spines["left"].set_visible(False)
        axes.set_title(str(title))
        if not share_time or index == len(laid) - 1:
            axes.set_xlabel("time (ms)")
    _legend(fig, [Patch(color=colours[kind], label=str(kind)) for kind in kinds])
    return fig


@_styled
def breakdown_bars(frame: pd.DataFrame) -> Figure:
    """Busy time by kind of operator: one panel a phase (its own time scale), one bar an engine.

    frame: columns phase, engine, kind, seconds (see `pimsim.result.breakdown`).
    """
    _need(frame, "phase", "engine", "kind", "seconds")
    phases = _names(frame["phase"])
    kinds = _ordered(_names(frame["kind"]), KIND_COLOURS)
    colours = _colours(kinds, KIND_COLOURS)
    counts = [len(_names(frame[frame["phase"] == phase]["engine"])) for phase in phases]
    size = (8.6, 0.8 + sum(0.38 * count + 0.95 for count in counts))
    fig = Figure(figsize=size, layout="constrained")
    every = fig.subplots(
        max(len(phases), 1), 1, squeeze=False, height_ratios=[count + 0.8 for count in counts] or [1]
    )[:, 0]
    for axes, phase in zip(every, phases, strict=False):
        part = frame[frame["phase"] == phase]
        engines = _names(part["engine"])
        left = np.zeros(len(engines))
        for kind in kinds:
            rows = part[part["kind"] == kind]
            sums = np.array([rows[rows["engine"] == e]["seconds"].sum() for e in engines], dtype=float)
            axes.barh(
                range(len(engines)),
                sums,
                0.62,
                left=left,
                color=colours[kind],
                edgecolor="white",
                linewidth=0.5,
            )
            left = left + sums
        unit, scale = ("s", 1.0) if left.max() >= 1 else ("ms", 1e3)
        for place, total in enumerate(left):
            axes.annotate(
                f"{total * scale:.3g}", (total, place), (4, 0), textcoords="offset points", va="center"
            )
        axes.xaxis.set_major_locator(MaxNLocator(8))
        axes.xaxis.set_major_formatter(lambda value, _, scale=scale: f"{value * scale:g}")
        axes.set_yticks(range(len(engines)), engines)
        axes.set_ylim(len(engines) - 0.5, -0.5)
        axes.set_xlim(0, 1.1 * float(left.max()) or 1.0)
        axes.tick_params(axis="y", length=0)
        axes.grid(axis="x")
        axes.set_title(str(phase))
        axes.set_xlabel(f"busy time ({unit})")
    _legend(fig, [Patch(color=colours[kind], label=str(kind)) for kind in kinds])
    return fig


# Shared by the figures.


def _need(frame: pd.DataFrame, *columns: str) -> None:
    missing = [name for name in columns if name not in frame.columns]
    if missing:
        raise SpecError(f"the table of a figure lacks {', '.join(missing)}; it has {list(frame.columns)}")


def _names(column: Iterable[object]) -> list[str]:
    """The different names in order of first appearance."""
    return list(dict.fromkeys(str(name) for name in column))


def _ordered(names: Sequence[str], known: dict[str, str]) -> list[str]:
    return [name for name in known if name in names] + [name for name in names if name not in known]


def _colours(names: Sequence[str], known: dict[str, str]) -> dict[str, str]:
    spare = [name for name in names if _key(name) not in known]
    extra = {name: SPARE_COLOURS[i % len(SPARE_COLOURS)] for i, name in enumerate(spare)}
    return {name: extra.get(name) or known[_key(name)] for name in names}


def _markers(names: Sequence[str]) -> dict[str, str]:
    spare = [name for name in names if _key(name) not in METHOD_MARKERS]
    extra = {name: SPARE_MARKERS[i % len(SPARE_MARKERS)] for i, name in enumerate(spare)}
    return {name: extra.get(name) or METHOD_MARKERS[_key(name)] for name in names}


def _key(name: str) -> str:
    return name.replace("-", "_")


def _spaced(name: str) -> str:
    return name.replace("-", " ").replace("_", " ")


def _wrapped(name: str) -> str:
    return _spaced(name).replace(" ", "\n")


def _sum(part: pd.DataFrame, method: str, kind: str) -> float:
    rows = part[(part["method"] == method) & (part["kind"] == kind)]
    return float(rows["bytes"].sum())


def _width(rank: int, count: int) -> float:
    """Line widths that fall from the first to the last, so that lines that coincide can all be seen."""
    return 1.5 + 0.8 * min(count - 1 - rank, 4)


def _apart(values: Sequence[int]) -> list[int]:
    """The values that can carry a label: none nearer to the last kept one than a twelfth of the range."""
    kept: list[int] = []
    for value in reversed(values):
        if not kept or kept[-1] - value >= (values[-1] - 0) / 12:
            kept.append(value)
    return kept[::-1]


def _row(fig: Figure, count: int) -> list[Axes]:
    row: list[Axes] = list(fig.subplots(1, count, squeeze=False)[0])
    return row


def _legend(fig: Figure, handles: Sequence[Any]) -> None:
    """A legend above the panels, in as many columns as the figure has room for."""
    if not handles:
        return
    widths = [0.7 + 0.08 * len(str(handle.get_label())) for handle in handles]  # inches
    for columns in range(len(handles), 0, -1):
        rows = -(-len(handles) // columns)
        if sum(max(widths[i : i + rows]) for i in range(0, len(widths), rows)) <= fig.get_figwidth() - 0.2:
            break
    fig.legend(handles=list(handles), loc="outside upper left", ncols=columns)


def _window(spans: pd.DataFrame, layer: int | None, phase: str | None) -> pd.DataFrame:
    """The spans to draw with from_ms and to_ms counted from the start of the window."""
    held = spans
    if phase is not None:
        held = held[[str(name).startswith(phase) for name in held["phase"]]]
    inside = held
    if layer is not None:
        inside = held[(held["layer"] == layer) & (held["kind"] != "copy")]
        if not len(inside):
            said = f"phase {phase!r}, layer {layer}" if phase is not None else f"layer {layer}"
            raise SpecError(f"no span of {said} to draw a timeline of")
    start = int(inside["start_ps"].min()) if len(inside) else 0
    end = int(inside["end_ps"].max()) if len(inside) else 0
    seen = held[(held["end_ps"] > start) & (held["start_ps"] < end)]
    return seen.assign(
        from_ms=(seen["start_ps"].clip(lower=start) - start) / 1e9,
        to_ms=(seen["end_ps"].clip(upper=end) - start) / 1e9,
    )


def _tracks(spans: pd.DataFrame) -> list[tuple[str, pd.DataFrame, list[int]]]:
    """(engine, its spans by time, the lane of each); more than one lane where spans overlap."""
    tracks = []
    for engine in sorted(_names(spans["engine"])):
        rows = spans[spans["engine"] == engine].sort_values(["start_ps", "end_ps"], kind="stable")
        ends: list[float] = []
        chosen = []
        for start, end in zip(rows["from_ms"], rows["to_ms"], strict=True):
            lane = next((i for i, last in enumerate(ends) if last <= start), len(ends))
            if lane == len(ends):
                ends.append(0.0)
            ends[lane] = end
            chosen.append(lane)
        tracks.append((engine, rows, chosen))
    return tracks


def _texts(task: str) -> list[str]:
    """What a box may say, longest first: `prefill/layer3/q_proj` gives `q proj` and `q`."""
    last = task.replace(".", "/").rstrip("/").rsplit("/", 1)[-1].replace("_", " ")
    bare = last.removeprefix("copy ")
    return [last, bare, bare.split(" ")[0]]


def _box(axes: Axes, track: float, start: float, stop: float, task: str, colour: str, end: float) -> None:
    """One span, with the longest text that the box has room for."""
    axes.barh(track, stop - start, 0.78, left=start, color=colour, edgecolor="white", linewidth=0.4)
    room = (stop - start) / end * 9.3  # inches
    text = next((text for text in _texts(task) if 0.078 * len(text) + 0.06 <= room), "")
    if text:
        red, green, blue = to_rgb(colour)
        bright = 0.299 * red + 0.587 * green + 0.114 * blue > 0.52
        axes.text(
            (start + stop) / 2,
            track,
            text,
            ha="center",
            va="center",
            fontsize=8.5,
            color="#111111" if bright else "white",
        )
