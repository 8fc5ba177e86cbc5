"""Checks: one of our numbers beside the number it should be, as data.

A check says what was compared, in which setting, how far apart the two may be and where the expected
number comes from. Experiments return checks, tests and reports read them; whether a check holds is
derived, never stored.
"""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import dataclass

import pandas as pd

from pimsim.errors import SpecError

COLUMNS = ("quantity", "setting", "ours", "expected", "difference", "unit", "tolerance", "source", "ok")

_ROUNDING = 1e-9
"""Relative slack for binary fractions: 47.9 lies within 0.1 of 47.8."""


@dataclass(frozen=True, kw_only=True)
class Tolerance:
    """How far our number may lie from the expected one: exactly one of three forms.

    rel: share of the expected number (0.1 is 10 %).
    abs: distance, in the unit of the quantity.
    low, high: a range, both ends included; one end alone leaves the other open.
    None of them: a statement, such as an ordering, which holds or does not.
    """

    rel: float | None = None
    abs: float | None = None
    low: float | None = None
    high: float | None = None

    def __post_init__(self) -> None:
        forms = (self.rel is not None) + (self.abs is not None) + (self.ranged)
        if forms > 1:
            raise SpecError(f"a tolerance is one of rel, abs or low..high, not several: {self!r}")
        for name in ("rel", "abs"):
            value = getattr(self, name)
            if value is not None and not (math.isfinite(value) and value >= 0):
                raise SpecError(f"tolerance {name}={value!r}: a finite number of at least 0 is wanted")
        for name in ("low", "high"):
            value = getattr(self, name)
            if value is not None and math.isnan(value):
                raise SpecError(f"tolerance {name} is not a number")
        if self.low is not None and self.high is not None and self.low > self.high:
            raise SpecError(f"tolerance low={self.low:g} lies above high={self.high:g}")

    @property
    def ranged(self) -> bool:
        """Whether the tolerance is a range."""
        return self.low is not None or self.high is not None

    def __str__(self) -> str:
        if self.rel is not None:
            return f"±{self.rel * 100:g} %"
        if self.abs is not None:
            return f"±{self.abs:g}"
        if self.low is not None and self.high is not None:
            return f"{self.low:g}..{self.high:g}"
        if self.low is not None:
            return f">= {self.low:g}"
        if self.high is not None:
            return f"<= {self.high:g}"
        return "holds"


@dataclass(frozen=True, kw_only=True)
class Check:
    """One comparison.

    quantity, setting: what is compared ("TTFT") and where ("3B, OWR, prompt 192").
    ours: our number in `unit`, or True or False for a statement.
    expected: the number it should be, in `unit`; None for a statement or for a range alone.
    tolerance: how far they may lie apart.
    source: where the expected number or the statement comes from.
    """

    quantity: str
    setting: str
    ours: float | bool
    expected: float | None = None
    unit: str = ""
    tolerance: Tolerance = Tolerance()
    source: str

    def __post_init__(self) -> None:
        what = f"check {self.quantity!r} ({self.setting})"
        statement = str(self.tolerance) == "holds"
        if isinstance(self.ours, bool) != statement:
            raise SpecError(
                f"{what}: ours={self.ours!r} does not go with the tolerance {str(self.tolerance)!r}; "
                "a statement is True or False without a tolerance, a number needs one"
            )
        near = self.tolerance.rel is not None or self.tolerance.abs is not None
        if self.expected is None and near:
            raise SpecError(f"{what}: the tolerance {self.tolerance} needs an expected number")
        if self.expected is not None and not math.isfinite(self.expected):
            raise SpecError(f"{what}: expected={self.expected!r} is not a finite number")

    @property
    def ok(self) -> bool:
        """Whether the check holds; a number that is not finite never does."""
        if isinstance(self.ours, bool):
            return self.ours
        ours = float(self.ours)
        if not math.isfinite(ours):
            return False
        want, near = self.expected, self.tolerance
        if want is not None and near.rel is not None:
            return abs(ours - want) <= near.rel * abs(want) + _ROUNDING * abs(want)
        if want is not None and near.abs is not None:
            return abs(ours - want) <= near.abs + _ROUNDING * max(abs(want), near.abs)
        low = -math.inf if near.low is None else near.low - _ROUNDING * abs(near.low)
        high = math.inf if near.high is None else near.high + _ROUNDING * abs(near.high)
        return low <= ours <= high

    @property
    def difference(self) -> float | None:
        """Ours less expected, in `unit`; None where no number is expected."""
        return None if self.expected is None else float(self.ours) - self.expected

    @property
    def difference_text(self) -> str:
        """The difference of the numbers as they are printed, so that a reader can check it: in percent of
        the expected one under a relative tolerance, else in the unit."""
        if self.expected is None or not math.isfinite(self.ours):
            return "-"
        ours, wanted = (as_printed(value) for value in (self.ours, self.expected))
        if self.tolerance.rel is not None and wanted:
            return f"{100 * (ours - wanted) / abs(wanted):+.1f} %"
        return f"{ours - wanted:+.3g}"


def as_printed(value: float) -> float:
    """A number as tables print it: whole ones as they are, others with four significant digits."""
    return float(value) if isinstance(value, int) else float(f"{value:.4g}")


def checks_frame(checks: Iterable[Check]) -> pd.DataFrame:
    """One row a check, columns `COLUMNS`; `ours`, `expected` and `difference` keep their types
    (number, bool, None)."""
    rows = list(checks)
    values: dict[str, list[object]] = {
        "quantity": [c.quantity for c in rows],
        "setting": [c.setting for c in rows],
        "ours": [c.ours for c in rows],
        "expected": [c.expected for c in rows],
        "difference": [c.difference for c in rows],
        "unit": [c.unit for c in rows],
        "tolerance": [str(c.tolerance) for c in rows],
        "source": [c.source for c in rows],
        "ok": [c.ok for c in rows],
    }
    frame = pd.DataFrame({name: pd.Series(column, dtype=object) for name, column in values.items()})
    return frame.astype({"ok": bool})


def verdict(checks: Iterable[Check]) -> str:
    """`7 of 9 checks hold`."""
    rows = list(checks)
    return f"{sum(c.ok for c in rows)} of {len(rows)} checks hold"
