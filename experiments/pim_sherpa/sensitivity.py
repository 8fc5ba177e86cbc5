"""Which calibrated constants do the conclusions hang on?"""

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

import pandas as pd

from experiments.pim_sherpa.setting import (
    HIDDEN_PERCENT,
    LEAVES_OUT,
    MODELS,
    READ,
    machine,
    seconds,
    with_constants,
)
from pimsim.checks import Check, Tolerance
from pimsim.report.curves import tornado
from pimsim.report.report import Report
from pimsim.run import decode_ps
from pimsim.system import System, Threads

COST_S = 200.0
EQUAL_PERCENT = HIDDEN_PERCENT[1]  # excess over FACIL up to which the paper calls both equal
PROMPTS = (64, 96, 128, 160, 192, 224, 256)
TOKENS = 192  # of the best speed-up, at prompt 64
QUANTITIES = {
    "excess_percent": "double buffering over FACIL\nat prompt 64 (%)",
    "threshold_tokens": "prompt from which copies\nare hidden (tokens)",
    "speedup": f"FACIL over the host alone,\n64 + {TOKENS} tokens (times)",
    "penalty_percent": "online rearrangement over\nFACIL at prompt 64 (%)",
}

CORE_CONSTANTS = ("gemm_efficiency", "nc_outstanding", "lines_outstanding", "cached_gbps")
THREADS_AND_FENCES = ("threads.spin_us", "copy split", "cores of copy threads", "system.fence_ns")
CPU_CONSTANTS = ("path_ns", "cluster_lines", "dispatch_us", "wake_us", "create_us", "attention_efficiency")


@dataclass(frozen=True, kw_only=True)
class Range:
    """One constant: the machine with its lower and with its higher setting, and what those are."""

    name: str
    low: System
    high: System
    low_text: str
    high_text: str


def ranges(system: System) -> list[Range]:
    """Every calibrated or estimated constant that moves a time: +-20 %, or the range that is plausible."""

    def cores(name: str, factor: float) -> System:
        held = [replace(core, **{name: _scaled(getattr(core, name), factor)}) for core in system.cpu.cores]
        return replace(system, cpu=replace(system.cpu, cores=tuple(held)))

    def cpu(name: str, factor: float) -> System:
        return with_constants(system, **{name: _scaled(getattr(system.cpu, name), factor)})

    def pim(**values: Any) -> System:
        assert system.pim is not None
        return replace(system, pim=replace(system.pim, **values))

    found = [
        Range(name=name, low=change(name, 0.8), high=change(name, 1.2), low_text="-20 %", high_text="+20 %")
        for change, names in (
            (cores, CORE_CONSTANTS),
            (cpu, CPU_CONSTANTS),
        )
        for name in names
    ]
    found += [
        Range(
            name="gemm_fill_rows", low=with_constants(system, cores={"gemm_fill_rows": 0}),
            high=with_constants(system, cores={"gemm_fill_rows": 64}), low_text="0", high_text="64",
        ),
        Range(name="pim.mode_ck", low=pim(mode_ck=8), high=pim(mode_ck=128), low_text="8", high_text="128"),
        Range(
            name="pim.mac_pipeline_ck", low=pim(mac_pipeline_ck=4), high=pim(mac_pipeline_ck=64),
            low_text="4", high_text="64",
        ),
        Range(
            name="system.fence_ns", low=system, high=replace(system, fence_ns=150.0),
            low_text="no fences", high_text="150",
        ),
        Range(
            name="threads.spin_us", low=system,
            high=replace(system, threads=replace(system.threads, spin_us=1250.0)),
            low_text="no polling", high_text="1250",
        ),
        Range(
            name="copy split", low=replace(system, threads=Threads()), high=system,
            low_text="pieces", high_text="equal shares",
        ),
        Range(
            name="cores of copy threads",
            low=replace(system, copy_cores=(4, 5), threads=Threads()), high=system,
            low_text="own, pieces", high_text="X4 shared",
        ),
    ]  # fmt: skip
    return found


def conclusions(model: str, system: System) -> dict[str, float]:
    """The four quantities, and the excess at prompt 128, on a machine."""
    facil, excess = {}, {}
    for p in PROMPTS:
        facil[p] = seconds(model, "facil", p, system)
        excess[p] = 100 * (seconds(model, "double-buffering", p, system) / facil[p] - 1)
        if p >= 128 and excess[p] <= EQUAL_PERCENT:
            break
    host = seconds(model, "host-only", 64, system)
    context = 64 + TOKENS // 2  # a step's time grows linearly with the context
    step = {m: decode_ps(model, m, context - 1, system) * 1e-12 for m in ("host-only", "facil")}
    first = {"host-only": host, "facil": facil[64]}
    total = {method: first[method] + (TOKENS - 1) * step[method] for method in step}
    rearranged = seconds(model, "online-rearrangement", 64, system)
    return {
        "excess_percent": excess[64],
        "threshold_tokens": _threshold(excess),
        "speedup": total["host-only"] / total["facil"],
        "penalty_percent": 100 * (rearranged / facil[64] - 1),
        "excess_at_128_percent": excess[128],
    }


