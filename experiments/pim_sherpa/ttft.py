"""How long until the first token, against the prompt length, for each way of keeping the weights?"""

from collections.abc import Callable
from itertools import pairwise

import pandas as pd

from experiments.pim_sherpa.setting import (
    CRITICAL,
    CRITICAL_PERCENT,
    HIDDEN,
    HIDDEN_PERCENT,
    LEAVES_OUT,
    METHOD_NAMES,
    MODELS,
    PROMPTS,
    RATE_SHARE,
    READ,
    machine,
)
from pimsim.checks import Check, Tolerance
from pimsim.report.figures import ttft_lines
from pimsim.report.report import Report
from pimsim.run import prefill_run

COST_S = 22.0
OWR_MINUS_FACIL_S = {"llama-3.2-1b": 0.6, "llama-3.2-3b": 1.4}
OWR_3B_192_TOKENS_PER_S = 16.7


def run(progress: Callable[[float, str], None]) -> Report:
    """Prefill of both models at every prompt length with every method."""
    system = machine()
    rows = []
    seconds: dict[tuple[str, int, str], float] = {}
    for i, model in enumerate(MODELS):
        for j, prompt in enumerate(PROMPTS):
            progress((i + j / len(PROMPTS)) / len(MODELS), f"{model}, prompt {prompt}")
            for method in METHOD_NAMES:
                time_s = prefill_run(model, method, prompt, system).duration_ps * 1e-12
                seconds[model, prompt, method] = time_s
                rows.append({"model": model, "method": method, "prompt": prompt, "ttft_s": time_s})
    frame = pd.DataFrame(rows)
    wide = frame.pivot_table(index=["model", "prompt"], columns="method", values="ttft_s")[list(METHOD_NAMES)]
    wide.columns = [f"{name}_s" for name in wide.columns]
    return Report(
        name="ttft",
        question="How long until the first token, against the prompt length?",
        tables={"ttft": wide.reset_index()},
        checks=_checks(seconds),
        figures={"ttft": lambda: ttft_lines(frame)},
        leaves_out=LEAVES_OUT,
    )


def _checks(seconds: dict[tuple[str, int, str], float]) -> list[Check]:
    checks = [
        Check(
            quantity="prefill rate",
            setting="llama-3.2-3b, online-rearrangement, prompt 192",
            ours=192 / seconds["llama-3.2-3b", 192, "online-rearrangement"],
            expected=OWR_3B_192_TOKENS_PER_S,
            unit="tokens/s",
            tolerance=Tolerance(rel=RATE_SHARE),
            source=READ,
        )
    ]
    for model in MODELS:
        gaps = {p: seconds[model, p, "online-rearrangement"] - seconds[model, p, "facil"] for p in PROMPTS}
        for prompt in (PROMPTS[0], PROMPTS[-1]):
            checks.append(
                Check(
                    quantity="TTFT of online rearrangement minus FACIL",
                    setting=f"{model}, prompt {prompt}",
                    ours=gaps[prompt],
                    expected=OWR_MINUS_FACIL_S[model],
                    unit="s",
                    tolerance=Tolerance(rel=RATE_SHARE),
                    source=READ,
                )
            )
        checks.append(
            Check(
                quantity="that difference over all prompts: (largest - smallest) / mean",
                setting=model,
                ours=round(
                    100 * (max(gaps.values()) - min(gaps.values())) / (sum(gaps.values()) / len(gaps)), 6
                ),
                unit="%",
                tolerance=Tolerance(high=5.0),
                source=READ + ": constant in prompt length",
            )
        )
        excess = {
            p: 100 * (seconds[model, p, "double-buffering"] / seconds[model, p, "facil"] - 1) for p in PROMPTS
        }
        checks += [_excess(model, p, excess[p], *CRITICAL_PERCENT) for p in CRITICAL]
        checks += [_excess(model, p, excess[p], *HIDDEN_PERCENT) for p in HIDDEN]
        falls = all(excess[a] >= excess[b] - 0.05 for a, b in pairwise(PROMPTS))
        checks.append(
            Check(quantity="that excess falls with the prompt", setting=model, ours=falls, source=READ)
        )
        equal = all(seconds[model, p, "weight-duplication"] == seconds[model, p, "facil"] for p in PROMPTS)
        checks.append(
            Check(
                quantity="weight duplication and FACIL have the same TTFT",
                setting=model,
                ours=equal,
                source=READ,
            )
        )
        checks.append(
            Check(
                quantity="double buffering no better than online rearrangement (contention)",
                setting=f"{model}, prompt 32",
                ours=seconds[model, 32, "double-buffering"] >= seconds[model, 32, "online-rearrangement"],
                source=READ + ": it 'can' be so",
            )
        )
    return checks


def _excess(model: str, prompt: int, ours: float, low: float, high: float) -> Check:
    return Check(
        quantity="double buffering slower than FACIL by",
        setting=f"{model}, prompt {prompt}",
        ours=ours,
        unit="%",
        tolerance=Tolerance(low=low, high=high),
        source=READ,
    )
