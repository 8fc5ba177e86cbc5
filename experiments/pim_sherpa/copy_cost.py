"""What does undoing the PIM-aware layout cost, by copy threads and by the memory attribute of the source?"""

from collections.abc import Callable

import pandas as pd

from experiments.pim_sherpa.setting import COPY_SHARE, DERIVED, LEAVES_OUT, MODELS, READ, machine
from pimsim.checks import Check, Tolerance
from pimsim.devices import CoreSpec
from pimsim.devices.cpu import swizzled_copy
from pimsim.devices.dram.stream import Stream, sustained
from pimsim.report.curves import line_chart
from pimsim.report.report import Report
from pimsim.run import copy_only_run, prefill_run
from pimsim.system import System

PAPER_OWR_COPY_S = {"llama-3.2-1b": 0.6, "llama-3.2-3b": 1.4}
PAPER_DDB_COPY_S = {"llama-3.2-1b": 0.89, "llama-3.2-3b": 2.54}
THREADS = (1, 2, 3, 4, 5, 6)
MATRIX = (8192, 2048, 16)  # the 1B model's largest: rows, columns, bits


def run(progress: Callable[[float, str], None]) -> Report:
    """Copy rates from 1 to 6 threads, and the whole copy work of a prefill with the two copy threads."""
    system = machine()
    rows, checks = [], []
    rates: dict[tuple[str, int], float] = {}
    for source in ("non-cacheable", "cacheable"):
        for threads in THREADS:
            progress(0.5 * threads / len(THREADS), f"{source}, {threads} threads")
            cores = tuple(reversed(system.all_cores))[:threads]
            streams = [(_copy(system, core, source == "cacheable"), 1) for core in system.cores(cores)]
            burst = system.dram.geometry.burst_bytes
            rate = sum(sustained(system.memory, streams)) * burst * 1e3
            rates[source, threads] = rate
            rows.append(
                {
                    "source": source,
                    "threads": threads,
                    "copied_GBps": rate,
                    "traffic_share_of_peak_percent": 100 * 3 * rate * 1e9 / system.peak_bytes_per_s,
                }
            )
    checks.append(
        Check(
            quantity="cacheable over non-cacheable copy rate",
            setting="one thread",
            ours=rates["cacheable", 1] / rates["non-cacheable", 1],
            expected=2.0,
            unit="x",
            tolerance=Tolerance(rel=COPY_SHARE),
            source=READ + ": about 2x",
        )
    )
    totals: list[dict[str, object]] = []
    times: dict[str, float] = {}
    for i, model in enumerate(MODELS):
        progress(0.5 + 0.5 * i / len(MODELS), f"{model}: all copies")
        times[model] = time_s = copy_only_run(model, 64, system)
        rearranged_s = rearrangement_s(model, system)
        for method, ours, paper in (
            ("double-buffering", time_s, PAPER_DDB_COPY_S[model]),
            ("online-rearrangement", rearranged_s, PAPER_OWR_COPY_S[model]),
        ):
            totals.append({"model": model, "method": method, "copy_time_s": ours, "paper_s": paper})
        checks.append(
            Check(
                quantity="total copy time of online rearrangement, threads created and joined",
                setting=model,
                ours=rearranged_s,
                expected=PAPER_OWR_COPY_S[model],
                unit="s",
                tolerance=Tolerance(rel=COPY_SHARE),
                source=READ,
            )
        )
        checks.append(
            Check(
                quantity="total copy time of double buffering, two copy threads",
                setting=model,
                ours=time_s,
                expected=PAPER_DDB_COPY_S[model],
                unit="s",
                tolerance=Tolerance(rel=COPY_SHARE),
                source=READ,
            )
        )
    checks.append(
        Check(
            quantity="copy rate of 3B over that of 1B",
            setting="two copy threads",
            ours=(5.637 / times["llama-3.2-3b"]) / (1.946 / times["llama-3.2-1b"]),
            expected=1.0,
            unit="x",
            tolerance=Tolerance(rel=COPY_SHARE),
            source=DERIVED + ": 2.19 and 2.22 GB/s",
        )
    )
    frame = pd.DataFrame(rows)
    return Report(
        name="copy-cost",
        question="What does undoing the PIM-aware layout cost?",
        tables={"copy-rate": frame, "copies-of-a-prefill": pd.DataFrame(totals)},
        checks=checks,
        figures={
            "copy-rate": lambda: line_chart(
                frame, x="threads", y="copied_GBps", series="source", title="Swizzled copy",
                x_label="copy threads", y_label="copied (GB/s)",
                marks=((2, 2.2, "paper, two threads, non-cacheable (derived)"),),
            )
        },
        leaves_out=LEAVES_OUT,
    )  # fmt: skip


def rearrangement_s(model: str, system: System) -> float:
    """What the copies of online rearrangement take, the making of their threads included."""
    spans = prefill_run(model, "online-rearrangement", 64, system).spans
    copies = spans[spans["task"].str.startswith("copy ")]
    steps = copies.groupby(["layer", "task"])
    return float((steps["end_ps"].max() - steps["start_ps"].min()).sum()) * 1e-12


def _copy(system: System, core: CoreSpec, cacheable: bool) -> Stream:
    n, k, bits = MATRIX
    return swizzled_copy(
        system.cpu,
        core,
        system.layout,
        n,
        k,
        bits,
        0,
        system.layout.chunks(k, bits),
        apart=4,
        cacheable_source=cacheable,
    )
