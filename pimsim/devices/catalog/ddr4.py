"""DDR4 parts: chips side by side on a 64-bit channel, so that a row of eight x8 chips has 8 KB."""

from dataclasses import replace

from pimsim.devices.currents import Currents, PinEnergy, Rail
from pimsim.devices.spec import AtLeast, DramGeometry, DramSpec

_SOURCE = (
    "JESD79-4, speed bin {bin}, x8 chips of 8 Gb (1 KB page), 1 tCK preambles, as in the public presets of "
    "Ramulator 2.1; idle clocks between ranks: estimate"
)


def _currents(data_rate_mtps: int, width_bits: int, ipp0_ma: float, **vdd_ma: float) -> Currents:
    """Currents of the 8 Gb chips of Micron (MT40A); a rank has 64 bits of them."""
    return Currents(
        source="Micron 8 Gb DDR4 (MT40A) limits as carried by the public configurations "
        f"DDR4_8Gb_x{width_bits}_{data_rate_mtps} of DRAMsim3; IPP3N and IPP5B from Micron's module sheets "
        "MTA18ASF2G72HZ (x8) and MTA4ATF51264AZ (x16), die rev. B, used for all widths",
        data_rate_mtps=data_rate_mtps,
        density_gbit=8,
        dq_bits=width_bits,
        devices_per_rank=64 // width_bits,
        rails=(
            Rail(name="VDD", volts=1.2, **vdd_ma),
            Rail(name="VPP", volts=2.5, IDD0=ipp0_ma, IDD2N=3, IDD3N=3, IDD4R=3, IDD4W=3, IDD5B=28),
        ),
        pins=PinEnergy(
            source="Micron TN-40-07 table 26, one rank: 11.73 mW a DQ reading, 4.15 mW writing (second hand)",
            read_pj_per_bit=11.73e3 / data_rate_mtps,
            write_pj_per_bit=4.15e3 / data_rate_mtps,
        ),
    )


DDR4_3200_8GB_X8 = DramSpec(
    name="ddr4-3200-8gb-x8",
    family="ddr4",
    source=_SOURCE.format(bin="3200AA"),
    density_gbit=64,  # eight chips
    data_rate_mtps=3200,
    tck_fs=625_000,
    clock_ratio=2,
    geometry=DramGeometry(
        ranks=1, bank_groups=4, banks_per_group=4, rows=2**16, columns=2**10, dq_bits=64, burst_length=8
    ),
    timings={
        "RCD": AtLeast(ck=22),  # activate to read or write
        "RP": AtLeast(ck=22),  # precharge
        "RAS": AtLeast(ck=52),  # activate to precharge
        "RRD_S": AtLeast(ck=4),  # activate to activate, other bank group
        "RRD_L": AtLeast(ck=8),  # activate to activate, same bank group
        "FAW": AtLeast(ck=34),  # four activates
        "RTP": AtLeast(ck=12),  # read to precharge
        "WR": AtLeast(ck=24),  # end of write data to precharge
        "WTR_S": AtLeast(ck=4),  # end of write data to read, other bank group
        "WTR_L": AtLeast(ck=12),  # end of write data to read, same bank group
        "REFI": AtLeast(ns=7800),  # average interval of refreshes
        "RFC": AtLeast(ns=360),  # refresh (tRFC1)
    },
    latencies_ck={
        "CL": 22,  # read latency
        "CWL": 16,  # write latency
        "CCD_S": 4,
        "CCD_L": 8,
        "WPRE": 1,  # write preamble
        "CS": 2,  # idle clocks of the bus between ranks
    },
    currents=_currents(3200, 8, 3, IDD0=57, IDD2N=37, IDD3N=52, IDD4R=168, IDD4W=150, IDD5B=250),
)

DDR4_3200_8GB_X8_2R = replace(
    DDR4_3200_8GB_X8, name="ddr4-3200-8gb-x8-2r", geometry=replace(DDR4_3200_8GB_X8.geometry, ranks=2)
)

