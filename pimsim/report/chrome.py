"""Timelines as Chrome JSON (the "Trace Event Format"), which https://ui.perfetto.dev opens.

A run of a large model has 200 000 slices and more. What repeats is turned into text once, slices lie in the
order of time, so that equal times are near each other, and gzip works on several parts at once. Files of
more than `MANY_SLICES` slices are brief: times are in steps of `COARSE_NS`, and slices have no arguments,
since the track of phases and layers says them once, and no category but on the track of operators.
"""

from __future__ import annotations

import json
import os
import struct
import zlib
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from pimsim.report import timeline
from pimsim.report.timeline import OPERATORS, Tracks, numbered
from pimsim.result import write_file

COARSE_NS = 100
PART = 1 << 15
"""Slices that are turned into text, and compressed, at a time."""
LEVEL = 6
WINDOW = 1 << 15
"""How far back deflate looks for what repeats, bytes (RFC 1951)."""


def write_chrome(made: Tracks, path: Path) -> None:
    """Write tracks to a file, gzip if its name ends in .gz: the same tracks give the same bytes."""
    parts = (text.encode() for text in texts(made))
    write_file(path, gzipped(parts) if path.suffix == ".gz" else b"".join(parts))


def events(made: Tracks) -> list[dict[str, Any]]:
    """The trace events of a file: names first, then complete ("X") and counter ("C") events."""
    held: list[dict[str, Any]] = json.loads("".join(texts(made)))["traceEvents"]
    return held


def texts(made: Tracks) -> Iterator[str]:
    """The text of a file, in parts."""
    pids: dict[str, int] = {}
    lines: list[str] = []

    def process(name: str) -> int:
        if name not in pids:
            pids[name] = len(pids) + 1
            lines.append(_about("process_name", pids[name], 0, name=name))
            lines.append(_about("process_sort_index", pids[name], 0, sort_index=pids[name]))
        return pids[name]

    owners = [process(name) for name, _ in made.threads]
    owners_of_counts = [process(name) for name in made.counts["process"].tolist()]
    where: list[str] = []
    for tid, (pid, (_, thread)) in enumerate(zip(owners, made.threads, strict=True), len(pids) + 1):
        lines.append(_about("thread_name", pid, tid, name=thread))  # no tid is a pid: that were a main thread
        lines.append(_about("thread_sort_index", pid, tid, sort_index=tid))
        where.append(f'"pid":{pid},"tid":{tid}')
    yield '{"displayTimeUnit": "ns", "traceEvents": [\n' + ",\n".join(lines)
    yield from _slices(made.slices, where, [name == OPERATORS for name, _ in made.threads])
    yield _counts(made.counts, owners_of_counts, brief=len(made.slices) > timeline.MANY_SLICES)
    yield "\n]}\n"


