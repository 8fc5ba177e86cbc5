"""Supply currents of DRAM chips as data: what a datasheet's table of IDD values says.

`pimsim.devices.dram.energy` turns them into energies.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

from pimsim.errors import SpecError, suggest

RAILS = ("VDD", "VDD1", "VDD2", "VDD2H", "VDD2L", "VDDQ", "VPP")
"""Supply rails by their JEDEC names; VDDQ feeds the data pins."""
MISSING = math.nan


@dataclass(frozen=True, kw_only=True)
class Rail:
    """Currents of one chip on one rail in mA, each under its JEDEC name without the letters of the rail.

    IPP0 is IDD0 of the rail VPP, IDD4R2H is IDD4R of VDD2H, IDD4RQ is IDD4R of VDDQ.

    IDD0: rows of one bank opened and closed every tRC. IDD2N: standby, all banks closed.
    IDD3N: standby with banks open, as many as the datasheet says (DDR4, DDR5: all).
    IDD3N1: standby with one bank open, where it is known; without it IDD3N holds for any number.
    IDD4R, IDD4W: bursts without gaps. IDD5B: all-bank refreshes every tRFC (not IDD5R, one every tREFI).
    """

    name: str
    volts: float
    IDD0: float = MISSING
    IDD2N: float = MISSING
    IDD3N: float = MISSING
    IDD4R: float = MISSING
    IDD4W: float = MISSING
    IDD5B: float = MISSING
    IDD3N1: float | None = None

    def __post_init__(self) -> None:
        if self.name not in RAILS:
            raise SpecError(f"no supply rail {self.name!r}{suggest(self.name, RAILS)}")
        if not (self.volts > 0 and math.isfinite(self.volts)):
            raise SpecError(f"rail {self.name}: volts={self.volts:g}; wanted a voltage above 0")
        wanted = ("IDD0", "IDD2N", "IDD3N", "IDD4R", "IDD4W", "IDD5B")
        missing = [name for name in wanted if math.isnan(getattr(self, name))]
        if missing:
            raise SpecError(
                f"rail {self.name}: {', '.join(missing)} missing; wanted {', '.join(wanted)}, each in mA"
            )
        for name in (*wanted, "IDD3N1"):
            value = getattr(self, name)
            if value is not None and not (value >= 0 and math.isfinite(value)):
                raise SpecError(f"rail {self.name}: {name}={value:g} mA; wanted a current of at least 0")
        for less, more in (
            ("IDD2N", "IDD0"),
            ("IDD2N", "one_bank"),
            ("one_bank", "IDD3N"),
            ("IDD3N", "IDD4R"),
            ("IDD3N", "IDD4W"),
            ("IDD3N", "IDD5B"),
        ):
            if getattr(self, less) > getattr(self, more):
                raise SpecError(
                    f"rail {self.name}: {_said(more)}={getattr(self, more):g} mA is below "
                    f"{_said(less)}={getattr(self, less):g} mA"
                )

    @property
    def one_bank(self) -> float:
        """Standby current with one bank open, mA."""
        return self.IDD3N if self.IDD3N1 is None else self.IDD3N1


def _said(name: str) -> str:
    return "IDD3N1" if name == "one_bank" else name


@dataclass(frozen=True, kw_only=True)
class PinEnergy:
    """Energy of the data pins, driver and termination, that the currents do not include."""

    source: str
    read_pj_per_bit: float
    write_pj_per_bit: float

    def __post_init__(self) -> None:
        for name in ("read_pj_per_bit", "write_pj_per_bit"):
            value = getattr(self, name)
            if not (value >= 0 and math.isfinite(value)):
                raise SpecError(f"pin energy: {name}={value:g}; wanted an energy of at least 0")


@dataclass(frozen=True, kw_only=True)
class Currents:
    """The currents of one chip, and how many such chips make a rank of the part.

    source: where the values are from; "estimate: ..." if second hand or not of this chip at this rate.
    data_rate_mtps, density_gbit, dq_bits: the chip whose currents they are; a part of other chips (a variant
      that inherited them) has no energy.
    devices_per_rank: chips side by side; 0.5 where a rank has one of the two channels of a chip.
    pins: energy a bit on the data pins, for chips without a rail VDDQ of their own.
    """

    source: str
    data_rate_mtps: int
    density_gbit: float
    dq_bits: int
    rails: tuple[Rail, ...]
    devices_per_rank: float = 1
    pins: PinEnergy | None = None

    def __post_init__(self) -> None:
        if not self.source:
            raise SpecError("currents: source is empty; wanted where the values are from, or 'estimate: ...'")
        names = [rail.name for rail in self.rails]
        if not names:
            raise SpecError("currents: no rails; wanted at least one")
        if len(set(names)) < len(names):
            raise SpecError(f"currents: a rail is given twice: {', '.join(names)}")
        if not (self.devices_per_rank > 0 and math.isfinite(self.devices_per_rank)):
            raise SpecError(f"currents: devices_per_rank={self.devices_per_rank:g}; wanted more than 0")
        if self.pins is not None and "VDDQ" in names:
            raise SpecError("currents: pins and a rail VDDQ both give the energy of the data pins")

    @property
    def estimate(self) -> bool:
        """True if the source says so."""
        return self.source.startswith("estimate")

    def mismatch(self, data_rate_mtps: int, density_gbit: int, dq_bits: int) -> str:
        """Why a rank of this rate, density and width is not made of the chip of these currents, or ""."""
        n = self.devices_per_rank
        for name, held, wanted in (
            ("data_rate_mtps", self.data_rate_mtps, data_rate_mtps),
            ("density_gbit", n * self.density_gbit, density_gbit),
            ("dq_bits", n * self.dq_bits, dq_bits),
        ):
            if held != wanted:
                return (
                    f"{name}={wanted} but the currents are of {held:g} ({n:g} chips of {self.density_gbit:g} "
                    f"Gbit, {self.dq_bits} bits, {self.data_rate_mtps} MT/s)"
                )
        return ""
