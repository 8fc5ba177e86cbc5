"""What does changing the ratio with the load do to latencies when the load moves between 500 and 1500 a
second?"""

from collections.abc import Callable

import numpy as np
import pandas as pd

from experiments.flexiq.setting import DERIVED, READ, SHARES
from pimsim.checks import Check, Tolerance
from pimsim.devices import NpuSpec, part
from pimsim.report.curves import line_chart
from pimsim.report.report import Report
from pimsim.serving import adaptive, changing_arrivals, fixed, serve, service_times
from pimsim.trace.vision import vision_model
from pimsim.units import PS_PER_S

MODEL, NPU, MAX_BATCH = "resnet34", "mobile-64x64", 4
"""Chosen so that INT8 carries 955 to 1500 requests a second and 4-bit at least 1500, as the paper's
figure needs;
its model and batch size are not named."""
MEMORY_BYTES_PER_CK = 56.0
"""About the peak of the phone's four DRAM channels (68.3 GB/s) at 1.2 GHz."""
PIECES = tuple(
    (4.0, rate) for rate in (500, 750, 1000, 1250, 1500, 1250, 1000, 750, 500, 1000, 1500, 1000, 500)
)
WINDOW_S = 1.0
PAPER_INT8_MS, PAPER_ADAPTIVE_MS = 660.0, 150.0
PAPER_ACCURACY = (84.72, 84.64)


def run(progress: Callable[[float, str], None]) -> Report:
    """Median latency by second: INT8, all 4-bit, and the controller."""
    service = service_times(
        part(NPU, NpuSpec), vision_model(MODEL), SHARES, MAX_BATCH, memory=MEMORY_BYTES_PER_CK
    )
    arrive = changing_arrivals(PIECES, seed=0)
    policies = {
        "INT8": fixed(0),
        "all 4-bit": fixed(len(SHARES) - 1),
        "adaptive": adaptive(service),
    }
    rows, peaks, summary = [], {}, []
    for i, (name, policy) in enumerate(policies.items()):
        progress(i / len(policies), name)
        ran = serve(arrive, service, policy)
        starts, medians = ran.by_window(int(WINDOW_S * PS_PER_S))
        peaks[name] = float(medians.max()) * 1e-9
        rows += [
            {"policy": name, "time_s": float(start) / PS_PER_S, "median_ms": float(value) * 1e-9}
            for start, value in zip(starts, medians, strict=True)
        ]
        summary.append(
            {
                "policy": name,
                "median_ms": ran.percentile_ps(50) * 1e-9,
                "p90_ms": ran.percentile_ps(90) * 1e-9,
                "peak_median_ms": peaks[name],
                "paper_peak_ms": {"INT8": PAPER_INT8_MS, "adaptive": PAPER_ADAPTIVE_MS}.get(
                    name, float("nan")
                ),
                "mean_ratio_percent": 100 * float(np.mean([SHARES[r] for r in ran.ratio])),
                "switches": ran.switches,
            }
        )
    frame = pd.DataFrame(rows)
    capacities = [service.capacity_per_s(r) for r in range(len(SHARES))]
    table = pd.DataFrame(
        {"four_bit_percent": [100 * share for share in SHARES], "capacity_per_s": capacities}
    )
    progress(1.0, "done")
    return Report(
        name="fluctuating",
        question="What does changing the ratio with the load do to latencies?",
        tables={"capacity": table, "summary": pd.DataFrame(summary)},
        checks=[
            Check(
                quantity="INT8's peak median over the adaptive one's",
                setting=f"{MODEL} on {NPU}, batches of up to {MAX_BATCH}, 500 to 1500 requests a second",
                ours=peaks["INT8"] / peaks["adaptive"],
                unit="x",
                tolerance=Tolerance(low=4.0),
                source=READ + ": 660 ms against 100 to 150 ms",
            ),
            Check(
                quantity="INT8 capacity",
                setting="full batches",
                ours=capacities[0],
                unit="requests/s",
                tolerance=Tolerance(low=955, high=1500),
                source=DERIVED,
            ),
            Check(
                quantity="capacity at 100 % 4-bit",
                setting="full batches",
                ours=capacities[-1],
                unit="requests/s",
                tolerance=Tolerance(low=1500),
                source=DERIVED,
            ),
            Check(
                quantity="mean ratio of the adaptive run",
                setting="low ratios most of the time",
                ours=float(summary[2]["mean_ratio_percent"]),
                unit="%",
                tolerance=Tolerance(high=60),
                source=DERIVED + f": accuracy {PAPER_ACCURACY[1]} % against {PAPER_ACCURACY[0]} % of INT8",
            ),
        ],
        figures={
            "fluctuating": lambda: line_chart(
                frame,
                x="time_s",
                y="median_ms",
                series="policy",
                title="Median latency by second under a changing load",
                x_label="time [s]",
                y_label="median latency [ms]",
                log_y=True,
                markers=False,
            )
        },
        leaves_out=(
            "the paper's trace, model, batch size and machine are not published: absolute times are not "
            "comparable",
            "network, host and queueing outside the NPU; accuracy",
        ),
    )
