"""Small cases of caches by hand, and what is refused."""

from dataclasses import replace

import numpy as np
import pytest

from pimsim.devices import CacheSpec, CpuSpec, part
from pimsim.devices.cache import Caches, Hierarchy, Timing, attributes_of, cpu_hierarchy, simulate
from pimsim.errors import PlacementError, SpecError
from pimsim.placement.region import Attribute, Region


def level(name, sets, ways, line_bytes=64, **more):
    return CacheSpec(name=name, size_bytes=sets * ways * line_bytes, ways=ways, line_bytes=line_bytes,
    hit_ns=1,
                     source="test", **more)  # fmt: skip


def caches(*levels, **more):
    return Caches(Hierarchy(cores=(levels,)), **more)


def lines(*numbers):
    return np.array(numbers) * 64


def test_a_stream_reads_each_line_once_and_writes_all_but_what_is_held():
    both = caches(level("L1", 16, 4), level("L2", 8, 16))  # 64 and 128 lines
    counts = both.run(np.arange(1000) * 32, True)
    assert counts.levels[0].hits == counts.levels[0].misses == 500
    assert counts.levels[1].hits == 0
    assert counts.memory_reads == 500
    held = {line for i in (0, 1) for line, dirty in zip(*map(list, both.held(i)), strict=True) if dirty}
    assert counts.memory_writes == 500 - len(held)
    assert both.flush() == len(held)
    assert [len(both.held(i)[0]) for i in (0, 1)] == [0, 0]


def test_a_set_that_fits_never_misses_again():
    both = caches(level("L1", 8, 2), level("L2", 32, 4))
    addresses = np.arange(100) * 64
    assert both.run(addresses).memory_reads == 100
    again = both.run(addresses)
    assert again.memory_reads == 0
    assert again.levels[1].hits == 100


def test_non_cacheable_reads_all_reach_the_memory_and_leave_no_trace():
    one = caches(level("L1", 4, 2))
    one.run([0])
    counts = one.run([0, 0, 8, 64], [False, False, True, False], Attribute.NON_CACHEABLE, log=True)
    assert (counts.non_cacheable_reads, counts.non_cacheable_writes) == (3, 1)
    assert counts.memory_reads == counts.levels[0].hits == counts.levels[0].misses == 0
    assert counts.log.address.tolist() == [0, 0, 8, 64]
    assert one.held(0)[0].tolist() == [0]


def test_two_cores_share_the_last_level():
    both = Caches(Hierarchy(cores=((level("L1", 4, 2),),) * 2, shared=(level("L3", 16, 4),)))
    for core, reads in ((0, 10), (1, 0)):
        assert both.run(np.arange(10) * 64, cores=core).memory_reads == reads


def test_no_accesses_at_all():
    counts = simulate([level("L1", 4, 2)], np.zeros(0, np.int64), log=True)
    assert counts.memory_reads == 0
    assert len(counts.log.access) == 0


# Policies, one set of four ways: lines 0, 1, 2, 3 come in, then some are used, then line 4 comes.


def leaves(policy, *used):
    one = caches(level("L1", 1, 4, policy=policy))
    one.run(lines(0, 1, 2, 3, *used))
    one.run(lines(4))
    [gone] = {0, 1, 2, 3} - set(one.held(0)[0].tolist())
    return gone


def test_lru_drops_what_was_used_longest_ago():
    assert leaves("lru") == 0
    assert leaves("lru", 0) == 1
    assert leaves("lru", 0, 1, 2) == 3


def test_tree_plru_follows_the_nodes():
    # Each use turns the nodes above a way to the other side. After 0 1 2 3: root left, left node left.
    assert leaves("tree-plru") == 0
    # Using 0: root right, and the right node still points away from 3, to 2 (LRU would drop 1).
    assert leaves("tree-plru", 0) == 2
    assert leaves("tree-plru", 0, 2) == 1


