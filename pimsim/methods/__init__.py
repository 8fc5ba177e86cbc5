"""HOW weights are placed and moved: one file a method, each a pure function to (placement, plan)."""

from __future__ import annotations

from pimsim.devices.python_file import from_file, names_file
from pimsim.errors import PlanError, suggest
from pimsim.methods import double_buffering, facil, host_only, online_rearrangement, weight_duplication
from pimsim.methods.plan import Method, Placement, Plan, Segment, Task

METHODS: dict[str, Method] = {
    module.METHOD.name: module.METHOD
    for module in (host_only, weight_duplication, facil, double_buffering, online_rearrangement)
}
"""Methods by name, in the order in which reports list them."""

__all__ = ["METHODS", "Method", "Placement", "Plan", "Segment", "Task", "load_method"]


def load_method(name: str) -> Method:
    """The method of this name (underscores and hyphens are the same), or FILE.py:NAME of a user's file."""
    if names_file(name):
        return from_file(name, Method)
    key = name.lower().replace("_", "-")
    if key not in METHODS:
        raise PlanError(f"no method named {name!r}{suggest(key, METHODS)}")
    return METHODS[key]
