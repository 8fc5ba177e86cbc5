"""How fast is the DRAM engine, and how does that compare with other simulators? Writes results.md.

One channel, one core, every command stepped through; processor time of `replay_requests` (address mapping,
scheduling and statistics), warm, the median of three runs.
"""

from __future__ import annotations

import argparse
import os
import platform
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numba
import numpy as np

from pimsim.devices import DramSpec, part
from pimsim.devices.dram.channel import Controller
from pimsim.devices.dram.replay import replay_requests
from pimsim.devices.dram.requests import Requests

PARTS = ("lpddr5-6400-16gb-x16", "ddr4-3200-8gb-x8")
REFRESHES = ("none", "all_bank")
SPAN_BYTES = 2**30
MIX_STRIDE = 65
GAP_CK = 1000
RUNS = 3
# Thousand requests a second of Ramulator 2.1 (commit c5b1c3a), one million requests of the same kind, refresh
# on, on a shared machine with two cores: processor time of the process.
RAMULATOR = {
    ("lpddr5-6400-16gb-x16", "random"): 88,
    ("lpddr5-6400-16gb-x16", "sequential"): 172,
    ("lpddr5-6400-16gb-x16", "mixed 2:1"): 111,
    ("ddr4-3200-8gb-x8", "random"): 84,
    ("ddr4-3200-8gb-x8", "sequential"): 148,
    ("ddr4-3200-8gb-x8", "mixed 2:1"): 130,
    ("ddr4-3200-8gb-x8", "isolated"): 24,  # 20 000 reads, 1000 clocks apart, in 0.82 s
}
FIRST_REPLAY = """
import time
import numpy as np
from pimsim.devices import DramSpec, part
from pimsim.devices.dram.replay import replay_requests
from pimsim.devices.dram.requests import Requests
one = Requests(arrive=np.zeros(1, np.int64), write=np.zeros(1, np.int64), address=np.zeros(1, np.int64))
start = time.perf_counter()
replay_requests(one, part("ddr4-3200-8gb-x8", DramSpec))
print(time.perf_counter() - start)
"""


def controller(refresh: str) -> Controller:
    """The controller of the reference simulator: see tests/reference/dram."""
    return Controller(refresh=refresh, scheduler="ready_first")


def traffic(kind: str, n: int, burst_bytes: int) -> Requests:
    """`n` requests, reads unless mixed (every third a write), offered as early as the queues take them."""
    rng = np.random.default_rng(0)
    index = np.arange(n, dtype=np.int64)
    bursts = SPAN_BYTES // burst_bytes
    stride = {"sequential": 1, "mixed 2:1": MIX_STRIDE}.get(kind)
    where = rng.integers(bursts, size=n) if stride is None else index * stride % bursts
    return Requests(
        arrive=index * GAP_CK if kind == "isolated" else np.zeros(n, np.int64),
        write=(index % 3 == 2).astype(np.int64) if kind == "mixed 2:1" else np.zeros(n, np.int64),
        address=where * burst_bytes,
    )


def measure(name: str, refresh: str, kind: str, n: int) -> tuple[float, int]:
    """(requests a second of processor time, clocks simulated)."""
    spec = part(name, DramSpec)
    requests = traffic(kind, n, spec.geometry.burst_bytes)
    taken, cycles = [], 0
    for _ in range(RUNS):
        start = time.process_time()
        cycles = replay_requests(requests, spec, controller=controller(refresh)).cycles
        taken.append(time.process_time() - start)
    return n / statistics.median(taken), cycles


def first_replay() -> tuple[float, float]:
    """Seconds of the first replay in a new process: with nothing compiled yet, and with the cache."""
    with tempfile.TemporaryDirectory() as folder:
        environment = os.environ | {"NUMBA_CACHE_DIR": folder}
        cold, cached = (
            float(subprocess.run([sys.executable, "-c", FIRST_REPLAY], env=environment, check=True,
                                 capture_output=True, text=True).stdout)
            for _ in range(2)
        )  # fmt: skip
    return cold, cached


def report(n: int) -> str:
    """The whole of results.md."""
    for name in PARTS:  # compile
        measure(name, "all_bank", "random", 100)
    lines = [
        "# Speed of the DRAM engine",
        "",
        f"{n:,} requests on one channel, stepped command by command, one core; processor time, warm, median "
        f"of {RUNS} runs.",
        f"Written by `make bench` (Python {platform.python_version()}, Numba {numba.__version__}, NumPy "
        f"{np.__version__}, {platform.machine()}).",
        "",
        "| part | traffic | refresh | thousand requests/s | million clocks/s | times Ramulator 2.1 |",
        "| --- | --- | --- | ---: | ---: | ---: |",
    ]
    for name in PARTS:
        for kind in ("random", "sequential", "mixed 2:1", "isolated"):
            for refresh in REFRESHES:
                count = n // 5 if kind == "isolated" else n
                rate, cycles = measure(name, refresh, kind, count)
                peer = RAMULATOR.get((name, kind)) if refresh == "all_bank" else None
                times = f"{rate / 1000 / peer:.1f}" if peer else "-"
                clocks = cycles * rate / count / 1e6
                lines.append(
                    f"| {name} | {kind} | {refresh} | {rate / 1000:,.0f} | {clocks:,.1f} | {times} |"
                )
    cold, cached = first_replay()
    lines += [
        "",
        f"First replay in a new process: {cold:.1f} s with nothing compiled, {cached:.2f} s from the cache.",
        "",
        "- random: uniform reads over 1 GiB. sequential: consecutive reads. mixed 2:1: read, read, write",
        f"  with a stride of {MIX_STRIDE} bursts. isolated: random reads {GAP_CK} clocks apart",
        f"  ({n // 5:,} of them).",
        "- Queues of 32, first-ready first-come first-served, open rows; addresses row, bank, bank group and",
        "  column from the top.",
        "- Ramulator 2.1 (commit c5b1c3a), same traffic and controller, refresh on: 88 / 172 / 111 thousand",
        "  requests a second on LPDDR5-6400 and 84 / 148 / 130 on DDR4-3200 (random / sequential / mixed),",
        "  24 isolated. It was measured on a machine of the same kind at another time: the ratio is good to",
        "  about a quarter.",
        "",
    ]
    return "\n".join(lines)


def main() -> None:
    options = argparse.ArgumentParser(description=__doc__)
    options.add_argument("--requests", type=int, default=1_000_000)
    options.add_argument("--out", type=Path, default=Path(__file__).with_name("results.md"))
    given = options.parse_args()
    text = report(given.requests)
    given.out.write_text(text, encoding="utf-8")
    print(text)


if __name__ == "__main__":
    main()
