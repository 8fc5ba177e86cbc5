"""The wiring: which parts make up a machine, how its addresses map, who runs which threads.

A system is a value. Presets are the platforms of the catalog, one file of numbers each, found by walking it;
`load_system` also takes a TOML file of a user. `exynos2400` is the phone of PIM-SHERPA.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property, lru_cache
from pathlib import Path
from typing import Any

from pimsim.devices import (
    AcceleratorSpec,
    CoreSpec,
    CpuSpec,
    DramSpec,
    NpuSpec,
    PimSpec,
    part,
    platform,
    platforms,
)
from pimsim.devices.cpu import LINE_BYTES
from pimsim.devices.dram.channel import Controller
from pimsim.devices.dram.stream import MemoryConfig
from pimsim.devices.npu.memory import mapping_of
from pimsim.devices.pim.program import HostDrive
from pimsim.devices.platform import PlatformSpec
from pimsim.devices.platform_file import read_platform
from pimsim.devices.python_file import from_file, names_file
from pimsim.devices.spec import Clocks, DramGeometry
from pimsim.errors import SpecError, suggest
from pimsim.notebook import card
from pimsim.placement.layout import PimLayout
from pimsim.placement.mapping import AddressMapping

COPY_SPLITS = ("dynamic", "static")


@dataclass(frozen=True, kw_only=True)
class Threads:
    """How threads share work and cores where methods leave it open.

    copy_split: copy threads take pieces until none is left ("dynamic"), or each has an equal share from the
      start ("static").
    spin_us: core time that a GEMM thread without work polls for new work before it sleeps; what else runs on
      its core gets only its share meanwhile.
    copy_wait_us: how long a copy thread, once woken, waits until the scheduler gives it a core.
    """

    copy_split: str = "dynamic"
    spin_us: float = 0.0
    copy_wait_us: float = 0.0

    def __post_init__(self) -> None:
        if self.copy_split not in COPY_SPLITS:
            raise SpecError(f"copy_split={self.copy_split!r}{suggest(self.copy_split, COPY_SPLITS)}")
        for name in ("spin_us", "copy_wait_us"):
            if getattr(self, name) < 0:
                raise SpecError(f"{name}={getattr(self, name)}; wanted no negative time")


@dataclass(frozen=True, kw_only=True)
class System:
    """A host, its memory and the PIM units in it, and the GPU and NPU that share the memory.

    host_mapping, pim_mapping: address <-> DRAM for host-friendly and for PIM-aware data.
    compute_cores: cores (numbers in `cpu.cores`) of the GEMM threads; copy_cores: of the copy threads
      that run beside them; all_cores: of steps that use every thread.
    pad_head: pad the output head in PIM to a power of two of rows, as well as to whole tiles.
    pim_driver: "cpu" or "gpu", whose accesses trigger PIM steps.
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
    gpu: AcceleratorSpec | None = None
    npu: AcceleratorSpec | NpuSpec | None = None
    pim_driver: str = "cpu"

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
        if self.pim_driver == "gpu" and self.gpu is None:
            raise SpecError(f"system {self.name}: its GPU is to drive PIM, but it has none")
        self.layout.check(self.pim_mapping)

    def _repr_html_(self) -> str:
        """In a notebook: the parts, and what they come to."""
        parts = [(n, getattr(self, n)) for n in ("cpu", "gpu", "npu", "dram", "pim")]
        rows: list[tuple[str, object]] = [(name, part) for name, part in parts if part is not None]
        rows += [
            ("memory", f"{self.capacity_bytes / 2**30:g} GiB on {self.channels} channels"),
            ("peak bandwidth", f"{self.peak_bytes_per_s / 1e9:.4g} GB/s"),
            ("host mapping", str(self.host_mapping)),
            ("PIM mapping", str(self.pim_mapping)),
        ]
        return card(f"{self.name} (System)", rows, self.source)

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
        """How all cores together trigger PIM steps: their non-cacheable loads, spread over the channels; or
        how the GPU does, with what it has in flight."""
        if self.pim_driver == "gpu" and self.gpu is not None:
            bursts = self.gpu.outstanding_bytes // self.dram.geometry.burst_bytes // self.channels
            return HostDrive(window=max(1, bursts), path_ns=self.gpu.path_ns, fence_ns=self.fence_ns or 0.0)
        loads = sum(core.nc_outstanding for core in self.cores(self.all_cores))
        window = max(1, loads * LINE_BYTES // self.dram.geometry.burst_bytes // self.channels)
        return HostDrive(window=window, path_ns=self.cpu.path_ns, fence_ns=self.fence_ns or 0.0)


def build(spec: PlatformSpec, own: Mapping[str, Any] | None = None) -> System:
    """The system of a platform; own: parts by name that come before those of the catalog."""

    def find(name: str, *kinds: type) -> Any:
        value = (own or {}).get(name)
        if isinstance(value, kinds):
            return value
        for kind in kinds[:-1]:
            try:
                return part(name, kind)
            except SpecError:
                continue
        return part(name, kinds[-1])

    try:
        cpu, dram = find(spec.cpu, CpuSpec), find(spec.dram, DramSpec)
        return System(
            name=spec.name,
            source=spec.source,
            cpu=cpu,
            dram=dram,
            channels=spec.channels,
            pim=find(spec.pim, PimSpec) if spec.pim else None,
            host_mapping=AddressMapping.parse(spec.host_mapping, dram.geometry.burst_bytes)
            if spec.host_mapping
            else mapping_of(dram.geometry, spec.channels),
            pim_mapping=AddressMapping.parse(spec.pim_mapping, dram.geometry.burst_bytes)
            if spec.pim_mapping
            else rows_in_banks(dram.geometry, spec.channels),
            compute_cores=spec.compute_cores,
            copy_cores=spec.copiers(len(cpu.cores)),
            controller=controller(spec.queue),
            pad_head=spec.pad_head,
            fence_ns=spec.fence_ns,
            threads=Threads(copy_split=spec.copy_split),
            gpu=find(spec.gpu, AcceleratorSpec) if spec.gpu else None,
            npu=find(spec.npu, AcceleratorSpec, NpuSpec) if spec.npu else None,
            pim_driver=spec.pim_driver,
        )
    except SpecError as error:
        raise SpecError(f"platform {spec.name}: {error}") from None


def controller(queue: int) -> Controller:
    """The default controller, with longer queues where a platform has them."""
    if queue == Controller().read_queue:
        return Controller()
    low = queue // 16
    return Controller(read_queue=queue, write_queue=queue, write_high=queue - low, write_low=low)


def rows_in_banks(geometry: DramGeometry, channels: int) -> AddressMapping:
    """The PIM-aware map: a DRAM row whole in one bank, then banks, ranks and channels, then rows."""
    counts = {
        "row": geometry.rows,
        "channel": channels,
        "rank": geometry.ranks,
        "bankgroup": geometry.bank_groups,
        "bank": geometry.banks_per_group,
        "column": geometry.bursts_per_row,
    }
    bits = {field: (count - 1).bit_length() for field, count in counts.items()}
    cut = "" if geometry.rows == 1 << bits["row"] else f"={geometry.rows}"
    text = " ".join(f"{field}:{n}{cut if field == 'row' else ''}" for field, n in bits.items() if n)
    return AddressMapping.parse(text, geometry.burst_bytes)


def exynos2400() -> System:
    """Galaxy-S24+-class phone: Exynos 2400, four x16 channels of LPDDR5X-8533 (68.264 GB/s) with PIM units.

    Its numbers and their sources: `pimsim/devices/catalog/exynos2400.py`.
    """
    return load_system("exynos2400")


def systems() -> dict[str, PlatformSpec]:
    """The platforms of the catalog by name."""
    return platforms()


def load_system(name: str) -> System:
    """The system of a platform of the catalog, of a TOML file (a name that ends in .toml), or FILE.py:NAME.

    The fields of the file are those of `PlatformSpec`; see `pimsim.devices.platform_file`. Errors are
    SpecErrors that name the platform, or file, line and key.
    """
    if names_file(name):
        return from_file(name, System)
    if name.endswith(".toml"):
        spec, own = read_platform(Path(name))
        try:
            return build(spec, own)
        except SpecError as error:
            raise SpecError(f"{name}: {error}") from None
    return _preset(name)


@lru_cache(maxsize=32)
def _preset(name: str) -> System:
    return build(platform(name))


def headline(system: System) -> dict[str, Any]:
    """What a system is at a glance, units in the names; products of 16 bits, dense, where rates are given."""

    def peak(spec: AcceleratorSpec | NpuSpec | None) -> float | None:
        if spec is None:
            return None
        if isinstance(spec, NpuSpec):
            return 2e6 * spec.units / spec.mac16_ck / spec.tck_fs
        return spec.tflops("fp16") * 1e3

    inside = None
    if system.pim is not None:
        ccd = Clocks(system.dram).CCD_L * system.dram.tck_fs * 1e-15
        banks = system.dram.geometry.banks * system.channels * system.pim.units_per_bank
        inside = banks * system.pim.lanes_bits / 8 / ccd / 1e9
    return {
        "system": system.name,
        "cores": len(system.cpu.cores),
        "cpu_gflops": system.cpu.peak_gflops,
        "memory_gb": system.capacity_bytes / 1e9,
        "channels": f"{system.channels} x {system.dram.name}",
        "bandwidth_gbps": system.peak_bytes_per_s / 1e9,
        "gpu_gflops": peak(system.gpu),
        "npu_gflops": peak(system.npu),
        "pim_gbps": inside,
    }
