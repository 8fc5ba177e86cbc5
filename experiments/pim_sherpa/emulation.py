"""How far is our HBM-PIM device from measured totals of matrix-vector products?"""

from collections.abc import Callable
from pathlib import Path

import pandas as pd

from pimsim.checks import Check, Tolerance
from pimsim.report.curves import grouped_bars
from pimsim.report.report import Report
from pimsim.validate.pim import pim_rows

MEASURED = Path(__file__).parent / "measured"
SOURCE = (
    "totals of the public HBM-PIM simulator, commit b464dde, run as published; the paper's own measurement "
    "is of an HBM-PIM GPU, which nobody else has"
)
PAPER_ERRORS_PERCENT = (0.14, 3.54)  # Table 4: its emulation against real HBM-PIM


def run(progress: Callable[[float, str], None]) -> Report:
    """Every recorded GEMV of several shapes, channels, ranks and timings."""
    progress(0.0, "recorded products")
    rows = []
    for case, quantity, ours, reference, error, cause in pim_rows(MEASURED):
        if quantity.endswith("clocks"):
            config, _, kernel, shape = case.split("/")
            rows.append(
                {
                    "configuration": config,
                    "product": kernel,
                    "shape": shape,
                    "ours_ck": round(ours),
                    "measured_ck": round(reference),
                    "error_percent": 100 * error,
                    "cause": cause,
                }
            )
    frame = pd.DataFrame(rows)
    size = frame["error_percent"].abs()
    checks = [
        Check(
            quantity="clocks of a product",
            setting=f"{row['configuration']}, {row['product']} {row['shape']}",
            ours=float(row["ours_ck"]),
            expected=float(row["measured_ck"]),
            unit="clocks",
            tolerance=Tolerance(rel=0.05),
            source=SOURCE,
        )
        for row in rows
    ]
    checks.append(
        Check(
            quantity="largest error",
            setting=f"all {len(rows)} products",
            ours=float(size.max()),
            unit="%",
            tolerance=Tolerance(high=PAPER_ERRORS_PERCENT[1]),
            source="the paper's Table 4: errors of 0.14 to 3.54 % of its emulation on a GPU",
        )
    )
    progress(1.0, "done")
    frame["case"] = frame["shape"] + frame["product"].map({"gemv": "", "gemvtree": ", tree"})
    bars = frame.assign(what="error of our clocks")
    return Report(
        name="emulation",
        question="How far is our HBM-PIM device from measured totals?",
        tables={"products": frame.drop(columns="case")},
        checks=checks,
        figures={
            "emulation": lambda: grouped_bars(
                bars, x="case", y="error_percent", series="what", title="HBM-PIM products",
                x_label="rows x columns, b: vectors", y_label="clocks over the measured ones (%)",
            )
        },
        leaves_out=(
            "the host that drives the units: as in the reference, commands come as fast as the rules allow",
            "the paper's own pair of machines (HBM-PIM on an AMD MI100): its clocks are not published",
        ),
    )  # fmt: skip
