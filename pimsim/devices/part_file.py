"""DRAM parts in a file of numbers (TOML): the fields of `DramSpec`, or a shipped part and what differs.

    base = "lpddr5x-8533-16gb-x16"
    name = "lpddr5x-10667-16gb-x16"
    source = "made up"
    data_rate_mtps = 10667
    tck_fs = 750_000
    latencies_ck = { RL = 28, WL = 15 }

    [timings]
    RFCab = { ns = 280 }     # the longer of `ns` nanoseconds and `ck` clocks

Tables (`geometry`, `timings`, `latencies_ck`) change the values that they name and keep the others of the
base; without a base every field is needed, as in `DramSpec`.
"""

from __future__ import annotations

from dataclasses import MISSING, fields, replace
from pathlib import Path
from typing import Any

from pimsim.devices import part
from pimsim.devices.spec import AtLeast, DramGeometry, DramSpec
from pimsim.devices.toml_file import TomlFile
from pimsim.errors import SpecError, suggest

_TEXT = ("name", "family", "source")
_WHOLE = ("density_gbit", "data_rate_mtps", "tck_fs", "clock_ratio")
_TABLES = ("geometry", "timings", "latencies_ck")


def dram_part(name: str) -> DramSpec:
    """The DRAM part of a name of the catalog, or of a file that ends in .toml."""
    return read_part(name) if name.endswith(".toml") else part(name, DramSpec)


def read_part(path: str | Path) -> DramSpec:
    """The part that a TOML file describes; a SpecError names the file, the line and the key that is wrong."""
    return _File(Path(path)).part()


class _File(TomlFile):
    """A DRAM part that is being read."""

    def part(self) -> DramSpec:
        known = ("base", *_TEXT, *_WHOLE, *_TABLES)
        for key in self.raw:
            if key not in known:
                self.fail(key, f"unknown key {key!r}{suggest(key, known)}")
        base = self.base()
        held: dict[str, Any] = {}
        for key in (*_TEXT, *_WHOLE):
            if key in self.raw:
                kind = str if key in _TEXT else int
                held[key] = self.typed(key, self.raw[key], kind)
            elif base is None or key in ("name", "source"):
                raise SpecError(f"{self.path}: {key} is missing")
        held["geometry"] = self.geometry(base)
        held["timings"] = (base.timings if base else {}) | {
            name: self.at_least(f"timings.{name}", value) for name, value in self.table("timings").items()
        }
        held["latencies_ck"] = (base.latencies_ck if base else {}) | {
            name: self.typed(f"latencies_ck.{name}", value, int)
            for name, value in self.table("latencies_ck").items()
        }
        try:
            return replace(base, **held) if base is not None else DramSpec(**held)
        except SpecError as error:
            raise SpecError(f"{self.path}: {error}") from None

    def base(self) -> DramSpec | None:
        if "base" not in self.raw:
            return None
        name = self.typed("base", self.raw["base"], str)
        try:
            return part(name, DramSpec)
        except SpecError as error:
            self.fail("base", f"base: {error}")

    def geometry(self, base: DramSpec | None) -> DramGeometry:
        given = self.table("geometry")
        names = {field.name: field.default for field in fields(DramGeometry)}
        for name, value in given.items():
            if name not in names:
                self.fail(name, f"geometry: unknown key {name!r}{suggest(name, names)}")
            self.typed(f"geometry.{name}", value, int)
        if base is not None:
            return replace(base.geometry, **given)
        for name, default in names.items():
            if name not in given and default is MISSING:
                raise SpecError(f"{self.path}: geometry.{name} is missing")
        return DramGeometry(**given)

    def at_least(self, key: str, value: Any) -> AtLeast:
        if not isinstance(value, dict) or not value or not value.keys() <= {"ns", "ck"}:
            self.fail(key, f"{key}={value!r}; wanted {{ ns = ... }}, {{ ck = ... }} or both")
        ns, ck = value.get("ns", 0.0), value.get("ck", 0)
        if type(ns) not in (int, float) or type(ck) is not int:
            self.fail(key, f"{key}: ns={ns!r}, ck={ck!r}; wanted a number of ns and a whole number of clocks")
        return AtLeast(ns=float(ns), ck=ck)
