"""A hierarchy of set-associative caches at line granularity: who hits, what moves, what reaches the memory.

The rules, which the tests hold to a plain version of them:

1. A load looks level by level until one holds the line, which is used there (replacement). If none does,
   the memory reads it. It is then filled into the levels that missed, the last first; exclusive levels are
   passed over.
2. A store ends in the first write-back level that holds the line, or that is write-allocate and gets it as
   a load would: there the line becomes dirty. Write-through levels on the way are updated if they hold the
   line (or allocate it) and pass the store on, as does a level that misses and does not allocate. After the
   last level it is a memory write.
3. A full set evicts by its policy. A dirty line goes to the next level: it makes a copy there dirty, or is
   allocated without a read (not if the level is not write-allocate: it is passed on); after the last level
   it is a memory write. A clean line goes only to an exclusive level. A write-through level passes dirty
   lines on.
4. An inclusive level that evicts a line takes it out of all levels before it, of all cores; if one was
   dirty so is what it evicts. A hit of an exclusive level moves the line inwards, dirty if it was.
5. A prefetcher sees the accesses of cores that look at its level. Next-line: a miss, or the first use of a
   line prefetched, asks for the next `prefetch_degree` lines. Stride: a page (4096 bytes) in which the same
   distance came twice in a row asks for so many lines at this distance. Lines of other pages are never
   asked for. What it asks for is filled from its level outwards as by a load.
6. Non-cacheable accesses go to the memory as they are, even if a level holds a copy. Stores to write-
   combining memory gather in a few line buffers; a line leaves as one burst when it is whole, and in part
   when its buffer is needed, a load wants it, or buffers are drained.

Policies: LRU, tree-PLRU, random (xorshift32) and SRRIP (2 bits, inserted at 2, hits to 0; Jaleel et al.,
ISCA 2010).

The time model, if asked for: a core issues an access each `issue_ns`. A hit takes its level's `hit_ns`, a
miss `memory_ns`. A miss holds an MSHR of each level that it went through until its data is there; one on a
line that is on its way merges; with all MSHRs taken the core stalls, and a prefetch is dropped. Non-
cacheable accesses and stores have limits of their own. So a latency is exposed when a limit binds and
hidden else.

Left out: coherence between cores (they share what none writes), TLBs, banked or busy caches, DRAM's own
bandwidth (give the misses to a channel for that), and time of write-backs.

"""

from pimsim.devices.cache.caches import CacheCounts, CacheLog, Caches, LevelCounts, attributes_of, simulate
from pimsim.devices.cache.hierarchy import Hierarchy, Timing, cpu_hierarchy
from pimsim.devices.cache.state import EVENTS

__all__ = [
    "EVENTS", "CacheCounts", "CacheLog", "Caches", "Hierarchy", "LevelCounts", "Timing", "attributes_of",
    "cpu_hierarchy", "simulate",
]  # fmt: skip
