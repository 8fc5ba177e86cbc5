"""The compiled hierarchy against a plain one written apart from it, and small cases by hand."""

from collections import OrderedDict

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pimsim.devices.cache import CacheCounts, CacheLevel, CacheState, simulate
from pimsim.errors import SpecError


class Plain:
    """The rules of the module, in dictionaries: line -> dirty, the most recent last."""

    def __init__(self, levels: list[CacheLevel]) -> None:
        self.levels = levels
        self.sets: list[list[OrderedDict[int, bool]]] = [
            [OrderedDict() for _ in range(level.sets)] for level in levels
        ]
        self.hits, self.misses, self.write_backs = ([0] * len(levels) for _ in range(3))
        self.log: list[tuple[int, int, bool, bool]] = []
        self.served: list[int] = []

    def set_of(self, level: int, line: int) -> OrderedDict[int, bool]:
        return self.sets[level][line % self.levels[level].sets]

    def install(self, i: int, level: int, line: int, dirty: bool) -> None:
        if level == len(self.levels):
            self.log.append((i, line * self.levels[0].line_bytes, True, True))
            return
        held = self.set_of(level, line)
        victim = None
        if line not in held and len(held) == self.levels[level].ways:
            victim = held.popitem(last=False)
        held[line] = dirty
        held.move_to_end(line)
        if victim and victim[1]:
            self.write_backs[level] += 1
            self.install(i, level + 1, victim[0], True)

    def access(self, i: int, address: int, write: bool, cacheable: bool) -> None:
        if not cacheable:
            self.log.append((i, address, write, False))
            self.served.append(len(self.levels))
            return
        line = address // self.levels[0].line_bytes
        missed = []
        for level in range(len(self.levels)):
            if line in self.set_of(level, line):
                self.hits[level] += 1
                self.set_of(level, line).move_to_end(line)
                break
            self.misses[level] += 1
            missed.append(level)
        self.served.append(len(missed))
        if len(missed) == len(self.levels):
            self.log.append((i, line * self.levels[0].line_bytes, False, True))
        for level in reversed(missed):
            self.install(i, level, line, False)
        if write:
            self.set_of(0, line)[line] = True


def level(name: str, sets: int, ways: int, line_bytes: int = 64) -> CacheLevel:
    return CacheLevel(name=name, size_bytes=sets * ways * line_bytes, ways=ways, line_bytes=line_bytes)


HIERARCHIES = st.lists(st.tuples(st.integers(1, 4), st.integers(1, 3)), min_size=1, max_size=4).map(
    lambda sizes: [level(f"L{i + 1}", sets, ways) for i, (sets, ways) in enumerate(sizes)]
)
ACCESSES = st.lists(
    st.tuples(st.integers(0, 24 * 64 - 1), st.booleans(), st.sampled_from([True] * 5 + [False])), max_size=200
)


def entries(counts: CacheCounts, start: int = 0) -> list[tuple[int, int, bool, bool]]:
    log = counts.log
    assert log is not None
    columns = (
        (log.access + start).tolist(),
        log.address.tolist(),
        log.write.tolist(),
        log.cacheable.tolist(),
    )
    return list(zip(*columns, strict=True))


@settings(max_examples=200, deadline=None)
@given(HIERARCHIES, ACCESSES, st.integers(0, 200))
def test_access_for_access_like_the_plain_one(
    levels: list[CacheLevel], accesses: list[tuple[int, bool, bool]], cut: int
) -> None:
    plain = Plain(levels)
    for i, access in enumerate(accesses):
        plain.access(i, *access)
    columns = np.array(accesses, np.int64).reshape(-1, 3).T
    states = [CacheState(v) for v in levels]
    cut = min(cut, len(accesses))
    parts = [
        simulate(levels, columns[0, part], columns[1, part], columns[2, part], states=states, log=True)
        for part in (slice(0, cut), slice(cut, None))
    ]
    assert entries(parts[0]) + entries(parts[1], cut) == plain.log
    assert [s for p in parts if p.log for s in p.log.served.tolist()] == plain.served
    for i in range(len(levels)):
        assert sum(p.levels[i].hits for p in parts) == plain.hits[i]
        assert sum(p.levels[i].misses for p in parts) == plain.misses[i]
        assert sum(p.levels[i].write_backs for p in parts) == plain.write_backs[i]
        assert states[i].held_lines == sum(map(len, plain.sets[i]))
        assert states[i].dirty_lines == sum(sum(s.values()) for s in plain.sets[i])
    whole = simulate(levels, columns[0], columns[1], columns[2])
    assert whole.log is None
    kinds = [(write, cacheable) for _, _, write, cacheable in plain.log]
    assert whole.memory_reads == kinds.count((False, True))
    assert whole.memory_writes == kinds.count((True, True))
    assert whole.non_cacheable_reads == kinds.count((False, False))
    assert whole.non_cacheable_writes == kinds.count((True, False))


