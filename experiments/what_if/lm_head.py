"""What if the output head stayed on the host instead of in PIM?"""

from collections.abc import Callable
from dataclasses import replace

import pandas as pd

from experiments.what_if.setting import BEYOND, LEAVES_OUT, MODELS, first_token_s, machine, next_token_s
from pimsim.checks import Check
from pimsim.methods import METHODS, Method, Plan
from pimsim.methods.common import HEAD
from pimsim.methods.plan import Gemm, PimGemv
from pimsim.report.curves import grouped_bars
from pimsim.report.report import Report
from pimsim.system import System
from pimsim.trace import load_config
from pimsim.trace.op import Trace

COST_S = 10.0
PROMPT, CONTEXT = 64, 128
WHERE = ("PIM", "host")


def run(progress: Callable[[float, str], None]) -> Report:
    """Double buffering with the head in either place: time per token, first token, and padding."""
    system = machine()
    rows = []
    for i, model in enumerate(MODELS):
        config = load_config(model)
        head = config.vocab_size, config.hidden_size
        padded = system.layout.padded_bytes(*head, 16, system.head_rows(head[0])) / 1e6
        for where in WHERE:
            progress((i + (where == "host") / 2) / len(MODELS), f"{model}, head in {where}")
            method = METHODS["double-buffering"]
            how = method if where == "PIM" else head_on_host(method)
            rows.append(
                {
                    "model": model,
                    "head": where,
                    "head_mb": padded if where == "PIM" else head[0] * head[1] * 2 / 1e6,
                    "token_ms": 1e3 * next_token_s(model, how, CONTEXT, system),
                    "ttft_s": first_token_s(model, how, PROMPT, system),
                }
            )
    frame = pd.DataFrame(rows)
    at = frame.set_index(["model", "head"])["token_ms"]
    checks = [
        Check(
            quantity="a head on the host costs tokens a second",
            setting=model,
            ours=bool(at[model, "host"] > at[model, "PIM"]),
            source=BEYOND,
        )
        for model in MODELS
    ]
    shrinks = (at[MODELS[0], "host"] / at[MODELS[0], "PIM"]) > (at[MODELS[1], "host"] / at[MODELS[1], "PIM"])
    checks.append(
        Check(
            quantity="the smaller model loses more: its head is a larger share",
            setting="1B against 3B",
            ours=bool(shrinks),
            source="invariant: the head is 21 % of the weights of 1B and 12 % of those of 3B",
        )
    )
    return Report(
        name="lm-head",
        question="What if the output head stayed on the host?",
        tables={"heads": frame},
        checks=checks,
        figures={
            "lm-head": lambda: grouped_bars(
                frame, x="model", y="token_ms", series="head", title="Where the output head runs",
                x_label="", y_label="time per token (ms)",
            )
        },
        leaves_out=(BEYOND, *LEAVES_OUT, "a host copy of the head beside PIM's: each keeps it once"),
    )  # fmt: skip


def head_on_host(method: Method) -> Method:
    """The method with the product of the output head on all cores, from a cacheable row-major copy."""

    def plan(trace: Trace, system: System) -> Plan:
        made = method.plan(trace, system)
        segments = []
        for segment in made.segments:
            tasks = []
            for task in segment.tasks:
                if task.name == HEAD and isinstance(task.work, PimGemv):
                    old = task.work
                    work = Gemm(m=1, n=old.n, k=old.k, bits=16, weight=old.weight)
                    task = replace(task, kind="gemv", team="all", work=work)
                tasks.append(task)
            segments.append(replace(segment, tasks=tuple(tasks)))
        return replace(made, segments=tuple(segments))

    return replace(method, name=f"{method.name}, head on host", plan=plan)
