"""What does a step of UNPG training cost, and when does the class matrix want bandwidth?"""

from collections.abc import Callable
from dataclasses import replace

import pandas as pd

from pimsim.checks import Check, Tolerance
from pimsim.devices import DramSpec, NpuSpec, part
from pimsim.devices.npu.layer import gemm
from pimsim.devices.npu.network import layer_once, run_network
from pimsim.methods import METHODS
from pimsim.report.curves import line_chart
from pimsim.report.report import Report
from pimsim.run import run_plan
from pimsim.system import exynos2400
from pimsim.trace.training import (
    FaceStep,
    StepPart,
    gallery_trace,
    memory_bound_batch,
    memory_bound_identities,
)
from pimsim.trace.vision import vision_model

STEP = FaceStep(backbone="ir_resnet100", batch=512, identities=85_742, loss="unpg")
TRAINER = "tpu-like-128x128"
PHONE_NPU = "mobile-64x64"
SLICE = 4  # pictures that the backbone works on at once: 128 slices a step
BATCHES = (1, 4, 8, 512)
IDENTITIES = (10_000, 85_742, 1_000_000, 10_000_000)
CAPACITIES_GB = (16, 32, 80)
DERIVED = "derived from github.com/Jung-Jun-Uk/UNPG: B = 512, d = 512, 85 742 identities, IR-ResNet-100"


def run(progress: Callable[[float, str], None]) -> Report:
    """Parts of a step on an NPU; the logits on NPU, host and PIM; memory and limits by identities."""
    trainer = part(TRAINER, NpuSpec)
    parts = STEP.parts()
    network = run_network(trainer, vision_model(STEP.backbone), bits=16, stored_bits=16, images=SLICE)
    forward_s = network.time_ps * 1e-12 * STEP.batch / SLICE
    progress(0.4, "backbone")
    seconds = {each.name: _seconds(trainer, each, forward_s, parts[0].macs) for each in parts}
    rows = [
        {
            "part": each.name,
            "gmac": each.macs / 1e9,
            "traffic_mb": each.bytes / 1e6,
            "time_ms": seconds[each.name][0] * 1e3,
            "bound": seconds[each.name][1],
        }
        for each in parts
    ]
    progress(0.6, "logits")
    by_batch = _by_batch()
    head = sum(time for name, (time, _) in seconds.items() if "backbone" not in name)
    body = sum(time for name, (time, _) in seconds.items() if "backbone" in name)
    by_identities = pd.DataFrame([_at(count, head, body) for count in IDENTITIES])
    equal = round(STEP.identities * body / head)
    limits = pd.DataFrame(
        [
            {
                "memory_gb": size,
                "most_identities": STEP.most_identities(size * 10**9),
                "at_batch_64": replace(STEP, batch=64).most_identities(size * 10**9),
            }
            for size in CAPACITIES_GB
        ]
    )
    progress(1.0, "done")
    return Report(
        name="training-step",
        question="What does a step of UNPG training cost, and when does the class matrix want bandwidth?",
        tables={
            "step": pd.DataFrame(rows),
            "logits": by_batch,
            "identities": by_identities,
            "rooflines": _rooflines(),
            "capacity": limits,
        },
        checks=_checks(parts, by_batch, equal),
        figures={
            "logits": lambda: line_chart(
                by_batch.melt("batch", ["npu_ms", "host_ms", "pim_ms"], "platform", "time_ms"),
                x="batch",
                y="time_ms",
                series="platform",
                title=f"Logits of {STEP.identities} identities",
                x_label="embeddings",
                y_label="time [ms]",
                log_y=True,
            )
        },
        leaves_out=(
            f"backward pass of the backbone: forward pass on {TRAINER}, scaled with the multiply-adds",
            "parts that are not products: their traffic at the peak rate of the memory",
            "data loading, communication, norms and activations beside their tensors, rows that PIM pads",
            "PIM takes one embedding after the other; its products, not its gradients, are simulated",
            "identities other than 85 742: the class matrix's parts grow in a straight line",
        ),
    )


def _bytes_per_s(spec: NpuSpec) -> float:
    return part(spec.dram, DramSpec).peak_bytes_per_s * spec.channels


def _macs_per_s(spec: NpuSpec) -> float:
    return spec.rows * spec.cols / spec.mac16_ck * 1e15 / spec.tck_fs


