"""How much error do effective bits save over taking the top four bits of INT8 codes?"""

from collections.abc import Callable

import numpy as np
import pandas as pd

from experiments.flexiq.setting import READ
from pimsim.checks import Check, Tolerance
from pimsim.quant.bits import group_peaks, lowered, shift_of
from pimsim.report.curves import grouped_bars
from pimsim.report.report import Report

UNUSED_SHARES = (0.21, 0.49, 0.21, 0.09)
"""Shares of weight groups with 0, 1, 2 and 3 unused bits: measured on the dlib face network, groups of 4
input
channels of one output channel (that measurement's last class holds 3 or more)."""
GROUPS, GROUP, SEED = 20_000, 4, 0
PAPER_PLAIN, PAPER_EFFECTIVE = 10.0, 4.0


def run(progress: Callable[[float, str], None]) -> Report:
    """Relative errors of bell-shaped codes whose groups leave bits unused as real weights do."""
    rng = np.random.default_rng(SEED)
    unused = rng.choice(len(UNUSED_SHARES), GROUPS, p=UNUSED_SHARES)
    values = np.clip(rng.normal(0, 1 / 2.5, (GROUPS, GROUP)), -1, 1)
    top = 127 >> unused
    peak = np.abs(values).max(axis=1)
    scale = (
        rng.uniform(0.55, 1.0, GROUPS) * top / peak
    )  # the largest code lies in the upper half of its range
    codes = np.rint(values * scale[:, None]).astype(np.int64).reshape(-1)
    shift = shift_of(group_peaks(codes, GROUP))
    rows = []
    errors = {}
    for name, position in (("plain, top four bits", np.full_like(shift, 4)), ("effective bits", shift)):
        error = np.abs(codes - lowered(codes, position)).reshape(GROUPS, GROUP)
        size = np.abs(codes).reshape(GROUPS, GROUP)
        errors[name] = 100 * error.sum() / size.sum()
        for bits in range(len(UNUSED_SHARES)):
            chosen = unused == bits
            rows.append(
                {
                    "unused_bits": bits,
                    "groups_percent": 100 * chosen.mean(),
                    "lowering": name,
                    "error_percent": 100 * error[chosen].sum() / size[chosen].sum(),
                }
            )
    frame = pd.DataFrame(rows)
    mean = pd.DataFrame(
        [
            {
                "lowering": "plain, top four bits",
                "error_percent": errors["plain, top four bits"],
                "paper_percent": PAPER_PLAIN,
            },
            {
                "lowering": "effective bits",
                "error_percent": errors["effective bits"],
                "paper_percent": PAPER_EFFECTIVE,
            },
        ]
    )
    plain, effective = (float(value) for value in errors.values())
    progress(1.0, "done")
    return Report(
        name="extraction",
        question="How much error do effective bits save over taking the top four bits of INT8 codes?",
        tables={"by-unused-bits": frame, "mean": mean},
        checks=[
            Check(
                quantity="error of plain lowering over effective bits",
                setting="mean of all groups; the paper's example: about 10 % against under 4 %",
                ours=plain / effective,
                unit="x",
                tolerance=Tolerance(low=1.5, high=4.0),
                source=READ + ": about 2.5 in its example",
            ),
            Check(
                quantity="effective bits never lose more than plain lowering",
                setting="every class of unused bits",
                ours=bool(
                    (
                        frame["error_percent"].to_numpy()[4:] <= frame["error_percent"].to_numpy()[:4] + 1e-9
                    ).all()
                ),
                source="definition: the position is never above that of plain lowering",
            ),
        ],
        figures={
            "extraction": lambda: grouped_bars(
                frame,
                x="unused_bits",
                y="error_percent",
                series="lowering",
                title="Error of 4-bit lowering by bits that a group leaves unused",
                x_label="unused bits of the group",
                y_label="error [% of the codes' size]",
            )
        },
        leaves_out=(
            "made-up bell-shaped codes; only the shares of unused bits are measured on a real network",
            "rounding, saturation and group size of the paper are not published: ours are defined in "
            "pimsim.quant.bits",
        ),
    )
