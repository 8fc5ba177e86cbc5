"""HBM3 parts: one 64-bit channel as two pseudo channels of 32 bits, bursts of 8, two stack levels.

A clock of these parts is half a clock of the standard, since a precharge may begin in either half; the
standard's clocks stand here doubled.
"""

from pimsim.devices.currents import Currents, Rail
from pimsim.devices.spec import AtLeast, DramGeometry, DramSpec

_RANDOM = 5.1486 / 3.1798  # random data beside constant data: energies a bit of the same source
_CURRENTS = Currents(
    source="estimate: Ayna (CMU-SAFARI/HBM-Power, MICRO 2026), HBM3E_6400MTs: extrapolated there from "
    "measured HBM2 and compared with an H200; with random data; data pins included",
    data_rate_mtps=6400,
    density_gbit=4,
    dq_bits=32,
    rails=(
        Rail(
            name="VDD",
            volts=1.1,
            IDD0=106.1,
            IDD2N=70.5,
            IDD3N1=71.2,
            IDD3N=73.3,
            IDD4R=73.3 + (560.7 - 71.2) * _RANDOM,
            IDD4W=73.3 + (389.5 - 71.2) * _RANDOM,
            IDD5B=164.7,
        ),
    ),
)

HBM3_6400_16GB_X32 = DramSpec(
    name="hbm3-6400-16gb-x32",
    family="hbm3",
    source="JESD238, the 6400 Mb/s preset of Ramulator 2.1 with two stack levels, dies of 16 Gb in a stack "
    "of 16 channels; read to write and the thirty-second of tREFI between refreshes of one bank as there",
    density_gbit=4,  # one pseudo channel
    data_rate_mtps=6400,
    tck_fs=312_500,  # half a clock
    clock_ratio=2,
    geometry=DramGeometry(
        ranks=2,
        bank_groups=8,
        banks_per_group=4,
        rows=2**14,
        columns=2**8,
        dq_bits=32,
        burst_length=8,
        sids=2,
        data_buses=2,
    ),
    timings={
        "RCDRD": AtLeast(ck=2 * 31),  # activate to read
        "RCDWR": AtLeast(ck=2 * 15),  # activate to write
        "RP": AtLeast(ck=2 * 26),  # precharge
        "RAS": AtLeast(ck=2 * 45),  # activate to precharge
        "RC": AtLeast(ck=2 * 72),  # activate to activate, same bank
        "RRD_S": AtLeast(ck=2 * 4),  # activate to activate, other bank group
        "RRD_L": AtLeast(ck=2 * 5),  # activate to activate, same bank group
        "FAW": AtLeast(ck=2 * 24),  # four activates
        "RTP": AtLeast(ck=2 * 9),  # read to precharge
        "WR": AtLeast(ck=2 * 33),  # end of write data to precharge
        "WTR_S": AtLeast(ck=2 * 7),  # end of write data to read, other bank group
        "WTR_L": AtLeast(ck=2 * 10),  # end of write data to read, same bank group
        "REFI": AtLeast(ns=3900),  # average interval of all-bank refreshes
        "REFIpb": AtLeast(ns=3900 / 32),  # average interval of refreshes of one bank
        "RFCab": AtLeast(ns=350),  # all-bank refresh
        "RFCpb": AtLeast(ns=200),  # refresh of one bank
        "RREFD": AtLeast(ck=2 * 8),  # refresh of one bank to the next, or to an activate of another bank
    },
    latencies_ck={
        "RL": 2 * 20,  # read latency
        "WL": 2 * 10,  # write latency
        "CCD_S": 2 * 2,
        "CCD_L": 2 * 4,
        "CCD_R": 2 * 3,  # reads of two stack levels
        "RTW": 2 * 20,  # read to write
        "PPD": 2 * 2,  # precharge to precharge
    },
    currents=_CURRENTS,
)
