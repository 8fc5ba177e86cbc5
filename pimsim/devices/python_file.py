"""Values of a user's own Python file, named as FILE.py:NAME: parts, systems, methods.

The file is run, as `python FILE.py` would; only files that the user names are. What it prints goes to
standard error, since standard output is for results.
"""

from __future__ import annotations

import contextlib
import hashlib
import importlib.util
import sys
import traceback
from pathlib import Path
from typing import TypeVar

from pimsim.errors import SpecError, suggest

T = TypeVar("T")


def names_file(text: str) -> bool:
    """Whether a name is of the form FILE.py:NAME (or FILE.py alone)."""
    return text.partition(":")[0].endswith(".py")


def from_file(text: str, kind: type[T]) -> T:
    """The value FILE.py:NAME of a type; NAME may be left out if the file has one value of the type.

    A name that is a function without arguments is called. Errors name the file, and what it has.
    """
    path_text, _, name = text.partition(":")
    path = Path(path_text)
    if not path.is_file():
        raise SpecError(f"{path}: no such file")
    values = _run(path)
    own = {n: v for n, v in values.items() if isinstance(v, kind) and not n.startswith("_")}
    if not name:
        if len({id(value) for value in own.values()}) != 1:
            held = f"it has {', '.join(own)}" if own else "it has none"
            raise SpecError(f"{path}: {held}; name one {kind.__name__}, as {path}:NAME")
        return next(iter(own.values()))
    if name not in values:
        raise SpecError(f"{path}: nothing is named {name!r}{suggest(name, own or values)}")
    value = values[name]
    if callable(value) and not isinstance(value, kind):
        value = value()
    if not isinstance(value, kind):
        raise SpecError(f"{path}:{name} is a {type(value).__name__}; a {kind.__name__} is wanted")
    return value


def _run(path: Path) -> dict[str, object]:
    """The names of a file, run once as a module."""
    resolved = path.resolve()
    module_name = f"{path.stem}_{hashlib.sha256(str(resolved).encode()).hexdigest()[:8]}"
    if module_name not in sys.modules:
        spec = importlib.util.spec_from_file_location(module_name, resolved)
        if spec is None or spec.loader is None:
            raise SpecError(f"{path}: cannot be run as Python")
        module = importlib.util.module_from_spec(spec)
        sys.modules[module_name] = module
        try:
            with contextlib.redirect_stdout(sys.stderr):
                spec.loader.exec_module(module)
        except SyntaxError as problem:
            del sys.modules[module_name]
            raise SpecError(f"{path}:{problem.lineno}: {problem.msg}") from None
        except Exception as problem:
            del sys.modules[module_name]
            lines = [
                f.lineno for f in traceback.extract_tb(problem.__traceback__) if f.filename == str(resolved)
            ]
            where = f"{path}:{lines[-1]}" if lines else f"{path}"
            raise SpecError(f"{where}: {type(problem).__name__}: {problem}") from problem
    return {
        name: value for name, value in vars(sys.modules[module_name]).items() if not name.startswith("__")
    }
