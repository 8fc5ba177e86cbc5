"""How long does the timeline of a long run take, and how large is it? Writes results_timeline.md.

The fastest of five runs, by the clock on the wall, since gzip works on several cores, and in processor time,
which other programs disturb less. The same slices through `json.dumps` and `gzip` are measured, too.
"""

from __future__ import annotations

import gzip
import json
import os
import platform
import time
from collections.abc import Callable

import numpy as np
import pandas as pd
from write_up import write_up

from pimsim import simulate
from pimsim.report import chrome, timeline
from pimsim.result import Result

RUNS = 5
SETTING = {"model": "llama-3.2-3b", "method": "double-buffering", "prompt": 64, "tokens": 160}


def fastest(work: Callable[[], bytes]) -> tuple[float, float, int]:
    """Seconds of the fastest of some runs, by the clock and of the processor, and bytes that it gave."""
    clock, processor, size = [], [], 0
    for _ in range(RUNS):
        start = time.perf_counter(), time.process_time()
        size = len(work())
        clock.append(time.perf_counter() - start[0])
        processor.append(time.process_time() - start[1])
    return min(clock), min(processor), size


def ours(result: Result) -> bytes:
    """The bytes of a timeline."""
    return chrome.gzipped(text.encode() for text in chrome.texts(timeline.tracks_of(result)))


def plain(result: Result) -> bytes:
    """The same slices and counters, an object each, with all that is known of each slice."""
    made = timeline.tracks_of(result)
    events = [
        {
            "ph": "X", "name": s.name, "cat": s.kind, "pid": 1, "tid": s.track, "ts": s.start_ns / 1000,
            "dur": (s.end_ns - s.start_ns) / 1000, "args": {"phase": s.phase, "layer": s.layer},
        }
        for s in made.slices.itertuples(index=False)
    ]  # fmt: skip
    events += [
        {"ph": "C", "name": c.name, "pid": 1, "ts": c.time_ns / 1000, "args": {"value": c.value}}
        for c in made.counts.itertuples(index=False)
    ]
    return gzip.compress(json.dumps({"traceEvents": events}).encode(), compresslevel=chrome.LEVEL, mtime=0)


def report() -> str:
    """The table as Markdown."""
    result = simulate(**SETTING)
    made = timeline.tracks_of(result)
    slices = len(made.slices)
    rows = [("`pimsim timeline`", *fastest(lambda: ours(result)))]
    rows.append(("plain", *fastest(lambda: plain(result))))
    times, size = rows[1][2] / rows[0][2], rows[1][3] / rows[0][3]
    share = 200_000 / slices
    lines = [
        "# Timelines",
        "",
        f"Chrome JSON in gzip: the fastest of {RUNS} runs on {os.cpu_count()} cores, without reading the run",
        "and without the disk. Written by `benchmarks/timeline_speed.py` (Python "
        f"{platform.python_version()}, NumPy {np.__version__}, pandas {pd.__version__}, "
        f"{platform.machine()}).",
        f"{SETTING['model']}, {SETTING['method']}, prompt {SETTING['prompt']}, {SETTING['tokens']} tokens: "
        f"{len(result.spans):,} spans,",
        f"{slices:,} slices (with phases, layers and operators), {len(made.counts):,} counter values.",
        "",
        "| writer | seconds | of the processor | MB | 200,000 slices: seconds | of the processor | MB |",
        "| --- | ---: | ---: | ---: | ---: | ---: | ---: |",
    ]
    for name, clock, processor, length in rows:
        figures = (clock, processor, length / 1e6)
        said = [f"{figure:.2f}" for figure in (*figures, *(figure * share for figure in figures))]
        lines.append(f"| {name} | {' | '.join(said)} |")
    lines += [
        "",
        "- plain: an object a slice through `json.dumps`, then `gzip`: "
        f"{times:.1f} times the processor time, {size:.1f} times as large.",
        "- Wanted for 200,000 slices: 0.2 s, 1 MB.",
    ]
    return "\n".join(lines) + "\n"


if __name__ == "__main__":
    write_up(report, __doc__, "results_timeline.md")
