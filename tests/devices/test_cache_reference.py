"""The compiled caches against plain ones in dictionaries, access for access, over all that a spec can say."""

from collections import Counter
from dataclasses import replace

import numpy as np
import pytest
from devices.plain_cache import PlainCaches
from hypothesis import given, settings
from hypothesis import strategies as st

from pimsim.devices.cache import EVENTS, Caches, Hierarchy, Timing
from pimsim.devices.spec import (
    CACHE_INCLUSIONS,
    CACHE_POLICIES,
    CACHE_PREFETCHERS,
    CACHE_WRITES,
    CacheSpec,
)

ATTRIBUTES = ("cacheable", "non-cacheable", "write-combining")


@st.composite
def specs(draw, name, first, before, plain):
    """A level; `before`: the level before it, or None."""
    policy = draw(st.sampled_from(CACHE_POLICIES))
    ways = draw(st.sampled_from((1, 2, 4) if policy == "tree-plru" else (1, 2, 3, 4)))
    sets = draw(st.sampled_from((1, 2, 4)))
    held = CacheSpec(
        name=name, size_bytes=sets * ways * 64, ways=ways, line_bytes=64, source="test", policy=policy,
        hit_ns=draw(st.sampled_from((0.5, 1, 4))), mshrs=draw(st.sampled_from((0, 1, 2, 3, 6))),
    )  # fmt: skip
    if plain:
        return held
    inclusion = "non-inclusive" if first else draw(st.sampled_from(CACHE_INCLUSIONS))
    if inclusion == "exclusive" and before.write != "back":
        inclusion = "non-inclusive"
    return replace(
        held,
        inclusion=inclusion,
        write=draw(st.sampled_from(CACHE_WRITES)),
        write_allocate=draw(st.booleans()),
        prefetch="none" if inclusion == "exclusive" else draw(st.sampled_from(CACHE_PREFETCHERS)),
        prefetch_degree=draw(st.integers(1, 3)),
    )


def grown(spec, before):
    """An inclusive level is made as large as those before it."""
    if spec.inclusion != "inclusive":
        return spec
    least = max(level.size_bytes for level in before)
    size = spec.size_bytes
    while size < least:
        size *= 2
    return replace(spec, size_bytes=size)


@st.composite
def hierarchies(draw, plain=False):
    cores = draw(st.integers(1, 2))
    private, shared = draw(st.integers(1, 2)), draw(st.integers(0, 2))
    stacks = []
    for _ in range(cores):
        levels = []
        for i in range(private):
            spec = draw(specs(f"L{i + 1}", i == 0, levels[-1] if levels else None, plain))
            levels.append(grown(spec, levels))
        stacks.append(tuple(levels))
    rest = []
    for i in range(shared):
        before = [*(level for levels in stacks for level in levels), *rest]
        last = rest[-1] if rest else replace(stacks[0][-1], write=min(s[-1].write for s in stacks))
        if not rest and any(s[-1].write == "through" for s in stacks):
            last = replace(last, write="through")
        rest.append(grown(draw(specs(f"S{i + 1}", False, last, plain)), before))
    return Hierarchy(cores=tuple(stacks), shared=tuple(rest), combining_buffers=draw(st.integers(1, 2)))


