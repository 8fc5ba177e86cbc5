"""Speed-ups that LP5X-PIM Sim reports for LPDDR5X-PIM (`tests/reference/pim/lp5x_pim_sim`)."""

from __future__ import annotations

import csv
from collections.abc import Iterator
from pathlib import Path

from pimsim.devices import part
from pimsim.devices.dram.channel import Controller
from pimsim.devices.pim.compile import compile_gemv
from pimsim.devices.pim.cost import cost_of
from pimsim.devices.pim.kernel import HostDrive, time_kernel
from pimsim.devices.spec import DramSpec, PimSpec
from pimsim.errors import SpecError

TYPES = {
    "W8A8": "int8", "W4A4": "w4a4", "W8A8-FP": "fp8",
    "W8A16": "w8a16", "W4A16": "w4a16", "W8A16-FP": "w8a16fp",
}  # fmt: skip
"""Weight and activation bits by the names of the publication -> our type."""
UNIT = "lpddr5x-pim-9600"


def speed_ups(folder: Path) -> Iterator[tuple[str, str, float, float, float, str]]:
    """A row a case with its cause, error 0 inside the published range, else to its nearest end."""
    path = folder / "cases.csv"
    pim = part(UNIT, PimSpec)
    dram = part(pim.dram, DramSpec)
    with open(path, encoding="utf-8", newline="") as file:
        for line in csv.DictReader(file):
            types = [name.strip() for name in line["types"].split(";")]
            if unknown := [name for name in types if name not in TYPES]:
                raise SpecError(f"{path}: types {unknown}; known: {', '.join(TYPES)}")
            sizes = [int(size) for size in line["dimensions"].split(";")]
            if line["quantity"] == "reshape":
                ours, what = max(
                    (_gain(dram, pim, size, name), f"largest at {size}, {name}")
                    for size in sizes
                    for name in types
                )
            else:
                ours, what = _speed_up(dram, pim, sizes[0], types[0], float(line["fence_ns"]))
            low, high = float(line["low"]), float(line["high"] or "inf")
            near = low if ours < low or high - ours > ours - low else high
            error = 0.0 if low <= ours <= high else ours / near - 1
            said = f"above {low:g}" if not line["high"] else f"{low:g}" + f" to {high:g}" * (high > low)
            yield (
                line["case"],
                f"lpddr5x-pim {line['quantity']}",
                ours,
                near,
                error,
                f"published {said}; {what}",
            )


def _speed_up(dram: DramSpec, pim: PimSpec, size: int, name: str, fence_ns: float) -> tuple[float, str]:
    """Over the sequential read of the weights, square matrix of `size`, and what costs most of the clocks."""
    kernel = compile_gemv(pim, dram, size, size, TYPES[name], fences=fence_ns > 0)
    cost = cost_of(dram, pim, Controller(), kernel, HostDrive(fence_ns=fence_ns))
    most = sorted(cost.lost.items(), key=lambda cause: -cause[1])[:3]
    return cost.speedup_over_read, ", ".join(f"{name} {ck / cost.clocks:.0%}" for name, ck in most)


def _gain(dram: DramSpec, pim: PimSpec, size: int, name: str) -> float:
    """Time without columns in parts over the time with as many parts as pay."""
    plain, parts = (
        time_kernel(dram, pim, Controller(), compile_gemv(pim, dram, size, size, TYPES[name], split=split))
        for split in (1, 0)
    )
    return plain.clocks / parts.clocks


__all__ = ["TYPES", "speed_ups"]
