"""Does a phone without PIM run the same models as fast as was measured?"""

from collections.abc import Callable
from dataclasses import replace

import pandas as pd

from experiments.pim_sherpa.setting import LEAVES_OUT, MODELS, seconds
from pimsim.checks import Check, Tolerance
from pimsim.report.curves import grouped_bars
from pimsim.report.report import Report
from pimsim.run import decode_ps
from pimsim.system import load_system

COST_S = 3.0
SYSTEM = "snapdragon-8-gen-3"
PROMPT, LENGTH = 64, 120
MEASURED = {"llama-3.2-1b": (60.3, 19.2), "llama-3.2-3b": (21.2, 7.6)}
"""(prefill, decode) in tokens a second, BF16, prompt 64: the OnePlus 12 (Snapdragon 8 Gen 3) of
pytorch/executorch, examples/models/llama/README.md; 120 tokens in all is the length of its example."""
SOURCE = "pytorch/executorch, examples/models/llama/README.md: OnePlus 12, BF16, prompt 64"
THREADS = (4, 5, 6)


def run(progress: Callable[[float, str], None]) -> Report:
    """First token and decode of the host alone, on the platform whose CPU differs in clocks and caches."""
    system = load_system(SYSTEM)
    rows, checks, bars = [], [], []
    for i, model in enumerate(MODELS):
        progress(i / len(MODELS), model)
        prefill, decode = MEASURED[model]
        rate = 1e12 / decode_ps(model, "host-only", (PROMPT + LENGTH) // 2, system)
        first = {
            n: seconds(model, "host-only", PROMPT, replace(system, compute_cores=tuple(range(n))))
            for n in THREADS
        }
        rows += [
            {"model": model, "quantity": "decode", "unit": "tokens/s", "ours": rate, "measured": decode},
            *(
                {
                    "model": model,
                    "quantity": f"first token, {n} GEMM threads",
                    "unit": "s",
                    "ours": first[n],
                    "measured": PROMPT / prefill,
                }
                for n in THREADS
            ),
        ]
        bars += [
            {"model": model, "series": "measured", "seconds": PROMPT / prefill},
            *({"model": model, "series": f"ours, {n} GEMM threads", "seconds": first[n]} for n in THREADS),
        ]
        checks += [
            Check(
                quantity="decode",
                setting=model,
                ours=rate,
                expected=decode,
                unit="tokens/s",
                tolerance=Tolerance(rel=0.1),
                source=SOURCE,
            ),
            Check(
                quantity="time to first token, four GEMM threads as in PIM-SHERPA",
                setting=f"{model}, prompt {PROMPT}",
                ours=first[4],
                expected=PROMPT / prefill,
                unit="s",
                tolerance=Tolerance(rel=0.1),
                source=SOURCE + "; its number of threads is not stated",
            ),
        ]
    return Report(
        name="phone",
        question="Does a phone without PIM run the same models as fast as was measured?",
        tables={"phone": pd.DataFrame(rows)},
        checks=checks,
        figures={
            "phone": lambda: grouped_bars(
                pd.DataFrame(bars),
                x="model",
                y="seconds",
                series="series",
                title=f"{SYSTEM}, host alone, BF16, prompt {PROMPT}",
                x_label="model",
                y_label="time to first token (s)",
            )
        },
        leaves_out=(
            *LEAVES_OUT,
            "how many threads were measured (not published): four is a choice, the runtime's default six",
        ),
    )
