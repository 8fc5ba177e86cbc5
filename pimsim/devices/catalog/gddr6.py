"""GDDR6 parts: one 16-bit channel of a chip that has two."""

from dataclasses import replace

from pimsim.devices.currents import Currents, Rail
from pimsim.devices.spec import AtLeast, DramGeometry, DramSpec

_GEOMETRY = DramGeometry(
    ranks=1, bank_groups=4, banks_per_group=4, rows=2**14, columns=2**10, dq_bits=16, burst_length=16
)

GDDR6_14000_8GB_X16 = DramSpec(
    name="gddr6-14000-8gb-x16",
    family="gddr6",
    source="Samsung 8 Gb GDDR6 data sheet at 1.35 V, as carried by Ramulator 2.1; tREFIpb as a sixteenth of "
    "tREFI and tRREFD: estimate",
    density_gbit=4,  # one of the two channels
    data_rate_mtps=14000,
    tck_fs=571_429,
    clock_ratio=8,
    geometry=_GEOMETRY,
    timings={
        "RCDRD": AtLeast(ck=27),  # activate to read
        "RCDWR": AtLeast(ck=16),  # activate to write
        "RP": AtLeast(ck=27),  # precharge
        "RAS": AtLeast(ck=53),  # activate to precharge
        "RC": AtLeast(ck=79),  # activate to activate, same bank
        "RRD_S": AtLeast(ck=8),  # activate to activate, other bank group
        "RRD_L": AtLeast(ck=8),  # activate to activate, same bank group
        "FAW": AtLeast(ck=29),  # four activates
        "RTP": AtLeast(ck=4),  # read to precharge
        "WR": AtLeast(ck=27),  # end of write data to precharge
        "WTR_S": AtLeast(ck=9),  # end of write data to read, other bank group
        "WTR_L": AtLeast(ck=11),  # end of write data to read, same bank group
        "REFI": AtLeast(ns=1900),  # average interval of all-bank refreshes
        "REFIpb": AtLeast(ns=118.75),  # average interval of per-bank refreshes
        "RFCab": AtLeast(ck=211),  # all-bank refresh
        "RFCpb": AtLeast(ck=106),  # per-bank refresh
        "RREFD": AtLeast(ck=14),  # per-bank refresh to the next, or to an activate of another bank
    },
    latencies_ck={
        "RL": 24,  # read latency
        "WL": 6,  # write latency
        "CCD_S": 2,
        "CCD_L": 4,
        "CS": 2,  # idle clocks of the bus between ranks
    },
    currents=Currents(
        source="estimate: second hand, Samsung K4Z80325BC (8 Gb GDDR6, rev. 1.3), table 82, 14 Gb/s, 1.35 V, "
        "as quoted by a public power model; without VPP: the sheet has no IPP2N",
        data_rate_mtps=14000,
        density_gbit=8,
        dq_bits=32,
        devices_per_rank=0.5,  # measured with both channels at work, of which this is one
        rails=(
            Rail(name="VDD", volts=1.35, IDD0=430, IDD2N=310, IDD3N=460, IDD4R=1220, IDD4W=1470, IDD5B=790),
        ),
    ),
)

GDDR6_16000_8GB_X16 = DramSpec(
    name="gddr6-16000-8gb-x16",
    family="gddr6",
    source="estimate: the times of the 14 Gb/s part (its clocks of 0.5714 ns) at the clock of 16 Gb/s; "
    "read and write latency scaled alike, tCCD in clocks as there",
    density_gbit=4,  # one of the two channels
    data_rate_mtps=16000,
    tck_fs=500_000,
    clock_ratio=8,
    geometry=_GEOMETRY,
    timings={
        "RCDRD": AtLeast(ns=15.429),
        "RCDWR": AtLeast(ns=9.143),
        "RP": AtLeast(ns=15.429),
        "RAS": AtLeast(ns=30.286),
        "RC": AtLeast(ns=45.143),
        "RRD_S": AtLeast(ns=4.571),
        "RRD_L": AtLeast(ns=4.571),
        "FAW": AtLeast(ns=16.571),
        "RTP": AtLeast(ns=2.286),
        "WR": AtLeast(ns=15.429),
        "WTR_S": AtLeast(ns=5.143),
        "WTR_L": AtLeast(ns=6.286),
        "REFI": AtLeast(ns=1900),
        "REFIpb": AtLeast(ns=118.75),
        "RFCab": AtLeast(ns=120.571),
        "RFCpb": AtLeast(ns=60.571),
        "RREFD": AtLeast(ns=8),
    },
    latencies_ck={"RL": 28, "WL": 7, "CCD_S": 2, "CCD_L": 4, "CS": 2},
)

GDDR6_14000_16GB_X16 = replace(
    GDDR6_14000_8GB_X16,
    name="gddr6-14000-16gb-x16",
    source="estimate: 16 Gb with pages of 4 KB as in the preset of Ramulator 2.1; all times as the 8 Gb "
    "chip, refresh included",
    density_gbit=8,  # one of the two channels
    currents=None,
    geometry=replace(_GEOMETRY, columns=2**11),
)
