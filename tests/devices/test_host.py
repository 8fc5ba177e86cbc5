"""Blocked products, threads on unequal cores and memory-bound operators; numbers worked out by hand."""

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pimsim.devices import CacheSpec, CpuSpec, part
from pimsim.devices.gemm import gemm_blocks, gemm_run
from pimsim.devices.threads import SPLITS, run_step, shares
from pimsim.devices.vector import attention, level_gbps, rms_norm, rope, softmax, vector_ns
from pimsim.errors import SpecError

CPU = part("exynos-2400", CpuSpec)
X4, A720 = CPU.cores[:2]
LEVELS = (X4.l1, X4.l2, *CPU.shared)


def level(name, size_kib, ways):
    return CacheSpec(name=name, size_bytes=size_kib * 1024, ways=ways, line_bytes=64, hit_ns=1, source="test")


# Blocks


def test_blocks_follow_the_caches_by_the_published_rule():
    # Low et al. (2016), for L1: C_Ar = floor((W - 1) / (1 + nr / mr)), k_c = C_Ar N_L C_L / (m_r S).
    # Their Sandy Bridge: 32 KiB, 8 ways, doubles, m_r = 8, n_r = 4: C_Ar = 4, k_c = 4 x 4096 / (8 x 8) = 256.
    sandy_bridge = (level("L1", 32, 8), level("L2", 256, 8))
    blocks = gemm_blocks(sandy_bridge, 4096, 4096, 4096, 8, mr=8, nr=4)
    assert blocks.kc == 256
    # L2: one way for C, ceil(n_r k_c S / way) = ceil(8192 / 32768) = 1 for B: 6 x 32768 / (256 x 8) rows.
    assert blocks.mc == 96


def test_larger_caches_hold_larger_blocks_that_fit():
    small = gemm_blocks((level("L1", 16, 4), level("L2", 128, 8), level("L3", 1024, 16)), 4096, 8192, 8192)
    large = gemm_blocks((level("L1", 32, 4), level("L2", 256, 8), level("L3", 2048, 16)), 4096, 8192, 8192)
    assert large.kc == 2 * small.kc
    for blocks, kib in ((small, (16, 128, 1024)), (large, (32, 256, 2048))):
        assert (8 + 8) * blocks.kc * 2 < kib[0] * 1024
        assert blocks.mc * blocks.kc * 2 < kib[1] * 1024
        assert blocks.nc * blocks.kc * 2 < kib[2] * 1024
        assert [reason.split("=")[0] for reason in blocks.reasons] == ["kc", "mc", "nc"]


def test_a_block_is_never_larger_than_the_product():
    blocks = gemm_blocks(LEVELS, 5, 100, 300)
    assert (blocks.mc, blocks.nc, blocks.kc) == (5, 100, 300)
    assert "all of the rows of A" in blocks.reasons[1]
    with pytest.raises(SpecError, match="m=0; wanted at least 1"):
        gemm_blocks(LEVELS, 0, 1, 1)
    with pytest.raises(SpecError, match="no cache"):
        gemm_blocks((), 1, 1, 1)


# Products


def test_few_rows_are_slow_because_packing_and_registers_serve_few():
    runs = {m: gemm_run(X4, CPU.shared, m, 512, 2048) for m in (1, 8, 32, 128)}
    shares = [runs[m].efficiency for m in (1, 8, 32, 128)]
    assert shares == sorted(shares)
    assert runs[128].efficiency < 1
    # A row of activations costs as much arithmetic as the eight that a block of registers holds.
    assert runs[1].compute_ns == runs[8].compute_ns == pytest.approx(2 * 8 * 512 * 2048 / X4.peak_gflops)
    assert runs[1].pack_w_ns == pytest.approx(
        runs[128].pack_w_ns
    )  # the weights are packed once whatever m is


def test_short_shares_of_the_weights_are_slower_than_long_ones():
    """Grouped-query attention: four threads have 128 rows each of K and V, and 512 of Q. The activations are
    packed for each share."""
    short, long = (gemm_run(X4, CPU.shared, 64, n, 2048) for n in (128, 512))
    assert short.pack_a_ns == pytest.approx(long.pack_a_ns)
    assert short.efficiency < long.efficiency


def test_weights_come_from_memory_once():
    run = gemm_run(X4, CPU.shared, 64, 512, 2048)
    # By hand in lines of 64 bytes: W and A of 64 lines a row, their packed blocks (kc = 1024: 32 lines a row,
    # used twice), C of 16 lines a row; everything is read once and nothing leaves the caches.
    lines = 512 * 64 + 64 * 64 + 512 * 32 + 64 * 32 + 64 * 16
    assert run.memory_lines == lines


def test_what_is_walked_and_what_is_scaled_agree():
    long, longer = (gemm_run(X4, CPU.shared, 16, n, 512) for n in (256, 1024))
    assert longer.pack_w_ns == pytest.approx(4 * long.pack_w_ns)
    assert longer.load_ns == pytest.approx(4 * long.load_ns)
    assert longer.pack_a_ns == pytest.approx(long.pack_a_ns)


def test_slower_memory_makes_packing_slower_and_narrow_types_compute_faster():
    near, far = (gemm_run(A720, CPU.shared, 16, 256, 2048, memory_ns) for memory_ns in (100.0, 400.0))
    assert far.pack_w_ns > near.pack_w_ns
    assert far.compute_ns == near.compute_ns
    narrow = gemm_run(A720, CPU.shared, 16, 256, 2048, 100.0, 1, "int8")
    assert narrow.compute_ns == pytest.approx(near.compute_ns / 4)
    assert (X4.peak_gflops_of("int8"), X4.peak_gflops_of("bf16")) == pytest.approx((410.88, 102.72))


