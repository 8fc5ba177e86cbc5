"""Energy of PIM programs: by hand from the currents, and its parts sum."""

from dataclasses import replace

import pytest

from pimsim.devices import DramSpec, PimSpec, part
from pimsim.devices.dram.channel import Controller
from pimsim.devices.dram.energy import event_energy
from pimsim.devices.pim.compile import compile_elementwise, compile_gemv
from pimsim.devices.pim.energy import pim_energy
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


def test_what_is_no_product_is_refused() -> None:
    pim = part("gddr6-aim", PimSpec)
    dram = part(pim.dram, DramSpec)
    assert DRAM.currents is not None  # here for a part that has none of its own
    fitting = replace(DRAM.currents, density_gbit=dram.density_gbit, data_rate_mtps=dram.data_rate_mtps)
    known = replace(dram, currents=fitting)
    kernel = compile_elementwise(pim, dram, "mul", 4096, "bf16")
    with pytest.raises(SpecError, match="gddr6-aim: no energy of EWAB; known: ACTAB, "):
        pim_energy(known, pim, QUIET, kernel)
    product = pim_energy(known, pim, QUIET, compile_gemv(pim, dram, 512, 1024, "bf16"))
    assert product is not None
    # 32 channels of 16 banks, a DRAM row of 64 bursts in each.
    assert product.read_pj == pytest.approx(32 * 16 * 64 * event_energy(known).read_pj)
