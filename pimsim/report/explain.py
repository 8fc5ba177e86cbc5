"""Where the time of a run went, and why one run takes longer than another.

Engines work at the same time, so their busy times add up to more than a run. Here every picosecond of the
run goes to one operator, engine and cause, so that the parts add up to the total exactly, and the
differences of two runs' parts to the difference of the runs.
"""

from __future__ import annotations

import heapq
import re
from collections import Counter
from dataclasses import dataclass
from typing import Any

import pandas as pd

from pimsim.errors import suggest
from pimsim.report.report import records
from pimsim.result import Result, ResultError

CAUSES = {
    "work": "the operator computes or moves its data, on all its engines",
    "beside copies": "the same while copies use the memory too",
    "last threads": "some of its engines are done and wait for the others",
    "copy not hidden": "weights are copied and no operator computes meanwhile",
    "threads": "threads are started, woken and joined, the runtime dispatches",
    "nothing runs": "no engine has work",
}
"""Causes and what they mean, in the order in which reports list them."""

KEYS = ["phase", "operator", "engine", "cause"]
TIMES = ["a_ps", "b_ps", "difference_ps"]
PICOSECONDS = 1e-12


def attribute(spans: pd.DataFrame) -> pd.DataFrame:
    """Every picosecond of a run, from 0 to the end of its last span, given to one part.

    spans: the table of a result. Of the operators that run at a time the one that ends last gets the
    time; a copy gets it only while no other operator runs, starting threads only while neither does.
    returns: columns phase (without its index), operator (task; pieces "1 of 4" joined), engine (what
    stands before ":"), cause (`CAUSES`), ps (int64).
    """
    parts = _parts(spans)
    rows = [(*key, time) for key, time in sorted(parts.items())]
    return pd.DataFrame(rows, columns=[*KEYS, "ps"]).astype({"ps": "int64"})


@dataclass(frozen=True, kw_only=True)
class Comparison:
    """Two runs side by side. parts: columns `KEYS`, a_ps, b_ps, difference_ps (b - a); memory: columns
    region, a_bytes, b_bytes, difference_bytes; settings: name -> (a, b) of what differs."""

    a: Result
    b: Result
    parts: pd.DataFrame
    memory: pd.DataFrame
    settings: dict[str, tuple[Any, Any]]

    @property
    def difference_ps(self) -> int:
        """How much longer b takes: the sum of the parts' differences."""
        return int(self.parts["difference_ps"].sum())

    def by(self, *keys: str) -> pd.DataFrame:
        """Times and differences in seconds by some of `KEYS`, the largest difference first."""
        for key in keys:
            if key not in KEYS:
                raise ResultError(f"a comparison has no {key!r}{suggest(key, KEYS)}")
        sums: dict[tuple[str, ...], list[int]] = {}
        for named, times in zip(_rows(self.parts[list(keys)]), _rows(self.parts[TIMES]), strict=True):
            held = sums.setdefault(named, [0, 0, 0])
            held[:] = [old + new for old, new in zip(held, times, strict=True)]
        order = sorted(sums.items(), key=lambda item: -abs(item[1][2]))
        rows = [(*key, *(time * PICOSECONDS for time in times)) for key, times in order]
        return pd.DataFrame(rows, columns=[*keys, "a_s", "b_s", "difference_s"])

    def sentences(self, most: int = 4) -> list[str]:
        """What differs and why, the largest part first; an operator's work counts as one, with or without
        copies beside it."""
        sums: dict[tuple[str, str], Counter[str]] = {}
        for (phase, operator, _, cause), (difference,) in zip(
            _rows(self.parts[KEYS]), _rows(self.parts[["difference_ps"]]), strict=True
        ):
            cause = "work" if cause == "beside copies" else cause
            sums.setdefault((phase, cause), Counter())[operator] += difference
        said = [_verdict(self.a, self.b)]
        order = sorted(sums.items(), key=lambda item: -abs(item[1].total()))
        for (phase, cause), operators in order[:most]:
            total = operators.total()
            if not total or abs(total) < 0.005 * abs(self.difference_ps):
                break
            down = sorted(operators, key=lambda name: -operators[name] if total > 0 else operators[name])
            top = ", ".join(name for name in down[:3] if operators[name] * total > 0)
            said.append(
                f"{signed(total * PICOSECONDS)} in {phase}: {cause} ({CAUSES[cause]})"
                + (f", most of it in {top}." if top != "-" else ".")
            )
        return said

    def to_json(self) -> dict[str, Any]:
        """Plain values: totals, sentences, parts, memory, settings."""
        return {
            "a": self.a.summary,
            "b": self.b.summary,
            "difference_s": self.difference_ps * PICOSECONDS,
            "sentences": self.sentences(),
            "settings": {name: list(pair) for name, pair in self.settings.items()},
            "parts": records(self.by(*KEYS)),
            "memory": records(self.memory),
        }


def compare(a: Result, b: Result) -> Comparison:
    """Why b takes another time than a: parts that add up to the whole difference."""
    one, two = _parts(a.spans), _parts(b.spans)
    rows = []
    for key in sorted({**one, **two}):
        first, second = one.get(key, 0), two.get(key, 0)
        rows.append((*key, first, second, second - first))
    parts = pd.DataFrame(rows, columns=[*KEYS, *TIMES]).astype(dict.fromkeys(TIMES, "int64"))
    sizes = [run.summary["capacity_bytes"] for run in (a, b)]
    memory = [(n, sizes[0].get(n, 0), sizes[1].get(n, 0)) for n in dict.fromkeys([*sizes[0], *sizes[1]])]
    memory.sort(key=lambda row: row[0] == "total")
    frame = pd.DataFrame(memory, columns=["region", "a_bytes", "b_bytes"])
    settings = [_settings(run) for run in (a, b)]
    names = dict.fromkeys([*settings[0], *settings[1]])
    differ = {n: (settings[0].get(n), settings[1].get(n)) for n in names}
    return Comparison(
        a=a,
        b=b,
        parts=parts,
        memory=frame.assign(difference_bytes=frame["b_bytes"] - frame["a_bytes"]),
        settings={name: pair for name, pair in differ.items() if pair[0] != pair[1]},
    )


