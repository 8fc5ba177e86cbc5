"""How fast are PIM programs, and how does that compare with other simulators? Prints a table.

Processor time of compiling an operation and running its program, warm, the median of seven runs. Other
simulators: user CPU seconds of their whole process on a shared machine with two cores, medians of 3
(SAITPublic/PIMSimulator b464dde, arkhadem/aim_simulator 0f28a07): ratios are good to about a quarter.
"""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable

from pimsim.devices import DramSpec, PimSpec, part
from pimsim.devices.dram.channel import Controller
from pimsim.devices.pim.compile import compile_gemv
from pimsim.devices.pim.kernel import time_kernel

RUNS = 7
OTHERS = {"hbm-pim-2000": 3.08, "gddr6-aim": 0.19}
"""Seconds of a GEMV of 4096 x 4096 on as many channels as here."""
LLAMA_3B = [(3072, 3072), (1024, 3072), (1024, 3072), (3072, 3072), (8192, 3072), (8192, 3072), (3072, 8192)]
"""Linear layers of one of 28 blocks of Llama 3.2 3B: rows and columns; then the head once a token."""
HEAD = (128256, 3072)


def seconds(run: Callable[[], object]) -> float:
    """Median processor time, warm."""
    run()
    taken = []
    for _ in range(RUNS):
        start = time.process_time()
        run()
        taken.append(time.process_time() - start)
    return statistics.median(taken)


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


def main() -> None:
    for name, theirs in OTHERS.items():
        channels = part(name, PimSpec).channels
        for how, ours in (
            (f"all {channels} channels, every command", gemv(name, 4096, 4096, channels=channels)),
            ("channels folded into one", gemv(name, 4096, 4096)),
            ("folded, periods skipped", gemv(name, 4096, 4096, skip=True)),
        ):
            times = f"{ours * 1e3:9.2f} ms  {theirs / ours:7.0f} times as fast"
            print(f"{name:14} GEMV 4096 x 4096, {how:34} {times}")
    print(f"lpddr5x-pim-8533, a token of Llama 3.2 3B, every command of one channel: {token():.2f} s")


if __name__ == "__main__":
    main()
