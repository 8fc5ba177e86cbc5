"""Does the swizzled copy give every byte back, and does the PIM product give the host's numbers?"""

from collections.abc import Callable

import numpy as np
import pandas as pd

from experiments.pim_sherpa.setting import MODELS, READ, machine
from pimsim.checks import Check, Tolerance
from pimsim.devices.pim.functional import bf16_bits, bf16_values, gemv_on_data
from pimsim.devices.pim.functional import run as run_on_data
from pimsim.devices.pim.program import gemv
from pimsim.report.curves import grouped_bars
from pimsim.report.report import Report
from pimsim.trace import load_config, prefill_trace

KINDS = ("q_proj", "k_proj", "gate_proj", "down_proj")  # every shape of a layer
PRODUCT_ROWS = 256  # of each matrix that the PIM program multiplies on data
SEED = 9216
RTOL = 1e-2


def run(progress: Callable[[float, str], None]) -> Report:
    """Random BF16 weights of every shape: to the PIM-aware layout and back, and through the units."""
    system = machine()
    layout, rng = system.layout, np.random.default_rng(SEED)
    assert system.pim is not None
    rows = []
    for model in MODELS:
        trace = prefill_trace(load_config(model), 1)
        shapes = {w.name.rsplit(".", 2)[-2]: w.shape for w in trace.weights() if ".0." in w.name}
        for kind in KINDS:
            progress(len(rows) / (len(MODELS) * len(KINDS)), f"{model}, {kind}")
            n, k = shapes[kind]
            held = rng.integers(0, 1 << 16, (n, k), dtype=np.uint16)  # any bits, NaN included
            swizzled = layout.swizzle(held)
            copied = layout.unswizzle(swizzled, n, k, np.uint16)
            wrong = int((held != copied).sum())
            few = min(n, PRODUCT_ROWS)
            weights = bf16_bits(rng.normal(0, 0.02, (few, k)))
            vector = bf16_bits(rng.normal(0, 1, k))
            w, x = bf16_values(weights).astype(np.float64), bf16_values(vector).astype(np.float64)
            exact, size = w @ x, np.abs(w) @ np.abs(x)
            ours = gemv_on_data(system.pim, layout, weights, vector, "bf16")
            program = gemv(system.pim, layout, few, k, "bf16")
            shape = layout.swizzle(weights).shape
            plain = np.zeros(int(np.prod(shape)), np.uint8)
            plain[: weights.nbytes] = weights.view(np.uint8).ravel()
            unplaced = run_on_data(program, system.pim, _interleaved(plain, shape), vector)
            rows.append(
                {
                    "model": model,
                    "matrix": kind,
                    "shape": f"{n} x {k}",
                    "wrong_values_after_copy": wrong,
                    "largest_error_of_product": float(np.max(np.abs(ours - exact) / size)),
                    "same_on_host_layout": float(np.max(np.abs(unplaced - exact) / size)),
                }
            )
    frame = pd.DataFrame(rows)
    checks = [
        Check(
            quantity="values that differ after swizzle and swizzled copy",
            setting=f"{row['model']}, {row['matrix']} {row['shape']}",
            ours=float(row["wrong_values_after_copy"]),
            expected=0.0,
            unit="values",
            tolerance=Tolerance(abs=0.0),
            source=READ + ": outputs compared with the unmodified runtime",
        )
        for row in rows
    ]
    checks += [
        Check(
            quantity="largest error of the PIM product, of the sum of sizes",
            setting=f"{row['model']}, {row['matrix']}, {PRODUCT_ROWS} rows",
            ours=float(row["largest_error_of_product"]),
            tolerance=Tolerance(high=RTOL),
            source="NumPy in double precision; BF16 rounding, relative tolerance 1e-2",
        )
        for row in rows
    ]
    checks.append(
        Check(
            quantity="the same program on host-friendly bytes gives wrong numbers",
            setting="all matrices",
            ours=bool((frame["same_on_host_layout"] > RTOL).all()),
            source=READ + ": the layout inconsistency",
        )
    )
    bars = pd.concat(
        [
            frame.assign(what=what, error=frame[column], case=frame["matrix"] + " " + frame["model"].str[-2:])
            for what, column in (
                ("PIM-aware layout", "largest_error_of_product"),
                ("host-friendly layout", "same_on_host_layout"),
            )
        ]
    )
    return Report(
        name="functional",
        question="Does the copy give every byte back, and the PIM product the host's numbers?",
        tables={"matrices": frame},
        checks=checks,
        figures={
            "functional": lambda: grouped_bars(
                bars, x="case", y="error", series="what", title="The same PIM program on two layouts",
                x_label="matrix", y_label="largest error (share of the sum of sizes)",
            )
        },
        leaves_out=("trained weights: values are random, of any bits for copies",),
    )  # fmt: skip


def _interleaved(plain: np.ndarray, shape: tuple[int, ...]) -> np.ndarray:
    """Row-major bytes as they fall into the banks where addresses interleave: 64 bytes a channel and bank."""
    channels, ranks, banks, rows, row_bytes = shape
    parts = plain.reshape(rows, row_bytes // 64, ranks, banks, channels, 64)
    return np.ascontiguousarray(parts.transpose(4, 2, 3, 0, 1, 5)).reshape(shape)
