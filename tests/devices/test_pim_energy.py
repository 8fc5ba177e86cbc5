"""Energy of PIM programs: by hand from the currents, and its parts sum."""

from dataclasses import replace

import pytest

from pimsim.devices import DramSpec, PimSpec, part
from pimsim.devices.dram.channel import Controller
from pimsim.devices.dram.energy import event_energy
from pimsim.devices.pim import energy
from pimsim.devices.pim.compile import compile_elementwise, compile_gemv
from pimsim.devices.pim.energy import bank_commands, pim_energy
from pimsim.devices.pim.kernel import log_kernel
from pimsim.errors import SpecError

QUIET, REFRESHED = Controller(refresh="none"), Controller()
PIM = part("lpddr5x-pim-8533", PimSpec)
DRAM = part(PIM.dram, DramSpec)


def test_one_tile_by_hand() -> None:
    # 1024 x 128 BF16 is one row of 2 KB in each bank of 4 channels of 2 ranks of 16 banks.
    kernel = compile_gemv(PIM, DRAM, 1024, 128, "bf16")
    got = pim_energy(DRAM, PIM, QUIET, kernel)
    assert got is not None
    # Currents of the catalog. tRAS 42 ns = 45 clocks of 0.9375 ns, tRP 18 ns = 20, a burst 2 clocks.
    ras, rp, burst = 45 * 0.9375, 20 * 0.9375, 2 * 0.9375
    activate = 1.8 * ((3.8 - 2.8) * ras + (3.8 - 1.5) * rp) + 1.05 * ((53 - 40) * ras + (53 - 32.5) * rp)
    column = (1.8 * (18 - 2.8) + 1.05 * (390 - 40)) * 8533 / 7500 * burst
    banks = 4 * 2 * 16
    assert got.activate_pj == pytest.approx(banks * activate)
    assert got.read_pj == pytest.approx(banks * 64 * column)  # 64 columns of 32 bytes
    # A burst of 8 results of 4 bytes from every bank; VDDQ takes nothing for writes beyond standby.
    assert got.io_pj == pytest.approx(banks * 0.5 * (111.9 - 0.6) * burst)
    assert got.refresh_pj == got.write_pj == 0
    assert got.bits == 1024 * 128 * 16
    assert got.estimate


def test_standby_is_that_of_the_rows_the_log_shows_open() -> None:
    kernel = compile_gemv(PIM, DRAM, 2000, 700, "bf16")
    time, log = log_kernel(DRAM, PIM, QUIET, kernel)
    opened = log.loc[log["command"] == "ACTAB", "clock"].sum()
    closed = log.loc[(log["command"] == "PREA") & (log["clock"] > 0), "clock"].sum()
    # A row opens in all banks of a rank; this part takes as much with one bank open as with all.
    one, all_closed = 1.8 * 2.8 + 1.05 * 40, 1.8 * 1.5 + 1.05 * 32.5
    rest = 0.9 * 0.2 + 0.5 * 0.6
    clocks_mw = 2 * time.clocks * (all_closed + rest) + (closed - opened) * (one - all_closed)
    got = pim_energy(DRAM, PIM, QUIET, kernel)
    assert got is not None
    assert got.background_pj == pytest.approx(4 * clocks_mw * 0.9375)


@pytest.mark.parametrize("name", ["lpddr5x-pim-8533", "lpddr5x-pim-9600", "lpddr5-pim-6400"])
def test_the_parts_sum_and_refresh_counts(name: str) -> None:
    pim = part(name, PimSpec)
    dram = part(pim.dram, DramSpec)
    kernel = compile_gemv(pim, dram, 4096, 4096, "int8", fences=True)
    got = pim_energy(dram, pim, REFRESHED, kernel)
    assert got is not None
    assert got.total_pj == pytest.approx(sum(got.components_pj.values()))
    refreshes = log_kernel(dram, pim, REFRESHED, kernel)[0].refreshes
    assert refreshes > 0
    assert got.refresh_pj == pytest.approx(4 * refreshes * event_energy(dram).refresh_pj)
    # Two vectors read the weights twice; a bit of weights costs the same.
    twice = pim_energy(
        dram, pim, REFRESHED, compile_gemv(pim, dram, 4096, 4096, "int8", batch=2, fences=True)
    )
    assert twice is not None
    assert twice.read_pj == pytest.approx(2 * got.read_pj)
    assert twice.pj_per_bit == pytest.approx(got.pj_per_bit, rel=0.01)


def test_without_currents_that_fit_there_is_no_energy() -> None:
    kernel = compile_gemv(PIM, DRAM, 64, 64, "bf16")
    assert pim_energy(replace(DRAM, currents=None), PIM, QUIET, kernel) is None
    other = part("lpddr5x-9600-16gb-x16", DramSpec).currents
    assert pim_energy(replace(DRAM, currents=other), PIM, QUIET, kernel) is None


