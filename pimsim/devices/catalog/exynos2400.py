"""An Exynos-2400-class phone. Its CPU cluster: one Cortex-X4 and five Cortex-A720 (the A520 stay idle).

Clocks and cache sizes: public specifications of the Exynos 2400. Peak rates are FP32 fused multiply-add
rates (32 and 16 FLOP a clock): they give 320 GFLOPS, the 321 that PIM-SHERPA states as BF16 peak. What
carries "calibrated" or "estimate" is listed with its reason in docs/calibration.md.
"""

from dataclasses import replace

from pimsim.devices.accelerator import AcceleratorSpec
from pimsim.devices.platform import PlatformSpec
from pimsim.devices.spec import CacheSpec, CoreSpec, CpuSpec

_ARM = (
    "Arm Cortex-X4 / A720 technical reference manuals (not opened), largest configuration; hit times: 4 "
    "clocks in L1, as on Cortex-X2, A710 and A725 (chipsandcheese.com/p/cortex-x2-arm-aims-high, "
    "arms-cortex-a710-winning-by-default, arms-cortex-a725-ft-dells-pro-max); in L2: estimate (11, 13 and 9 "
    "clocks there)"
)

X4 = CoreSpec(
    name="x4",
    source="Exynos 2400: Cortex-X4 at 3.21 GHz, 4 x 128-bit FMA; "
    "calibrated and estimated: see docs/calibration.md",
    clock_ghz=3.21,
    flop_per_ck=32,
    l1=CacheSpec(name="L1", size_bytes=64 * 1024, ways=4, line_bytes=64, hit_ns=1.2, source=_ARM),
    l2=CacheSpec(name="L2", size_bytes=2 * 2**20, ways=8, line_bytes=64, hit_ns=4.0, source=_ARM),
    gemm_efficiency=0.60,
    gemm_fill_rows=20,
    lines_outstanding=48,
    nc_outstanding=7,
    cached_gbps=30.0,
    store_buffer=64,
    type_flop_per_ck=(("fp16", 64), ("int8", 128)),
)

A720_29 = CoreSpec(
    name="a720-2.9",
    source="Exynos 2400: Cortex-A720 at 2.90 GHz, 2 x 128-bit FMA; "
    "calibrated and estimated: see docs/calibration.md",
    clock_ghz=2.9,
    flop_per_ck=16,
    l1=CacheSpec(name="L1", size_bytes=64 * 1024, ways=4, line_bytes=64, hit_ns=1.4, source=_ARM),
    l2=CacheSpec(name="L2", size_bytes=512 * 1024, ways=8, line_bytes=64, hit_ns=4.5, source=_ARM),
    gemm_efficiency=0.60,
    gemm_fill_rows=20,
    lines_outstanding=24,
    nc_outstanding=7,
    cached_gbps=15.0,
    store_buffer=32,
    type_flop_per_ck=(("fp16", 32), ("int8", 64)),
)

A720_26 = replace(A720_29, name="a720-2.6", source=A720_29.source.replace("2.90", "2.60"), clock_ghz=2.6)

_SOC = (
    "public specification lists of the Exynos 2400 (not opened): 8 MB L3, 8 MB system cache; 16 ways: "
    "DSU-110 at such a size, chipsandcheese.com/p/cortex-x2-arm-aims-high; the system cache's ways, hit "
    "times: estimate"
)

EXYNOS_2400 = CpuSpec(
    name="exynos-2400",
    source="Samsung Exynos 2400; thread costs and memory path: see docs/calibration.md",
    cores=(X4, A720_29, A720_29, A720_26, A720_26, A720_26),
    shared=(
        CacheSpec(name="L3", size_bytes=8 * 2**20, ways=16, line_bytes=64, hit_ns=15.0, source=_SOC),
        CacheSpec(name="SLC", size_bytes=8 * 2**20, ways=16, line_bytes=64, hit_ns=40.0, source=_SOC),
    ),
    path_ns=57.0,
    cluster_lines=108,
    attention_efficiency=0.3,
    dispatch_us=23.0,
    wake_us=20.0,
    create_us=82.0,
)

XCLIPSE_940 = AcceleratorSpec(
    name="xclipse-940",
    source="reports on the Exynos 2400: RDNA 3, 12 compute units (thewestonforum.com, 2023-12) at 1.095 "
    "GHz (en.5iter.com/keji/7201.html); derived: 256 FLOP a clock and unit in FP32 (both issue slots), 512 "
    "in FP16 (wave matrix); efficiency, bytes in flight, path and launch: estimate; cache: the SoC's 8 MB "
    "system cache",
    kind="gpu",
    peak_tflops={"fp32": 3.36, "fp16": 6.73, "int8": 6.73},
    vector_tflops=3.36,
    matmul_efficiency=0.5,
    cache_bytes=8 * 2**20,
    outstanding_bytes=32 * 1024,
    path_ns=150.0,
    launch_us=30.0,
)

PLATFORM = PlatformSpec(
    name="exynos2400",
    source="PIM-SHERPA (arXiv 2603.09216) section 6 platform; address maps: estimate",
    cpu="exynos-2400",
    dram="lpddr5x-8533-16gb-x16",
    channels=4,
    pim="lpddr5x-pim-8533",
    gpu="xclipse-940",
    npu="mobile-64x64",
    host_mapping="row:16 rank:1 bank:2 column:5 bankgroup:2 channel:2 column:1 "
    "bank[0]^=row[0]^row[3]^row[6]^row[9]^row[12] bank[1]^=row[1]^row[4]^row[7]^row[10]^row[13] "
    "rank[0]^=row[2]^row[5]^row[8]^row[11]^row[14]",
    pim_mapping="row:16 channel:2 rank:1 bankgroup:2 bank:2 column:6",
    compute_cores=(0, 1, 2, 3),
    copy_cores=(0, 5),
    copy_split="static",
    pad_head=True,  # 128256 -> 131072 rows: fits the capacity that the paper reports
)
"""16 GB instead of the phone's 12 GB, so that weight duplication of the 3B model fits: it needs 12.9 GB.

Address maps: estimates (64 B a channel, bank groups next; PIM: a row whole in a bank); thread placement:
four GEMM threads on the fastest cores; one of the two copy threads shares the X4 with a GEMM thread, and each
copies half of a matrix: see "Where copy threads run" in docs/calibration.md."""
