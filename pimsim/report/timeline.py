"""Timelines as a file of trace events, which https://ui.perfetto.dev opens.

One table of slices and one of counts over time are made here (`tracks`). They are written as Chrome JSON in
`pimsim.report.chrome` and as protobuf in `pimsim.report.perfetto`.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from pimsim.result import Result, write_file

OPERATORS = "operators"
PHASES = "phases and layers"
MANY_SLICES = 50_000
"""Files of more slices are brief: see `pimsim.report.chrome`."""
STEPS = 5_000
"""Most steps of a counter; longer runs are averaged over equal times."""
COUNTS = ("activates", "reads", "writes", "pim")
TEXTS = ("task", "kind", "phase", "engine")
WHOLE = ("layer", "start_ps", "end_ps", "flow", "out")


@dataclass(frozen=True, kw_only=True)
class Tracks:
    """What a timeline shows.

    threads: (process, thread) of each track. slices: columns track (its place in threads), name, kind,
    start_ns, end_ns, layer, phase, flow (0: none), out (whether the flow begins here), by track and time;
    name, kind and phase are categories. counts: columns process, name, time_ns, value.
    """

    threads: list[tuple[str, str]]
    slices: pd.DataFrame
    counts: pd.DataFrame


def write_perfetto(spans: pd.DataFrame, counters: pd.DataFrame | None, path: str | Path) -> None:
    """Write spans and counters over time as Chrome JSON trace events.

    spans: columns of a result's spans. Engines of one group (what stands before ":" in the name) form a
    process, each engine a thread. Spans of an engine that overlap without one holding the other go to
    further threads, numbered. More than `MANY_SLICES` get a track of their phases and layers, too.
    counters: columns component, time_ps, value; one curve a component.
    path: gzip if it ends in .gz. The same input gives the same bytes.
    """
    from pimsim.report.chrome import write_chrome

    held = _coded(spans)
    parts = [held]
    if len(held) > MANY_SLICES:
        parts.insert(0, _phases(held))
    write_chrome(tracks(_joined(parts), counters), Path(path))


def write_timeline(result: Result, path: str | Path) -> None:
    """Write all that a result knows about time: phases, operators and their streams, channels, banks.

    Flows lead from each operator to its spans on the engines; in files of more than `MANY_SLICES` slices
    only where operators overlap, since elsewhere the time says it. Counters: GB/s read and written at the
    pins, read in the banks by PIM units, and bursts outstanding (the limits of the running streams).
    path: protobuf if it ends in .pftrace (extra "perfetto"), else Chrome JSON, gzip if in .gz.
    """
    made = tracks_of(result)
    if Path(path).suffix == ".pftrace":
        from pimsim.report.perfetto import trace_bytes

        write_file(path, trace_bytes(made))
    else:
        from pimsim.report.chrome import write_chrome

        write_chrome(made, Path(path))


def tracks_of(result: Result) -> Tracks:
    """The tracks of `write_timeline`."""
    spans = _coded(result.spans)
    operators, numbers = _operators(spans)
    parts = [
        _phases(spans),
        operators.assign(flow=np.arange(1, len(operators) + 1), out=1),
        spans.assign(flow=numbers + 1),
        _channels(result),
        _banks(result),
    ]
    if sum(map(len, parts)) > MANY_SLICES:
        order = np.argsort(operators["start_ps"].to_numpy(), kind="stable")
        tied = np.zeros(len(operators), np.int64)
        tied[order] = _overlapping(*(operators[name].to_numpy()[order] for name in ("start_ps", "end_ps")))
        parts[1] = parts[1].assign(flow=parts[1]["flow"] * tied)
        parts[2] = parts[2].assign(flow=parts[2]["flow"] * tied[numbers])
    return tracks(_joined([part for part in parts if len(part)] or [spans]), counts_over_time(result.traffic))


def counts_over_time(traffic: pd.DataFrame) -> pd.DataFrame:
    """Rates of the table `traffic` as steps: component, time_ps, value; back to 0 where nothing moves."""
    frames = []
    for channel, rows in traffic.groupby("channel", sort=True):
        part = _coarse(rows) if len(rows) > STEPS else rows
        place = "DRAM" if channel == -1 else f"DRAM:channel {channel}"
        start, end = part["start_ps"].to_numpy(), part["end_ps"].to_numpy()
        length = np.maximum(end - start, 1)
        idle = np.append(start[1:] > end[:-1], True) if len(part) else np.zeros(0, bool)
        for column, name in (
            ("read_bytes", f"{place} read, GB/s"),
            ("written_bytes", f"{place} written, GB/s"),
            ("pim_bytes", "PIM:read in the banks, GB/s"),
            ("outstanding", f"{place} bursts outstanding at most"),
        ):
            value = part[column].to_numpy().astype(float)
            if not value.any():
                continue
            value = value if column == "outstanding" else np.round(value / length * 1e3, 3)
            times = np.concatenate([start, end[idle]])
            values = np.concatenate([value, np.zeros(int(idle.sum()))])
            order = np.argsort(times, kind="stable")
            steps = pd.DataFrame({"component": name, "time_ps": times[order], "value": values[order]})
            frames.append(steps[steps["value"].diff().fillna(1) != 0])
    empty = pd.DataFrame({"component": [], "time_ps": [], "value": []})
    return pd.concat(frames, ignore_index=True) if frames else empty


def _coarse(rows: pd.DataFrame) -> pd.DataFrame:
    """Traffic of one channel with at most `STEPS` rows: what begins in the same of so many times is one."""
    width = -(-(int(rows["end_ps"].max()) + 1) // STEPS)
    how = {"start_ps": "min", "outstanding": "max"}
    columns = [*rows.columns]
    made = rows.groupby(rows["start_ps"] // width).agg({name: how.get(name, "sum") for name in columns})
    frame: pd.DataFrame = made.assign(end_ps=np.append(made["start_ps"].to_numpy()[1:], rows["end_ps"].max()))
    return frame


def tracks(spans: pd.DataFrame, counters: pd.DataFrame | None = None) -> Tracks:
    """Slices by engine and lane.

    spans: columns of a result's spans; also flow and out, if there are flows.
    """
    spans = spans if isinstance(spans["engine"].dtype, pd.CategoricalDtype) else _joined([_coded(spans)])
    start, end = spans["start_ps"].to_numpy(), spans["end_ps"].to_numpy()
    engines, found = pd.factorize(spans["engine"].cat.codes.to_numpy())
    names = [str(name) for name in spans["engine"].cat.categories[found]]
    ranks = _ranks(names)
    engines = np.array(ranks, np.int64)[engines]
    order = np.lexsort((-end, start, engines))
    start, end, engines = start[order], end[order], engines[order]
    edges = np.searchsorted(engines, np.arange(len(names) + 1))
    track = np.zeros(len(order), np.int64)
    threads: list[tuple[str, str]] = []
    for rank, name in sorted(zip(ranks, names, strict=True)):
        first, last = edges[rank], edges[rank + 1]
        chosen = _lanes_of(start[first:last], end[first:last])
        track[first:last] = chosen + len(threads)
        for lane in range(int(chosen.max()) + 1):
            threads.append((name.split(":")[0], name if lane == 0 else f"{name} ({lane + 1})"))
    spans = _apart(spans.take(order))
    by_track = np.argsort(track, kind="stable")
    slices = pd.DataFrame(
        {
            "track": track,
            "name": spans["task"].array,
            "kind": spans["kind"].array,
            "start_ns": (start + 500) // 1000,
            "end_ns": (end + 500) // 1000,
            "layer": spans["layer"].to_numpy(),
            "phase": spans["phase"].array,
            "flow": spans["flow"].to_numpy(),
            "out": spans["out"].to_numpy() > 0,
        }
    )
    counts = pd.DataFrame(columns=["process", "name", "time_ns", "value"])
    if counters is not None and len(counters):
        names = [str(name) for name in counters["component"].tolist()]
        process = {name: name.split(":")[0].split(" ")[0] for name in set(names)}
        times_ns = (counters["time_ps"].to_numpy().astype(np.int64) + 500) // 1000
        held = ([process[name] for name in names], names, times_ns, counters["value"].to_numpy())
        counts = pd.DataFrame(dict(zip(counts.columns, held, strict=True)))
    return Tracks(threads=threads, slices=slices.take(by_track).reset_index(drop=True), counts=counts)


def _ranks(names: list[str]) -> list[int]:
    """The place of each engine: groups as they appear, engines of a group by name, numbers by value."""
    groups = {group: place for place, group in enumerate(dict.fromkeys(name.split(":")[0] for name in names))}

    def key(name: str) -> tuple[int, list[tuple[int, str]]]:
        parts = [(int(each), "") if each.isdecimal() else (-1, each) for each in re.split("([0-9]+)", name)]
        return groups[name.split(":")[0]], parts

    places = {name: place for place, name in enumerate(sorted(names, key=key))}
    return [places[name] for name in names]


def _apart(spans: pd.DataFrame) -> pd.DataFrame:
    """Spans in which starting the threads of a task has a name of its own."""
    tasks, kinds = spans["task"].array, spans["kind"].array
    starting = np.asarray(kinds == "threads") & (spans["out"].to_numpy() == 0)
    names = [*tasks.categories, *(f"{name}: threads" for name in tasks.categories)]
    codes = tasks.codes.astype(np.int64) + len(tasks.categories) * starting
    return spans.assign(task=_category(codes, names))


def _lanes_of(start: np.ndarray, end: np.ndarray) -> np.ndarray:
    """`lanes` of arrays: only spans that touch others in time are looked at one by one."""
    chosen = np.zeros(len(start), np.int64)
    if not (start[1:] < end[:-1]).any():
        return chosen
    rows = np.flatnonzero(_overlapping(start, end))
    chosen[rows] = lanes(list(zip(start[rows].tolist(), end[rows].tolist(), strict=True)))
    return chosen


def lanes(times: list[tuple[int, int]]) -> list[int]:
    """The lane of each (start, end) span, so that spans of a lane follow or hold each other.

    times: sorted by start, and by falling end where starts are equal.
    """
    open_ends: list[list[int]] = []
    chosen = []
    for start, end in times:
        for ends in open_ends:
            while ends and ends[-1] <= start:
                ends.pop()
        fits = (lane for lane, ends in enumerate(open_ends) if not ends or end <= ends[-1])
        lane = next(fits, len(open_ends))
        if lane == len(open_ends):
            open_ends.append([])
        open_ends[lane].append(end)
        chosen.append(lane)
    return chosen


# Tables of spans with their texts as categories: what repeats is handled as a number.


def _coded(spans: pd.DataFrame) -> pd.DataFrame:
    """Spans with the columns of `TEXTS` as categories, in the order in which they appear."""
    return spans.assign(**{name: _category(*pd.factorize(spans[name])) for name in TEXTS})


def _category(codes: np.ndarray, texts: Any) -> pd.Categorical:
    """A column of texts by their numbers."""
    return pd.Categorical.from_codes(codes, pd.Index([str(text) for text in texts], dtype=object))


def _joined(parts: list[pd.DataFrame]) -> pd.DataFrame:
    """The rows of coded tables after each other; flow and out are 0 where a table has none."""
    columns: dict[str, Any] = {}
    for name in TEXTS:
        known: dict[str, int] = {}
        held = [part[name].array for part in parts]
        maps = [np.array([known.setdefault(text, len(known)) for text in c.categories], int) for c in held]
        codes = np.concatenate([to[column.codes] for to, column in zip(maps, held, strict=True)])
        columns[name] = _category(codes, known)
    for name in WHOLE:
        held = [part[name].to_numpy() if name in part else np.zeros(len(part), np.int64) for part in parts]
        columns[name] = np.concatenate(held).astype(np.int64)
    return pd.DataFrame(columns)


def numbered(*columns: np.ndarray) -> np.ndarray:
    """A number for each row of whole-number columns: equal for equal rows, from 0 as they appear."""
    numbers, count = np.zeros(len(columns[0]), np.int64), 1
    for column in columns if len(numbers) else ():
        low, width = int(column.min()), int(column.max()) - int(column.min()) + 1
        if count * width >= 1 << 62:  # more than a number of 64 bits holds: first make both small
            numbers, column, low = pd.factorize(numbers)[0], pd.factorize(column)[0], 0
            count = width = len(column)
        numbers = numbers * width + (column.astype(np.int64) - low)
        count *= width
    return pd.factorize(numbers)[0].astype(np.int64)


def _around(rows: pd.DataFrame, numbers: np.ndarray) -> pd.DataFrame:
    """One row a number: the first of its rows, from the earliest start to the latest end."""
    count = int(numbers.max()) + 1 if len(numbers) else 0
    first = np.zeros(count, np.int64)
    first[numbers[::-1]] = np.arange(len(numbers))[::-1]
    start = np.full(count, np.iinfo(np.int64).max)
    np.minimum.at(start, numbers, rows["start_ps"].to_numpy())
    end = np.zeros(count, np.int64)
    np.maximum.at(end, numbers, rows["end_ps"].to_numpy())
    return rows.take(first).assign(start_ps=start, end_ps=end)


def _named(rows: pd.DataFrame, **texts: Any) -> pd.DataFrame:
    """Rows whose text columns are set: to one text, or to a list of them."""
    columns = {}
    for name, value in texts.items():
        if isinstance(value, str):
            columns[name] = _category(np.zeros(len(rows), np.int64), [value])
        else:
            columns[name] = _category(*pd.factorize(np.asarray(value, dtype=object)))
    return rows.assign(**columns)


# Tracks beside those of the engines.


def _operators(spans: pd.DataFrame) -> tuple[pd.DataFrame, np.ndarray]:
    """One slice an activity (task of a layer and phase), and the activity of each span."""
    codes = [spans[name].cat.codes.to_numpy().astype(np.int64) for name in ("phase", "task")]
    numbers = numbered(codes[0], spans["layer"].to_numpy(), codes[1])
    frame = _around(spans, numbers)
    kinds = spans["kind"].array
    if "threads" in kinds.categories:  # an activity is of the kind of its work
        work = np.flatnonzero(np.asarray(kinds != "threads"))[::-1]
        kind = frame["kind"].cat.codes.to_numpy().copy()
        kind[numbers[work]] = kinds.codes[work]
        frame = frame.assign(kind=_category(kind, kinds.categories))
    return _named(frame, engine=OPERATORS), numbers


def _overlapping(start: np.ndarray, end: np.ndarray) -> np.ndarray:
    """Which of some spans run at the same time as another one; sorted by start."""
    ended = np.maximum.accumulate(end)
    alone = np.append(True, start[1:] >= ended[:-1])  # all before has ended
    touched: np.ndarray = ~(alone & np.append(alone[1:], True))[: len(start)]
    return touched


def _phases(spans: pd.DataFrame) -> pd.DataFrame:
    """One slice a phase and, inside, one a layer; copies do not count, which may be made ahead."""
    phase = spans["phase"].cat.codes.to_numpy().astype(np.int64)
    whole = _around(spans, numbered(phase)).assign(layer=-1)
    whole = _named(whole, task=whole["phase"].astype(str).tolist(), kind="phase", engine=PHASES)
    whole = whole[whole["task"] != ""]
    inside = (spans["layer"].to_numpy() >= 0) & (spans["kind"] != "copy").to_numpy()
    inner = spans[inside]
    layers = _around(inner, numbered(phase[inside], inner["layer"].to_numpy()))
    said = [f"layer {layer}" for layer in layers["layer"].tolist()]
    return _joined([whole, _named(layers, task=said, kind="layer", engine=PHASES)])


def _channels(result: Result) -> pd.DataFrame:
    """One slice a time in which a channel moved bytes, where channels differ."""
    traffic = result.traffic
    moved = traffic["read_bytes"] + traffic["written_bytes"]
    shown = traffic[(moved > 0) & (traffic["channel"] >= 0)]
    length = (shown["end_ps"] - shown["start_ps"]).clip(lower=1)
    said = [f"{rate:.1f} GB/s" for rate in (moved[shown.index] / length * 1e3).tolist()]
    place = [f"DRAM:channel {channel}" for channel in shown["channel"].tolist()]
    frame = shown[["start_ps", "end_ps"]].assign(layer=-1)
    return _named(frame, engine=place, task=said, kind="traffic", phase="")


def _banks(result: Result) -> pd.DataFrame:
    """One slice a bank and time of the table `activity`, named by what it did."""
    held = result.activity
    columns = [held[name].tolist() for name in COUNTS]
    said = [
        ", ".join(f"{n} {c}" for n, c in zip(row, COUNTS, strict=True) if n)
        for row in zip(*columns, strict=True)
    ]
    pairs = zip(held["channel"].tolist(), held["bank"].tolist(), strict=True)
    place = [f"banks of channel {channel}:bank {bank:02d}" for channel, bank in pairs]
    frame = held[["start_ps", "end_ps"]].assign(layer=-1)
    return _named(frame, engine=place, task=said, kind="bank", phase="")
