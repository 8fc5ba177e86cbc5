"""Sweeps in TOML files.

    [sweep]
    name = "copy-threads"
    sampling = "grid"              # grid, list, random or latin-hypercube
    constraints = ["cpu.copy_threads <= 3 or prompt >= 64"]

    [base]                         # what every point has
    model = "llama-3.2-1b"
    method = "double-buffering"
    tokens = 4
    memory.channels = 2            # any parameter; pimsim sweep --paths lists them

    [axes]                         # what varies
    prompt = [16, 64, 256]
    cpu.copy_threads = [1, 2, 3, 4]
    memory.dram.timings.RCD = { low = 12, high = 24, steps = 4 }
    part = [                       # values that go together
      { label = "8533", "memory.dram" = "lpddr5x-8533-16gb-x16" },
      { label = "9600", "memory.dram" = "lpddr5x-9600-16gb-x16" },
    ]

A list of points instead of axes is `[[points]]`. Random and Latin-hypercube sweeps have `count` and `seed`
in `[sweep]`. `[search]` is for `pimsim search`.
"""

from __future__ import annotations

import re
import tomllib
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NoReturn

from pimsim.errors import SweepError, suggest
from pimsim.sweep.points import Axis, Range, Sweep

_SECTIONS = ("sweep", "base", "axes", "points", "search")
_SWEEP: dict[str, type] = {
    "name": str, "sampling": str, "count": int, "seed": int, "constraints": list, "objectives": list,
}  # fmt: skip
_RANGE = ("low", "high", "steps", "scale")
SAMPLERS = ("tpe", "nsga2", "random")


@dataclass(frozen=True, kw_only=True)
class SearchPlan:
    """How `pimsim search` looks for good points: trials in batches, what it makes small."""

    trials: int = 100
    batch: int = 4
    seed: int = 0
    sampler: str = "tpe"
    objectives: tuple[str, ...] = ("total_s", "memory_total_bytes")

    def __post_init__(self) -> None:
        for name in ("trials", "batch"):
            if type(getattr(self, name)) is not int or getattr(self, name) < 1:
                raise SweepError(f"search: {name}={getattr(self, name)!r}; wanted a whole number, at least 1")
        if type(self.seed) is not int or self.seed < 0:
            raise SweepError(f"search: seed={self.seed!r}; wanted a whole number of at least 0")
        if self.sampler not in SAMPLERS:
            raise SweepError(f"search: sampler={self.sampler!r}{suggest(str(self.sampler), SAMPLERS)}")
        if not self.objectives or not all(isinstance(name, str) for name in self.objectives):
            raise SweepError(f"search: objectives={self.objectives!r}; wanted names of result columns")


def read_sweep(path: str | Path) -> Sweep:
    """The sweep that a TOML file describes; a SweepError names the file, the line and what is wrong."""
    return _File(Path(path)).sweep()


def read_search(path: str | Path) -> tuple[Sweep, SearchPlan]:
    """The axes and the search plan of a TOML file."""
    file = _File(Path(path))
    return file.sweep(), file.search()


