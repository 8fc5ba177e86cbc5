"""Parameters by dotted path: what a machine has, which values fit, and the machine with other values.

A path names a field of a part: `memory.dram.timings.RCD`, `memory.pim.accumulators`, `cpu.cores.0.clock_ghz`,
`memory.controller.read_queue`. All changes are made at once, so values that must agree can change together.
Where a count of the memory changes, the address maps are fitted to it (see `fitted`).
Levers are paths that stand for several values: see `LEVERS`.
"""

from __future__ import annotations

import dataclasses
import difflib
import functools
import types
import typing
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, replace
from typing import Any

from pimsim.devices import AcceleratorSpec, CpuSpec, DramSpec, NpuSpec, PimSpec, part
from pimsim.devices.part_file import dram_part
from pimsim.devices.spec import AtLeast, DramGeometry
from pimsim.errors import SpecError, SweepError
from pimsim.placement.mapping import AddressMapping, FieldBit, XorHash
from pimsim.system import System

MEMORY = ("dram", "channels", "pim", "controller", "host_mapping", "pim_mapping", "pad_head", "fence_ns")
CPU = ("compute_cores", "copy_cores")
"""Fields of a system that are named under `memory.` and under `cpu.`."""
_UNNAMED = {"name", "source"}
_PARTS = (DramSpec, PimSpec, CpuSpec, NpuSpec, AcceleratorSpec)


def public(name: str) -> str:
    """The path of a field of `System`."""
    return f"memory.{name}" if name in MEMORY else f"cpu.{name}" if name in CPU else name


def inner(path: str) -> str:
    """The path counted from the system itself: `memory.dram.tck_fs` is `dram.tck_fs`."""
    root, _, rest = path.partition(".")
    first = rest.partition(".")[0]
    return rest if (root == "memory" and first in MEMORY) or (root == "cpu" and first in CPU) else path


def children(value: Any) -> dict[str, Any]:
    """What can be named inside a value: fields, keys, positions."""
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        if isinstance(value, AddressMapping):
            return {}
        return {f.name: getattr(value, f.name) for f in dataclasses.fields(value) if f.name not in _UNNAMED}
    if isinstance(value, dict):
        return {str(key): held for key, held in value.items()}
    if isinstance(value, tuple) and any(dataclasses.is_dataclass(held) for held in value):
        return {str(i): held for i, held in enumerate(value)}
    return dict(value) if _pairs(value) else {}


def _pairs(value: Any) -> bool:
    """Whether a value is a table in the form of (name, value) pairs."""
    return (
        isinstance(value, tuple)
        and bool(value)
        and all(isinstance(held, tuple) and len(held) == 2 and isinstance(held[0], str) for held in value)
    )


def paths(system: System) -> dict[str, Any]:
    """Every path of a system with its value now, levers first."""

    def walk(at: str, value: Any) -> Iterator[tuple[str, Any]]:
        if value != {}:
            yield at, value
        for name, held in children(value).items():
            yield from walk(f"{at}.{name}", held)

    found = {name: lever.now(system) for name, lever in LEVERS.items()}
    for name, held in children(system).items():
        found.update(walk(public(name), held))
    return found


def check(path: str, value: Any, system: System) -> Any:
    """The value as this path takes it; a SweepError says what is wrong with path or value."""
    if path in LEVERS:
        return _typed(path, value, LEVERS[path].kind, None)
    steps = inner(path).split(".")
    held: Any = system
    kind: Any = System
    for step in steps:
        inside = children(held)
        if step not in inside:
            raise SweepError(f"{system.name} has no parameter {path!r}{near(path, paths(system))}")
        kind, held = _kind(held, step, inside[step]), inside[step]
    return _typed(path, value, kind, held)


def near(path: str, known: Mapping[str, Any]) -> str:
    """What was probably meant, as the end of a sentence."""
    last = path.rpartition(".")[2].lower()
    found = [name for name in known if name.rpartition(".")[2].lower() == last]
    found += [name for name in difflib.get_close_matches(path, known, n=3, cutoff=0.6) if name not in found]
    if found:
        return "; did you mean " + " or ".join(map(repr, found[:3])) + "?"
    return "; list all with: pimsim sweep --paths"


def _kind(holder: Any, step: str, held: Any) -> Any:
    """The declared type of what `step` names in `holder`, else that of its value."""
    if dataclasses.is_dataclass(holder) and not isinstance(holder, type):
        kind: type = type(holder)
        return _hints(kind)[step]
    return type(held)


@functools.lru_cache(maxsize=256)
def _hints(kind: type) -> dict[str, Any]:
    return typing.get_type_hints(kind)


