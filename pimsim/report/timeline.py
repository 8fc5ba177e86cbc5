"""Timelines as a file of trace events, which https://ui.perfetto.dev opens.

One table of slices and one of counts over time are made first (`tracks`); they are written as Chrome JSON
here and as protobuf in `pimsim.report.perfetto`.
"""

from __future__ import annotations

import gzip
import json
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from pimsim.result import Result, write_file

OPERATORS = "operators"
FINE_SLICES = 50_000
"""Files of more slices have times in steps of `COARSE_NS`, which halves them."""
COARSE_NS = 100
STEPS = 5_000
"""Most steps of a counter; longer runs are averaged over equal times."""
COUNTS = ("activates", "reads", "writes", "pim")


@dataclass(frozen=True, kw_only=True)
class Tracks:
    """What a timeline shows.

    threads: (process, thread) of each track. slices: columns track (its place in threads), name, kind,
    start_ns, end_ns, layer, phase, flow (0: none), out (whether the flow begins here), by track and time.
    counts: columns process, name, time_ns, value.
    """

    threads: list[tuple[str, str]]
    slices: pd.DataFrame
    counts: pd.DataFrame


def write_perfetto(spans: pd.DataFrame, counters: pd.DataFrame | None, path: str | Path) -> None:
    """Write spans and counters over time as Chrome JSON trace events.

    spans: columns of a result's spans. Engines of one group (what stands before ":" in the name) form a
    process, each engine a thread. Spans of an engine that overlap without one holding the other go to
    further threads, numbered.
    counters: columns component, time_ps, value; one curve a component.
    path: gzip if it ends in .gz. Times are microseconds with three decimals (one, in
    files of more than `FINE_SLICES` slices). The same input gives the
    same bytes.
    """
    _write(tracks(spans, counters), Path(path))


def write_timeline(result: Result, path: str | Path) -> None:
    """Write all that a result knows about time: engines, operators and their streams, channels, banks.

    Flows lead from each operator to its spans on the engines. Counters: GB/s read and written at the pins,
    read in the banks by PIM units, and bursts outstanding (the limits of the running streams).
    path: protobuf if it ends in .pftrace (extra "perfetto"), else Chrome JSON, gzip if in .gz.
    """
    made = tracks_of(result)
    if Path(path).suffix == ".pftrace":
        from pimsim.report.perfetto import trace_bytes

        write_file(path, trace_bytes(made))
    else:
        _write(made, Path(path))


def tracks_of(result: Result) -> Tracks:
    """The tracks of `write_timeline`."""
    spans = result.spans
    parts = [_operators(spans), spans.assign(out=False), _channels(result), _banks(result)]
    joined = pd.concat([part for part in parts if len(part)], ignore_index=True) if len(spans) else spans
    return tracks(joined, counts_over_time(result.traffic), flows=True)


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


def events(spans: pd.DataFrame, counters: pd.DataFrame | None = None) -> list[dict[str, Any]]:
    """The trace events of `write_perfetto`: names first, then complete ("X") and counter ("C") events."""
    return [json.loads(line) for line in _lines(tracks(spans, counters))]