# Threads


def test_shares():
    assert shares(10, [1, 1, 1], "static") == [4, 3, 3]
    assert shares(10, [3, 1, 1], "weighted") == [6, 2, 2]
    with pytest.raises(SpecError, match="no fixed shares with split 'dynamic'"):
        shares(10, [1], "dynamic")


def test_a_static_step_waits_for_the_slowest_core_and_a_weighted_one_does_not():
    static = run_step(120, [3, 1], barrier_s=5)
    assert static.done_s == (20, 60)
    assert static.end_s == 65
    assert static.idle_share == pytest.approx(1 - 30 / 60)  # together they need 120 / 4
    weighted = run_step(120, [3, 1], split="weighted")
    assert weighted.done_s == (30, 30)
    assert weighted.idle_share == pytest.approx(0)


def test_dynamic_chunks_go_to_whoever_is_free():
    # Rates 2 and 1, chunks of 2: the fast core takes one each second, the slow one each two.
    step = run_step(12, [2, 1], split="dynamic", chunk=2)
    assert step.work == (8, 4)
    assert step.done_s == (4, 4)
    late = run_step(12, [2, 1], split="dynamic", chunk=12)
    assert late.done_s == (6, 0)  # one chunk: the other core has nothing
    assert run_step(12, [2, 1], split="dynamic", chunk=2, take_s=1).done_s == (8, 6)


def test_threads_that_share_a_core_slow_each_other_until_one_ends():
    # Three threads of 10 units on cores of 1 and 1: threads 0 and 2 share core 0.
    pinned = run_step(30, [1, 1], threads=3)
    assert pinned.done_s == (20, 10, 20)
    # Scheduled: all three at 2/3 of a core until the end.
    assert run_step(30, [1, 1], threads=3, pinned=False).done_s == pytest.approx((15, 15, 15))


def test_the_scheduler_gives_the_longest_thread_the_fastest_core():
    # 10 units each on cores 2 and 1: pinned the second needs 10; moved, they change places and end at 20 / 3.
    assert run_step(20, [2, 1]).end_s == 10
    assert run_step(20, [2, 1], pinned=False).end_s == pytest.approx(20 / 3)


@given(
    st.integers(1, 500), st.lists(st.floats(0.1, 10), min_size=1, max_size=5),
    st.sampled_from(sorted(SPLITS)),
    st.integers(1, 50), st.booleans(), st.integers(1, 8),
)  # fmt: skip
def test_all_work_is_done_and_none_faster_than_the_cores_can(total, rates, split, chunk, pinned, threads):
    step = run_step(total, rates, split=split, chunk=chunk, pinned=pinned, threads=threads)
    assert sum(step.work) == total
    used = rates if not pinned and split != "dynamic" else rates[:threads]
    assert max(step.done_s) >= total / sum(used) * (1 - 1e-6)
    assert 0 - 1e-6 <= step.idle_share <= 1


def test_bad_steps_are_refused():
    for more, said in (
        ({"rates": []}, "at least one"),
        ({"rates": [1, 0]}, "all above 0"),
        ({"split": "guided"}, "no split of work named 'guided'"),
        ({"chunk": 0}, "chunk=0"),
        ({"threads": 0}, "threads=0"),
    ):
        with pytest.raises(SpecError, match=said):
            run_step(**({"total": 10, "rates": [1]} | more))


# Memory-bound operators


def test_bytes_and_operations_of_vector_operators():
    assert (softmax(2, 100).read_bytes, softmax(2, 100).written_bytes) == (800, 400)
    assert (rms_norm(1, 100).read_bytes, rms_norm(1, 100).flops) == (600, 408)
    turned = rope(1, 4, 64)
    assert (turned.read_bytes, turned.written_bytes) == (4 * 64 * 2 + 64 * 2, 512)
    one = attention(1, 1000, 32, 8, 64)
    assert one.read_bytes == 2 * 1000 * 8 * 64 * 2 + 32 * 64 * 2  # K and V once for all heads of a group
    assert attention(64, 1000, 32, 8, 64).read_bytes > 3 * one.read_bytes  # four query blocks of 64 rows
    with pytest.raises(SpecError, match="heads=3 are no multiple of kv_heads=2"):
        attention(1, 1, 3, 2, 64)


def test_bandwidth_falls_with_the_level_that_holds_the_data():
    slow = replace(X4, cached_gbps=1e9)  # the latencies alone
    cpu = replace(CPU, cores=(slow,))
    found = [level_gbps(cpu, 0, size) for size in (2**10, 2**20, 2**22, 2**27)]
    assert [name for name, _ in found] == ["L1", "L2", "L3", "memory"]
    # 48 lines of 64 bytes in flight over 1.2, 4, 15 and 100 ns.
    assert [gbps for _, gbps in found] == pytest.approx([3072 / 1.2, 3072 / 4, 3072 / 15, 30.72])
    assert level_gbps(CPU, 0, 2**20) == ("L2", 30.0)  # as fast as vector code is
    assert level_gbps(CPU, 1, 2**27)[1] == pytest.approx(15.0)  # 24 lines would give 15.36


def test_an_operator_takes_its_bytes_or_its_arithmetic():
    assert vector_ns(CPU, 0, softmax(1, 1000), memory_ns=400) == pytest.approx(6000 / 30)
    far = vector_ns(CPU, 0, softmax(1, 1000), working_bytes=2**27, memory_ns=400)
    assert far == pytest.approx(6000 / 7.68)
    heavy = attention(512, 512, 32, 8, 64)
    assert vector_ns(CPU, 0, heavy) == pytest.approx(heavy.flops / 102.72)
