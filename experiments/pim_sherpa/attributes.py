"""What do the wrong memory attribute and the wrong layout cost, in prefill and in decode?"""

from collections.abc import Callable
from dataclasses import replace

import numpy as np
import pandas as pd

from experiments.pim_sherpa.setting import LEAVES_OUT, READ, machine
from pimsim.checks import Check
from pimsim.devices.cache import simulate
from pimsim.devices.cpu import LINE_BYTES, gemm_streams, slab_bytes, split, windows
from pimsim.devices.dram.stream import Phase, Stream, sustained
from pimsim.methods.plan import Gemm, PimGemv, Plan, Segment, Task
from pimsim.report.curves import grouped_bars
from pimsim.report.report import Report
from pimsim.run import run_plan
from pimsim.system import System

SHAPES = {"1B gate_proj": (8192, 2048), "1B k_proj": (512, 2048), "3B gate_proj": (8192, 3072)}
BITS = 16
PROMPTS = (16, 64, 128)
SOURCE = READ + ": sections 1 and 3, the two inconsistencies"


def run(progress: Callable[[float, str], None]) -> Report:
    """GEMM from both kinds of region, GEMV on both layouts, and PIM triggers through a cache."""
    system = machine()
    gemm, gemv, checks = [], [], []
    for i, (name, (n, k)) in enumerate(SHAPES.items()):
        for j, prompt in enumerate(PROMPTS):
            progress(0.8 * (i + j / len(PROMPTS)) / len(SHAPES), f"{name}, prompt {prompt}")
            ms = {held: _gemm_ms(system, prompt, n, k, held) for held in (True, False)}
            narrow = _narrow_gemm_ms(system, prompt, n, k)
            gemm.append(
                {
                    "matrix": name,
                    "prompt": prompt,
                    "cacheable_ms": ms[True],
                    "non-cacheable_lines_ms": ms[False],
                    "non-cacheable_16_byte_loads_ms": narrow,
                    "times_slower": narrow / ms[True],
                }
            )
        host = _gemm_ms(system, 1, n, k, True)
        across = _on_pim_layout_ms(system, n, k)
        pim = _pim_ms(system, n, k)
        for by, layout, ms_ in (
            ("host", "host-friendly", host),
            ("host", "PIM-aware", across),
            ("PIM", "PIM-aware", pim),
        ):
            gbps = n * k * BITS / 8 / ms_ / 1e6
            gemv.append({"matrix": name, "by": by, "layout": layout, "gemv_ms": ms_, "weights_gbps": gbps})
        checks.append(
            Check(
                quantity="a host's GEMV is slower on the PIM-aware layout, PIM's on its own layout is faster",
                setting=name,
                ours=bool(across > host > pim),
                source=SOURCE,
            )
        )
    slower = pd.DataFrame(gemm)
    checks += [
        Check(
            quantity="GEMM from a non-cacheable region is slower, even with loads of whole lines",
            setting=f"{name}, prompts {', '.join(map(str, PROMPTS))}",
            ours=bool((part["non-cacheable_lines_ms"] > part["cacheable_ms"]).all()),
            source=SOURCE,
        )
        for name, part in slower.groupby("matrix", sort=False)
    ]
    progress(0.9, "PIM triggers")
    triggers = [_triggers(system, *SHAPES["1B k_proj"], cacheable) for cacheable in (False, True)]
    checks += [
        Check(
            quantity="every PIM trigger reaches the memory",
            setting="non-cacheable region, two tokens",
            ours=bool(triggers[0]["reached_memory"] == triggers[0]["sent"]),
            source=SOURCE,
        ),
        Check(
            quantity="a cache swallows PIM triggers",
            setting="cacheable region, two tokens",
            ours=bool(triggers[1]["reached_memory"] < triggers[1]["sent"]),
            source=SOURCE,
        ),
    ]
    bars = slower[slower["prompt"] == PROMPTS[1]].melt(
        id_vars="matrix",
        value_vars=[name for name in slower if name.endswith("_ms")],
        var_name="region",
        value_name="ms",
    )
    bars["region"] = bars["region"].str.removesuffix("_ms").str.replace("_", " ")
    vectors = pd.DataFrame(gemv)
    vectors["who"] = vectors["by"] + " on " + vectors["layout"]
    return Report(
        name="attributes",
        question="What do the wrong memory attribute and the wrong layout cost?",
        tables={"gemm-by-region": slower, "gemv-by-layout": vectors.drop(columns="who"),
                "pim-triggers": pd.DataFrame(triggers)},
        checks=checks,
        figures={
            "gemm-by-region": lambda: grouped_bars(
                bars, x="matrix", y="ms", series="region", title=f"GEMM at a prompt of {PROMPTS[1]} tokens",
                x_label="", y_label="time (ms)",
            ),
            "gemv-by-layout": lambda: grouped_bars(
                vectors, x="matrix", y="gemv_ms", series="who", title="Matrix-vector product",
                x_label="", y_label="time (ms)",
            ),
        },
        leaves_out=(*LEAVES_OUT, "prefetches, which would add triggers that nobody meant"),
    )  # fmt: skip


