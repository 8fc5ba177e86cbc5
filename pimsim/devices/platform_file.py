"""Platforms in a file of numbers (TOML): the fields of `PlatformSpec`, parts by name or written out.

    name = "my-board"
    source = "made up"
    cpu = "jetson-orin-a78ae"            # a part of the catalog ...
    channels = 8
    compute_cores = [0, 1, 2, 3]

    [dram]                               # ... or a part and what differs ...
    base = "lpddr5-6400-16gb-x16"
    name = "my-dram"
    source = "made up"

    [gpu]                                # ... or all of its fields
    name = "my-gpu"
    source = "made up"
    kind = "gpu"
    peak_tflops = { fp16 = 20, fp32 = 5 }
    vector_tflops = 5
    matmul_efficiency = 0.6
    cache_bytes = 4_194_304
    outstanding_bytes = 65_536
    path_ns = 200
    launch_us = 10

With `base = "jetson-orin"` at the top everything that the file does not name is that platform's.
"""

from __future__ import annotations

import types
from dataclasses import MISSING, fields, is_dataclass, replace
from pathlib import Path
from typing import Any, Union, get_args, get_origin, get_type_hints

from pimsim.devices import (
    AcceleratorSpec,
    CoreSpec,
    CpuSpec,
    DramSpec,
    NpuSpec,
    PimSpec,
    platform,
    walk,
)
from pimsim.devices.platform import PlatformSpec
from pimsim.devices.toml_file import TomlFile
from pimsim.errors import PimsimError, SpecError, suggest

PARTS: dict[str, tuple[type, ...]] = {
    "cpu": (CpuSpec,),
    "dram": (DramSpec,),
    "pim": (PimSpec,),
    "gpu": (AcceleratorSpec,),
    "npu": (AcceleratorSpec, NpuSpec),
}
"""Fields of a platform that name a part, and what the part may be."""
_NAMED = (CpuSpec, CoreSpec, DramSpec, PimSpec, AcceleratorSpec, NpuSpec)
MOST_CORES = 1024


def read_platform(path: str | Path) -> tuple[PlatformSpec, dict[str, Any]]:
    """The platform that a TOML file describes, and the parts that the file itself describes, by name."""
    return _File(Path(path)).platform()


class _File(TomlFile):
    """A platform that is being read."""

    def platform(self) -> tuple[PlatformSpec, dict[str, Any]]:
        parts: dict[str, Any] = {}
        raw = dict(self.raw)
        for key, kinds in PARTS.items():
            given = raw.get(key)
            if isinstance(given, dict):
                part = self.built(self.kind_of(key, given, kinds), given, key)
                if part.name in parts:
                    self.fail(key, f"{key}: two parts of this file are named {part.name!r}")
                parts[part.name] = part
                raw[key] = part.name
        base = None
        if "base" in raw:
            name = self.typed("base", raw.pop("base"), str)
            try:
                base = platform(name)
            except SpecError as error:
                self.fail("base", f"base: {error}")
            for key in ("name", "source"):
                if key not in raw:
                    raise SpecError(f"{self.path}: {key} is missing")
        try:
            return self.filled(PlatformSpec, raw, "", base), parts
        except SpecError as error:
            raise SpecError(self.placed(error)) from None

    def kind_of(self, key: str, given: dict[str, Any], kinds: tuple[type, ...]) -> type:
        """Which of the types a table means: that of its base, or the one that knows its first own field."""
        if len(kinds) == 1:
            return kinds[0]
        if isinstance(given.get("base"), str):
            for kind in kinds:
                if given["base"] in walk(kind):
                    return kind
        return kinds[0] if "peak_tflops" in given or "rows" not in given else kinds[1]

    def built(self, kind: type, given: dict[str, Any], where: str) -> Any:
        """A value of a dataclass from its table: all fields, or `base` and those that differ."""
        given = dict(given)
        base = None
        if "base" in given:
            base = self.named(kind, self.typed(f"{where}.base", given.pop("base"), str), f"{where}.base")
        try:
            return self.filled(kind, given, f"{where}.", base)
        except SpecError as error:
            raise SpecError(self.placed(error)) from None

    def filled(self, kind: Any, given: dict[str, Any], where: str, base: Any) -> Any:
        hints = get_type_hints(kind)
        known = {field.name: field for field in fields(kind)}
        held = {}
        for key, value in given.items():
            if key not in known:
                self.fail(key, f"unknown key {where + key!r}{suggest(key, known)}")
            held[key] = self.value(hints[key], value, where + key, getattr(base, key, None))
        if base is not None:
            return replace(base, **held)
        for key, field in known.items():
            if key not in held and field.default is MISSING and field.default_factory is MISSING:
                raise SpecError(f"{self.path}: {where}{key} is missing")
        return kind(**held)

    def value(self, hint: Any, given: Any, where: str, base: Any) -> Any:
        """A value of a field of this type; tables of a part with a base keep what they do not name."""
        origin = get_origin(hint)
        if origin in (Union, types.UnionType):
            hint = next(each for each in get_args(hint) if each is not type(None))
            origin = get_origin(hint)
        if origin is tuple:
            if not isinstance(given, list) or len(given) > MOST_CORES:
                self.fail(where, f"{where}={given!r}; wanted a list of at most {MOST_CORES}")
            inner = get_args(hint)[0]
            return tuple(self.value(inner, each, where, None) for each in given)
        if origin is dict:
            if not isinstance(given, dict):
                self.fail(where, f"{where}={given!r}; wanted a table")
            inner = get_args(hint)[1]
            own = {str(k): self.value(inner, v, f"{where}.{k}", None) for k, v in given.items()}
            return dict(base or {}) | own
        if is_dataclass(hint) and isinstance(hint, type):
            if isinstance(given, str):
                return self.named(hint, given, where)
            if not isinstance(given, dict):
                self.fail(where, f"{where}={given!r}; wanted a table or the name of a part")
            if base is not None and "base" not in given:
                return self.filled(hint, given, f"{where}.", base)
            return self.built(hint, given, where)
        return self.typed(where, given, hint)

    def named(self, kind: type, name: str, where: str) -> Any:
        known = walk(kind) if kind in _NAMED else {}
        if name not in known:
            self.fail(where, f"{where}: no {kind.__name__} named {name!r}{suggest(name, known)}")
        return known[name]

    def placed(self, error: PimsimError) -> str:
        """The message with the file in front, once."""
        text = str(error)
        return text if text.startswith(str(self.path)) else f"{self.path}: {text}"
