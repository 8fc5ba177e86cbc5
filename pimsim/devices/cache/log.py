"""The log of a run: the kernel writes each column as it will be given out."""

from __future__ import annotations

from typing import Any

import numpy as np

from pimsim.compiled import inlined
from pimsim.devices.cache.state import T_USED, CacheArrays, U

Switch = Any


@inlined
def note(s: CacheArrays, rare: Switch, access: Any, event: int, cache: Any, address: Any) -> None:
    """One more row of the log, if there is one."""
    if rare is not None and len(s.log_access):
        row = U(s.totals[T_USED])
        s.log_access[row], s.log_event[row], s.log_cache[row], s.log_address[row] = (
            access, event, cache, address,
        )  # fmt: skip
        s.totals[T_USED] += 1


def with_room(s: CacheArrays, rows: int) -> CacheArrays:
    """The arrays with room for at least so many more rows of the log."""
    used, held = int(s.totals[T_USED]), len(s.log_access)
    if used + rows <= held:
        return s
    longer = max(used + rows, 2 * held)  # pages of memory that are never used cost nothing
    columns = {}
    for name in ("log_access", "log_event", "log_cache", "log_address"):
        old = getattr(s, name)
        columns[name] = np.zeros(longer, old.dtype)
        columns[name][:used] = old[:used]
    return s._replace(**columns)
