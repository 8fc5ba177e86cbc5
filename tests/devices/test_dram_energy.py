"""Energy from supply currents: published results, hand-made numbers, open banks clock by clock, bad tables.

References, all of them public:
- DRAMPower 4, `test/reference/test_commands_trace_output_matches_reference.out` with the currents and
  timings of `memspecs/MICRON_1Gb_DDR2-1066_16bit_H`.
- DRAMPower 5, tests `ddr4_multidevice_tests` and `ddr4_test_pattern_7` and `_12` with `resources/ddr4.json`.
  Its bank-wise currents are ours with IDD3N1 = (IDD3N + (B - 1) I_rho) / B and
  I_rho = IDD2N + rho (IDD3N - IDD2N) for B banks.
- Micron's DDR3 power calculator (DDR3_Power_Calc.xlsm, 2 Gb, x8, -125E) as quoted in the tests of energydram.
"""

import json
from collections import Counter
from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pimsim import cli
from pimsim.devices import DramSpec, part, parts
from pimsim.devices.currents import Currents, PinEnergy, Rail
from pimsim.devices.dram.bank_machines import BankMachines
from pimsim.devices.dram.bank_queues import BankQueues
from pimsim.devices.dram.channel import Controller
from pimsim.devices.dram.config import read_config
from pimsim.devices.dram.energy import (
    COMPONENTS,
    OpenClocks,
    event_energy,
    open_clocks,
    open_clocks_from_counts,
    run_energy,
)
from pimsim.devices.dram.replay import replay_file, replay_requests
from pimsim.devices.dram.requests import Requests
from pimsim.devices.spec import AtLeast, Clocks, DramGeometry
from pimsim.errors import SpecError

HERE = Path(__file__).parents[1] / "reference" / "dram"
DDR4 = part("ddr4-3200-8gb-x8", DramSpec)
DDR4_2R = part("ddr4-3200-8gb-x8-2r", DramSpec)
DRAMS = {name: value for name, value in parts().items() if isinstance(value, DramSpec)}
KNOWN = [name for name, value in DRAMS.items() if value.currents is not None]
VDD = {"name": "VDD", "volts": 1.2, "IDD0": 57, "IDD2N": 37, "IDD3N": 52, "IDD4R": 168, "IDD4W": 150}


def chip(*, tck_fs, volts, ck, currents_ma, devices=1, banks=8, burst=8, dq_bits=16, cwl=0):
    """One rank of the other programs' chips; `ck`: timings in clocks."""
    density, rate = 8 * devices, round(2e9 / tck_fs)
    rows = 8 * 2**30 // (banks * 2**10 * dq_bits)
    rail = Rail(name="VDD", volts=volts, **currents_ma)
    return DramSpec(
        name="reference",
        family="ddr4",
        source="see above",
        density_gbit=density,
        data_rate_mtps=rate,
        tck_fs=tck_fs,
        clock_ratio=2,
        geometry=DramGeometry(
            ranks=1, bank_groups=1, banks_per_group=banks, rows=rows, columns=2**10,
            dq_bits=dq_bits * devices, burst_length=burst,
        ),
        timings=dict.fromkeys(
            ("RCD", "RRD_S", "RRD_L", "FAW", "WTR_S", "WTR_L", "RTP", "WR", "RFC"), AtLeast(ck=1)
        )
        | {name: AtLeast(ck=clocks) for name, clocks in ck.items()},
        latencies_ck={"CL": 1, "CWL": cwl, "CCD_S": 1, "CCD_L": 1, "WPRE": 1, "CS": 1},
        currents=Currents(
            source="see above", data_rate_mtps=rate, density_gbit=8, dq_bits=dq_bits,
            devices_per_rank=devices, rails=(rail,),
        ),
    )  # fmt: skip


def log_of(*commands):
    """A log from (clock, command, bank) of one rank; bank None: all."""
    rows = [
        (clock, name, 0, 0, *((-1, -1) if bank is None else (0, bank)), -1, -1)
        for clock, name, bank in commands
    ]
    columns = ["clock", "command", "channel", "rank", "bankgroup", "bank", "row", "column"]
    return pd.DataFrame(rows, columns=columns)


