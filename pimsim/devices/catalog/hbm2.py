"""HBM2 parts: one 128-bit channel as two pseudo channels of 64 bits, bursts of 4."""

from dataclasses import replace

from pimsim.devices.currents import Currents, Rail
from pimsim.devices.spec import AtLeast, DramGeometry, DramSpec

_SOURCE = (
    "JESD235 in pseudo-channel mode, the preset {preset} of Ramulator 2.1; refresh of {density} Gb a pseudo "
    "channel from its table; a thirty-second of tREFI between refreshes of one bank, as there"
)


def _currents(data_rate_mtps: int, density_gbit: int) -> Currents:
    """Currents of one pseudo channel, moved from the 1200 MT/s of the measurement to another rate.

    Standby goes with the rate, the energies of activates, refreshes and bits stay. 5.1486 / 3.1798: random
    data beside the constant data of the measured bursts, the energies a bit of the same source.
    """
    rate = data_rate_mtps / 1200
    standby = 11.756 * rate
    most_open = standby + 14.281 - 11.756
    burst = rate * 5.1486 / 3.1798
    return Currents(
        source="estimate: Ayna (CMU-SAFARI/HBM-Power, MICRO 2026), HBM2_1200MTs: measured on 36 stacks at "
        f"1200 MT/s, here at {data_rate_mtps} MT/s and with random data; data pins included",
        data_rate_mtps=data_rate_mtps,
        density_gbit=density_gbit,
        dq_bits=64,
        rails=(
            Rail(
                name="VDD",
                volts=1.2,
                IDD0=standby + 28.544 - 11.756,
                IDD2N=standby,
                IDD3N1=standby + 12.394 - 11.756,
                IDD3N=most_open,
                IDD4R=most_open + (202.769 - 12.394) * burst,
                IDD4W=most_open + (137.406 - 12.394) * burst,
                IDD5B=most_open + 66.331 - 14.281,
            ),
        ),
    )


HBM2_2000_8GB_X64 = DramSpec(
    name="hbm2-2000-8gb-x64",
    family="hbm2",
    source=_SOURCE.format(preset="HBM2_2000Mbps", density=8),
    density_gbit=8,  # one pseudo channel
    data_rate_mtps=2000,
    tck_fs=1_000_000,
    clock_ratio=2,
    geometry=DramGeometry(
        ranks=2,
        bank_groups=4,
        banks_per_group=4,
        rows=2**16,
        columns=2**7,
        dq_bits=64,
        burst_length=4,
        data_buses=2,
    ),
    timings={
        "RCDRD": AtLeast(ck=14),  # activate to read
        "RCDWR": AtLeast(ck=12),  # activate to write
        "RP": AtLeast(ck=14),  # precharge
        "RAS": AtLeast(ck=34),  # activate to precharge
        "RC": AtLeast(ck=48),  # activate to activate, same bank
        "RRD_S": AtLeast(ns=4, ck=4),  # activate to activate, other bank group
        "RRD_L": AtLeast(ns=4, ck=4),  # activate to activate, same bank group
        "FAW": AtLeast(ns=15, ck=8),  # four activates
        "RTP": AtLeast(ck=5),  # read to precharge
        "WR": AtLeast(ck=16),  # end of write data to precharge
        "WTR_S": AtLeast(ck=6),  # end of write data to read, other bank group
        "WTR_L": AtLeast(ck=8),  # end of write data to read, same bank group
        "REFI": AtLeast(ns=3900),  # average interval of all-bank refreshes
        "REFIpb": AtLeast(ns=3900 / 32),  # average interval of refreshes of one bank
        "RFCab": AtLeast(ns=350),  # all-bank refresh
        "RFCpb": AtLeast(ns=160),  # refresh of one bank (tRFCSB)
        "RREFD": AtLeast(ns=8, ck=4),  # refresh of one bank to the next, or to an activate of another bank
    },
    latencies_ck={
        "RL": 14,  # read latency
        "WL": 5,  # write latency
        "CCD_S": 2,
        "CCD_L": 4,
    },
    currents=_currents(2000, 8),
)

HBM2_2000_4GB_X64 = replace(
    HBM2_2000_8GB_X64,
    name="hbm2-2000-4gb-x64",
    source=_SOURCE.format(preset="HBM2_2000Mbps", density=4),
    density_gbit=4,
    currents=_currents(2000, 4),
    geometry=replace(HBM2_2000_8GB_X64.geometry, rows=2**15),
    timings=HBM2_2000_8GB_X64.timings | {"RFCab": AtLeast(ns=260)},
)

HBM2_2400_8GB_X64 = replace(
    HBM2_2000_8GB_X64,
    name="hbm2-2400-8gb-x64",
    source=_SOURCE.format(preset="HBM2_2400Mbps", density=8),
    data_rate_mtps=2400,
    tck_fs=833_000,
    timings=HBM2_2000_8GB_X64.timings
    | {
        "RCDRD": AtLeast(ck=17),
        "RCDWR": AtLeast(ck=14),
        "RP": AtLeast(ck=17),
        "RAS": AtLeast(ck=40),
        "RC": AtLeast(ck=57),
        "RTP": AtLeast(ck=6),
        "WR": AtLeast(ck=19),
        "WTR_S": AtLeast(ck=8),
        "WTR_L": AtLeast(ck=10),
    },
    latencies_ck={"RL": 17, "WL": 6, "CCD_S": 2, "CCD_L": 4},
    currents=_currents(2400, 8),
)
