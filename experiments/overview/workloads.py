"""How long does each workload take, how much memory does it need, and what bounds it?"""

from collections.abc import Callable
from dataclasses import dataclass

import pandas as pd

from experiments.facil.setting import LLAMA3_8B
from pimsim.checks import Check, Tolerance
from pimsim.report.overview import workload_dots
from pimsim.report.report import Report
from pimsim.run import simulate
from pimsim.run_trace import TraceRun, run_trace
from pimsim.system import load_system
from pimsim.trace.llm import LlmConfig, decode_trace, load_config, prefill_trace
from pimsim.trace.op import Trace
from pimsim.trace.training import FaceStep
from pimsim.trace.training_trace import face_step_trace
from pimsim.trace.vision_trace import vision_trace

PROMPT = 128
ENGINES = {
    "exynos2400": {"prefill": "gpu", "decode": "pim", "inference": "npu", "training": "gpu"},
    "jetson-orin": {"prefill": "gpu", "decode": "pim", "inference": "gpu", "training": "gpu"},
}
TYPES = {"exynos2400": "int8", "jetson-orin": "fp16"}
"""Of vision networks; language models and training have 16 bits."""
FLEXIQ = (
    "resnet18", "resnet34", "resnet50", "mobilenet_v2", "vit_small", "vit_base", "deit_small", "deit_base",
    "swin_small", "swin_base", "cifar_resnet20",
)  # fmt: skip
FACE = ("ir_resnet34", "ir_resnet50", "ir_resnet100")
GAZE = ("gaze_resnet18", "gaze_attention_resnet18", "gaze_resnet50")
STEPS = {
    "UNPG step, 85 742 identities": FaceStep(loss="unpg"),
    "MixFace step, 85 742 identities": FaceStep(loss="mixface", batch=1024, positives=512),
    "UNPG step, 10 million identities": FaceStep(loss="unpg", identities=10_000_000),
}
MODELS: tuple[LlmConfig, ...] = (load_config("llama-3.2-1b"), load_config("llama-3.2-3b"), LLAMA3_8B)


@dataclass(frozen=True)
class Workload:
    """A trace to be made for a type of vision networks. kind: which engine of a system does it."""

    group: str
    name: str
    kind: str
    trace: Callable[[str], Trace]


def workloads() -> list[Workload]:
    """All of them, group by group."""
    found = []
    for config in MODELS:
        prefill = lambda _, c=config: prefill_trace(c, PROMPT)  # noqa: E731
        decode = lambda _, c=config: decode_trace(c, PROMPT)  # noqa: E731
        found.append(Workload("language models", f"{config.name}, prompt of {PROMPT}", "prefill", prefill))
        found.append(Workload("language models", f"{config.name}, one token", "decode", decode))
    for group, names in (("FlexiQ's networks", FLEXIQ), ("face networks", FACE), ("gaze networks", GAZE)):
        for name in names:
            made = lambda dtype, n=name: vision_trace(n, dtype=dtype)  # noqa: E731
            found.append(Workload(group, f"{name}, one picture", "inference", made))
    for name, step in STEPS.items():
        found.append(Workload("training steps", name, "training", lambda _, s=step: face_step_trace(s)))
    return found


def run(progress: Callable[[float, str], None]) -> Report:
    """Every workload on the engines that each machine has for its kind."""
    systems = {name: load_system(name) for name in ENGINES}
    found = workloads()
    rows, runs = [], {}
    for i, work in enumerate(found):
        progress(i / len(found), work.name)
        for name, system in systems.items():
            engine = ENGINES[name][work.kind]
            ran = run_trace(work.trace(TYPES[name]), system, engine)
            runs[work.name, name] = ran
            rows.append(_row(work, ran))
    frame = pd.DataFrame(rows)
    progress(1.0, "done")
    capacity = {name: system.capacity_bytes / 1e9 for name, system in systems.items()}
    return Report(
        name="workloads",
        question="How long does each workload take, how much memory does it need, and what bounds it?",
        tables={"workloads": frame},
        checks=_checks(runs),
        figures={"overview": lambda: workload_dots(frame, capacity)},
        leaves_out=(
            "operators run one after the other; nothing is fused but what the producers of traces fuse",
            "weights in the layout that their engine wants, for free: layouts are the methods' business",
            "a workload that does not fit is timed as if the memory were larger",
            "PReLUs and norms of their own in face networks; memory of the runtime",
        ),
    )


def _row(work: Workload, ran: TraceRun) -> dict[str, object]:
    said = ran.summary()
    return {
        "group": work.group,
        "workload": work.name,
        "system": ran.system.name,
        "engine": ran.engine,
        "time_ms": ran.time_s * 1e3,
        "memory_gb": ran.memory_bytes / 1e9,
        "activations_gb": ran.memory["activations"] / 1e9,
        "bound": ran.bound,
        "compute_percent": 100 * ran.shares["compute"],
        "bandwidth_percent": 100 * ran.shares["bandwidth"],
        "dispatch_percent": 100 * ran.shares["dispatch"],
        "arithmetic_gflop": said["flops"] / 1e9,
        "dram_gb": (said["dram_read_bytes"] + said["dram_written_bytes"]) / 1e9,
    }


def _checks(runs: dict[tuple[str, str], TraceRun]) -> list[Check]:
    """Roofs that no time may break, the methods' own path, and what must not fit."""
    broken = [
        f"{name} on {system}"
        for (name, system), ran in runs.items()
        if ran.time_s < sum(ran.operators["dram_read_bytes"]) / _roof(ran)
    ]
    checks = [
        Check(
            quantity="no workload reads faster than the peak of its memory (in PIM: of its banks)",
            setting="all",
            ours=not broken,
            source="peak of the DRAM part and the PIM unit",
        )
    ]
    phone = load_system("exynos2400")
    config = load_config("llama-3.2-1b")
    host = simulate("llama-3.2-1b", "host-only", prompt=PROMPT, tokens=2).summary
    for what, trace, key in (
        ("prompt", prefill_trace(config, PROMPT), "ttft_s"),
        ("token", decode_trace(config, PROMPT), "tpot_s"),
    ):
        checks.append(
            Check(
                quantity=f"time of a {what} on the CPU, operators over the method host-only",
                setting="llama-3.2-1b, exynos2400",
                ours=run_trace(trace, phone, "cpu").time_s / host[key],
                expected=1.0,
                tolerance=Tolerance(rel=0.05),
                source="the methods' path: threads and streams in time",
            )
        )
    for name in ("exynos2400", "jetson-orin"):
        ran = runs["UNPG step, 10 million identities", name]
        checks.append(
            Check(
                quantity="10 million identities do not fit",
                setting=name,
                ours=ran.bound == "capacity",
                source="derived: the class matrix alone takes 71.7 GB with its gradient and momentum",
            )
        )
    checks.append(
        Check(
            quantity="no product of a token waits for arithmetic",
            setting=", ".join(config.name for config in MODELS),
            ours=not any(
                "compute" in set(frame.loc[frame["kind"] == "matmul", "bound"])
                for config in MODELS
                for frame in (runs[f"{config.name}, one token", name].operators for name in ENGINES)
            ),
            source="expected: a product of one row has one multiply-add a weight",
        )
    )
    return checks


def _roof(ran: TraceRun) -> float:
    """Bytes a second: of the channels, or of the banks where PIM works."""
    inside = ran.system.pim is not None and ran.engine == "pim"
    return ran.system.peak_bytes_per_s * (8 if inside else 1)
