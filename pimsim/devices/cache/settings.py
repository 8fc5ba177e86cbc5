"""Changes of a hierarchy from text: `L2.prefetch=stride`."""

from __future__ import annotations

from dataclasses import replace

from pimsim.devices.cache.hierarchy import Hierarchy
from pimsim.devices.spec import CacheSpec
from pimsim.errors import SpecError, suggest
from pimsim.placement.region import Attribute

FIELDS: dict[str, type] = {
    "size_bytes": int, "ways": int, "hit_ns": float, "policy": str, "inclusion": str, "write": str,
    "write_allocate": bool, "mshrs": int, "prefetch": str, "prefetch_degree": int,
}  # fmt: skip
_WANTED = {int: "a whole number", float: "a number", bool: "true or false"}


def attribute_named(name: str) -> Attribute:
    """The memory attribute of this name."""
    known = {attribute.value: attribute for attribute in Attribute}
    if name not in known:
        raise SpecError(f"no memory attribute named {name!r}{suggest(name, known)}")
    return known[name]


def with_settings(hierarchy: Hierarchy, settings: tuple[str, ...]) -> Hierarchy:
    """The hierarchy with `LEVEL.FIELD=VALUE` changes, in all its cores; what cannot be is a SpecError."""
    changes: dict[str, dict[str, object]] = {}
    names = {level.name for core in range(len(hierarchy.cores)) for level in hierarchy.levels(core)}
    for setting in settings:
        key, equals, text = setting.partition("=")
        level, dot, field = key.partition(".")
        if not equals or not dot:
            raise SpecError(f"setting {setting!r}; wanted LEVEL.FIELD=VALUE, as in L2.prefetch=stride")
        if level not in names:
            raise SpecError(f"setting {setting!r}: no level {level!r}{suggest(level, names)}")
        if field not in FIELDS:
            raise SpecError(f"setting {setting!r}: no field {field!r} of a level{suggest(field, FIELDS)}")
        changes.setdefault(level, {})[field] = _value(setting, text, FIELDS[field])

    def changed(levels: tuple[CacheSpec, ...]) -> tuple[CacheSpec, ...]:
        return tuple(replace(spec, **changes.get(spec.name, {})) for spec in levels)  # type: ignore[arg-type]

    return replace(hierarchy, cores=tuple(map(changed, hierarchy.cores)), shared=changed(hierarchy.shared))


def _value(setting: str, text: str, kind: type) -> object:
    if kind is str:
        return text
    if kind is bool:
        if text in ("true", "false"):
            return text == "true"
    else:
        try:
            return kind(text)
        except ValueError:
            pass
    raise SpecError(f"setting {setting!r}: {text!r}; wanted {_WANTED[kind]}")
