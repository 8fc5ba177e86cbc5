"""The charts of a report page as Vega-Lite specifications: plain dictionaries, drawn by the browser.

Every chart has the parameters `runs` (names that are shown) and, where its rows have one, `phase`; the page
sets them. Charts of time zoom with the wheel and move with the mouse; a legend's entries can be clicked.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import pandas as pd

from pimsim.report.colours import KIND_COLOURS, SPARE_COLOURS
from pimsim.report.report import records

Spec = dict[str, Any]

SCHEMA = "https://vega.github.io/schema/vega-lite/v6.json"  # a name; nothing is loaded from there
SERIES = (
    "#0072B2",
    "#E69F00",
    "#009E73",
    "#CC79A7",
    "#56B4E9",
    "#D55E00",
    "#999933",
    "#8477C9",
    "#777777",
    "#117733",
    "#C05A8C",
    "#44AA99",
)
CAUSE_COLOURS = {
    "work": "#0072B2",
    "beside copies": "#56B4E9",
    "last threads": "#009E73",
    "copy not hidden": "#E69F00",
    "threads": "#CC79A7",
    "nothing runs": "#999999",
}
WINDOWS = ("whole run", "prefill", "first decode step")


def bars(
    rows: pd.DataFrame,
    *,
    x: tuple[str, str],
    y: tuple[str, str],
    colour: tuple[str, str] | None = None,
    colours: Mapping[str, str] | None = None,
    order: Sequence[str] | None = None,
    row: str | None = None,
    tips: Iterable[str] = (),
    step: int = 26,
    signed: bool = False,
) -> Spec:
    """Horizontal bars, stacked by colour. x, y, colour: (column, title). row: column of groups of bars."""
    encoding: Spec = {
        "y": {"field": y[0], "type": "nominal", "title": y[1] or None, "sort": None},
        "x": {
            "field": x[0],
            "type": "quantitative",
            "title": x[1],
            "stack": "zero",
            "axis": {"tickCount": 8},
        },
        "tooltip": [{"field": y[0], "type": "nominal", "title": y[1] or "run"}],
    }
    if row is not None:
        encoding["yOffset"] = {"field": row, "type": "nominal", "sort": None}
        encoding["tooltip"].append({"field": row, "type": "nominal"})
    params: list[Spec] = []
    if colour is not None:
        names = list(order or dict.fromkeys(rows[colour[0]]))
        encoding["color"] = _colour(colour, names, colours)
        encoding["order"] = {"field": "rank", "type": "quantitative"}
        rows = rows.assign(rank=[names.index(name) for name in rows[colour[0]]])
        params.append(_legend(colour[0]))
        encoding["opacity"] = _faded(f"of_{colour[0]}")
        encoding["tooltip"].append({"field": colour[0], "type": "nominal", "title": colour[1]})
    encoding["tooltip"] += [{"field": tip, "type": "nominal"} for tip in tips]
    encoding["tooltip"].append(encoding["x"] | {"format": ".4s" if not signed else "+.4g"})
    if signed:
        encoding["color"] = {
            "condition": {"test": f"datum[{x[0]!r}] < 0", "value": "#2E8B57"},
            "value": "#D55E00",
        }
    return _spec(rows, params, encoding, {"type": "bar"}, height={"step": step})


def timeline(rows: pd.DataFrame, colours: Mapping[str, str] = KIND_COLOURS) -> Spec:
    """What ran where and when. rows: run, phase, engine, task, kind, layer, from_ms, to_ms."""
    names = list(dict.fromkeys(rows["kind"]))
    spare = iter(SPARE_COLOURS * (1 + len(names) // len(SPARE_COLOURS)))
    held = {name: colours.get(name) or next(spare) for name in names}
    encoding: Spec = {
        "y": {"field": "engine", "type": "nominal", "title": None, "sort": None},
        "x": {"field": "from_ms", "type": "quantitative", "title": "time (ms)", "scale": {"zero": False}},
        "x2": {"field": "to_ms"},
        "color": _colour(("kind", ""), names, held),
        "opacity": _faded("of_kind"),
        "tooltip": _tips(("task", "kind", "phase", "layer", "engine"), ("from_ms", "to_ms")),
    }
    params = [{"name": "zoom", "select": {"type": "interval", "encodings": ["x"]}, "bind": "scales"}]
    mark = {"type": "bar", "height": {"band": 0.85}, "clip": True}
    return _spec(
        rows, [*params, _legend("kind")], encoding, mark, height={"step": 21}, renderer="canvas", phase=True
    )


def over_time(rows: pd.DataFrame, *, title: str, peak: float | None = None) -> Spec:
    """Rates over time, stacked by series. rows: run, window, from_ms, to_ms, series, rate, low, high (the
    ends of its part of the stack). peak: a line."""
    names = sorted(set(rows["series"]))
    encoding: Spec = {
        "x": {"field": "from_ms", "type": "quantitative", "title": "time (ms)", "scale": {"zero": False}},
        "x2": {"field": "to_ms"},
        "y": {"field": "low", "type": "quantitative", "title": title},
        "y2": {"field": "high"},
        "color": _colour(("series", ""), names, None),
        "opacity": _faded("of_series"),
        "tooltip": _tips(("series",), ("rate", "from_ms", "to_ms")),
    }
    window = {
        "name": "window",
        "value": WINDOWS[0],
        "bind": {"input": "select", "options": [w for w in WINDOWS if w in set(rows["window"])]},
    }
    zoom = {"name": "zoom", "select": {"type": "interval", "encodings": ["x"]}, "bind": "scales"}
    mark = {"type": "rect", "clip": True}
    spec = _spec(rows, [window], encoding, mark, height=210, renderer="canvas")
    spec["transform"].append({"filter": "datum.window === window"})
    layers: list[Spec] = [
        {"mark": spec.pop("mark"), "encoding": spec.pop("encoding"), "params": [zoom, _legend("series")]}
    ]
    if peak is not None:
        here: Spec = {"data": {"values": [{}]}, "encoding": {"y": {"datum": peak}}}
        text = {"type": "text", "align": "left", "baseline": "top", "dy": 5, "dx": 4}
        text["text"] = f"peak {peak:.4g} GB/s"
        layers += [here | {"mark": {"type": "rule", "strokeDash": [5, 4]}}, here | {"mark": text}]
        layers[-1] = layers[-1] | {"encoding": {"y": {"datum": peak}, "x": {"value": 0}}}
    return spec | {"layer": layers}


def heat(rows: pd.DataFrame, columns: Sequence[str]) -> Spec:
    """Banks over time. rows: run, from_ms, to_ms, channel, bank and a count for each of `columns`."""
    encoding: Spec = {
        "x": {"field": "from_ms", "type": "quantitative", "title": "time (ms)", "scale": {"zero": False}},
        "x2": {"field": "to_ms"},
        "y": {"field": "place", "type": "nominal", "sort": None, "title": "channel:bank",
              "axis": {"labelOverlap": True, "ticks": False}},
        "color": {"field": "count", "type": "quantitative", "title": "commands",
                  "scale": {"scheme": "viridis"}},
        "tooltip": _tips(("channel", "bank"), ("count", "from_ms", "to_ms")),
    }  # fmt: skip
    count = {
        "name": "counted",
        "value": columns[0],
        "bind": {"input": "select", "options": list(columns), "name": "count of "},
    }
    channel = {
        "name": "channel",
        "value": "all",
        "bind": {"input": "select", "options": ["all", *sorted({str(c) for c in rows["channel"]})]},
    }
    spec = _spec(rows, [count, channel], encoding, {"type": "rect"}, height={"step": 4}, renderer="canvas")
    spec["transform"] += [
        {"filter": "channel === 'all' || datum.channel == channel"},
        {"calculate": "datum[counted]", "as": "count"},
        {"filter": "datum.count > 0"},
    ]
    return spec


def explorer(frame: pd.DataFrame) -> Spec:
    """Any table: choose what stands on the axes and what the colour says. For sweeps."""
    numbers = [str(c) for c in frame.columns if pd.api.types.is_numeric_dtype(frame[c])]
    every = [str(c) for c in frame.columns]
    rest = [c for c in every if c not in numbers] or every
    choices = (("x_axis", numbers, numbers[0]), ("y_axis", numbers, numbers[-1]), ("colour", every, rest[0]))
    params: list[Spec] = [
        {"name": n, "value": v, "bind": {"input": "select", "options": options, "name": n.replace("_", " ")}}
        for n, options, v in choices
    ]
    pick = [{"calculate": f"datum[{name}]", "as": f"the_{name}"} for name, _, _ in choices]
    tips = [{"field": c, "type": "quantitative" if c in numbers else "nominal"} for c in every]
    encoding: Spec = {
        "x": {"field": "the_x_axis", "type": "quantitative", "scale": {"zero": False},
              "title": {"expr": "x_axis"}},
        "y": {"field": "the_y_axis", "type": "quantitative", "scale": {"zero": False},
              "title": {"expr": "y_axis"}},
        "color": {"field": "the_colour", "type": "nominal", "title": {"expr": "colour"},
                  "scale": {"range": list(SERIES)}},
        "tooltip": tips,
    }  # fmt: skip
    for axis in ("x", "y"):
        del encoding[axis]["title"]
        encoding[axis]["axis"] = {"title": ""}
    encoding["color"]["legend"] = {"title": ""}
    zoom = {"name": "zoom", "select": "interval", "bind": "scales"}
    mark = {"type": "point", "filled": True, "size": 70}
    spec = _spec(frame, [*params, zoom], encoding, mark, height=320)
    spec["transform"] = pick
    spec["params"] = [p for p in spec["params"] if p["name"] not in ("runs", "phase")]
    return spec


def _spec(
    rows: pd.DataFrame,
    params: list[Spec],
    encoding: Spec,
    mark: Spec,
    *,
    height: Any,
    renderer: str = "svg",
    phase: bool = False,
) -> Spec:
    shared: list[Spec] = []
    transform: list[Spec] = []
    if "run" in rows:
        shared.append({"name": "runs", "value": list(dict.fromkeys(rows["run"]))})
        transform.append({"filter": "indexof(runs, datum.run) >= 0"})
    if phase or "phase" in rows:
        shared.append({"name": "phase", "value": "all"})
        transform.append({"filter": "phase === 'all' || datum.phase === phase"})
    return {
        "$schema": SCHEMA,
        "usermeta": {"renderer": renderer},
        "width": "container",
        "height": height,
        "autosize": {"type": "fit-x", "contains": "padding"},
        "data": {"values": records(rows)},
        "params": [*shared, *params],
        "transform": transform,
        "mark": mark,
        "encoding": encoding,
    }


def _colour(colour: tuple[str, str], names: Sequence[str], colours: Mapping[str, str] | None) -> Spec:
    held = [(colours or {}).get(name) or SERIES[i % len(SERIES)] for i, name in enumerate(names)]
    scale = {"domain": list(names), "range": held}
    legend = {"orient": "top", "title": colour[1] or None}
    return {"field": colour[0], "type": "nominal", "scale": scale, "legend": legend}


def _legend(field: str) -> Spec:
    return {"name": f"of_{field}", "select": {"type": "point", "fields": [field]}, "bind": "legend"}


def _faded(selection: str) -> Spec:
    return {"condition": {"param": selection, "value": 1}, "value": 0.12}


def _tips(names: Iterable[str], numbers: Iterable[str]) -> list[Spec]:
    tips: list[Spec] = [{"field": name, "type": "nominal"} for name in names]
    for name in numbers:
        title = name.replace("_ms", " (ms)").replace("_", " ")
        tips.append({"field": name, "type": "quantitative", "format": ".6~g", "title": title})
    return tips
