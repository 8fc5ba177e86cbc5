"""A module named on the command line: `package.module:function`, where the function makes what to capture."""

from __future__ import annotations

import importlib
import os
import sys
from collections.abc import Callable
from typing import Any

from pimsim.errors import TraceError
from pimsim.trace.capture.make import Captured, capture, capture_step
from pimsim.trace.reading import short


def capture_target(target: str, *, fuse: bool = True, skip_unknown: bool = False) -> Captured:
    """Import a module of Python (of the working directory too), call the function, capture what it returns:
    (module, inputs), or (module, inputs, loss, targets) for a training step."""
    made = _function(target)()
    if not isinstance(made, tuple) or len(made) not in (2, 4) or not isinstance(made[1], list | tuple):
        raise TraceError(
            f"{target}: returned {short(made)}: wanted (module, inputs) or (module, inputs, loss, targets)"
        )
    name = target.partition(":")[2]
    if len(made) == 2:
        return capture(made[0], made[1], name=name, fuse=fuse, skip_unknown=skip_unknown)
    module, inputs, loss, targets = made
    return capture_step(module, inputs, loss=loss, targets=targets, name=name, skip_unknown=skip_unknown)


def _function(target: str) -> Callable[[], Any]:
    where, _, name = target.partition(":")
    sys.path.insert(0, os.getcwd())
    try:
        found: Any = importlib.import_module(where)
    except (ImportError, ValueError) as error:
        raise TraceError(f"{target}: cannot import {where!r}: {error}") from error
    finally:
        sys.path.pop(0)
    made = getattr(found, name, None)
    if not callable(made):
        raise TraceError(f"{target}: {where} has no function {name!r}")
    return made  # type: ignore[no-any-return]