def _seconds(spec: NpuSpec, work: StepPart, forward_s: float, forward_macs: int) -> tuple[float, str]:
    """Time of a part and what it waits for."""
    moved = work.bytes / _bytes_per_s(spec)
    if work.shape is not None:
        layer = replace(gemm(*work.shape, bits=16, stored_bits=16), out_bits=16)
        ran = layer_once(spec, layer, None)
        return ran.clocks * spec.tck_fs * 1e-15, "compute" if ran.utilisation > 0.5 else "bandwidth"
    if work.macs:
        return forward_s * work.macs / forward_macs, "compute"
    return moved, "bandwidth"


def _by_batch() -> pd.DataFrame:
    """The forward product of the class matrix on three platforms of a phone."""
    npu, system = part(PHONE_NPU, NpuSpec), exynos2400()
    single = METHODS["facil"].plan(gallery_trace(1, STEP.identities), system)
    pim_ms = run_plan(system, single).duration_ps * 1e-9
    rows = []
    for batch in BATCHES:
        layer = replace(gemm(batch, STEP.identities, STEP.dim, bits=16, stored_bits=16), out_bits=16)
        plan = METHODS["host-only"].plan(gallery_trace(batch, STEP.identities), system)
        times = {
            "npu_ms": layer_once(npu, layer, None).clocks * npu.tck_fs * 1e-12,
            "host_ms": run_plan(system, plan).duration_ps * 1e-9,
            "pim_ms": batch * pim_ms,
        }
        fastest = min(times, key=lambda name: times[name]).removesuffix("_ms")
        rows.append({"batch": batch, **times, "fastest": fastest})
    return pd.DataFrame(rows)


def _at(identities: int, head_s: float, body_s: float) -> dict[str, object]:
    held = replace(STEP, identities=identities).memory_bytes()
    head = head_s * identities / STEP.identities
    return {
        "identities": identities,
        "class_matrix_gb": held["class matrix"] / 1e9,
        "loss_gb": held["loss"] / 1e9,
        "backbone_gb": (held["backbone weights"] + held["activations"]) / 1e9,
        "class_time_ms": head * 1e3,
        "share_of_step_percent": 100 * head / (head + body_s),
    }


def _rooflines() -> pd.DataFrame:
    rows = []
    for name in (TRAINER, PHONE_NPU):
        spec = part(name, NpuSpec)
        rates = _macs_per_s(spec), _bytes_per_s(spec)
        for batch in (8, 64, 512):
            crossing = memory_bound_identities(replace(STEP, batch=batch), *rates)
            rows.append(
                {
                    "npu": name,
                    "batch": batch,
                    "step_memory_bound_from_identities": "never" if crossing is None else str(crossing),
                    "logits_memory_bound_to_batch": memory_bound_batch(STEP.identities, STEP.dim, *rates),
                }
            )
    return pd.DataFrame(rows)


def _checks(parts: tuple[StepPart, ...], by_batch: pd.DataFrame, equal: int) -> list[Check]:
    macs = {each.name: each.macs for each in parts}
    exact = [
        ("logits, forward", macs["logits"] / 1e9, 22.48, 0.005, "GMAC"),
        ("similarities of the batch", macs["similarities"] / 1e9, 0.134, 0.0005, "GMAC"),
        ("backbone, forward", macs["backbone forward"] / 1e12, 6.19, 0.005, "TMAC"),
        ("class matrix in 2 bytes", STEP.class_parameters * 2 / 1e6, 87.8, 0.05, "MB"),
    ]
    checks = [
        Check(
            quantity=quantity,
            setting="B = 512, 85 742 identities",
            ours=ours,
            expected=expected,
            unit=unit,
            tolerance=Tolerance(abs=slack),
            source=DERIVED,
        )
        for quantity, ours, expected, slack, unit in exact
    ]
    fastest = dict(zip(by_batch["batch"], by_batch["fastest"], strict=True))
    checks.append(
        Check(
            quantity="PIM is fastest for one embedding, the NPU for a batch of 512",
            setting="logits on a phone",
            ours=fastest[1] == "pim" and fastest[512] == "npu",
            source="expected: a matrix-vector product waits for bandwidth, a batch for arithmetic",
        )
    )
    checks.append(
        Check(
            quantity="identities at which the class matrix takes as long as the backbone",
            setting=f"B = 512, {TRAINER}",
            ours=equal,
            unit="identities",
            tolerance=Tolerance(low=STEP.identities),
            source="expected: beyond MS1MV2, whose backbone dominates",
        )
    )
    return checks