class _File:
    """A file that is being read: its text, for line numbers, and its tables."""

    def __init__(self, path: Path) -> None:
        self.path = path
        try:
            self.text = path.read_text(encoding="utf-8")
            self.raw: dict[str, Any] = tomllib.loads(self.text)
        except OSError as error:
            raise SweepError(f"{path}: cannot be read: {error.strerror}") from None
        except UnicodeDecodeError as error:
            raise SweepError(f"{path}: not UTF-8: {error}") from None
        except tomllib.TOMLDecodeError as error:
            raise SweepError(f"{path}: not TOML: {error}") from None
        for key in self.raw:
            if key not in _SECTIONS:
                self.fail(key, f"unknown section {key!r}{suggest(key, _SECTIONS)}")
            wanted = list if key == "points" else dict
            if not isinstance(self.raw[key], wanted):
                self.fail(key, f"{key}: wanted {'[[points]]' if key == 'points' else f'a table [{key}]'}")

    def fail(self, key: str, text: str) -> NoReturn:
        """Raise about a key and name its line, as well as that can be found."""
        found = re.search(rf"(?m)(^|[\s{{,\[\".]){re.escape(key)}(\"?\s*=|\]|\.)", self.text)
        line = self.text.count("\n", 0, found.end()) + 1 if found else 1
        raise SweepError(f"{self.path}:{line}: {text}")

    def sweep(self) -> Sweep:
        said = self.raw.get("sweep", {})
        for key, value in said.items():
            if key not in _SWEEP:
                self.fail(key, f"[sweep] has no key {key!r}{suggest(key, _SWEEP)}")
            if type(value) is not _SWEEP[key]:
                self.fail(key, f"{key}={value!r}; wanted {_kind(_SWEEP[key])}")
        for key in ("constraints", "objectives"):
            for value in said.get(key, []):
                if not isinstance(value, str):
                    self.fail(key, f"{key}: {value!r} is no text")
        try:
            return Sweep(
                name=said.get("name", self.path.stem),
                base=flat(self.raw.get("base", {})),
                axes=tuple(self.axis(name, value) for name, value in self.flat_axes().items()),
                sampling=said.get("sampling", "list" if "points" in self.raw else "grid"),
                count=said.get("count"),
                seed=said.get("seed", 0),
                listed=tuple(flat(row) for row in self.raw.get("points", [])),
                constraints=tuple(said.get("constraints", ())),
                **({"objectives": tuple(said["objectives"])} if "objectives" in said else {}),
            )
        except SweepError as problem:
            if str(problem).startswith(f"{self.path}:"):
                raise
            raise SweepError(f"{self.path}: {problem}") from None

    def flat_axes(self) -> dict[str, Any]:
        """The axes by name: tables that are no ranges are paths."""
        found: dict[str, Any] = {}

        def walk(at: str, value: Any) -> None:
            if isinstance(value, dict) and not _is_range(value):
                for key, inside in value.items():
                    walk(f"{at}.{key}" if at else key, inside)
            else:
                found[at] = value

        walk("", self.raw.get("axes", {}))
        return found

    def axis(self, name: str, value: Any) -> Axis:
        last = name.rpartition(".")[2]
        try:
            if isinstance(value, dict):
                for key in value:
                    if key not in _RANGE:
                        raise SweepError(f"axis {name}: a range has no {key!r}{suggest(key, _RANGE)}")
                return Axis(name=name, values=Range(**value))
            if isinstance(value, list):
                return Axis(name=name, values=tuple(value))
        except (SweepError, TypeError) as problem:
            self.fail(last, f"axis {name}: {problem}" if isinstance(problem, TypeError) else str(problem))
        self.fail(last, f"axis {name}={value!r}; wanted a list, or a range {{ low = ..., high = ... }}")

    def search(self) -> SearchPlan:
        said = dict(self.raw.get("search", {}))
        known = ("trials", "batch", "seed", "sampler", "objectives")
        for key in said:
            if key not in known:
                self.fail(key, f"[search] has no key {key!r}{suggest(key, known)}")
        objectives = said.pop("objectives", None) or self.raw.get("sweep", {}).get("objectives")
        if objectives is not None:
            if not isinstance(objectives, list):
                self.fail("objectives", f"objectives={objectives!r}; wanted a list of texts")
            said["objectives"] = tuple(objectives)
        try:
            return SearchPlan(**said)
        except SweepError as problem:
            raise SweepError(f"{self.path}: {problem}") from None


def flat(table: dict[str, Any]) -> dict[str, Any]:
    """`{"memory": {"channels": 2}}` as `{"memory.channels": 2}`; a table of ns and ck is one value."""
    found: dict[str, Any] = {}

    def walk(at: str, value: Any) -> None:
        if isinstance(value, dict) and not (value and value.keys() <= {"ns", "ck"}):
            for key, inside in value.items():
                walk(f"{at}.{key}" if at else key, inside)
        else:
            found[at] = value

    walk("", table)
    return found


def _is_range(value: dict[str, Any]) -> bool:
    return "low" in value or "high" in value


def _kind(kind: type) -> str:
    return {str: "a text", int: "a whole number", list: "a list"}[kind]
