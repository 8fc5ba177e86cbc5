"""LPDDR5X parts (x16 channel, bank-group mode, WCK:CK 4:1) and the PIM unit that sits in their banks."""

from dataclasses import replace

from pimsim.devices.currents import Currents, Rail
from pimsim.devices.spec import AtLeast, DramGeometry, DramSpec, PimSpec


def currents_16gb(data_rate_mtps: int) -> Currents:
    """Currents of a 16 Gb LPDDR5 or LPDDR5X die: bursts at the energy a bit measured at 7500 MT/s."""
    burst = data_rate_mtps / 7500
    return Currents(
        source="estimate: Micron 16 Gb LPDDR5X (Y52P, rev. H, table 18, x16 at 7500 MT/s in bank-group mode, "
        f"as quoted by a public power model), bursts scaled to {data_rate_mtps} MT/s; IDD51 in proportion "
        "to LPDDR4, VDDQ in standby as its IDD3NQ",
        data_rate_mtps=data_rate_mtps,
        density_gbit=16,
        dq_bits=16,
        rails=(
            Rail(
                name="VDD1",
                volts=1.8,
                IDD0=3.8,
                IDD2N=1.5,
                IDD3N=2.8,
                IDD4R=2.8 + (18.0 - 2.8) * burst,
                IDD4W=2.8 + (16.5 - 2.8) * burst,
                IDD5B=205 * 10 / 90,
            ),
            Rail(
                name="VDD2H",
                volts=1.05,
                IDD0=53,
                IDD2N=32.5,
                IDD3N=40,
                IDD4R=40 + (390 - 40) * burst,
                IDD4W=40 + (265 - 40) * burst,
                IDD5B=205,
            ),
            Rail(name="VDD2L", volts=0.9, IDD0=0.2, IDD2N=0.2, IDD3N=0.2, IDD4R=0.2, IDD4W=0.2, IDD5B=0.2),
            Rail(name="VDDQ", volts=0.5, IDD0=0.6, IDD2N=0.6, IDD3N=0.6, IDD4R=111.9, IDD4W=0.6, IDD5B=0.6),
        ),
    )


LPDDR5X_8533_16GB_X16 = DramSpec(
    name="lpddr5x-8533-16gb-x16",
    family="lpddr5",
    source="JESD209-5C bank-group mode, CKR 4:1, set 0, DBI and link ECC off; refresh of a 16 Gb channel "
    "from JESD209-5B table 235; two ranks a channel as in 16 GB phones (12 GB phones: estimate, 12 Gb dies)",
    density_gbit=16,
    data_rate_mtps=8533,
    tck_fs=937_500,
    clock_ratio=8,
    geometry=DramGeometry(
        ranks=2, bank_groups=4, banks_per_group=4, rows=2**16, columns=2**10, dq_bits=16, burst_length=16
    ),
    timings={
        "RCD": AtLeast(ns=18, ck=2),  # activate to read
        "RCD_WR": AtLeast(ns=8, ck=2),  # activate to write (LPDDR5X)
        "RPpb": AtLeast(ns=18, ck=2),  # precharge one bank
        "RPab": AtLeast(ns=21, ck=2),  # precharge all banks
        "RAS": AtLeast(ns=42, ck=3),  # activate to precharge
        "RRD": AtLeast(ns=3.75, ck=2),  # activate to activate, other bank
        "FAW": AtLeast(ns=15),  # four activates
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
        "RL": 23,  # read latency
        "WL": 12,  # write latency, set A
        "BL": 2,  # BL/n_min of a burst of 16
        "BL_L": 4,  # BL/n_max: the same burst seen by its own bank group
        "CCD_S": 2,
        "CCD_L": 4,
        "PPD": 2,  # precharge to precharge
        "AAD": 8,  # first to second half of an activate, at most
        "CS": 2,  # idle clocks of the bus between ranks
        "WCKPST": 1,  # data clock runs on after a burst
    },
    currents=currents_16gb(8533),
)

