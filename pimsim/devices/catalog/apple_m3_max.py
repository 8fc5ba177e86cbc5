"""An Apple-M3-Max-class laptop (16 CPU cores, 40 GPU cores) and an A17-Pro-class phone (iPhone 15 Pro).

Apple publishes core counts and bandwidth; clocks and lanes are those that public measurements report. The
PIM units are a what-if, as in FACIL (HPCA 2025).
"""

from dataclasses import replace

from pimsim.devices.accelerator import AcceleratorSpec
from pimsim.devices.catalog.exynos2400 import EXYNOS_2400, X4
from pimsim.devices.platform import PlatformSpec
from pimsim.devices.spec import CacheSpec

_PUBLIC = "public measurements and specification lists (not opened)"
_WIKI = "Wikipedia (de), Apple M3 Max (2025-09)"
_A17 = "grokipedia.com/page/Apple_A17"
_SHARE = f"{_WIKI}: size; the cores of a cluster share it, here each has a part; ways and hit time: estimate"
_L1_P = f"{_WIKI}: size; hit time: 3 clocks, as AnandTech measured on the M1 Max, rounded up; ways: estimate"
_L1_E = f"64 KB: ora.it.com/apple-m3-specifications ({_WIKI} says 96); ways and hit time: estimate"

M3_P = replace(
    X4,
    name="apple-m3-p",
    source=f"{_WIKI}: 4.05 GHz, 128 KB L1, 16 MB L2 a cluster of six; 4 x 128-bit FMA: {_PUBLIC}; the matrix "
    "coprocessor is not used; efficiency and misses in flight: estimate",
    clock_ghz=4.05,
    flop_per_ck=32,
    l1=CacheSpec(name="L1", size_bytes=128 * 1024, ways=8, line_bytes=64, hit_ns=0.8, source=_L1_P),
    l2=CacheSpec(name="L2", size_bytes=2 * 2**20, ways=16, line_bytes=64, hit_ns=4.5, source=_SHARE),
    lines_outstanding=64,
    nc_outstanding=8,
    cached_gbps=60.0,
)
M3_E = replace(
    X4,
    name="apple-m3-e",
    source=f"2.75 GHz: notebookcheck.com (rounded to 2.8; {_WIKI} says 2.59); 4 MB L2 for four: {_WIKI}; 2 x "
    f"128-bit FMA: {_PUBLIC}; the rest: estimate",
    clock_ghz=2.75,
    flop_per_ck=16,
    l1=CacheSpec(name="L1", size_bytes=64 * 1024, ways=8, line_bytes=64, hit_ns=1.1, source=_L1_E),
    l2=CacheSpec(name="L2", size_bytes=2**20, ways=16, line_bytes=64, hit_ns=6.0, source=_SHARE),
    lines_outstanding=24,
    nc_outstanding=6,
    cached_gbps=20.0,
)
A17_P = replace(
    M3_P, name="apple-a17-p", source=f"{_A17}: 3.78 GHz; the rest as apple-m3-p: estimate", clock_ghz=3.78
)
A17_E = replace(
    M3_E, name="apple-a17-e", source=f"{_A17}: 2.11 GHz; the rest as apple-m3-e: estimate", clock_ghz=2.11
)


def _slc(size_mb: int, source: str) -> CacheSpec:
    return CacheSpec(
        name="SLC",
        size_bytes=size_mb * 2**20,
        ways=12,
        line_bytes=64,
        hit_ns=35.0,
        source=f"{source}: size; ways and time: estimate",
    )


M3_MAX_CPU = replace(
    EXYNOS_2400,
    name="apple-m3-max",
    source="Apple: 12 performance and 4 efficiency cores; lines in flight, path and threads: estimate",
    cores=(M3_P,) * 12 + (M3_E,) * 4,
    shared=(_slc(48, _WIKI),),
    path_ns=80.0,
    cluster_lines=640,
    dispatch_us=5.0,
    wake_us=8.0,
)
A17_CPU = replace(
    EXYNOS_2400,
    name="apple-a17-pro",
    source="Apple: 2 performance and 4 efficiency cores; lines in flight, path and threads: estimate",
    cores=(A17_P,) * 2 + (A17_E,) * 4,
    shared=(_slc(24, _PUBLIC),),
    path_ns=60.0,
    cluster_lines=92,
    dispatch_us=8.0,
    wake_us=10.0,
)

