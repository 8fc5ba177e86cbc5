"""How far the phone of PIM-SHERPA is from the bounds of the paper's statements, and a search for the middle.

Without arguments: the margin of each statement that the four constants below were fitted to. With
`--search N`: N rounds of a pattern search that moves one constant at a time by its step and keeps what raises
the smallest margin; prints the constants and the margins. Deterministic; a round takes about a minute.
"""

from __future__ import annotations

import argparse
import math
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from experiments.pim_sherpa.copy_cost import PAPER_DDB_COPY_S, PAPER_OWR_COPY_S, rearrangement_s
from experiments.pim_sherpa.setting import (
    COPY_SHARE,
    CRITICAL,
    CRITICAL_PERCENT,
    HIDDEN,
    HIDDEN_PERCENT,
    MODELS,
    RATE_SHARE,
    excess_percent,
    machine,
    seconds,
    with_constants,
)
from experiments.pim_sherpa.ttft import OWR_3B_192_TOKENS_PER_S, OWR_MINUS_FACIL_S
from pimsim.run import copy_only_run
from pimsim.system import System

STEPS = {"path_ns": 1.0, "create_us": 2.0, "gemm_efficiency": 0.005, "gemm_fill_rows": 2}
CORES = ("gemm_efficiency", "gemm_fill_rows")


def moved_to(system: System, values: dict[str, float]) -> System:
    """The machine with these values of the constants in `STEPS`."""
    cores = {name: value for name, value in values.items() if name in CORES}
    return with_constants(system, cores=cores, **{n: v for n, v in values.items() if n not in CORES})


def margins(system: System) -> dict[str, tuple[float, float]]:
    """Statement -> (value, distance to the nearest bound; below 0: missed).

    Distances of seconds and rates are shares of the half width of their band; those of percentages are points
    over half of the 3 that "equal" leaves.
    """
    found: dict[str, tuple[float, float]] = {}

    def near(name: str, value: float, expected: float, share: float) -> None:
        found[name] = value, 1 - abs(value / expected - 1) / share

    def percent(name: str, value: float, low: float, high: float = math.inf) -> None:
        found[f"{name} (%)"] = value, min(value - low, high - value) / (HIDDEN_PERCENT[1] / 2)

    rate = 192 / seconds("llama-3.2-3b", "online-rearrangement", 192, system)
    near("3B, rearrangement, prompt 192 (tokens/s)", rate, OWR_3B_192_TOKENS_PER_S, RATE_SHARE)
    for model in MODELS:
        rearranged = {p: seconds(model, "online-rearrangement", p, system) for p in (32, 64)}
        apart = rearranged[64] - seconds(model, "facil", 64, system)
        near(f"{model}: rearrangement minus FACIL (s)", apart, OWR_MINUS_FACIL_S[model], RATE_SHARE)
        copies = copy_only_run(model, 64, system)
        near(f"{model}: copies of double buffering (s)", copies, PAPER_DDB_COPY_S[model], COPY_SHARE)
        made = rearrangement_s(model, system)
        near(f"{model}: copies of rearrangement (s)", made, PAPER_OWR_COPY_S[model], COPY_SHARE)
        for prompt in CRITICAL:
            percent(
                f"{model}: over FACIL at {prompt}", excess_percent(model, prompt, system), *CRITICAL_PERCENT
            )
        first = HIDDEN[0]
        percent(f"{model}: over FACIL at {first}", excess_percent(model, first, system), *HIDDEN_PERCENT)
        order = seconds(model, "double-buffering", 32, system) / rearranged[32]
        percent(f"{model}: over rearrangement at 32", 100 * (order - 1), 0.0)
    return found


def smallest(system: System) -> float:
    """The margin that is next to be lost."""
    return min(margin for _, margin in margins(system).values())


def main() -> None:
    """Command line."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument(
        "--search", type=int, default=0, metavar="N", help="rounds of the search (default: none)"
    )
    rounds = parser.parse_args().search
    base = machine()
    values: dict[str, float] = {
        name: getattr(base.cpu.cores[0] if name in CORES else base.cpu, name) for name in STEPS
    }
    best = smallest(base)
    for number in range(rounds):
        tried = {}
        for name, step in STEPS.items():
            for move in (step, -step):
                moved = {**values, name: max(0, round(values[name] + move, 6))}
                tried[name, move] = smallest(moved_to(base, moved)), moved
        margin, moved = max(tried.values(), key=lambda found: found[0])
        if margin <= best:
            break
        best, values = margin, moved
        print(f"round {number + 1}: {values}, smallest margin {best:.3f}", flush=True)
    print(f"constants: {values}")
    for name, (value, margin) in margins(moved_to(base, values)).items():
        print(f"{name:50} {value:8.3f}   margin {margin:6.3f}")


if __name__ == "__main__":
    main()
