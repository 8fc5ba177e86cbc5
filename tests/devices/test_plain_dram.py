"""The compiled scheduler against the plain one: everything happens at the same clock."""

from pathlib import Path

import numpy as np
import pytest
from devices import entry, plain_dram
from hypothesis import given, settings
from hypothesis import strategies as st

from pimsim.devices import part
from pimsim.devices.dram import engine as e
from pimsim.devices.dram.channel import Controller, configure, replay
from pimsim.devices.dram.config import read_config
from pimsim.devices.rules import compile_rules, rules_of
from pimsim.devices.spec import DramSpec
from pimsim.errors import SpecError

CONFIGS = Path(__file__).parents[1] / "reference" / "dram" / "configs"
MODEL_A = sorted(path.stem for path in CONFIGS.glob("r2_*.json"))
PARTS = (
    "lpddr5-6400-16gb-x16",
    "lpddr5x-8533-16gb-x16",
    "ddr4-3200-8gb-x8",
    "ddr5-4800-16gb-x8",
    "lpddr4-3200-8gb-x16",
)


@st.composite
def devices(draw):
    """(cfg, rules): a reference device as it is or a part of ours, with some of its policies changed."""
    if draw(st.booleans()):
        config = read_config(CONFIGS / f"{draw(st.sampled_from(MODEL_A))}.json")
        cfg, table = config.cfg.copy(), config.table
    else:
        spec = part(draw(st.sampled_from(PARTS)), DramSpec)
        refresh = draw(st.sampled_from(["all_bank", "per_bank", "same_bank"]))
        if {"per_bank": "REFIpb", "same_bank": "REFIsb"}.get(refresh, "REFI") not in spec.timings:
            refresh = "all_bank"
        cfg, table = configure(spec, Controller(refresh=refresh)), compile_rules(rules_of(spec))
    queue = draw(st.sampled_from([1, 2, 5, 32]))
    cfg[e.C_READQ] = cfg[e.C_WRITEQ] = queue
    cfg[e.C_HIGH] = draw(st.integers(0, queue))
    cfg[e.C_LOW] = draw(st.integers(1, int(cfg[e.C_HIGH]) + 1))
    if draw(st.booleans()):
        cfg[e.C_UNIFIED], cfg[e.C_READQ], cfg[e.C_WRITEQ] = 1, 2 * queue, 0
    cfg[e.C_ORDER] = draw(st.integers(0, 3))
    cfg[e.C_HIT_CAP] = draw(st.sampled_from([0, 0, 1, 4]))
    cfg[e.C_CAP] = draw(st.sampled_from([0, 0, e.EVERY_ACCESS, 1, 3]))
    cfg[e.C_TIMEOUT] = draw(st.sampled_from([0, 0, 20, 300])) if cfg[e.C_CAP] == 0 else 0
    cfg[e.C_POSTPONE] = draw(st.sampled_from([0, 0, 1, 8]))
    if cfg[e.C_REFRESH]:
        # Twice as often with refreshes of some banks, of which a quarter would take longer than its interval.
        often = 4 if cfg[e.C_REFRESH] == e.ALL_BANK else 2
        cfg[e.C_REFI] = draw(st.integers(int(cfg[e.C_REFI]) // often, int(cfg[e.C_REFI])))
    return cfg, table


@st.composite
def traffic(draw, banks):
    """Up to 120 requests that meet in a few banks, rows and columns, with gaps now and then."""
    n = draw(st.integers(1, 120))
    rng = np.random.default_rng(draw(st.integers(0, 2**32)))
    hot = rng.integers(banks, size=draw(st.integers(1, 8)))
    rows, columns = draw(st.integers(1, 4)), draw(st.integers(1, 8))
    gaps = np.where(rng.random(n) < draw(st.sampled_from([0.0, 0.05, 0.5])), rng.integers(1, 600, size=n), 0)
    return (
        np.cumsum(gaps),
        (rng.random(n) < draw(st.sampled_from([0.0, 0.1, 0.5, 1.0]))).astype(np.int64),
        rng.choice(hot, size=n),
        rng.integers(rows, size=n),
        rng.integers(columns, size=n),
    )


@st.composite
def streams(draw, banks):
    """Up to 300 requests in pieces of a row, of reads or writes, of which up to four are walked in turn."""
    rng = np.random.default_rng(draw(st.integers(0, 2**32)))
    longest, together = draw(st.sampled_from([3, 12, 60])), draw(st.integers(1, 4))
    writes, pauses = draw(st.sampled_from([0.0, 0.0, 0.1, 0.5])), draw(st.sampled_from([0.0, 0.1]))
    pieces = [
        [(write, bank, row, column) for column in range(rng.integers(1, longest + 1))]
        for write, bank, row in zip(
            rng.random(24) < writes, rng.integers(banks, size=24), rng.integers(3, size=24), strict=True
        )
    ]
    requests = []
    for first in range(0, len(pieces), together):
        walks = pieces[first : first + together]
        while any(walks):
            requests += [walk.pop(0) for walk in walks if walk and rng.random() < 0.8]
    requests = requests[:300]
    gaps = np.where(rng.random(len(requests)) < pauses, rng.integers(1, 60, size=len(requests)), 0)
    return np.cumsum(gaps), *np.array(requests, np.int64).T.copy()


@settings(max_examples=60, deadline=None)
@given(st.data())
def test_both_schedulers_do_the_same(data):
    cfg, table = data.draw(devices())
    requests = data.draw(traffic(int(cfg[e.C_RANKS] * cfg[e.C_GROUPS] * cfg[e.C_BANKS])))
    both_do_the_same(cfg, table, *requests, data.draw(st.sampled_from([0, 0, 1, 4])))


@settings(max_examples=100, deadline=None)
@given(st.data())
def test_both_schedulers_do_the_same_in_runs_of_hits(data):
    cfg, table = data.draw(devices())
    cfg[e.C_CAP] = cfg[e.C_HIT_CAP] = cfg[e.C_TIMEOUT] = 0
    if cfg[e.C_ORDER] == e.IN_ORDER:
        cfg[e.C_ORDER] = e.READY_FIRST
    requests = data.draw(streams(int(cfg[e.C_RANKS] * cfg[e.C_GROUPS] * cfg[e.C_BANKS])))
    both_do_the_same(cfg, table, *requests, window=0)


def both_do_the_same(cfg, table, arrive, write, bank, row, column, window):
    """Replay with both schedulers: every clock and every command must be the same."""
    cfg[e.C_LOG] = 1
    ours = e.make_channels(1, cfg.copy(), table.first, table.rows, table.rings, 5000)
    run = replay(ours, arrive, write, bank, row, column, window)
    plain = plain_dram.make_channels(1, cfg.copy(), table.first, table.rows, table.rings, 5000)
    accepted, done = np.full(len(arrive), -1), np.full(len(arrive), -1)
    last = plain_dram.replay(plain, arrive, write, bank, row, column, window, accepted, done)
    assert run.cycles == last + 1
    assert run.accepted.tolist() == accepted.tolist()
    assert run.done.tolist() == done.tolist()
    used = int(plain.log_used[0])
    assert used == int(ours.log_used[0]) < 5000
    assert ours.log[:used].tolist() == plain.log[:used].tolist()
    assert run.row_hits == int(plain.scalar[0, plain_dram.X_ROW_HITS])


def crowd(module, cfg, table, wanted, together):
    """The log of requests of which up to `together` are accepted in one clock, as by several requesters."""
    channel = module.make_channels(1, cfg.copy(), table.first, table.rows, table.rings, 5000)
    out, at, wake, done = np.zeros(3, np.int64), 0, 0, 0
    for t in range(100_000):
        for _ in range(together):
            if at == len(wanted) or module.accept(channel, 0, t, *wanted[at], at) == -2:
                break
            at, wake = at + 1, t
        if wake <= t:
            wake = module.step(channel, 0, t, out)
            done += out[0] >= 0
        if done == len(wanted):
            return channel.log[: int(channel.log_used[0])].tolist()
    raise AssertionError("not all requests are done")


@settings(max_examples=20, deadline=None)
@given(st.data())
def test_both_schedulers_do_the_same_when_requests_come_together(data):
    cfg, table = data.draw(devices())
    cfg[e.C_LOG] = 1
    banks = int(cfg[e.C_RANKS] * cfg[e.C_GROUPS] * cfg[e.C_BANKS])
    _, write, bank, row, column = data.draw(traffic(banks))
    # Columns differ, so that no request is served from a waiting write.
    column = np.arange(len(write))
    wanted = list(zip(write.tolist(), bank.tolist(), row.tolist(), column.tolist(), strict=True))
    together = data.draw(st.integers(1, 4))
    assert crowd(entry, cfg, table, wanted, together) == crowd(plain_dram, cfg, table, wanted, together)


def test_a_request_that_waits_for_ever_is_found():
    # Write mode that ends below 0 waiting writes never ends: the read waits while refreshes go on.
    cfg = configure(part("ddr4-3200-8gb-x8", DramSpec), Controller())
    cfg[e.C_LOW] = 0
    table = compile_rules(rules_of(part("ddr4-3200-8gb-x8", DramSpec)))
    channel = e.make_channels(1, cfg, table.first, table.rows, table.rings)
    one, none = np.ones(1, np.int64), np.zeros(1, np.int64)
    replay(channel, none, one, none, none, none)
    with pytest.raises(SpecError, match="request 0 can never complete"):
        replay(channel, one * 100_000, none, none, none, none)
