"""A platform as a table of names: which CPU, DRAM, PIM units, GPU and NPU make a machine, and its wiring."""

from __future__ import annotations

from dataclasses import dataclass

from pimsim.errors import SpecError
from pimsim.units import ceil_div


@dataclass(frozen=True, kw_only=True)
class PlatformSpec:
    """One machine: parts by name, and how they are connected.

    dram, channels: the part and how many channels of it. pim, gpu, npu: "" for none.
    compute_cores: cores (numbers in the CPU's list) of the threads of products; copy_cores: of copy threads
      beside them; none: the next two, or the last ones. copy_split: see `Threads` in `pimsim.system`.
    host_mapping, pim_mapping: address maps as text; "" for bursts spread over channels and bank groups with
      hashed banks, and for a row whole in one bank.
    queue: requests of each direction that a channel's controller holds; beyond 32, writes wait until they
      fill 15/16 of it and then drain to 1/16.
    pim_driver: who triggers PIM steps: the cores' non-cacheable loads ("cpu") or the GPU's ("gpu").
    pad_head: the output head in PIM is padded to a power of two of rows. fence_ns: see `System`.
    """

    name: str
    source: str
    cpu: str
    dram: str
    channels: int
    compute_cores: tuple[int, ...]
    copy_cores: tuple[int, ...] = ()
    copy_split: str = "dynamic"
    pim: str = ""
    gpu: str = ""
    npu: str = ""
    host_mapping: str = ""
    pim_mapping: str = ""
    pad_head: bool = False
    fence_ns: float | None = None
    queue: int = 32
    pim_driver: str = "cpu"

    def __post_init__(self) -> None:
        if not self.name:
            raise SpecError("a platform has an empty name")
        if self.channels < 1 or self.channels & (self.channels - 1):
            raise SpecError(f"platform {self.name}: channels={self.channels}; wanted a power of two")
        if self.queue < 16:
            raise SpecError(f"platform {self.name}: queue={self.queue}; wanted at least 16")
        if self.pim_driver not in ("cpu", "gpu"):
            raise SpecError(f"platform {self.name}: pim_driver={self.pim_driver!r}; wanted cpu or gpu")
        if not self.compute_cores:
            raise SpecError(f"platform {self.name}: compute_cores is empty; wanted at least one core")

    def copiers(self, cores: int) -> tuple[int, ...]:
        """The cores of copy threads on a CPU of so many cores."""
        if self.copy_cores:
            return self.copy_cores
        spare = [i for i in range(cores) if i not in self.compute_cores]
        return tuple(spare[:2]) or tuple(range(cores - ceil_div(cores, 4), cores))
