"""The wiring: which parts make up a machine, how its addresses map, who runs which threads.

A system is a value; presets are functions that return one. `exynos2400` is the phone of PIM-SHERPA.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property

from pimsim.devices import CoreSpec, CpuSpec, DramSpec, PimSpec, part
from pimsim.devices.cpu import LINE_BYTES
from pimsim.devices.dram.channel import Controller
from pimsim.devices.dram.stream import MemoryConfig
from pimsim.devices.pim.program import HostDrive
from pimsim.errors import SpecError, suggest
from pimsim.placement.layout import PimLayout
from pimsim.placement.mapping import AddressMapping

COPY_SPLITS = ("dynamic", "static")


@dataclass(frozen=True, kw_only=True)
class Threads:
    """How threads share work and cores where methods leave it open.

    copy_split: copy threads beside a GEMM take pieces until none is left ("dynamic"), or each has an equal
      share from the start ("static").
    spin: a GEMM thread that has done its share keeps its core busy until the whole team has.
    copy_wait_us: how long a copy thread, once woken, waits until the scheduler gives it a core.
    """

    copy_split: str = "dynamic"
    spin: bool = False
    copy_wait_us: float = 0.0

    def __post_init__(self) -> None:
        if self.copy_split not in COPY_SPLITS:
            raise SpecError(f"copy_split={self.copy_split!r}{suggest(self.copy_split, COPY_SPLITS)}")
        if self.copy_wait_us < 0:
            raise SpecError(f"copy_wait_us={self.copy_wait_us}; wanted no negative time")


@dataclass(frozen=True, kw_only=True)
class System:
    """A host, its memory and the PIM units in it.

    host_mapping, pim_mapping: address <-> DRAM for host-friendly and for PIM-aware data.
    compute_cores: cores (numbers in `cpu.cores`) of the GEMM threads; copy_cores: of the copy threads
      that run beside them; all_cores: of steps that use every thread.
    pad_head: pad the output head in PIM to a power of two of rows, as well as to whole tiles.
    fence_ns: extra wait of a fence between host accesses that drive PIM; None: no fences needed.
    threads: how threads share work and cores.
    engines: numbers in `cpu.cores` that are no CPU cores but engines that only copy (a DMA engine).
    """

    name: str
    source: str
    cpu: CpuSpec
    dram: DramSpec
    channels: int
    pim: PimSpec | None
    host_mapping: AddressMapping
    pim_mapping: AddressMapping
    compute_cores: tuple[int, ...]
    copy_cores: tuple[int, ...]
    controller: Controller = Controller()
    pad_head: bool = False
    fence_ns: float | None = None
    threads: Threads = Threads()
    engines: tuple[int, ...] = ()

    def __post_init__(self) -> None:
        for group in ("compute_cores", "copy_cores", "engines"):
            for core in getattr(self, group):
                if not 0 <= core < len(self.cpu.cores):
                    raise SpecError(
                        f"system {self.name}: {group} names core {core}; "
                        f"{self.cpu.name} has {len(self.cpu.cores)} cores"
                    )
        if self.pim is not None and self.pim.dram != self.dram.name:
            raise SpecError(
                f"system {self.name}: PIM unit {self.pim.name} sits in {self.pim.dram!r}, "
                f"not in {self.dram.name!r}"
            )
        self.layout.check(self.pim_mapping)

    @cached_property
    def key(self) -> str:
        """Digest of every number of the system: what results of its runs are kept under."""
        return hashlib.sha256(repr(self).encode()).hexdigest()

    @property
    def all_cores(self) -> tuple[int, ...]:
        return tuple(i for i in range(len(self.cpu.cores)) if i not in self.engines)

    @property
    def capacity_bytes(self) -> int:
        return self.dram.geometry.channel_bytes * self.channels

    @property
    def peak_bytes_per_s(self) -> float:
        return self.dram.peak_bytes_per_s * self.channels

    @cached_property
    def layout(self) -> PimLayout:
        g = self.dram.geometry
        return PimLayout(
            channels=self.channels,
            ranks=g.ranks,
            banks=g.banks,
            row_bytes=g.row_bytes,
            burst_bytes=g.burst_bytes,
            accumulators=self.pim.accumulators if self.pim is not None else 8,
            bank_groups=g.bank_groups,
        )

    @cached_property
    def memory(self) -> MemoryConfig:
        return MemoryConfig(
            spec=self.dram,
            controller=self.controller,
            channels=self.channels,
            mappings=(self.host_mapping, self.pim_mapping),
            pim=self.pim,
        )

    def cores(self, numbers: tuple[int, ...]) -> list[CoreSpec]:
        return [self.cpu.cores[i] for i in numbers]

    def head_rows(self, rows: int) -> int:
        """Rows that an output head of `rows` takes in PIM before tiles are filled up."""
        return 1 << (rows - 1).bit_length() if self.pad_head else 0

    @cached_property
    def host_drive(self) -> HostDrive:
        """How all cores together trigger PIM steps: their non-cacheable loads, spread over the channels."""
        loads = sum(core.nc_outstanding for core in self.cores(self.all_cores))
        window = max(1, loads * LINE_BYTES // self.dram.geometry.burst_bytes // self.channels)
        return HostDrive(window=window, path_ns=self.cpu.path_ns, fence_ns=self.fence_ns or 0.0)


def exynos2400() -> System:
    """Galaxy-S24+-class phone: Exynos 2400, four x16 channels of LPDDR5X-8533 (68.264 GB/s) with PIM units.

    16 GB instead of the phone's 12 GB, so that weight duplication of the 3B model fits: it needs 12.9 GB.
    Address maps: estimates (64 B a channel, bank groups next; PIM: a row whole in a bank); thread placement:
    four GEMM threads on the fastest cores; copy threads: see docs/calibration.md.
    """
    return System(
        name="exynos2400",
        source="PIM-SHERPA (arXiv 2603.09216) section 6 platform; address maps: estimate",
        cpu=part("exynos-2400", CpuSpec),
        dram=part("lpddr5x-8533-16gb-x16", DramSpec),
        channels=4,
        pim=part("lpddr5x-pim-8533", PimSpec),
        host_mapping=AddressMapping.parse(
            "row:16 rank:1 bank:2 column:5 bankgroup:2 channel:2 column:1 "
            "bank[0]^=row[0]^row[3]^row[6]^row[9]^row[12] bank[1]^=row[1]^row[4]^row[7]^row[10]^row[13] "
            "rank[0]^=row[2]^row[5]^row[8]^row[11]^row[14]"
        ),
        pim_mapping=AddressMapping.parse("row:16 channel:2 rank:1 bankgroup:2 bank:2 column:6"),
        compute_cores=(0, 1, 2, 3),
        copy_cores=(4, 5),
        pad_head=True,  # 128256 -> 131072 rows: fits the capacity that the paper reports
    )


SYSTEMS: dict[str, Callable[[], System]] = {"exynos2400": exynos2400}


def load_system(name: str) -> System:
    """The preset of this name."""
    if name not in SYSTEMS:
        raise SpecError(f"no system named {name!r}{suggest(name, SYSTEMS)}")
    return SYSTEMS[name]()
