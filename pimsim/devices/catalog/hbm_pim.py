"""HBM-PIM (Samsung Aquabolt-XL): HBM2 dies with one unit for two banks."""

from dataclasses import replace

from pimsim.devices.catalog.hbm2 import HBM2_2000_8GB_X64, HBM2_2400_8GB_X64
from pimsim.devices.currents import Currents
from pimsim.devices.spec import AtLeast, DramGeometry, DramSpec, PimSpec, UnitEnergy


def _currents_2gb(like: DramSpec) -> Currents | None:
    """Currents of a pseudo channel of HBM2 for one of 2 Gbit: no others are public."""
    held = like.currents
    return None if held is None else replace(held, source=f"{held.source}; of 8 Gb", density_gbit=2)


HBM2_PIM_2000_2GB_X64 = DramSpec(
    name="hbm2-pim-2000-2gb-x64",
    family="hbm2",
    source="HBM2 at 2 Gb/s a pin as in public HBM-PIM configurations: one pseudo channel of 64 bits and 16 "
    "banks; read to precharge counts from the last beat that the array gives (BL/2 + tRTP - tCCD_L), as "
    "measured HBM-PIM totals have it",
    density_gbit=2,
    data_rate_mtps=2000,
    tck_fs=1_000_000,
    clock_ratio=2,
    geometry=DramGeometry(
        ranks=1, bank_groups=4, banks_per_group=4, rows=2**14, columns=2**7, dq_bits=64, burst_length=4
    ),
    timings={
        "RCDRD": AtLeast(ck=14),  # activate to read
        "RCDWR": AtLeast(ck=10),  # activate to write
        "RP": AtLeast(ck=14),  # precharge
        "RAS": AtLeast(ck=33),  # activate to precharge
        "RC": AtLeast(ck=47),  # activate to activate, same bank
        "RRD_S": AtLeast(ck=4),  # activate to activate, other bank group
        "RRD_L": AtLeast(ck=6),  # activate to activate, same bank group
        "FAW": AtLeast(ck=16),  # four activates
        "RTP": AtLeast(ck=3),  # read to precharge
        "WR": AtLeast(ck=16),  # end of write data to precharge
        "WTR_S": AtLeast(ck=4),  # end of write data to read, other bank group
        "WTR_L": AtLeast(ck=9),  # end of write data to read, same bank group
        "REFI": AtLeast(ns=3900),  # average interval of all-bank refreshes
        "REFIpb": AtLeast(ns=121),  # average interval of refreshes of one bank
        "RFCab": AtLeast(ns=350),  # all-bank refresh
        "RFCpb": AtLeast(ns=160),  # refresh of one bank
        "RREFD": AtLeast(ns=8),  # refresh of one bank to the next, or to an activate of another bank
    },
    latencies_ck={"RL": 20, "WL": 8, "CCD_S": 2, "CCD_L": 4},
    currents=_currents_2gb(HBM2_2000_8GB_X64),
)

HBM_PIM_2000 = PimSpec(
    name="hbm-pim-2000",
    dram="hbm2-pim-2000-2gb-x64",
    source="ISCA 2021 and Hot Chips 33: one unit of 16 FP16 lanes for two banks, eight registers of 256 bits "
    "on each side, microkernels of 32 instructions of 32 bits (four bursts), modes entered and left by "
    "accesses to reserved rows; the fifth programming burst: from measured command counts",
    lanes_bits=256,
    accumulators=8,
    source_bytes=256,
    lane_reduction=False,
    result_bytes=2,
    weight_dtypes={"fp16": 16},
    mode_ck=0,  # a mode change is a write to a reserved row; ordinary write timing is all that it takes
    mac_pipeline_ck=0,
    mode_accesses=1,
    units_per_bank=0.5,
    protocol="paired_banks",
    setup_writes=5,
    channels=64,
    unit_energy=UnitEnergy(
        source="estimate: the energy of a bit that the units take in is 3.5 times below that of a bit over "
        "the pins (S. Lee et al., ISCA 2021; second hand)",
        share=1 / 3.5,
    ),
)

HBM2_PIM_2400_2GB_X64 = replace(
    HBM2_PIM_2000_2GB_X64,
    name="hbm2-pim-2400-2gb-x64",
    source="estimate: the 2 Gb/s part at the clock of 2.4 Gb/s, times in clocks scaled by 1.2, tCCD as there",
    data_rate_mtps=2400,
    tck_fs=833_333,
    timings={
        name: (AtLeast(ck=-(-value.ck * 6 // 5)) if value.ck and name != "RTP" else value)
        for name, value in HBM2_PIM_2000_2GB_X64.timings.items()
    },
    latencies_ck={"RL": 24, "WL": 9, "CCD_S": 2, "CCD_L": 4},
    currents=_currents_2gb(HBM2_2400_8GB_X64),
)

HBM_PIM_2400 = replace(
    HBM_PIM_2000,
    name="hbm-pim-2400",
    dram="hbm2-pim-2400-2gb-x64",
    source="as hbm-pim-2000 at 2.4 Gb/s: 300 MHz a unit and 1.2 TFLOPS a stack (Hot Chips 33)",
)
