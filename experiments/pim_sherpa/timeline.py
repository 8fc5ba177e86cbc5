"""Which thread waits for which in double buffering, at prompts of 64 and of 128 tokens?"""

from collections.abc import Callable
from dataclasses import replace

import pandas as pd

from experiments.pim_sherpa.setting import LEAVES_OUT, READ, machine
from pimsim.checks import Check
from pimsim.report.figures import timeline
from pimsim.report.report import Report
from pimsim.run import prefill_run
from pimsim.system import Threads

MODEL = "llama-3.2-1b"
PROMPTS = (64, 128)
OWN = "64, own cores"  # copy threads on cores without a GEMM thread, taking pieces
LAYER = 5
COPIES = {  # stage -> the copy that runs beside its GEMM
    "q_proj": "copy gate_proj 1 of 4",
    "k_proj": "copy gate_proj 2 of 4",
    "v_proj": "copy gate_proj 3 of 4",
    "o_proj": "copy gate_proj 4 of 4",
    "gate_proj": "copy up_proj",
    "up_proj": "copy down_proj",
    "down_proj": "copy next attention",
}
STAGES = tuple(COPIES)


def run(progress: Callable[[float, str], None]) -> Report:
    """Spans of one layer, and for each stage how long its GEMM and its copy take."""
    system = machine()
    rows, spans = [], {}
    apart = replace(system, copy_cores=(4, 5), threads=Threads())
    settings = [(str(prompt), prompt, system) for prompt in PROMPTS] + [(OWN, PROMPTS[0], apart)]
    for i, (name, prompt, phone) in enumerate(settings):
        progress(i / len(settings), f"prompt {name}")
        run = prefill_run(MODEL, "double-buffering", prompt, phone)
        layer = run.spans[run.spans["layer"] == LAYER]
        spans[f"prompt-{name.replace(', ', '-').replace(' ', '-')}"] = layer
        for stage in STAGES:
            gemm = _length_ms(layer[layer["task"] == stage])
            copy = _length_ms(layer[layer["task"] == COPIES[stage]])
            rows.append(
                {
                    "prompt": name,
                    "stage": stage,
                    "gemm_ms": gemm,
                    "copy_ms": copy,
                    "waits_for_copy_ms": max(0.0, copy - gemm),
                    "of_gemm_percent": 100 * max(0.0, copy - gemm) / gemm,
                }
            )
    table = pd.DataFrame(rows)
    waits = table.set_index(["prompt", "stage"])["waits_for_copy_ms"]
    share = table.set_index(["prompt", "stage"])["of_gemm_percent"]
    late = waits["128"].sum() / table[table["prompt"] == "128"]["gemm_ms"].sum()
    checks = [
        Check(
            quantity="copy is critical in stage",
            setting=f"prompt 64, {s}",
            ours=bool(waits["64", s] > 0),
            source=READ,
        )
        for s in ("k_proj", "v_proj")
    ]
    checks += [
        Check(
            quantity="K and V wait longest for their copies, as a share of their GEMMs",
            setting="prompt 64",
            ours=bool(
                min(share["64", s] for s in ("k_proj", "v_proj")) >= max(share["64", s] for s in STAGES[3:])
            ),
            source=READ + ": critical above all in K and V, whose GEMMs are tiny",
        ),
        Check(
            quantity="copies nearly all hidden (waits below 5 % of GEMM time)",
            setting="prompt 128",
            ours=bool(late < 0.05),
            source=READ,
        ),
        Check(
            quantity="feed-forward stage FF1 is late, but not with copy threads on cores of their own",
            setting="prompt 64, up_proj",
            ours=bool(waits[OWN, "up_proj"] == 0 < waits["64", "up_proj"]),
            source=READ + ": an FF1 stage is late, as a thread waits for the X4 core",
        ),
    ]
    return Report(
        name="timeline",
        question="Which thread waits for which in double buffering?",
        tables={"stages": table},
        checks=checks,
        figures={"timeline": lambda: timeline(list(spans.items()))},
        leaves_out=(
            *LEAVES_OUT,
            "threads that move between cores: who shares the X4 is fixed for a run",
        ),
        spans=spans,
    )


def _length_ms(spans: pd.DataFrame) -> float:
    return float((spans["end_ps"].max() - spans["start_ps"].min()) * 1e-9) if len(spans) else 0.0
