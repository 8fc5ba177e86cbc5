"""Does any traffic under any controller break a timing rule of any part? Writes legality.md.

Random and adversarial requests run through every part of the catalog under every controller preset and
refresh mode; the independent auditor reads every command. A run is some ten thousand requests; runs with new
seeds go on until the wanted number of commands is reached.
"""

from __future__ import annotations

import argparse
import itertools
import time
from collections import Counter
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np

from pimsim.devices import DramSpec, parts
from pimsim.devices.dram.audit import audit
from pimsim.devices.dram.bank_machines import BankMachines
from pimsim.devices.dram.channel import Controller
from pimsim.devices.dram.controllers import CONTROLLERS, AnyController
from pimsim.devices.dram.replay import replay_requests
from pimsim.devices.dram.requests import Requests

REFRESH_TIMINGS = {"none": "", "all_bank": "REFI", "per_bank": "REFIpb", "same_bank": "REFIsb"}
TRAFFIC = (
    "random", "sequential", "two rows of a bank", "one bank group", "rank after rank", "writes",
    "bursts and gaps", "strides",
)  # fmt: skip
POSTPONED = 3
"""Refreshes that may wait: what the standards of all families allow."""


def traffic(kind: str, spec: DramSpec, n: int, rng: np.random.Generator) -> Requests:
    """`n` requests of a kind, which the default mapping takes to the banks that the name says."""
    g = spec.geometry
    burst, row = g.burst_bytes, g.bursts_per_row  # bursts a row: the banks of a group follow each other above
    groups, banks, ranks = g.bank_groups, g.banks_per_group, g.ranks
    size = g.channel_bytes // burst
    bank_step, rank_step = row * groups, row * groups * banks
    arrive, writes = np.zeros(n, np.int64), 0.3
    if kind == "sequential":
        where = np.arange(n) + rng.integers(size // 2)
    elif kind == "two rows of a bank":
        where = rng.integers(2, size=n) * rank_step * ranks + rng.integers(row, size=n)
    elif kind == "one bank group":
        rows = rng.integers(3, size=n) * rank_step * ranks
        where = rows + rng.integers(banks, size=n) * bank_step + rng.integers(row, size=n)
    elif kind == "rank after rank":
        where = np.arange(n) % ranks * rank_step + rng.integers(groups * row, size=n)
        arrive = np.cumsum(rng.integers(0, 4, size=n))
    elif kind == "bursts and gaps":
        where = rng.integers(size, size=n)
        arrive = np.cumsum(np.where(rng.random(n) < 0.02, rng.integers(5000, size=n), 0))
    elif kind == "strides":
        where = np.arange(n) * int(rng.choice([row, row * groups, 65, rank_step, 3]))
    else:
        where = rng.integers(size, size=n)
        writes = 1.0 if kind == "writes" else 0.5
    return Requests(
        arrive=arrive,
        write=(rng.random(n) < writes).astype(np.int64),
        address=where.astype(np.int64) % size * burst,
    )


def controllers(spec: DramSpec) -> Iterator[AnyController]:
    """Every preset with every refresh mode that it and the part have, some with refreshes postponed."""
    for preset in CONTROLLERS.values():
        held = preset.controller
        if spec.family == "hbm3" and not isinstance(held, Controller):
            continue  # half clocks on the command bus are not modelled there
        for refresh, timing in REFRESH_TIMINGS.items():
            if timing and timing not in spec.timings:
                continue
            if not isinstance(held, Controller | BankMachines) and refresh not in ("none", "all_bank"):
                continue
            if isinstance(held, BankMachines) and refresh == "same_bank":
                continue
            made = replace(held, refresh=refresh)
            yield made
            if isinstance(made, Controller) and refresh == "all_bank":
                yield replace(made, postpone=POSTPONED)
                yield replace(made, queues="unified")


def soak(commands: int, n: int, seed: int) -> tuple[Counter[str], int, int, list[str]]:
    """(commands by name, runs, requests, broken rules in words) of at least so many commands."""
    specs = [value for value in parts().values() if isinstance(value, DramSpec)]
    every = [(spec, held) for spec in specs for held in controllers(spec)]
    counts: Counter[str] = Counter()
    runs = requests = 0
    broken: list[str] = []
    start = time.perf_counter()
    for turn in itertools.count():
        rng = np.random.default_rng([seed, turn])
        order = rng.permutation(len(every))
        for k in order:
            if counts.total() >= commands:
                return counts, runs, requests, broken
            spec, held = every[k]
            kind = TRAFFIC[int(rng.integers(len(TRAFFIC)))]
            window = int(rng.choice([0, 0, 0, 1, 7]))
            done = replay_requests(
                traffic(kind, spec, n if window == 0 else n // 5, rng), spec, controller=held, window=window,
                log=True,
            )  # fmt: skip
            assert done.commands is not None
            found = audit(done.commands, spec)
            for rule in found["rule"].head(3):
                broken.append(f"{spec.name}, {held}, {kind}, window {window}: {rule}")
            counts.update(done.counts)
            runs += 1
            requests += done.requests
            if runs % 100 == 0:
                rate = counts.total() / (time.perf_counter() - start)
                print(
                    f"{counts.total():,} commands, {runs} runs, {len(broken)} broken, {rate:,.0f}/s",
                    flush=True,
                )
    raise AssertionError


def report(commands: int, n: int, seed: int) -> str:
    """The whole of legality.md."""
    counts, runs, requests, broken = soak(commands, n, seed)
    names = [value.name for value in parts().values() if isinstance(value, DramSpec)]
    lines = [
        "# Legality of the DRAM engine",
        "",
        f"{counts.total():,} commands of {requests:,} requests in {runs:,} runs (seed {seed}):",
        f"{len(names)} parts, {len(CONTROLLERS)} controllers, all refresh modes, {len(TRAFFIC)} kinds of "
        "traffic. Written by `make legality`.",
        "",
        f"**Broken rules: {len(broken)}**",
        "",
        *(f"- {each}" for each in broken),
        "| command | issued |",
        "| --- | ---: |",
        *(f"| {name} | {count:,} |" for name, count in sorted(counts.items())),
        "",
        f"Traffic: {', '.join(TRAFFIC)}; windows of 1, 7 and no limit.",
        "",
    ]
    return "\n".join(lines)


def main() -> None:
    options = argparse.ArgumentParser(description=__doc__)
    options.add_argument("--commands", type=int, default=100_000_000)
    options.add_argument("--requests", type=int, default=20_000, help="requests a run")
    options.add_argument("--seed", type=int, default=0)
    options.add_argument("--out", type=Path, default=Path(__file__).with_name("legality.md"))
    given = options.parse_args()
    text = report(given.commands, given.requests, given.seed)
    given.out.write_text(text, encoding="utf-8")
    print(text)


if __name__ == "__main__":
    main()