def test_a_stream_reads_each_line_once_and_writes_all_but_what_is_held() -> None:
    levels = [level("L1", 16, 4), level("L2", 12, 8)]  # 64 and 96 lines
    states = [CacheState(v) for v in levels]
    counts = simulate(levels, np.arange(1000) * 32, True, states=states)
    assert counts.levels[0].hits == counts.levels[0].misses == 500
    assert counts.levels[1].hits == 0
    assert counts.memory_reads == 500
    held = {int(e) >> 1 for s in states for e in s.lines.ravel() if e >= 0 and e & 1}
    assert counts.memory_writes == 500 - len(held)


def test_a_set_that_fits_never_misses_again() -> None:
    levels = [level("L1", 8, 2), level("L2", 32, 4)]
    states = [CacheState(v) for v in levels]
    addresses = np.arange(100) * 64
    assert simulate(levels, addresses, False, states=states).memory_reads == 100
    again = simulate(levels, addresses, False, states=states)
    assert again.memory_reads == 0
    assert again.levels[1].hits == 100


def test_non_cacheable_reads_all_reach_the_memory_and_leave_no_trace() -> None:
    levels = [level("L1", 4, 2)]
    states = [CacheState(v) for v in levels]
    simulate(levels, [0], False, states=states)
    counts = simulate(levels, [0, 0, 8, 64], [False, False, True, False], False, states=states, log=True)
    assert (counts.non_cacheable_reads, counts.non_cacheable_writes) == (3, 1)
    assert counts.memory_reads == counts.levels[0].hits == counts.levels[0].misses == 0
    assert counts.log is not None
    assert counts.log.address.tolist() == [0, 0, 8, 64]
    assert states[0].held_lines == 1


def test_two_cores_share_the_last_level() -> None:
    levels = [level("L1", 4, 2), level("L3", 16, 4)]
    shared = CacheState(levels[1])
    for reads in (10, 0):
        counts = simulate(levels, np.arange(10) * 64, False, states=[CacheState(levels[0]), shared])
        assert counts.memory_reads == reads


def test_no_accesses_at_all() -> None:
    counts = simulate([level("L1", 4, 2)], [], [], [], log=True)
    assert counts.memory_reads == 0
    assert counts.log is not None
    assert len(counts.log.access) == 0


def test_sizes_that_do_not_divide_are_refused() -> None:
    with pytest.raises(SpecError, match="L1: 1000 bytes do not divide into sets of 4 ways x 64"):
        CacheLevel(name="L1", size_bytes=1000, ways=4)
    with pytest.raises(SpecError, match="line_bytes=48"):
        CacheLevel(name="L1", size_bytes=960, ways=4, line_bytes=48)
    with pytest.raises(SpecError, match="ways=0"):
        CacheLevel(name="L1", size_bytes=960, ways=0)
    with pytest.raises(SpecError, match="hit_ns=-1"):
        CacheLevel(name="L1", size_bytes=64, ways=1, hit_ns=-1)
    with pytest.raises(SpecError, match="L2: lines of 128 bytes, but L1 has 64"):
        simulate([level("L1", 1, 1), level("L2", 1, 1, 128)], [0], False)
    with pytest.raises(SpecError, match="at least one level"):
        simulate([], [0], False)
    with pytest.raises(SpecError, match="do not fit"):
        simulate([level("L1", 2, 1)], [0], False, states=[CacheState(level("L1", 1, 1))])
    with pytest.raises(SpecError, match="wanted 0 to"):
        simulate([level("L1", 1, 1)], [-1], False)
    same = CacheState(level("L1", 1, 1))
    with pytest.raises(SpecError, match="share one state"):
        simulate([level("L1", 1, 1), level("L2", 1, 1)], [0], False, states=[same, same])
