"""DDR5 parts: chips side by side on a 32-bit subchannel, so that a row of four x8 chips has 4 KB."""

from dataclasses import replace

from pimsim.devices.currents import Currents, Rail
from pimsim.devices.spec import AtLeast, DramGeometry, DramSpec

_GEOMETRY = DramGeometry(
    ranks=1, bank_groups=8, banks_per_group=4, rows=2**16, columns=2**10, dq_bits=32, burst_length=16
)

_CURRENTS_4800_16GB_X8 = Currents(
    source="estimate: second hand, Micron 16 Gb DDR5 (MT60B) die rev. A, table 6, x8 at 4800 MT/s, as quoted "
    "by a public power model (another has IDD4R 318, IDD4W 345 mA); IDD3N1: each of 32 banks adds the same",
    data_rate_mtps=4800,
    density_gbit=16,
    dq_bits=8,
    devices_per_rank=4,
    rails=(
        Rail(
            name="VDD",
            volts=1.1,
            IDD0=103,
            IDD2N=92,
            IDD3N=142,
            IDD3N1=92 + (142 - 92) / 32,
            IDD4R=377,
            IDD4W=349,
            IDD5B=277,
        ),
        Rail(name="VPP", volts=1.8, IDD0=8, IDD2N=6, IDD3N=7, IDD4R=9, IDD4W=36, IDD5B=28),
    ),
)

DDR5_4800_16GB_X8 = DramSpec(
    name="ddr5-4800-16gb-x8",
    family="ddr5",
    source="JESD79-5, x8 chips of 16 Gb, the preset 4800BN of Ramulator 2.1 (tCK 416 ps as the standard "
    "rounds it); 2 tCK write preamble; tRFCsb and tREFSBRD: tables 282 and 284 of the standard, as quoted in "
    "public documentation of a controller; estimate: idle clocks between ranks",
    density_gbit=64,  # four chips
    data_rate_mtps=4800,
    tck_fs=416_000,
    clock_ratio=2,
    geometry=_GEOMETRY,
    timings={
        "RCD": AtLeast(ck=36),  # activate to read or write
        "RP": AtLeast(ck=36),  # precharge
        "RAS": AtLeast(ck=77),  # activate to precharge
        "RRD_S": AtLeast(ck=8),  # activate to activate, other bank group
        "RRD_L": AtLeast(ck=12),  # activate to activate, same bank group
        "FAW": AtLeast(ck=48),  # four activates
        "RTP": AtLeast(ck=18),  # read to precharge
        "WR": AtLeast(ck=72),  # end of write data to precharge
        "WTR_S": AtLeast(ck=6),  # end of write data to read, other bank group
        "WTR_L": AtLeast(ck=24),  # end of write data to read, same bank group
        "REFI": AtLeast(ns=3900),  # average interval of all-bank refreshes
        "RFC1": AtLeast(ns=295),  # all-bank refresh, normal mode
        "REFIsb": AtLeast(ns=487.5),  # same-bank refreshes: half of tREFI (tREFI2) over the banks of a group
        "RFCsb": AtLeast(ns=130),  # same-bank refresh
        "REFSBRD": AtLeast(ns=30),  # same-bank refresh to activate of another bank
    },
    latencies_ck={
        "CL": 36,  # read latency
        "CWL": 34,  # write latency
        "CCD_S": 8,
        "CCD_L": 12,
        "CCD_S_WR": 8,
        "CCD_L_WR": 48,
        "PPD": 2,  # precharge to precharge
        "WPRE": 2,  # write preamble
        "CS": 2,  # idle clocks of the bus between ranks
    },
    currents=_CURRENTS_4800_16GB_X8,
)

DDR5_4800_16GB_X8_2R = replace(
    DDR5_4800_16GB_X8, name="ddr5-4800-16gb-x8-2r", geometry=replace(_GEOMETRY, ranks=2)
)

