"""The controller of bank queues: by hand, against a plain clock-by-clock version, and under odd traffic.

Its agreement with recorded runs of DRAMsim3 is tested with those of the other simulators, in
`test_dram_reference.py`.
"""

import json
from collections import defaultdict
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pimsim.devices import DramSpec, part, parts
from pimsim.devices.dram import engine as e
from pimsim.devices.dram.audit import audit
from pimsim.devices.dram.bank_queues import BankQueues, build, replay
from pimsim.devices.dram.config import read_config
from pimsim.devices.rules import CODE, Rule, compile_rules
from pimsim.errors import SpecError

CONFIGS = Path(__file__).parents[1] / "reference" / "dram" / "configs"
DDR4 = "ddr4-3200-8gb-x8"
DATA = ("RD", "WR", "RDA", "WRA")
QUIET = BankQueues(refresh="none")


def requests(*wanted, controller=QUIET, spec=None, window=0):
    """Replay (arrive, write, bank, row, column) requests on one channel and keep the commands."""
    channel = build(spec or part(DDR4, DramSpec), controller, log_rows=100_000)
    arrays = [np.array(values, np.int64) for values in zip(*wanted, strict=True)]
    return replay(channel, controller, *arrays, window=window)


def commands(run):
    return list(zip(run.log["clock"], run.log["command"], strict=True))


# Clocks of the DDR4-3200 part, by hand from its datasheet values: tRCD 22, tRP 22, RL 22, burst 4, tCCD_L 8.
# The first command of a request goes in the clock after its acceptance.


def test_read_of_a_closed_bank():
    run = requests((0, 0, 0, 7, 3))
    assert commands(run) == [(1, "ACT"), (1 + 22, "RD")]
    assert run.done[0] == 23 + 22 + 4
    assert (run.cycles, run.row_hits) == (50, 0)


def test_read_of_an_open_row_and_of_another_row():
    run = requests((0, 0, 0, 7, 3), (1000, 0, 0, 7, 4), (2000, 0, 0, 8, 4))
    assert commands(run)[2:] == [(1001, "RD"), (2001, "PRE"), (2023, "ACT"), (2045, "RD")]
    assert list(run.done - run.accepted) == [49, 1 + 26, 1 + 22 + 22 + 26]
    assert run.row_hits == 1


def test_closed_rows():
    controller = BankQueues(refresh="none", row_policy="closed")
    run = requests((0, 0, 0, 7, 3), (1000, 0, 0, 7, 4), controller=controller)
    assert commands(run) == [(1, "ACT"), (23, "RDA"), (1001, "ACT"), (1023, "RDA")]
    assert run.row_hits == 0


def test_one_request_at_a_time():
    run = requests((0, 0, 0, 7, 3), (0, 0, 0, 7, 4), window=1)
    assert list(run.accepted) == [0, 50]  # the clock after the first is done
    assert list(run.done) == [49, 50 + 1 + 26]


def test_eight_writes_may_stay_for_ever():
    writes = [(0, 1, bank, 7, 0) for bank in range(9)]
    run = requests(*writes[:8])
    assert list(run.done - run.accepted) == [1] * 8
    assert commands(run) == []
    run = requests(*writes)
    assert list(run.done - run.accepted) == [1] * 9
    assert run.counts == {"ACT1": 9, "WR": 9}
    assert commands(run)[0] == (9, "ACT")  # the ninth write is accepted in clock 8, the first moves in it
    assert run.cycles == 10 < run.log["clock"].max()
    run = requests(*writes[:8], (0, 1, 3, 7, 0))  # the address of the fourth
    assert commands(run) == []


def test_a_full_buffer_is_drained():
    controller = BankQueues(refresh="none", write_queue=4, write_drain=100)
    run = requests(*[(0, 1, bank, 7, 0) for bank in range(6)], controller=controller)
    # Four are moved from clock 3 on, one a clock; the fifth may enter in clock 4. One is left for ever.
    assert list(run.accepted) == list(range(6))
    assert run.counts == {"ACT1": 4, "WR": 4}
    assert commands(run)[0] == (4, "ACT")


