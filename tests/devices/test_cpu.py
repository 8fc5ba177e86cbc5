"""CPU threads as requesters: shares, lines in flight, GEMM rates, weight re-reads, the swizzled copy.

Expected numbers are worked out by hand from the core's own figures; what comes from a paper says so.
"""

from dataclasses import replace
from itertools import pairwise

import pytest

from pimsim.devices import CpuSpec, part
from pimsim.devices import cpu as host
from pimsim.devices.dram.stream import sustained
from pimsim.system import exynos2400

PHONE = exynos2400()
CPU = part("exynos-2400", CpuSpec)
X4 = CPU.cores[0]
BURST = PHONE.dram.geometry.burst_bytes


@pytest.mark.parametrize(
    ("total", "parts", "wanted"),
    [(8, 4, [2, 2, 2, 2]), (10, 4, [3, 3, 2, 2]), (3, 4, [1, 1, 1, 0]), (0, 2, [0, 0])],
)
def test_split(total, parts, wanted):
    assert host.split(total, parts) == wanted


# Lines in flight


def cluster(lines, *cores):
    made = tuple(replace(X4, name=f"c{i}", lines_outstanding=n) for i, n in enumerate(cores))
    return replace(CPU, cores=made, cluster_lines=lines), list(made)


@pytest.mark.parametrize(
    ("lines", "cores", "wanted"),
    [
        (100, (10, 20, 30), [10, 20, 30]),  # all fit
        (60, (40, 40, 40), [20, 20, 20]),  # equal parts
        (60, (40, 10, 40), [25, 10, 25]),  # 10 is all that one can use; the other 50 in equal parts
        (60, (10, 18, 90), [10, 18, 32]),  # the third gets what is left
        (7, (4, 4), [3, 4]),  # 3 of 7 are half, rounded down; then what is left
    ],
)
def test_the_cluster_limit_is_shared_fairly(lines, cores, wanted):
    cpu, made = cluster(lines, *cores)
    assert host.windows(cpu, made, 32) == [2 * n for n in wanted]  # two bursts of 32 bytes a line
    assert host.windows(cpu, made, 64) == wanted
    assert sum(wanted) <= lines


def test_a_core_always_gets_a_burst():
    cpu, made = cluster(1, 4, 4, 4)
    assert min(host.windows(cpu, made, BURST)) == 1