DDR5_6400_16GB_X8 = DramSpec(
    name="ddr5-6400-16gb-x8",
    family="ddr5",
    source="estimate: JESD79-5, x8 chips of 16 Gb, the preset 6400AN of Ramulator 2.1 (a second source), tCK "
    "312 ps as the standard rounds it; tFAW and tRRD_L from its 20 ns and 5 ns; same-bank refresh and idle "
    "clocks between ranks as ddr5-4800-16gb-x8",
    density_gbit=64,  # four chips
    data_rate_mtps=6400,
    tck_fs=312_000,
    clock_ratio=2,
    geometry=_GEOMETRY,
    timings={
        "RCD": AtLeast(ck=46),
        "RP": AtLeast(ck=46),
        "RAS": AtLeast(ck=103),
        "RRD_S": AtLeast(ck=8),
        "RRD_L": AtLeast(ck=16),
        "FAW": AtLeast(ck=64),
        "RTP": AtLeast(ck=24),
        "WR": AtLeast(ck=96),
        "WTR_S": AtLeast(ck=5),
        "WTR_L": AtLeast(ck=32),
        "REFI": AtLeast(ns=3900),
        "RFC1": AtLeast(ns=295),
        "REFIsb": AtLeast(ns=487.5),
        "RFCsb": AtLeast(ns=130),
        "REFSBRD": AtLeast(ns=30),
    },
    latencies_ck={
        "CL": 46,
        "CWL": 44,
        "CCD_S": 8,
        "CCD_L": 16,
        "CCD_S_WR": 8,
        "CCD_L_WR": 64,
        "PPD": 2,
        "WPRE": 2,
        "CS": 2,
    },
)

# Density of a chip in Gb: banks of a bank group, rows, refresh (tRFC1, tRFCsb) and its interval (tREFIsb).
# 8 and 16 Gb: table 282 of JESD79-5, which leaves 32 Gb open; tRFCsb of 32 Gb is an estimate.
_DENSITY = {
    8: (2, 2**16, {"RFC1": AtLeast(ns=195), "RFCsb": AtLeast(ns=115), "REFIsb": AtLeast(ns=975)}),
    16: (4, 2**16, {}),
    32: (4, 2**17, {"RFC1": AtLeast(ns=410), "RFCsb": AtLeast(ns=190)}),
}
# Width of a chip in bits: bank groups, columns, four activates (a page of 2 KB instead of 1 KB in x16 chips).
_WIDTH = {
    4: (8, 2**11, DDR5_4800_16GB_X8.timings["FAW"]),
    8: (8, 2**10, DDR5_4800_16GB_X8.timings["FAW"]),
    16: (4, 2**10, AtLeast(ck=60)),
}


def _of(density_gbit: int, width_bits: int) -> DramSpec:
    """DDR5-4800 with chips of another density and width."""
    banks, rows, refresh = _DENSITY[density_gbit]
    bank_groups, columns, faw = _WIDTH[width_bits]
    return replace(
        DDR5_4800_16GB_X8,
        name=f"ddr5-4800-{density_gbit}gb-x{width_bits}",
        source=f"JESD79-5, x{width_bits} chips of {density_gbit} Gb: refresh by density, four activates by "
        "page size, as in the presets of Ramulator 2.1; the rest as ddr5-4800-16gb-x8",
        density_gbit=density_gbit * 32 // width_bits,
        geometry=replace(
            _GEOMETRY, bank_groups=bank_groups, banks_per_group=banks, rows=rows, columns=columns
        ),
        timings=DDR5_4800_16GB_X8.timings | refresh | {"FAW": faw},
        currents=None,
    )


DDR5_4800_8GB_X4 = _of(8, 4)
DDR5_4800_8GB_X8 = _of(8, 8)
DDR5_4800_8GB_X16 = _of(8, 16)
DDR5_4800_16GB_X4 = _of(16, 4)
DDR5_4800_16GB_X16 = _of(16, 16)
DDR5_4800_32GB_X4 = _of(32, 4)
DDR5_4800_32GB_X8 = _of(32, 8)
DDR5_4800_32GB_X16 = _of(32, 16)
