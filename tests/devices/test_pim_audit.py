"""Command logs of PIM programs of every part, read by the independent auditor, and what it must not miss."""

import numpy as np
import pandas as pd
import pytest

from pimsim.devices import DramSpec, PimSpec, part, parts
from pimsim.devices.dram import engine as e
from pimsim.devices.dram.audit import audit, audit_file
from pimsim.devices.dram.channel import Controller, command_log, replay
from pimsim.devices.pim.compile import compile_elementwise, compile_gemv, operations
from pimsim.devices.pim.kernel import HostDrive, prepare, time_kernel
from pimsim.devices.rules import CODE, PREA

UNITS = {name: value for name, value in parts().items() if isinstance(value, PimSpec)}
NEW = [name for name, pim in UNITS.items() if pim.protocol != "lockstep"]


def dram_of(pim):
    return part(pim.dram, DramSpec)


def kernels(pim):
    dram, dtype = dram_of(pim), next(iter(pim.weight_dtypes))
    yield compile_gemv(pim, dram, 300, 2500, dtype, batch=2, channels=2)
    yield compile_gemv(pim, dram, 100, 700, dtype, channels=1, fences=True)
    for operation in operations(pim, dram)[1:]:
        yield compile_elementwise(pim, dram, operation, 40_000, dtype, channels=1)


def logged(name, refresh="all_bank", **host):
    """Ordinary traffic, then each kernel, then traffic again, on one channel; and the clock it ends."""
    pim = UNITS[name]
    dram, controller = dram_of(pim), Controller(refresh=refresh)
    channel = prepare(dram, pim, controller, log_rows=1 << 17)
    clock = 0
    for number, kernel in enumerate(kernels(pim)):
        clock = traffic(channel, dram, number, clock)
        clock += time_kernel(
            dram, pim, controller, kernel, HostDrive(**host), channel=channel, begin=clock
        ).clocks
    return command_log(channel), dram, pim


def traffic(channel, dram, seed, begin):
    """Random reads and writes from clock `begin` on; rows are closed at the end."""
    rng = np.random.default_rng(seed)
    n, g = 60, dram.geometry
    arrive = np.full(n, begin)
    done = replay(
        channel, arrive, rng.integers(0, 2, n), rng.integers(0, g.ranks * g.banks, n), rng.integers(0, 8, n),
        rng.integers(0, g.bursts_per_row, n),
    )  # fmt: skip
    clock = done.cycles + 200
    for rank in range(g.ranks):
        at = max(clock + rank, int(e.earliest(channel, 0, PREA, rank, -1)))
        e.put(channel, 0, at, PREA, rank, -1, -1, -1)
    return clock + 200


@pytest.mark.parametrize("name", UNITS)
@pytest.mark.parametrize("refresh", ["none", "all_bank"])
@pytest.mark.parametrize("host", [{}, {"window": 3, "path_ns": 20, "fence_ns": 60}], ids=["free", "host"])
def test_programs_between_ordinary_traffic_break_no_rule(name, refresh, host):
    log, dram, pim = logged(name, refresh, **host)
    assert {"ACTAB", "MACAB", "WRREG", "MODE", "RD", "WR"} <= set(log["command"])
    assert (log["command"] == "REFAB").any() == (refresh == "all_bank")
    found = audit(log, dram, pim)
    assert found.empty, found.head(20).to_string()


def first_clocks(log, dram, pim):
    """(n,) the earliest clock that the rule table of the machine allows for each command of a log."""
    g = dram.geometry
    channel = prepare(dram, pim, Controller(refresh="none"))
    out = np.zeros(len(log), np.int64)
    flat = log["bankgroup"] * g.banks_per_group + log["bank"]
    flat = np.where(log["bank"] < 0, -1, flat)
    codes = log["command"].map(CODE)
    for k, (clock, command, bank, row) in enumerate(zip(log["clock"], codes, flat, log["row"], strict=True)):
        out[k] = e.earliest(channel, 0, command, 0, bank)
        e.put(channel, 0, clock, command, 0, bank, row, -1)
    return out


@pytest.mark.parametrize("name", NEW)
def test_one_clock_earlier_is_caught(name):
    # Every command that went out at the first clock of the machine's own table is too early one before.
    log, dram, pim = logged(name, "none")
    clocks = log["clock"].to_numpy()
    tight = np.flatnonzero(first_clocks(log, dram, pim) == clocks)
    names = log["command"].to_numpy()
    tried = set()
    for kind in ("ACTAB", "MACAB", "WRREG", "MODE", "WRAB", "EWAB", "RDRES", "WRACC", "PREA"):
        mine = [k for k in tight if names[k] == kind and k > 0 and clocks[k] - 1 > clocks[k - 1]]
        for k in mine[:: max(1, len(mine) // 6)]:
            moved = log.copy()
            moved.loc[k, "clock"] -= 1
            found = audit(moved, dram, pim)
            assert ((found["wanted"] == clocks[k]) & (found["slack"] == -1)).any(), (kind, log.loc[k])
            tried.add(kind)
    assert {"MACAB", "WRREG", "MODE", "ACTAB"} - {"WRREG"} <= tried


def test_states_out_of_order_are_told():
    log, dram, pim = logged("gddr6-aim", "none")
    for which, text in (
        ("ACTAB", "while row -1 is open"),
        ("MODE", "in array mode"),
    ):
        gone = log.drop(index=log.index[log["command"] == which][1]).reset_index(drop=True)
        assert audit(gone, dram, pim)["rule"].str.contains(text).any()
    twice = log.copy()
    last = twice.index[twice["command"] == "ACTAB"][-1]
    k = [at for at in twice.index[twice["command"] == "PREA"] if at < last][-1]
    found = audit(twice.drop(index=k).reset_index(drop=True), dram, pim)
    assert found["rule"].str.contains("while row").any()


def test_a_single_bank_used_under_an_all_bank_row_is_told():
    log, dram, pim = logged("hbm-pim-2000", "none")
    k = log.index[log["command"] == "MACAB"][10]
    extra = log.loc[[k]].assign(command="RD", bankgroup=2, bank=1, clock=log["clock"][k] + 1)
    mixed = pd.concat([log.loc[:k], extra, log.loc[k + 1 :]], ignore_index=True)
    rules = audit(mixed, dram, pim)["rule"]
    assert (rules == "state: RD while a row is open in all banks of a kind").any()


def test_a_file_is_read_for_every_protocol(tmp_path):
    for name in NEW:
        log, _, _ = logged(name, "none")
        log.to_csv(tmp_path / "log.csv", index=False)
        assert audit_file(tmp_path / "log.csv", name).empty
