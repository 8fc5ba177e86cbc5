"""A cache hierarchy in dictionaries, written from the rules of `pimsim.devices.cache`, not from its code."""

from __future__ import annotations

from dataclasses import dataclass, field

from pimsim.devices.cache import Hierarchy, Timing
from pimsim.devices.spec import CacheSpec

MEMORY = -1


class Lru:
    def __init__(self, ways):
        self.recent = []

    def used(self, way):
        if way in self.recent:
            self.recent.remove(way)
        self.recent.append(way)

    entered = used

    def victim(self):
        return self.recent[0]

    def left(self, way):
        self.recent.remove(way)


class TreePlru:
    """Halves of halves of the ways; `points` says on which side of a range the next victim is."""

    def __init__(self, ways):
        self.ways, self.points = ways, {}

    def used(self, way):
        low, high = 0, self.ways
        while high - low > 1:
            middle = (low + high) // 2
            self.points[low, high] = "right" if way < middle else "left"
            low, high = (low, middle) if way < middle else (middle, high)

    entered = used

    def victim(self):
        low, high = 0, self.ways
        while high - low > 1:
            middle = (low + high) // 2
            low, high = (low, middle) if self.points.get((low, high), "left") == "left" else (middle, high)
        return low

    def left(self, way):
        pass


class Srrip:
    def __init__(self, ways):
        self.predicted = [0] * ways

    def used(self, way):
        self.predicted[way] = 0

    def entered(self, way):
        self.predicted[way] = 2

    def victim(self):
        while 3 not in self.predicted:
            self.predicted = [value + 1 for value in self.predicted]
        return self.predicted.index(3)

    def left(self, way):
        pass


class Random:
    """xorshift32, one state a cache."""

    def __init__(self, ways, cache):
        self.ways, self.cache = ways, cache

    def used(self, way):
        pass

    entered = left = used

    def victim(self):
        x = self.cache.seed
        x = (x ^ x << 13) & 0xFFFFFFFF
        x ^= x >> 17
        x = (x ^ x << 5) & 0xFFFFFFFF
        self.cache.seed = x
        return x % self.ways


POLICIES = {"lru": Lru, "tree-plru": TreePlru, "srrip": Srrip}


@dataclass
class Line:
    number: int
    dirty: bool = False
    prefetched: bool = False


@dataclass
class Set:
    policy: object
    ways: dict[int, Line] = field(default_factory=dict)


class Cache:
    def __init__(self, number: int, spec: CacheSpec, seed: int) -> None:
        self.number, self.spec = number, spec
        self.seed = max(1, ((number + 1) * 2654435761 + seed * 40503 + 1) & 0xFFFFFFFF)
        self.sets: dict[int, Set] = {}
        self.strides: dict[int, list[int]] = {}
        self.slots = [(MEMORY, 0)] * spec.mshrs  # (line, when it is there)
        self.count = dict.fromkeys(
            [
                "hits",
                "misses",
                "fills",
                "evictions",
                "write_backs",
                "back_invalidations",
                "moves",
                "prefetches",
                "useful_prefetches",
                "unused_prefetches",
                "dropped_prefetches",
                "merged",
                "stall",
            ],
            0,
        )

    def set_of(self, line: int) -> Set:
        where = line % self.spec.sets
        if where not in self.sets:
            ways, name = self.spec.ways, self.spec.policy
            self.sets[where] = Set(Random(ways, self) if name == "random" else POLICIES[name](ways))
        return self.sets[where]

    def find(self, line: int) -> tuple[int, Line] | None:
        for way, held in self.set_of(line).ways.items():
            if held.number == line:
                return way, held
        return None

    def use(self, line: int) -> None:
        self.set_of(line).policy.used(self.find(line)[0])

    def drop(self, line: int) -> Line:
        way, held = self.find(line)
        here = self.set_of(line)
        del here.ways[way]
        here.policy.left(way)
        return held

    def insert(self, new: Line) -> Line | None:
        """What leaves for it."""
        here, old = self.set_of(new.number), None
        empty = [way for way in range(self.spec.ways) if way not in here.ways]
        if empty:
            way = empty[0]
        else:
            way = here.policy.victim()
            old = here.ways.pop(way)
            if isinstance(here.policy, Lru):
                here.policy.left(way)
        here.ways[way] = new
        here.policy.entered(way)
        return old

    def contents(self) -> set[tuple[int, bool]]:
        return {(line.number, line.dirty) for s in self.sets.values() for line in s.ways.values()}


