"""A Core-Ultra-7-155H-class laptop: six P and eight E cores, an Arc GPU, an NPU, 128 bits of LPDDR5X-7467.

The PIM units are a what-if, as in FACIL (HPCA 2025).
"""

from dataclasses import replace

from pimsim.devices.accelerator import AcceleratorSpec
from pimsim.devices.catalog.exynos2400 import EXYNOS_2400, X4
from pimsim.devices.catalog.lpddr5x import LPDDR5X_8533_16GB_X16, LPDDR5X_PIM_8533
from pimsim.devices.platform import PlatformSpec
from pimsim.devices.spec import CacheSpec

_INTEL = "Intel's product page of the Core Ultra 7 155H"

P_CORE = replace(
    X4,
    name="redwood-cove",
    source=f"{_INTEL}: up to 4.8 GHz, here 4.5 with all cores (estimate); 2 x 256-bit FMA, 48 KB L1, 2 MB "
    "L2; "
    "efficiency and misses in flight: estimate",
    clock_ghz=4.5,
    flop_per_ck=32,
    l1=CacheSpec(name="L1", size_bytes=48 * 1024, ways=12, line_bytes=64, hit_ns=1.1, source=_INTEL),
    l2=CacheSpec(name="L2", size_bytes=2 * 2**20, ways=16, line_bytes=64, hit_ns=3.5, source=_INTEL),
    lines_outstanding=48,
    nc_outstanding=10,
    cached_gbps=50.0,
)
E_CORE = replace(
    X4,
    name="crestmont",
    source=f"{_INTEL}: up to 3.8 GHz, here 3.4 with all cores (estimate); 2 x 128-bit FMA, 32 KB L1, 2 MB "
    "L2 for four; "
    "the rest: estimate",
    clock_ghz=3.4,
    flop_per_ck=16,
    l1=CacheSpec(name="L1", size_bytes=32 * 1024, ways=8, line_bytes=64, hit_ns=1.2, source=_INTEL),
    l2=CacheSpec(name="L2", size_bytes=512 * 1024, ways=8, line_bytes=64, hit_ns=5.0, source=_INTEL),
    lines_outstanding=24,
    nc_outstanding=6,
    cached_gbps=20.0,
)

CORE_ULTRA_CPU = replace(
    EXYNOS_2400,
    name="core-ultra-7-155h",
    source=f"{_INTEL}: 6 P and 8 E cores, 24 MB L3 (the two low-power cores stay idle); lines in flight, "
    "path and "
    "threads: estimate",
    cores=(P_CORE,) * 6 + (E_CORE,) * 8,
    shared=(CacheSpec(name="L3", size_bytes=24 * 2**20, ways=12, line_bytes=64, hit_ns=18.0, source=_INTEL),),
    path_ns=75.0,
    cluster_lines=220,
    dispatch_us=5.0,
    wake_us=8.0,
)

ARC_155H = AcceleratorSpec(
    name="arc-xe-lpg-8",
    source="Intel: 8 Xe cores at 2.25 GHz, 128 lanes each (4.6 TFLOPS FP32, twice that in FP16), 18 TOPS "
    "INT8 by "
    "dot products, no matrix units, 4 MB L2; efficiency, bytes in flight, path and launch: estimate",
    kind="gpu",
    peak_tflops={"fp32": 4.6, "fp16": 9.2, "int8": 18.4},
    vector_tflops=4.6,
    matmul_efficiency=0.6,
    cache_bytes=4 * 2**20,
    outstanding_bytes=64 * 1024,
    path_ns=180.0,
    launch_us=10.0,
    grain_rows=8,
    grain_cols=16,
)

NPU_155H = AcceleratorSpec(
    name="intel-npu-3720",
    source="Intel: 11 TOPS INT8; half of it in FP16, vector rate, 4 MB of buffers, efficiency, bytes in "
    "flight, path "
    "and launch: estimate",
    kind="npu",
    peak_tflops={"int8": 11.0, "fp16": 5.5},
    vector_tflops=0.3,
    matmul_efficiency=0.6,
    cache_bytes=4 * 2**20,
    outstanding_bytes=32 * 1024,
    path_ns=180.0,
    launch_us=30.0,
    grain_rows=16,
    grain_cols=16,
)

LPDDR5X_7467_16GB_X16 = replace(
    LPDDR5X_8533_16GB_X16,
    name="lpddr5x-7467-16gb-x16",
    source="as lpddr5x-8533-16gb-x16, at 7467 MT/s; read and write latency between those of 6400 and "
    "8533: estimate",
    data_rate_mtps=7467,
    tck_fs=1_071_381,
    latencies_ck=LPDDR5X_8533_16GB_X16.latencies_ck | {"RL": 20, "WL": 11},
    currents=None,
)

LPDDR5X_PIM_7467 = replace(
    LPDDR5X_PIM_8533,
    name="lpddr5x-pim-7467",
    dram=LPDDR5X_7467_16GB_X16.name,
    source="as lpddr5x-pim-8533, at 7467 MT/s",
)

PLATFORM = PlatformSpec(
    name="core-ultra-7-155h",
    source="Intel and Lenovo (IdeaPad Slim 5): 32 GB of 128-bit LPDDR5X-7467, 119.5 GB/s; PIM units: "
    "what-if after "
    "FACIL; address maps: estimate",
    cpu="core-ultra-7-155h",
    dram="lpddr5x-7467-16gb-x16",
    channels=8,
    pim="lpddr5x-pim-7467",
    gpu="arc-xe-lpg-8",
    npu="intel-npu-3720",
    compute_cores=tuple(range(6)),
    copy_cores=(6, 7),
    queue=128,
    pim_driver="gpu",
)
