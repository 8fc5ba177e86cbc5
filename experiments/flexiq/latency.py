"""How long does each model take at each ratio on a DNNWeaver-v2-like array, and what moves in memory?"""

from collections.abc import Callable

import pandas as pd

from experiments.flexiq.setting import GROUP, INTERFACE_BYTES_PER_CK, LEAVES_OUT, MODELS, READ, SHARES, array
from pimsim.checks import Check, Tolerance
from pimsim.devices.npu.network import NetworkRun, run_network
from pimsim.quant.plan import low_channels, switch_ps
from pimsim.report.curves import line_chart
from pimsim.report.report import Report
from pimsim.trace.vision import vision_model

ON_DRAM = BY_LAYER = "resnet18"


def run(progress: Callable[[float, str], None]) -> Report:
    """Tile-accurate times on a flat memory of the tutorial's width; one model on DRAM channels as well."""
    spec = array()
    rows, curves, checks, switches = [], [], [], []
    layers = pd.DataFrame()
    for i, name in enumerate(MODELS):
        progress(i / (len(MODELS) + 1), name)
        model = vision_model(name)
        runs = [
            run_network(spec, model, low=low_channels(model, share, GROUP), memory=INTERFACE_BYTES_PER_CK)
            for share in SHARES
        ]
        if name == BY_LAYER:
            layers = _by_layer(runs)
        times = [run.time_ps * 1e-9 for run in runs]
        rows.append(
            {"model": name}
            | {f"at_{100 * share:.0f}_percent_ms": time for share, time in zip(SHARES, times, strict=True)}
            | {
                "use_at_0_percent": 100 * runs[0].utilisation,
                "weights_mb": runs[0].dram_bytes[1] / 1e6,
                "speedup_at_100": times[0] / times[-1],
            }
        )
        curves += [
            {"model": name, "ratio_percent": 100 * share, "time_ratio": time / times[0]}
            for share, time in zip(SHARES, times, strict=True)
        ]
        switches.append({"model": name, "switch_us": switch_ps(spec, model) * 1e-6})
        falls = times == sorted(times, reverse=True)
        same = len({run.dram_bytes for run in runs}) == 1
        checks.append(_holds(name, "time never rises with the ratio, traffic stays", falls and same))
    frame = pd.DataFrame(curves)
    progress(len(MODELS) / (len(MODELS) + 1), f"{ON_DRAM} on DRAM")
    model = vision_model(ON_DRAM)
    dram = [
        run_network(spec, model, low=low_channels(model, share, GROUP)) for share in (SHARES[0], SHARES[-1])
    ]
    where = pd.DataFrame(
        [
            {"ratio_percent": 100 * share, "cause": cause, "clocks": clocks}
            for share, run in zip((SHARES[0], SHARES[-1]), dram, strict=True)
            for cause, clocks in {"ideal": sum(r.ideal_ck for r in run.layers), **run.lost_ck}.items()
        ]
    )
    checks += [
        _holds(
            ON_DRAM, "traffic on DRAM is the same at 0 and 100 %", dram[0].dram_bytes == dram[1].dram_bytes
        ),
        Check(
            quantity="change of the ratio",
            setting="resnet50, one word a layer and clock",
            ours=switch_ps(spec, vision_model("resnet50")) * 1e-6,
            unit="us",
            tolerance=Tolerance(high=0.4),
            source=READ + ": under 0.3 us (needs 180 MHz at a word a clock; this array has 150)",
        ),
    ]
    return Report(
        name="latency",
        question="How long does each model take at each ratio on a DNNWeaver-v2-like array?",
        tables={
            "time": pd.DataFrame(rows),
            "switch": pd.DataFrame(switches),
            f"{BY_LAYER}-layers": layers,
            "resnet18-on-dram": where,
        },
        checks=checks,
        figures={
            "latency": lambda: line_chart(
                frame,
                x="ratio_percent",
                y="time_ratio",
                series="model",
                title="Time by share of 4-bit channels",
                x_label="4-bit channels [%]",
                y_label="time over time at 0 %",
                y_from=0.5,
            )
        },
        leaves_out=LEAVES_OUT,
    )


def _by_layer(runs: list[NetworkRun]) -> pd.DataFrame:
    """Microseconds of every layer of the array at each ratio."""
    rows = []
    for each in zip(*(run.layers for run in runs), strict=True):
        if each[0].macs:
            us = [layer.clocks * run.part.tck_fs * 1e-9 for layer, run in zip(each, runs, strict=True)]
            rows.append(
                {"layer": each[0].name}
                | {f"at_{100 * share:.0f}_percent_us": time for share, time in zip(SHARES, us, strict=True)}
                | {"use_at_0_percent": 100 * each[0].utilisation}
            )
    return pd.DataFrame(rows)


def _holds(setting: str, quantity: str, holds: bool) -> Check:
    return Check(
        quantity=quantity, setting=setting, ours=bool(holds), source=READ + ": weights stay stored as 8 bits"
    )
