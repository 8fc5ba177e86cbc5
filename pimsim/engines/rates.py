"""Bandwidths of engines, measured on the system's command-accurate channels and kept.

An engine's time in memory is read bytes over its read rate plus written bytes over its write rate. Both come
from two measurements: reads alone, and two bursts read for one written; turnarounds are part of the second.
"""

from __future__ import annotations

from functools import lru_cache

from pimsim.devices import AcceleratorSpec
from pimsim.devices.cpu import windows
from pimsim.devices.dram.stream import CANONICAL_STRIDE, Bench, MemoryConfig, Phase, Stream
from pimsim.devices.spec import Clocks
from pimsim.system import System
from pimsim.units import ceil_div

WINDOW = 256
"""Bursts in flight of one port: an accelerator has as many ports as its outstanding bytes need."""
MOST_PORTS = 16
TURN = 32
"""Bursts that go one way before the other's turn where reads and writes are mixed: estimate."""
SECTOR = 4
"""Bursts of a row that an accelerator reads at once when it gathers rows of a PIM-aware matrix: 128 bytes."""
BLOCK = 128
"""Bursts of a block where ports of an accelerator copy side by side, block by block: estimate."""
ALIGNMENTS, MEASURED = 3, 2
"""Relative positions and refresh intervals of a measurement: twice as many change rates by under 3 %."""
MIXES = {"read": 1.0, "mixed": 1.5, "relayout": 2.0}
"""What is measured, and bursts moved for one of the first phase. read: reads alone; mixed: two reads for a
write; relayout: from PIM-aware to host-friendly places, a write for a read."""


