"""GDDR6-AiM (SK hynix), and the same units in LPDDR5."""

from pimsim.devices.catalog.lpddr5 import LPDDR5_6400_32GB_X16
from pimsim.devices.currents import Currents, PinEnergy, Rail
from pimsim.devices.spec import AtLeast, DramGeometry, DramSpec, PimSpec, UnitEnergy

GDDR6_AIM_16000_4GB_X16 = DramSpec(
    name="gddr6-aim-16000-4gb-x16",
    family="gddr6",
    source="GDDR6 at 16 Gb/s with the times of public GDDR6-AiM configurations (ISSCC 2022, Hot Chips 34), "
    "in clocks of 0.5 ns; one of the two channels of a chip; columns follow each other in one clock pair "
    "also within a bank group",
    density_gbit=4,
    data_rate_mtps=16000,
    tck_fs=500_000,
    clock_ratio=8,
    geometry=DramGeometry(
        ranks=1, bank_groups=4, banks_per_group=4, rows=2**14, columns=2**10, dq_bits=16, burst_length=16
    ),
    timings={
        "RCDRD": AtLeast(ck=36),  # activate to read
        "RCDWR": AtLeast(ck=28),  # activate to write
        "RP": AtLeast(ck=32),  # precharge
        "RAS": AtLeast(ck=54),  # activate to precharge
        "RC": AtLeast(ck=89),  # activate to activate, same bank
        "RRD_S": AtLeast(ck=11),  # activate to activate, other bank group
        "RRD_L": AtLeast(ck=11),  # activate to activate, same bank group
        "FAW": AtLeast(ck=42),  # four activates
        "RTP": AtLeast(ck=12),  # read to precharge
        "WR": AtLeast(ck=33),  # end of write data to precharge
        "WTR_S": AtLeast(ck=9),  # end of write data to read, other bank group
        "WTR_L": AtLeast(ck=11),  # end of write data to read, same bank group
        "REFI": AtLeast(ck=3333),  # average interval of all-bank refreshes
        "REFIpb": AtLeast(ck=208),  # a sixteenth of tREFI: estimate
        "RFCab": AtLeast(ck=210),  # all-bank refresh
        "RFCpb": AtLeast(ck=105),  # per-bank refresh
        "RREFD": AtLeast(ck=21),  # per-bank refresh to the next, or to an activate of another bank
    },
    latencies_ck={"RL": 50, "WL": 6, "CCD_S": 2, "CCD_L": 2, "CS": 2},
    currents=Currents(
        source="estimate: the currents of gddr6-14000-8gb-x16 at 1.25 V (ISSCC 2022), bursts scaled to "
        "16000 MT/s; no currents of AiM are public",
        data_rate_mtps=16000,
        density_gbit=8,
        dq_bits=32,
        devices_per_rank=0.5,
        rails=(
            Rail(
                name="VDD",
                volts=1.25,
                IDD0=430,
                IDD2N=310,
                IDD3N=460,
                IDD4R=460 + (1220 - 460) * 16 / 14,
                IDD4W=460 + (1470 - 460) * 16 / 14,
                IDD5B=790,
            ),
        ),
        pins=PinEnergy(
            source="estimate: as CENT's power calculator has it (Yufeng98/CENT)",
            read_pj_per_bit=5.5,
            write_pj_per_bit=5.5,
        ),
    ),
)

GDDR6_AIM = PimSpec(
    name="gddr6-aim",
    dram="gddr6-aim-16000-4gb-x16",
    source="ISSCC 2022 and Hot Chips 34: 16 BF16 multipliers and an adder tree in every bank, one buffer of "
    "2 KB a channel, 512 GB/s a channel; activate times by use and mode change from public configurations; "
    "register times and 32 accumulators a bank: from measured totals",
    lanes_bits=256,
    accumulators=32,
    source_bytes=2048,
    lane_reduction=True,
    result_bytes=2,
    weight_dtypes={"bf16": 16},
    mode_ck=32,
    mac_pipeline_ck=0,
    mode_accesses=1,
    protocol="global_buffer",
    timings={
        "RCDMAC": AtLeast(ck=56),  # activate to MAC
        "RCDEW": AtLeast(ck=25),  # activate to element-wise product
        "RCDAF": AtLeast(ck=86),  # activate to activation function
        "RTPMAC": AtLeast(ck=12),  # MAC to precharge
        "REGWR": AtLeast(ck=3),  # write of accumulators to any other register command or mode change
        "REGRTW": AtLeast(ck=3),  # read of accumulators to a write of registers
    },
    channels=32,
    unit_energy=UnitEnergy(
        source="estimate: a MAC of 16 banks takes three times the current of reads without gaps, as CENT's "
        "power calculator has it (Yufeng98/CENT)",
        share=3 / 16,
    ),
)

LPDDR5_AIM = PimSpec(
    name="lpddr5-aim",
    dram=LPDDR5_6400_32GB_X16.name,
    source="estimate: the units of gddr6-aim in LPDDR5-6400, times of use in clocks of 1.25 ns as in the "
    "public configuration, which copies them from GDDR6",
    lanes_bits=256,
    accumulators=32,
    source_bytes=2048,
    lane_reduction=True,
    result_bytes=2,
    weight_dtypes={"bf16": 16},
    mode_ck=32,
    mac_pipeline_ck=0,
    mode_accesses=1,
    protocol="global_buffer",
    timings={
        "RCDMAC": AtLeast(ck=56),
        "RCDEW": AtLeast(ck=25),
        "RCDAF": AtLeast(ck=86),
        "RTPMAC": AtLeast(ck=4),
        "REGWR": AtLeast(ck=4),
        "REGRTW": AtLeast(ck=1),
    },
    channels=32,
)
