"""How long does the timeline of a long run take, and how large is it? Writes results_timeline.md.

The fastest of five runs, by the clock on the wall: gzip works on several cores. The same events through
`json.dumps` and `gzip`, one after the other, are measured in the same call.
"""

from __future__ import annotations

import argparse
import gzip
import json
import os
import platform
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pandas as pd

from pimsim import simulate
from pimsim.report import chrome, timeline
from pimsim.report.timeline import Tracks
from pimsim.result import Result

RUNS = 5
SETTING = {"model": "llama-3.2-3b", "method": "double-buffering", "prompt": 64, "tokens": 160}


def fastest(work: Callable[[], bytes]) -> tuple[float, bytes]:
    """Seconds of the fastest of some runs, and what it gave."""
    taken, made = [], b""
    for _ in range(RUNS):
        start = time.perf_counter()
        made = work()
        taken.append(time.perf_counter() - start)
    return min(taken), made


def ours(result: Result) -> bytes:
    """The bytes of a timeline."""
    return chrome.gzipped(text.encode() for text in chrome.texts(timeline.tracks_of(result)))


def plain(made: Tracks) -> bytes:
    """The same slices and counters, an object each, with all that is known of each slice."""
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
    tracks_s, _ = fastest(lambda: bytes(len(timeline.tracks_of(result).threads)))
    rows = []
    for name, work in (("`pimsim timeline`", lambda: ours(result)), ("plain", lambda: plain(made))):
        seconds, data = fastest(work)
        rows.append((name, seconds + (tracks_s if name == "plain" else 0), len(data)))
    share = 200_000 / slices
    times, size = rows[1][1] / rows[0][1], rows[1][2] / rows[0][2]
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
        "| writer | seconds | MB | seconds per 200,000 slices | MB per 200,000 slices |",
        "| --- | ---: | ---: | ---: | ---: |",
    ]
    for name, seconds, length in rows:
        figures = (seconds, length / 1e6, seconds * share, length * share / 1e6)
        lines.append(f"| {name} | {' | '.join(f'{figure:.2f}' for figure in figures)} |")
    lines += [
        "",
        f"- plain: an object a slice through `json.dumps`, then `gzip`: {times:.1f} times as long, "
        f"{size:.1f} times as large.",
        "- Wanted for 200,000 slices: 0.2 s, 1 MB.",
    ]
    return "\n".join(lines) + "\n"


def main() -> None:
    options = argparse.ArgumentParser(description=__doc__)
    options.add_argument("--out", type=Path, default=Path(__file__).with_name("results_timeline.md"))
    given = options.parse_args()
    text = report()
    given.out.write_text(text, encoding="utf-8")
    print(text)


if __name__ == "__main__":
    main()
