"""What if double buffering had more copy threads, on cores of their own or shared ones?"""

from collections.abc import Callable
from dataclasses import replace

import pandas as pd

from experiments.what_if.setting import BEYOND, LEAVES_OUT, MODELS, machine, seconds
from pimsim.checks import Check
from pimsim.report.curves import grouped_bars
from pimsim.report.report import Report

COST_S = 25.0
PROMPTS = (32, 64, 128)
EQUAL, PIECES = "static", "dynamic"
SPLITS = {  # GEMM + copy threads -> cores of each, and how copies are shared out; X4: core 0 has one of each
    "4 + 2, X4": ((0, 1, 2, 3), (0, 5), EQUAL),  # the phone's
    "4 + 2, X4, pieces": ((0, 1, 2, 3), (0, 5), PIECES),
    "4 + 1": ((0, 1, 2, 3), (5,), EQUAL),
    "4 + 2": ((0, 1, 2, 3), (4, 5), EQUAL),
    "3 + 3": ((0, 1, 2), (3, 4, 5), EQUAL),
    "2 + 4": ((0, 1), (2, 3, 4, 5), EQUAL),
    "4 + 3, X4, pieces": ((0, 1, 2, 3), (0, 4, 5), PIECES),
    "4 + 6, pieces": ((0, 1, 2, 3), (0, 1, 2, 3, 4, 5), PIECES),
}


def run(progress: Callable[[float, str], None]) -> Report:
    """Time to first token of double buffering for each split of the six cores."""
    plain = machine()
    rows = []
    for i, model in enumerate(MODELS):
        bound = {p: seconds(model, "facil", p, plain) for p in PROMPTS}
        for j, (name, (compute, copy, split)) in enumerate(SPLITS.items()):
            progress((i + j / len(SPLITS)) / len(MODELS), f"{model}, {name}")
            threads = replace(plain.threads, copy_split=split)
            system = replace(plain, compute_cores=compute, copy_cores=copy, threads=threads)
            for prompt in PROMPTS:
                time_s = seconds(model, "double-buffering", prompt, system)
                rows.append(
                    {
                        "model": model,
                        "threads": name,
                        "prompt": prompt,
                        "ttft_s": time_s,
                        "over_facil_percent": 100 * (time_s / bound[prompt] - 1),
                    }
                )
    frame = pd.DataFrame(rows)
    wide = frame.pivot_table(
        index=["model", "threads"], columns="prompt", values="over_facil_percent", sort=False
    )
    wide.columns = [f"over_facil_at_{prompt}_percent" for prompt in wide.columns]
    checks = []
    for model in MODELS:
        at = frame[frame["model"] == model].set_index(["threads", "prompt"])["ttft_s"]
        checks += [
            Check(
                quantity="a second copy thread helps",
                setting=f"{model}, prompt {prompt}",
                ours=bool(at["4 + 2", prompt] < at["4 + 1", prompt]),
                source="invariant: copies are critical there",
            )
            for prompt in PROMPTS[:2]
        ]
        checks.append(
            Check(
                quantity="at a long prompt fewer GEMM threads are slower than fewer copy threads",
                setting=f"{model}, prompt 128",
                ours=bool(at["2 + 4", 128] > at["4 + 2", 128]),
                source="invariant: GEMMs are critical there",
            )
        )
    bars = frame[frame["model"] == MODELS[0]].astype({"prompt": str})
    bars["prompt"] = "prompt " + bars["prompt"]
    return Report(
        name="copy-threads",
        question="What if double buffering had more copy threads?",
        tables={"over-facil": wide.reset_index()},
        checks=checks,
        figures={
            "copy-threads": lambda: grouped_bars(
                bars, x="threads", y="ttft_s",
                series="prompt", title=f"{MODELS[0]}: double buffering",
                x_label="GEMM + copy threads", y_label="time to first token (s)",
            )
        },
        leaves_out=(BEYOND, *LEAVES_OUT),
    )  # fmt: skip
