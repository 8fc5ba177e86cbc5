"""PIM units as an engine: products of a few rows with weights that lie in PIM, one row after the other."""

from __future__ import annotations

from pimsim.devices.pim.program import Gemv, gemv, time_program
from pimsim.engines.cost import Cost, Work
from pimsim.system import System

MOST_ROWS = 16
"""Rows of a product that PIM is asked for: each takes a pass over the weights."""
SAME_WIDTH = {"fp16": "bf16", "bf16": "fp16"}
"""A type of the same width that has the same commands and times."""
_TIMES: dict[tuple[str, int, int, str], tuple[int, Gemv]] = {}


def weight_dtype(system: System, dtype: str) -> str | None:
    """The type of a PIM part under which weights of `dtype` are multiplied; None where it has none."""
    if system.pim is None:
        return None
    for name in (dtype, SAME_WIDTH.get(dtype, dtype)):
        if name in system.pim.weight_dtypes:
            return name
    return None


def price(system: System, work: Work) -> Cost | None:
    """The programs of a product, or None: no weights, too many rows, a type that the units do not have."""
    if work.kind != "matmul" or not work.weight_dtype:
        return None
    m, n, k, _ = work.products[0]
    dtype = weight_dtype(system, work.weight_dtype)
    if m > MOST_ROWS or dtype is None:
        return None
    return gemv_cost(system, m, n, k, dtype)


def gemv_cost(system: System, m: int, n: int, k: int, dtype: str) -> Cost:
    """m matrix-vector products of an n x k matrix on all banks; the channels are theirs meanwhile."""
    assert system.pim is not None
    key = (system.key, n, k, dtype)
    if key not in _TIMES:
        program = gemv(
            system.pim,
            system.layout,
            n,
            k,
            dtype,
            base_row=0,
            pad_rows_to=0,
            fences=system.fence_ns is not None,
        )
        timed = time_program(system.dram, system.pim, system.controller, program.commands, system.host_drive)
        _TIMES[key] = round(timed.clocks * system.dram.tck_fs / 1000), program
    each, _ = _TIMES[key]
    weights = n * k * system.pim.weight_dtypes[dtype] // 8
    launch = round((system.cpu.dispatch_us + system.cpu.wake_us) * 1e6)
    return Cost(
        engine="pim",
        launch_ps=launch,
        compute_ps=0,
        memory_ps=m * each,
        read_bytes=m * weights,
        written_bytes=0,
        time_ps=launch + m * each,
    )
