"""What if weights had 8 or 4 bits?"""

from collections.abc import Callable

import pandas as pd

from experiments.what_if.setting import BEYOND, LEAVES_OUT, MODELS, first_token_s, machine, next_token_s
from pimsim.checks import Check
from pimsim.methods import METHODS
from pimsim.report.curves import grouped_bars
from pimsim.report.report import Report
from pimsim.trace import load_config, prefill_trace

COST_S = 60.0
TYPES = ("bf16", "int8", "int4")
PROMPTS = (16, 32, 64)
CONTEXT = 128
SHOWN = ("facil", "double-buffering", "online-rearrangement")


def run(progress: Callable[[float, str], None]) -> Report:
    """Capacity, time to first token and time per token of each type."""
    system = machine()
    rows = []
    for i, model in enumerate(MODELS):
        for j, kind in enumerate(TYPES):
            progress((i + j / len(TYPES)) / len(MODELS), f"{model}, {kind}")
            trace = prefill_trace(load_config(model), 128, weight_dtype=kind)
            first = {m: {p: first_token_s(model, m, p, system, kind) for p in PROMPTS} for m in SHOWN}
            row: dict[str, object] = {
                "model": model,
                "weights": kind,
                "ddb_memory_gb": METHODS["double-buffering"].place(trace, system).ledger.total() / 1e9,
                "host_token_ms": 1e3 * next_token_s(model, "host-only", CONTEXT, system, kind),
                "pim_token_ms": 1e3 * next_token_s(model, "facil", CONTEXT, system, kind),
            }
            for p in PROMPTS:
                row[f"ddb_over_facil_at_{p}_percent"] = 100 * (
                    first["double-buffering"][p] / first["facil"][p] - 1
                )
            row["owr_over_facil_at_64_percent"] = 100 * (
                first["online-rearrangement"][64] / first["facil"][64] - 1
            )
            rows.append(row)
    frame = pd.DataFrame(rows)
    checks = []
    for model in MODELS:
        held = frame[frame["model"] == model].set_index("weights")
        checks += [
            Check(
                quantity="narrower weights: less memory, faster tokens, shorter copies",
                setting=model,
                ours=bool(
                    (
                        held[["ddb_memory_gb", "pim_token_ms", "ddb_over_facil_at_32_percent"]]
                        .diff()
                        .dropna()
                        < 0
                    ).all(axis=None)
                ),
                source="invariant",
            ),
            Check(
                quantity="INT4 hides from prompt 32 on what BF16 hides from 128 on (5 % over FACIL)",
                setting=model,
                ours=bool(held.loc["int4", "ddb_over_facil_at_32_percent"] <= 5),
                source=BEYOND,
            ),
        ]
    bars = frame.melt(
        id_vars=["model", "weights"],
        value_vars=[f"ddb_over_facil_at_{p}_percent" for p in PROMPTS],
        var_name="prompt",
        value_name="excess",
    )
    bars = bars[bars["model"] == MODELS[0]]
    bars["prompt"] = bars["prompt"].str.extract(r"(\d+)", expand=False)
    return Report(
        name="weight-types",
        question="What if weights had 8 or 4 bits?",
        tables={"types": frame},
        checks=checks,
        figures={
            "weight-types": lambda: grouped_bars(
                bars, x="prompt", y="excess", series="weights", title=f"{MODELS[0]}: double buffering",
                x_label="prompt length (tokens)", y_label="time to first token over FACIL's (%)",
            )
        },
        leaves_out=(
            BEYOND,
            *LEAVES_OUT,
            "the host's work of widening narrow weights: its products run at the BF16 rate for every type",
            "what narrower weights do to a model's answers",
        ),
    )  # fmt: skip
