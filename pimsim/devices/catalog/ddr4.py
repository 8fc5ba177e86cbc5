"""DDR4 parts: eight x8 chips of 8 Gb on a 64-bit channel, so that a row of the channel has 8 KB."""

from dataclasses import replace

from pimsim.devices.spec import AtLeast, DramGeometry, DramSpec

_SOURCE = (
    "JESD79-4, speed bin {bin}, x8 chips of 8 Gb (1 KB page), 1 tCK preambles, as in the public presets of "
    "Ramulator 2.1; idle clocks between ranks: estimate"
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
)
