"""How close to the ideal first token do software copies stay on machines with more arithmetic per byte?"""

from collections.abc import Callable
from dataclasses import replace

import pandas as pd

from experiments.pim_sherpa.setting import READ
from pimsim.checks import Check, Tolerance
from pimsim.engines import price
from pimsim.engines.rates import rate, relayout_s
from pimsim.methods import load_method
from pimsim.methods.plan import Gemm
from pimsim.report.curves import line_chart
from pimsim.report.report import Report
from pimsim.run import prefill_run
from pimsim.run_engine import work_of_task
from pimsim.system import System, load_system
from pimsim.trace.llm import load_config, prefill_trace

MODEL, PROMPT = "llama-3.2-1b", 128
FLOP_PER_BYTE = (50, 100, 128, 190, 200, 300, 500, 1000, 2000)
STEPPED_AT = 190
THIRD = 1 / 3
OVERLAP_AT, SERIAL_AT = 190, 128
BYTES = 2  # of a weight
PHONE, ORIN = "phone", "orin"
HOSTS = {PHONE: "exynos2400", ORIN: "jetson-orin"}
"""Whose channels move the bytes. The section is about Jetson and Blackwell, so its statement is held against
the board; the phone's controller holds 32 writes, a quarter of the board's, and turns its bus more often."""


def run(progress: Callable[[float, str], None]) -> Report:
    """The paper's model, ours (products and copies on a GPU, rates of two hosts' channels), a run in time."""
    rows, curves = [], []
    for i, ratio in enumerate(FLOP_PER_BYTE):
        progress(0.5 * i / len(FLOP_PER_BYTE), f"{ratio} FLOP/B")
        row = {"flop_per_byte": ratio} | _model(ratio)
        for host in HOSTS:
            row |= _ours(host, engine_of(ratio, host))
        rows.append(row)
        curves += [
            {
                "flop_per_byte": ratio,
                "series": f"{whose}, {how}",
                "share_percent": row[f"{key}_{how}_percent"],
            }
            for whose, key in (
                ("paper's model", "model"),
                ("channels of Orin", ORIN),
                ("of the phone", PHONE),
            )
            for how in ("overlap", "serial")
        ]
    frame, drawn = pd.DataFrame(rows), pd.DataFrame(curves)
    progress(0.5, "in time")
    stepped = _in_time(engine_of(STEPPED_AT, PHONE))
    progress(1.0, "done")
    return Report(
        name="high-flop",
        question="How close to the ideal first token do software copies stay with more arithmetic per byte?",
        tables={
            "share-of-ideal": frame,
            "rates": pd.DataFrame([_rates(host) for host in HOSTS]),
            f"in-time-at-{STEPPED_AT}": pd.DataFrame([stepped]),
        },
        checks=_checks(frame, stepped),
        figures={
            "share-of-ideal": lambda: line_chart(
                drawn,
                x="flop_per_byte",
                y="share_percent",
                series="series",
                title=f"Ideal over actual time to the first token, prompt {PROMPT}",
                x_label="peak arithmetic over memory bandwidth [FLOP/B]",
                y_label="share of the ideal [%]",
                log_x=True,
            )
        },
        leaves_out=(
            "products at their peak: no efficiency, no launches; attention and norms take no time in `model`",
            "copies by the GPU itself or a DMA engine, which fill the channels; the phone's two copy threads "
            "reach 2 GB/s and would be the limit from 4 FLOP/B on",
            f"{MODEL} only: the shares do not depend on the model where all its matrices are alike",
        ),
    )


def engine_of(flop_per_byte: float, host: str) -> System:
    """A host whose GPU has so much arithmetic over the memory's peak; caches and bytes in flight stay."""
    system = load_system(HOSTS[host])
    tflops = flop_per_byte * system.peak_bytes_per_s / 1e12
    assert system.gpu is not None
    gpu = replace(
        system.gpu,
        name=f"gpu-{flop_per_byte}",
        source="made up: the study's free parameter",
        peak_tflops={"fp16": tflops},
        vector_tflops=tflops,
        matmul_efficiency=1.0,
        launch_us=0.0,
        grain_rows=1,
        grain_cols=1,
    )
    return replace(system, name=f"{host}-with-{gpu.name}", gpu=gpu, npu=None)


def _rates(host: str) -> dict[str, object]:
    """What the GPU reaches of the peak bandwidth: reads of weights, and copies (reads and writes)."""
    system = engine_of(STEPPED_AT, host)
    return {
        "host": HOSTS[host],
        "peak_GBps": system.peak_bytes_per_s / 1e9,
        "reads_percent": 100 * rate(system, "gpu", "read") / system.peak_bytes_per_s,
        "copies_percent": 100 * rate(system, "gpu", "relayout") / system.peak_bytes_per_s,
    }