def ports(spec: AcceleratorSpec, burst_bytes: int) -> list[int]:
    """Bursts in flight of each port of an accelerator."""
    bursts = max(1, spec.outstanding_bytes // burst_bytes)
    count = min(MOST_PORTS, ceil_div(bursts, WINDOW))
    return [min(2 * WINDOW - 1, bursts // count + (i < bursts % count)) for i in range(count)]


def streams(system: System, engine: str, mix: str) -> list[tuple[Stream, tuple[int, ...]]]:
    """What an engine asks of memory at its fastest, and where each stream's phases start (bytes).

    engine: gpu, npu, or cores: compute, all. Cores and DMA engines have data of their own, and a thread
    takes reads and writes in turn. Ports of an accelerator that copies share the data in blocks; reads and
    writes are those of many threads, so neither waits for the other.
    """
    burst = system.dram.geometry.burst_bytes
    if engine in ("compute", "all"):
        cores = system.cores(system.compute_cores if engine == "compute" else system.all_cores)
        windows_of, path_ns = windows(system.cpu, cores, burst), system.cpu.path_ns
    else:
        spec = system.gpu if engine == "gpu" else system.npu
        assert spec is not None
        if isinstance(spec, AcceleratorSpec):
            windows_of, path_ns = ports(spec, burst), spec.path_ns
            if mix != "read":
                return _side_by_side(system, engine, mix, windows_of, path_ns)
        else:
            windows_of, path_ns = [min(2 * WINDOW - 1, spec.dma_window)] * 3, spec.dma_path_ns
    along = ((1 << 40, burst),)
    phases: tuple[Phase, ...] = (Phase(bursts=1 << 30, loops=along),)
    if mix != "read":
        phases = (
            Phase(bursts=2 * TURN, loops=along),
            Phase(bursts=TURN, write=True, wait=False, loops=along),
        )
    return [(_stream(engine, phases, window, path_ns), ()) for window in windows_of]


def _side_by_side(
    system: System, engine: str, mix: str, windows_of: list[int], path_ns: float
) -> list[tuple[Stream, tuple[int, ...]]]:
    """Ports that copy together: port i of n takes every n-th block of what is read and written."""
    burst, count = system.dram.geometry.burst_bytes, len(windows_of)
    blocks = ((BLOCK, burst), (1 << 30, count * BLOCK * burst))
    asked: list[tuple[Stream, tuple[int, ...]]] = []
    for i, window in enumerate(windows_of):
        if mix == "relayout":
            source, at = _sectors(system, i, count)
            reads = Phase(bursts=TURN, wait=False, mapping=1, loops=source)
        else:
            reads, at = Phase(bursts=2 * TURN, wait=False, loops=blocks), i * BLOCK * burst
        writes = Phase(bursts=TURN, write=True, wait=False, loops=blocks)
        bases = (at, CANONICAL_STRIDE * 4 + i * BLOCK * burst)
        asked.append((_stream(engine, (reads, writes), window, path_ns), bases))
    return asked


def _sectors(system: System, port: int, count: int) -> tuple[tuple[tuple[int, int], ...], int]:
    """The walk of a port over PIM-aware data, and its start: `SECTOR` bursts of a row, the same of the next
    channel, then bank by bank, until the rows of all banks are read; ports take different columns."""
    layout = system.layout
    sectors = max(1, layout.row_bytes // (SECTOR * layout.burst_bytes))
    size = layout.row_bytes // sectors
    rows = layout.ranks * layout.banks * layout.row_bytes  # of one channel, side by side in the PIM-aware map
    walk = (
        (size // layout.burst_bytes, layout.burst_bytes),
        (layout.channels, rows),
        (layout.ranks * layout.banks, layout.row_bytes),
        (max(1, sectors // count), count * size),
        (1 << 20, layout.channels * rows),
    )
    return walk, port % sectors * size


def _stream(engine: str, phases: tuple[Phase, ...], window: int, path_ns: float) -> Stream:
    return Stream(kind=engine, phases=phases, bursts=1 << 40, window=window, gap_ps=0.0, path_ns=path_ns)


def rate(system: System, engine: str, mix: str) -> float:
    """Bytes a second that an engine moves, in both directions."""
    firsts = measured(system.memory, tuple(streams(system, engine, mix)))
    return firsts * MIXES[mix] * system.dram.geometry.burst_bytes


@lru_cache(maxsize=512)
def measured(memory: MemoryConfig, asked: tuple[tuple[Stream, tuple[int, ...]], ...]) -> float:
    """Bursts a second of the first phases of streams that run together, from idle channels on.

    The mean over `ALIGNMENTS` relative positions of streams that have no place of their own, each measured
    over `MEASURED` refresh intervals after one.
    """
    dram = memory.spec
    interval, burst = Clocks(dram).REFI, dram.geometry.burst_bytes
    total = 0
    for alignment in range(ALIGNMENTS):
        bench = Bench(memory)
        numbers = []
        for i, (stream, bases) in enumerate(asked):
            lanes = range(i * len(stream.phases), (i + 1) * len(stream.phases))
            spread = tuple(lane * CANONICAL_STRIDE + _spread(alignment, lane) * burst for lane in lanes)
            numbers.append(bench.start(stream, bases or spread))
        bench.advance(interval)
        before = sum(bench.issued(number) for number in numbers)
        bench.advance((1 + MEASURED) * interval)
        total += sum(bench.issued(number) for number in numbers) - before
    return total / (ALIGNMENTS * MEASURED * interval * dram.tck_fs * 1e-15)


def _spread(alignment: int, lane: int) -> int:
    """Bursts by which a walk starts off its region: multiples of the golden ratio, so no two alike."""
    return 2 * (int((alignment + 1) * (lane + 1) * 0.618034 * 4096) % 4096)


def memory_s(system: System, engine: str, read_bytes: float, written_bytes: float) -> float:
    """Seconds that so much traffic takes an engine that has the memory for itself."""
    if read_bytes + written_bytes == 0:
        return 0.0
    each_read = 1 / rate(system, engine, "read")
    if written_bytes <= 0.02 * read_bytes:
        return (read_bytes + written_bytes) * each_read
    each_write = max(each_read, 3 / rate(system, engine, "mixed") - 2 * each_read)
    return read_bytes * each_read + written_bytes * each_write


def relayout_s(system: System, engine: str, size_bytes: float) -> float:
    """Seconds in which an engine copies so many bytes from PIM-aware to host-friendly places."""
    return 2 * size_bytes / rate(system, engine, "relayout")
