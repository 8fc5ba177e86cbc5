"""How fast is the NPU simulation, and how does that compare with other simulators? Writes results_npu.md.

User processor time of this process, warm (compiled), one core, the median of three runs.
"""

from __future__ import annotations

import json
import platform
import resource
import statistics
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numba
import numpy as np
from write_up import write_up

from pimsim.devices import NpuSpec, part
from pimsim.devices.npu import fifo, tiling
from pimsim.devices.npu.array import fold_report
from pimsim.devices.npu.network import array_layers, forget, run_network
from pimsim.devices.npu.peers import onnxim_gemm
from pimsim.devices.npu.spec import SCALE_SIM
from pimsim.trace.vision import vision_model

RUNS = 3
CONFIGS = Path(__file__).parents[1] / "tests" / "reference" / "npu" / "onnxim_configs.json"
# User CPU seconds of the peers on a shared machine with two cores: SCALE-Sim 3.0.0, ONNXim a1e8629.
SCALE_SIM_RESNET18, SCALE_SIM_RATE = 164.0, 8_000
ONNXIM = (  # configuration, (M, N, K), the peer's tiling (outer and inner, over M, K, N), its seconds
    ("ws8_c1_ddr4_shipped", (128, 128, 128), (4, 1, 4, 32, 128, 32), 0.138),
    ("ws128_c4_hbm2_tpuv4_shipped", (512, 512, 512), (1, 1, 1, 512, 512, 512), 0.444),
    ("ws32_c1_ddr4", (128, 2048, 2048), (1, 2, 16, 128, 1024, 128), 10.7),
    ("ws32_c1_hbm2", (128, 2048, 2048), (1, 2, 16, 128, 1024, 128), 3.6),
)


def user_seconds(work: Callable[[], object]) -> float:
    """Median user CPU time of `work`, after one run that compiles."""
    work()
    taken = []
    for _ in range(RUNS):
        start = resource.getrusage(resource.RUSAGE_SELF).ru_utime
        work()
        taken.append(resource.getrusage(resource.RUSAGE_SELF).ru_utime - start)
    return statistics.median(taken)


def network(name: str, part_name: str, array: int) -> tuple[float, int]:
    """(user seconds, clocks) of a network on DRAM, tile searches included."""
    spec = replace(part(part_name, NpuSpec), rows=array, cols=array)
    model = vision_model(name)
    clocks = 0

    def work() -> None:
        nonlocal clocks
        tiling.search.cache_clear()
        forget()
        clocks = run_network(spec, model).clocks

    return user_seconds(work), clocks


def scale_sim_resnet18() -> tuple[float, int]:
    """(user seconds, clocks) of ResNet-18 without stalls on 128 x 128 os."""
    layers = [layer for layer in array_layers(vision_model("resnet18")) if layer.kind == "conv"]

    def work() -> int:
        return sum(fold_report(x.m, x.n, x.k, 128, 128, "os", SCALE_SIM).cycles for x in layers)

    return user_seconds(work), work()


def scale_sim_memory() -> tuple[float, int]:
    """(user seconds, clocks) of a layer with memory, 32 x 32 ws, of about as many clocks as the peer's
    example."""
    inputs = fifo.im2col(58, 58, 3, 3, 64, 1)

    def work() -> int:
        return fifo.run(inputs, 64, 32, 32, "ws", (65536, 65536, 65536), 16).cycles

    return user_seconds(work), work()


def report() -> str:
    """The whole of results_npu.md."""
    lines = [
        "# Speed of the NPU simulation",
        "",
        f"User processor time, warm, one core, median of {RUNS} runs. Written by `make bench` (Python "
        f"{platform.python_version()}, Numba {numba.__version__}, NumPy {np.__version__}, "
        f"{platform.machine()}).",
        "The peers were measured on a machine of the same kind at another time. Nothing is kept between "
        "runs; within",
        "one, layers of equal shape are simulated once.",
        "",
        "| case | clocks | user seconds | peer, user seconds | times as fast |",
        "| --- | ---: | ---: | --- | ---: |",
    ]
    for name in ("resnet18", "resnet50", "mobilenet_v2", "vit_small"):
        seconds, clocks = network(name, "dnnweaver2-32x32", 32)
        lines.append(
            f"| {name} on 32x32, tiles on command-accurate DRAM | {clocks:,} | {seconds:.2f} | - | - |"
        )
    seconds, clocks = scale_sim_resnet18()
    lines.append(
        f"| resnet18, 20 convolutions, 128x128 os, no memory | {clocks:,} | {seconds:.6f} | SCALE-Sim, "
        f"{SCALE_SIM_RESNET18:.0f} (with memory on) | {SCALE_SIM_RESNET18 / max(seconds, 1e-6):,.0f} |"
    )
    seconds, clocks = scale_sim_memory()
    peer = clocks / SCALE_SIM_RATE
    lines.append(
        f"| 3x3 convolution, 64 to 64 channels, 56x56, 32x32 ws, scratchpads stepped | {clocks:,} | "
        f"{seconds:.3f} | "
        f"SCALE-Sim, {peer:.1f} at its {SCALE_SIM_RATE:,} clocks/s | {peer / seconds:,.0f} |"
    )
    configs = json.loads(CONFIGS.read_text(encoding="utf-8"))
    for name, shape, cut, theirs in ONNXIM:
        held = configs[name]
        seconds = user_seconds(lambda: onnxim_gemm(name, held, *shape, cut[:3], cut[3:]))  # noqa: B023
        clocks = onnxim_gemm(name, held, *shape, cut[:3], cut[3:])
        size = "x".join(map(str, shape))
        ratio = f"{theirs / seconds:.0f}"
        lines.append(f"| GEMM {size}, {name} | {clocks:,} | {seconds:.3f} | ONNXim, {theirs} | {ratio} |")
    return "\n".join([*lines, ""])


if __name__ == "__main__":
    write_up(report, __doc__, "results_npu.md")
