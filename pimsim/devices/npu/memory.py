"""Memories behind the DMA, all with one face: `start` a transfer, `advance` to the next that ends.

Times are clocks of the NPU. `DramMemory` runs transfers as streams on this package's command-accurate
channels, `FlatMemory` gives a fixed number of bytes a clock, as most NPU simulators do.
"""

from __future__ import annotations

from collections import deque
from functools import lru_cache
from typing import Protocol

from pimsim.devices import part
from pimsim.devices.dram.channel import Controller
from pimsim.devices.dram.replay import default_mapping
from pimsim.devices.dram.stream import Bench, MemoryConfig, Phase, Stream
from pimsim.devices.npu.spec import NpuSpec
from pimsim.devices.spec import DramGeometry, DramSpec
from pimsim.errors import SpecError
from pimsim.placement.mapping import AddressMapping
from pimsim.units import ceil_div

NEVER = 1 << 60
Segments = tuple[int, int, int]
"""(pieces, bytes of each, bytes from the start of one to that of the next)."""


class Memory(Protocol):
    """What the tiles in time need of a memory.

    bytes_per_ck: its peak in bytes a clock of the NPU. burst_bytes: smallest access. stagger_bytes: tensors
    so far apart (beyond a power of two) start in different banks.
    """

    @property
    def bytes_per_ck(self) -> float: ...

    @property
    def burst_bytes(self) -> int: ...

    @property
    def stagger_bytes(self) -> int: ...

    def start(self, clock: int, segments: Segments, base: int, write: bool) -> int:
        """Begin a transfer at `clock`; its number."""
        ...

    def advance(self, until: int) -> dict[int, int]:
        """Run to `until` or to the first end of a transfer: {number: clock of its end}; empty at `until`."""
        ...


def transfer_bytes(segments: Segments, burst_bytes: int) -> int:
    """Bytes that a transfer moves, whole bursts a piece."""
    return segments[0] * ceil_div(segments[1], burst_bytes) * burst_bytes