def test_reads_of_waiting_addresses():
    run = requests((0, 1, 0, 7, 3), (5, 0, 0, 7, 3))
    assert list(run.done) == [1, 6]
    assert commands(run) == []
    run = requests((0, 0, 0, 7, 3), (9, 0, 0, 7, 3), (9, 0, 0, 7, 4))
    assert commands(run) == [(1, "ACT"), (23, "RD"), (31, "RD")]
    assert list(run.done) == [49, 49, 57]


def test_a_write_lets_a_read_of_its_address_pass():
    # The second read waits outside its bank's queue, the write fills the buffer: DRAMsim3 would stop.
    controller = BankQueues(refresh="none", bank_queue=1, write_queue=1)
    run = requests((0, 0, 0, 7, 2), (0, 0, 0, 7, 3), (0, 1, 0, 7, 3), controller=controller)
    assert list(run.accepted) == [0, 1, 2]
    assert list(run.done) == [49, 57, 3]
    assert [name for _, name in commands(run)] == ["ACT", "RD", "RD", "WR"]


def test_ranks_are_refreshed_in_turn():
    # tREFI 7800 ns = 12480 clocks of 0.625 ns; the first read has been closed by then.
    run = requests(
        (0, 0, 0, 7, 3),
        (20_000, 0, 0, 7, 3),
        controller=BankQueues(),
        spec=part("ddr4-3200-8gb-x8-2r", DramSpec),
    )
    log = run.log[["clock", "command", "rank"]].itertuples(index=False, name=None)
    assert list(log) == [
        (1, "ACT", 0),
        (23, "RD", 0),
        (6240, "PRE", 0),
        (6240 + 22, "REFAB", 0),
        (12480, "REFAB", 1),
        (18720, "REFAB", 0),
        (20_001, "ACT", 0),
        (20_023, "RD", 0),
    ]


def test_a_refresh_closes_banks_one_by_one():
    # tRFC 360 ns = 576 clocks.
    reads = [(0, 0, bank, 7, 0) for bank in (0, 4, 8)]
    run = requests(*reads, (12_480, 0, 4, 7, 1), (12_480, 0, 1, 7, 1), controller=BankQueues())
    assert commands(run)[6:11] == [
        (12_480, "PRE"),
        (12_481, "PRE"),
        (12_482, "PRE"),
        (12_482 + 22, "REFAB"),
        (12_504 + 576, "ACT"),
    ]


# A plain version: every clock is visited, every queue is a list, every rule is read from clocks of commands.


