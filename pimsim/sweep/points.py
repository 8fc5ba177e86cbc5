"""A sweep as a value: what every run has in common, axes, how points are picked, what rules them out."""

from __future__ import annotations

import itertools
import json
import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from pimsim.errors import SweepError, suggest
from pimsim.sweep.expression import Expression, read

SAMPLINGS = ("grid", "list", "random", "latin-hypercube")
MOST_POINTS = 1_000_000
TRIES = 1000
"""Random draws a point before a sweep gives up finding points that its constraints allow."""

Settings = dict[str, Any]
"""Values by path: everything that one run is given."""


@dataclass(frozen=True, kw_only=True)
class Range:
    """Numbers from low to high. steps: how many a grid takes of them, evenly; scale: "linear" or "log".

    Whole ends give whole numbers. Numbers are rounded to 12 digits, so they are the same on every machine.
    """

    low: float
    high: float
    steps: int | None = None
    scale: str = "linear"

    def __post_init__(self) -> None:
        for name in ("low", "high"):
            value = getattr(self, name)
            if isinstance(value, bool) or not isinstance(value, int | float) or not math.isfinite(value):
                raise SweepError(f"range: {name}={value!r}; wanted a number")
        if self.low > self.high:
            raise SweepError(f"range from {self.low} to {self.high}; wanted the lower end first")
        if self.scale not in ("linear", "log"):
            raise SweepError(f"range: scale={self.scale!r}{suggest(str(self.scale), ('linear', 'log'))}")
        if self.scale == "log" and self.low <= 0:
            raise SweepError(f"range from {self.low} with scale log; wanted numbers above 0")
        if self.steps is not None and (type(self.steps) is not int or self.steps < 1):
            raise SweepError(f"range: steps={self.steps!r}; wanted a whole number of at least 1")

    @property
    def whole(self) -> bool:
        return isinstance(self.low, int) and isinstance(self.high, int)

    def at(self, share: float) -> float:
        """The number at a share (0 to 1) of the way; whole numbers get equal shares each."""
        if self.whole and self.scale == "linear":
            return min(int(self.high), int(self.low) + int(share * (self.high - self.low + 1)))
        return self._between(share)

    def _between(self, share: float) -> float:
        if share <= 0 or share >= 1:
            return self.low if share <= 0 else self.high
        if self.scale == "log":
            value = math.exp(math.log(self.low) + share * (math.log(self.high) - math.log(self.low)))
        else:
            value = self.low + share * (self.high - self.low)
        value = min(max(float(f"{value:.12g}"), self.low), self.high)
        return round(value) if self.whole else value

    def values(self) -> tuple[float, ...]:
        """The numbers that a grid takes."""
        if self.steps is None:
            raise SweepError("a range needs steps = ... where a grid is wanted")
        last = max(1, self.steps - 1)
        return tuple(dict.fromkeys(self._between(i / last) for i in range(self.steps)))


@dataclass(frozen=True, kw_only=True)
class Axis:
    """What one axis varies.

    name: a path, or any name where each value is a dict of paths (several values that go together; its
    key "label", if it has one, is what tables and figures show). values: a tuple, or a `Range`.
    """

    name: str
    values: tuple[Any, ...] | Range

    def __post_init__(self) -> None:
        if not isinstance(self.values, Range):
            if not self.values:
                raise SweepError(f"axis {self.name}: no values")
            linked = [isinstance(value, dict) and not value.keys() <= {"ns", "ck"} for value in self.values]
            if any(linked) and not all(linked):
                raise SweepError(f"axis {self.name}: tables and plain values are mixed")
            seen = [json.dumps(value, sort_keys=True, default=repr) for value in self.values]
            if len(set(seen)) < len(seen):
                raise SweepError(f"axis {self.name}: a value appears twice")

    @property
    def linked(self) -> bool:
        """Whether a value sets several paths."""
        if isinstance(self.values, Range):
            return False
        return isinstance(self.values[0], dict) and not self.values[0].keys() <= {"ns", "ck"}

    def grid(self) -> tuple[Any, ...]:
        try:
            return self.values.values() if isinstance(self.values, Range) else self.values
        except SweepError as problem:
            raise SweepError(f"axis {self.name}: {problem}") from None

    def at(self, share: float) -> Any:
        """The value at a share of the axis."""
        if isinstance(self.values, Range):
            return self.values.at(share)
        return self.values[min(len(self.values) - 1, int(share * len(self.values)))]

    def settings(self, value: Any) -> Settings:
        """What this value sets."""
        if not self.linked:
            return {self.name: value}
        return {path: inside for path, inside in value.items() if path != "label"}

    def shown(self, value: Any) -> Any:
        """The value as tables and figures show it."""
        if not self.linked:
            return value if isinstance(value, int | float | str | bool) else json.dumps(value, sort_keys=True)
        named = value.get("label")
        if named is not None:
            return named
        return " ".join(f"{path.rpartition('.')[2]}={inside}" for path, inside in value.items())


@dataclass(frozen=True, kw_only=True)
class Point:
    """One run of a sweep. number: its place, from 0. shown: axis -> value as it is shown."""

    number: int
    settings: Settings
    shown: dict[str, Any]


