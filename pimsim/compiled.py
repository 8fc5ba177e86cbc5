"""Decorators for compiled functions: Numba with a cache on disk that knows when it is out of date.

Numba takes a cached function for up to date as long as its own file has not changed. Functions here are
compiled into each other across files, so a cached one also has to go when another file changes.
"""

from __future__ import annotations

import contextlib
import gc
import glob
import hashlib
import logging
import os
import pickle
from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar, cast

from numba import njit, typeof, types
from numba.core import config, event
from numba.core.caching import IndexDataCacheFile
from numba.core.codegen import JITCodeLibrary
from numba.core.compiler import CompilerBase, DefaultPassBuilder

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


class _Watch(event.Listener):
    """What goes with compiling: it is said once, through the log of the package, and garbage is collected
    after it, since looking for some in Numba's millions of live objects is an eighth of the time."""

    said = False
    depth = 0  # functions that are being compiled, each for the one before it
    collects = False

    def on_start(self, event: Any) -> None:
        if event.data["dispatcher"].py_func.__module__.startswith("pimsim."):
            announce()
        if _Watch.depth == 0:
            _Watch.collects = gc.isenabled()
            gc.disable()
        _Watch.depth += 1

    def on_end(self, event: Any) -> None:
        _Watch.depth -= 1
        if _Watch.depth == 0 and _Watch.collects:
            gc.enable()


event.register("numba:compile", _Watch())  # type: ignore[no-untyped-call]


def announce(processes: int = 1) -> None:
    """Say, once, that compiling begins, and in how many processes."""
    if not _Watch.said:
        _Watch.said = True
        logging.getLogger("pimsim").info(
            "compiling the inner loops of the simulator with %s: once after an installation or update, "
            "for up to a minute; later runs load them from %s",
            "one process" if processes == 1 else f"{processes} processes",
            getattr(config, "CACHE_DIR", "") or "the __pycache__ folders of the package",
        )


_UNREADABLE = (AttributeError, ImportError, EOFError, ValueError, TypeError, pickle.UnpicklingError)
"""What reading a pickle of another version, or half of one, may raise."""


class _Files(IndexDataCacheFile):
    """The files of one function, which several processes may write at once.

    Numba numbers its data files, and writes the index before the data: two processes that compile a function
    for different types then write one file, and a reader may find the code of another version. Here the name
    of a data file says what is in it, and the file is there before the index names it. Of two processes that
    write the index at the same moment one may lose its entry, which then is compiled once more. A file that
    cannot be read, such as one that names a class which the package has no longer, counts as none.
    """

    def _load_index(self) -> dict[Any, str]:
        with contextlib.suppress(*_UNREADABLE):
            return cast(dict[Any, str], super()._load_index())  # type: ignore[no-untyped-call]
        return {}

    def load(self, key: Any) -> Any:
        with contextlib.suppress(*_UNREADABLE):
            return super().load(key)  # type: ignore[no-untyped-call]
        return None

    def save(self, key: Any, data: Any) -> None:
        files: Any = super()
        if not self._load_index():  # none, or one of another version, whose code nothing reads any more
            for old in Path(self._cache_path).glob(f"{glob.escape(self._index_name[:-4])}.*.nbc"):
                old.unlink(missing_ok=True)
        digest = hashlib.sha256(repr((key, self._source_stamp)).encode()).hexdigest()
        name = files._data_name(int(digest[:8], 16))
        files._save_data(name, data)
        files._save_index({**self._load_index(), key: name})


def is_kept(function: Callable[..., Any]) -> bool | None:
    """Whether the cache on disk has code of this function; None if it cannot be kept there."""
    cache: Any = getattr(function, "_cache", None)
    if getattr(cache, "cache_path", None) is None:  # no compiler, or no cache
        return None
    folder = Path(cache.cache_path)
    nearest = next(path for path in (folder, *folder.parents) if path.exists())
    return bool(cache._cache_file._load_index()) if os.access(nearest, os.W_OK) else None


def compile_for(function: Callable[..., Any], *arguments: Any) -> None:
    """Compile a function for arguments of these types, if that has not been done; `inner` ones, too."""
    made: Any = function
    made.compile(tuple(typeof(each) for each in arguments))  # type: ignore[no-untyped-call]


def decorator(**options: Any) -> Callable[[_Function], _Function]:
    """A decorator that compiles with these options of `numba.njit`."""

    def decorate(function: _Function) -> _Function:
        made = njit(cache=True, **options)(function)
        cache: Any = getattr(made, "_cache", None)
        if getattr(cache, "cache_path", None) is not None:
            cache._cache_file = _Files(cache.cache_path, cache._impl.filename_base, _STAMP)  # type: ignore[no-untyped-call]
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


class _Part(JITCodeLibrary):
    """Code of a function that only compiled callers have: each takes it in, optimises it and makes machine
    code of it with its own, so here it stays as it is. That is a sixth of all the work of the compiler."""

    def _optimize_final_module(self) -> None:
        """Nothing: a caller does, with the function in its place."""

    def _finalize_final_module(self) -> None:
        self._finalized = True
        self._final_module = self._get_module_for_linking().clone()  # type: ignore[no-untyped-call]
        for function in self._final_module.functions:
            if not function.is_declaration:
                function.linkage = "available_externally"  # no machine code is made of it
        super()._finalize_final_module()  # type: ignore[no-untyped-call]


class _Inner(CompilerBase):
    """Numba's way through a function, with a `_Part` at its end."""

    def define_pipelines(self) -> list[Any]:
        state: Any = self.state
        state.library = _Part(state.targetctx.codegen(), state.func_id.func_qualname)  # type: ignore[no-untyped-call]
        state.library.enable_object_caching()
        return [DefaultPassBuilder.define_nopython_pipeline(state)]  # type: ignore[no-untyped-call]


_for_callers = {"_nrt": False, "no_cpython_wrapper": True, "no_cfunc_wrapper": True, "pipeline_class": _Inner}
_called = decorator(**_for_callers)
_inlined = decorator(forceinline=True, **_for_callers)


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
