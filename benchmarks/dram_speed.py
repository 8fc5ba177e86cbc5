"""How fast is the DRAM engine, and how does that compare with other simulators? Writes results.md.

One channel, one core, processor time, warm, the fastest of some runs (other work on the machine only adds to
it): address mapping, scheduling and statistics of `replay_requests`, every command stepped through; streams
with exact skipping; lists of growing length.
"""

from __future__ import annotations

import argparse
import os
import platform
import resource
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

import numba
import numpy as np

from pimsim.devices import DramSpec, part
from pimsim.devices.dram.controllers import CONTROLLERS
from pimsim.devices.dram.replay import default_mapping, replay_blocks, replay_requests
from pimsim.devices.dram.requests import Requests
from pimsim.devices.dram.stream import Phase, Stream, run_stream

PARTS = ("lpddr5-6400-16gb-x16", "ddr4-3200-8gb-x8", "hbm2-2000-8gb-x64", "hbm3-6400-16gb-x32")
KINDS = ("random", "sequential", "mixed 2:1", "isolated")
CONTROLLER = CONTROLLERS["ramulator2"].controller
SPAN_BYTES = 2**30
MIX_STRIDE = 65
GAP_CK = 1000
RUNS = 9
BLOCK = 1_000_000
STREAM_BURSTS = 10**9
# Thousand requests a second of Ramulator 2.1 (commit c5b1c3a), one million requests of the same kind, refresh
# on, on a shared machine with two cores: processor time of the process. Isolated: 20 000 reads, 1000 clocks
# apart.
RAMULATOR = {
    "lpddr5": (88, 172, 111, None),
    "ddr4": (84, 148, 130, 24),
    "hbm2": (113, 317, 146, None),
    "hbm3": (79, 159, 96, None),
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


def traffic(kind: str, n: int, burst_bytes: int, first: int = 0, seed: int = 0) -> Requests:
    """`n` requests, reads unless mixed (every third a write), offered as early as the queues take them."""
    rng = np.random.default_rng(seed)
    at = np.arange(first, first + n, dtype=np.int64)
    bursts = SPAN_BYTES // burst_bytes
    stride = {"sequential": 1, "mixed 2:1": MIX_STRIDE}.get(kind)
    where = rng.integers(bursts, size=n) if stride is None else at * stride % bursts
    return Requests(
        arrive=at * GAP_CK if kind == "isolated" else np.zeros(n, np.int64),
        write=(at % 3 == 2).astype(np.int64) if kind == "mixed 2:1" else np.zeros(n, np.int64),
        address=where * burst_bytes,
    )


def blocks(kind: str, n: int, burst_bytes: int) -> Iterator[Requests]:
    """`traffic` in blocks, made when they are asked for."""
    for first in range(0, n, BLOCK):
        yield traffic(kind, min(BLOCK, n - first), burst_bytes, first, first)


def measure(spec: DramSpec, kind: str, n: int) -> tuple[float, int]:
    """(requests a second of processor time, clocks simulated)."""
    requests = traffic(kind, n, spec.geometry.burst_bytes)
    taken, cycles = [], 0
    for _ in range(RUNS):
        start = time.process_time()
        cycles = replay_requests(requests, spec, controller=CONTROLLER).cycles
        taken.append(time.process_time() - start)
    return n / min(taken), cycles


def growing(kind: str, largest: int) -> list[tuple[int, float, float]]:
    """(requests, processor time a request in ns, most memory of the process so far in MiB)."""
    spec = part("ddr4-3200-8gb-x8", DramSpec)
    rows, n = [], 10_000
    while n <= largest:
        runs, simulated = max(1, 100_000 // n), 0.0
        for _ in range(runs):
            made = blocks(kind, n, spec.geometry.burst_bytes)
            held = list(made) if n <= BLOCK else made
            lost = 0.0  # making the requests does not count
            if n > BLOCK:
                start = time.process_time()
                for _block in blocks(kind, BLOCK, spec.geometry.burst_bytes):
                    pass
                lost = (time.process_time() - start) * n / BLOCK
            start = time.process_time()
            replay_blocks(held, spec, controller=CONTROLLER)
            simulated += time.process_time() - start - lost
        memory = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
        rows.append((n, simulated / runs / n * 1e9, memory))
        n *= 10
    return rows


def stream_rate(spec: DramSpec, bursts: int, skip: bool) -> tuple[float, float]:
    """(bursts a second of processor time, share of the clocks that was skipped) of a sequential reader."""
    burst = spec.geometry.burst_bytes
    phase = Phase(bursts=1 << 40, loops=((1 << 40, burst),))
    reader = Stream(kind="read", phases=(phase,), bursts=bursts, window=64, gap_ps=0.0, path_ns=50.0)
    taken, share = [], 0.0
    for _ in range(3):
        start = time.process_time()
        done = run_stream(spec, CONTROLLER, default_mapping(spec.geometry), reader, skip=skip)
        taken.append(time.process_time() - start)
        share = done.skipped / done.cycles
    return bursts / min(taken), share


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


def report(n: int, largest: int) -> str:
    """The whole of results.md."""
    specs = [part(name, DramSpec) for name in PARTS]
    for spec in specs:  # compile
        measure(spec, "random", 100)
        stream_rate(spec, 20_000, True)
    lines = [
        "# Speed of the DRAM engine",
        "",
        f"One core, processor time, warm, the fastest of {RUNS} runs. Written by `make bench` (Python "
        f"{platform.python_version()}, Numba {numba.__version__}, NumPy {np.__version__}, "
        f"{platform.machine()}).",
        "",
        "## Requests, every command stepped through",
        "",
        f"{n:,} requests on one channel, refresh on, the controller `ramulator2`, which gives the clocks of "
        "Ramulator 2.1.",
        "",
        "| part | traffic | thousand requests/s | million clocks/s | Ramulator 2.1 | times |",
        "| --- | --- | ---: | ---: | ---: | ---: |",
    ]
    for spec in specs:
        for kind, peer in zip(KINDS, RAMULATOR[spec.family], strict=True):
            count = n // 5 if kind == "isolated" else n
            rate, cycles = measure(spec, kind, count)
            times = f"{rate / 1000 / peer:.1f}" if peer else "-"
            clocks = cycles * rate / count / 1e6
            lines.append(
                f"| {spec.name} | {kind} | {rate / 1000:,.0f} | {clocks:,.1f} | {peer or '-'} | {times} |"
            )
    lines += [
        "",
        "- random: uniform reads over 1 GiB. sequential: consecutive reads. mixed 2:1: read, read, write",
        f"  with a stride of {MIX_STRIDE} bursts. isolated: random reads {GAP_CK} clocks apart",
        f"  ({n // 5:,} of them).",
        "- Queues of 32, open rows; addresses row, bank, bank group and column from the top.",
        "- Ramulator 2.1 (commit c5b1c3a), same traffic and controller, was measured on a machine of the",
        "  same kind at another time: a ratio is good to about a quarter. On isolated reads of DDR4-3200",
        "  Ramulator ticks 25, DRAMsim3 4.8 and the event-driven DRAMSys 267 million clocks a second.",
        "",
        "## Streams, with exact skipping",
        "",
        f"One reader of {STREAM_BURSTS:.0e} consecutive bursts, 64 in flight; the counters are those of the "
        "stepped run (`tests/devices/test_skip.py`).",
        "",
        "| part | million bursts/s, skipped | stepped | times | clocks skipped [%] | times Ramulator 2.1 |",
        "| --- | ---: | ---: | ---: | ---: | ---: |",
    ]
    for spec in specs:
        rate, share = stream_rate(spec, STREAM_BURSTS, True)
        stepped, _ = stream_rate(spec, 3 * n, False)
        peer = RAMULATOR[spec.family][1]
        lines.append(
            f"| {spec.name} | {rate / 1e6:,.0f} | {stepped / 1e6:,.1f} | {rate / stepped:,.0f} | "
            f"{share * 100:.4f} | {rate / 1e3 / (peer or 1):,.0f} |"
        )
    lines += [
        "",
        "## Length of the list",
        "",
        f"DDR4-3200, requests in blocks of {BLOCK:,}, made as they are needed.",
        "",
        "| traffic | requests | ns a request | most memory [MiB] |",
        "| --- | ---: | ---: | ---: |",
    ]
    for kind, most in (("sequential", largest), ("random", largest // 10)):
        lines += [f"| {kind} | {n:,} | {ns:.0f} | {mib:.0f} |" for n, ns, mib in growing(kind, most)]
    cold, cached = first_replay()
    lines += [
        "",
        "## Compile time",
        "",
        f"First replay in a new process: {cold:.1f} s with nothing compiled, {cached:.2f} s from the cache.",
        "",
    ]
    return "\n".join(lines)


def main() -> None:
    options = argparse.ArgumentParser(description=__doc__)
    options.add_argument("--requests", type=int, default=1_000_000)
    options.add_argument("--largest", type=int, default=100_000_000, help="longest list")
    options.add_argument("--out", type=Path, default=Path(__file__).with_name("results.md"))
    given = options.parse_args()
    text = report(given.requests, given.largest)
    given.out.write_text(text, encoding="utf-8")
    print(text)


if __name__ == "__main__":
    main()
