"""The DRAM scheduler by hand: latencies, rules, refresh, and requesters that share channels."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from devices import entry

from pimsim.devices import DramSpec, PimSpec, part, parts
from pimsim.devices.dram import drive
from pimsim.devices.dram import engine as e
from pimsim.devices.dram.channel import Controller, build, command_log, lookup_tables, replay
from pimsim.devices.dram.config import read_config
from pimsim.devices.rules import CODE, COMMANDS, rules_of
from pimsim.devices.spec import AtLeast, DramGeometry
from pimsim.placement import AddressMapping

REFERENCE = Path(__file__).parents[1] / "reference" / "dram"
PART = part("lpddr5x-8533-16gb-x16", DramSpec)
TCK_NS = 0.9375  # 8533 MT/s, eight transfers a clock
QUIET = Controller(refresh="none")
WHOLE_RANK = ("PREA", "REFAB", "ACTAB", "MACAB", "WRREG", "MODE")


def requests(*wanted, controller=QUIET, spec=PART, window=0):
    """Replay (arrive, write, bank, row, column) requests on one channel and keep the commands."""
    channel = build(spec, controller, 1, log_rows=100_000)
    arrays = [np.array(column, np.int64) for column in zip(*wanted, strict=True)]
    return replay(channel, *arrays, window=window)


def commands(run):
    return list(zip(run.log["clock"], run.log["command"], strict=True))


# Latencies of the LPDDR5X-8533 part, from its datasheet values and not from the simulator:
# tRCD 18 ns = 19.2 -> 20 clocks, tRPpb 18 ns -> 20, RL 23, burst 2, tAAD at most 8. The data clock has to
# be started by a CAS in the clock before a data command whenever it has stopped.


def test_read_of_a_closed_bank():
    run = requests((0, 0, 0, 7, 3))
    # ACT2 follows ACT1 at once; at tRCD the CAS takes the read's clock and the read the next one.
    assert commands(run) == [(0, "ACT1"), (1, "ACT2"), (20, "CAS_RD"), (21, "RD")]
    assert run.done[0] - run.accepted[0] == 20 + 1 + 23 + 2
    assert (run.done[0] - run.accepted[0]) * TCK_NS == 43.125


def test_read_of_an_open_row_with_the_data_clock_stopped():
    run = requests((0, 0, 0, 7, 3), (1000, 0, 0, 7, 4))
    assert commands(run)[4:] == [(1000, "CAS_RD"), (1001, "RD")]
    assert run.done[1] - run.accepted[1] == 1 + 23 + 2
    assert run.row_hits == 1


def test_read_of_an_open_row_with_the_data_clock_running():
    # It runs for RL + burst + WCKPST = 26 clocks after the first read (clock 21): 46 is the last of them.
    running = requests((0, 0, 0, 7, 3), (46, 0, 0, 7, 4))
    assert commands(running)[4:] == [(46, "RD")]
    assert running.done[1] - running.accepted[1] == 23 + 2
    stopped = requests((0, 0, 0, 7, 3), (47, 0, 0, 7, 4))
    assert commands(stopped)[4:] == [(47, "CAS_RD"), (48, "RD")]
    always = requests(
        (0, 0, 0, 7, 3), (47, 0, 0, 7, 4), controller=Controller(refresh="none", data_clock="always_on")
    )
    assert commands(always) == [(0, "ACT1"), (1, "ACT2"), (20, "RD"), (47, "RD")]


def test_read_that_meets_another_row():
    run = requests((0, 0, 0, 7, 3), (1000, 0, 0, 8, 3))
    assert commands(run)[4:] == [
        (1000, "PRE"),
        (1020, "ACT1"),
        (1021, "ACT2"),
        (1040, "CAS_RD"),
        (1041, "RD"),
    ]
    assert run.done[1] - run.accepted[1] == 20 + 20 + 1 + 23 + 2
    assert (run.done[1] - run.accepted[1]) * TCK_NS == 61.875


def test_read_that_meets_another_row_too_early():
    # tRAS = 42 ns = 44.8 -> 45 clocks after the activate; read to precharge (10 clocks) is over by then.
    run = requests((0, 0, 0, 7, 3), (22, 0, 0, 8, 3))
    assert commands(run)[4] == (45, "PRE")
    assert run.done[1] == 45 + 20 + 20 + 1 + 23 + 2


def test_a_row_is_closed_when_its_read_is_over():
    # Burst 2 and tRBTP 7.5 ns = 8 clocks after the second read, which is at 44 by its bank group's tCCD_L.
    run = requests((0, 0, 0, 7, 3), (40, 0, 0, 7, 4), (41, 0, 0, 8, 3))
    assert commands(run)[4:6] == [(40, "RD"), (40 + 2 + 8, "PRE")]


@pytest.mark.parametrize(
    ("spec", "bank", "rank"),
    [
        (PART, 2 + 8, 2 + 8),  # tCK 0.9375 ns: tRBTP 7.5 ns is 8 clocks
        (replace(PART, name="slow", tck_fs=2_500_000, data_rate_mtps=3200), 2 + 4, 2 + 4),  # at least 4
    ],
    ids=["8533", "3200"],
)
def test_read_to_precharge_is_the_burst_and_tRBTP(spec, bank, rank):
    channel = build(spec, QUIET, 1, part("lpddr5x-pim-8533", PimSpec))
    e.put(channel, 0, 100, CODE["RD"], 0, 0, 5, 0)
    assert e.earliest(channel, 0, CODE["PRE"], 0, 0) == 100 + bank
    assert e.earliest(channel, 0, CODE["PREA"], 0, -1) == 100 + rank
    channel = build(spec, QUIET, 1, part("lpddr5x-pim-8533", PimSpec))
    e.put(channel, 0, 100, CODE["MACAB"], 0, -1, 5, 0)
    assert e.earliest(channel, 0, CODE["PREA"], 0, -1) == 100 + rank


def test_write_then_read_of_the_same_bank():
    # Write: tRCD(WR) 8 ns = 8.53 -> 9, a CAS, then the write at 10. The read waits WL + BL/n_max + tWTR_L =
    # 12 + 4 + 13 clocks (12 ns = 12.8 -> 13); the data clock stops 12 + 2 + 1 clocks after the write.
    run = requests((0, 1, 0, 7, 3), (11, 0, 0, 7, 4))
    assert commands(run) == [(0, "ACT1"), (1, "ACT2"), (9, "CAS_WR"), (10, "WR"), (39, "CAS_RD"), (40, "RD")]
    assert run.done[0] == 10


def test_the_second_half_of_an_activate_is_never_late():
    rng = np.random.default_rng(1)
    wanted = [(0, int(rng.integers(2)), int(rng.integers(32)), int(rng.integers(99)), 0) for _ in range(2000)]
    log = requests(*wanted).log
    started = {}
    for at in log.itertuples():
        bank = (at.rank, at.bankgroup, at.bank)
        if at.command == "ACT1":
            assert not started
            started[bank] = at.clock
        elif at.command == "ACT2":
            assert at.clock - started.pop(bank) <= 8


def test_reads_come_from_waiting_writes_and_writes_merge():
    run = requests((0, 1, 0, 7, 3), (0, 1, 0, 7, 3), (0, 0, 0, 7, 3))
    # The first write leaves the queue with its activate at clock 0, so the second does not find it; the read
    # finds the second, which waits.
    assert run.counts["WR"] == 2
    assert "RD" not in run.counts
    assert run.done[2] == run.accepted[2] == 2
    run = requests((0, 0, 1, 7, 3), (0, 0, 1, 8, 3), (0, 1, 0, 7, 3), (0, 1, 0, 7, 3), (0, 0, 0, 7, 3))
    # Here reads keep the controller in read mode: the second write and the last read are done at once.
    assert (run.counts["WR"], run.counts["RD"]) == (1, 2)
    assert run.done[3] == run.accepted[3]
    assert run.done[4] == run.accepted[4]


# Rules


def levels(relation, then):
    """Levels at which two commands in this relation meet; a command to a whole rank has no bank."""
    held = {
        "same_bank": ("channel", "rank", "bankgroup", "bank"),
        "other_bank_same_bankgroup": ("channel", "rank", "bankgroup"),
        "other_bankgroup": ("channel", "rank"),
        "other_rank": ("channel",),
    }[relation]
    return held[:2] if then in WHOLE_RANK else held


def distance(rules, relation, first, then):
    """Longest wait that a list of rules asks for between two commands, 0 if none does."""
    waits = [0]
    for rule in rules:
        if first in rule.after and then in rule.before and rule.window == 1:
            meets = relation == "other_rank" if rule.sibling else rule.scope in met(relation, first, then)
            waits += [rule.wait] if meets else []
    return max(waits)


def met(relation, first, then):
    """As `levels`; a command to a whole rank meets every bank and bank group of it."""
    if first in WHOLE_RANK and relation != "other_rank":
        return levels("same_bank", then)
    return levels(relation, then)


OTHER = {"same_bank": 0, "other_bank_same_bankgroup": 1, "other_bankgroup": 4, "other_rank": 16}


@pytest.mark.parametrize("relation", OTHER)
def test_every_pair_of_commands_waits_as_its_longest_rule_says(relation):
    pim = part("lpddr5x-pim-8533", PimSpec)
    rules = rules_of(PART, pim)
    fresh = build(PART, QUIET, 1, pim)
    for first in COMMANDS:
        channel = e.Channels(*(array.copy() for array in fresh))
        e.put(channel, 0, 100, CODE[first], 0, -1 if first in WHOLE_RANK else 0, 5, 0)
        for then in COMMANDS:
            bank = -1 if then in WHOLE_RANK else OTHER[relation]
            wait = distance(rules, relation, first, then)
            allowed = e.earliest(channel, 0, CODE[then], OTHER[relation] // 16, bank)
            assert allowed == (100 + wait if wait else 0), f"{first} to {then}"


@pytest.mark.parametrize(
    ("clocks", "bank", "allowed"),
    [
        ((0, 1, 2, 3), 4, 16),  # tFAW = 15 ns = 16 clocks from the first of four, past tRRD (4) from the last
        ((0, 1, 2, 20), 4, 24),  # tRRD from the last
        ((0, 1, 2), 4, 6),  # three activates are no window
        ((0, 1, 2, 3), 16, 0),  # another rank has a window of its own
        ((0, 5, 10, 15, 20), 4, 24),  # the window moves on: 5 + 16 < 20 + 4
    ],
)
def test_four_activate_window(clocks, bank, allowed):
    channel = build(PART, QUIET, 1)
    for k, clock in enumerate(clocks):
        e.put(channel, 0, clock, CODE["ACT1"], 0, k % 4, 1, -1)
    assert e.earliest(channel, 0, CODE["ACT1"], bank // 16, bank) == allowed


@pytest.mark.parametrize(
    ("wanted", "command", "clock"),
    [
        ([(0, 0, 0, 1, 0)], "CAS_RD", 20),  # tRCD
        ([(0, 1, 0, 1, 0)], "CAS_WR", 9),  # tRCD for writes
        ([(0, 0, 0, 1, 0), (0, 0, 4, 1, 0)], "ACT1", 4),  # tRRD 3.75 ns
        ([(0, 0, 0, 1, 0), (0, 0, 0, 2, 0)], "PRE", 45),  # tRAS
    ],
)
def test_the_scheduler_refuses_a_clock_before_and_accepts_at_the_clock(wanted, command, clock):
    channel = build(PART, QUIET, 1)
    for k, (_, write, bank, row, column) in enumerate(wanted):
        assert entry.accept(channel, 0, 0, write, bank, row, column, k) == -1
    out = np.zeros(3, np.int64)
    before = None
    for now in range(clock + 1):
        before = int(channel.counts[0, CODE[command]])
        entry.step(channel, 0, now, out)
        if now == clock - 1:
            assert channel.counts[0, CODE[command]] == before
    assert channel.counts[0, CODE[command]] == before + 1


def test_skipped_clocks_are_clocks_in_which_nothing_could_go():
    # Stepping every clock and stepping only when `step` says so give the same commands.
    rng = np.random.default_rng(3)
    wanted = [(int(rng.integers(2)), int(rng.integers(32)), int(rng.integers(4)), k) for k in range(48)]
    logs = []
    for every_clock in (True, False):
        channel = build(PART, Controller(refresh="per_bank"), 1, log_rows=1000)
        for k, (write, bank, row, column) in enumerate(wanted):
            entry.accept(channel, 0, 0, write, bank, row, column, k)
        out = np.zeros(3, np.int64)
        now = 0
        while now < 4000:
            following = entry.step(channel, 0, now, out)
            now = now + 1 if every_clock else following
        logs.append(command_log(channel))
    assert len(logs[0]) > 100
    pd.testing.assert_frame_equal(*logs)


# Shapes


def random_requests(n, banks, rows, write_share, seed=0):
    rng = np.random.default_rng(seed)
    write = rng.random(n) < write_share
    bank, row, column = rng.integers(banks, size=n), rng.integers(rows, size=n), rng.integers(64, size=n)
    return [(0, *map(int, each)) for each in zip(write, bank, row, column, strict=True)]


SHAPES = {
    "random": random_requests(4000, 32, 1000, 0.0),
    "random, half writes": random_requests(4000, 32, 1000, 0.5),
    "rotating bank groups": [(0, 0, 4 * (k % 4), k // 256, (k // 4) % 64) for k in range(4000)],
    "one bank group": [(0, 0, k % 4, k // 256, (k // 4) % 64) for k in range(4000)],
}


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("refresh", ["none", "all_bank", "per_bank"])
def test_bandwidth_stays_below_the_peak_and_runs_repeat(shape, refresh):
    controller = Controller(refresh=refresh)
    run = requests(*SHAPES[shape], controller=controller)
    moved = (run.counts.get("RD", 0) + run.counts.get("WR", 0)) * 32
    rate = moved / (run.cycles * PART.tck_fs * 1e-15)
    assert 0 < rate < PART.peak_bytes_per_s
    if shape == "one bank group":  # one burst every tCCD_L = 4 clocks instead of 2
        assert rate < PART.peak_bytes_per_s / 2
    if (shape, refresh) == ("rotating bank groups", "none"):
        assert rate > 0.9 * PART.peak_bytes_per_s
    again = requests(*SHAPES[shape], controller=controller)
    pd.testing.assert_frame_equal(run.log, again.log)
    np.testing.assert_array_equal(run.done, again.done)


@pytest.mark.parametrize(("refresh", "interval"), [("all_bank", 4167), ("per_bank", 521)])
def test_refreshes_keep_their_average_interval(refresh, interval):
    # tREFI 3906 ns = 4166.4 -> 4167 clocks, tREFIpb 488 ns = 520.5 -> 521; each rank has its own.
    rng = np.random.default_rng(0)
    arrive = np.cumsum(rng.integers(0, 200, 3000))
    wanted = [(int(t), 0, int(rng.integers(32)), int(rng.integers(9)), 0) for t in arrive]
    run = requests(*wanted, controller=Controller(refresh=refresh))
    name = "REFAB" if refresh == "all_bank" else "REFPB"
    log = run.log[run.log["command"] == name]
    for rank in (0, 1):
        clocks = log[log["rank"] == rank]["clock"].to_numpy()
        assert abs(len(clocks) - run.cycles / interval) <= 1
        late = clocks - (np.arange(1, len(clocks) + 1) * interval - 1)
        assert late.min() >= 0
        assert late.max() < interval
    if refresh == "per_bank":  # round robin over the 16 banks
        one = log[log["rank"] == 0]
        assert (one["bankgroup"] * 4 + one["bank"]).tolist() == [k % 16 for k in range(len(one))]


def test_refresh_goes_on_without_requests():
    channel = build(PART, Controller(), 1)
    out = np.zeros(3, np.int64)
    now = 0
    while now < 100_000:
        now = entry.step(channel, 0, now, out)
    assert channel.counts[0, CODE["REFAB"]] == 2 * (100_000 // 4167)


# Our LPDDR5 rules against the spacing rules of another simulator for the same speed

# Nominal values of LPDDR5-6400, CKR 4:1 (clock 1.25 ns), read latency set 0, write latency set A.
LPDDR5_6400 = DramSpec(
    name="lpddr5-6400-16gb-x16",
    family="lpddr5",
    source="JESD209-5B, bank-group mode, CKR 4:1",
    density_gbit=16,
    data_rate_mtps=6400,
    tck_fs=1_250_000,
    clock_ratio=8,
    geometry=DramGeometry(
        ranks=1, bank_groups=4, banks_per_group=4, rows=2**16, columns=2**10, dq_bits=16, burst_length=16
    ),
    timings={
        "RCD": AtLeast(ns=18, ck=2),
        "RCD_WR": AtLeast(ns=18, ck=2),
        "RPpb": AtLeast(ns=18, ck=2),
        "RPab": AtLeast(ns=21, ck=2),
        "RAS": AtLeast(ns=42, ck=3),
        "RRD": AtLeast(ns=5, ck=2),
        "FAW": AtLeast(ns=20),
        "RBTP": AtLeast(ns=7.5, ck=4),
        "WR": AtLeast(ns=34, ck=3),
        "WTR_S": AtLeast(ns=6.25, ck=4),
        "WTR_L": AtLeast(ns=12, ck=4),
        "REFI": AtLeast(ns=3906),
        "REFIpb": AtLeast(ns=488),
        "RFCab": AtLeast(ns=280),
        "RFCpb": AtLeast(ns=140),
        "PBR2PBR": AtLeast(ns=90),
        "PBR2ACT": AtLeast(ns=7.5),
    },
    latencies_ck={
        "RL": 17, "WL": 9, "BL": 2, "BL_L": 4, "CCD_S": 2, "CCD_L": 4, "PPD": 2, "AAD": 8, "CS": 2,
        "WCKPST": 1,
    },
)  # fmt: skip


def test_lpddr5_rules_are_those_of_the_reference():
    config = read_config(REFERENCE / "configs" / "r2_lpddr5_6400_refab.json")
    ours, theirs = rules_of(LPDDR5_6400), config.rules
    differ = {}
    for relation in OTHER:
        for first in config.commands:
            for then in config.commands:
                pair = distance(ours, relation, first, then), distance(theirs, relation, first, then)
                if pair[0] != pair[1]:
                    differ[relation, first, then] = pair
    reads, writes = ("RD", "RDA"), ("WR", "WRA")
    # (ours, the reference's), 0: no rule.
    expected = {
        # A refresh of a bank waits for its automatic precharge like an activate; the reference has no rule.
        ("same_bank", "RDA", "REFPB"): (2 + 6 + 15, 0),
        ("same_bank", "WRA", "REFPB"): (9 + 2 + 28 + 15, 0),
        # A second refresh of a bank waits for the end of the first; the reference has the wait of two banks.
        ("same_bank", "REFPB", "REFPB"): (112, 72),
        # Data of another rank come after the burst and 2 idle clocks. The reference takes burst + 2 from
        # command to command for read to write, so that the bursts overlap, waits 12 clocks for write to
        # read, and has no idle clocks between writes.
        **{("other_rank", r, w): (17 + 2 + 2 - 9, 4) for r in reads for w in writes},
        **{("other_rank", w, r): (1, 12) for r in reads for w in writes},
        **{("other_rank", w, v): (2 + 2, 2) for v in writes for w in writes},
    }
    for relation in ("same_bank", "other_bank_same_bankgroup", "other_bankgroup"):
        # After an all-bank precharge a refresh waits tRPab as an activate does; the reference takes tRPpb
        # before an all-bank refresh and has no rule before a one-bank refresh.
        expected[relation, "PREA", "REFAB"] = (17, 15)
        expected[relation, "PREA", "REFPB"] = (17, 0)
    assert differ == expected


def test_lpddr5_windows_are_those_of_the_reference():
    config = read_config(REFERENCE / "configs" / "r2_lpddr5_6400_refab.json")
    windows = [[rule for rule in rules if rule.window > 1] for rules in (rules_of(LPDDR5_6400), config.rules)]
    assert windows[0] == windows[1]


# Requesters on channels

SEQUENTIAL = AddressMapping.parse("row:16 rank:1 bank:2 column:6 bankgroup:2")
"""Consecutive bursts go to the bank groups in turn, so a sequential stream can reach the peak."""


def streams(*wanted, channels=1, mapping=SEQUENTIAL, controller=QUIET, log_rows=200_000):
    """(channels, requesters, wake) with one requester a stream, ready at clock 0.

    wanted: (first address, bursts, write, window, path clocks, interval in 1/256 clocks).
    """
    g = drive.make_requesters(len(wanted), lookup_tables([mapping], PART.geometry))
    for a, (address, bursts, write, window, path, interval) in enumerate(wanted):
        g.par[a, [drive.P_WINDOW, drive.P_INTERVAL, drive.P_PATH]] = window, interval, path
        g.par[a, [drive.P_PHASES, drive.P_STRETCH]] = 1, 1
        g.phase[a, 0] = write, bursts, 1, 0, 0, 32
        g.loops[a, 0, 0] = bursts, 32
        g.address[a, 0], g.left[a, 0] = address, bursts
        g.state[a, [drive.S_END, drive.S_BLOCKED]] = -1
        g.state[a, drive.S_WHEN] = 0
    return build(PART, controller, channels, log_rows=log_rows), g, np.zeros(channels, np.int64)


def finish(s, g, wake, piece=1 << 40):
    """Advance until all requesters have ended, at most `piece` clocks a call; returns their ends."""
    running = np.arange(len(g.par))
    now, calls = 0, 0
    while len(running):
        reached = drive.advance(s, g, wake, running, now, now + piece)
        assert now < reached <= now + piece
        now = reached
        running = running[g.state[running, drive.S_END] < 0]
        calls += 1
        assert calls < 500_000
    return g.state[:, drive.S_END].copy()


def test_a_sequential_stream_reaches_the_peak_less_refresh():
    bursts = 40_000
    for controller, lost in ((QUIET, 0.0), (Controller(), 299 / 4167)):
        # tRFCab 280 ns = 298.7 -> 299 clocks every tREFI = 4167, both ranks at the same time.
        ends = finish(*streams((0, bursts, 0, 128, 100, 0), controller=controller))
        share = bursts * 2 / ends[0]  # two clocks a burst at the peak
        assert share < 1 - lost
        assert share > 0.97 * (1 - lost)


def test_one_burst_at_a_time_takes_the_idle_latency():
    # First: activate 20, CAS 1, RL 23, burst 2. Then the next read comes when the data do, at 25 clocks after
    # the read before, and the data clock runs for 26.
    bursts = 256  # the open row of each of the four banks: each has to be opened once
    s, g, wake = streams((0, bursts, 0, 1, 0, 0))
    ends = finish(s, g, wake)
    assert s.counts[0, CODE["ACT1"]] == 4
    # Each time a bank is opened the data clock has stopped before the read: a CAS.
    first = 20 + 1 + 23 + 2
    assert ends[0] == 4 * first + (bursts - 4) * 25


def test_one_burst_at_a_time_with_a_way_to_memory():
    # 40 clocks outside the channel: the data clock has stopped, so each read needs its CAS.
    bursts = 256
    ends = finish(*streams((0, bursts, 0, 1, 40, 0)))
    assert ends[0] == 4 * (20 + 1 + 23 + 2 + 40) + (bursts - 4) * (1 + 23 + 2 + 40)


def test_a_stream_that_asks_slowly_gets_what_it_asks_for():
    ends = finish(*streams((0, 1000, 0, 32, 0, 100 * 256)))
    last_asked = 999 * 100
    assert last_asked < ends[0] <= last_asked + 46


@pytest.mark.parametrize("window", [16, 64])  # both fit into the read queue of 32, or they compete for it
def test_two_requesters_share_the_channel(window):
    bursts = 8000
    s, g, wake = streams((0, bursts, 0, window, 0, 0), (1 << 24, bursts, 0, window, 0, 0))
    ends = finish(s, g, wake)
    assert s.counts[0, CODE["RD"]] == 2 * bursts
    assert ends.max() > 2 * bursts * 2  # no more than the peak
    assert abs(ends[0] - ends[1]) < 0.05 * ends.max()  # equals get equal shares


MIXED = (
    (0, 1500, 0, 16, 90, 0),
    (1 << 22, 1200, 1, 24, 60, 700),
    (3 << 23, 700, 0, 1, 33, 0),
    (5 << 20, 900, 1, 8, 10, 3000),
)
CHANNELS = AddressMapping.parse(
    "row:16 rank:1 bank:2 column:5 channel:1 bankgroup:2 column:1 bank[0]^=row[0]^row[2]"
)


@pytest.mark.parametrize("refresh", ["none", "all_bank", "per_bank"])
@pytest.mark.parametrize("piece", [1, 7, 1000])
def test_advancing_in_pieces_gives_the_same_commands(refresh, piece):
    runs = []
    for size in (1 << 40, piece):
        s, g, wake = streams(*MIXED, channels=2, mapping=CHANNELS, controller=Controller(refresh=refresh))
        ends = finish(s, g, wake, size)
        runs.append(
            (
                command_log(s)[["clock", "channel", "command", "rank", "bankgroup", "bank", "row", "column"]],
                ends,
            )
        )
    pd.testing.assert_frame_equal(runs[0][0], runs[1][0])
    np.testing.assert_array_equal(runs[0][1], runs[1][1])
    data = runs[0][0]["command"].isin(["RD", "WR"]).sum()
    assert data == sum(stream[1] for stream in MIXED)
    assert set(runs[0][0]["channel"]) == {0, 1}


def test_a_stream_obeys_the_rules_of_the_part():
    from pimsim.devices.dram.audit import audit

    s, g, wake = streams(*MIXED, channels=2, mapping=CHANNELS, controller=Controller(refresh="per_bank"))
    finish(s, g, wake)
    assert audit(command_log(s), PART).empty


def test_nothing_to_do_is_said():
    s, g, wake = streams((0, 10, 0, 1, 0, 0))
    finish(s, g, wake)
    assert drive.advance(s, g, wake, np.array([], np.int64), 0, 1 << 40) == -1


def test_every_dram_part_runs():
    for spec in (each for each in parts().values() if isinstance(each, DramSpec)):
        run = requests((0, 0, 0, 1, 0), (0, 1, 1, 1, 0), spec=spec)
        assert run.cycles > 0