@dataclass(frozen=True, kw_only=True)
class Sweep:
    """A base run, axes, and how points are picked from them.

    base: values by path that every point has (`model`, `method`, `prompt`, ..., any parameter).
    sampling: "grid" (every combination, the last axis fastest), "list" (the rows of `listed`), "random" or
    "latin-hypercube" (`count` points, from `seed`).
    constraints: conditions (see `expression`) that a point must meet; a random sweep draws until `count`
    points do, the others leave points out.
    objectives: columns of the results that figures show and a search makes small.
    """

    name: str
    base: Settings = field(default_factory=dict)
    axes: tuple[Axis, ...] = ()
    sampling: str = "grid"
    count: int | None = None
    seed: int = 0
    listed: tuple[Settings, ...] = ()
    constraints: tuple[str, ...] = ()
    objectives: tuple[str, ...] = ("total_s", "memory_total_bytes")

    def __post_init__(self) -> None:
        if not self.name or any(letter in self.name for letter in "/\\\0\n") or self.name.startswith("."):
            raise SweepError(f"sweep name {self.name!r} cannot name a file")
        if self.sampling not in SAMPLINGS:
            raise SweepError(f"sampling={self.sampling!r}{suggest(str(self.sampling), SAMPLINGS)}")
        drawn = self.sampling in ("random", "latin-hypercube")
        if drawn != (self.count is not None):
            raise SweepError(
                f"sampling {self.sampling!r} and count={self.count}; random and latin-hypercube need a "
                "count, grid and list have their own"
            )
        if self.count is not None and not 1 <= self.count <= MOST_POINTS:
            raise SweepError(f"count={self.count}; wanted 1 to {MOST_POINTS}")
        if (self.sampling == "list") != bool(self.listed):
            raise SweepError(
                f"sampling {self.sampling!r} with {len(self.listed)} listed points; a list needs some"
            )
        if self.sampling == "list" and self.axes:
            raise SweepError("sampling 'list' takes its values from its points; give no axes")
        if self.sampling != "list" and not self.axes:
            raise SweepError(f"sweep {self.name}: no axes; nothing varies")
        names = [axis.name for axis in self.axes]
        for name in names:
            if names.count(name) > 1:
                raise SweepError(f"two axes are named {name!r}")
        for text in self.constraints:
            read(text)

    @property
    def axis_names(self) -> tuple[str, ...]:
        """What varies."""
        if self.sampling == "list":
            return tuple(dict.fromkeys(name for row in self.listed for name in row))
        return tuple(axis.name for axis in self.axes)

    def conditions(self) -> tuple[Expression, ...]:
        return tuple(read(text) for text in self.constraints)

    def definition(self) -> dict[str, Any]:
        """The sweep as plain values: what its points follow from."""
        axes = [
            [axis.name, vars(axis.values) if isinstance(axis.values, Range) else list(axis.values)]
            for axis in self.axes
        ]
        return {
            "name": self.name, "base": self.base, "axes": axes, "sampling": self.sampling,
            "count": self.count, "seed": self.seed, "listed": list(self.listed),
            "constraints": list(self.constraints),
        }  # fmt: skip

    def candidates(self) -> Iterator[tuple[Settings, dict[str, Any]]]:
        """(settings, shown) of every point before constraints; endless for random ones."""
        if self.sampling == "list":
            for row in self.listed:
                shown = {name: row.get(name) for name in self.axis_names}
                yield self.base | row, shown
        elif self.sampling == "grid":
            grids = [axis.grid() for axis in self.axes]
            total = math.prod(len(grid) for grid in grids)
            if total > MOST_POINTS:
                raise SweepError(f"sweep {self.name}: a grid of {total} points; wanted at most {MOST_POINTS}")
            for values in itertools.product(*grids):
                yield self.of(values)
        else:
            yield from map(self.of, self._drawn())

    def of(self, values: Sequence[Any]) -> tuple[Settings, dict[str, Any]]:
        """(settings, shown) of one value an axis."""
        settings = dict(self.base)
        for axis, value in zip(self.axes, values, strict=True):
            settings.update(axis.settings(value))
        return settings, {axis.name: axis.shown(value) for axis, value in zip(self.axes, values, strict=True)}

    def _drawn(self) -> Iterator[list[Any]]:
        random = np.random.default_rng(self.seed)
        if self.sampling == "random":
            while True:
                yield [axis.at(float(random.random())) for axis in self.axes]
        assert self.count is not None
        shares = [
            (random.permutation(self.count) + random.random(self.count)) / self.count for _ in self.axes
        ]
        for row in zip(*shares, strict=True):
            yield [axis.at(float(share)) for axis, share in zip(self.axes, row, strict=True)]


Look = Callable[[Settings, set[str]], Mapping[str, Any]]


def chosen(sweep: Sweep, look: Look | None = None) -> tuple[Point, ...]:
    """The points of a sweep, in order: those candidates whose conditions all hold.

    look: (settings, names) -> values of names that a point does not set itself; None: there are none.
    """
    conditions = sweep.conditions()
    names = {name for condition in conditions for name in condition.names}
    points: list[Point] = []
    rejected = 0
    for settings, shown in sweep.candidates():
        held = {**settings, **shown}
        missing = names - held.keys()
        if missing and look is not None:
            held |= look(settings, missing)
        if all(condition.holds(held) for condition in conditions):
            points.append(Point(number=len(points), settings=settings, shown=shown))
        else:
            rejected += 1
        if sweep.sampling == "random":
            assert sweep.count is not None
            if len(points) == sweep.count:
                break
            if rejected > TRIES * sweep.count:
                raise SweepError(
                    f"sweep {sweep.name}: {rejected} draws gave {len(points)} points that the constraints "
                    f"allow; wanted {sweep.count}"
                )
    if not points:
        raise SweepError(f"sweep {sweep.name}: the constraints leave no point of {rejected}")
    return tuple(points)