def tracks(spans: pd.DataFrame, counters: pd.DataFrame | None = None, flows: bool = False) -> Tracks:
    """Slices by engine and lane. flows: number the activities, from the slice with `out` to the others."""
    threads: list[tuple[str, str]] = []
    frames = []
    if flows:
        numbers = spans.groupby(["phase", "layer", "task"], sort=False).ngroup() + 1
        spans = spans.assign(flow=numbers.where(spans["out"].notna(), 0), out=spans["out"].eq(True))
    else:
        spans = spans.assign(flow=0, out=False)
    for engine, rows in spans.groupby("engine", sort=False):
        rows = rows.iloc[np.lexsort((-rows["end_ps"].to_numpy(), rows["start_ps"].to_numpy()))]
        start, end = rows["start_ps"].to_numpy(), rows["end_ps"].to_numpy()
        chosen = np.zeros(len(rows), np.int64)
        if (start[1:] < end[:-1]).any():
            chosen = np.array(lanes(list(zip(start.tolist(), end.tolist(), strict=True))))
        base = len(threads)
        for lane in range(int(chosen.max()) + 1):
            threads.append(
                (str(engine).split(":")[0], str(engine) if lane == 0 else f"{engine} ({lane + 1})")
            )
        times = {"start_ns": (start + 500) // 1000, "end_ns": (end + 500) // 1000}
        frames.append(rows.assign(track=chosen + base, **times))
    columns = ["track", "task", "kind", "start_ns", "end_ns", "layer", "phase", "flow", "out"]
    slices = pd.concat(frames)[columns] if frames else pd.DataFrame(columns=columns)
    counts = pd.DataFrame(columns=["process", "name", "time_ns", "value"])
    if counters is not None and len(counters):
        names = counters["component"].astype(str)
        process = names.str.split(":").str[0].str.split(" ").str[0]
        times_ns = (counters["time_ps"].astype("int64") + 500) // 1000
        columns = list(counts.columns)
        counts = pd.concat([process, names, times_ns, counters["value"]], axis=1).set_axis(columns, axis=1)
    return Tracks(threads=threads, slices=slices.rename(columns={"task": "name"}), counts=counts)


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


# Tracks beside those of the engines.


def _operators(spans: pd.DataFrame) -> pd.DataFrame:
    """One slice an activity (task of a layer and phase), from its first to its last span."""
    if not len(spans):
        return spans
    keys = ["phase", "layer", "task"]
    work = spans[spans["kind"] != "threads"]
    kinds = work.groupby(keys, sort=False)["kind"].first().rename("kind")
    times = spans.groupby(keys, sort=False).agg(start_ps=("start_ps", "min"), end_ps=("end_ps", "max"))
    frame: pd.DataFrame = times.join(kinds).reset_index()
    return frame.assign(kind=frame["kind"].fillna("threads"), engine=OPERATORS, out=True)


def _channels(result: Result) -> pd.DataFrame:
    """One slice a time in which a channel moved bytes, where channels differ."""
    traffic = result.traffic
    if not len(traffic):
        return traffic
    moved = traffic["read_bytes"] + traffic["written_bytes"]
    length = (traffic["end_ps"] - traffic["start_ps"]).clip(lower=1)
    said = [f"{rate:.1f} GB/s" for rate in (moved / length * 1e3).tolist()]
    place = "DRAM:channel " + traffic["channel"].astype(str)
    frame = traffic[["start_ps", "end_ps", "channel"]].assign(
        engine=place, task=said, kind="traffic", layer=-1, phase=""
    )
    return frame[(moved > 0) & (traffic["channel"] >= 0)].drop(columns="channel")


def _banks(result: Result) -> pd.DataFrame:
    """One slice a bank and time of the table `activity`, named by what it did."""
    held = result.activity
    if not len(held):
        return held
    columns = [held[name].tolist() for name in COUNTS]
    said = [
        ", ".join(f"{n} {c}" for n, c in zip(row, COUNTS, strict=True) if n)
        for row in zip(*columns, strict=True)
    ]
    place = "banks of channel " + held["channel"].astype(str)
    bank = ":bank " + held["bank"].astype(str).str.zfill(2)
    return held[["start_ps", "end_ps"]].assign(
        engine=place + bank, task=said, kind="bank", layer=-1, phase=""
    )


# Chrome JSON.


def _write(made: Tracks, path: Path) -> None:
    text = '{"displayTimeUnit": "ns", "traceEvents": [\n' + ",\n".join(_lines(made)) + "\n]}\n"
    data = text.encode()
    if path.suffix == ".gz":
        data = gzip.compress(data, compresslevel=6, mtime=0)
    write_file(path, data)


def _lines(made: Tracks) -> list[str]:
    """One JSON object an event."""
    pids: dict[str, int] = {}
    tids: dict[str, int] = {}
    lines: list[str] = []
    where: list[str] = []
    for process, thread in made.threads:
        pid = _process(process, pids, lines)
        tids[process] = tids.get(process, 0) + 1
        lines.append(_named("thread_name", pid, tids[process], thread))
        where.append(f'"pid":{pid},"tid":{tids[process]},"ts":')
    # What repeats is turned into text once: an event is two such texts and two numbers.
    s = made.slices
    heads = _repeated(s[["track", "name", "kind"]], lambda track, name, kind: _head(where[track], name, kind))
    tails = _repeated(
        s[["phase", "layer"]],
        lambda phase, layer: json.dumps({"phase": phase, "layer": layer}, ensure_ascii=False) + "}",
    )
    step = COARSE_NS if len(s) > FINE_SLICES else 1
    start, end = (s[name].to_numpy().astype(np.int64) // step * step for name in ("start_ns", "end_ns"))
    times, lengths = (start / 1000).tolist(), ((end - start) / 1000).tolist()
    body = zip(heads, times, lengths, tails, strict=True)
    if s["flow"].any():
        flows = zip(s["flow"].tolist(), s["out"].tolist(), strict=True)
        tied = [f'"bind_id":"{n}","flow_{"out" if out else "in"}":true,' if n else "" for n, out in flows]
        body_tied = zip(body, tied, strict=True)
        lines += [f'{h}{t},"dur":{d},{flow}"args":{tail}' for (h, t, d, tail), flow in body_tied]
    else:
        lines += [f'{head}{time},"dur":{length},"args":{tail}' for head, time, length, tail in body]
    c = made.counts
    owners = [_process(name, pids, lines) for name in c["process"].tolist()]
    heads = _repeated(
        c[["name"]].assign(pid=owners),
        lambda name, pid: json.dumps({"ph": "C", "name": name, "pid": pid})[:-1],
    )
    values = zip(heads, (c["time_ns"] / 1000).tolist(), c["value"].tolist(), strict=True)
    lines += [f'{head},"ts":{time},"args":{{"value":{value}}}}}' for head, time, value in values]
    return lines


def _repeated(frame: pd.DataFrame, text: Callable[..., str]) -> list[str]:
    """`text` of each row, made once for rows that are equal."""
    codes = np.zeros(len(frame), np.int64)
    for name in frame.columns:
        here, values = pd.factorize(frame[name])
        codes = codes * max(1, len(values)) + here
    unique, first, inverse = np.unique(codes, return_index=True, return_inverse=True)
    rows = zip(*(frame[name].iloc[first].tolist() for name in frame.columns), strict=True)
    made = np.empty(len(unique), dtype=object)
    made[:] = [text(*row) for row in rows]
    texts: list[str] = made[inverse].tolist()
    return texts


def _process(name: str, pids: dict[str, int], lines: list[str]) -> int:
    if name not in pids:
        pids[name] = len(pids) + 1
        lines.append(_named("process_name", pids[name], 0, name))
    return pids[name]


def _head(where: str, name: str, kind: str) -> str:
    said = json.dumps({"ph": "X", "name": name, "cat": kind}, ensure_ascii=False)
    return f"{said[:-1]},{where}"


def _named(what: str, pid: int, tid: int, name: str) -> str:
    event = {"ph": "M", "name": what, "pid": pid, "tid": tid, "args": {"name": name}}
    return json.dumps(event, ensure_ascii=False)
