"""How much sooner comes the first token when no weight has to be laid out again for the GPU?"""

from collections.abc import Callable
from itertools import pairwise
from math import prod

import pandas as pd

from experiments.facil.setting import ABSTRACT, CASES, SUMMARY, Times, times
from pimsim.checks import Check, Tolerance
from pimsim.report.curves import grouped_bars
from pimsim.report.report import Report

CONVERSATION, CODE = (32, 64), (64, 64)
"""(prompt, answer) in tokens of a short conversation and a code completion: our choice, no source at hand."""
PROMPTS = (8, 16, 32, 64, 128)
TTFT = {"short conversation": (CONVERSATION, 2.37), "code completion": (CODE, 2.63)}
LOW, HIGH, TTLT = 2.37, 2.89, 1.20
ORIN_MS = (100.0, 300.0)


def run(progress: Callable[[float, str], None]) -> Report:
    """Both ways to the first token on four platforms, against the prompt."""
    held: dict[tuple[str, int], Times] = {}
    for i, (name, config) in enumerate(CASES.items()):
        progress(i / len(CASES), name)
        for prompt in PROMPTS:
            held[name, prompt] = times(name, config, prompt, CONVERSATION[1])
    at = CONVERSATION[0]
    rows = [
        {
            "system": name,
            "model": config.name,
            "copied_gb": held[name, at].copied_bytes / 1e9,
            "ttft_facil_ms": held[name, at].prefill * 1e3,
            "relayout_ms": held[name, at].relayout * 1e3,
            "ttft_baseline_ms": (held[name, at].prefill + held[name, at].relayout) * 1e3,
            "ratio": held[name, at].ttft_ratio,
            "token_ms": held[name, at].token * 1e3,
            "ttlt_ratio": held[name, at].ttlt_ratio(CONVERSATION[1]),
        }
        for name, config in CASES.items()
    ]
    ratios = pd.DataFrame(
        [
            {"system": name} | {f"prompt {prompt}": held[name, prompt].ttft_ratio for prompt in PROMPTS}
            for name in CASES
        ]
    )
    bars = pd.DataFrame(
        [
            {"system": name, "prompt": f"prompt {prompt}", "ratio": held[name, prompt].ttft_ratio}
            for name in CASES
            for prompt in PROMPTS
        ]
    )
    progress(1.0, "done")
    return Report(
        name="ttft",
        question="How much sooner comes the first token when no weight has to be laid out again for the GPU?",
        tables={"at-prompt-32": pd.DataFrame(rows), "ratio-by-prompt": ratios},
        checks=_checks(held),
        figures={
            "ratio": lambda: grouped_bars(
                bars,
                x="system",
                y="ratio",
                series="prompt",
                title="First token: baseline with re-layout over FACIL",
                x_label="platform",
                y_label="ratio",
            )
        },
        leaves_out=(
            "prompts and answers of the paper's tasks are not known: 32 and 64 tokens, 64 tokens of answer",
            "which model the paper ran on which platform, beyond Llama3-8B on Orin",
            "copies that overlap with products, or that skip a matrix: every one is copied, then multiplied",
            "a GPU whose blocks do not follow FACIL's maps: see the experiment `maps`",
            "the products of a short prompt in PIM: the GPU has all of more than one row",
        ),
    )


def _checks(held: dict[tuple[str, int], Times]) -> list[Check]:
    checks = []
    for task, ((prompt, _), expected) in TTFT.items():
        ratios = [held[name, prompt].ttft_ratio for name in CASES]
        checks.append(
            Check(
                quantity=f"TTFT, baseline over FACIL, {task}",
                setting=f"prompt {prompt}, geometric mean of the platforms",
                ours=prod(ratios) ** (1 / len(ratios)),
                expected=expected,
                tolerance=Tolerance(rel=0.2),
                source=f"{ABSTRACT}; prompt: our choice",
            )
        )
    for name, config in CASES.items():
        checks.append(
            Check(
                quantity="TTFT, baseline over FACIL",
                setting=f"{config.name} on {name}, prompt {CONVERSATION[0]}",
                ours=held[name, CONVERSATION[0]].ttft_ratio,
                tolerance=Tolerance(low=LOW, high=HIGH),
                source=SUMMARY,
            )
        )
    spent = held["jetson-orin", CONVERSATION[0]]
    for what, ours, expected in (
        ("TTFT without re-layout", spent.prefill, ORIN_MS[0]),
        ("TTFT with re-layout", spent.prefill + spent.relayout, ORIN_MS[1]),
    ):
        checks.append(
            Check(
                quantity=what,
                setting="llama3-8b on jetson-orin, prompt 32",
                ours=ours * 1e3,
                expected=expected,
                unit="ms",
                tolerance=Tolerance(rel=0.2),
                source=f"{SUMMARY}: about {expected:.0f} ms",
            )
        )
    ttlt = [held[name, CONVERSATION[0]].ttlt_ratio(CONVERSATION[1]) for name in CASES]
    checks.append(
        Check(
            quantity="time to the last token, baseline over FACIL",
            setting="32 + 64 tokens, geometric mean of the platforms",
            ours=prod(ttlt) ** (1 / len(ttlt)),
            expected=TTLT,
            tolerance=Tolerance(rel=0.1),
            source=f"{SUMMARY}; lengths: our choice",
        )
    )
    falls = all(
        held[n, a].ttft_ratio >= held[n, b].ttft_ratio - 1e-9 for n in CASES for a, b in pairwise(PROMPTS)
    )
    checks.append(
        Check(
            quantity="the ratio falls with the prompt",
            setting="all platforms",
            ours=falls,
            source="expected: the copies stay, the products grow",
        )
    )
    return checks
