"""Errors that a user can act on: each names the thing, what was given and what was wanted."""

from __future__ import annotations

import difflib
from collections.abc import Iterable


class PimsimError(Exception):
    """Base of every error caused by input; the command line prints it and exits with code 2.

    A text that a damaged file made endless is cut in the middle.
    """

    def __str__(self) -> str:
        text = super().__str__()
        return text if len(text) <= 2000 else f"{text[:1400]} ... {text[-500:]}"


class SpecError(PimsimError):
    """A part, system or setting contradicts itself or is unknown."""


class TraceError(PimsimError):
    """A trace file or model configuration cannot be read."""


class PlacementError(PimsimError):
    """Bytes do not fit, or lie where the work on them cannot reach them."""


class PlanError(PimsimError):
    """A plan names a task, engine or tensor that does not exist, or can never finish."""


class SweepError(PimsimError):
    """A sweep names an unknown parameter, contradicts itself or cannot be read."""


class StoreError(PimsimError):
    """A store of results cannot be read or written, or contradicts itself."""


def suggest(name: str, known: Iterable[str]) -> str:
    """`; did you mean 'x'?` for the nearest known name, else the list of all known names."""
    names = sorted(known)
    spelled = {known_name.lower(): known_name for known_name in names}
    near = difflib.get_close_matches(name.lower(), spelled, n=1, cutoff=0.5)
    if near:
        return f"; did you mean {spelled[near[0]]!r}?"
    return f"; known: {', '.join(names)}" if names else ""