@pytest.mark.parametrize("used", range(1, len(CPU.cores) + 1))
def test_windows_of_the_catalog_keep_both_limits(used):
    cores = list(CPU.cores[:used])
    lines = [n * BURST // host.LINE_BYTES for n in host.windows(CPU, cores, BURST)]
    assert sum(lines) <= CPU.cluster_lines
    assert all(n <= core.lines_outstanding for n, core in zip(lines, cores, strict=True))


# Arithmetic

PEAKS = [102.72, 46.4, 46.4, 41.6, 41.6, 41.6]
"""GFLOPS by hand: 3.21 GHz x 32 FLOP a clock, 2.9 x 16, 2.6 x 16."""


def test_peak_rates():
    assert [core.peak_gflops for core in CPU.cores] == pytest.approx(PEAKS)
    assert CPU.peak_gflops == pytest.approx(320.32)
    # PIM-SHERPA states 321 GFLOPS and, with 68.264 GB/s, 4.7 FLOP a byte.
    assert CPU.peak_gflops == pytest.approx(321, rel=0.003)
    assert CPU.peak_gflops * 1e9 / PHONE.peak_bytes_per_s == pytest.approx(4.7, abs=0.01)


HAND = replace(X4, clock_ghz=2.0, flop_per_ck=10, gemm_efficiency=0.5, gemm_fill_rows=100)
"""20 GFLOPS at its peak, 10 in a GEMM of many rows."""


def test_gemm_rate():
    assert host.gemm_rate(HAND, 100) == pytest.approx(5.0)  # as many rows as it loses: half of 10
    assert host.gemm_rate(HAND, 900) == pytest.approx(9.0)
    assert host.gemm_rate(HAND, 10**9) == pytest.approx(10.0)


@pytest.mark.parametrize("core", CPU.cores, ids=lambda core: core.name)
def test_longer_shares_are_faster_but_never_beyond_the_peak(core):
    rates = [host.gemm_rate(core, rows) for rows in (1, 16, 64, 512, 8192)]
    assert all(a < b for a, b in pairwise(rates))
    assert rates[-1] < core.peak_gflops * core.gemm_efficiency


def test_gemm_stream_by_hand():
    # 64 x 256 times 100 rows of BF16: 3 276 800 FLOP at 5 GFLOPS are 655.36 us; 51 200 bytes are 1600 bursts.
    [stream] = host.gemm_streams(CPU, [HAND], 64, 100, 256, 16, 32)
    assert stream.bursts == 1600
    assert stream.bursts * stream.gap_ps == pytest.approx(655.36e6)
    assert stream.bytes_moved(32) == (51_200, 0)
    assert stream.path_ns == CPU.path_ns


@pytest.mark.parametrize(("bits", "bursts"), [(16, 1600), (8, 800), (4, 400)])
def test_narrow_weights_move_less_and_compute_the_same(bits, bursts):
    [stream] = host.gemm_streams(CPU, [HAND], 64, 100, 256, bits, 32)
    assert stream.bursts == bursts
    assert stream.bursts * stream.gap_ps == pytest.approx(655.36e6)


def test_gemm_rows_are_split_equally_and_slower_cores_take_longer():
    cores = list(CPU.cores[:4])
    streams = host.gemm_streams(CPU, cores, 64, 2048, 2048, 16, BURST)
    assert [s.bursts for s in streams] == [512 * 2048 * 2 // BURST] * 4
    times_ps = [s.bursts * s.gap_ps for s in streams]
    flops = 2 * 64 * 512 * 2048
    wanted = [flops / host.gemm_rate(core, 512) * 1000 for core in cores]  # FLOP / GFLOPS is ns
    assert times_ps == pytest.approx(wanted)
    assert times_ps == sorted(times_ps)


def test_one_token_runs_at_the_pace_of_long_rows():
    [stream] = host.gemm_streams(CPU, [HAND], 1, 100, 256, 16, 32)
    assert stream.bursts * stream.gap_ps == pytest.approx(2 * 100 * 256 / 10 * 1000)


def test_vector_and_attention_times_by_hand():
    core = replace(HAND, cached_gbps=16.0)
    assert host.vector_ps(core, 1_600_000, 0, 1) == 100_000_000  # 1.6 MB at 16 GB/s: 100 us
    assert host.vector_ps(core, 1_600_000, 0, 4) == 25_000_000
    assert host.vector_ps(core, 1, 2_000_000, 1) == 100_000_000  # 2 MFLOP at 20 GFLOPS
    slow = replace(CPU, attention_efficiency=0.25)
    assert host.attention_ps(slow, core, 2_000_000, 4) == 100_000_000  # a quarter, at a quarter of the peak


# How often a weight line comes from memory


@pytest.mark.parametrize("core", [CPU.cores[0], CPU.cores[1]], ids=lambda core: core.name)
@pytest.mark.parametrize("k", [512, 2048, 3072])
@pytest.mark.parametrize("m", [1, 8, 9, 33, 64])
def test_weight_passes(core, k, m):
    # A panel of 8 rows (at most 48 KiB) stays in the caches. Without caches each block of 8 activation
    # rows reads it again.
    assert host.weight_passes(core, CPU.shared, m, k, 16, True) == 1.0
    assert host.weight_passes(core, CPU.shared, m, k, 16, False) == -(-m // 8)


def test_panels_beyond_every_cache_are_read_again():
    tiny = replace(X4.l1, size_bytes=4096), replace(X4.l2, size_bytes=8192)
    core = replace(X4, l1=tiny[0], l2=tiny[1])
    assert host.weight_passes(core, (), 32, 4096, 16, True) == 4.0  # 64 KiB panels, four blocks


def test_non_cacheable_weights_need_more_bursts_and_few_are_in_flight():
    [cached] = host.gemm_streams(CPU, [X4], 64, 64, 2048, 16, BURST)
    [plain] = host.gemm_streams(CPU, [X4], 64, 64, 2048, 16, BURST, cacheable=False)
    assert plain.bursts == 8 * cached.bursts
    assert plain.window == X4.nc_outstanding * 64 // BURST < cached.window
    assert plain.bursts * plain.gap_ps == pytest.approx(cached.bursts * cached.gap_ps)  # the same arithmetic


def test_read_streams_read_everything_once():
    streams = host.read_streams(CPU, list(CPU.cores), 1_000_001, 10**6, BURST, "kv")
    moved = sum(s.bursts for s in streams) * BURST
    assert 1_000_001 <= moved < 1_000_001 + len(streams) * BURST
    rates = [core.peak_gflops * core.gemm_efficiency for core in CPU.cores]
    flops = sum(s.bursts * s.gap_ps / 1000 * rate for s, rate in zip(streams, rates, strict=True))
    assert flops == pytest.approx(10**6, rel=1e-3)


# The swizzled copy


def copy(core=X4, **named):
    return host.swizzled_copy(CPU, core, PHONE.layout, 2048, 2048, 16, 0, 4, **named)


def test_phases_of_a_copy():
    # 2048 x 2048 BF16: 2 tiles x 16 chunks of 256 bytes, a slab is 1024 x 256 bytes; four of them.
    stream = copy()
    load, fill, back = stream.phases
    assert [p.bursts for p in stream.phases] == [8, 8, 8]  # runs of 256 bytes
    assert [(p.write, p.wait) for p in stream.phases] == [(False, True), (False, True), (True, False)]
    assert [p.mapping for p in stream.phases] == [1, 0, 0]  # PIM-aware source, host-friendly buffer
    assert fill.loops == back.loops
    assert load.lag_bytes == fill.lag_bytes == 0 < back.lag_bytes
    assert stream.bursts == 4 * 1024 * 256 // 32
    assert stream.bytes_moved(32) == (2 * 4 * 2**18, 4 * 2**18)  # loads and fills, write-backs
    assert stream.window == X4.nc_outstanding * 2


def test_loads_of_a_cacheable_source_cost_no_wait():
    assert not copy(cacheable_source=True).phases[0].wait
    assert copy(cacheable_source=True).bytes_moved(32) == copy().bytes_moved(32)


@pytest.mark.parametrize("core", [CPU.cores[0], CPU.cores[4]], ids=lambda core: core.name)
def test_a_non_cacheable_source_halves_the_copy(core):
    # PIM-SHERPA, section 6: copying from non-cacheable memory is about twice as slow.
    rates = [sustained(PHONE.memory, [(copy(core, cacheable_source=c), 1)])[0] for c in (False, True)]
    assert 1.6 < rates[1] / rates[0] < 2.4
