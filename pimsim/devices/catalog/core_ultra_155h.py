"""A Core-Ultra-7-155H-class laptop: six P and eight E cores, an Arc GPU, an NPU, 128 bits of LPDDR5X-7467.

Latencies, clocks and rates are those that Chips and Cheese measured on this chip; what follows from them is
derived here. The PIM units are a what-if, as in FACIL (HPCA 2025).
"""

from dataclasses import replace

from pimsim.devices.accelerator import AcceleratorSpec
from pimsim.devices.catalog.exynos2400 import EXYNOS_2400, X4
from pimsim.devices.catalog.lpddr5x import LPDDR5X_8533_16GB_X16, LPDDR5X_PIM_8533
from pimsim.devices.platform import PlatformSpec
from pimsim.devices.spec import CacheSpec

_INTEL = "Intel's product page of the Core Ultra 7 155H (not opened)"
_CES = "chipsandcheese.com/p/previewing-meteor-lake-at-ces"
_CRESTMONT = "chipsandcheese.com/p/meteor-lakes-e-cores-crestmont-makes-incremental-progress"
_DRAM = "chipsandcheese.com/p/update-on-meteor-lake-dram-latency-measurements"
_IGPU = "chipsandcheese.com/p/intels-ambitious-meteor-lake-igpu"
_NPU = "chipsandcheese.com/p/intel-meteor-lakes-npu"

_P_CACHES = f"{_CES}: 48 KB in 5 clocks, 2 MB in 16; ways: estimate"
_E_CACHES = f"{_CES}: 32 KB in 3 clocks, 2 MB for four cores in 20 (here each has a part); ways: estimate"
_L3 = f"{_CES}: 15 ns from a P core (71 clocks), 16.6 ns from an E core; ways: estimate"

P_CORE = replace(
    X4,
    name="redwood-cove",
    source=f"{_INTEL}: up to 4.8 GHz, here 4.5 with all cores (estimate); 2 x 256-bit FMA; misses in "
    f"flight: set against 25.3 GB/s read by one core, {_CES}; efficiency, non-cacheable loads, rate in "
    "caches: estimate",
    clock_ghz=4.5,
    flop_per_ck=32,
    l1=CacheSpec(name="L1", size_bytes=48 * 1024, ways=12, line_bytes=64, hit_ns=1.1, source=_P_CACHES),
    l2=CacheSpec(name="L2", size_bytes=2 * 2**20, ways=16, line_bytes=64, hit_ns=3.6, source=_P_CACHES),
    lines_outstanding=58,
    nc_outstanding=10,
    cached_gbps=50.0,
)
E_CORE = replace(
    X4,
    name="crestmont",
    source=f"{_CRESTMONT}: 3.8 GHz for up to four, 2.8 for more than six at work, which is taken; "
    "misses of a cluster of four in a queue of 64, so 16 a core (eight cores then read 44 GB/s, measured: "
    "just under 40); 2 x 128-bit FMA, efficiency, non-cacheable loads, rate in caches: estimate",
    clock_ghz=2.8,
    flop_per_ck=16,
    l1=CacheSpec(name="L1", size_bytes=32 * 1024, ways=8, line_bytes=64, hit_ns=1.1, source=_E_CACHES),
    l2=CacheSpec(name="L2", size_bytes=512 * 1024, ways=8, line_bytes=64, hit_ns=7.1, source=_E_CACHES),
    lines_outstanding=16,
    nc_outstanding=6,
    cached_gbps=20.0,
)

CORE_ULTRA_CPU = replace(
    EXYNOS_2400,
    name="core-ultra-7-155h",
    source=f"{_CRESTMONT}: 6 P and 8 E cores share 24 MB L3 (the two low-power cores stay idle); path: 153 "
    f"ns measured to memory, {_DRAM}, less 42 in the channel (activate, read latency, burst); lines in "
    "flight of all cores and threads: estimate",
    cores=(P_CORE,) * 6 + (E_CORE,) * 8,
    shared=(CacheSpec(name="L3", size_bytes=24 * 2**20, ways=12, line_bytes=64, hit_ns=15.0, source=_L3),),
    path_ns=111.0,
    cluster_lines=220,
    dispatch_us=5.0,
    wake_us=8.0,
)

ARC_155H = AcceleratorSpec(
    name="arc-xe-lpg-8",
    source=f"{_IGPU}: 8 Xe cores at up to 2.25 GHz, 128 lanes each (4.6 TFLOPS FP32), no matrix units, 4 MB "
    "L2; twice the rate in FP16 (OpenCL's compiler fused no FP16 multiply-adds there) and four times in "
    "INT8, efficiency, bytes in flight, path and launch: estimate",
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
    source=f"{_NPU}: in this chip 1.16 GHz, 4096 INT8 multiply-adds a clock (9.5 TOPS; Intel says 11), half "
    "of it in FP16, two buffers of 2 MB; efficiency: 1.35 of 4.75 TFLOPS in FP16 products with Intel's NPU "
    "acceleration library; vector rate: a little over 50 GFLOPS in FP32; bytes in flight, path and launch: "
    "estimate",
    kind="npu",
    peak_tflops={"int8": 9.5, "fp16": 4.75},
    vector_tflops=0.05,
    matmul_efficiency=0.28,
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