@st.composite
def accesses(draw, cores):
    """Rows of core, address, write, attribute code, size of a store; lines on both sides of a page's end."""
    line = st.integers(52, 76)
    walk = st.builds(  # what prefetchers wait for
        lambda first, step, n: [first + i * step for i in range(n)],
        line,
        st.integers(-3, 3),
        st.integers(3, 8),
    )
    pieces = draw(st.lists(st.one_of(walk, st.lists(line, max_size=6)), max_size=14))
    rows = []
    for number in (number for piece in pieces for number in piece):
        size = draw(st.sampled_from((8, 16, 32, 64)))
        attribute = draw(st.sampled_from((0, 0, 0, 0, 0, 1, 2, 2)))
        offset = draw(st.integers(0, 64 // size - 1)) * size
        rows.append(
            (draw(st.integers(0, cores - 1)), number * 64 + offset, draw(st.booleans()), attribute, size)
        )
    return rows


def columns(rows):
    held = np.array(rows, np.int64).reshape(-1, 5).T
    return {"addresses": held[1], "writes": held[2] == 1, "attributes": held[3], "cores": held[0],
            "store_bytes": held[4]}  # fmt: skip


def same_counts(levels, plain):
    for got, wanted in zip(levels, plain.caches, strict=True):
        for name, value in wanted.count.items():
            if name == "stall":
                assert got.stall_ns == pytest.approx(value / 1000)
            else:
                assert getattr(got, name) == value, (got.name, name)


def same_memory(plain, *parts):
    seen = Counter(event for _, event, _, _ in plain.events)
    for name, event in (("memory_reads", "read"), ("memory_writes", "write"),
                        ("non_cacheable_reads", "non-cacheable read"),
                        ("non_cacheable_writes", "non-cacheable write")):  # fmt: skip
        assert sum(getattr(part, name) for part in parts) == seen[event], name


def same_times(plain, got):
    assert got.time_ns == pytest.approx([t / 1000 for t in plain.end])
    assert got.nc_stall_ns == pytest.approx([t / 1000 for t in plain.nc_stall])
    assert got.store_stall_ns == pytest.approx([t / 1000 for t in plain.store_stall])


@settings(max_examples=400, deadline=None)
@given(st.data(), st.booleans(), st.integers(0, 5))
def test_access_for_access_like_the_plain_one(data, timed, seed):
    hierarchy = data.draw(hierarchies())
    rows = data.draw(accesses(len(hierarchy.cores)))
    timing = None
    if timed:
        timing = Timing(
            issue_ns=data.draw(st.sampled_from((0.25, 1, 10))), memory_ns=20,
            nc_outstanding=data.draw(st.integers(0, 2)), store_buffer=data.draw(st.integers(0, 2)),
        )  # fmt: skip
    plain = PlainCaches(hierarchy, timing, seed)
    for core, address, write, attribute, size in rows:
        plain.access(core, address, write, ATTRIBUTES[attribute], size)
    plain.drain()
    caches = Caches(hierarchy, timing=timing, seed=seed)
    got = caches.run(**columns(rows), log=True)
    log = got.log
    events = [EVENTS[e] for e in log.event]
    assert (
        list(zip(log.access.tolist(), events, log.cache.tolist(), log.address.tolist(), strict=True))
        == plain.events
    )
    assert log.served.tolist() == plain.served
    same_counts(got.levels, plain)
    for i, cache in enumerate(plain.caches):
        lines, dirty = caches.held(i)
        assert set(zip(lines.tolist(), dirty.tolist(), strict=True)) == cache.contents()
    same_memory(plain, got)
    seen = Counter(event for _, event, _, _ in plain.events)
    assert (got.combined_bursts, got.combined_parts) == (seen["combined burst"], seen["combined part"])
    if timed:
        same_times(plain, got)


@settings(max_examples=300, deadline=None)
@given(st.data(), st.booleans(), st.integers(0, 5))
def test_without_a_log_the_counts_are_the_same(data, plain, seed):
    """What a run does not need is left out of its compiled function: all that a log needs, for one."""
    hierarchy = data.draw(hierarchies(plain))
    rows = [row for row in data.draw(accesses(len(hierarchy.cores))) if row[3] != 2]
    cut = data.draw(st.integers(0, len(rows)))
    dictionaries = PlainCaches(hierarchy, None, seed)
    for core, address, write, attribute, size in rows:
        dictionaries.access(core, address, write, ATTRIBUTES[attribute], size)
    caches = Caches(hierarchy, seed=seed)
    parts = [caches.run(**columns(part)) for part in (rows[:cut], rows[cut:])]
    for i, cache in enumerate(dictionaries.caches):
        for name, value in cache.count.items():
            if name != "stall":
                assert sum(getattr(part.levels[i], name) for part in parts) == value, (i, name)
        lines, dirty = caches.held(i)
        assert set(zip(lines.tolist(), dirty.tolist(), strict=True)) == cache.contents()
    same_memory(dictionaries, *parts)


@settings(max_examples=300, deadline=None)
@given(st.data(), st.booleans(), st.integers(0, 5))
def test_without_a_log_the_times_are_the_same(data, plain, seed):
    hierarchy = data.draw(hierarchies(plain))
    rows = [row for row in data.draw(accesses(len(hierarchy.cores))) if row[3] != 2]
    timing = Timing(
        issue_ns=data.draw(st.sampled_from((0.25, 1, 10))), memory_ns=data.draw(st.sampled_from((2, 20))),
        nc_outstanding=data.draw(st.integers(0, 4)), store_buffer=data.draw(st.integers(0, 4)),
    )  # fmt: skip
    dictionaries = PlainCaches(hierarchy, timing, seed)
    for core, address, write, attribute, size in rows:
        dictionaries.access(core, address, write, ATTRIBUTES[attribute], size)
    got = Caches(hierarchy, timing=timing, seed=seed).run(**columns(rows))
    same_counts(got.levels, dictionaries)
    same_memory(dictionaries, got)
    same_times(dictionaries, got)


def test_a_long_log_goes_on_where_its_room_ended():
    """More events than there is room for at first: five and more of an access."""
    first, last = (
        CacheSpec(name=name, size_bytes=size, ways=4, line_bytes=64, hit_ns=1, source="test")
        for name, size in (("L1", 1024), ("L2", 4096))
    )
    hierarchy = Hierarchy(
        cores=((replace(first, prefetch="stride", prefetch_degree=2),),),
        shared=(replace(last, inclusion="inclusive"),),
    )
    lines = np.random.default_rng(1).permutation(np.arange(20_000).reshape(-1, 8)).ravel()
    plain = PlainCaches(hierarchy)
    for line in lines.tolist():
        plain.access(0, line * 64, True, "cacheable", 64)
    log = Caches(hierarchy).run(lines * 64, True, log=True).log
    assert len(plain.events) > (1 << 14) + 4 * len(lines)
    events = [EVENTS[e] for e in log.event]
    rows = zip(log.access.tolist(), events, log.cache.tolist(), log.address.tolist(), strict=True)
    assert list(rows) == plain.events


@pytest.mark.parametrize("inclusion", CACHE_INCLUSIONS)
@pytest.mark.parametrize(
    ("policy", "ways"),
    [(p, ways) for p in CACHE_POLICIES for ways in (8, 12, 16) if (p, ways) != ("tree-plru", 12)],
)
def test_wide_sets(policy, ways, inclusion):
    """More ways than the random hierarchies have: hot lines and a scan, over three levels and with holes."""
    levels = tuple(
        CacheSpec(name=f"L{i}", size_bytes=sets * ways * 64, ways=ways, line_bytes=64, hit_ns=1,
                  policy=policy, inclusion=inclusion if i else "non-inclusive", source="test")
        for i, sets in enumerate((1, 2, 4))
    )  # fmt: skip
    hierarchy = Hierarchy(cores=(levels,))
    random = np.random.default_rng(ways)
    lines = np.where(
        random.random(2000) < 0.5, random.integers(0, 2 * ways, 2000), np.arange(2000) % (9 * ways)
    )
    writes = random.random(2000) < 0.3
    plain = PlainCaches(hierarchy)
    for line, write in zip(lines.tolist(), writes.tolist(), strict=True):
        plain.access(0, line * 64, write, "cacheable", 64)
    for log in (True, False):  # two compiled functions
        caches = Caches(hierarchy)
        counts = caches.run(lines * 64, writes, log=log)
        same_counts(counts.levels, plain)
        for i, cache in enumerate(plain.caches):
            held, dirty = caches.held(i)
            assert set(zip(held.tolist(), dirty.tolist(), strict=True)) == cache.contents()


@pytest.mark.parametrize("prefetch", CACHE_PREFETCHERS)
@pytest.mark.parametrize("cores", [1, 2])
@pytest.mark.parametrize("memory_ns", [3, 40])
def test_many_lines_on_their_way(prefetch, cores, memory_ns):
    """More MSHRs than the random hierarchies have; two cores whose clocks run apart share some."""
    first = CacheSpec(name="L1", size_bytes=1024, ways=4, line_bytes=64, hit_ns=1, mshrs=11, source="test")
    second = replace(first, name="L2", size_bytes=4096, mshrs=40, hit_ns=5, prefetch=prefetch)
    last = replace(first, name="L3", size_bytes=16384, mshrs=17, hit_ns=12)
    hierarchy = Hierarchy(cores=((first, second),) * cores, shared=(last,))
    timing = Timing(issue_ns=0.25, memory_ns=memory_ns, nc_outstanding=9, store_buffer=10)
    random = np.random.default_rng(memory_ns)
    lines = np.where(random.random(3000) < 0.5, random.integers(0, 500, 3000), np.arange(3000) // 2)
    rows = np.stack(
        [
            np.where(np.arange(3000) < 2000, random.random(3000) < 0.1, random.random(3000) < 0.5)
            * (cores > 1),
            lines * 64,
            random.random(3000) < 0.3,
            random.random(3000) < 0.1,
            np.full(3000, 64),
        ],
        axis=1,
    )
    plain = PlainCaches(hierarchy, timing)
    for core, address, write, attribute, size in rows.tolist():
        plain.access(core, address, write, ATTRIBUTES[attribute], size)
    got = Caches(hierarchy, timing=timing).run(**columns(rows))
    assert sum(level.merged for level in got.levels) > 100
    same_counts(got.levels, plain)
    same_times(plain, got)


@settings(max_examples=100, deadline=None)
@given(st.data())
def test_inclusive_levels_hold_what_is_inside_and_exclusive_ones_none_of_it(data):
    """Whatever the traffic: of an inclusive level for all cores, of an exclusive one with one core."""
    ways = data.draw(st.sampled_from((1, 2, 4)))
    policy = data.draw(st.sampled_from(CACHE_POLICIES))
    first = CacheSpec(name="L1", size_bytes=64 * ways * 2, ways=ways, line_bytes=64, hit_ns=1, source="test",
                      policy=policy, prefetch="next-line")  # fmt: skip
    kind = data.draw(st.sampled_from(("inclusive", "exclusive")))
    last = replace(first, name="L2", size_bytes=64 * ways * 4, inclusion=kind, prefetch="none")
    cores = 2 if kind == "inclusive" else 1
    caches = Caches(Hierarchy(cores=((first,),) * cores, shared=(last,)))
    rows = [row for row in data.draw(accesses(cores)) if row[3] == 0]
    for row in rows:
        caches.run(**columns([row]))
        outer = set(caches.held(cores)[0].tolist())
        for core in range(cores):
            inner = set(caches.held(core)[0].tolist())
            assert inner <= outer if kind == "inclusive" else not inner & outer
