"""How much more load does a faster, lower-precision model carry at the same 90th percentile?"""

from collections.abc import Callable

import numpy as np
import pandas as pd

from experiments.flexiq.setting import DERIVED, INTERFACE_BYTES_PER_CK, LEAVES_OUT, READ, SHARES, array
from pimsim.checks import Check, Tolerance
from pimsim.report.curves import line_chart
from pimsim.report.report import Report
from pimsim.serving import equal_latency_rate_ratio, poisson_arrivals, service_times, single_server_latency
from pimsim.trace.vision import vision_model

MODEL = "resnet50"
LOADS = (0.3, 0.5, 0.7, 0.8, 0.9, 0.95, 1.1, 1.2, 1.4)  # of the INT8 model's capacity
REQUESTS, COUNT_FOR_RATIO = 100_000, 400_000
PAPER_RATIO, PAPER_SPEED_UP = 1.57, 1.43
DERIVED_RATIOS = {0.7: 1.61, 0.8: 1.55, 0.9: 1.48, 0.95: 1.46}


def run(progress: Callable[[float, str], None]) -> Report:
    """Median and 90th percentile under Poisson load, service times from the simulated array."""
    service = service_times(array(), vision_model(MODEL), SHARES, memory=INTERFACE_BYTES_PER_CK)
    times = service.batch_ps[:, 0]
    capacity = service.capacity_per_s(0)
    rows = []
    for i, load in enumerate(LOADS):
        progress(0.5 * i / len(LOADS), f"load {load}")
        arrive = poisson_arrivals(load * capacity, REQUESTS, seed=0)
        for share, time_ps in zip(SHARES, times, strict=True):
            stable = load * float(time_ps) / float(times[0]) < 1
            latency = single_server_latency(arrive, int(time_ps)) * 1e-9
            rows.append(
                {
                    "load_of_int8_capacity": load,
                    "requests_per_s": load * capacity,
                    "four_bit_percent": 100 * share,
                    "median_ms": float(np.median(latency)) if stable else float("nan"),
                    "p90_ms": float(np.percentile(latency, 90)) if stable else float("nan"),
                }
            )
    frame = pd.DataFrame(rows)
    checks, ratios = [], []
    for i, (load, expected) in enumerate(DERIVED_RATIOS.items()):
        progress(0.5 + 0.5 * i / len(DERIVED_RATIOS), f"equal 90th percentile, load {load}")
        ours = equal_latency_rate_ratio(PAPER_SPEED_UP, load, count=COUNT_FOR_RATIO)
        ratios.append(
            {"int8_load": load, "rate_ratio": ours, "other_program": expected, "paper": PAPER_RATIO}
        )
        checks.append(
            Check(
                quantity="request rate over INT8's at an equal 90th percentile",
                setting=f"speed-up {PAPER_SPEED_UP}, INT8 load {load}",
                ours=ours,
                expected=expected,
                unit="x",
                tolerance=Tolerance(rel=0.03),
                source=DERIVED + ", simulated by another program with 400,000 requests",
            )
        )
    own = float(times[0]) / float(times[-1])
    checks.append(
        Check(
            quantity="request rate over INT8's at an equal 90th percentile",
            setting=f"our speed-up of {MODEL} at 100 %, INT8 load 0.8",
            ours=equal_latency_rate_ratio(own, 0.8, count=COUNT_FOR_RATIO),
            expected=PAPER_RATIO,
            unit="x",
            tolerance=Tolerance(rel=0.2),
            source=READ + "; model and load are not named",
        )
    )
    progress(1.0, "done")
    shown = frame.dropna().assign(label=lambda f: f["four_bit_percent"].map(lambda v: f"{v:.0f} % in 4 bits"))
    return Report(
        name="poisson",
        question="How much more load does a lower-precision model carry at the same 90th percentile?",
        tables={"latency": frame, "rate-ratio": pd.DataFrame(ratios)},
        checks=checks,
        figures={
            "poisson": lambda: line_chart(
                shown,
                x="requests_per_s",
                y="p90_ms",
                series="label",
                title=f"90th percentile under Poisson load, {MODEL}",
                x_label="requests a second",
                y_label="latency [ms]",
                log_y=True,
            )
        },
        leaves_out=(*LEAVES_OUT, "batching (one request at a time here), network and host time"),
    )
