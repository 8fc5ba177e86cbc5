"""A Snapdragon-8-Gen-3-class phone: one Cortex-X4 and five Cortex-A720 (the A520 stay idle), LPDDR5X-9600.

The PIM units are a what-if: no such phone has them. Cores differ from the Exynos 2400's in clocks and
caches only; what is not named here is that phone's (docs/calibration.md).
"""

from dataclasses import replace

from pimsim.devices.accelerator import AcceleratorSpec
from pimsim.devices.catalog.exynos2400 import A720_29, EXYNOS_2400, X4
from pimsim.devices.platform import PlatformSpec

_CORES = "Qualcomm's announcement (clocks; trendgrnd.com repeats its list); the rest as "
_LLCC = "Linux drivers/soc/qcom/llcc-qcom.c, sm8650_data"
_HTP = "pytorch/executorch backends/qualcomm/serialization/qc_schema.py"

X4_33 = replace(X4, name="x4-3.3", source=_CORES + "exynos-2400", clock_ghz=3.3)
A720_32 = replace(A720_29, name="a720-3.2", source=_CORES + "exynos-2400", clock_ghz=3.15)
A720_30 = replace(A720_29, name="a720-3.0", source=_CORES + "exynos-2400", clock_ghz=2.96)

_L3 = (
    "public specification lists (not opened): 12 MB; 12 ways where the size is a multiple of three: DSU-110, "
    "chipsandcheese.com/p/cortex-x2-arm-aims-high; hit time: estimate"
)
_SLC = f"{_LLCC}: 6 MB in 24 ways, of which the CPU may have 5 MB, here in 10 ways; hit time: estimate"

SNAPDRAGON_8_GEN_3 = replace(
    EXYNOS_2400,
    name="snapdragon-8-gen-3",
    source="Qualcomm: 1 x 3.3, 3 x 3.2, 2 x 3.0 GHz (3.15 and 2.96 as phones report them); threads and path "
    "as exynos-2400: estimate",
    cores=(X4_33, A720_32, A720_32, A720_32, A720_30, A720_30),
    shared=(
        replace(EXYNOS_2400.shared[0], size_bytes=12 * 2**20, ways=12, source=_L3),
        replace(EXYNOS_2400.shared[1], size_bytes=5 * 2**20, ways=10, source=_SLC),
    ),
)

ADRENO_750 = AcceleratorSpec(
    name="adreno-750",
    source="public specification lists (not opened): 1536 lanes at 0.903 GHz, two operations each in FP32 "
    f"(2.77 TFLOPS), twice that in FP16; cache: 3096 KB of the system cache, {_LLCC}; efficiency, bytes in "
    "flight, path and launch: estimate",
    kind="gpu",
    peak_tflops={"fp32": 2.77, "fp16": 5.55, "int8": 11.1},
    vector_tflops=2.77,
    matmul_efficiency=0.5,
    cache_bytes=3096 * 1024,
    outstanding_bytes=32 * 1024,
    path_ns=150.0,
    launch_us=30.0,
)

HEXAGON = AcceleratorSpec(
    name="hexagon-8-gen-3",
    source="45 TOPS at 8 bits as reported by third parties (Qualcomm states none); half of it at 16 bits, "
    f"vector rate, efficiency, bytes in flight, path and launch: estimate; 8 MB of its own memory: {_HTP}",
    kind="npu",
    peak_tflops={"int8": 45.0, "fp16": 22.5},
    vector_tflops=1.0,
    matmul_efficiency=0.5,
    cache_bytes=8 * 2**20,
    outstanding_bytes=32 * 1024,
    path_ns=150.0,
    launch_us=20.0,
    grain_rows=32,
    grain_cols=32,
)

PLATFORM = PlatformSpec(
    name="snapdragon-8-gen-3",
    source="Qualcomm: LPDDR5X at up to 4800 MHz (droidholic.com/snapdragon-8-gen-3-launched), four x16 "
    "channels (76.8 GB/s), 16 GB; PIM units: what-if; address maps: estimate",
    cpu="snapdragon-8-gen-3",
    dram="lpddr5x-9600-16gb-x16",
    channels=4,
    pim="lpddr5x-pim-9600",
    gpu="adreno-750",
    npu="hexagon-8-gen-3",
    compute_cores=(0, 1, 2, 3),
    copy_cores=(4, 5),
)