def _typed(path: str, value: Any, kind: Any, held: Any) -> Any:
    """`value` as `kind`."""
    if typing.get_origin(kind) in (typing.Union, types.UnionType):
        options = typing.get_args(kind)
        if (value is None or value == "none") and type(None) in options:
            return None
        kinds = [option for option in options if option is not type(None)]
        for other in kinds[1:]:
            try:
                return _typed(path, value, other, held)
            except (SpecError, SweepError):
                continue
        return _typed(path, value, kinds[0], held)
    wanted = _WANTED.get(kind)
    if kind is bool and isinstance(value, bool):
        return value
    if kind is int and isinstance(value, int) and not isinstance(value, bool):
        return value
    if kind is float and isinstance(value, int | float) and not isinstance(value, bool):
        return float(value)
    if kind is str and isinstance(value, str):
        return value
    if kind is AtLeast:
        if isinstance(value, int | float) and not isinstance(value, bool):
            return AtLeast(ns=float(value), ck=held.ck if isinstance(held, AtLeast) else 0)
        if isinstance(value, dict) and value and value.keys() <= {"ns", "ck"}:
            ns = _typed(f"{path}.ns", value.get("ns", 0.0), float, None)
            return AtLeast(ns=ns, ck=_typed(f"{path}.ck", value.get("ck", 0), int, None))
    if kind is AddressMapping and isinstance(value, str):
        size = held.transaction_bytes if isinstance(held, AddressMapping) else 32
        return AddressMapping.parse(value, size)
    if kind in _PARTS:
        if isinstance(value, kind):
            return value
        if isinstance(value, str):
            return dram_part(value) if kind is DramSpec else part(value, kind)
        wanted = "the name of a part"
    if typing.get_origin(kind) is tuple and isinstance(value, list | tuple):
        item = typing.get_args(kind)[0]
        if item in (int, float, str):
            return tuple(_typed(path, each, item, None) for each in value)
    if typing.get_origin(kind) is tuple:
        wanted = "a list" if wanted is None and not children(held) else wanted
    if isinstance(kind, type) and dataclasses.is_dataclass(kind) and isinstance(value, kind):
        return value
    if wanted is None and held is not None and children(held):
        wanted = f"one of its values: {', '.join(f'{path}.{name}' for name in list(children(held))[:4])} ..."
    raise SweepError(f"{path}={value!r}; wanted {wanted or f'a value of type {kind}'}")


_WANTED = {
    int: "a whole number",
    float: "a number",
    str: "a text",
    bool: "true or false",
    AtLeast: "nanoseconds, or { ns = ..., ck = ... }",
    AddressMapping: "an address map as text",
}


# Levers: one number that stands for several values of a part.


@dataclass(frozen=True, kw_only=True)
class Lever:
    """doc: what it does. now: its value in a system. sets: the values of `System` fields it stands for."""

    doc: str
    kind: type
    now: Callable[[System], Any]
    sets: Callable[[System, Any], dict[str, Any]]


