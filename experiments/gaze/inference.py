"""How long does a gaze network take on an NPU as its share of 4-bit channels grows?"""

from collections.abc import Callable

import numpy as np
import pandas as pd

from experiments.gaze.angles import angular_error, synthetic_gaze
from pimsim.checks import Check, Tolerance
from pimsim.devices import NpuSpec, part
from pimsim.devices.npu.network import run_network
from pimsim.quant.plan import low_channels
from pimsim.report.curves import line_chart
from pimsim.report.report import Report
from pimsim.trace.vision import vision_model

MODELS = ("gaze_attention_resnet18", "gaze_resnet50")
PLATFORMS = ("dnnweaver2-32x32", "mobile-64x64")
GROUP = 32
RATIOS = (0.0, 0.5, 1.0)
SAMPLES = 20_000
COUNTED = "counted by running torchvision's ResNets with two outputs"


def run(progress: Callable[[float, str], None]) -> Report:
    """One picture of 224 x 224 on two NPUs at FlexiQ's ratios; the error measure on synthetic angles."""
    rows, curves, checks = [], [], []
    for i, name in enumerate(MODELS):
        model = vision_model(name)
        for platform in PLATFORMS:
            progress((i + PLATFORMS.index(platform) / 2) / len(MODELS), f"{name} on {platform}")
            spec = part(platform, NpuSpec)
            runs = [run_network(spec, model, low=low_channels(model, share, GROUP)) for share in RATIOS]
            times = [each.time_ps * 1e-9 for each in runs]
            rows.append(
                {"model": name, "npu": platform}
                | {
                    f"at_{100 * share:.0f}_percent_ms": time
                    for share, time in zip(RATIOS, times, strict=True)
                }
                | {"use_percent": 100 * runs[0].utilisation, "weights_mb": model.parameters / 1e6}
            )
            curves += [
                {"series": f"{name}, {platform}", "ratio_percent": 100 * share, "time_ratio": time / times[0]}
                for share, time in zip(RATIOS, times, strict=True)
            ]
            checks.append(
                Check(
                    quantity="time never rises with the ratio",
                    setting=f"{name} on {platform}",
                    ours=times == sorted(times, reverse=True),
                    source="expected: 4-bit products are no slower",
                )
            )
    for name, parameters, gmac in (
        ("gaze_resnet18", 11_177_538, 1.8136),
        ("gaze_resnet50", 23_512_130, 4.0871),
    ):
        model = vision_model(name)
        checks += [
            Check(
                quantity="parameters",
                setting=name,
                ours=model.parameters,
                expected=parameters,
                tolerance=Tolerance(abs=0),
                source=COUNTED,
            ),
            Check(
                quantity="multiply-adds of a picture",
                setting=name,
                ours=model.macs / 1e9,
                expected=gmac,
                unit="GMAC",
                tolerance=Tolerance(abs=5e-5),
                source=COUNTED,
            ),
        ]
    frame = pd.DataFrame(curves)
    progress(1.0, "done")
    return Report(
        name="inference",
        question="How long does a gaze network take as its share of 4-bit channels grows?",
        tables={"time": pd.DataFrame(rows), "error-on-synthetic-angles": _errors()},
        checks=checks,
        figures={
            "time": lambda: line_chart(
                frame,
                x="ratio_percent",
                y="time_ratio",
                series="series",
                title="Time by share of 4-bit channels",
                x_label="4-bit channels [%]",
                y_label="time over time at 0 %",
                y_from=0.5,
            )
        },
        leaves_out=(
            "CauGE's backbone, attention, losses and degrees are not published: the network has its shape "
            "by choice (ResNet, one attention head over the last map)",
            "no gaze is estimated: the angles are synthetic and show the error measure only",
            "the adversarial branch and AugMix exist in training only and are not simulated",
        ),
    )


def _errors() -> pd.DataFrame:
    """The error measure on synthetic angles: small offsets, and pitch and yaw mixed up."""
    true = synthetic_gaze(SAMPLES, seed=1)
    rng = np.random.default_rng(2)
    rows = []
    for degrees in (1.0, 3.0):
        found = true + rng.normal(size=true.shape) * np.radians(degrees)
        rows.append(
            (f"noise of {degrees:g} degrees an axis", float(np.degrees(angular_error(found, true).mean())))
        )
    rows.append(("pitch and yaw swapped", float(np.degrees(angular_error(true[:, ::-1], true).mean()))))
    return pd.DataFrame(rows, columns=["synthetic estimate", "mean_error_degrees"])
