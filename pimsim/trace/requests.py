"""Serving traces: when requests arrive and how many tokens they bring and want.

Vidur: CSV with `arrived_at` (seconds), `num_prefill_tokens`, `num_decode_tokens`. LLMServingSim: JSON Lines
with `input_toks`, `output_toks`, `arrival_time_ns`. Which one a file is shows in its first character.
"""

from __future__ import annotations

import csv
import os
import re
from dataclasses import dataclass
from fractions import Fraction
from itertools import pairwise
from pathlib import Path
from typing import Any

import msgspec

from pimsim.errors import TraceError
from pimsim.trace.reading import MOST, read_lines, short, whole

LIMIT_BYTES = 256 * 2**20
LATEST_PS = 2**62  # about 53 days
_NUMBER = re.compile(r"\d{1,12}(?:\.\d{0,40})?(?:[eE][-+]?\d{1,2})?", re.ASCII)

_CSV = ("arrived_at", "num_prefill_tokens", "num_decode_tokens")
_CSV_OF_NO_EFFECT = ("", "num_total_tokens", "pd_ratio", "request_id")
_JSON = ("input_toks", "output_toks", "arrival_time_ns")
_JSON_OF_NO_EFFECT = ("input_tok_ids", "output_tok_ids", "request_id")


@dataclass(frozen=True, kw_only=True)
class ServingRequest:
    """One request: arrival in picoseconds, tokens of its prompt, tokens that it wants."""

    arrive_ps: int
    prompt: int
    tokens: int


def read_serving(path: str | os.PathLike[str]) -> tuple[ServingRequest, ...]:
    """The requests of a Vidur or LLMServingSim trace in the order of the file, which must be that of time."""
    path = Path(path)
    lines = read_lines(path, LIMIT_BYTES)
    numbered = [(number, line) for number, line in enumerate(lines, start=1) if line.strip()]
    if not numbered:
        raise TraceError(f"{path}:1: the file is empty: wanted {', '.join(_CSV)} or JSON lines")
    read = _json if numbered[0][1].lstrip().startswith("{") else _table
    found = read(path, numbered)
    for (_, before), (number, after) in pairwise(found):
        if after.arrive_ps < before.arrive_ps:
            raise TraceError(f"{path}:{number}: arrives before the request above it")
    return tuple(request for _, request in found)


def _table(path: Path, numbered: list[tuple[int, str]]) -> list[tuple[int, ServingRequest]]:
    header = [cell.strip() for cell in numbered[0][1].split(",")]
    where = f"{path}:{numbered[0][0]}"
    for name in _CSV:
        if name not in header:
            raise TraceError(f"{where}: no column {name!r}: wanted {', '.join(_CSV)}")
    for name in header:
        if name not in _CSV and name not in _CSV_OF_NO_EFFECT:
            raise TraceError(f"{where}: unknown column {short(name)}")
    found = []
    for (number, _), cells in zip(numbered[1:], csv.reader(line for _, line in numbered[1:]), strict=False):
        where = f"{path}:{number}"
        if len(cells) != len(header):
            raise TraceError(f"{where}: {len(cells)} cells, wanted {len(header)}")
        row = dict(zip(header, cells, strict=True))
        request = ServingRequest(
            arrive_ps=_seconds(row["arrived_at"], where),
            prompt=whole(row["num_prefill_tokens"], where, "num_prefill_tokens"),
            tokens=whole(row["num_decode_tokens"], where, "num_decode_tokens"),
        )
        found.append((number, request))
    if not found:
        raise TraceError(f"{where}: no requests after the header")
    return found


def _json(path: Path, numbered: list[tuple[int, str]]) -> list[tuple[int, ServingRequest]]:
    found = []
    for number, line in numbered:
        where = f"{path}:{number}"
        try:
            row: Any = msgspec.json.decode(line)
        except (msgspec.MsgspecError, RecursionError) as error:
            raise TraceError(f"{where}: {error}, in {short(line)}") from None
        if not isinstance(row, dict):
            raise TraceError(f"{where}: wanted a JSON object, got {short(row)}")
        if "sub_requests" in row:
            raise TraceError(f"{where}: sub_requests: sessions of several requests are not read")
        for name in row:
            if name not in _JSON and name not in _JSON_OF_NO_EFFECT:
                raise TraceError(f"{where}: unknown key {short(name)}")
        values = {}
        for name, least, most in (
            ("input_toks", 1, MOST),
            ("output_toks", 1, MOST),
            ("arrival_time_ns", 0, LATEST_PS // 1000),
        ):
            value = row.get(name)
            if type(value) is not int or not least <= value <= most:
                raise TraceError(
                    f"{where}: {name} {short(value)}: wanted a whole number from {least} to {most}"
                )
            values[name] = value
        request = ServingRequest(
            arrive_ps=values["arrival_time_ns"] * 1000,
            prompt=values["input_toks"],
            tokens=values["output_toks"],
        )
        found.append((number, request))
    return found


def _seconds(text: str, where: str) -> int:
    """Picoseconds of a decimal number of seconds, rounded to the nearest."""
    digits = text.strip()
    if _NUMBER.fullmatch(digits):
        value = round(Fraction(digits) * 10**12)
        if value <= LATEST_PS:
            return value
    raise TraceError(f"{where}: arrived_at {short(text)}: wanted seconds from 0 to {LATEST_PS // 10**12}")
