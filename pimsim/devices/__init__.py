"""The hardware: behaviour here, numbers in `catalog/`."""

from __future__ import annotations

import importlib
import pkgutil
from functools import lru_cache
from typing import Any, TypeVar

from pimsim.devices import catalog
from pimsim.devices.accelerator import AcceleratorSpec
from pimsim.devices.npu.spec import NpuSpec
from pimsim.devices.platform import PlatformSpec
from pimsim.devices.python_file import from_file, names_file
from pimsim.devices.spec import CacheSpec, CoreSpec, CpuSpec, DramSpec, PimSpec
from pimsim.errors import SpecError, suggest

__all__ = [
    "AcceleratorSpec", "CacheSpec", "CoreSpec", "CpuSpec", "DramSpec", "NpuSpec", "PimSpec", "PlatformSpec",
    "part", "parts", "platform", "platforms", "walk",
]  # fmt: skip

_PART_TYPES = (DramSpec, PimSpec, CpuSpec, NpuSpec, AcceleratorSpec)
T = TypeVar("T")


@lru_cache(maxsize=32)
def _walked(kind: type) -> dict[str, Any]:
    found: dict[str, Any] = {}
    for module in pkgutil.iter_modules(catalog.__path__):
        for value in vars(importlib.import_module(f"{catalog.__name__}.{module.name}")).values():
            if isinstance(value, kind):
                name = value.name  # type: ignore[attr-defined]
                if name in found and found[name] is not value:
                    raise SpecError(f"two parts are named {name!r}; the second is in {module.name}.py")
                found[name] = value
    return dict(sorted(found.items()))


def walk(kind: type[T]) -> dict[str, T]:
    """Every value of a type in the files of the catalog by name: nothing else lists them."""
    return dict(_walked(kind))  # type: ignore[arg-type]


def parts() -> dict[str, Any]:
    """Every part of the catalog by name, found by walking its files."""
    found: dict[str, Any] = {}
    for kind in _PART_TYPES:
        for name, value in walk(kind).items():
            if name in found:
                raise SpecError(
                    f"two parts are named {name!r}, a {type(found[name]).__name__} and a {kind.__name__}"
                )
            found[name] = value
    return dict(sorted(found.items()))


def part(name: str, kind: type[T]) -> T:
    """The part of this name and type, or FILE.py:NAME of a user's file; errors suggest the nearest name."""
    if names_file(name):
        return from_file(name, kind)
    known = walk(kind)
    if name not in known:
        raise SpecError(f"no {kind.__name__} named {name!r}{suggest(name, known)}")
    return known[name]


def platforms() -> dict[str, PlatformSpec]:
    """Every platform of the catalog by name."""
    return walk(PlatformSpec)


def platform(name: str) -> PlatformSpec:
    """The platform of this name; the error suggests the nearest one."""
    known = platforms()
    if name not in known:
        raise SpecError(f"no system named {name!r}{suggest(name, known)}")
    return known[name]