class PlainCaches:
    def __init__(self, hierarchy: Hierarchy, timing: Timing | None = None, seed: int = 0) -> None:
        self.h, self.timing = hierarchy, timing
        self.private, number = [], 0
        for levels in hierarchy.cores:
            self.private.append([Cache(number + i, spec, seed) for i, spec in enumerate(levels)])
            number += len(levels)
        self.shared = [Cache(number + i, spec, seed) for i, spec in enumerate(hierarchy.shared)]
        self.paths = [[*own, *self.shared] for own in self.private]
        self.caches = [c for own in self.private for c in own] + self.shared
        self.events: list[tuple[int, str, int, int]] = []
        self.served: list[int] = []
        self.combining: list[dict[int, set[int]]] = [{} for _ in hierarchy.cores]
        cores = len(hierarchy.cores)
        self.now, self.end, self.nc_stall, self.store_stall = ([0] * cores for _ in range(4))
        limits = timing or Timing()
        self.nc_slots = [[(MEMORY, 0)] * limits.nc_outstanding for _ in range(cores)]
        self.store_slots = [[(MEMORY, 0)] * limits.store_buffer for _ in range(cores)]
        self.i = 0

    def note(self, event: str, cache: int, line: int) -> None:
        self.events.append((self.i, event, cache, line * self.h.line_bytes))

    def inside(self, cache: Cache) -> list[Cache]:
        """Caches between this one and the cores that use it."""
        if cache in self.shared:
            return self.caches[: cache.number]
        own = next(own for own in self.private if cache in own)
        return own[: own.index(cache)]

    # Lines that move

    def put(self, core: int, level: int, new: Line) -> None:
        """A line that the level lacks comes in."""
        path = self.paths[core]
        cache = path[level]
        passed_on = new.dirty and cache.spec.write == "through"
        new = Line(new.number, new.dirty and not passed_on, new.prefetched)
        cache.count["fills"] += 1
        old = cache.insert(new)
        if old is not None:
            self.evicted(core, level, old)
        if passed_on:
            self.arrive(core, level + 1, Line(new.number, True))

    def evicted(self, core: int, level: int, old: Line) -> None:
        path = self.paths[core]
        cache = path[level]
        cache.count["evictions"] += 1
        cache.count["unused_prefetches"] += old.prefetched
        dirty = old.dirty
        if cache.spec.inclusion == "inclusive":
            for inner in self.inside(cache):
                if inner.find(old.number):
                    gone = inner.drop(old.number)
                    inner.count["back_invalidations"] += 1
                    inner.count["unused_prefetches"] += gone.prefetched
                    dirty = dirty or gone.dirty
                    self.note("back-invalidate", inner.number, old.number)
        self.note("evict dirty" if dirty else "evict clean", cache.number, old.number)
        cache.count["write_backs"] += dirty
        next_exclusive = level + 1 < len(path) and path[level + 1].spec.inclusion == "exclusive"
        if dirty or next_exclusive:
            self.arrive(core, level + 1, Line(old.number, dirty))

    def arrive(self, core: int, level: int, line: Line) -> None:
        """A victim (or a store that a write-through level passes on) comes to a level from within."""
        path = self.paths[core]
        if level == len(path):
            assert line.dirty
            self.note("write", MEMORY, line.number)
            return
        cache = path[level]
        found = cache.find(line.number)
        if found:
            cache.use(line.number)
            if line.dirty and cache.spec.write == "back":
                found[1].dirty = True
            elif line.dirty:
                self.arrive(core, level + 1, line)
        elif cache.spec.inclusion == "exclusive" or cache.spec.write_allocate:
            self.put(core, level, line)
        else:
            self.arrive(core, level + 1, line)

    # Accesses of cores and of prefetchers

    def look(self, core: int, level: int, line: int, demand: bool) -> bool:
        cache = self.paths[core][level]
        found = cache.find(line)
        if demand:
            cache.count["hits" if found else "misses"] += 1
            self.looked.append((level, not found or found[1].prefetched))
            if found and found[1].prefetched:
                cache.count["useful_prefetches"] += 1
                found[1].prefetched = False
        if found:
            cache.use(line)
        return found is not None

    def load(self, core: int, into: int, start: int, line: int, demand: bool) -> bool:
        """Look from level `start` on and fill down to level `into`; dirty if it comes so (exclusive)."""
        path = self.paths[core]
        level, dirty = start, False
        while level < len(path) and not self.look(core, level, line, demand):
            level += 1
        self.holder(level)
        if level == len(path):
            self.note("read", MEMORY, line)
        elif level > into and path[level].spec.inclusion == "exclusive":
            dirty = path[level].drop(line).dirty
            path[level].count["moves"] += 1
            self.note("move inwards", path[level].number, line)
        for between in range(level - 1, into, -1):
            if path[between].spec.inclusion != "exclusive":
                self.put(core, between, Line(line, dirty))
                dirty = False
        return dirty

    def holder(self, level: int) -> None:
        if self.held is None:
            self.held = level

    def store(self, core: int, level: int, line: int) -> None:
        path = self.paths[core]
        if level == len(path):
            self.holder(level)
            self.note("write", MEMORY, line)
            return
        cache = path[level]
        back = cache.spec.write == "back"
        if self.look(core, level, line, True):
            self.holder(level)
            if back:
                cache.find(line)[1].dirty = True
        elif cache.spec.write_allocate and cache.spec.inclusion != "exclusive":
            dirty = self.load(core, level, level + 1, line, True)
            self.put(core, level, Line(line, dirty or back))
        else:
            self.store(core, level + 1, line)
            return
        if not back:
            self.store(core, level + 1, line)

    def fetch(self, core: int, start: int, line: int, demand: bool) -> None:
        """A load of a core, or a prefetch into level `start`."""
        path = self.paths[core]
        if start < len(path) and self.look(core, start, line, demand):
            self.holder(start)
            return
        dirty = self.load(core, start, start + 1, line, demand)
        self.put(core, start, Line(line, dirty, not demand))

    def wanted(self, core: int, line: int) -> list[tuple[int, int]]:
        found = []
        per_page = max(1, 4096 // self.h.line_bytes)
        for level, missed in self.looked:
            cache = self.paths[core][level]
            step = 0
            if cache.spec.prefetch == "next-line":
                step = int(missed)
            elif cache.spec.prefetch == "stride":
                page = line // per_page
                page_of, last, stride, sure = cache.strides.get(page % 16, (None, 0, 0, False))
                if page_of != page:
                    last, stride, sure = line, 0, False
                elif line != last:
                    sure = line - last == stride
                    stride, last = line - last, line
                    step = stride if sure else 0
                cache.strides[page % 16] = (page, last, stride, sure)
            for d in range(1, cache.spec.prefetch_degree + 1):
                if step and (line + d * step) // per_page == line // per_page:
                    found.append((level, line + d * step))
        return found

    def access(self, core: int, address: int, write: bool, attribute: str, size: int) -> None:
        line, path = address // self.h.line_bytes, self.paths[core]
        if attribute == "write-combining" and write:
            self.combine(core, address, size)
            self.served.append(len(path))
        elif attribute != "cacheable":
            if attribute == "write-combining" and line in self.combining[core]:
                self.send(core, line)
            self.events.append((self.i, f"non-cacheable {'write' if write else 'read'}", MEMORY, address))
            self.served.append(len(path))
            if self.timing:
                now = self.wait(self.nc_slots[core], self.now[core])
                self.nc_stall[core] += now - self.now[core]
                done = now + ps(self.timing.memory_ns)
                self.take(self.nc_slots[core], MEMORY, done)
                self.go_on(core, now, done)
        else:
            self.held, self.looked = None, []
            if write:
                self.store(core, 0, line)
            else:
                self.fetch(core, 0, line, True)
            held = self.held
            self.served.append(held)
            if self.timing:
                self.time(core, line, write, held)
            for level, target in self.wanted(core, line):
                self.prefetch(core, level, target)
        self.i += 1

    def prefetch(self, core: int, level: int, line: int) -> None:
        cache = self.paths[core][level]
        if cache.find(line):
            return
        if self.timing and self.wait(cache.slots, self.now[core]) > self.now[core]:
            cache.count["dropped_prefetches"] += 1
            return
        cache.count["prefetches"] += 1
        self.note("prefetch", cache.number, line)
        self.held = None
        self.fetch(core, level, line, False)
        if self.timing:
            self.take(cache.slots, line, self.now[core] + self.latency(core, self.held))

    # Write combining

    def combine(self, core: int, address: int, size: int) -> None:
        line, buffers = address // self.h.line_bytes, self.combining[core]
        if line not in buffers and len(buffers) == self.h.combining_buffers:
            self.send(core, next(iter(buffers)))
        offset = address % self.h.line_bytes
        buffers.setdefault(line, set()).update(range(offset, offset + size))
        if len(buffers[line]) == self.h.line_bytes:
            self.send(core, line)

    def send(self, core: int, line: int) -> None:
        whole = len(self.combining[core].pop(line)) == self.h.line_bytes
        self.note("combined burst" if whole else "combined part", MEMORY, line)

    def drain(self) -> None:
        for core, buffers in enumerate(self.combining):
            for line in list(buffers):
                self.send(core, line)

    # Time, in picoseconds

    def latency(self, core: int, level: int) -> int:
        path = self.paths[core]
        return ps(path[level].spec.hit_ns if level < len(path) else self.timing.memory_ns)

    @staticmethod
    def wait(slots: list[tuple[int, int]], now: int) -> int:
        """When one of the slots, if there are any, is free: from `now` on."""
        return max(now, min((ready for _, ready in slots), default=now))

    @staticmethod
    def take(slots: list[tuple[int, int]], line: int, ready: int) -> None:
        """The slot that is free first (of several, the first) waits for a line."""
        if slots:
            first = min(range(len(slots)), key=lambda i: slots[i][1])
            slots[first] = (line, ready)

    def time(self, core: int, line: int, write: bool, held: int) -> None:
        path, now = self.paths[core], self.now[core]
        source, arrives = held, 0
        for level in range(min(held + 1, len(path))):
            cache = path[level]
            flying = [when for what, when in cache.slots if what == line and when > now]
            if flying:
                cache.count["merged"] += 1
                source, arrives = level, flying[0]
                break
        for cache in path[:source]:
            free = self.wait(cache.slots, now)
            cache.count["stall"] += free - now
            now = free
        if write:
            free = self.wait(self.store_slots[core], now)
            self.store_stall[core] += free - now
            now = free
        done = max(now, arrives) + self.latency(core, source)
        for cache in path[:source]:
            self.take(cache.slots, line, done)
        if write:
            self.take(self.store_slots[core], line, done)
        self.go_on(core, now, done)

    def go_on(self, core: int, now: int, done: int) -> None:
        self.now[core] = now + ps(self.timing.issue_ns)
        self.end[core] = max(self.end[core], done)


def ps(ns: float) -> int:
    return round(ns * 1000)
