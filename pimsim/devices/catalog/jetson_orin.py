"""A Jetson AGX Orin 64 GB: twelve Cortex-A78AE, an Ampere GPU, two DLA, 256 bits of LPDDR5-6400.

The PIM units are a what-if, as in FACIL (HPCA 2025): the board has none.
"""

from dataclasses import replace

from pimsim.devices.accelerator import AcceleratorSpec
from pimsim.devices.catalog.exynos2400 import A720_29, EXYNOS_2400
from pimsim.devices.catalog.lpddr5 import LPDDR5_6400_16GB_X16_2R, LPDDR5_PIM_6400
from pimsim.devices.platform import PlatformSpec
from pimsim.devices.spec import CacheSpec

_BRIEF = "NVIDIA Jetson AGX Orin Series technical brief 1.2 (a digest of it: mzph.cn/web/30785.shtml)"
_LINUX = "torvalds/linux arch/arm64/boot/dts/nvidia/tegra234.dtsi"

_L1_L2 = f"{_LINUX}: sizes, lines and sets; hit time: estimate"

A78AE = replace(
    A720_29,
    name="a78ae-2.2",
    source=f"{_LINUX}: up to 2201.6 MHz; 2 x 128-bit FMA (Arm); the rest as exynos-2400's A720: estimate",
    clock_ghz=2.2,
    flop_per_ck=16,
    l1=CacheSpec(name="L1", size_bytes=64 * 1024, ways=4, line_bytes=64, hit_ns=1.4, source=_L1_L2),
    l2=CacheSpec(name="L2", size_bytes=256 * 1024, ways=8, line_bytes=64, hit_ns=5.0, source=_L1_L2),
)

_L3 = f"{_LINUX}: three of 2 MB in 16 ways, here one of 6 MB in 12 ways; hit time: estimate"
_SLC = "NVIDIA's technical brief (not opened): 4 MB; ways and hit time: estimate"

ORIN_CPU = replace(
    EXYNOS_2400,
    name="jetson-orin-a78ae",
    source=f"{_LINUX}: 12 cores, 2 MB L3 a cluster of four; 4 MB system cache: {_BRIEF}; lines in flight, "
    "path, threads: estimate (half of the peak bandwidth for all cores)",
    cores=(A78AE,) * 12,
    shared=(
        CacheSpec(name="L3", size_bytes=6 * 2**20, ways=12, line_bytes=64, hit_ns=20.0, source=_L3),
        CacheSpec(name="SLC", size_bytes=4 * 2**20, ways=16, line_bytes=64, hit_ns=40.0, source=_SLC),
    ),
    path_ns=80.0,
    cluster_lines=240,
    dispatch_us=10.0,
    wake_us=10.0,
)

_MEASURED = "github.com/infinigence/ApxInf doc/jetson-roofline.md (AGX Orin 64 GB, MAXN)"

ORIN_GPU = AcceleratorSpec(
    name="orin-ampere-gpu",
    source=f"{_BRIEF}: 2048 CUDA cores (5.3 TFLOPS FP32), 64 tensor cores, 170 TOPS INT8 with sparsity, so "
    "85 dense and 42.5 TFLOPS FP16, 4 MB L2; 1.3 GHz and efficiency (33.4 to 34.1 TFLOPS measured in BF16): "
    f"{_MEASURED}; bytes in flight: set against 152.8 GB/s read and 183.3 GB/s copied there; path and "
    "launch: estimate",
    kind="gpu",
    peak_tflops={"fp32": 5.3, "fp16": 42.5, "int8": 85.0},
    vector_tflops=5.3,
    matmul_efficiency=0.79,
    cache_bytes=4 * 2**20,
    outstanding_bytes=128 * 1024,
    path_ns=250.0,
    launch_us=8.0,
    grain_rows=16,
    grain_cols=64,
)

ORIN_DLA = AcceleratorSpec(
    name="orin-dla",
    source=f"{_BRIEF}: two NVDLA 2.0, 105 TOPS INT8 with sparsity, so 52.5 dense; half of it in FP16, "
    "vector rate, "
    "1 MB of buffers each, efficiency, bytes in flight, path and launch: estimate",
    kind="npu",
    peak_tflops={"int8": 52.5, "fp16": 26.2},
    vector_tflops=0.5,
    matmul_efficiency=0.6,
    cache_bytes=2 * 2**20,
    outstanding_bytes=64 * 1024,
    path_ns=250.0,
    launch_us=10.0,
    grain_rows=32,
    grain_cols=32,
)

LPDDR5_PIM_6400_2R = replace(
    LPDDR5_PIM_6400,
    name="lpddr5-pim-6400-2r",
    dram=LPDDR5_6400_16GB_X16_2R.name,
    source=LPDDR5_PIM_6400.source + "; two ranks a channel",
)

PLATFORM = PlatformSpec(
    name="jetson-orin",
    source=f"{_BRIEF}: 64 GB of 256-bit LPDDR5 at 204.8 GB/s; two ranks a channel; PIM units: what-if "
    "after FACIL; "
    "address maps: estimate",
    cpu="jetson-orin-a78ae",
    dram="lpddr5-6400-16gb-x16-2r",
    channels=16,
    pim="lpddr5-pim-6400-2r",
    gpu="orin-ampere-gpu",
    npu="orin-dla",
    compute_cores=tuple(range(10)),
    copy_cores=(10, 11),
    queue=128,
    pim_driver="gpu",
)