def requests(n=2000, burst=64, span=1 << 28, seed=0, writes=0.3, gap=0, sequential=False):
    rng = np.random.default_rng(seed)
    places = np.arange(n) if sequential else rng.integers(span // burst, size=n)
    return Requests(
        arrive=np.cumsum(rng.integers(0, 2 * gap + 1, size=n)) if gap else np.zeros(n, np.int64),
        write=(rng.random(n) < writes).astype(np.int64),
        address=places * burst,
    )


# Against published results


def test_a_run_of_drampower_4():
    spec = chip(
        tck_fs=round(1e9 / 533),
        volts=1.8,
        ck={"RAS": 24, "RP": 7, "RFC": 68},
        currents_ma={"IDD0": 90, "IDD2N": 36, "IDD3N": 42, "IDD4R": 180, "IDD4W": 185, "IDD5B": 160},
    )
    counts = {"ACT": 1502, "PRE": 1502, "RD": 1499, "WR": 3, "REFAB": 36}
    made = run_energy(spec, counts, 115_482)
    close = pytest.approx  # their clock is 1000/533 ns, ours whole femtoseconds
    assert made.activate_pj == close(5843428.14 + 1917374.86, rel=1e-6)
    assert made.read_pj == close(2794383.49, rel=1e-6)
    assert made.write_pj == close(5795.12, rel=1e-5)
    assert made.refresh_pj == close(975525.70, rel=1e-6)
    cost = event_energy(spec)
    active, closed = 36_250 * spec.tck_fs / 1e6, 79_232 * spec.tck_fs / 1e6
    assert active * (cost.closed_mw + cost.first_bank_mw) == close(5141651.03, rel=1e-6)
    assert closed * cost.closed_mw == close(9632708.44, rel=1e-6)
    background = 5141651.03 + 9632708.44
    assert made.background_low_pj < background < made.background_high_pj


# DDR4 of DRAMPower 5: 16 banks, rho 0.5, so that I_rho = 36.625 and IDD3N1 = (39.5 + 15 x 36.625) / 16.
DRAMPOWER_DDR4 = {
    "tck_fs": round(1e9 / 1300),
    "volts": 1.2,
    "ck": {"RAS": 10, "RP": 10, "RFC": 25},
    "currents_ma": {"IDD0": 56.25, "IDD2N": 33.75, "IDD3N": 39.5, "IDD4R": 157.5, "IDD4W": 135, "IDD5B": 118}
    | {"IDD3N1": (39.5 + 15 * 36.625) / 16},
    "banks": 16,
    "dq_bits": 8,
}


@pytest.mark.parametrize("devices", [1, 5])
def test_a_log_of_drampower_5_on_several_chips(devices):
    spec = chip(**DRAMPOWER_DDR4, devices=devices)
    log = log_of(
        (0, "ACT", 0), (15, "RD", 0), (20, "ACT", 3), (35, "RD", 3), (40, "RD", 0), (50, "PREA", None)
    )  # fmt: skip
    assert open_clocks(spec, log, 70) == OpenClocks(any_ck=50, bank_ck=80)
    made = run_energy(spec, Counter(log["command"]), 70, log)
    assert made.activate_pj / devices == pytest.approx(358.99038 + 415.38462, rel=1e-6)
    assert made.read_pj / devices == pytest.approx(1307.07692, rel=1e-6)
    assert made.background_pj / devices == pytest.approx(1703.65385 + 623.07692, rel=1e-6)
    assert made.total_pj == pytest.approx(devices * 4408.1826923, rel=1e-6)  # 22041 with five
    assert made.exact_background


def test_a_refresh_of_drampower_5():
    # Pattern 7 without its self refresh: all banks are open for tRFC, 25 clocks.
    spec = chip(**DRAMPOWER_DDR4)
    log = log_of((0, "REFAB", None))
    assert open_clocks(spec, log, 85) == OpenClocks(any_ck=25, bank_ck=25 * 16)
    made = run_energy(spec, {"REFAB": 1}, 85, log)
    assert round(made.refresh_pj) == 1812
    assert round(made.background_pj) == pytest.approx(912 + 1869, abs=1)


def test_precharges_with_data_commands_as_in_drampower_5():
    # Pattern 12, in units of its own: 1 V, 1 ns, 8 banks, rho 1/3, so that IDD3N1 = (32 + 7 x 16) / 8.
    spec = chip(
        tck_fs=1_000_000,
        volts=1,
        ck={"RAS": 20, "RP": 10, "RTP": 10, "WR": 12},
        currents_ma={
            "IDD0": 64,
            "IDD2N": 8,
            "IDD3N": 32,
            "IDD3N1": 18,
            "IDD4R": 72,
            "IDD4W": 96,
            "IDD5B": 99,
        },
        burst=16,
    )
    log = log_of(
        (0, "ACT", 0), (10, "RDA", 0), (15, "ACT", 1), (15, "ACT", 2), (25, "WRA", 1), (30, "PRE", 0),
        (35, "RDA", 2), (50, "ACT", 0), (50, "ACT", 2), (60, "WRA", 0), (60, "RDA", 2), (75, "ACT", 1),
        (80, "ACT", 0), (85, "WRA", 0), (95, "RDA", 1),
    )  # fmt: skip
    assert open_clocks(spec, log, 125) == OpenClocks(any_ck=100, bank_ck=75 + 60 + 50)
    made = run_energy(spec, Counter(log["command"]), 125, log)
    assert (made.read_pj, made.write_pj) == (1280, 1536)
    assert made.background_pj == pytest.approx(1970 + 200)
    assert made.activate_pj == pytest.approx(7 * (64 - 18) * 20 + 2240 + 1680)


def test_the_power_calculator_of_micron():
    spec = chip(
        tck_fs=1_250_000,
        volts=1.5,
        ck={"RAS": 28, "RP": 10, "RFC": 128},  # 35, 12.5 and 160 ns
        currents_ma={"IDD0": 95, "IDD2N": 42, "IDD3N": 45, "IDD4R": 180, "IDD4W": 185, "IDD5B": 215},
    )
    cost = event_energy(spec)
    assert cost.activate_pj / 47.5 == pytest.approx(76.2, abs=0.1)  # mW, one activate every tRC
    assert cost.read_pj / 5 == pytest.approx(202.5, abs=0.1)
    assert cost.write_pj / 5 == pytest.approx(210.0, abs=0.1)
    assert cost.refresh_pj / 7800 == pytest.approx(5.2, abs=0.1)
    assert cost.closed_mw == pytest.approx(63.0, abs=0.1)
    assert cost.closed_mw + cost.first_bank_mw == pytest.approx(67.5, abs=0.1)


# By hand


def test_ddr4_3200_by_hand():
    # Eight chips; tCK 0.625 ns, tRAS 52 and tRP 22 clocks: tRAS 32.5 ns, tRC 46.25 ns; a burst takes 2.5 ns.
    # VDD 1.2 V, VPP 2.5 V with 3 mA in every state but 28 mA in refreshes; tRFC 360 ns.
    cost = event_energy(DDR4)
    assert cost.activate_pj == pytest.approx(8 * 1.2 * (57 * 46.25 - 52 * 32.5 - 37 * 13.75))  # 4200
    assert cost.read_pj == pytest.approx(8 * 1.2 * (168 - 52) * 2.5)  # 2784
    assert cost.write_pj == pytest.approx(8 * 1.2 * (150 - 52) * 2.5)  # 2352
    assert cost.refresh_pj == pytest.approx(8 * 360 * (1.2 * (250 - 52) + 2.5 * (28 - 3)))  # 864 288
    assert cost.closed_mw == pytest.approx(8 * (1.2 * 37 + 2.5 * 3))  # 415.2
    assert cost.first_bank_mw == pytest.approx(8 * 1.2 * (52 - 37))  # 144
    assert cost.io_read_pj == pytest.approx(11.73 * 64 * 2.5)  # mW a pin, 64 pins, 2.5 ns
    assert cost.io_write_pj == pytest.approx(4.15 * 64 * 2.5)


def test_one_read_of_ddr4_by_hand():
    # ACT in clock 0, RD in 22, data end with clock 48: 49 clocks of 0.625 ns, the row open all the time.
    one = Requests(arrive=np.zeros(1, np.int64), write=np.zeros(1, np.int64), address=np.zeros(1, np.int64))
    made = replay_requests(one, DDR4, controller=Controller(refresh="none"), log=True).energy
    assert made.activate_pj == pytest.approx(4200)
    assert made.read_pj == pytest.approx(2784)
    assert made.background_pj == pytest.approx((415.2 + 144) * 49 * 0.625)
    assert made.io_pj == pytest.approx(1876.8)
    assert (made.write_pj, made.refresh_pj, made.bits) == (0, 0, 512)
    assert made.total_pj == pytest.approx(4200 + 2784 + 1876.8 + 17125.5)
    assert made.power_mw == pytest.approx(made.total_pj / 30.625)
    assert made.pj_per_bit == pytest.approx(made.total_pj / 512)


def test_ddr5_has_a_row_of_four_chips():
    # 0.416 ns: tRAS 77 and tRP 36 clocks; IDD3N1 93.5625 mA. VPP 1.8 V.
    cost = event_energy(part("ddr5-4800-16gb-x8", DramSpec))
    ras, rp = 77 * 0.416, 36 * 0.416
    vdd = 1.1 * (103 * (ras + rp) - 93.5625 * ras - 92 * rp)
    vpp = 1.8 * (8 * (ras + rp) - 7 * ras - 6 * rp)
    assert cost.activate_pj == pytest.approx(4 * (vdd + vpp))
    assert cost.io_read_pj is None
    banks_open = cost.closed_mw + cost.first_bank_mw + 31 * cost.next_bank_mw
    assert banks_open == pytest.approx(4 * (1.1 * 142 + 1.8 * 7))


def test_pins_of_lpddr4_have_a_rail():
    # 1.1 V, 150 mA above 0.75 mA for 5 ns on sixteen pins.
    cost = event_energy(part("lpddr4-3200-8gb-x16", DramSpec))
    assert cost.io_read_pj == pytest.approx(1.1 * (150 - 0.75) * 5)
    assert cost.read_pj == pytest.approx((1.1 * (275 - 30) + 1.8 * 0) * 5)


def test_a_channel_of_gddr6_is_half_a_chip():
    cost = event_energy(part("gddr6-14000-8gb-x16", DramSpec))
    assert cost.closed_mw == pytest.approx(1.35 * 310 / 2)


def test_back_to_back_refreshes_draw_idd5b():
    n = Clocks(DDR4)
    log = log_of(*((k * n.RFC, "REFAB", None) for k in range(100)))
    made = run_energy(DDR4, {"REFAB": 100}, 100 * n.RFC, log)
    assert made.power_mw == pytest.approx(8 * (1.2 * 250 + 2.5 * 28))


# Invariants


@pytest.mark.parametrize("name", KNOWN)
def test_an_idle_rank_draws_idd2n(name):
    spec = DRAMS[name]
    made = run_energy(spec, {}, 100_000, log_of())
    idle_mw = spec.currents.devices_per_rank * sum(rail.volts * rail.IDD2N for rail in spec.currents.rails)
    wanted = spec.geometry.ranks * idle_mw * 100_000 * spec.tck_fs / 1e6
    assert made.total_pj == made.background_pj == pytest.approx(wanted)
    assert made.pj_per_bit is None
    assert run_energy(spec, {}, 100_000) == made


@pytest.mark.parametrize("name", KNOWN)
def test_every_part_with_currents(name):
    spec = DRAMS[name]
    cost = event_energy(spec)
    for field in ("activate_pj", "read_pj", "write_pj", "refresh_pj", "refresh_bank_pj", "closed_mw"):
        assert getattr(cost, field) > 0
    assert cost.refresh_pj > cost.activate_pj  # it opens at least one row in each bank
    done = replay_requests(requests(burst=spec.geometry.burst_bytes), spec, log=True)
    made = done.energy
    assert made.exact_background
    assert sum(made.components_pj.values()) == made.total_pj
    assert set(made.components_pj) == {name for name in COMPONENTS if getattr(made, f"{name}_pj") is not None}
    assert made.time_ns == done.time_ns
    assert made.estimate == spec.currents.source.startswith("estimate")
    assert 5 < made.pj_per_bit < 100


def test_a_part_without_currents_has_no_energy():
    spec = part("ddr5-6400-16gb-x8", DramSpec)
    assert replay_requests(requests(100), spec).energy is None
    assert run_energy(spec, {"ACT": 1}, 100) is None
    with pytest.raises(SpecError, match="ddr5-6400-16gb-x8: no supply currents; give it currents of its own"):
        event_energy(spec)


def test_a_reference_configuration_has_no_energy():
    path = HERE / "traces" / "rand_n1000_tx64.csv.gz"
    assert replay_file(path, read_config(HERE / "configs" / "r2_ddr4_3200_refab.json")).energy is None


COMMANDS = ("ACT", "RD", "WR", "RDA", "WRA", "REFAB", "REFPB")


@given(
    st.fixed_dictionaries({name: st.integers(0, 1000) for name in COMMANDS}),
    st.sampled_from(COMMANDS),
    st.sampled_from(
        ["lpddr5-6400-16gb-x16", "hbm2-2000-4gb-x64", "lpddr4-3200-8gb-x16", "gddr6-14000-8gb-x16"]
    ),
)
def test_more_commands_never_take_less_energy(counts, more, name):
    spec, cycles = part(name, DramSpec), 10_000_000
    few = run_energy(spec, counts, cycles)
    many = run_energy(spec, counts | {more: counts[more] + 1}, cycles)
    event = {"ACT": "activate", "RD": "read", "WR": "write", "RDA": "read", "WRA": "write"}.get(
        more, "refresh"
    )
    assert getattr(many, f"{event}_pj") > getattr(few, f"{event}_pj")
    dynamic = [made.total_pj - made.background_pj for made in (few, many)]
    assert dynamic[0] < dynamic[1]


def test_more_traffic_takes_more_energy():
    totals = [
        replay_requests(requests(n), DDR4, log=True).energy.total_pj for n in (1, 10, 100, 1000, 5000)
    ]  # fmt: skip
    assert totals == sorted(totals)


def test_row_hits_save_activates_and_time():
    hits = replay_requests(requests(writes=0, sequential=True), DDR4, log=True).energy
    misses = replay_requests(requests(writes=0), DDR4, log=True).energy
    assert hits.activate_pj < misses.activate_pj / 10
    assert hits.read_pj == misses.read_pj
    assert hits.pj_per_bit < misses.pj_per_bit


# Open banks: clock by clock, and from counts


def counted(spec, log, cycles):
    """Open banks counted in every clock, with a table of the state of each bank."""
    n, g = Clocks(spec), spec.geometry
    rfc = n.RFC if n.has("RFC") else n.RFC1 if n.has("RFC1") else n.RFCab
    write_end = n.WL + (n.DQSS if n.has("DQSS") else 0) + n.BL
    open_from = np.full((g.ranks, g.bank_groups, g.banks_per_group), -1)
    closes_at = np.full(open_from.shape, -1)
    busy_until = np.zeros(open_from.shape, int)
    by_clock = {}
    for row in log.itertuples():
        by_clock.setdefault(row.clock, []).append(row)
    any_ck = bank_ck = 0
    for clock in range(cycles):
        open_from[closes_at == clock] = -1
        closes_at[closes_at == clock] = -1
        for row in by_clock.get(clock, ()):
            at = (row.rank, row.bankgroup, row.bank)
            if row.command in ("ACT", "ACT1"):
                open_from[at] = clock
            elif row.command == "PRE":
                open_from[at] = -1
            elif row.command == "PREA":
                open_from[row.rank] = -1
            elif row.command == "RDA":
                closes_at[at] = max(clock + n.RTP, open_from[at] + n.RAS)
            elif row.command == "WRA":
                closes_at[at] = max(clock + write_end + n.WR, open_from[at] + n.RAS)
            elif row.command == "REFAB":
                busy_until[row.rank] = clock + rfc
            elif row.command == "REFPB":
                busy_until[at] = clock + n.RFCpb
        active = (open_from >= 0) | (busy_until > clock)
        any_ck += int(active.any(axis=(1, 2)).sum())
        bank_ck += int(active.sum())
    return OpenClocks(any_ck=any_ck, bank_ck=bank_ck)


@pytest.mark.parametrize(
    ("name", "controller"),
    [
        ("ddr4-3200-8gb-x8-2r", Controller()),
        ("ddr4-3200-8gb-x8", BankQueues(row_policy="closed")),
        ("ddr4-3200-8gb-x8", BankMachines(row_policy="closed_adaptive")),
        ("ddr5-4800-16gb-x8", Controller(refresh="none")),
        ("lpddr4-3200-8gb-x16", Controller(refresh="per_bank")),
        ("lpddr5-6400-16gb-x16-2r", Controller(refresh="per_bank")),
        ("hbm2-2000-4gb-x64", Controller(refresh="per_bank")),
        ("hbm3-6400-16gb-x32", Controller()),
    ],
    ids=str,
)
@pytest.mark.parametrize("gap", [0, 60])
def test_open_clocks_are_those_counted_in_every_clock(name, controller, gap):
    spec = part(name, DramSpec)
    offered = requests(300, burst=spec.geometry.burst_bytes, gap=gap)
    done = replay_requests(offered, spec, controller=controller, log=True)
    for cycles in (done.cycles, done.cycles // 3):
        assert open_clocks(spec, done.commands, cycles) == counted(spec, done.commands, cycles)


def test_ranks_are_counted_apart():
    n = Clocks(DDR4_2R)
    log = log_of((0, "ACT", 0), (100, "PRE", 0))
    other = log.assign(rank=1, clock=log["clock"] + 50)
    both = pd.concat([log, other], ignore_index=True)
    assert n.RAS < 100
    assert open_clocks(DDR4_2R, both, 1000) == OpenClocks(any_ck=200, bank_ck=200)


def test_channels_are_counted_apart():
    log = log_of((0, "ACT", 0), (100, "PRE", 0))
    both = pd.concat([log, log.assign(channel=1)], ignore_index=True)
    assert open_clocks(DDR4, both, 1000, channels=2) == OpenClocks(any_ck=200, bank_ck=200)
    one, two = (run_energy(DDR4, {}, 1000, log_of(), channels=n).total_pj for n in (1, 2))
    assert two == pytest.approx(2 * one)


def test_a_same_bank_refresh_is_one_bank_of_every_group():
    spec = part("ddr5-4800-16gb-x8", DramSpec)
    log = log_of((10, "REFSB", 0)).assign(bankgroup=-1, bank=2)
    rfc, groups = Clocks(spec).RFCsb, spec.geometry.bank_groups
    assert open_clocks(spec, log, 10_000) == OpenClocks(any_ck=rfc, bank_ck=groups * rfc)
    made = run_energy(spec, {"REFSB": 1}, 10_000, log)
    assert made.refresh_pj == pytest.approx(groups * event_energy(spec).refresh_bank_pj)


CONTROLLERS = {
    "all_bank": Controller(),
    "none": Controller(refresh="none"),
    "closed": BankQueues(row_policy="closed"),
    "fifo": BankMachines(scheduler="fifo", row_policy="closed"),
}


@pytest.mark.parametrize("controller", CONTROLLERS.values(), ids=CONTROLLERS)
@pytest.mark.parametrize("gap", [0, 40, 2000], ids="gap {}".format)
@pytest.mark.parametrize("name", ["ddr4-3200-8gb-x8", "ddr4-3200-8gb-x8-2r", "ddr5-4800-16gb-x8"])
def test_counts_enclose_the_exact_background(name, gap, controller):
    spec = part(name, DramSpec)
    for sequential in (False, True):
        offered = requests(400, gap=gap, sequential=sequential)
        exact = replay_requests(offered, spec, controller=controller, log=True).energy
        counts = replay_requests(offered, spec, controller=controller).energy
        assert counts.background_low_pj <= exact.background_pj <= counts.background_high_pj
        assert counts.background_low_pj <= counts.background_pj <= counts.background_high_pj
        assert replace(counts, background_pj=0, background_low_pj=0, background_high_pj=0) == replace(
            exact, background_pj=0, background_low_pj=0, background_high_pj=0
        )


@pytest.mark.parametrize("name", KNOWN)
@pytest.mark.parametrize("gap", [0, 40, 400, 4000], ids="gap {}".format)
def test_the_error_of_background_from_counts(name, gap):
    # As docs/energy.md states it. One rank whose current does not depend on how many banks are open: 5 %.
    # Else 15 %: a rank that no request goes to counts as open, and the number of open banks is a guess.
    spec = DRAMS[name]
    plain = spec.geometry.ranks == 1 and all(rail.IDD3N1 is None for rail in spec.currents.rails)
    for sequential in (False, True):
        offered = requests(1000, burst=spec.geometry.burst_bytes, gap=gap, sequential=sequential)
        exact = replay_requests(offered, spec, log=True).energy
        counts = replay_requests(offered, spec).energy
        assert counts.background_pj == pytest.approx(exact.background_pj, rel=0.05 if plain else 0.15)
        assert counts.total_pj == pytest.approx(exact.total_pj, rel=0.05 if plain else 0.11)


@given(
    st.lists(
        st.tuples(st.integers(1, 4000), st.booleans(), st.integers(0, 2**33 - 1)), min_size=1, max_size=60
    )
)
@settings(max_examples=30, deadline=None)
def test_any_requests_lie_between_the_bounds(listed):
    waits, writes, addresses = zip(*listed, strict=True)
    offered = Requests(
        arrive=np.cumsum(np.array(waits, np.int64)),
        write=np.array(writes, np.int64),
        address=np.array(addresses, np.int64) // 64 * 64,
    )
    done = replay_requests(offered, DDR4, log=True)
    low, likely, high = open_clocks_from_counts(DDR4, done.counts, done.cycles)
    exact = open_clocks(DDR4, done.commands, done.cycles)
    for field in ("any_ck", "bank_ck"):
        assert getattr(low, field) <= getattr(exact, field) <= getattr(high, field)
        assert getattr(low, field) <= getattr(likely, field) <= getattr(high, field)


# Bad tables


@pytest.mark.parametrize(
    ("changed", "message"),
    [
        ({"IDD5B": 250, "name": "VDDD"}, r"no supply rail 'VDDD'; did you mean 'VDD'\?"),
        ({"IDD5B": 250, "name": "core"}, "no supply rail 'core'"),
        ({"IDD5B": -5}, "rail VDD: IDD5B=-5 mA; wanted a current of at least 0"),
        ({"IDD5B": float("inf")}, "rail VDD: IDD5B=inf mA"),
        ({"IDD5B": 250, "IDD3N1": -1}, "rail VDD: IDD3N1=-1 mA"),
        ({}, "rail VDD: IDD5B missing; wanted IDD0, IDD2N, IDD3N, IDD4R, IDD4W, IDD5B, each in mA"),
        ({"IDD5B": 250, "volts": 0}, "rail VDD: volts=0; wanted a voltage above 0"),
        ({"IDD5B": 250, "IDD4R": 40}, "rail VDD: IDD4R=40 mA is below IDD3N=52 mA"),
        ({"IDD5B": 250, "IDD0": 30}, "rail VDD: IDD0=30 mA is below IDD2N=37 mA"),
        ({"IDD5B": 250, "IDD3N1": 60}, "rail VDD: IDD3N=52 mA is below IDD3N1=60 mA"),
    ],
)
def test_a_bad_rail_is_named(changed, message):
    with pytest.raises(SpecError, match=message):
        Rail(**VDD | changed)


RAIL = Rail(**VDD, IDD5B=250)
GOOD = {"source": "made up", "data_rate_mtps": 3200, "density_gbit": 8, "dq_bits": 8, "rails": (RAIL,)}


@pytest.mark.parametrize(
    ("changed", "message"),
    [
        ({"source": ""}, "source is empty; wanted where the values are from"),
        ({"rails": ()}, "no rails; wanted at least one"),
        ({"rails": (RAIL, RAIL)}, "a rail is given twice: VDD, VDD"),
        ({"devices_per_rank": 0}, "devices_per_rank=0; wanted more than 0"),
        (
            {
                "rails": (RAIL, replace(RAIL, name="VDDQ")),
                "pins": PinEnergy(source="-", read_pj_per_bit=1, write_pj_per_bit=1),
            },
            "pins and a rail VDDQ both give the energy of the data pins",
        ),
    ],
)
def test_bad_currents_are_named(changed, message):
    with pytest.raises(SpecError, match=message):
        Currents(**GOOD | changed)


def test_a_bad_pin_energy_is_named():
    with pytest.raises(SpecError, match="pin energy: write_pj_per_bit=-1; wanted an energy of at least 0"):
        PinEnergy(source="-", read_pj_per_bit=1, write_pj_per_bit=-1)


@pytest.mark.parametrize(
    ("changed", "message"),
    [
        ({}, "dq_bits=64 but the currents are of 8"),
        ({"devices_per_rank": 4}, "density_gbit=64 but the currents are of 32"),
        ({"devices_per_rank": 8, "data_rate_mtps": 2666}, "data_rate_mtps=3200 but the currents are of 2666"),
        ({"devices_per_rank": 8, "dq_bits": 4}, "dq_bits=64 but the currents are of 32"),
    ],
)
def test_currents_of_another_chip_are_not_used(changed, message):
    changed = changed or {"density_gbit": 64}
    other = replace(DDR4, currents=Currents(**GOOD | changed))
    assert run_energy(other, {"ACT": 1}, 100) is None
    with pytest.raises(SpecError, match=rf"{DDR4.name}: {message} .*; give it currents of its own"):
        event_energy(other)


def test_a_variant_of_another_rate_or_density_does_not_use_the_currents():
    slow = replace(DDR4, name="slow", data_rate_mtps=2666, tck_fs=750_000)
    large = replace(DDR4, name="large", density_gbit=128, geometry=replace(DDR4.geometry, rows=2**17))
    for spec in (slow, large):
        assert replay_requests(requests(10), spec).energy is None
    tuned = replace(DDR4, timings=DDR4.timings | {"RAS": AtLeast(ck=60)})
    assert replay_requests(requests(10), tuned).energy is not None


@pytest.mark.parametrize("name", KNOWN)
def test_the_catalog_gives_a_part_the_currents_of_its_own_chip(name):
    spec = DRAMS[name]
    assert spec.currents.mismatch(spec.data_rate_mtps, spec.density_gbit, spec.geometry.dq_bits) == ""


def test_an_activate_that_gives_energy_back_is_refused():
    # DDR5 measures IDD3N with all banks open, IDD0 with one: without IDD3N1 the difference is negative.
    spec = part("ddr5-4800-16gb-x8", DramSpec)
    vdd, vpp = spec.currents.rails
    bad = replace(spec, currents=replace(spec.currents, rails=(replace(vdd, IDD3N1=None), vpp)))
    with pytest.raises(
        SpecError, match=r"rail VDD: an activate would take -\d+ pJ: IDD0=103 mA .* give IDD3N1"
    ):
        event_energy(bad)


def test_pim_commands_have_no_energy():
    spec = part("lpddr5x-8533-16gb-x16", DramSpec)
    with pytest.raises(SpecError, match="no energy of the PIM commands ACTAB, MACAB"):
        run_energy(spec, {"ACTAB": 1, "MACAB": 64}, 1000)


# The command line

TRACE = str(HERE / "traces" / "rand_n1000_tx64.csv.gz")


def test_replay_prints_energy(capsys):
    assert cli.main(["replay", TRACE, "--part", DDR4.name, "--set", "refresh=none"]) == 0
    said = " ".join(capsys.readouterr().out.split())
    for words in ("energy 11", "energy, activate 4200 nJ", "energy, read 2784 nJ", "average power", "pJ/bit"):
        assert words in said
    assert "Energy from supply currents (Micron 8 Gb DDR4" in said
    assert "Background from command counts: between" in said
    assert "estimate" not in said


def test_replay_marks_estimates(capsys, tmp_path):
    log = str(tmp_path / "log.csv")
    assert cli.main(["replay", TRACE, "--part", "lpddr5-6400-16gb-x16", "--commands", log]) == 0
    said = " ".join(capsys.readouterr().out.split())
    assert "energy (estimate)" in said
    assert "average power (estimate)" in said
    assert "command counts" not in said


def test_replay_says_where_energy_is_not_known(capsys):
    assert cli.main(["replay", TRACE, "--part", "ddr5-6400-16gb-x8"]) == 0
    said = " ".join(capsys.readouterr().out.split())
    assert "energy - nJ" in said
    assert "no supply currents are known" in said


def test_replay_gives_energy_as_json(capsys):
    assert cli.main(["replay", TRACE, "--part", DDR4.name, "--json"]) == 0
    said = json.loads(capsys.readouterr().out)["energy"]
    assert said["total_pj"] == pytest.approx(sum(said[f"{name}_pj"] for name in COMPONENTS))
    assert said["background_low_pj"] < said["background_pj"] < said["background_high_pj"]
    assert said["pj_per_bit"] == pytest.approx(said["total_pj"] / said["bits"])
    assert said["estimate"] is False
    assert cli.main(["replay", TRACE, "--part", "ddr5-6400-16gb-x8", "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["energy"] is None