def _time_ms(system: System, task: Task) -> float:
    """The task alone, the runtime's and the threads' costs included."""
    plan = Plan(phase="prefill", segments=(Segment(name="alone", tasks=(task,)),))
    return run_plan(system, plan).duration_ps * 1e-9


def _gemm_ms(system: System, m: int, n: int, k: int, cacheable: bool) -> float:
    work = Gemm(m=m, n=n, k=k, bits=BITS, weight="w", cacheable=cacheable)
    kind, team = ("gemm", "compute") if m > 1 else ("gemv", "all")
    return _time_ms(system, Task(name="product", kind=kind, team=team, work=work))


def _narrow_gemm_ms(system: System, m: int, n: int, k: int) -> float:
    """From a non-cacheable region with loads as wide as the kernel asks, 16 bytes, that merge with nothing.

    `gemm_streams` counts 64-byte loads, the best case; here each burst of 32 bytes is asked for twice, and
    one burst takes the place of a line in flight.
    """
    burst, cores = system.dram.geometry.burst_bytes, system.cores(system.compute_cores)
    wide = gemm_streams(system.cpu, cores, m, n, k, BITS, burst, cacheable=False)
    loads = [
        replace(stream, bursts=2 * stream.bursts, window=core.nc_outstanding, gap_ps=stream.gap_ps / 2)
        for stream, core in zip(wide, cores, strict=True)
    ]
    rates = sustained(system.memory, [(stream, 1) for stream in loads])
    slowest = max(stream.bursts / rate for stream, rate in zip(loads, rates, strict=True))
    return slowest * 1e-9 + (system.cpu.dispatch_us + system.cpu.wake_us) * 1e-3


def _pim_ms(system: System, n: int, k: int) -> float:
    work = PimGemv(n=n, k=k, dtype="bf16", pad_rows_to=0, weight="w")
    return _time_ms(system, Task(name="product", kind="pim_gemv", team="pim", work=work))


def _on_pim_layout_ms(system: System, n: int, k: int) -> float:
    """The host's GEMV over matrix rows in order where they lie for PIM: a chunk, then a DRAM row further."""
    layout, burst = system.layout, system.dram.geometry.burst_bytes
    cores = system.cores(system.all_cores)
    walk = (
        (layout.chunk_bytes // burst, burst),
        (layout.chunks(k, BITS), slab_bytes(layout)),
        (min(n, layout.tile_rows), layout.chunk_bytes),
    )
    streams = [
        (
            Stream(
                kind=f"gemv {i}", phases=(Phase(bursts=1 << 30, mapping=1, loops=walk),), bursts=rows * k,
                window=window, gap_ps=0.0, path_ns=system.cpu.path_ns,
            ),
            1,
        )
        for i, (rows, window) in enumerate(
            zip(split(n, len(cores)), windows(system.cpu, cores, burst), strict=True)
        )
    ]  # fmt: skip
    rates = sustained(system.memory, streams)  # bursts a picosecond
    shares = [rows * k * BITS / 8 / burst for rows in split(n, len(cores))]
    slowest = max(share / rate for share, rate in zip(shares, rates, strict=True))
    return slowest * 1e-9 + (system.cpu.dispatch_us + system.cpu.wake_us) * 1e-3


def _triggers(system: System, n: int, k: int, cacheable: bool) -> dict[str, object]:
    """One host read for each column access of all banks, for two tokens, through the big core's caches."""
    layout = system.layout
    bursts = layout.dram_rows(n, k, BITS) * layout.row_bytes // layout.burst_bytes * system.channels
    once = np.arange(bursts, dtype=np.uint64) * np.uint64(layout.burst_bytes)
    address = np.concatenate([once, once])
    core = system.cpu.cores[0]
    levels = (core.l1, core.l2, *system.cpu.shared)
    log = simulate(levels, address, False, np.full(len(address), cacheable), log=True).log
    assert log is not None
    return {
        "region": "cacheable" if cacheable else "non-cacheable",
        "sent": len(address),
        "reached_memory": int(log.where("read", "non-cacheable read").sum()),
        "line_bytes": LINE_BYTES,
    }
