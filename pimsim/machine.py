"""What a machine is made of, as plain values: blocks with their numbers, for drawings and pages."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable
from typing import Any

from pimsim.devices import AcceleratorSpec, CoreSpec, CpuSpec, DramSpec, NpuSpec, PimSpec
from pimsim.devices.spec import CacheSpec
from pimsim.system import System

Block = dict[str, Any]
"""kind, name, source (text), facts (label -> text with its unit), inside (blocks)."""


def describe(system: System) -> Block:
    """The blocks of a system: compute first, then memory. Only JSON types."""
    facts = {
        "memory": size(system.capacity_bytes),
        "peak bandwidth": f"{system.peak_bytes_per_s / 1e9:.4g} GB/s",
        "channels": str(system.channels),
    }
    inside = [part_block(system.cpu)]
    known = {"cpu", "dram", "pim"}
    for field in dataclasses.fields(system):
        value = getattr(system, field.name)
        if field.name not in known and isinstance(
            value, CpuSpec | NpuSpec | AcceleratorSpec | DramSpec | PimSpec
        ):
            inside.append(part_block(value))
    channel = part_block(system.dram)
    if system.pim is not None:
        channel["inside"].append(part_block(system.pim))
    rates = {"channels": facts["channels"], "peak bandwidth": facts["peak bandwidth"]}
    inside.append(_block("memory", "memory", "", {"capacity": facts["memory"]} | rates, [channel]))
    return _block("system", system.name, system.source, facts, inside)


def part_block(
    part: CpuSpec | CoreSpec | CacheSpec | DramSpec | PimSpec | NpuSpec | AcceleratorSpec,
) -> Block:
    """One part as a block."""
    if isinstance(part, CpuSpec):
        facts = {"peak": f"{part.peak_gflops:.4g} GFLOP/s", "way to memory": f"{part.path_ns:g} ns"}
        inside = [*_cores(part.cores), *(part_block(cache) for cache in part.shared)]
        return _block("cpu", part.name, part.source, facts, inside)
    if isinstance(part, CoreSpec):
        facts = {
            "clock": f"{part.clock_ghz:g} GHz",
            "peak": f"{part.peak_gflops:.4g} GFLOP/s",
            part.l1.name: size(part.l1.size_bytes),
            part.l2.name: size(part.l2.size_bytes),
        }
        return _block("core", part.name, part.source, facts)
    if isinstance(part, CacheSpec):
        facts = {"size": size(part.size_bytes), "ways": str(part.ways), "hit": f"{part.hit_ns:g} ns"}
        return _block("cache", part.name, part.source, facts)
    if isinstance(part, DramSpec):
        g = part.geometry
        facts = {
            "rate": f"{part.data_rate_mtps:,} MT/s".replace(",", " "),
            "peak": f"{part.peak_bytes_per_s / 1e9:.4g} GB/s",
            "capacity": size(g.channel_bytes),
            "ranks": str(g.ranks),
            "banks a rank": str(g.banks),
            "row": size(g.row_bytes),
            "burst": size(g.burst_bytes),
        }
        return _block("dram", part.name, part.source, facts)
    if isinstance(part, PimSpec):
        facts = {
            "units a bank": f"{part.units_per_bank:g}",
            "datapath": f"{part.lanes_bits} bit",
            "sums a unit": str(part.accumulators),
            "protocol": part.protocol.replace("_", " "),
        }
        return _block("pim", part.name, part.source, facts)
    if isinstance(part, AcceleratorSpec):
        facts = {f"peak {name}": f"{rate:g} TFLOP/s" for name, rate in part.peak_tflops.items()}
        facts |= {"cache": size(part.cache_bytes), "way to memory": f"{part.path_ns:g} ns"}
        return _block(part.kind, part.name, part.source, facts)
    facts = {
        field.name.replace("_", " "): str(getattr(part, field.name))
        for field in dataclasses.fields(part)
        if field.name not in ("name", "source") and isinstance(getattr(part, field.name), int | float | str)
    }
    return _block("npu", part.name, part.source, dict(list(facts.items())[:8]))


def size(count: int) -> str:
    """Bytes in the largest binary unit that leaves a short number: 16 GiB, 512 KiB."""
    for power, unit in ((40, "TiB"), (30, "GiB"), (20, "MiB"), (10, "KiB")):
        if count >= 1 << power:
            return f"{count / (1 << power):.4g} {unit}"
    return f"{count} B"


def _cores(cores: Iterable[CoreSpec]) -> list[Block]:
    """Cores that are alike share a block, which says how many."""
    held: dict[CoreSpec, int] = {}
    for core in cores:
        held[core] = held.get(core, 0) + 1
    blocks = []
    for core, count in held.items():
        block = part_block(core)
        blocks.append(block | {"name": f"{count} x {core.name}" if count > 1 else core.name})
    return blocks


def _block(
    kind: str, name: str, source: str, facts: dict[str, str], inside: list[Block] | None = None
) -> Block:
    return {"kind": kind, "name": name, "source": source, "facts": facts, "inside": inside or []}
