"""Timelines as a file of trace events, which https://ui.perfetto.dev opens."""

from __future__ import annotations

import gzip
import json
from pathlib import Path
from typing import Any

import pandas as pd

from pimsim.result import write_file


def write_perfetto(spans: pd.DataFrame, counters: pd.DataFrame | None, path: str | Path) -> None:
    """Write spans and counters over time as Chrome JSON trace events.

    spans: columns of a result's spans. Engines of one group (what stands before ":" in the name) form a
    process, each engine a thread. Spans of an engine that overlap without one holding the other go to
    further threads, numbered.
    counters: columns component, time_ps, value; one curve a component.
    path: gzip if it ends in .gz. Times are microseconds with three decimals. The same input gives the
    same bytes.
    """
    lines = [json.dumps(event, ensure_ascii=False) for event in events(spans, counters)]
    text = '{"displayTimeUnit": "ns", "traceEvents": [\n' + ",\n".join(lines) + "\n]}\n"
    data = text.encode()
    if str(path).endswith(".gz"):
        data = gzip.compress(data, mtime=0)
    write_file(path, data)


def events(spans: pd.DataFrame, counters: pd.DataFrame | None = None) -> list[dict[str, Any]]:
    """The trace events of `write_perfetto`: names first, then complete ("X") and counter ("C") events."""
    groups: dict[str, int] = {}
    threads: dict[tuple[int, str], int] = {}
    names: list[dict[str, Any]] = []
    body: list[dict[str, Any]] = []

    def process(engine: str) -> int:
        group = engine.split(":")[0]
        if group not in groups:
            groups[group] = len(groups) + 1
            names.append(_named("process_name", groups[group], 0, group))
        return groups[group]

    def thread(pid: int, name: str) -> int:
        if (pid, name) not in threads:
            threads[pid, name] = 1 + sum(1 for held, _ in threads if held == pid)
            names.append(_named("thread_name", pid, threads[pid, name], name))
        return threads[pid, name]

    for engine, rows in spans.groupby("engine", sort=False):
        pid = process(str(engine))
        held = [
            (start, end, task, kind, phase, layer)
            for task, kind, phase, layer, start, end in zip(
                rows["task"].tolist(),
                rows["kind"].tolist(),
                rows["phase"].tolist(),
                rows["layer"].tolist(),
                rows["start_ps"].tolist(),
                rows["end_ps"].tolist(),
                strict=True,
            )
        ]
        held.sort(key=lambda row: (row[0], -row[1]))
        for lane, (start, end, task, kind, phase, layer) in zip(
            lanes([row[:2] for row in held]), held, strict=True
        ):
            start_ns, end_ns = _ns(start), _ns(end)
            body.append(
                {
                    "ph": "X",
                    "name": task,
                    "cat": kind,
                    "pid": pid,
                    "tid": thread(pid, str(engine) if lane == 0 else f"{engine} ({lane + 1})"),
                    "ts": start_ns / 1000,
                    "dur": (end_ns - start_ns) / 1000,
                    "args": {"phase": phase, "layer": layer, "kind": kind},
                }
            )
    if counters is not None:
        for component, time_ps, value in zip(
            counters["component"].tolist(),
            counters["time_ps"].tolist(),
            counters["value"].tolist(),
            strict=True,
        ):
            event = {"ph": "C", "name": component, "pid": process(component), "ts": _ns(time_ps) / 1000}
            body.append(event | {"args": {"value": value}})
    return names + body


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


def _ns(time_ps: int) -> int:
    """Nanoseconds, halves up."""
    return (int(time_ps) + 500) // 1000


def _named(what: str, pid: int, tid: int, name: str) -> dict[str, Any]:
    return {"ph": "M", "name": what, "pid": pid, "tid": tid, "args": {"name": name}}
