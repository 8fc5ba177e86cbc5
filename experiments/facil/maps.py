"""Which address map does each matrix get, and can a GPU read at full rate under it?"""

from collections.abc import Callable
from dataclasses import replace

import pandas as pd

from experiments.facil.setting import CASES, SUMMARY, pages
from pimsim.checks import Check, Tolerance
from pimsim.devices.dram.stream import Phase, Stream
from pimsim.engines.rates import measured, ports
from pimsim.placement.facil import FacilChoice, FacilPages
from pimsim.report.curves import grouped_bars
from pimsim.report.report import Report
from pimsim.system import System, load_system
from pimsim.trace.llm import LlmConfig, prefill_trace
from pimsim.trace.op import DTYPE_BITS

BLOCK_BURSTS = 128
PLATFORMS = ("jetson-orin", "core-ultra-7-155h", "iphone-15-pro", "exynos2400")
WIDTH = 4096  # values of 16 bits in a row of the matrix that is read


def run(progress: Callable[[float, str], None]) -> Report:
    """MapID and padding of the models' matrices; read rates of a GPU under the host's and FACIL's map."""
    choices, sizes = [], []
    for name, case in CASES.items():
        system, config = load_system(name), case.model
        held = pages(system)
        for k in sorted(_widths(config)):
            choice = held.select(k, 16)
            choices.append(
                {
                    "system": name,
                    "model": config.name,
                    "k": k,
                    "map_id": choice.map_id,
                    "highest_map_id": held.max_map_id,
                    "parts": choice.parts,
                    "pitch_bytes": choice.pitch_bytes,
                }
            )
        sizes.append({"system": name, "model": config.name} | _size(held, config))
    rates = []
    for i, name in enumerate(PLATFORMS):
        progress(i / len(PLATFORMS), name)
        rates.append(_rates(load_system(name)))
    frame = pd.DataFrame(rates)
    drawn = frame.melt("system", [c for c in frame if c.endswith("percent")], "order", "share_percent")
    drawn["order"] = [text.removesuffix("_percent").replace("_", " ") for text in drawn["order"]]
    progress(1.0, "done")
    return Report(
        name="maps",
        question="Which map does each matrix get, and can a GPU read at full rate under it?",
        tables={"choice": pd.DataFrame(choices), "capacity": pd.DataFrame(sizes), "read-rate": frame},
        checks=_checks(frame),
        figures={
            "read-rate": lambda: grouped_bars(
                drawn,
                x="system",
                y="share_percent",
                series="order",
                title=f"GPU reads a matrix with rows of {WIDTH} values",
                x_label="platform",
                y_label="share of the peak [%]",
            )
        },
        leaves_out=(
            "the bits that select the unit and the order of a row's parts: ours, no source gives them",
            "the page table's cost, and pages that two matrices share: each matrix has its own",
        ),
    )


def _widths(config: LlmConfig) -> set[int]:
    trace = prefill_trace(config, 1)
    return {w.shape[1] for w in trace.weights() if len(w.shape) == 2 and ".weight" in w.name}


def _size(held: FacilPages, config: LlmConfig) -> dict[str, float]:
    """Matrices of a model in row-major order and in FACIL's pages, GB."""
    matrices = [w for w in prefill_trace(config, 1).weights() if len(w.shape) == 2]
    plain = sum(w.bytes for w in matrices)
    paged = sum(held.padded_bytes(w.shape[0], w.shape[1], DTYPE_BITS[w.dtype]) for w in matrices)
    return {
        "matrices_gb": plain / 1e9,
        "in_pages_gb": paged / 1e9,
        "padding_percent": 100 * (paged / plain - 1),
    }


def _rates(system: System) -> dict[str, object]:
    """Read rates of the GPU's ports that work side by side, in per cent of the peak."""
    held = pages(system)
    choice = held.select(WIDTH, 16)
    facil = replace(system, host_mapping=held.mapping(choice))
    assert system.gpu is not None
    count = len(ports(system.gpu, system.dram.geometry.burst_bytes))
    rows = _in_row_order(system, count)
    peak = system.peak_bytes_per_s
    return {
        "system": system.name,
        "host_map_row_by_row_percent": 100 * _rate(system, *rows) / peak,
        "facil_row_by_row_percent": 100 * _rate(facil, *rows) / peak,
        "facil_in_blocks_percent": 100 * _rate(facil, *_in_blocks(held, choice, count)) / peak,
    }


Walk = tuple[tuple[tuple[int, int], ...], list[int]]


def _in_row_order(system: System, count: int) -> Walk:
    """Consecutive bytes: port i of n takes every n-th block."""
    burst = system.dram.geometry.burst_bytes
    block = BLOCK_BURSTS * burst
    return ((BLOCK_BURSTS, burst), (1 << 30, count * block)), [i * block for i in range(count)]


def _in_blocks(held: FacilPages, choice: FacilChoice, count: int) -> Walk:
    """As the map lies: the chunk of a DRAM row in each part, the other rows of the chunk, unit by unit."""
    units = held.banks // choice.parts
    span = held.chunk_bytes << choice.map_id  # from a part of a row to the next
    group = held.chunk_rows * choice.pitch_bytes  # rows that share DRAM rows of a unit
    walk = (
        (held.chunk_bytes // held.burst_bytes, held.burst_bytes),
        (choice.parts, span),
        (held.chunk_rows, choice.pitch_bytes),
        (max(1, units // count), group * count),
        (1 << choice.map_id, held.chunk_bytes),
    )
    return walk, [i % units * group for i in range(count)]


def _rate(system: System, walk: tuple[tuple[int, int], ...], bases: list[int]) -> float:
    burst = system.dram.geometry.burst_bytes
    assert system.gpu is not None
    asked: tuple[tuple[Stream, tuple[int, ...]], ...] = tuple(
        (
            Stream(
                kind="gpu",
                phases=(Phase(bursts=1 << 30, loops=walk),),
                bursts=1 << 40,
                window=window,
                gap_ps=0.0,
                path_ns=system.gpu.path_ns,
            ),
            (base,),
        )
        for window, base in zip(ports(system.gpu, burst), bases, strict=True)
    )
    return measured(system.memory, asked) * burst


def _checks(frame: pd.DataFrame) -> list[Check]:
    eight = FacilPages(
        channels=1, ranks=1, bank_groups=2, banks_per_group=4, rows=2**16, chunk_rows=1, chunk_bytes=2048
    )
    checks = [
        Check(
            quantity="highest MapID: log2(page / (banks x burst))",
            setting="2 MiB, 8 banks, 32 bytes",
            ours=eight.bound,
            expected=13,
            tolerance=Tolerance(abs=0),
            source=SUMMARY,
        ),
        Check(
            quantity="highest MapID: log2(page / (banks x burst))",
            setting="exynos2400: 4 channels, 2 ranks, 16 banks",
            ours=pages(load_system("exynos2400")).bound,
            expected=9,
            tolerance=Tolerance(abs=0),
            source=f"derived from the rule, {SUMMARY}",
        ),
    ]
    for row in frame.to_dict("records"):
        checks.append(
            Check(
                quantity="GPU read rate in blocks under FACIL's map over that row by row under the host's",
                setting=str(row["system"]),
                ours=row["facil_in_blocks_percent"] / row["host_map_row_by_row_percent"],
                expected=1.0,
                tolerance=Tolerance(rel=0.1),
                source=f"{SUMMARY}: products read the weights where they lie, without a re-layout",
            )
        )
    return checks