def _rate(system: System, rate: int) -> dict[str, Any]:
    dram = system.dram
    if rate < 1:
        raise SpecError(f"memory.data_rate_mtps={rate}; wanted at least 1")
    if rate == dram.data_rate_mtps:
        return {}
    tck_fs = -(-dram.clock_ratio * 1_000_000_000 // rate)
    kept = {
        f"dram.latencies_ck.{name}": -(-dram.latencies_ck[name] * dram.tck_fs // tck_fs)
        for name in ("RL", "WL", "CL", "CWL")
        if name in dram.latencies_ck
    }
    return {"dram.data_rate_mtps": rate, "dram.tck_fs": tck_fs} | kept


def _banks(system: System, banks: int) -> dict[str, Any]:
    g = system.dram.geometry
    if banks < 1 or banks % g.bank_groups or (g.rows * g.banks) % banks:
        raise SpecError(
            f"memory.banks={banks}; wanted a multiple of {g.bank_groups} bank groups that divides "
            f"{g.rows * g.banks} rows of a rank"
        )
    return {
        "dram.geometry.banks_per_group": banks // g.bank_groups,
        "dram.geometry.rows": g.rows * g.banks // banks,
    }


def _copy_threads(system: System, count: int) -> dict[str, Any]:
    own = sorted(system.copy_cores, key=lambda core: core in system.compute_cores)
    free = [core for core in system.all_cores if core not in (*system.compute_cores, *own)]
    order = own + free + [core for core in reversed(system.all_cores) if core not in (*own, *free)]
    if not 1 <= count <= len(order):
        raise SpecError(f"cpu.copy_threads={count}; wanted 1 to the {len(order)} cores of {system.cpu.name}")
    return {"copy_cores": tuple(sorted(order[:count]))}


LEVERS: dict[str, Lever] = {
    "memory.data_rate_mtps": Lever(
        doc="data rate and the clock that goes with it; read and write latency keep their ns (estimate)",
        kind=int,
        now=lambda system: system.dram.data_rate_mtps,
        sets=_rate,
    ),
    "memory.banks": Lever(
        doc="banks of a rank at the same capacity: more banks in a group, fewer rows in each",
        kind=int,
        now=lambda system: system.dram.geometry.banks,
        sets=_banks,
    ),
    "cpu.copy_threads": Lever(
        doc="copy threads: first on the machine's cores for them, then on cores without a GEMM thread, then "
        "beside one, slowest cores first",
        kind=int,
        now=lambda system: len(system.copy_cores),
        sets=_copy_threads,
    ),
}


def machine(base: System, changes: Mapping[str, Any]) -> System:
    """The system with these values (as `check` gives them), all at once.

    A `SpecError` says why the values make no machine. A new `memory.dram` takes the PIM units along, if none
    are named for it; address maps that are not given are fitted to new counts.
    """
    whole = {inner(path): value for path, value in changes.items() if path not in LEVERS}
    base = _with_parts(base, {name: whole.pop(name) for name in ("cpu", "dram", "pim") if name in whole})
    tree: dict[str, Any] = {}
    for path, lever in LEVERS.items():
        if path in changes:
            for name, value in lever.sets(base, changes[path]).items():
                _plant(tree, name, value)
    for name, value in whole.items():
        _plant(tree, name, value)
    if not tree:
        return base
    changed = {name: _rebuilt(getattr(base, name), given) for name, given in tree.items()}
    geometry, channels = changed.get("dram", base.dram).geometry, changed.get("channels", base.channels)
    if (geometry, channels) != (base.dram.geometry, base.channels):
        for name in ("host_mapping", "pim_mapping"):
            if name not in changed:
                changed[name] = fitted(getattr(base, name), geometry, channels)
    return replace(base, **changed)


def _with_parts(base: System, given: dict[str, Any]) -> System:
    """The system with other parts as a whole."""
    if "dram" in given:
        dram: DramSpec = given["dram"]
        if base.pim is not None:
            given.setdefault("pim", replace(base.pim, dram=dram.name))
        for name in ("host_mapping", "pim_mapping"):
            given[name] = fitted(getattr(base, name), dram.geometry, base.channels)
    return replace(base, **given) if given else base


def _plant(tree: dict[str, Any], path: str, value: Any) -> None:
    *above, last = path.split(".")
    at = tree
    for step in above:
        at = at.setdefault(step, {})
        if not isinstance(at, dict):
            raise SpecError(f"{path} is given beside a value of {step} as a whole")
    at[last] = _Whole(value)


@dataclass(frozen=True)
class _Whole:
    """A value that replaces what was there."""

    value: Any


def _rebuilt(old: Any, given: Any) -> Any:
    """`old` with what the tree gives for it."""
    if isinstance(given, _Whole):
        return given.value
    if isinstance(old, dict):
        return old | {name: _rebuilt(old[name], inside) for name, inside in given.items()}
    if _pairs(old):
        return tuple((name, _rebuilt(held, given[name]) if name in given else held) for name, held in old)
    if isinstance(old, tuple):
        return tuple(_rebuilt(held, given[str(i)]) if str(i) in given else held for i, held in enumerate(old))
    return replace(old, **{name: _rebuilt(getattr(old, name), inside) for name, inside in given.items()})


def fitted(mapping: AddressMapping, geometry: DramGeometry, channels: int) -> AddressMapping:
    """The mapping with as many bits of each field as the geometry needs.

    A field grows and shrinks at its most significant piece; hashes of bits that are gone go, too, and new
    bits are not hashed (estimate: nobody draws address maps of parts that do not exist).
    """
    wanted = {
        "channel": channels,
        "rank": geometry.ranks,
        "bankgroup": geometry.bank_groups,
        "bank": geometry.banks_per_group,
        "row": geometry.rows,
        "column": geometry.bursts_per_row,
    }
    counts = {field: mapping.counts.get(field, 1) for field in wanted}
    if counts == wanted and mapping.transaction_bytes == geometry.burst_bytes:
        return mapping
    pieces = list(mapping.pieces)
    top_count = None
    for field, count in wanted.items():
        bits = (count - 1).bit_length()
        if count != 1 << bits:
            if field != mapping.top_field:
                raise SpecError(f"mapping {mapping}: {count} of {field}; wanted a power of two")
            top_count = count
        missing = bits - mapping.field_bits.get(field, 0)
        if missing > 0 and field not in mapping.field_bits:
            pieces.insert(0, (field, missing))
            continue
        for at in reversed(range(len(pieces))):
            name, held = pieces[at]
            if name == field and missing:
                new = max(0, held + missing)
                pieces[at], missing = (name, new), missing - (new - held)
    sizes: dict[str, int] = {}
    for field, held in pieces:
        sizes[field] = sizes.get(field, 0) + held

    def there(bit: FieldBit) -> bool:
        return bit.bit < sizes.get(bit.field, 0)

    hashes = []
    for hashed in mapping.hashes:
        sources = tuple(filter(there, hashed.sources))
        if there(hashed.target) and sources:
            hashes.append(XorHash(target=hashed.target, sources=sources))
    return AddressMapping(
        pieces=tuple(pieces),
        transaction_bytes=geometry.burst_bytes,
        top_count=top_count,
        hashes=tuple(hashes),
    )