class FlatMemory:
    """So many bytes a clock, first come first served."""

    def __init__(self, bytes_per_ck: float, *, burst_bytes: int = 1, latency_ck: int = 0) -> None:
        if bytes_per_ck <= 0:
            raise SpecError(f"memory of {bytes_per_ck} bytes a clock; wanted a positive rate")
        self.bytes_per_ck = bytes_per_ck
        self.burst_bytes = burst_bytes
        self.stagger_bytes = 0
        self._latency = latency_ck
        self._free = 0.0
        self._ends: deque[tuple[int, int]] = deque()
        self._count = 0

    def start(self, clock: int, segments: Segments, base: int, write: bool) -> int:
        self._count += 1
        self._free = (
            max(self._free, float(clock)) + transfer_bytes(segments, self.burst_bytes) / self.bytes_per_ck
        )
        self._ends.append((self._count, -int(-self._free // 1) + self._latency))
        return self._count

    def advance(self, until: int) -> dict[int, int]:
        if self._ends and self._ends[0][1] <= until:
            number, end = self._ends.popleft()
            return {number: end}
        return {}


class DramMemory:
    """Streams on command-accurate DRAM channels.

    window: bursts in flight a transfer. Transfers run at the channels' own pace and contend there. A write is
    done when its controller has taken it.
    """

    def __init__(self, config: MemoryConfig, tck_fs: int, *, window: int, path_ns: float) -> None:
        self.config = config
        self._bench = Bench(config)
        self._tck = tck_fs
        self._window = window
        self._path_ns = path_ns
        geometry = config.spec.geometry
        self.burst_bytes = geometry.burst_bytes
        self.stagger_bytes = geometry.row_bytes * geometry.bank_groups * config.channels * geometry.data_buses
        self.bytes_per_ck = config.spec.peak_bytes_per_s * config.channels * tck_fs * 1e-15
        self._capacity = config.spec.geometry.channel_bytes * config.channels
        self._numbers: dict[int, int] = {}
        self._ready: dict[int, int] = {}
        self._count = 0

    def _to_dram(self, clock: int) -> int:
        return -(-clock * self._tck // self.config.spec.tck_fs)

    def _to_npu(self, clock: int) -> int:
        return -(-clock * self.config.spec.tck_fs // self._tck)

    def start(self, clock: int, segments: Segments, base: int, write: bool) -> int:
        pieces, size, stride = segments
        burst = self.burst_bytes
        each = ceil_div(size, burst)
        base = base // burst * burst
        if base + (pieces - 1) * stride + each * burst > self._capacity:
            base = 0
        loops = (
            ((each, burst),)
            if pieces == 1
            else ((each, burst), (pieces, max(burst, stride // burst * burst)))
        )
        stream = Stream(
            kind="dma",
            phases=(Phase(write=write, bursts=each * pieces, wait=not write, loops=loops),),
            bursts=each * pieces,
            window=self._window,
            gap_ps=0.0,
            path_ns=self._path_ns,
        )
        self._run_to(self._to_dram(clock))
        number = self._bench.start(stream, (base,))
        self._count += 1
        self._numbers[number] = self._count
        return self._count

    def advance(self, until: int) -> dict[int, int]:
        limit = self._to_dram(until) if until < NEVER else NEVER
        while not self._ready and self._numbers and self._bench.clock < limit:
            self._run_to(limit, first=True)
        ready, self._ready = self._ready, {}
        return ready

    def drained(self) -> int:
        """Run until nothing waits in any channel; the clock then."""
        self._bench.drain()
        return self._to_npu(self._bench.clock)

    def _run_to(self, limit: int, first: bool = False) -> None:
        """Run the channels to clock `limit`, or to the `first` end of a transfer; note the ends."""
        while self._bench.clock < limit:
            ended = self._bench.advance(limit)
            for number, end in ended.items():
                self._ready[self._numbers.pop(number)] = self._to_npu(end)
            if first and ended:
                return


@lru_cache(maxsize=64)
def mapping_of(geometry: DramGeometry, channels: int) -> AddressMapping:
    """Two bursts a channel, the channels in turn, then the bank groups, so that a walk meets each bank group
    at a distance; columns, banks, ranks and rows above them. Pseudo channels take turns as channels do."""
    bits = {
        "row": (geometry.rows - 1).bit_length(),
        "rank": (geometry.ranks - 1).bit_length(),
        "bank": (geometry.banks_per_group - 1).bit_length(),
        "column": (geometry.bursts_per_row - 1).bit_length() - 1,
        "bankgroup": (geometry.bank_groups - 1).bit_length(),
        "channel": (channels - 1).bit_length(),
    }
    counts = (
        geometry.ranks,
        geometry.banks_per_group,
        geometry.bursts_per_row,
        geometry.bank_groups,
        channels,
    )
    if any(count & (count - 1) for count in counts) or bits["column"] < 1:
        return default_mapping(geometry) if channels == 1 else _no_mapping(counts)
    rows = "" if geometry.rows == 1 << bits["row"] else f"={geometry.rows}"
    if geometry.data_buses > 1:  # ranks with buses of their own work side by side, as channels do
        bits["rank"] = bits.pop("rank")
    pieces = [f"{field}:{n}{rows if field == 'row' else ''}" for field, n in bits.items() if n]
    text = " ".join([*pieces, "column:1", *_hashes(bits)])
    return AddressMapping.parse(text, geometry.burst_bytes)


def _hashes(bits: dict[str, int]) -> list[str]:
    """Channels and bank groups take in column and row bits, banks row bits: walks with large powers of two as
    strides meet all of them."""
    found = []
    column, row = 1, 0
    for field, sources in (("channel", 2), ("bankgroup", 2), ("bank", 1)):
        for i in range(bits[field]):
            terms = []
            if sources == 2:
                terms.append(f"column[{1 + (column - 1) % bits['column']}]")
                column += 1
            terms += [f"row[{(row + step) % bits['row']}]" for step in (0, 7)]
            row += 1
            found.append(f"{field}[{i}]^={'^'.join(dict.fromkeys(terms))}")
    return found


def _no_mapping(counts: tuple[int, ...]) -> AddressMapping:
    raise SpecError(f"ranks, banks, bursts a row, bank groups, channels {counts}: wanted powers of two")


def memory_config(dram: DramSpec, channels: int, controller: Controller | None = None) -> MemoryConfig:
    """Channels of a part with the mapping of `mapping_of`."""
    return MemoryConfig(
        spec=dram,
        controller=controller or Controller(),
        channels=channels,
        mappings=(mapping_of(dram.geometry, channels),),
    )


def memory_of(spec: NpuSpec) -> DramMemory:
    """The DRAM of a part, idle."""
    config = memory_config(part(spec.dram, DramSpec), spec.channels)
    return DramMemory(config, spec.tck_fs, window=spec.dma_window, path_ns=spec.dma_path_ns)