def test_srrip_drops_the_first_line_that_was_not_used_again():
    # All come in at 2; a use makes 0. The first at 3 goes, after all have aged by one.
    assert leaves("srrip") == 0
    assert leaves("srrip", 0) == 1
    assert leaves("srrip", 1, 0) == 2


def test_srrip_keeps_a_used_set_through_a_scan_and_lru_does_not():
    used, scan = lines(0, 1), lines(*range(10, 40))
    kept = {}
    for policy in ("lru", "srrip"):
        one = caches(level("L1", 1, 8, policy=policy))
        one.run(np.concatenate([used, used, scan[:6]]))
        kept[policy] = one.run(used).levels[0].hits
        one.run(scan[6:13])
        kept[policy] += one.run(used).levels[0].hits
    assert kept == {"lru": 2, "srrip": 4}


def test_random_replacement_is_repeatable_and_depends_on_the_seed():
    addresses = np.arange(4000) % 45 * 64
    runs = [
        caches(level("L1", 4, 8, policy="random"), seed=seed).run(addresses).levels[0].hits
        for seed in (1, 1, 2)
    ]
    assert runs[0] == runs[1] != runs[2]
    one = caches(level("L1", 1, 4, policy="random"))
    gone = [one.run(lines(n), log=True).log.address.tolist()[-1] // 64 for n in range(4, 404)]
    assert len(set(gone)) > 300  # lines of all ways leave


# Stores


def test_write_through_sends_every_store_on():
    one = caches(level("L1", 4, 2, write="through"))
    counts = one.run(lines(1, 1, 1, 2), True)
    assert (counts.memory_reads, counts.memory_writes) == (2, 4)  # allocated once each, stored four times
    assert not one.held(0)[1].any()


def test_stores_that_do_not_allocate_pass_by():
    both = caches(level("L1", 4, 2, write_allocate=False), level("L2", 16, 2))
    counts = both.run(lines(5, 5), True)
    assert both.held(0)[0].tolist() == []
    assert (both.held(1)[0].tolist(), both.held(1)[1].tolist()) == ([5], [True])
    assert (counts.levels[0].misses, counts.levels[1].misses, counts.levels[1].hits) == (2, 1, 1)
    assert both.run(lines(5)).levels[1].hits == 1  # a load brings it in, clean
    assert (both.held(0)[0].tolist(), both.held(0)[1].tolist()) == ([5], [False])


# Several levels


def test_an_inclusive_level_takes_its_victims_out_of_the_levels_inside():
    both = caches(level("L1", 1, 4), level("L2", 1, 4, inclusion="inclusive"))
    both.run(lines(0, 1, 2, 3), [True, False, False, False])
    both.run(lines(0))  # hits L1, so L2 does not see that 0 is in use
    counts = both.run(lines(4))
    assert counts.levels[0].back_invalidations == 1
    assert counts.memory_writes == 1  # 0 was dirty in L1 only
    assert both.held(0)[0].tolist() == [1, 2, 3, 4]


def test_an_exclusive_level_adds_its_size():
    both = caches(level("L1", 1, 4), level("L2", 1, 4, inclusion="exclusive"))
    both.run(lines(*range(8)), [True] + 7 * [False])
    assert (both.held(0)[0].tolist(), both.held(1)[0].tolist()) == ([4, 5, 6, 7], [0, 1, 2, 3])
    counts = both.run(lines(0))
    assert (counts.levels[1].hits, counts.levels[1].moves, counts.memory_reads) == (1, 1, 0)
    assert (both.held(0)[0].tolist(), both.held(1)[0].tolist()) == ([0, 5, 6, 7], [1, 2, 3, 4])
    assert both.held(0)[1].tolist() == [True, False, False, False]  # dirty as it was
    two = caches(level("L1", 1, 4), level("L2", 1, 4))  # non-inclusive: the same lines in both
    two.run(lines(*range(8)))
    assert two.held(0)[0].tolist() == two.held(1)[0].tolist() == [4, 5, 6, 7]


# Prefetchers


def test_next_line_halves_the_misses_of_a_stream_and_stays_in_the_page():
    one = caches(level("L1", 16, 4, prefetch="next-line"))
    counts = one.run(lines(*range(64)))
    # A miss asks for the next line; its first use asks for the next again: one miss a page.
    assert (counts.levels[0].misses, counts.levels[0].prefetches, counts.levels[0].useful_prefetches) == (
        1,
        63,
        63,
    )
    assert (counts.levels[0].accuracy, counts.levels[0].coverage) == (1.0, 63 / 64)
    assert counts.memory_reads == 64
    assert counts.prefetch_reads == 63
    assert 64 not in one.held(0)[0]  # the first line of the next page


def test_next_line_wastes_what_a_stride_of_two_never_uses():
    one = caches(level("L1", 4, 2, prefetch="next-line"))
    counts = one.run(lines(*range(0, 64, 2)))
    assert (counts.levels[0].misses, counts.levels[0].useful_prefetches) == (32, 0)
    assert counts.levels[0].accuracy == 0
    assert counts.levels[0].unused_prefetches + 4 == counts.levels[0].prefetches == 32  # four are still held


@pytest.mark.parametrize("step", [2, 3, -3])
def test_stride_learns_from_two_equal_distances(step):
    one = caches(level("L1", 16, 4, prefetch="stride"))
    walk = [30 + step * i for i in range(10)]
    counts = one.run(lines(*walk))
    assert (counts.levels[0].misses, counts.levels[0].useful_prefetches) == (3, 7)


def test_degree_two_runs_two_ahead():
    one = caches(level("L1", 16, 4, prefetch="stride", prefetch_degree=2))
    one.run(lines(0, 1, 2))
    assert one.held(0)[0].tolist() == [0, 1, 2, 3, 4]


# Attributes


def test_regions_decide_and_an_address_outside_is_refused():
    regions = [
        Region(name="pim weights", attribute=Attribute.NON_CACHEABLE, base=8192, size_bytes=4096),
        Region(name="activations", attribute=Attribute.CACHEABLE, base=0, size_bytes=4096),
        Region(name="inputs", attribute=Attribute.WRITE_COMBINING, base=4096, size_bytes=4096),
    ]
    codes = attributes_of([0, 4095, 4096, 8192, 12287], regions)
    assert codes.tolist() == [0, 0, 2, 1, 1]
    one = caches(level("L1", 4, 2))
    addresses = np.array([64, 4096, 8192, 64, 4096, 8192])
    counts = one.run(addresses, attributes=attributes_of(addresses, regions))
    assert (counts.levels[0].hits, counts.non_cacheable_reads) == (1, 4)
    assert one.held(0)[0].tolist() == [1]
    with pytest.raises(
        PlacementError, match="0x3000 lies in no region; the regions are: activations, inputs"
    ):
        attributes_of([12288], regions)
    with pytest.raises(PlacementError, match="'x': bytes 100 to 4196; wanted whole pages"):
        attributes_of([0], [Region(name="x", attribute=Attribute.CACHEABLE, base=100, size_bytes=4096)])


def test_write_combining_merges_stores_into_bursts():
    one = caches(level("L1", 4, 2))
    stores = np.arange(0, 1024, 16)  # 64 stores of 16 bytes: 16 lines
    counts = one.run(stores, True, Attribute.WRITE_COMBINING)
    assert (counts.combined_stores, counts.combined_bursts, counts.combined_parts) == (64, 16, 0)
    assert counts.non_cacheable_writes == 0
    apart = one.run(
        stores * 8, True, Attribute.WRITE_COMBINING
    )  # each in a line of its own: nothing to merge
    assert (apart.combined_bursts, apart.combined_parts) == (0, 64)
    plain = one.run(stores, True, Attribute.NON_CACHEABLE)
    assert plain.non_cacheable_writes == 64


def test_a_load_sees_the_stores_that_are_being_combined():
    one = caches(level("L1", 4, 2))
    counts = one.run([0, 64, 0], [True, True, False], Attribute.WRITE_COMBINING, log=True, drain_stores=False)
    assert [int(e) for e in counts.log.address] == [0, 0]
    assert (counts.combined_parts, counts.non_cacheable_reads) == (1, 1)  # line 0 went first, then its load
    assert one.run(np.zeros(0, np.int64)).combined_parts == 1  # line 1 was left


# Time: 1 ns an access, 100 ns from memory, hits of L1 1 ns.


def timed(mshrs, addresses, **more):
    one = caches(
        level("L1", 16, 4, mshrs=mshrs), timing=Timing(issue_ns=1, memory_ns=100, **more)
    )  # fmt: skip
    return one.run(addresses)


def test_mshrs_overlap_misses_and_stall_when_all_are_taken():
    one = timed(1, lines(*range(8)))
    assert one.time_ns == (800.0,)  # one after the other
    assert one.levels[0].stall_ns == 7 * 99  # each wait began 1 ns after the miss before it went
    two = timed(2, lines(*range(8)))
    assert two.time_ns == (401.0,)  # pairs, the second of each 1 ns later
    assert timed(8, lines(*range(8))).time_ns == (107.0,)
    assert timed(8, lines(*range(8))).levels[0].stall_ns == 0


def test_a_second_miss_on_a_line_merges():
    counts = timed(2, [0, 16, 32, 48, 64])
    assert counts.levels[0].merged == 3
    assert counts.memory_reads == 2
    assert counts.levels[0].stall_ns == 0  # two lines, two MSHRs


def test_hits_hide_nothing_and_cost_their_latency_once():
    one = caches(level("L1", 16, 4, mshrs=4), timing=Timing(issue_ns=1, memory_ns=100))
    one.run(lines(0))
    assert one.run(np.zeros(10, np.int64)).time_ns == (10.0,)  # nine issues later, and 1 ns of hit time


def test_stores_wait_for_the_store_buffer_and_non_cacheable_ones_for_theirs():
    assert timed(8, lines(*range(4)), store_buffer=1).store_stall_ns == (0.0,)  # loads
    one = caches(level("L1", 16, 4, mshrs=8), timing=Timing(issue_ns=1, memory_ns=100, store_buffer=2))
    assert one.run(lines(*range(4)), True).store_stall_ns == (98.0,)
    two = caches(level("L1", 16, 4), timing=Timing(issue_ns=1, memory_ns=100, nc_outstanding=2))
    counts = two.run(lines(*range(8)), attributes=Attribute.NON_CACHEABLE)
    assert counts.time_ns == (401.0,)
    assert counts.nc_stall_ns == (3 * 98.0,)


def test_prefetches_without_an_mshr_are_dropped():
    stream = lines(*range(32))
    few = caches(level("L1", 16, 4, mshrs=1, prefetch="next-line"), timing=Timing(issue_ns=1, memory_ns=100))
    many = caches(
        level("L1", 16, 4, mshrs=64, prefetch="next-line"), timing=Timing(issue_ns=1, memory_ns=100)
    )
    assert few.run(stream).levels[0].dropped_prefetches > 0
    assert many.run(stream).levels[0].dropped_prefetches == 0


# What is refused


@pytest.mark.parametrize(
    ("more", "said"),
    [
        ({"size_bytes": 1000}, r"L1: size_bytes=1000 are no multiple of 4 ways x 64 bytes"),
        ({"size_bytes": 128}, r"L1: size_bytes=128 are no multiple"),
        (
            {"size_bytes": 768},
            r"L1: 768 bytes in 4 ways .* are 3 sets; wanted a power of two; with ways=3 or 6",
        ),
        ({"ways": 0}, r"L1: ways=0; wanted 1 to 16"),
        ({"ways": 32}, r"L1: ways=32; wanted 1 to 16"),
        ({"line_bytes": 48}, r"L1: line_bytes=48; wanted a power of two"),
        ({"hit_ns": -1}, r"L1: hit_ns=-1"),
        ({"policy": "lfu"}, r"L1: policy='lfu'; did you mean"),
        ({"policy": "tree-plru", "ways": 3, "size_bytes": 768}, r"L1: tree-plru with ways=3"),
        ({"write": "around"}, r"L1: write='around'"),
        ({"inclusion": "inclusiv"}, r"L1: inclusion='inclusiv'; did you mean 'inclusive'"),
        ({"prefetch": "stream"}, r"L1: prefetch='stream'"),
        ({"prefetch_degree": 0}, r"L1: prefetch_degree=0; wanted 1 to 16"),
        ({"mshrs": -1}, r"L1: mshrs=-1"),
    ],
)
def test_a_level_that_cannot_be_is_refused(more, said):
    with pytest.raises(SpecError, match=said):
        replace(level("L1", 4, 4), **more)


def test_a_hierarchy_that_cannot_be_is_refused():
    small, large = level("L1", 4, 4), level("L2", 16, 4)
    cases = [
        ((), (), "no core"),
        (((),), (), "0 levels; wanted 1 to 8"),
        (((small, level("L2", 4, 4, 128)),), (), "L2 has lines of 128 bytes, L1 of 64"),
        (((large, replace(small, inclusion="inclusive")),), (), "L1 of 1024 bytes cannot be inclusive of L2"),
        (((replace(small, inclusion="exclusive"),),), (), "L1 is exclusive but no level is before it"),
        (
            ((replace(small, write="through"), replace(large, inclusion="exclusive")),), (),
            "L2 is exclusive, so L1 must take its dirty lines; write='through'",
        ),
        (
            ((small, replace(large, inclusion="exclusive", prefetch="stride")),), (),
            "L2 is exclusive and holds only what L1 evicted; prefetch='stride'",
        ),
    ]  # fmt: skip
    for cores, shared, said in cases:
        with pytest.raises(SpecError, match=said):
            Hierarchy(cores=cores, shared=shared)
    with pytest.raises(SpecError, match="core 1: L2 is exclusive"):
        Hierarchy(
            cores=((small,), (replace(small, write="through"),)),
            shared=(replace(large, inclusion="exclusive"),),
        )


def test_accesses_that_cannot_be_are_refused():
    one = caches(level("L1", 1, 1))
    for run, said in (
        (lambda: one.run([-1]), "wanted 0 to"),
        (lambda: one.run([64 << 29]), "29 bits of tag"),
        (lambda: one.run([0.5]), "wanted .n,. whole numbers"),
        (lambda: one.run([0, 1], [True] * 3), "2 accesses: "),
        (lambda: one.run([0], cores=1), "cores 1..1; the hierarchy has 1"),
        (lambda: one.run([0], attributes=[7]), "attribute codes 7..7"),
        (
            lambda: one.run([56], True, Attribute.WRITE_COMBINING),
            "16 bytes at address 0x38: wanted within a line",
        ),
        (lambda: cpu_hierarchy(part("exynos-2400", CpuSpec), (9,)), "no core 9; it has 6"),
        (lambda: Timing(memory_ns=-1), "memory_ns=-1"),
    ):
        with pytest.raises(SpecError, match=said):
            run()


def test_the_caches_of_a_cpu():
    hierarchy = cpu_hierarchy(part("exynos-2400", CpuSpec), (0, 1))
    assert [spec.name for spec in hierarchy.levels(0)] == ["L1", "L2", "L3", "SLC"]
    assert hierarchy.levels(1)[1].size_bytes == 512 * 1024
    frame = Caches(hierarchy).run(np.arange(1000) * 64, cores=np.arange(1000) % 2).to_frame()
    assert frame["core"].tolist() == [0, 0, 1, 1, -1, -1]
    assert frame["misses"].tolist() == [500, 500, 500, 500, 1000, 1000]
    assert frame["misses_per_1000"].tolist() == [500, 500, 500, 500, 1000, 1000]
