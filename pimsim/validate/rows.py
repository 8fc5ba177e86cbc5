"""A row of a comparison: what all subjects share."""

from __future__ import annotations

import math

Row = tuple[str, str, float, float, float]
"""case, quantity, ours, reference, error."""


def comparison(case: str, quantity: str, ours: float, reference: float) -> Row:
    """Error: ours / reference - 1; 0 where both are 0, infinite where only the reference is."""
    without = 0.0 if ours == 0 else math.inf
    error = ours / reference - 1 if reference else without
    return case, quantity, float(ours), float(reference), error


def unsupported(case: str, reason: str) -> Row:
    """A row without numbers."""
    return case, f"not supported: {reason}", math.nan, math.nan, math.nan


__all__ = ["Row", "comparison", "unsupported"]
