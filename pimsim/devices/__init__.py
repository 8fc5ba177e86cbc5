"""The hardware: behaviour here, numbers in `catalog/`."""

from __future__ import annotations

import importlib
import pkgutil
from typing import Any, TypeVar

from pimsim.devices import catalog
from pimsim.devices.npu.spec import NpuSpec
from pimsim.devices.spec import CacheSpec, CoreSpec, CpuSpec, DramSpec, PimSpec
from pimsim.errors import SpecError, suggest

__all__ = ["CacheSpec", "CoreSpec", "CpuSpec", "DramSpec", "NpuSpec", "PimSpec", "part", "parts"]

_PART_TYPES = (DramSpec, PimSpec, CpuSpec, NpuSpec)
T = TypeVar("T")


def parts() -> dict[str, Any]:
    """Every part of the catalog by name, found by walking its files: nothing else lists parts."""
    found: dict[str, Any] = {}
    for module in pkgutil.iter_modules(catalog.__path__):
        for value in vars(importlib.import_module(f"{catalog.__name__}.{module.name}")).values():
            if isinstance(value, _PART_TYPES):
                if value.name in found and found[value.name] is not value:
                    raise SpecError(f"two parts are named {value.name!r}; the second is in {module.name}.py")
                found[value.name] = value
    return dict(sorted(found.items()))


def part(name: str, kind: type[T]) -> T:
    """The part of this name and type; the error suggests the nearest name."""
    known = {k: v for k, v in parts().items() if isinstance(v, kind)}
    if name not in known:
        raise SpecError(f"no {kind.__name__} named {name!r}{suggest(name, known)}")
    return known[name]
