"""Parts as frozen, self-checking tables: what a datasheet says, in its names and units.

A part holds raw values only; everything derived (clocks, rules, bandwidth) is computed from them.
Every part names its source, and a value that nobody published is marked as an estimate there.
"""

from __future__ import annotations

from dataclasses import dataclass, field, fields

from pimsim.devices.currents import Currents
from pimsim.errors import SpecError, suggest
from pimsim.notebook import Shown

ORDERED = (
    ("CCD_S", "CCD_M"), ("CCD_M", "CCD_L"), ("CCD_S", "CCD_L"), ("CCD_S_WR", "CCD_L_WR"), ("RRD_S", "RRD_L"),
    ("WTR_S", "WTR_L"), ("RAS", "RC"), ("RPpb", "RPab"), ("RFCpb", "RFCab"), ("RFCsb", "RFC1"),
    ("RFC", "REFI"), ("RFC1", "REFI"), ("RFCab", "REFI"),
)  # fmt: skip
"""Timings of which the first is never longer than the second in any standard, where a part has both."""


def fs_from_ns(ns: float) -> int:
    """Femtoseconds of a datasheet value in ns (datasheets give at most three decimals of ns)."""
    return round(ns * 1_000_000)


@dataclass(frozen=True, kw_only=True)
class AtLeast:
    """A datasheet minimum: the longer of `ns` nanoseconds and `ck` clocks."""

    ns: float = 0.0
    ck: int = 0

    def clocks(self, tck_fs: int) -> int:
        """Whole clocks of `tck_fs` femtoseconds that satisfy both halves, rounded up exactly."""
        return max(self.ck, -(-fs_from_ns(self.ns) // tck_fs))


@dataclass(frozen=True, kw_only=True)
class DramGeometry:
    """One channel: counts per level; `columns` in units of `dq_bits`; a bank is rows x columns.

    sids: stack levels of a rank, which share its bank groups in equal parts, level by level.
    data_buses: 1 if the ranks share one, else one a rank (a pseudo channel of HBM is a rank with its own).
    """

    ranks: int
    bank_groups: int
    banks_per_group: int
    rows: int
    columns: int
    dq_bits: int
    burst_length: int
    sids: int = 1
    data_buses: int = 1

    @property
    def banks(self) -> int:
        """Banks of one rank."""
        return self.bank_groups * self.banks_per_group

    @property
    def burst_bytes(self) -> int:
        return self.dq_bits * self.burst_length // 8

    @property
    def row_bytes(self) -> int:
        return self.columns * self.dq_bits // 8

    @property
    def bursts_per_row(self) -> int:
        return self.columns // self.burst_length

    @property
    def rank_bytes(self) -> int:
        return self.banks * self.rows * self.row_bytes

    @property
    def channel_bytes(self) -> int:
        return self.ranks * self.rank_bytes


@dataclass(frozen=True, kw_only=True)
class DramSpec(Shown):
    """One DRAM part as seen by one channel.

    family: which rule set applies (`pimsim.devices.rules.FAMILIES`), e.g. "lpddr5".
    density_gbit: capacity of one rank of the channel; stated to be checked against `geometry`.
    tck_fs: length of one command clock in femtoseconds (exact: LPDDR5X-8533 is 937 500); of half a clock
      where commands begin at both halves (HBM3), whose counts of clocks are then counts of halves.
    data_rate_mtps: transfers a second and pin, stated to be checked against `tck_fs`.
    clock_ratio: transfers per command clock and pin (LPDDR5 with WCK:CK 4:1 is 8; DDR is 2).
    timings: datasheet name -> AtLeast; the family says which names it needs.
    latencies_ck: read and write latency and other values that the standard gives in clocks only.
    currents: supply currents for the energy model; None where none are known. They name the chip that they
      are of, so that a variant of another rate, density or width does not use them.
    """

    name: str
    family: str
    source: str
    density_gbit: int
    data_rate_mtps: int
    tck_fs: int
    clock_ratio: int
    geometry: DramGeometry
    timings: dict[str, AtLeast]
    latencies_ck: dict[str, int] = field(default_factory=dict)
    currents: Currents | None = None

    def __post_init__(self) -> None:
        g = self.geometry
        for f in fields(g):
            if getattr(g, f.name) < 1:
                raise SpecError(f"{self.name}: geometry.{f.name}={getattr(g, f.name)}; wanted at least 1")
        held = g.rank_bytes * 8
        if held != self.density_gbit * 2**30:
            raise SpecError(
                f"{self.name}: geometry holds {held / 2**30:g} Gbit a rank "
                f"but density_gbit={self.density_gbit}: {g.banks} banks x {g.rows} rows x "
                f"{g.columns} columns x {g.dq_bits} bits"
            )
        if g.bank_groups % g.sids:
            raise SpecError(
                f"{self.name}: geometry.bank_groups={g.bank_groups} are no multiple of sids={g.sids}"
            )
        if g.data_buses not in (1, g.ranks):
            raise SpecError(
                f"{self.name}: geometry.data_buses={g.data_buses}; wanted 1 or one a rank (ranks={g.ranks})"
            )
        if g.columns % g.burst_length:
            raise SpecError(
                f"{self.name}: {g.columns} columns are no multiple of burst length {g.burst_length}"
            )
        if self.tck_fs < 1:
            raise SpecError(f"{self.name}: tck_fs={self.tck_fs}; wanted a clock period in femtoseconds")
        rate = self.clock_ratio * 1e9 / self.tck_fs
        if abs(rate - self.data_rate_mtps) > 0.002 * self.data_rate_mtps:
            raise SpecError(
                f"{self.name}: {self.clock_ratio} transfers a clock of {self.tck_fs} fs are {rate:.0f} MT/s "
                f"but data_rate_mtps={self.data_rate_mtps}"
            )
        for name, value in self.timings.items():
            if value.ns < 0 or value.ck < 0:
                raise SpecError(f"{self.name}: timings[{name!r}]={value}; wanted no negative value")
        clocks = Clocks(self).as_dict()
        for less, more in ORDERED:
            if less in clocks and more in clocks and clocks[less] > clocks[more]:
                raise SpecError(
                    f"{self.name}: t{less} is {clocks[less]} clocks and t{more} {clocks[more]}; "
                    f"wanted t{less} no longer than t{more}"
                )

    @property
    def burst_ck(self) -> int:
        """Clocks that one burst occupies the data bus."""
        return -(-self.geometry.burst_length // self.clock_ratio)

    @property
    def peak_bytes_per_s(self) -> float:
        """Peak of one channel: bytes of a burst over the time it occupies a bus, on all data buses."""
        return self.geometry.data_buses * self.geometry.burst_bytes / (self.burst_ck * self.tck_fs * 1e-15)


class Clocks:
    """A part's timings in whole clocks under their datasheet names: `n.RCD`, `n.RL`.

    A name that the part lacks is an error that says so, never a silent zero.
    """

    def __init__(self, spec: DramSpec) -> None:
        self._part = spec.name
        self.tck_fs = spec.tck_fs
        self._values = {k: v.clocks(spec.tck_fs) for k, v in spec.timings.items()}
        self._values.update(spec.latencies_ck)
        self._values.setdefault("BL", spec.burst_ck)
        for latency, cas in (("RL", "CL"), ("WL", "CWL")):  # DDR4 and DDR5 without additive latency
            if cas in self._values:
                self._values.setdefault(latency, self._values[cas])

    def __getattr__(self, name: str) -> int:
        try:
            return int(self.__dict__["_values"][name])
        except KeyError:
            if name.startswith("__"):
                raise AttributeError(name) from None
            raise SpecError(
                f"{self.__dict__['_part']}: timing {name!r} is missing; add it to the part"
            ) from None

    def has(self, name: str) -> bool:
        return name in self._values

    def as_dict(self) -> dict[str, int]:
        return dict(self._values)


@dataclass(frozen=True, kw_only=True)
class UnitEnergy:
    """Energy of a unit's column access, its arithmetic included.

    share: of an ordinary burst of its bank (a read for operands, a write for results), without a rail VDDQ or
      an energy a bit that the part has for the pins. source: where it is from, "estimate: ..." if a guess.
    """

    source: str
    share: float

    def __post_init__(self) -> None:
        if not self.share > 0:
            raise SpecError(f"unit energy: share={self.share:g}; wanted more than 0")


PIM_PROTOCOLS = ("lockstep", "paired_banks", "global_buffer")


@dataclass(frozen=True, kw_only=True)
class PimSpec(Shown):
    """One processing-in-memory unit and how it is driven; it sits in every bank of a DRAM part.

    lanes_bits: width of the datapath of one unit and of one column access.
    accumulators: results that one unit holds while a row is multiplied (output rows of a tile).
    source_bytes: input-vector register space of one unit (written to all banks at once).
    lane_reduction: True when an adder tree sums the lanes, so one accumulator is one number.
    result_bytes: size of one result as read by the host.
    weight_dtypes: weight type -> bits.
    mode_ck: clocks that entering or leaving all-bank mode takes after its command.
    mac_pipeline_ck: clocks from the last MAC to a readable result.
    units_per_bank: 1 for LPDDR5X-PIM; 0.5 for parts with one unit for two banks.
    protocol: how operations become commands, see `pimsim.devices.pim`: "lockstep" (every bank in every
      command), "paired_banks" (a unit serves an even and an odd bank in turn; registers are rows) or
      "global_buffer" (inputs in one buffer a channel, one accumulator a bank).
    setup_writes: bursts that program the units before an operation (instructions, scalars).
    timings: datasheet name -> AtLeast, for what the DRAM part has no name for.
    channels: how many channels a usual set-up of the part has.
    unit_energy: of a column access.
    """

    name: str
    source: str
    dram: str
    lanes_bits: int
    accumulators: int
    source_bytes: int
    lane_reduction: bool
    result_bytes: int
    weight_dtypes: dict[str, int]
    mode_ck: int
    mac_pipeline_ck: int
    mode_accesses: int
    units_per_bank: float = 1.0
    protocol: str = "lockstep"
    setup_writes: int = 0
    timings: dict[str, AtLeast] = field(default_factory=dict)
    channels: int = 4
    unit_energy: UnitEnergy = UnitEnergy(
        source="estimate: a burst without the pins; its way to them is too much, the arithmetic left out",
        share=1.0,
    )

    def __post_init__(self) -> None:
        if self.protocol not in PIM_PROTOCOLS:
            raise SpecError(f"{self.name}: protocol={self.protocol!r}{suggest(self.protocol, PIM_PROTOCOLS)}")
        for name in ("lanes_bits", "accumulators", "source_bytes", "result_bytes"):
            if getattr(self, name) < 1:
                raise SpecError(f"{self.name}: {name}={getattr(self, name)}; wanted at least 1")


CACHE_POLICIES = ("lru", "tree-plru", "random", "srrip")
CACHE_INCLUSIONS = ("non-inclusive", "inclusive", "exclusive")
CACHE_WRITES = ("back", "through")
CACHE_PREFETCHERS = ("none", "next-line", "stride")
MOST_WAYS, MOST_MSHRS, MOST_PREFETCHES = 16, 256, 16


@dataclass(frozen=True, kw_only=True)
class CacheSpec(Shown):
    """One cache level; what the words mean in detail: `pimsim.devices.cache`.

    size_bytes: data only. ways: 1 to 16. hit_ns: load-to-use time of a hit as seen by a core.
    policy: which line of a full set leaves. inclusion: how the lines relate to those of the levels before.
    write: "back" or "through". write_allocate: whether a store that misses brings its line in.
    mshrs: lines that may be on their way into the level at once; 0: not limited.
    prefetch: "none", "next-line" or "stride"; prefetch_degree: lines ahead.
    """

    name: str
    size_bytes: int
    ways: int
    line_bytes: int
    hit_ns: float
    source: str
    policy: str = "lru"
    inclusion: str = "non-inclusive"
    write: str = "back"
    write_allocate: bool = True
    mshrs: int = 0
    prefetch: str = "none"
    prefetch_degree: int = 1

    def __post_init__(self) -> None:
        for field_name, known in (
            ("policy", CACHE_POLICIES),
            ("inclusion", CACHE_INCLUSIONS),
            ("write", CACHE_WRITES),
            ("prefetch", CACHE_PREFETCHERS),
        ):
            given = getattr(self, field_name)
            if given not in known:
                raise SpecError(f"cache {self.name}: {field_name}={given!r}{suggest(str(given), known)}")
        for field_name, least, most in (
            ("ways", 1, MOST_WAYS),
            ("mshrs", 0, MOST_MSHRS),
            ("prefetch_degree", 1, MOST_PREFETCHES),
        ):
            held = getattr(self, field_name)
            if not least <= held <= most:
                raise SpecError(f"cache {self.name}: {field_name}={held}; wanted {least} to {most}")
        if not 8 <= self.line_bytes <= 4096 or self.line_bytes & (self.line_bytes - 1):
            raise SpecError(
                f"cache {self.name}: line_bytes={self.line_bytes}; wanted a power of two, 8 to 4096"
            )
        set_bytes = self.ways * self.line_bytes
        if self.size_bytes < set_bytes or self.size_bytes % set_bytes:
            raise SpecError(
                f"cache {self.name}: size_bytes={self.size_bytes} are no multiple of {self.ways} ways x "
                f"{self.line_bytes} bytes"
            )
        if self.sets & (self.sets - 1):
            lines = self.size_bytes // self.line_bytes
            fits = [n for n in range(1, MOST_WAYS + 1) if lines % n == 0 and (lines // n).bit_count() == 1]
            hint = f"; with ways={' or '.join(map(str, fits))} they would be one" if fits else ""
            raise SpecError(
                f"cache {self.name}: {self.size_bytes} bytes in {self.ways} ways of {self.line_bytes}-byte "
                f"lines are {self.sets} sets; wanted a power of two{hint}"
            )
        if self.policy == "tree-plru" and self.ways & (self.ways - 1):
            raise SpecError(f"cache {self.name}: tree-plru with ways={self.ways}; wanted a power of two")
        if self.hit_ns < 0:
            raise SpecError(f"cache {self.name}: hit_ns={self.hit_ns}; wanted at least 0")

    @property
    def sets(self) -> int:
        """Number of sets, a power of two."""
        return self.size_bytes // (self.ways * self.line_bytes)


@dataclass(frozen=True, kw_only=True)
class CoreSpec(Shown):
    """One core class.

    flop_per_ck: peak multiply-add rate at `dtype` bf16, counted as two operations each.
    gemm_efficiency: share of the peak that the GEMM kernel reaches from its caches.
    gemm_fill_rows: weight rows that a GEMM thread loses to filling its caches (small GEMMs are slower).
    lines_outstanding: cacheable lines in flight towards memory, prefetches included.
    nc_outstanding: non-cacheable 64-byte loads in flight.
    cached_gbps: bandwidth of vector code on data in its caches (norms, softmax, ...).
    store_buffer: stores in flight, 0: not limited; for the time model of caches.
    type_flop_per_ck: (type, operations a clock) of types with another rate than `flop_per_ck`.
    """

    name: str
    source: str
    clock_ghz: float
    flop_per_ck: int
    l1: CacheSpec
    l2: CacheSpec
    gemm_efficiency: float
    gemm_fill_rows: int
    lines_outstanding: int
    nc_outstanding: int
    cached_gbps: float
    store_buffer: int = 0
    type_flop_per_ck: tuple[tuple[str, int], ...] = ()

    @property
    def peak_gflops(self) -> float:
        return self.clock_ghz * self.flop_per_ck

    def peak_gflops_of(self, dtype: str) -> float:
        """Peak at a type in 1e9 operations a second; bf16 where nothing else is said."""
        return self.clock_ghz * dict(self.type_flop_per_ck).get(dtype, self.flop_per_ck)


@dataclass(frozen=True, kw_only=True)
class CpuSpec(Shown):
    """A CPU cluster: cores in order of preference, shared caches, path to memory, thread costs.

    path_ns: time of a memory access outside the DRAM channel (core, cluster, fabric, PHY), both ways.
    cluster_lines: cacheable lines that the whole cluster keeps in flight towards memory.
    attention_efficiency: share of the peak that attention over short heads reaches.
    dispatch_us: the runtime's own time before an operator starts.
    wake_us: handing a step to waiting threads and joining them again (thread pool).
    create_us: creating and joining one thread (a group made anew for one step pays it for each).
    """

    name: str
    source: str
    cores: tuple[CoreSpec, ...]
    shared: tuple[CacheSpec, ...]
    path_ns: float
    cluster_lines: int
    attention_efficiency: float
    dispatch_us: float
    wake_us: float
    create_us: float

    @property
    def peak_gflops(self) -> float:
        return sum(core.peak_gflops for core in self.cores)