def test_a_command_without_energy_is_refused(monkeypatch) -> None:
    monkeypatch.setattr(energy, "KNOWN", energy.KNOWN - {"RDRES"})
    with pytest.raises(SpecError, match="lpddr5x-pim-8533: no energy of RDRES; known: ACT1, "):
        pim_energy(DRAM, PIM, QUIET, compile_gemv(PIM, DRAM, 64, 64, "bf16"))


def test_two_chunks_on_hbm_pim_by_hand() -> None:
    # 64 x 256 FP16 on one channel: two chunks, each 64 MACs over two rows of eight banks.
    pim = part("hbm-pim-2000", PimSpec)
    dram = part(pim.dram, DramSpec)
    time, log = log_kernel(dram, pim, QUIET, kernel := compile_gemv(pim, dram, 64, 256, "fp16", channels=1))
    got = pim_energy(dram, pim, QUIET, kernel)
    assert got is not None
    # Currents of HBM2 (catalog), in mA at 2000 MT/s: a burst of 2 ns above standby, data pins included.
    rate, random = 2000 / 1200, 5.1486 / 3.1798
    standby, most_open = 11.756 * rate, 11.756 * rate + 14.281 - 11.756
    read = 1.2 * (202.769 - 12.394) * rate * random * 2
    write = 1.2 * (137.406 - 12.394) * rate * random * 2
    # ISCA 2021: 3.5 times less for a bit that a unit takes in. Every bank is read once before and after.
    assert got.read_pj == pytest.approx(2 * 64 * 8 * read / 3.5 + 32 * read)
    # 16 input writes, 5 that program, 4 mode changes; 8 results of eight banks, within the memory.
    assert got.write_pj == pytest.approx((16 + 5 + 4) * write + 8 * 8 * write / 3.5)
    assert got.io_pj is None
    # tRAS 33, tRC 47: ACT1 opens one bank, ACTAB eight.
    row = 1.2 * ((standby + 28.544 - 11.756 - (standby + 12.394 - 11.756)) * 33 + (28.544 - 11.756) * 14)
    assert got.activate_pj == pytest.approx((32 + 8 * time.counts["ACTAB"]) * row)
    assert got.total_pj == pytest.approx(sum(got.components_pj.values()))
    # Standby lies between all banks closed and all open.
    assert 1.2 * standby * time.clocks < got.background_pj < 1.2 * most_open * time.clocks
    opened = bank_commands(log, pim, dram.geometry)
    assert (opened["command"] == "ACT").sum() == 32 + 8 * time.counts["ACTAB"]


def test_a_product_on_gddr6_aim_by_hand() -> None:
    pim = part("gddr6-aim", PimSpec)
    dram = part(pim.dram, DramSpec)
    product = pim_energy(dram, pim, QUIET, compile_gemv(pim, dram, 512, 1024, "bf16"))
    assert product is not None
    # 32 channels, a DRAM row of 64 MACs in each; three times a read for all 16 banks (CENT), bursts of 1 ns,
    # one of the two channels of a chip, 1.25 V.
    read = 0.5 * 1.25 * (1220 - 460) * 16 / 14
    assert product.read_pj == pytest.approx(32 * 64 * 3 * read)
    # 64 bursts of inputs, a preset and a result cross the pins at 5.5 pJ a bit; mode changes have no data.
    assert product.io_pj == pytest.approx(32 * (64 + 1 + 1) * 256 * 5.5)
    assert product.write_pj == 0
    # A product of vectors reads two banks of each of four groups and writes one: a burst a group.
    vectors = pim_energy(
        dram, pim, QUIET, compile_elementwise(pim, dram, "mul", 4 * 16 * 10, "bf16", channels=1)
    )
    assert vectors is not None
    write = 0.5 * 1.25 * (1470 - 460) * 16 / 14
    assert vectors.read_pj == pytest.approx(10 * 8 * read * 3 / 16)
    assert vectors.write_pj == pytest.approx(10 * 4 * write * 3 / 16)


@pytest.mark.parametrize("name", ["hbm-pim-2000", "hbm-pim-2400", "gddr6-aim"])
def test_units_take_less_a_bit_than_the_pins(name: str) -> None:
    pim = part(name, PimSpec)
    dram = part(pim.dram, DramSpec)
    kernel = compile_gemv(pim, dram, 4096, 4096, next(iter(pim.weight_dtypes)))
    got = pim_energy(dram, pim, REFRESHED, kernel)
    assert got is not None
    cost = event_energy(dram)
    over_pins = (cost.read_pj + (cost.io_read_pj or 0)) / (8 * dram.geometry.burst_bytes)
    assert got.pj_per_bit < over_pins
    # ISCA 2021 reports 3.5 times less for the units alone; rows, inputs and standby are in ours, too.
    assert over_pins / got.pj_per_bit > 2
    assert got.background_pj > 0
    assert got.estimate