class Rules:
    """Earliest clocks, from the clocks of the commands that went out, a rule and a place."""

    def __init__(self, rules, ranks, groups, banks):
        self.rules, self.groups, self.banks = rules, groups, banks
        self.past = [defaultdict(list) for _ in rules]

    def place(self, scope, rank, bank):
        if scope == "channel":
            return ()
        if scope == "rank":
            return (rank,)
        return (rank, bank // self.banks if scope == "bankgroup" else bank)

    def put(self, clock, name, rank, bank):
        for rule, past in zip(self.rules, self.past, strict=True):
            if name in rule.after:
                past[self.place(rule.scope, rank, bank)].append(clock)

    def allow(self, clock, name, rank, bank):
        for rule, past in zip(self.rules, self.past, strict=True):
            if name in rule.before:
                here = self.place(rule.scope, rank, bank)
                for place, clocks in past.items():
                    counts = (place != here) == rule.sibling and len(clocks) >= rule.window
                    if counts and clock < clocks[-rule.window] + rule.wait:
                        return False
        return True


def plain_replay(rules, device, controller, arrive, write, bank, row, column, window):
    """(accepted, done, commands) of requests; commands are (clock, command, rank, bank, row, column)."""
    n, held, timing = (
        len(arrive),
        controller,
        Rules(rules, device["ranks"], device["groups"], device["banks"]),
    )
    per_rank = device["groups"] * device["banks"]
    queue = [[] for _ in range(device["ranks"] * per_rank)]
    open_row, used = [None] * len(queue), [0] * len(queue)
    accepted, done, log = [None] * n, [None] * n, []
    reads, writes, due = [], [], []
    at, turn, drain, refreshed, t, quiet = 0, 0, 0, 0, 0, 0
    split, sync = device["aad"], device["wckpst"]
    owed, promised, running = None, None, [-1] * device["ranks"]

    def address(i):
        return bank[i], row[i], column[i]

    def waits(i, kind):
        """Requests of this address that wait for their data command."""
        waiting = (writes if kind else reads) + [k for k in queue[bank[i]] if write[k] == kind]
        return [k for k in waiting if address(k) == address(i)]

    def issue(name, b, r=None, c=None, rank=None):
        rank = b // per_rank if rank is None else rank
        log.append((t, name, rank, -1 if b is None else b, -1 if r is None else r, -1 if c is None else c))
        timing.put(t, name, rank, None if b is None else b)
        if b is not None and name in ("ACT1", "PRE", "RDA", "WRA"):
            open_row[b], used[b] = (r if name == "ACT1" else None), 0

    def wanted(b, k):
        i = queue[b][k]
        if open_row[b] is None:
            return "ACT1"
        if row[i] == open_row[b]:
            return ("WR" if write[i] else "RD") + ("A" if held.row_policy == "closed" else "")
        hit = any(row[j] == open_row[b] for j in queue[b])
        return "PRE" if k == 0 and (not hit or used[b] >= held.row_hit_cap) else None

    def find():
        """(bank, place, command) of the next queue in turn that has one."""
        nonlocal turn
        for step in range(1, len(queue) + 1):
            b = (turn + step) % len(queue)
            if b // per_rank == refreshing:
                continue
            for k in range(len(queue[b])):
                name = wanted(b, k)
                if name is None or not timing.allow(t, name, b // per_rank, b):
                    continue
                if owed is not None and (name == "ACT1" or (name in DATA and owed[0] == b)):
                    continue
                turn = b
                return b, k, name
        return None

    def serve(b, k, name):
        nonlocal owed, promised
        i = queue[b][k]
        if name == "PRE":
            issue("PRE", b)
        elif name == "ACT1":
            issue("ACT1", b, row[i])
            owed = (b, t + split) if split else None
        elif sync and promised is None and t >= running[b // per_rank]:
            issue("CAS_WR" if write[i] else "CAS_RD", b, row[i], column[i])
            promised = b, k, name
        else:
            promised = None
            count = used[b] + 1
            issue(name, b, row[i], column[i])
            used[b] = 0 if name in ("RDA", "WRA") else count
            running[b // per_rank] = max(
                running[b // per_rank], t + device["wl" if write[i] else "rl"] + device["bl"] + sync
            )
            del queue[b][k]
            if not write[i]:
                for j in range(n):
                    if accepted[j] is not None and done[j] is None and address(j) == address(i):
                        done[j] = t + device["rl"] + device["bl"]

    def command():
        """The first command of the clock, and whether a second one may go."""
        nonlocal owed, refreshed, refreshing
        if promised is not None:
            serve(*promised)
            return None
        if owed is not None:
            b, deadline = owed
            if timing.allow(t, "ACT2", b // per_rank, b):
                issue("ACT2", b, open_row[b])
                owed = None
                return None
            if sync and deadline <= t + 1:
                return None
        if due:
            refreshing = due[0]
            banks = range(refreshing * per_rank, (refreshing + 1) * per_rank)
            for b in banks:
                if open_row[b] is not None and timing.allow(t, "PRE", refreshing, b):
                    issue("PRE", b)
                    return "PRE"
            shut = all(open_row[b] is None for b in banks)
            if shut and timing.allow(t, "REFAB", refreshing, None):
                issue("REFAB", None, rank=refreshing)
                del due[0]
                refreshing = None
                return "REFAB"
        found = find()
        if found is not None:
            serve(*found)
        return found and found[2]

    refreshing = None
    while quiet < 5:
        before = len(log), at
        # the host
        outstanding = sum(
            a is not None and (d is None or d >= t) for a, d in zip(accepted, done, strict=True)
        )
        if at < n and arrive[at] <= t and not (window and outstanding >= window):
            if write[at] and len(writes) < held.write_queue:
                if not waits(at, 1):
                    writes.append(at)
                accepted[at], done[at] = t, t + 1
                at += 1
            elif not write[at] and len(reads) < held.read_queue:
                accepted[at] = t
                if waits(at, 1):
                    done[at] = t + 1
                elif not waits(at, 0):
                    reads.append(at)
                at += 1
        # the commands
        if held.refresh != "none" and t and t % (device["refi"] // device["ranks"]) == 0:
            due.append(refreshed)
            refreshed = (refreshed + 1) % device["ranks"]
        first = command()
        if first and device["buses"] == e.ROW_AND_COLUMN:
            second = find()
            if second is not None and (second[2] in DATA) != (first in DATA):
                serve(*second)
        # the move
        moved, begun, empty = False, False, not any(queue)
        if drain == 0 and (len(writes) >= held.write_queue or (len(writes) > held.write_drain and empty)):
            drain, begun = len(writes), True
        for i in writes if drain else reads:
            if len(queue[bank[i]]) < held.bank_queue:
                source = writes if drain else reads
                if drain and waits(i, 0):
                    drain = 0
                    if not (begun and empty):
                        break
                    i, source = reads[0], reads
                drain -= source is writes
                source.remove(i)
                queue[bank[i]].append(i)
                moved = True
                break
        finished = at == n and None not in done and not any(queue) and not moved
        quiet = quiet + 1 if finished and before[1] == at else 0
        t += 1
        assert t < 200_000
    last = max(done + [each[0] for each in log if each[1] in DATA])
    while t <= last:
        if held.refresh != "none" and t % (device["refi"] // device["ranks"]) == 0:
            due.append(refreshed)
            refreshed = (refreshed + 1) % device["ranks"]
        command()
        t += 1
    return accepted, done, [each for each in log if each[0] <= last]


def made_rules(split):
    """Short distances, so that every kind of wait decides now and then."""
    rules = [
        Rule("bank", ("ACT1",), ("RD", "WR", "RDA", "WRA"), 5),
        Rule("bank", ("ACT1",), ("PRE",), 9),
        Rule("bank", ("PRE",), ("ACT1",), 4),
        Rule("bank", ("ACT1",), ("ACT1",), 14),
        Rule("bankgroup", ("ACT1",), ("ACT1",), 4),
        Rule("rank", ("ACT1",), ("ACT1",), 2),
        Rule("rank", ("ACT1",), ("ACT1",), 13, 4),
        Rule("bankgroup", DATA, DATA, 4),
        Rule("rank", DATA, DATA, 2),
        Rule("rank", DATA, DATA, 3, 1, True),
        Rule("rank", ("RD", "RDA"), ("WR", "WRA"), 5),
        Rule("bankgroup", ("WR", "WRA"), ("RD", "RDA"), 9),
        Rule("rank", ("WR", "WRA"), ("RD", "RDA"), 7),
        Rule("bank", ("RD",), ("PRE",), 2),
        Rule("bank", ("WR",), ("PRE",), 11),
        Rule("bank", ("RDA",), ("ACT1",), 7),
        Rule("bank", ("WRA",), ("ACT1",), 15),
        Rule("rank", ("RDA",), ("REFAB",), 7),
        Rule("rank", ("WRA",), ("REFAB",), 15),
        Rule("rank", ("PRE",), ("REFAB",), 4),
        Rule("rank", ("ACT1",), ("REFAB",), 14),
        Rule("rank", ("REFAB",), ("ACT1", "REFAB"), 30),
    ]
    if split:
        rules += [Rule("bank", ("ACT1",), ("ACT2",), split - 1), Rule("rank", ("ACT1",), ("ACT1",), split)]
    return rules


@st.composite
def devices(draw):
    kind = draw(st.sampled_from(["one bus", "two buses", "split", "data clock"]))
    return {
        "ranks": draw(st.integers(1, 2)),
        "groups": draw(st.integers(1, 2)),
        "banks": draw(st.integers(1, 2)),
        "rl": 6,
        "wl": 4,
        "bl": 2,
        "refi": draw(st.sampled_from([140, 333])),
        "buses": e.ROW_AND_COLUMN if kind == "two buses" else e.ONE_BUS,
        "aad": draw(st.integers(2, 3)) if kind in ("split", "data clock") else 0,
        "wckpst": draw(st.integers(1, 3)) if kind == "data clock" else 0,
    }


def channel_of(device, rules, controller):
    cfg = np.zeros(e.C_NUM, np.int64)
    cfg[e.C_RANKS], cfg[e.C_GROUPS], cfg[e.C_BANKS] = device["ranks"], device["groups"], device["banks"]
    cfg[e.C_READQ] = cfg[e.C_WRITEQ] = 32
    cfg[e.C_RL], cfg[e.C_WL], cfg[e.C_BL] = device["rl"], device["wl"], device["bl"]
    cfg[e.C_REFRESH], cfg[e.C_REFI] = controller.refresh == "all_bank", device["refi"]
    cfg[e.C_SPLIT_ACT], cfg[e.C_AAD] = device["aad"] > 0, device["aad"]
    cfg[e.C_SYNC], cfg[e.C_WCKPST] = device["wckpst"] > 0, device["wckpst"]
    cfg[e.C_BUSES], cfg[e.C_LOG] = device["buses"], 1
    table = compile_rules(rules)
    return e.make_channels(1, cfg, table.first, table.rows, table.rings, 20_000)


CONTROLLERS = st.builds(
    BankQueues,
    bank_queue=st.integers(1, 5),
    read_queue=st.integers(1, 8),
    write_queue=st.integers(1, 8),
    row_hit_cap=st.integers(1, 4),
    row_policy=st.sampled_from(["open", "open", "closed"]),
    write_drain=st.integers(0, 6),
    refresh=st.sampled_from(["none", "all_bank"]),
)


@settings(max_examples=150, deadline=None)
@given(
    device=devices(),
    controller=CONTROLLERS,
    seed=st.integers(0, 2**32 - 1),
    n=st.integers(1, 60),
    rows=st.integers(1, 3),
    columns=st.integers(1, 4),
    writes=st.sampled_from([0.0, 0.3, 0.6, 1.0]),
    pause=st.sampled_from([0, 0, 3, 40]),
    window=st.sampled_from([0, 0, 1, 3]),
)
def test_the_plain_version_does_the_same(device, controller, seed, n, rows, columns, writes, pause, window):
    rng = np.random.default_rng(seed)
    banks = device["ranks"] * device["groups"] * device["banks"]
    wanted = (
        np.cumsum(rng.integers(0, pause + 1, n)),
        (rng.random(n) < writes).astype(np.int64),
        rng.integers(banks, size=n),
        rng.integers(rows, size=n),
        rng.integers(columns, size=n),
    )
    rules = made_rules(device["aad"])
    channel = channel_of(device, rules, controller)
    run = replay(channel, controller, *wanted, window=window)
    accepted, done, log = plain_replay(
        rules, device, controller, *(list(map(int, w)) for w in wanted), window
    )
    assert list(run.accepted) == accepted
    assert list(run.done) == done
    frame = run.log.assign(bank=run.log["bank"] + device["banks"] * run.log["bankgroup"])
    frame["command"] = frame["command"].replace("ACT", "ACT1")
    held = device["groups"] * device["banks"]
    frame["bank"] = np.where(frame["bank"] < 0, -1, frame["bank"] + held * frame["rank"])
    columns = ["clock", "command", "rank", "bank", "row", "column"]
    assert list(frame[columns].itertuples(index=False, name=None)) == log


PARTS = sorted(name for name, spec in parts().items() if isinstance(spec, DramSpec) and spec.family != "hbm3")


def test_half_clocks_are_not_modelled():
    channel = build(part("hbm3-6400-16gb-x32", DramSpec), BankQueues())
    with pytest.raises(SpecError, match="half-clock command buses are not modelled"):
        replay(channel, BankQueues(), *np.zeros((5, 1), np.int64))


@pytest.mark.parametrize("name", PARTS)
@pytest.mark.parametrize("row_policy", ["open", "closed"])
def test_every_part_runs_and_keeps_its_rules(name, row_policy):
    spec = part(name, DramSpec)
    controller = BankQueues(row_policy=row_policy)
    rng, g, n = np.random.default_rng(5), spec.geometry, 3000
    wanted = (
        np.cumsum(rng.integers(0, 9, n)),
        (rng.random(n) < 0.4).astype(np.int64),
        rng.integers(g.ranks * g.banks, size=n),
        rng.integers(5, size=n),
        rng.integers(g.bursts_per_row, size=n),
    )
    run = replay(build(spec, controller, log_rows=60_000), controller, *wanted)
    found = audit(run.log, spec)
    assert found.empty, found.head(20).to_string()
    assert (run.done > run.accepted).all()
    assert (run.accepted >= wanted[0]).all()
    assert run.counts["REFAB"] > 0


def test_settings_are_checked():
    for key, value in {"row_policy": "shut", "refresh": "per_bank", "data_clock": "never"}.items():
        with pytest.raises(SpecError, match=f"{key}='{value}'; wanted "):
            BankQueues(**{key: value})
    for key in ("bank_queue", "read_queue", "write_queue", "row_hit_cap"):
        with pytest.raises(SpecError, match=f"{key}=0; wanted at least 1"):
            BankQueues(**{key: 0})
    with pytest.raises(SpecError, match="write_drain=-1; wanted at least 0"):
        BankQueues(write_drain=-1)
    with pytest.raises(SpecError, match="window=-1"):
        requests((0, 0, 0, 7, 3), window=-1)


def test_a_channel_must_suit_its_controller():
    spec = part(DDR4, DramSpec)
    none = np.zeros(0, np.int64)
    with pytest.raises(SpecError, match="refresh='none' but the channel was built for 'all_bank'"):
        replay(build(spec, BankQueues()), QUIET, *[none] * 5)
    channel = build(spec, QUIET)
    assert replay(channel, QUIET, *[none] * 5).cycles == 0
    channel.cfg[e.C_BUSES] = e.HALF_CLOCK
    with pytest.raises(SpecError, match="half-clock"):
        replay(channel, QUIET, *[none] * 5)


# Configurations of DRAMsim3


@pytest.mark.parametrize("path", sorted(CONFIGS.glob("d3_*.json")), ids=lambda path: path.stem)
def test_listed_pairs_have_their_distance(path):
    config, g = read_config(path), read_config(path).geometry
    unused = {"REFPB", "SREFEN", "SREFEX"}
    other = {"same_bank": 0, "same_rank": 0, "other_bank_same_bankgroup": 1}
    other |= {"other_bankgroup": g.banks_per_group, "other_rank": g.banks}
    checked = 0
    for pair in json.loads(path.read_text())["constraints"]:
        if unused & {pair["first"], pair["then"]} or (pair["scope"] == "other_rank" and g.ranks == 1):
            continue
        channel, at = config.channel(), other[pair["scope"]]
        first, then = CODE[pair["first"]], CODE[pair["then"]]
        e.put(channel, 0, 1000, first, 0, -1 if pair["first"] == "REFAB" else 0, -1, -1)
        clock = e.earliest(channel, 0, then, at // g.banks, -1 if pair["then"] == "REFAB" else at)
        assert clock - 1000 == pair["cycles"], pair
        checked += 1
    assert checked >= 58


def changed(tmp_path, change, name="d3_ddr4_3200_refab"):
    raw = json.loads((CONFIGS / f"{name}.json").read_text())
    change(raw)
    path = tmp_path / "changed.json"
    path.write_text(json.dumps(raw))
    return path


def test_other_bank_groups_may_be_further_away_than_the_own_one(tmp_path):
    def swap(raw):
        for pair in raw["constraints"]:
            if (pair["first"], pair["then"]) == ("ACT", "ACT") and pair["scope"] != "same_bank":
                pair["cycles"] = {"other_bank_same_bankgroup": 4, "other_bankgroup": 9}[pair["scope"]]

    config = read_config(changed(tmp_path, swap))
    for bank, wanted in ((0, 74), (1, 4), (4, 9), (15, 9)):
        channel = config.channel()
        e.put(channel, 0, 1000, CODE["ACT"], 0, 0, -1, -1)
        assert e.earliest(channel, 0, CODE["ACT"], 0, bank) == 1000 + wanted


def test_two_ranks(tmp_path):
    def add_rank(raw):
        raw["organisation"]["ranks"] = 2
        raw["address_mapping"]["bits_lsb_to_msb"].append({"field": "rank", "bits": 1})
        raw["refresh"]["interval_cycles"] //= 2  # from one rank's refresh to the other's

    config = read_config(changed(tmp_path, add_rank))
    assert config.cfg[e.C_REFI] == 12480
    channel = config.channel()
    e.put(channel, 0, 1000, CODE["RD"], 0, 0, -1, -1)
    assert e.earliest(channel, 0, CODE["RD"], 1, 16) == 1006
    address = np.array([0, 1 << 33], np.int64)
    run = config.run(np.zeros(2, np.int64), np.zeros(2, np.int64), address, 0, 10)
    assert list(run.log["rank"]) == [0, 1, 0, 1]


WRONG = {
    "controller.scheduler='fifo' is not modelled": ("controller", "scheduler", "fifo"),
    "controller.row_policy='timeout' is not modelled": ("controller", "row_policy", "timeout"),
    "controller.kind='half' is not modelled": ("controller", "kind", "half"),
    "unknown field `unified_queue`": ("controller", "unified_queue", True),
    "refresh.mode='per_bank' is not modelled": ("refresh", "mode", "per_bank"),
    "refresh.scope='bank' is not modelled": ("refresh", "scope", "bank"),
    "refresh.interval_cycles=7 but timing_cycles_given.tREFI=12480": ("refresh", "interval_cycles", 7),
    "read_latency=27 but RL=22 and burst=4": ("timing_cycles_effective", "read_latency", 27),
    "unknown field `tX`": ("timing_cycles_effective", "tX", 1),
    "organisation.ranks=0; wanted at least 1": ("organisation", "ranks", 0),
    "transaction_bytes=32 but a burst": ("address_mapping", "transaction_bytes", 32),
    "xor": ("address_mapping", "xor", []),
}


@pytest.mark.parametrize("wanted", WRONG)
def test_what_is_not_modelled_is_an_error(tmp_path, wanted):
    section, key, value = WRONG[wanted]
    path = changed(tmp_path, lambda raw: raw[section].update({key: value}))
    with pytest.raises(SpecError, match=r"changed.json: ") as error:
        read_config(path)
    assert wanted in str(error.value)


@pytest.mark.parametrize(
    ("wanted", "pair"),
    [
        ("constraints[0].scope='bus'", {"scope": "bus"}),
        ("constraints[0].first: no command 'RDX'", {"first": "RDX"}),
        ("scope 'same_rank' after RD is not modelled", {"scope": "same_rank"}),
        ("a second distance of RD and WR, same_bank", {"then": "WR"}),
        ("RD to RD may be 3 clocks apart in a bank but 8", {"cycles": 3}),
    ],
)
def test_a_wrong_pair_is_an_error(tmp_path, wanted, pair):
    path = changed(tmp_path, lambda raw: raw["constraints"][0].update(pair))
    with pytest.raises(SpecError) as error:
        read_config(path)
    assert wanted in str(error.value)