DDR4_2666_8GB_X8 = DramSpec(
    name="ddr4-2666-8gb-x8",
    family="ddr4",
    source=_SOURCE.format(bin="2666V"),
    density_gbit=64,  # eight chips
    data_rate_mtps=2666,
    tck_fs=750_000,
    clock_ratio=2,
    geometry=DDR4_3200_8GB_X8.geometry,
    timings={
        "RCD": AtLeast(ck=19),
        "RP": AtLeast(ck=19),
        "RAS": AtLeast(ck=43),
        "RRD_S": AtLeast(ck=4),
        "RRD_L": AtLeast(ck=7),
        "FAW": AtLeast(ck=28),
        "RTP": AtLeast(ck=10),
        "WR": AtLeast(ck=20),
        "WTR_S": AtLeast(ck=4),
        "WTR_L": AtLeast(ck=10),
        "REFI": AtLeast(ns=7800),
        "RFC": AtLeast(ns=360),
    },
    latencies_ck={"CL": 19, "CWL": 14, "CCD_S": 4, "CCD_L": 7, "WPRE": 1, "CS": 2},
    currents=_currents(2666, 8, 3, IDD0=51, IDD2N=35, IDD3N=46, IDD4R=146, IDD4W=132, IDD5B=250),
)

# Density of a chip in Gb: rows of an x8 chip, refresh (tRFC1 as in the presets; the standard has 350 ns for
# 8 Gb).
_DENSITY = {
    4: (2**15, AtLeast(ns=260)),
    8: (2**16, AtLeast(ns=360)),
    16: (2**17, AtLeast(ns=550)),
}
# Width of a chip in bits: rows relative to x8, bank groups, and what JESD79-4 gives by page size at 3200 MT/s
# (512 B, 1 KB, 2 KB).
_WIDTH = {
    4: (2, 4, {"RRD_S": AtLeast(ck=4), "RRD_L": AtLeast(ns=4.9, ck=4), "FAW": AtLeast(ns=10, ck=16)}),
    8: (1, 4, {"RRD_S": AtLeast(ck=4), "RRD_L": AtLeast(ns=4.9, ck=4), "FAW": AtLeast(ns=21, ck=20)}),
    16: (
        1,
        2,
        {"RRD_S": AtLeast(ns=5.3, ck=4), "RRD_L": AtLeast(ns=6.4, ck=4), "FAW": AtLeast(ns=30, ck=28)},
    ),
}
# Currents of other chips by density and width, where they are public.
_CURRENTS = {
    (8, 4): _currents(3200, 4, 3, IDD0=52, IDD2N=37, IDD3N=47, IDD4R=143, IDD4W=130, IDD5B=250),
    (8, 16): _currents(3200, 16, 4, IDD0=95, IDD2N=37, IDD3N=56, IDD4R=302, IDD4W=278, IDD5B=280),
}


def _of(density_gbit: int, width_bits: int) -> DramSpec:
    """DDR4-3200 with chips of another density and width."""
    rows, refresh = _DENSITY[density_gbit]
    more_rows, bank_groups, page = _WIDTH[width_bits]
    return replace(
        DDR4_3200_8GB_X8,
        name=f"ddr4-3200-{density_gbit}gb-x{width_bits}",
        source=f"JESD79-4, speed bin 3200AA, x{width_bits} chips of {density_gbit} Gb: refresh by density, "
        "activates by page size, as in the presets of Ramulator 2.1; the rest as ddr4-3200-8gb-x8",
        density_gbit=density_gbit * 64 // width_bits,
        geometry=replace(DDR4_3200_8GB_X8.geometry, rows=rows * more_rows, bank_groups=bank_groups),
        timings=DDR4_3200_8GB_X8.timings | page | {"RFC": refresh},
        currents=_CURRENTS.get((density_gbit, width_bits)),
    )


DDR4_3200_4GB_X4 = _of(4, 4)
DDR4_3200_4GB_X8 = _of(4, 8)
DDR4_3200_4GB_X16 = _of(4, 16)
DDR4_3200_8GB_X4 = _of(8, 4)
DDR4_3200_8GB_X16 = _of(8, 16)
DDR4_3200_16GB_X4 = _of(16, 4)
DDR4_3200_16GB_X8 = _of(16, 8)
DDR4_3200_16GB_X16 = _of(16, 16)
