"""LPDDR4 parts (x16 channel of a two-channel die, bursts of 16)."""

from dataclasses import replace

from pimsim.devices.currents import Currents, Rail
from pimsim.devices.spec import AtLeast, DramGeometry, DramSpec

LPDDR4_3200_8GB_X16 = DramSpec(
    name="lpddr4-3200-8gb-x16",
    family="lpddr4",
    source="JESD209-4, 8 Gb a channel, DBI off, set A, as in the public configuration of DRAMSys 5.1 "
    "(LPDDR4-3200); the ns behind its clocks: estimate",
    density_gbit=8,
    data_rate_mtps=3200,
    tck_fs=625_000,
    clock_ratio=2,
    geometry=DramGeometry(
        ranks=1, bank_groups=1, banks_per_group=8, rows=2**16, columns=2**10, dq_bits=16, burst_length=16
    ),
    timings={
        "RCD": AtLeast(ns=18, ck=4),  # activate to read or write
        "RPpb": AtLeast(ns=18, ck=3),  # precharge one bank
        "RPab": AtLeast(ns=21, ck=3),  # precharge all banks
        "RAS": AtLeast(ns=42, ck=3),  # activate to precharge
        "RRD": AtLeast(ns=10, ck=4),  # activate to activate, other bank
        "FAW": AtLeast(ns=40),  # four activates
        "RTP": AtLeast(ns=7.5, ck=8),  # read to precharge
        "WR": AtLeast(ns=18, ck=6),  # end of write data to precharge
        "WTR": AtLeast(ns=10, ck=8),  # end of write data to read
        "DQSCK": AtLeast(ns=3.5),  # read latency to data, at most
        "REFI": AtLeast(ns=3904),  # average interval of all-bank refreshes
        "REFIpb": AtLeast(ns=488),  # average interval of per-bank refreshes
        "RFCab": AtLeast(ns=280),  # all-bank refresh
        "RFCpb": AtLeast(ns=140),  # per-bank refresh
    },
    latencies_ck={
        "RL": 28,  # read latency
        "WL": 14,  # write latency, set A
        "CCD": 8,
        "PPD": 4,  # precharge to precharge
        "DQSS": 1,  # write latency to the strobe, at most
        "WPRE": 2,  # write preamble
        "RPST": 0,  # read postamble beyond the burst, whole clocks
        "CS": 1,  # idle clocks of the bus between ranks
    },
    currents=Currents(
        source="estimate: Micron LPDDR4-3200 of 6 Gb a channel, as carried by DRAMPower 4 "
        "(MICRON_6Gb_LPDDR4-3200_32bit_A) and used for 8 Gb channels by DRAMSys",
        data_rate_mtps=3200,
        density_gbit=8,
        dq_bits=16,
        rails=(
            Rail(name="VDD1", volts=1.8, IDD0=3.5, IDD2N=2, IDD3N=2.25, IDD4R=2.25, IDD4W=2.25, IDD5B=10),
            Rail(name="VDD2", volts=1.1, IDD0=45, IDD2N=27, IDD3N=30, IDD4R=275, IDD4W=210, IDD5B=90),
            Rail(name="VDDQ", volts=1.1, IDD0=0.75, IDD2N=0.75, IDD3N=0.75, IDD4R=150, IDD4W=55, IDD5B=0.75),
        ),
    ),
)

LPDDR4_3200_8GB_X16_2R = replace(
    LPDDR4_3200_8GB_X16,
    name="lpddr4-3200-8gb-x16-2r",
    geometry=replace(LPDDR4_3200_8GB_X16.geometry, ranks=2),
)

LPDDR4_3200_4GB_X16 = replace(
    LPDDR4_3200_8GB_X16,
    name="lpddr4-3200-4gb-x16",
    source="JESD209-4, 4 Gb a channel: refresh by density as in public controller drivers; the rest as "
    "lpddr4-3200-8gb-x16",
    density_gbit=4,
    currents=None,
    geometry=replace(LPDDR4_3200_8GB_X16.geometry, rows=2**15),
    timings=LPDDR4_3200_8GB_X16.timings | {"RFCab": AtLeast(ns=180), "RFCpb": AtLeast(ns=90)},
)

LPDDR4_3200_16GB_X16 = replace(
    LPDDR4_3200_8GB_X16,
    name="lpddr4-3200-16gb-x16",
    source="JESD209-4, 16 Gb a channel: refresh by density as in public controller drivers; the rest as "
    "lpddr4-3200-8gb-x16",
    density_gbit=16,
    currents=None,
    geometry=replace(LPDDR4_3200_8GB_X16.geometry, rows=2**17),
    timings=LPDDR4_3200_8GB_X16.timings | {"RFCab": AtLeast(ns=380), "RFCpb": AtLeast(ns=190)},
)