def run(progress: Callable[[float, str], None]) -> Report:
    """Each constant at both ends of its range, everything else as it is, for both models."""
    system = machine()
    known = ranges(system)
    rows = []
    for i, model in enumerate(MODELS):
        progress(i / len(MODELS), model)
        base = conclusions(model, system)
        for j, constant in enumerate(known):
            progress((i + j / len(known)) / len(MODELS), f"{model}, {constant.name}")
            ends = {
                "low": conclusions(model, constant.low) if constant.low != system else base,
                "high": conclusions(model, constant.high) if constant.high != system else base,
            }
            for quantity in base:
                rows.append(
                    {
                        "model": model,
                        "constant": constant.name,
                        "settings": f"{constant.low_text} .. {constant.high_text}",
                        "quantity": quantity,
                        "base": base[quantity],
                        "low": ends["low"][quantity],
                        "high": ends["high"][quantity],
                    }
                )
    frame = pd.DataFrame(rows)
    ends = frame[["base", "low", "high"]]
    frame["swing"] = (ends.max(axis=1) - ends.min(axis=1)).round(6)
    return Report(
        name="sensitivity",
        question="Which calibrated constants do the conclusions hang on?",
        tables={"what-matters": _matters(frame), "constants": _wide(frame)},
        checks=_checks(frame),
        figures={f"tornado-{model}": (lambda model=model: _figure(frame, model)) for model in MODELS},
        leaves_out=(
            *LEAVES_OUT,
            "constants that move together: one at a time is changed",
            "address maps and the shape of PIM tiles, which are settings and no numbers",
        ),
    )


def _scaled(value: float, factor: float) -> float:
    """Whole numbers stay whole."""
    return round(value * factor) if isinstance(value, int) else value * factor


def _threshold(excess: dict[int, float]) -> float:
    """Prompt at which the excess falls to `EQUAL_PERCENT`, between simulated prompts in a straight line."""
    last: tuple[int, float] | None = None
    for prompt, value in excess.items():
        if value <= EQUAL_PERCENT:
            if last is None:
                return float(prompt)
            return float(last[0] + (last[1] - EQUAL_PERCENT) / (last[1] - value) * (prompt - last[0]))
        last = (prompt, value)
    return float(max(excess))  # not hidden within the prompts that were run


def _matters(frame: pd.DataFrame) -> pd.DataFrame:
    """The three constants that move each quantity most."""
    rows = []
    for (model, quantity), part in frame.groupby(["model", "quantity"], sort=False):
        if quantity not in QUANTITIES:
            continue
        most = part.sort_values("swing", ascending=False, kind="stable").head(3)
        rows.append(
            {
                "model": model,
                "quantity": quantity,
                "base": float(part["base"].iloc[0]),
                "moved_most_by": "; ".join(
                    f"{row.constant} ({row.low:.3g} .. {row.high:.3g})" for row in most.itertuples()
                ),
            }
        )
    return pd.DataFrame(rows)


def _wide(frame: pd.DataFrame) -> pd.DataFrame:
    rows = []
    for (model, constant, settings), part in frame.groupby(["model", "constant", "settings"], sort=False):
        row: dict[str, object] = {"model": model, "constant": constant, "settings": settings}
        for quantity in QUANTITIES:
            held = part[part["quantity"] == quantity].iloc[0]
            row[quantity.rpartition("_")[0] or quantity] = f"{held['low']:.3g} .. {held['high']:.3g}"
        rows.append(row)
    return pd.DataFrame(rows)


def _figure(frame: pd.DataFrame, model: str) -> Any:
    part = frame[(frame["model"] == model) & frame["quantity"].isin(list(QUANTITIES))]
    most = part.assign(share=part["swing"] / part["base"]).groupby("constant", sort=False)["share"].max()
    order = list(most.sort_values(ascending=False, kind="stable").index)
    part = part.sort_values("constant", key=lambda names: names.map(order.index), kind="stable")
    return tornado(
        part.assign(quantity=part["quantity"].map(QUANTITIES)), title=f"{model}: what each constant moves"
    )


def _checks(frame: pd.DataFrame) -> list[Check]:
    """Conclusions that must hold at both ends of every calibrated constant (threads and fences set aside)."""
    numbers = frame[~frame["constant"].isin(list(THREADS_AND_FENCES))]
    checks = []
    for model in MODELS:
        at = numbers[numbers["model"] == model].set_index(["quantity", "constant"])[["low", "high"]]

        def more(quantity: str, than: str, at: pd.DataFrame = at) -> bool:
            """Whether it holds at each end, both quantities taken at the same end."""
            return bool((at.loc[quantity].to_numpy() > at.loc[than].to_numpy()).all())

        checks.append(
            Check(
                quantity="double buffering is further from FACIL at prompt 64 than at 128",
                setting=f"{model}, any constant at either end",
                ours=more("excess_percent", than="excess_at_128_percent"),
                source=READ,
            )
        )
        checks.append(
            Check(
                quantity="online rearrangement stays slower than double buffering at prompt 64",
                setting=f"{model}, any constant at either end",
                ours=more("penalty_percent", than="excess_percent"),
                source=READ,
            )
        )
        checks.append(
            Check(
                quantity="PIM with FACIL stays at least twice as fast as the host alone",
                setting=f"{model}, 64 + {TOKENS} tokens, any constant at either end",
                ours=float(at.loc["speedup"].to_numpy().min()),
                unit="x",
                tolerance=Tolerance(low=2.0),
                source="robustness: well above the host alone",
            )
        )
    return checks
