"""How fast are PIM programs, and how does that compare with other simulators? Writes `results_pim.md`.

Processor time of compiling an operation and running its program, warm, the fastest of nine runs. Other
simulators: user CPU seconds of their whole process on a shared machine with two cores, medians of 3
(SAITPublic/PIMSimulator b464dde, arkhadem/aim_simulator 0f28a07): ratios are good to about a quarter.
"""

from __future__ import annotations

import platform
import time
from collections.abc import Callable

import numba
import numpy as np
from write_up import write_up

from pimsim.devices import DramSpec, PimSpec, part
from pimsim.devices.dram.channel import Controller
from pimsim.devices.pim.compile import compile_gemv
from pimsim.devices.pim.kernel import time_kernel

RUNS = 9
OTHERS = {"hbm-pim-2000": ("PIMSimulator", 3.08), "gddr6-aim": ("aim_simulator", 0.19)}
"""Seconds of a GEMV of 4096 x 4096 on as many channels as here."""
WANTED = {("hbm-pim-2000", "every"): 50, ("hbm-pim-2000", "skipped"): 300, ("gddr6-aim", "every"): 20}
"""How many times as fast the project promises to be."""
LLAMA_3B = [(3072, 3072), (1024, 3072), (1024, 3072), (3072, 3072), (8192, 3072), (8192, 3072), (3072, 8192)]
"""Linear layers of one of 28 blocks of Llama 3.2 3B: rows and columns; then the head once a token."""
HEAD = (128256, 3072)


def seconds(run: Callable[[], object]) -> float:
    """Least processor time, warm."""
    run()
    taken = []
    for _ in range(RUNS):
        start = time.process_time()
        run()
        taken.append(time.process_time() - start)
    return min(taken)


def gemv(name: str, rows: int, cols: int, *, channels: int = 1, skip: bool = False) -> float:
    """Seconds of compiling and running a GEMV on `channels` channels, one after the other."""
    pim = part(name, PimSpec)
    dram = part(pim.dram, DramSpec)
    dtype = next(iter(pim.weight_dtypes))

    def run() -> None:
        kernel = compile_gemv(pim, dram, rows, cols, dtype)
        for _ in range(channels):
            time_kernel(dram, pim, Controller(), kernel, skip=skip)

    return seconds(run)


def token() -> float:
    """Seconds of every matrix of a decoded token of Llama 3.2 3B, each stepped through, none remembered."""
    pim = part("lpddr5x-pim-8533", PimSpec)
    dram = part(pim.dram, DramSpec)

    def run() -> None:
        for rows, cols in [*LLAMA_3B * 28, HEAD]:
            time_kernel(dram, pim, Controller(), compile_gemv(pim, dram, rows, cols, "bf16"))

    return seconds(run)


def report() -> str:
    lines = [
        "# Speed of PIM programs",
        "",
        "One core, processor time of compiling and running a GEMV of 4096 x 4096, warm, the fastest of "
        f"{RUNS} runs. Written by",
        f"`make bench` (Python {platform.python_version()}, Numba {numba.__version__}, NumPy "
        f"{np.__version__}, {platform.machine()}).",
        "Other simulators: user CPU seconds of their process on a machine of the same kind at another time;",
        "a ratio is good to about a quarter.",
        "",
        "| part | how | ms | other simulator [s] | times as fast | wanted |",
        "| --- | --- | ---: | --- | ---: | ---: |",
    ]
    for name, (other, theirs) in OTHERS.items():
        channels = part(name, PimSpec).channels
        for key, how, ours in (
            ("every", f"all {channels} channels, every command", gemv(name, 4096, 4096, channels=channels)),
            ("folded", "channels in lockstep folded into one", gemv(name, 4096, 4096)),
            ("skipped", "folded, periods skipped", gemv(name, 4096, 4096, skip=True)),
        ):
            wanted = WANTED.get((name, key))
            lines.append(
                f"| {name} | {how} | {ours * 1e3:.2f} | {other}, {theirs} | {theirs / ours:,.0f} | "
                f"{'' if wanted is None else wanted} |"
            )
    lines += [
        "",
        "A token of Llama 3.2 3B on lpddr5x-pim-8533, 197 products, every command of a channel: "
        f"{token():.2f} s (wanted: below 1).",
    ]
    return "\n".join([*lines, ""])


if __name__ == "__main__":
    write_up(report, __doc__, "results_pim.md")
