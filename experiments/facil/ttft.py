"""How much sooner comes the first token when no weight has to be laid out again before its product?"""

from collections.abc import Callable
from dataclasses import dataclass
from itertools import pairwise
from math import prod
from statistics import fmean

import pandas as pd

from experiments.facil.setting import (
    ABSTRACT,
    ALPACA,
    CASES,
    SUMMARY,
    FirstToken,
    code_lengths,
    first_token,
    next_token_s,
)
from pimsim.checks import Check, Tolerance
from pimsim.report.curves import grouped_bars
from pimsim.report.report import Report

PROMPTS = (8, 16, 32, 64, 128)
CONVERSATION, CODE = "short conversation", "code completion"
TTFT = {CONVERSATION: 2.37, CODE: 2.63}
TTLT = 1.20
ORIN_MS = (100.0, 300.0)
DATA = "the data sets (Alpaca, HumanEval) are our choice"


@dataclass(frozen=True)
class TaskTimes:
    """Means over the prompts of a task on a platform. token: seconds of one after the first."""

    prompt: float
    answer: float
    first: FirstToken
    token: float

    @property
    def ttlt_ratio(self) -> float:
        """Mean time to the last token, baseline over FACIL."""
        rest = (self.answer - 1) * self.token
        return (self.first.prefill + self.first.relayout + rest) / (self.first.prefill + rest)


def run(progress: Callable[[float, str], None]) -> Report:
    """Both ways to the first token on four platforms: prompts of two data sets, and by length."""
    tasks: dict[tuple[str, str], TaskTimes] = {}
    held: dict[tuple[str, int], FirstToken] = {}
    for i, (name, case) in enumerate(CASES.items()):
        progress(i / len(CASES), name)
        for prompt in PROMPTS:
            held[name, prompt] = first_token(name, case, prompt)
        prompt, answer = (round(mean) for mean in ALPACA)
        tasks[CONVERSATION, name] = _task(name, [(prompt, answer)])
        tasks[CODE, name] = _task(name, code_lengths(case.tokenizer))
    rows = [
        {
            "task": task,
            "system": name,
            "model": CASES[name].model.name,
            "engine": CASES[name].engine,
            "prompt": spent.prompt,
            "answer": spent.answer,
            "ttft_facil_ms": spent.first.prefill * 1e3,
            "relayout_ms": spent.first.relayout * 1e3,
            "ratio": spent.first.ratio,
            "token_ms": spent.token * 1e3,
            "ttlt_ratio": spent.ttlt_ratio,
        }
        for task in TTFT
        for name in CASES
        for spent in [tasks[task, name]]
    ]
    ratios = pd.DataFrame(
        [
            {"system": name, "copied_gb": held[name, PROMPTS[0]].copied_bytes / 1e9}
            | {f"prompt {prompt}": held[name, prompt].ratio for prompt in PROMPTS}
            for name in CASES
        ]
    )
    bars = pd.DataFrame(
        [
            {"system": name, "prompt": f"prompt {prompt}", "ratio": held[name, prompt].ratio}
            for name in CASES
            for prompt in PROMPTS
        ]
    )
    progress(1.0, "done")
    return Report(
        name="ttft",
        question="How much sooner comes the first token when no weight has to be laid out again before its "
        "product?",
        tables={"tasks": pd.DataFrame(rows), "ratio-by-prompt": ratios},
        checks=_checks(tasks, held),
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
            "which data sets the paper took: Alpaca's mean prompt and HumanEval's prompts stand for them",
            "copies that overlap with products, or that skip a matrix: every one is copied, then multiplied",
            "an engine whose blocks do not follow FACIL's maps: see the experiment `maps`",
            "the products of a short prompt in PIM: the GPU or NPU has all of more than one row",
        ),
    )


def _task(name: str, lengths: list[tuple[int, int]]) -> TaskTimes:
    """Means over (prompt, answer) pairs; tokens at the mean context."""
    case = CASES[name]
    each = {prompt: first_token(name, case, prompt) for prompt, _ in lengths}
    firsts = [each[prompt] for prompt, _ in lengths]
    prompt, answer = (fmean(column) for column in zip(*lengths, strict=True))
    return TaskTimes(
        prompt=prompt,
        answer=answer,
        first=FirstToken(
            copied_bytes=firsts[0].copied_bytes,  # all matrices, whatever the prompt
            prefill=fmean(first.prefill for first in firsts),
            relayout=fmean(first.relayout for first in firsts),
        ),
        token=next_token_s(name, case, round(prompt + answer / 2)),
    )


def _mean(tasks: dict[tuple[str, str], TaskTimes], task: str, of: Callable[[TaskTimes], float]) -> float:
    """Geometric mean over the platforms."""
    values = [of(tasks[task, name]) for name in CASES]
    return prod(values) ** (1 / len(values))


def _checks(tasks: dict[tuple[str, str], TaskTimes], held: dict[tuple[str, int], FirstToken]) -> list[Check]:
    checks = [
        Check(
            quantity=f"TTFT, baseline over FACIL, {task}",
            setting="geometric mean of the platforms",
            ours=_mean(tasks, task, lambda spent: spent.first.ratio),
            expected=expected,
            tolerance=Tolerance(rel=0.2),
            source=f"{ABSTRACT}; {DATA}",
        )
        for task, expected in TTFT.items()
    ]
    spent = tasks[CONVERSATION, "jetson-orin"]
    first = spent.first
    for what, ours, expected in (
        ("TTFT without re-layout", first.prefill, ORIN_MS[0]),
        ("TTFT with re-layout", first.prefill + first.relayout, ORIN_MS[1]),
    ):
        checks.append(
            Check(
                quantity=what,
                setting=f"llama3-8b on jetson-orin, prompt {spent.prompt:g}",
                ours=ours * 1e3,
                expected=expected,
                unit="ms",
                tolerance=Tolerance(rel=0.2),
                source=f"{SUMMARY}: about {expected:.0f} ms",
            )
        )
    checks.append(
        Check(
            quantity="time to the last token, baseline over FACIL",
            setting="short conversation, geometric mean of the platforms",
            ours=_mean(tasks, CONVERSATION, lambda spent: spent.ttlt_ratio),
            expected=TTLT,
            tolerance=Tolerance(rel=0.1),
            source=f"{SUMMARY}; {DATA}",
        )
    )
    falls = all(held[n, a].ratio >= held[n, b].ratio - 1e-9 for n in CASES for a, b in pairwise(PROMPTS))
    checks.append(
        Check(
            quantity="the ratio falls with the prompt",
            setting="all platforms",
            ours=falls,
            source="expected: the copies stay, the products grow",
        )
    )
    return checks