def _slices(s: pd.DataFrame, where: list[str], shown: list[bool]) -> Iterator[str]:
    brief = len(s) > timeline.MANY_SLICES
    step = COARSE_NS if brief else 1
    of_us = 1000 // step
    track, start_ns, end_ns = (s[name].to_numpy() for name in ("track", "start_ns", "end_ns"))
    start, end = start_ns // step, end_ns // step
    # A length is rounded by itself, so that equal ones stay equal; a slice that holds others ends where its
    # end is rounded to, so that it still holds them.
    holds = np.append((track[1:] == track[:-1]) & (start_ns[1:] < end_ns[:-1]), False)[: len(s)]
    length = np.where(holds, end - start, (end_ns - start_ns) // step)
    order = np.lexsort((track, start))
    fractions = [f"{r / of_us:.3f}".lstrip("0").rstrip("0").rstrip(".") for r in range(of_us)]
    names, kinds, phases = (s[name].array for name in ("name", "kind", "phase"))
    said = [json.dumps(str(name), ensure_ascii=False) for name in names.categories]
    categories = [json.dumps(str(kind), ensure_ascii=False) for kind in kinds.categories]

    def about(row: int) -> str:
        """All of an event after its time."""
        place, ticks = int(track[row]), int(length[row])
        text = f',{where[place]},"name":{said[names.codes[row]]}'
        if shown[place] or not brief:
            text += f',"cat":{categories[kinds.codes[row]]}'
        if not brief:
            args = {"phase": phases[row], "layer": int(layer[row])}
            text += f',"args":{json.dumps(args, ensure_ascii=False)}'
        return f'{text},"dur":{ticks // of_us}{fractions[ticks % of_us] or ".0"}}}'

    layer = s["layer"].to_numpy()
    keys = [track, names.codes, kinds.codes, length]
    if not brief:
        keys += [phases.codes, layer]
    texts = _repeated([np.asarray(key)[order].astype(np.int64) for key in keys], order, about)
    whole, rest = np.divmod(start[order], of_us)
    after_point = np.array(fractions, dtype=object)[rest]
    flow, out = s["flow"].to_numpy()[order], s["out"].to_numpy()[order]
    for row in np.flatnonzero(flow).tolist():
        way = "out" if out[row] else "in"
        texts[row] = f'{texts[row][:-1]},"bind_id":"{flow[row]}","flow_{way}":true}}'
    begin = ',\n{"ph":"X","ts":'
    for first in range(0, len(s), PART):
        part = slice(first, first + PART)
        pieces: list[Any] = [begin] * (4 * len(whole[part]))
        pieces[1::4] = map(str, whole[part].tolist())
        pieces[2::4] = after_point[part].tolist()
        pieces[3::4] = texts[part].tolist()
        yield "".join(pieces)


def _counts(c: pd.DataFrame, owners: list[int], brief: bool) -> str:
    """Counters. A page shows the name of a counter, and that of its value: the unit, if there is one."""
    if brief:  # in the order of time, as the slices; four digits draw the same curve
        order = np.argsort(c["time_ns"].to_numpy(), kind="stable")
        c, owners = c.take(order), np.asarray(owners)[order].tolist()
    known: dict[tuple[int, str], str] = {}
    digits: dict[float, str] = {}
    pieces = []
    columns = (owners, c["name"].tolist(), c["time_ns"].tolist(), c["value"].tolist())
    for owner, name, time_ns, value in zip(*columns, strict=True):
        if (owner, name) not in known:
            said, _, unit = name.rpartition(", ") if ", " in name else (name, "", "value")
            head = f',"pid":{owner},"name":{json.dumps(said, ensure_ascii=False)},"args":{{'
            known[owner, name] = f"{head}{json.dumps(unit, ensure_ascii=False)}:"
        if value not in digits:
            digits[value] = repr(float(f"{value:.4g}")) if brief else repr(value)
        if brief:
            time_ns = time_ns // COARSE_NS * COARSE_NS
        pieces.append(f',\n{{"ph":"C","ts":{time_ns / 1000}{known[owner, name]}{digits[value]}}}}}')
    return "".join(pieces)


def _repeated(keys: list[np.ndarray], order: np.ndarray, text: Callable[[int], str]) -> np.ndarray:
    """`text` of each row in the order (rows,), made once for rows with equal keys."""
    numbers = numbered(*keys)
    first = np.zeros(int(numbers.max()) + 1 if len(numbers) else 0, np.int64)
    first[numbers[::-1]] = order[::-1]
    made = np.empty(len(first), dtype=object)
    made[:] = [text(row) for row in first.tolist()]
    texts: np.ndarray = made[numbers]
    return texts


def _about(what: str, pid: int, tid: int, **said: str | int) -> str:
    return json.dumps({"ph": "M", "name": what, "pid": pid, "tid": tid, "args": said}, ensure_ascii=False)


def gzipped(parts: Iterable[bytes]) -> bytes:
    """One gzip member (RFC 1952) of all parts, which are compressed at the same time.

    Each part ends on a whole byte and begins with the window that the part before has left, so that the
    outcome is one stream and depends on nothing but the parts.
    """

    def packed(data: bytes, window: bytes) -> bytes:
        work = zlib.compressobj(LEVEL, zlib.DEFLATED, -zlib.MAX_WBITS, 8, zlib.Z_DEFAULT_STRATEGY, window)
        return work.compress(data) + work.flush(zlib.Z_SYNC_FLUSH)

    check, size, window = 0, 0, b""
    made = []
    with ThreadPoolExecutor(min(4, os.cpu_count() or 1)) as pool:
        for data in parts:
            made.append(pool.submit(packed, data, window))
            check, size = zlib.crc32(data, check), size + len(data)
            window = (window + data)[-WINDOW:]
    end = zlib.compressobj(LEVEL, zlib.DEFLATED, -zlib.MAX_WBITS).flush()
    trailer = struct.pack("<2L", check, size & 0xFFFFFFFF)
    return b"".join([b"\x1f\x8b\x08\0\0\0\0\0\0\xff", *(work.result() for work in made), end, trailer])
