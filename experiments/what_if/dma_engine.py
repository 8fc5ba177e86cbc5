"""What if a DMA engine made the copies instead of CPU cores?"""

from collections.abc import Callable
from dataclasses import replace

import pandas as pd

from experiments.what_if.setting import BEYOND, LEAVES_OUT, MODELS, machine, seconds
from pimsim.checks import Check
from pimsim.report.curves import line_chart
from pimsim.report.report import Report
from pimsim.run import copy_only_run
from pimsim.system import System

COST_S = 40.0
PROMPTS = (16, 32, 64)
CHANNELS = (1, 2, 4, 8)  # of the engine; each has one 256-byte run in flight (estimate: no phone says)


def run(progress: Callable[[float, str], None]) -> Report:
    """Double buffering with the copies on an engine of 1 to 8 channels, all six cores free of copies."""
    plain = machine()
    rows, checks = [], []
    for i, model in enumerate(MODELS):
        bound = {p: seconds(model, "facil", p, plain) for p in PROMPTS}
        for j, channels in enumerate((0, *CHANNELS)):
            said = f"{channels} channels" if channels else "two copy threads"
            progress((i + j / (1 + len(CHANNELS))) / len(MODELS), f"{model}, {said}")
            system = with_dma(plain, channels) if channels else plain
            row: dict[str, object] = {
                "model": model,
                "copies_by": said,
                "channels": channels,
                "all_copies_s": copy_only_run(model, 64, system),
            }
            for prompt in PROMPTS:
                excess = 100 * (seconds(model, "double-buffering", prompt, system) / bound[prompt] - 1)
                row[f"over_facil_at_{prompt}_percent"] = excess
            rows.append(row)
        part = pd.DataFrame([row for row in rows if row["model"] == model and row["channels"]])
        checks += [
            Check(
                quantity="more channels never copy slower",
                setting=model,
                ours=bool((part["all_copies_s"].diff().dropna() <= 0).all()),
                source="invariant",
            ),
            Check(
                quantity="a wide engine hides copies from prompt 32 on (5 % over FACIL)",
                setting=f"{model}, {CHANNELS[-1]} channels",
                ours=bool(part["over_facil_at_32_percent"].iloc[-1] <= 5),
                source=BEYOND,
            ),
        ]
    frame = pd.DataFrame(rows)
    engine = frame[frame["channels"] > 0]
    lines = engine.melt(
        id_vars=["model", "channels"],
        value_vars=[f"over_facil_at_{p}_percent" for p in PROMPTS],
        var_name="prompt",
        value_name="excess",
    )
    lines = lines[lines["model"] == MODELS[0]]
    lines["prompt"] = "prompt " + lines["prompt"].str.extract(r"(\d+)", expand=False)
    return Report(
        name="dma-engine",
        question="What if a DMA engine made the copies?",
        tables={"engines": frame.drop(columns="channels")},
        checks=checks,
        figures={
            "dma-engine": lambda: line_chart(
                lines, x="channels", y="excess", series="prompt",
                title=f"{MODELS[0]}: double buffering with a DMA engine",
                x_label="channels of the engine (256 bytes in flight each)",
                y_label="time to first token over FACIL's (%)",
            )
        },
        leaves_out=(
            BEYOND,
            *LEAVES_OUT,
            "an engine that writes whole lines without filling them first, which would be faster still",
            "the time to set up descriptors, and that the CPU must not see old lines of the buffer",
        ),
    )  # fmt: skip


def with_dma(system: System, channels: int) -> System:
    """The system with an engine of so many channels, which makes the copies of double buffering.

    A channel is a requester without arithmetic; its path to memory is as long as a core's.
    """
    like = system.cpu.cores[-1]
    channel = replace(
        like, name="dma", source="estimate: one 256-byte run in flight, the path of a core", nc_outstanding=4
    )
    first = len(system.cpu.cores)
    engines = tuple(range(first, first + channels))
    cpu = replace(system.cpu, cores=(*system.cpu.cores, *[channel] * channels))
    return replace(system, cpu=cpu, copy_cores=engines, engines=engines)