_GPU = (
    f"128 lanes a core, two operations each: {_WIKI}, which says 1.38 GHz; 1.398: {_PUBLIC}; FP16 at the "
    "rate of FP32: philipturner/metal-benchmarks README.md, for the M1; cache: the system cache"
)
_MPS = "philipturner/metal-flash-attention README.md"
_MLX = "James-Delgado/qwen-metal benchmarks/results.md (iPhone 15 Pro)"
M3_MAX_GPU = AcceleratorSpec(
    name="apple-m3-max-gpu",
    source=f"40 cores, 14.3 TFLOPS; {_GPU}; efficiency: 7.8 of 10.6 TFLOPS in FP16 by Apple's library on the "
    f"M1 Max, {_MPS}; bytes in flight, path and launch: estimate",
    kind="gpu",
    peak_tflops={"fp32": 14.3, "fp16": 14.3, "int8": 14.3},
    vector_tflops=14.3,
    matmul_efficiency=0.74,
    cache_bytes=48 * 2**20,
    outstanding_bytes=256 * 1024,
    path_ns=200.0,
    launch_us=6.0,
    grain_rows=8,
    grain_cols=32,
)
A17_GPU = replace(
    M3_MAX_GPU,
    name="apple-a17-pro-gpu",
    source=f"6 cores, 2.15 TFLOPS; {_GPU}; efficiency: MLX took 2.30 s for 862 tokens of Qwen3 1.7B in 4 "
    f"bits, 1.06 TFLOPS in its 1.41e9 weights, {_MLX}; bytes in flight, path and launch: estimate (two reads "
    "for a write go at 44.8 GB/s here, measured there: 43.8)",
    peak_tflops={"fp32": 2.15, "fp16": 2.15, "int8": 2.15},
    vector_tflops=2.15,
    matmul_efficiency=0.49,
    cache_bytes=24 * 2**20,
    outstanding_bytes=32 * 1024,
    path_ns=150.0,
    launch_us=10.0,
)

_ANE = "at 8 bits as Apple counts them; half of it at 16 bits, the rest: estimate"
M3_ANE = AcceleratorSpec(
    name="apple-m3-neural-engine",
    source=f"notebookcheck.com: 16 cores, 18 TOPS ({_WIKI} says 17); taken as the rate at 16 bits; the rest: "
    "estimate",
    kind="npu",
    peak_tflops={"fp16": 18.0, "int8": 18.0},
    vector_tflops=1.0,
    matmul_efficiency=0.6,
    cache_bytes=16 * 2**20,
    outstanding_bytes=64 * 1024,
    path_ns=200.0,
    launch_us=50.0,
    grain_rows=32,
    grain_cols=32,
)
A17_ANE = replace(
    M3_ANE,
    name="apple-a17-pro-neural-engine",
    source=f"{_A17}: 16 cores, 35 TOPS {_ANE}",
    peak_tflops={"fp16": 17.5, "int8": 35.0},
    outstanding_bytes=32 * 1024,
)

_WHAT_IF = "PIM units: what-if after FACIL; address maps: estimate"
M3_MAX = PlatformSpec(
    name="apple-m3-max",
    source="128 GB of LPDDR5-6400, 409.6 GB/s: applemagazine.com (M3 Max specs); 512 bits: "
    f"notebookcheck.com; {_WHAT_IF}",
    cpu="apple-m3-max",
    dram="lpddr5-6400-16gb-x16-2r",
    channels=32,
    pim="lpddr5-pim-6400-2r",
    gpu="apple-m3-max-gpu",
    npu="apple-m3-neural-engine",
    compute_cores=tuple(range(12)),
    copy_cores=(12, 13),
    queue=128,
    pim_driver="gpu",
)
IPHONE_15_PRO = PlatformSpec(
    name="iphone-15-pro",
    source=f"{_A17}: 8 GB of LPDDR5; {_PUBLIC}: 64 bits at 6400 MT/s, 51.2 GB/s; {_WHAT_IF}",
    cpu="apple-a17-pro",
    dram="lpddr5-6400-16gb-x16",
    channels=4,
    pim="lpddr5-pim-6400",
    gpu="apple-a17-pro-gpu",
    npu="apple-a17-pro-neural-engine",
    compute_cores=(0, 1, 2, 3),
    copy_cores=(4, 5),
    queue=128,
    pim_driver="gpu",
)
