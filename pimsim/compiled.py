"""Decorators for compiled functions: Numba with a cache on disk that knows when it is out of date.

Numba takes a cached function for up to date as long as its own file has not changed. Functions here are
compiled into each other across files, so a cached one also has to go when another file changes.
"""

from __future__ import annotations

import hashlib
import logging
from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar, cast

from numba import njit, types
from numba.core import config, event

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


class _Announce(event.Listener):
    """Says once, through the log of the package, that functions are being compiled."""

    said = False

    def on_start(self, event: Any) -> None:
        function = event.data["dispatcher"].py_func
        if not _Announce.said and function.__module__.startswith("pimsim."):
            _Announce.said = True
            logging.getLogger("pimsim").info(
                "compiling the inner loops of the simulator: once after an installation or update, "
                "for about a minute; later runs load them from %s",
                getattr(config, "CACHE_DIR", "") or "the __pycache__ folders of the package",
            )

    def on_end(self, event: Any) -> None:
        """Nothing: only the start is said."""


event.register("numba:compile", _Announce())  # type: ignore[no-untyped-call]


def decorator(**options: Any) -> Callable[[_Function], _Function]:
    """A decorator that compiles with these options of `numba.njit`."""

    def decorate(function: _Function) -> _Function:
        made = njit(cache=True, **options)(function)
        held = getattr(getattr(made, "_cache", None), "_cache_file", None)
        if held is not None and hasattr(held, "_source_stamp"):
            held._source_stamp = _STAMP
        if hasattr(made, "get_call_template"):  # not with NUMBA_DISABLE_JIT
            _compile_once(made)
        return cast(_Function, made)

    return decorate


def _compile_once(made: Any) -> None:
    """Constants among the arguments of a compiled caller do not make another version of a function."""
    resolve, unliteral = made.get_call_template, cast(Any, types).unliteral

    def resolve_plain(args: Any, named: Any) -> Any:
        plain = {name: unliteral(kind) for name, kind in named.items()}
        return resolve(tuple(unliteral(kind) for kind in args), plain)

    made.get_call_template = resolve_plain


counted = decorator(nogil=True)
"""Compiled, with references to arrays counted: for functions that are called once a run, or allocate."""

compiled = decorator(nogil=True, _nrt=False)
"""Compiled without counting references: nothing may allocate. With the many arrays of a channel's state
counting would take ten times as long as the work itself."""

_called = decorator(_nrt=False, no_cpython_wrapper=True, no_cfunc_wrapper=True)
_inlined = decorator(_nrt=False, forceinline=True, no_cpython_wrapper=True, no_cfunc_wrapper=True)


def inner(function: _Function) -> _Function:
    """As `compiled`, for compiled callers alone: code for calls from Python is a third of all to compile."""
    return _refuse_python(function, _called(function))


def inlined(function: _Function) -> _Function:
    """As `inner`, but made part of its callers: a call would pass every array of the state on the stack."""
    return _refuse_python(function, _inlined(function))


def _refuse_python(function: _Function, made: Any) -> _Function:
    def refuse(*given: Any, **named: Any) -> Any:
        raise TypeError(f"{function.__qualname__} has compiled callers only; Python cannot call it")

    made._compile_for_args = refuse
    made._insert = lambda *signature: None
    return cast(_Function, made)
