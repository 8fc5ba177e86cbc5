"""From which prompt on are copies hidden: by the analytic model, and by simulation?"""

from collections.abc import Callable

import pandas as pd

from experiments.pim_sherpa.setting import (
    DERIVED,
    HIDDEN_PERCENT,
    LEAVES_OUT,
    MODELS,
    READ,
    excess_percent,
    machine,
)
from pimsim.checks import Check, Tolerance
from pimsim.report.curves import line_chart
from pimsim.report.report import Report
from pimsim.run import copy_only_run, prefill_run
from pimsim.system import System

COST_S = 27.0
PROMPTS = (16, 24, 32, 48, 64, 80, 96, 112, 128, 160, 192)
PAPER_GRID = (16, 32, 64, 96, 128, 160, 192)
STEP = 32  # of the paper's grid where its threshold lies
EQUAL_PERCENT = HIDDEN_PERCENT[1]  # excess over FACIL up to which the paper calls both equal
NEARLY_PERCENT = 1.0  # printed beside it: a stricter reading
PAPER_ANALYTIC, PAPER_QUOTED, PAPER_MEASURED = 9.4, 16, 128
PAPER_GFLOPS, PAPER_GBPS = 321.0, 68.264
COPY_BYTES, FLOP = 4, 2  # a BF16 parameter: read 2 bytes and write 2; 2 FLOP for each prompt token
LINEAR_BYTES = {"llama-3.2-1b": 1.946e9, "llama-3.2-3b": 5.637e9}  # all decoder matrices


def run(progress: Callable[[float, str], None]) -> Report:
    """The crossing of a roofline, the same with the rates that the simulator reaches, and the whole runs."""
    system = machine()
    rows, models, checks = [], [], []
    analytic = crossing(PAPER_GFLOPS, PAPER_GBPS)
    for i, model in enumerate(MODELS):
        excess = {}
        for j, prompt in enumerate(PROMPTS):
            progress((i + j / len(PROMPTS)) / len(MODELS), f"{model}, prompt {prompt}")
            excess[prompt] = excess_percent(model, prompt, system)
            rows.append({"model": model, "prompt": prompt, "over_facil_percent": excess[prompt]})
        gflops, gbps = reached(model, system)
        hidden = next(p for p in PAPER_GRID if p in excess and excess[p] <= EQUAL_PERCENT)
        models += [
            _line(model, "peak rates of the paper", PAPER_GFLOPS, PAPER_GBPS, analytic),
            _line(model, "rates of our GEMM and copy", gflops, gbps, crossing(gflops, gbps)),
            *(
                _line(model, f"whole runs, within {most:g} % of FACIL", None, None, _threshold(excess, most))
                for most in (EQUAL_PERCENT, NEARLY_PERCENT)
            ),
        ]
        checks.append(
            Check(
                quantity=f"first prompt of the grid with copies hidden ({EQUAL_PERCENT:g} % over FACIL)",
                setting=model,
                ours=float(hidden),
                expected=PAPER_MEASURED,
                unit="tokens",
                tolerance=Tolerance(abs=STEP),
                source=READ + ": about 128; one step of its grid",
            )
        )
        checks.append(
            Check(
                quantity="copies hidden at the analytic threshold of the paper",
                setting=f"{model}, prompt 16: not, as the paper says",
                ours=bool(excess[PAPER_QUOTED] > EQUAL_PERCENT),
                source=READ,
            )
        )
    checks = [
        Check(
            quantity="prompt at which a GEMM takes as long as its copy, at peak rates",
            setting="321 GFLOPS, 68.264 GB/s",
            ours=analytic,
            expected=PAPER_ANALYTIC,
            unit="tokens",
            tolerance=Tolerance(abs=0.05),
            source=DERIVED + ", section 3.3",
        ),
        Check(
            quantity="the same on our machine's peak rates",
            setting=f"{system.cpu.peak_gflops:.1f} GFLOPS, {system.peak_bytes_per_s / 1e9:.3f} GB/s",
            ours=crossing(system.cpu.peak_gflops, system.peak_bytes_per_s / 1e9),
            expected=PAPER_ANALYTIC,
            unit="tokens",
            tolerance=Tolerance(abs=0.05),
            source=DERIVED + ", section 3.3",
        ),
        Check(
            quantity="next prompt of the grid after that",
            setting="16, 32, 64 ...",
            ours=float(next(p for p in PAPER_GRID if p >= analytic)),
            expected=PAPER_QUOTED,
            unit="tokens",
            tolerance=Tolerance(abs=0.0),
            source=READ,
        ),
        *checks,
    ]
    frame = pd.DataFrame(rows)
    wide = frame.pivot_table(index="prompt", columns="model", values="over_facil_percent")
    wide.columns = [f"{name}_percent" for name in wide.columns]
    return Report(
        name="threshold",
        question="From which prompt on are copies hidden?",
        tables={"thresholds": pd.DataFrame(models), "excess-over-facil": wide.reset_index()},
        checks=checks,
        figures={
            "threshold": lambda: line_chart(
                frame, x="prompt", y="over_facil_percent", series="model",
                title="Double buffering over FACIL", x_label="prompt length (tokens)",
                y_label="time to first token over FACIL's (%)",
                log_y=True, marks=((analytic, EQUAL_PERCENT, f"analytic: {analytic:.1f}"),
                                   (PAPER_MEASURED, EQUAL_PERCENT, "the paper measured: 128")),
            )
        },
        leaves_out=LEAVES_OUT,
    )  # fmt: skip


def crossing(gflops: float, gbps: float) -> float:
    """Prompt length at which the product with a parameter takes as long as copying it."""
    return COPY_BYTES / FLOP * gflops / gbps


def reached(model: str, system: System) -> tuple[float, float]:
    """(GFLOPS of the GEMM threads, GB/s read and written by the copy threads) over a whole prefill."""
    prompt = 192
    spans = prefill_run(model, "facil", prompt, system).spans
    spans = spans[(spans["kind"] == "gemm") & (spans["layer"] >= 0)]
    held = spans.groupby(["layer", "task"])
    busy_s = float((held["end_ps"].max() - held["start_ps"].min()).sum()) * 1e-12
    moved = 2 * LINEAR_BYTES[model]
    return (
        FLOP * prompt * LINEAR_BYTES[model] / 2 / busy_s / 1e9,
        moved / copy_only_run(model, 64, system) / 1e9,
    )


def _threshold(excess: dict[int, float], most: float) -> float:
    """Prompt at which the excess falls to `most` percent, between simulated prompts in a straight line."""
    last = None
    for prompt, value in excess.items():
        if value <= most:
            if last is None:
                return float(prompt)
            share = (last[1] - most) / (last[1] - value)
            return float(last[0] + share * (prompt - last[0]))
        last = (prompt, value)
    return float("nan")


def _line(model: str, by: str, gflops: float | None, gbps: float | None, prompt: float) -> dict[str, object]:
    return {"model": model, "by": by, "gemm_gflops": gflops, "copy_gbps": gbps, "threshold_tokens": prompt}
