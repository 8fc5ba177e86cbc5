"""Decorators for compiled functions: Numba with a cache on disk that knows when it is out of date.

Numba takes a cached function for up to date as long as its own file has not changed. Functions here are
compiled into each other across files, so a cached one also has to go when another file changes.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar, cast

from numba import njit

_Function = TypeVar("_Function", bound=Callable[..., Any])
_MARK = b"pimsim.compiled import"  # how a file gets these decorators
_NUMBERS = Path("devices/rules/rule.py")  # command codes, which compiled functions take in as constants


def _stamp() -> str:
    """A digest of every file of the package that holds compiled functions."""
    package = Path(__file__).parent
    digest = hashlib.sha256()
    for path in sorted(package.rglob("*.py")):
        text = path.read_bytes()
        if _MARK in text or path == package / _NUMBERS:
            digest.update(str(path.relative_to(package)).encode() + b"\0" + text)
    return digest.hexdigest()


_STAMP = _stamp()


def decorator(**options: Any) -> Callable[[_Function], _Function]:
    """A decorator that compiles with these options of `numba.njit`."""

    def decorate(function: _Function) -> _Function:
        made = njit(cache=True, **options)(function)
        held = getattr(getattr(made, "_cache", None), "_cache_file", None)
        if held is not None and hasattr(held, "_source_stamp"):
            held._source_stamp = _STAMP
        return cast(_Function, made)

    return decorate


counted = decorator(nogil=True)
"""Compiled, with references to arrays counted: for functions that are called once a run, or allocate."""

compiled = decorator(nogil=True, _nrt=False)
"""Compiled without counting references: nothing may allocate. With the many arrays of a channel's state
counting would take ten times as long as the work itself."""

inlined = decorator(_nrt=False, forceinline=True)
"""As `compiled`, but made part of its callers: a call would pass every array of the state on the stack."""
