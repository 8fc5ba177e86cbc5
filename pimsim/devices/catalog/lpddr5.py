"""LPDDR5 parts (x16 channel, bank-group mode, WCK:CK 4:1)."""

from dataclasses import replace

from pimsim.devices.currents import Currents, Rail
from pimsim.devices.spec import AtLeast, DramGeometry, DramSpec

_SOURCE = (
    "JESD209-5B bank-group mode, CKR 4:1, set 0, DBI and link ECC off; refresh of a {density} Gb channel "
    "from its table 235; activate to write as activate to read (the shorter value came with LPDDR5X)"
)

_BURST = 6400 / 7500  # bursts at constant energy a bit: current above standby goes with the data rate
_CURRENTS_6400_16GB_X16 = Currents(
    source="estimate: Micron 16 Gb LPDDR5X (Y52P, rev. H, table 18, x16 at 7500 MT/s in bank-group mode, as "
    "quoted by a public power model), bursts scaled to 6400 MT/s; IDD51 in proportion to LPDDR4, VDDQ in "
    "standby as its IDD3NQ",
    data_rate_mtps=6400,
    density_gbit=16,
    dq_bits=16,
    rails=(
        Rail(
            name="VDD1",
            volts=1.8,
            IDD0=3.8,
            IDD2N=1.5,
            IDD3N=2.8,
            IDD4R=2.8 + (18.0 - 2.8) * _BURST,
            IDD4W=2.8 + (16.5 - 2.8) * _BURST,
            IDD5B=205 * 10 / 90,
        ),
        Rail(
            name="VDD2H",
            volts=1.05,
            IDD0=53,
            IDD2N=32.5,
            IDD3N=40,
            IDD4R=40 + (390 - 40) * _BURST,
            IDD4W=40 + (265 - 40) * _BURST,
            IDD5B=205,
        ),
        Rail(name="VDD2L", volts=0.9, IDD0=0.2, IDD2N=0.2, IDD3N=0.2, IDD4R=0.2, IDD4W=0.2, IDD5B=0.2),
        Rail(name="VDDQ", volts=0.5, IDD0=0.6, IDD2N=0.6, IDD3N=0.6, IDD4R=111.9, IDD4W=0.6, IDD5B=0.6),
    ),
)

LPDDR5_6400_16GB_X16 = DramSpec(
    name="lpddr5-6400-16gb-x16",
    family="lpddr5",
    source=_SOURCE.format(density=16),
    density_gbit=16,
    data_rate_mtps=6400,
    tck_fs=1_250_000,
    clock_ratio=8,
    geometry=DramGeometry(
        ranks=1, bank_groups=4, banks_per_group=4, rows=2**16, columns=2**10, dq_bits=16, burst_length=16
    ),
    timings={
        "RCD": AtLeast(ns=18, ck=2),  # activate to read
        "RCD_WR": AtLeast(ns=18, ck=2),  # activate to write
        "RPpb": AtLeast(ns=18, ck=2),  # precharge one bank
        "RPab": AtLeast(ns=21, ck=2),  # precharge all banks
        "RAS": AtLeast(ns=42, ck=3),  # activate to precharge
        "RRD": AtLeast(ns=5, ck=2),  # activate to activate, other bank
        "FAW": AtLeast(ns=20),  # four activates
        "RBTP": AtLeast(ns=7.5, ck=4),  # end of the read burst (BL/n_min) to precharge
        "WR": AtLeast(ns=34, ck=3),  # end of write data to precharge
        "WTR_S": AtLeast(ns=6.25, ck=4),  # end of write data to read, other bank group
        "WTR_L": AtLeast(ns=12, ck=4),  # end of write data to read, same bank group
        "REFI": AtLeast(ns=3906),  # average interval of all-bank refreshes
        "REFIpb": AtLeast(ns=488),  # average interval of per-bank refreshes
        "RFCab": AtLeast(ns=280),  # all-bank refresh
        "RFCpb": AtLeast(ns=140),  # per-bank refresh
        "PBR2PBR": AtLeast(ns=90),  # per-bank refresh to per-bank refresh
        "PBR2ACT": AtLeast(ns=7.5),  # per-bank refresh to activate of another bank
    },
    latencies_ck={
        "RL": 17,  # read latency
        "WL": 9,  # write latency, set A
        "BL": 2,  # BL/n_min of a burst of 16
        "BL_L": 4,  # BL/n_max: the same burst seen by its own bank group
        "CCD_S": 2,
        "CCD_L": 4,
        "PPD": 2,  # precharge to precharge
        "AAD": 8,  # first to second half of an activate, at most
        "CS": 2,  # idle clocks of the bus between ranks
        "WCKPST": 1,  # data clock runs on after a burst
    },
    currents=_CURRENTS_6400_16GB_X16,
)

LPDDR5_6400_16GB_X16_2R = replace(
    LPDDR5_6400_16GB_X16,
    name="lpddr5-6400-16gb-x16-2r",
    geometry=replace(LPDDR5_6400_16GB_X16.geometry, ranks=2),
)

LPDDR5_6400_8GB_X16 = replace(
    LPDDR5_6400_16GB_X16,
    name="lpddr5-6400-8gb-x16",
    source=_SOURCE.format(density=8),
    density_gbit=8,
    currents=None,
    geometry=replace(LPDDR5_6400_16GB_X16.geometry, rows=2**15),
    timings=LPDDR5_6400_16GB_X16.timings | {"RFCab": AtLeast(ns=210), "RFCpb": AtLeast(ns=120)},
)

LPDDR5_6400_8GB_X16_2R = replace(
    LPDDR5_6400_8GB_X16,
    name="lpddr5-6400-8gb-x16-2r",
    geometry=replace(LPDDR5_6400_8GB_X16.geometry, ranks=2),
)

LPDDR5_6400_32GB_X16 = replace(
    LPDDR5_6400_16GB_X16,
    name="lpddr5-6400-32gb-x16",
    source=_SOURCE.format(density=32),
    density_gbit=32,
    currents=None,
    geometry=replace(LPDDR5_6400_16GB_X16.geometry, rows=2**17),
    timings=LPDDR5_6400_16GB_X16.timings | {"RFCab": AtLeast(ns=380), "RFCpb": AtLeast(ns=190)},
)