def label(result: Result) -> str:
    """A short name of a run."""
    said = result.summary
    return f"{said['model']}, {said['method']}, prompt {said['prompt']}, {said['tokens']} tokens"


def signed(seconds: float) -> str:
    """Seconds with a sign, in a unit that leaves a short number."""
    for unit, scale in (("s", 1.0), ("ms", 1e3), ("µs", 1e6)):
        if abs(seconds) * scale >= 1:
            return f"{seconds * scale:+.4g} {unit}"
    return f"{seconds * 1e9:+.4g} ns"


def _verdict(a: Result, b: Result) -> str:
    """The first sentence: which is faster, by how much."""
    ends = [_end(run.spans) * PICOSECONDS for run in (a, b)]
    change = f" ({(ends[1] / ends[0] - 1) * 100:+.3g} %)" if ends[0] else ""
    what = "the same time as" if ends[0] == ends[1] else "longer than" if ends[1] > ends[0] else "less than"
    times = f"{ends[1]:.4g} s against {ends[0]:.4g} s, {signed(ends[1] - ends[0])}{change}"
    return f"B ({label(b)}) takes {what} A ({label(a)}): {times}."


def _settings(run: Result) -> dict[str, Any]:
    """What a run was asked for: summary texts and numbers, settings and digests of the manifest."""
    asked: dict[str, Any] = {n: run.summary[n] for n in ("model", "method", "system", "prompt", "tokens")}
    parts = {f"{n} (digest)": v[:12] for n, v in run.manifest.get("parts", {}).items() if isinstance(v, str)}
    asked.update(run.manifest.get("settings", {}))
    return asked | parts


def _rows(frame: pd.DataFrame) -> list[tuple[Any, ...]]:
    return list(zip(*(frame[name].tolist() for name in frame.columns), strict=True))


def _end(spans: pd.DataFrame) -> int:
    return int(spans["end_ps"].max()) if len(spans) else 0


def _rank(kind: str) -> int:
    return {"threads": 0, "copy": 1}.get(kind, 2)


def _parts(spans: pd.DataFrame) -> dict[tuple[str, ...], int]:
    """Key (phase, operator, engine, cause) -> picoseconds."""
    # One activity is a task of a layer and phase: its spans on several engines belong together.
    columns = ["start_ps", "end_ps", "phase", "layer", "task", "kind", "engine"]
    rows = sorted(zip(*(spans[c].tolist() for c in columns), strict=True))
    width = Counter((phase, layer, task, kind) for _, _, phase, layer, task, kind, _ in rows)
    parts: Counter[tuple[str, ...]] = Counter()
    names: dict[tuple[str, str], tuple[str, str]] = {}
    running: dict[tuple[Any, ...], list[Any]] = {}  # activity -> [spans that run, last end, engine of it]
    ends: list[tuple[int, tuple[Any, ...]]] = []
    now, i = 0, 0
    while i < len(rows) or ends:
        at = rows[i][0] if i < len(rows) else ends[0][0]
        at = min(at, ends[0][0]) if ends else at
        if at > now:
            parts[_owner(running, width, names, rows, i)] += at - now
            now = at
        while ends and ends[0][0] == at:
            _, key = heapq.heappop(ends)
            running[key][0] -= 1
            if not running[key][0]:
                del running[key]
        while i < len(rows) and rows[i][0] == at:
            _, end, phase, layer, task, kind, engine = rows[i]
            i += 1
            if end == at:
                continue
            key = (phase, layer, task, kind)
            held = running.setdefault(key, [0, -1, ""])
            held[0] += 1
            if end > held[1]:
                held[1:] = [end, engine]
            heapq.heappush(ends, (end, key))
    return dict(parts)


def _owner(
    running: dict[tuple[Any, ...], list[Any]],
    width: Counter[tuple[Any, ...]],
    names: dict[tuple[str, str], tuple[str, str]],
    rows: list[tuple[Any, ...]],
    i: int,
) -> tuple[str, ...]:
    """Who gets the time in which these activities run."""
    if not running:
        phase = rows[min(i, len(rows) - 1)][2]
        return (_named(phase, "", names)[0], "-", "-", "nothing runs")
    key, held = max(running.items(), key=lambda item: (_rank(item[0][3]), item[1][1], item[0][2]))
    phase, _, task, kind = key
    if kind == "threads":
        cause = "threads"
    elif kind == "copy":
        cause = "copy not hidden"
    elif held[0] < width[key]:
        cause = "last threads"
    else:
        cause = "beside copies" if any(other[3] == "copy" for other in running) else "work"
    return (*_named(phase, task, names), str(held[2]).split(":")[0], cause)


def _named(phase: str, task: str, names: dict[tuple[str, str], tuple[str, str]]) -> tuple[str, str]:
    """Phase without its index, operator without the number of its piece."""
    if (phase, task) not in names:
        short = re.sub(r"[ .]\d+ of \d+$", "", task)
        names[phase, task] = (re.split(r"[\[:\s]", phase, maxsplit=1)[0], short)
    return names[phase, task]