def _model(ratio: float) -> dict[str, float]:
    """The paper's: products at the peak, copies that read and write every weight at the peak bandwidth."""
    copy_over_product = 2 * BYTES * ratio / (2 * PROMPT)
    return {
        "model_overlap_percent": 100 / max(1.0, copy_over_product),
        "model_serial_percent": 100 / (1 + copy_over_product),
    }


def _ours(host: str, system: System) -> dict[str, float]:
    """Products that read their weights at the GPU's rate, beside or after copies at the channels' rate.

    Side by side they share the channels: a stage takes the longer of its arithmetic and all of its traffic.
    """
    ideal = overlap = serial = 0.0
    plan = load_method("facil").plan(prefill_trace(load_config(MODEL), PROMPT), system)
    for segment in plan.segments:
        for task in segment.tasks:
            if not isinstance(task.work, Gemm) or task.work.m == 1:
                continue
            cost = price(system, "gpu", work_of_task(task))
            assert cost is not None
            copy = relayout_s(system, "gpu", task.work.n * task.work.k * BYTES)
            compute, memory = cost.compute_ps * 1e-12, cost.memory_ps * 1e-12
            ideal += segment.times * max(compute, memory)
            overlap += segment.times * max(compute, memory + copy)
            serial += segment.times * (max(compute, memory) + copy)
    return {f"{host}_overlap_percent": 100 * ideal / overlap, f"{host}_serial_percent": 100 * ideal / serial}


def _in_time(system: System) -> dict[str, float]:
    """Whole prefills in time: streams of products and copies meet in the channels."""
    seconds = {
        name: prefill_run(MODEL, name, PROMPT, system, "gpu", copies_on_engine=True).duration_ps * 1e-12
        for name in ("facil", "double-buffering", "online-rearrangement")
    }
    return {
        "ideal_ms": seconds["facil"] * 1e3,
        "double_buffering_ms": seconds["double-buffering"] * 1e3,
        "online_rearrangement_ms": seconds["online-rearrangement"] * 1e3,
        "overlap_percent": 100 * seconds["facil"] / seconds["double-buffering"],
        "serial_percent": 100 * seconds["facil"] / seconds["online-rearrangement"],
    }


def third_at(how: str) -> float:
    """F/B at which the paper's model gives a third of the ideal, by bisection."""
    low, high = 1.0, 1e5
    while high - low > 1e-6 * high:
        middle = (low + high) / 2
        low, high = (middle, high) if _model(middle)[f"model_{how}_percent"] > 100 * THIRD else (low, middle)
    return high


def _checks(frame: pd.DataFrame, stepped: dict[str, float]) -> list[Check]:
    checks = [
        Check(
            quantity=f"F/B at which prompt {PROMPT} takes three times the ideal",
            setting=f"paper's model, {how}",
            ours=third_at(how),
            expected=expected,
            unit="FLOP/B",
            tolerance=Tolerance(rel=0.2),
            source=f"derived from {READ}: about 1/3 of the ideal",
        )
        for how, expected in (("overlap", OVERLAP_AT), ("serial", SERIAL_AT))
    ]
    at = frame.set_index("flop_per_byte")
    for how, where in (("overlap", OVERLAP_AT), ("serial", SERIAL_AT)):
        checks.append(
            Check(
                quantity="share of the ideal with the rates of the channels",
                setting=f"{HOSTS[ORIN]}, {how}, {where} FLOP/B",
                ours=float(at.loc[where, f"{ORIN}_{how}_percent"]),
                expected=100 * THIRD,
                unit="%",
                tolerance=Tolerance(rel=0.2),
                source=f"derived from {READ}: about 1/3 of the ideal",
            )
        )
    checks.append(
        Check(
            quantity="share of the ideal, run in time over the stage-by-stage sum",
            setting=f"{HOSTS[PHONE]}, overlap, {STEPPED_AT} FLOP/B",
            ours=stepped["overlap_percent"] / float(at.loc[STEPPED_AT, f"{PHONE}_overlap_percent"]),
            expected=1.0,
            tolerance=Tolerance(rel=0.2),
            source="the same mechanism, once as a sum and once as streams that meet in the channels",
        )
    )
    falls = all(frame[name].is_monotonic_decreasing for name in frame if name != "flop_per_byte")
    checks.append(
        Check(
            quantity="the share never rises with F/B",
            setting="all",
            ours=falls,
            source="expected: copies stay",
        )
    )
    return checks
