"""What if the phone had the bandwidth of faster LPDDR5X or of LPDDR6?"""

from collections.abc import Callable
from dataclasses import replace

import pandas as pd

from experiments.what_if.setting import (
    BEYOND,
    LEAVES_OUT,
    MODELS,
    eight_channels,
    first_token_s,
    machine,
    next_token_s,
    other_dram,
)
from pimsim.checks import Check
from pimsim.devices import DramSpec, part
from pimsim.report.curves import grouped_bars
from pimsim.report.report import Report
from pimsim.system import System

COST_S = 60.0
PROMPTS = (32, 64, 128)
CONTEXT = 128


def lpddr6(rate_mtps: int) -> DramSpec:
    """A sub-channel of LPDDR6 at `rate_mtps`, as our channel model can hold it: estimate.

    JESD209-6 (JEDEC, July 2025): two sub-channels of 12 data pins, 10,667 to 14,400 MT/s, 32-byte accesses,
    of whose 288 bits in 24 transfers 256 are data. A burst so takes 24 transfers: this part moves 32 bytes
    in that time. Everything else is that of LPDDR5X in nanoseconds: no LPDDR6 timings are public.
    """
    like = part("lpddr5x-9600-16gb-x16", DramSpec)
    tck_fs = -(-12 * 10**9 // rate_mtps)  # a burst is two command clocks
    rl, wl = (-(-like.latencies_ck[name] * like.tck_fs // tck_fs) for name in ("RL", "WL"))
    return replace(
        like,
        name=f"lpddr6-{rate_mtps}",
        source=f"estimate: LPDDR5X in ns, 32 bytes in 24 transfers at {rate_mtps} MT/s (JESD209-6)",
        tck_fs=tck_fs,
        data_rate_mtps=round(8e9 / tck_fs),
        geometry=replace(like.geometry, ranks=1),
        latencies_ck=like.latencies_ck | {"RL": rl, "WL": wl},
        currents=None,
    )


def machines() -> dict[str, System]:
    """The phone with each memory."""
    phone = machine()
    return {
        "LPDDR5X-8533, 4 x 16": phone,
        "LPDDR5X-9600, 4 x 16": other_dram(phone, part("lpddr5x-9600-16gb-x16", DramSpec)),
        "LPDDR6-10667, 8 x 12 (estimate)": eight_channels(phone, lpddr6(10667)),
        "LPDDR6-14400, 8 x 12 (estimate)": eight_channels(phone, lpddr6(14400)),
    }


def run(progress: Callable[[float, str], None]) -> Report:
    """Double buffering, FACIL and the host alone on each memory, with the same cores."""
    rows = []
    known = machines()
    for i, model in enumerate(MODELS):
        for j, (name, system) in enumerate(known.items()):
            progress((i + j / len(known)) / len(MODELS), f"{model}, {name}")
            row: dict[str, object] = {
                "model": model,
                "memory": name,
                "peak_gbps": system.peak_bytes_per_s / 1e9,
                "host_token_ms": 1e3 * next_token_s(model, "host-only", CONTEXT, system),
                "pim_token_ms": 1e3 * next_token_s(model, "facil", CONTEXT, system),
            }
            for prompt in PROMPTS:
                mine, bound = (
                    first_token_s(model, method, prompt, system) for method in ("double-buffering", "facil")
                )
                row[f"over_facil_at_{prompt}_percent"] = 100 * (mine / bound - 1)
            rows.append(row)
    frame = pd.DataFrame(rows)
    checks = []
    for model in MODELS:
        held = frame[frame["model"] == model]
        checks += [
            Check(
                quantity="more bandwidth never slows a token of PIM or of the host",
                setting=model,
                ours=bool((held[["host_token_ms", "pim_token_ms"]].diff().dropna() <= 1e-6).all(axis=None)),
                source="invariant",
            ),
            Check(
                quantity="copies at prompt 32 stay far from hidden: cores limit them, not the memory (20 %)",
                setting=f"{model}, fastest memory",
                ours=bool(held["over_facil_at_32_percent"].iloc[-1] > 20),
                source=BEYOND,
            ),
        ]
    bars = frame.melt(
        id_vars=["model", "memory"],
        value_vars=[f"over_facil_at_{p}_percent" for p in PROMPTS],
        var_name="prompt",
        value_name="excess",
    )
    bars = bars[bars["model"] == MODELS[0]]
    bars["prompt"] = "prompt " + bars["prompt"].str.extract(r"(\d+)", expand=False)
    bars["memory"] = bars["memory"].str.replace(", ", "\n").str.replace(" (", "\n(")
    return Report(
        name="lpddr6",
        question="What if the phone had more memory bandwidth?",
        tables={"memories": frame},
        checks=checks,
        figures={
            "lpddr6": lambda: grouped_bars(
                bars, x="memory", y="excess", series="prompt", title=f"{MODELS[0]}: double buffering",
                x_label="", y_label="time to first token over FACIL's (%)",
            )
        },
        leaves_out=(BEYOND, *LEAVES_OUT, "what of LPDDR6 is not its bandwidth: timings, refresh, power"),
    )  # fmt: skip
