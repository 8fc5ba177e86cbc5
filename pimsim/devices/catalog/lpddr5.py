"""LPDDR5 parts (x16 channel, bank-group mode, WCK:CK 4:1)."""

from dataclasses import replace

from pimsim.devices.catalog.lpddr5x import currents_16gb
from pimsim.devices.spec import AtLeast, DramGeometry, DramSpec, PimSpec

_SOURCE = (
    "JESD209-5B bank-group mode, CKR 4:1, set 0, DBI and link ECC off; refresh of a {density} Gb channel "
    "from its table 235; activate to write as activate to read (the shorter value came with LPDDR5X)"
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
    currents=currents_16gb(6400),
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

LPDDR5_PIM_6400 = PimSpec(
    name="lpddr5-pim-6400",
    dram="lpddr5-6400-16gb-x16",
    source="one unit a bank, 256 bit, one column access in all 16 banks a tCCD_L: 102.4 GB/s a x16 die at "
    "6400 MT/s (Samsung, Hot Chips 2023); accumulators, register space, mode and pipeline clocks: estimates "
    "after HBM-PIM (ISCA 2021), instructions as in lpddr5x-pim-8533",
    lanes_bits=256,
    accumulators=8,
    source_bytes=256,
    lane_reduction=True,
    result_bytes=4,
    weight_dtypes={"bf16": 16, "int8": 8},
    mode_ck=32,
    mac_pipeline_ck=16,
    mode_accesses=2,
    setup_writes=9,
)
