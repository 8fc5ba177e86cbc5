"""How much faster are 25, 50, 75 and 100 % of 4-bit channels, by the loop nest and on the simulated array?"""

from collections.abc import Callable
from dataclasses import replace

import pandas as pd

from experiments.flexiq.setting import (
    ABSTRACT,
    DERIVED,
    GROUP,
    INTERFACE_BYTES_PER_CK,
    LEAVES_OUT,
    NEST,
    SHARES,
    array,
)
from pimsim.checks import Check, Tolerance
from pimsim.devices import NpuSpec
from pimsim.devices.npu.network import npu_layer, run_network
from pimsim.quant.plan import low_channels, rule_clocks
from pimsim.report.curves import line_chart
from pimsim.report.report import Report
from pimsim.trace.vision import VECTOR_KINDS, vision_model

TABLE = {  # speed-ups at 25, 50, 75, 100 % with 2 and with 4 times the rate in 4 bits
    "resnet18": ((1.03, 1.11, 1.28, 1.40), (1.04, 1.15, 1.42, 1.63)),
    "resnet34": ((1.05, 1.17, 1.38, 1.59), (1.06, 1.24, 1.60, 2.06)),
    "resnet50": ((1.07, 1.19, 1.39, 1.61), (1.09, 1.30, 1.66, 2.19)),
    "mobilenet_v2": ((1.01, 1.04, 1.08, 1.10), (1.02, 1.06, 1.11, 1.15)),
    "vit_small": ((1.09, 1.25, 1.39, 1.68), (1.16, 1.39, 1.73, 2.55)),
    "vit_base": ((1.13, 1.29, 1.51, 1.81), (1.18, 1.51, 1.97, 3.05)),
    "swin_small": ((1.10, 1.31, 1.50, 1.89), (1.19, 1.50, 1.96, 3.44)),
    "swin_base": ((1.13, 1.32, 1.55, 1.94), (1.20, 1.55, 2.16, 3.64)),
}
PAPER_GEMM, PAPER_FRACTION = 1.43, 0.40


def run(progress: Callable[[float, str], None]) -> Report:
    """Speed-ups by clocks of full passes alone, and with fill, drain, tiles and memory."""
    rows, curves, checks = [], [], []
    for rate_index, rate4 in enumerate((2, 4)):
        spec = replace(array(), rate4=rate4)
        for i, (name, tables) in enumerate(TABLE.items()):
            progress((rate_index + i / len(TABLE)) / 2, f"{name}, {rate4} x")
            model = vision_model(name)
            nest = [_nest(spec, name, share) for share in SHARES]
            ran = [
                run_network(
                    spec,
                    model,
                    low=low_channels(model, share, GROUP),
                    memory=INTERFACE_BYTES_PER_CK,
                    vector=False,
                ).clocks
                for share in SHARES
            ]
            rule = [nest[0] / clocks for clocks in nest[1:]]
            simulated = [ran[0] / clocks for clocks in ran[1:]]
            for share, a, b, other in zip(SHARES[1:], rule, simulated, tables[rate_index], strict=True):
                rows.append(
                    {
                        "rate_of_4_bit": f"{rate4} x",
                        "model": name,
                        "ratio_percent": 100 * share,
                        "loop_nest": a,
                        "other_program": other,
                        "simulated": b,
                    }
                )
            if rate4 == 2:
                curves += [
                    {"model": name, "ratio_percent": 100 * share, "speedup": value}
                    for share, value in zip(SHARES, [1.0, *simulated], strict=True)
                ]
            checks.append(
                Check(
                    quantity="largest difference of four speed-ups from the loop nest's",
                    setting=f"{name}, {rate4} x the rate",
                    ours=100 * max(abs(a / o - 1) for a, o in zip(rule, tables[rate_index], strict=True)),
                    unit="%",
                    tolerance=Tolerance(high=1.0),
                    source=NEST,
                )
            )
    frame = pd.DataFrame(rows)
    two = frame[frame["rate_of_4_bit"] == "2 x"].pivot_table(
        index="model", columns="ratio_percent", values="loop_nest"
    )
    resnets = two.loc[["resnet18", "resnet34", "resnet50"]]
    gain = (two[50.0] - 1) / (two[100.0] - 1)
    checks += [
        Check(
            quantity="mean speed-up of the ResNets at 100 %",
            setting="2 x the rate",
            ours=float(resnets[100.0].mean()),
            unit="x",
            tolerance=Tolerance(low=1.4, high=1.6),
            source=DERIVED + f": 1.50 from 40 % of the gain at 50 %; {PAPER_GEMM} for a GEMM on a GPU",
        ),
        Check(
            quantity="share of the full gain at 50 %",
            setting="2 x the rate, mean of eight models",
            ours=float(gain.mean()),
            expected=PAPER_FRACTION,
            tolerance=Tolerance(low=0.30, high=0.42),
            source=ABSTRACT + ": 40 % of the speed-up of 100 % 4-bit",
        ),
    ]
    progress(1.0, "done")
    curve_frame = pd.DataFrame(curves)
    return Report(
        name="speedup",
        question="How much faster are 25, 50, 75 and 100 % of 4-bit channels?",
        tables={
            "speed-up": frame,
            "share-of-gain": gain.rename("share_of_full_gain_at_50_percent").reset_index(),
        },
        checks=checks,
        figures={
            "speedup": lambda: line_chart(
                curve_frame,
                x="ratio_percent",
                y="speedup",
                series="model",
                title="Speed-up over INT8, simulated, 4-bit products at twice the rate",
                x_label="4-bit channels [%]",
                y_label="speed-up",
                y_from=0.95,
                marks=((100.0, PAPER_GEMM, "paper: GEMM on a GPU"),),
            )
        },
        leaves_out=(*LEAVES_OUT, "the vector unit's work (norms, softmax, sums): not changed by the ratio"),
    )


def _nest(spec: NpuSpec, name: str, share: float) -> int:
    model = vision_model(name)
    low = low_channels(model, share, GROUP)
    return sum(
        rule_clocks(spec, npu_layer(layer).with_low(low(layer)))
        for layer in model.layers
        if layer.kind not in VECTOR_KINDS
    )