LPDDR5X_8533_8GB_X16 = replace(
    LPDDR5X_8533_16GB_X16,
    name="lpddr5x-8533-8gb-x16",
    source="as lpddr5x-8533-16gb-x16; refresh of an 8 Gb channel from JESD209-5B table 235",
    density_gbit=8,
    currents=None,
    geometry=replace(LPDDR5X_8533_16GB_X16.geometry, rows=2**15),
    timings=LPDDR5X_8533_16GB_X16.timings | {"RFCab": AtLeast(ns=210), "RFCpb": AtLeast(ns=120)},
)

LPDDR5X_8533_32GB_X16 = replace(
    LPDDR5X_8533_16GB_X16,
    name="lpddr5x-8533-32gb-x16",
    source="as lpddr5x-8533-16gb-x16; refresh of a 32 Gb channel from JESD209-5B table 235",
    density_gbit=32,
    currents=None,
    geometry=replace(LPDDR5X_8533_16GB_X16.geometry, rows=2**17),
    timings=LPDDR5X_8533_16GB_X16.timings | {"RFCab": AtLeast(ns=380), "RFCpb": AtLeast(ns=190)},
)

LPDDR5X_9600_16GB_X16 = replace(
    LPDDR5X_8533_16GB_X16,
    name="lpddr5x-9600-16gb-x16",
    source="JESD209-5C bank-group mode, CKR 4:1, set 0, DBI and link ECC off; refresh of a 16 Gb channel "
    "from JESD209-5B table 235; two ranks a channel",
    data_rate_mtps=9600,
    tck_fs=833_334,  # 5/6 ns, rounded up so that 7.5 ns stay nine clocks
    timings=LPDDR5X_8533_16GB_X16.timings
    | {
        "RRD": AtLeast(ns=3.33, ck=2),
        "FAW": AtLeast(ns=13.32),
    },
    latencies_ck=LPDDR5X_8533_16GB_X16.latencies_ck | {"RL": 25, "WL": 14},
    currents=currents_16gb(9600),
)

LPDDR5X_PIM_8533 = PimSpec(
    name="lpddr5x-pim-8533",
    dram="lpddr5x-8533-16gb-x16",
    source="one unit a bank, 256 bit, one column access in all 16 banks a tCCD_L: 546.1 GB/s of a x64 "
    "package at 8533 MT/s (614 GB/s at 9600: Samsung, Hot Chips 2026); BF16 as emulated by PIM-SHERPA; "
    "accumulators, register space, mode and pipeline clocks: estimates after HBM-PIM (ISCA 2021); 64 "
    "instructions a unit (Hot Chips 2026), of 32 bits as in HBM-PIM, are eight bursts, and one sets data "
    "types: estimate",
    lanes_bits=256,
    accumulators=8,
    source_bytes=256,
    lane_reduction=True,
    result_bytes=4,
    weight_dtypes={"bf16": 16, "int8": 8, "int4": 4},
    mode_ck=32,
    mac_pipeline_ck=16,
    mode_accesses=2,
    setup_writes=9,
)

LPDDR5X_PIM_9600 = replace(
    LPDDR5X_PIM_8533,
    name="lpddr5x-pim-9600",
    dram="lpddr5x-9600-16gb-x16",
    source="as lpddr5x-pim-8533, at 9600 MT/s: 614.4 GB/s of a x64 package, weights of 4 and 8 bits "
    "(Samsung, Hot Chips 2026); 16 sums and 2 KB of inputs a unit: estimate, with which the published "
    "speed-ups of arXiv 2606.00636 come out; mode and pipeline clocks: estimates after HBM-PIM (ISCA 2021)",
    accumulators=16,
    source_bytes=2048,
    weight_dtypes={
        "int8": 8,
        "int4": 4,
        "bf16": 16,
        "w8a16": 8,
        "w4a16": 4,
        "w4a4": 4,
        "fp8": 8,
        "w8a16fp": 8,
    },
)
