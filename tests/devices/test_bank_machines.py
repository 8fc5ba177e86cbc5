"""The controller of bank machines: by hand, against a plain clock-by-clock version, and under odd traffic.

Its agreement with recorded runs of DRAMSys is tested with those of the other simulators, in
`test_dram_reference.py`.
"""

import itertools
import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from pimsim.devices import DramSpec, part
from pimsim.devices.dram import engine as e
from pimsim.devices.dram.audit import audit
from pimsim.devices.dram.bank_machines import BankMachines, build, first_refresh, replay
from pimsim.devices.dram.config import read_config
from pimsim.devices.dram.config.model_c import STANDARDS
from pimsim.devices.rules import CODE, COMMANDS, LPDDR4_BUS_CK, compile_rules, rules_of
from pimsim.devices.spec import AtLeast
from pimsim.errors import SpecError

CONFIGS = Path(__file__).parents[1] / "reference" / "dram" / "configs"
DDR4 = "ddr4-3200-8gb-x8"
DATA = ("RD", "WR", "RDA", "WRA")


# A plain version: every clock is visited, every rule is read from the commands so far.


class Rules:
    """Earliest clocks from the list of commands that went out."""

    def __init__(self, rules, geometry):
        self.rules, self.g, self.past, self.known = rules, geometry, [], {}

    def put(self, clock, name, rank, bank):
        self.past.append((clock, name, rank, bank))
        self.known = {}

    def place(self, scope, rank, bank):
        """Banks that a command to this place means, seen from `scope`."""
        if scope == "channel":
            return {0}
        if scope == "rank":
            return {rank}
        banks = range(rank * self.g.banks, (rank + 1) * self.g.banks) if bank < 0 else (bank,)
        return {b // self.g.banks_per_group if scope == "bankgroup" else b for b in banks}

    def earliest(self, name, rank, bank):
        if (name, rank, bank) not in self.known:
            self.known[name, rank, bank] = self._earliest(name, rank, bank)
        return self.known[name, rank, bank]

    def _earliest(self, name, rank, bank):
        first = 0
        for rule in self.rules:
            if name not in rule.before:
                continue
            at = self.place(rule.scope, rank, bank)
            seen = [
                (clock, command)
                for clock, command, other_rank, other_bank in self.past[-100:]
                if command in (*rule.after, *rule.counted)
                and (
                    other_rank != rank
                    if rule.sibling
                    else at & self.place(rule.scope, other_rank, other_bank)
                )
            ]
            if rule.window == 1:
                times = [clock for clock, _ in seen]
                first = max([first, *(clock + rule.wait for clock in times)])
            else:  # each command that ends a window starts a wait from the command that began it
                for last in range(rule.window - 1, len(seen)):
                    if seen[last][1] in rule.after:
                        first = max(first, seen[last - rule.window + 1][0] + rule.wait)
        return first


def plain_replay(rules, g, latency, clocks, refi, controller, arrive, write, bank, row, col, window, buses=1):
    """(accepted, done, commands) of requests; commands are (clock, command, rank, bank, row, column)."""
    n, held = len(arrive), controller
    timing = Rules(rules, g)
    queue = [[] for _ in range(g.ranks * g.banks)]
    open_row, blocked = [None] * len(queue), [False] * len(queue)
    accepted, done, log = [-1] * n, [-1] * n, []
    door, last_bank, at, sent, last_done, t = None, None, 0, 0, -1, 0
    due = first_refresh(refi, g.ranks) if held.refresh != "none" else [10**9] * g.ranks
    ranks = [list(range(r * g.banks, (r + 1) * g.banks)) for r in range(g.ranks)]
    left, picked, final = [list(banks) for banks in ranks], [None] * g.ranks, [False] * g.ranks

    def has_room():
        waiting = [i for each in queue for i in each]
        if held.buffer == "bankwise":
            return last_bank is None or len(queue[last_bank]) < held.depth
        if held.buffer == "shared":
            return len(waiting) < held.depth
        writes = sum(write[i] for i in waiting)
        return writes < held.depth and len(waiting) - writes < held.depth

    def enter():
        nonlocal door, last_bank
        if door is not None and door[1] <= t and has_room():
            last_bank = bank[door[0]]
            queue[last_bank].append(door[0])
            door = None

    def wanted(b):
        if blocked[b] or not queue[b]:
            return None
        i = queue[b][0]
        if open_row[b] is None:
            return "ACT1", i
        if held.scheduler == "fr_fcfs":
            i = next((k for k in queue[b] if row[k] == open_row[b]), i)
        if row[i] != open_row[b] and held.row_policy != "closed":
            return "PRE", i
        others = [k for k in queue[b] if k != i]
        hit = any(row[k] == open_row[b] for k in (others if held.scheduler == "fr_fcfs" else others[:1]))
        closes = {
            "open": False,
            "closed": True,
            "open_adaptive": bool(others) and not hit,
            "closed_adaptive": not hit,
        }[held.row_policy]
        return ("WR" if write[i] else "RD") + ("A" if closes else ""), i

    def manage():
        """Commands of the refresh managers, (command, rank, bank)."""
        found = []
        for r, banks in enumerate(ranks):
            if t < due[r]:
                continue
            while t >= due[r] + refi:
                due[r] += refi
            if held.refresh == "all_bank":
                for b in banks:
                    blocked[b] = True
                found.append(("REFAB" if all(open_row[b] is None for b in banks) else "PREA", r, -1))
                continue
            if not final[r]:
                picked[r] = next((b for b in left[r] if not queue[b]), left[r][0])
            b = picked[r]
            if open_row[b] is not None:
                found.append(("PRE", r, b))
            else:
                blocked[b] = final[r] = True
                found.append(("REFPB", r, b))
        return found

    while min(done, default=0) < 0 or t <= last_done:
        enter()
        active = sum(not 0 <= done[i] <= t for i in range(at))
        most = min(window or n, held.max_active or n)
        if door is None and at < n and arrive[at] <= t and active < most:
            door, accepted[at] = (at, t + 1), t
            at += 1
        for _ in range(buses):
            choices = [(*command, -1) for command in manage()]
            for b in range(len(queue)):
                if wanted(b) and not (
                    held.command_mux == "strict" and wanted(b)[0] in DATA and wanted(b)[1] != sent
                ):
                    choices.append((wanted(b)[0], b // g.banks, b, wanted(b)[1]))
            best = {}
            for name, r, b, i in choices:
                bus = name in DATA if buses == 2 else None
                when = max(t, timing.earliest(name, r, b))
                if any(
                    c == t and (d in DATA or buses == 1) == (name in DATA or buses == 1)
                    for c, d, *_ in log[-2:]
                ):
                    when = max(when, t + 1)
                order = (when + clocks.get(name, 1), i)
                if bus not in best or order < best[bus][0]:
                    best[bus] = (order, when, name, r, b, i)
            ready = [each for each in best.values() if each[1] == t]
            if not ready:
                break
            _, _, name, r, b, i = min(ready, key=lambda each: each[5])
            log.append(
                (t, name, r, b, row[i] if i >= 0 and name != "PRE" else -1, col[i] if name in DATA else -1)
            )
            timing.put(t, name, r, b)
            if name == "ACT1":
                open_row[b] = row[i]
            elif name in ("PRE", "RDA", "WRA"):
                open_row[b] = None
            elif name in ("PREA", "REFAB", "REFPB"):
                for k in ranks[r] if b < 0 else [b]:
                    open_row[k] = None
                    blocked[k] = blocked[k] and name == "PREA"
                if name != "PREA":
                    due[r] += refi
                    final[r] = False
                if name == "REFPB":
                    left[r].remove(b)
                    left[r] = left[r] or list(ranks[r])
            if name in DATA:
                queue[b].remove(i)
                sent += 1
                done[i] = last_done = max(t + latency["WR" if write[i] else "RD"], last_done + 1)
                enter()
            manage()
        t += 1
    return accepted, done, log


def requests(rng, g, n, rows=3, writes=0.3, pause=2):
    return (
        np.cumsum(rng.integers(0, pause + 1, n)),
        (rng.random(n) < writes).astype(np.int64),
        rng.integers(g.ranks * g.banks, size=n),
        rng.integers(rows, size=n),
        rng.integers(8, size=n),
    )


def assert_same(run, plain):
    accepted, done, log = plain
    assert run.accepted.tolist() == accepted
    assert run.done.tolist() == done
    ours = run.log.replace({"command": {"ACT": "ACT1"}})
    g = ours["rank"], ours["bankgroup"], ours["bank"]
    assert list(ours["clock"]) == [each[0] for each in log]
    assert list(zip(ours["clock"], ours["command"], g[0], ours["row"], ours["column"], strict=True)) == [
        (clock, name, rank, row, column) for clock, name, rank, _, row, column in log
    ]


def in_clock_order(log):
    """The log lists one channel in the order of the clocks; within one, as they were issued."""
    return sorted(log, key=lambda each: each[0])


SMALL = {"depth": 2}
CONTROLLERS = {
    "open rows": {},
    "first come": {"scheduler": "fifo"},
    "strict": {"scheduler": "fifo", "command_mux": "strict"},
    "closed rows": {"row_policy": "closed"},
    "open if hit": {"row_policy": "open_adaptive"},
    "closed if no hit": {"row_policy": "closed_adaptive"},
    "closed if no hit, first come": {"row_policy": "closed_adaptive", "scheduler": "fifo"},
    "shared buffer": {"buffer": "shared", "depth": 6},
    "buffers of reads and writes": {"buffer": "read_write", "depth": 4},
    "few active": {"max_active": 5},
}


def scaled(name, **clocks):
    """A part that is refreshed often, so that short runs see many refreshes."""
    spec = part(name, DramSpec)
    return replace(spec, timings=spec.timings | {key: AtLeast(ck=ck) for key, ck in clocks.items()})


@pytest.mark.parametrize("case", CONTROLLERS)
@pytest.mark.parametrize("refresh", ["none", "all_bank"])
def test_as_the_plain_version_on_ddr4(case, refresh):
    spec = scaled(DDR4, REFI=600, RFC=150)
    spec = replace(spec, geometry=replace(spec.geometry, ranks=2))
    compare(spec, BankMachines(**SMALL | CONTROLLERS[case], refresh=refresh), {}, "REFI")


@pytest.mark.parametrize("refresh", ["none", "all_bank", "per_bank"])
@pytest.mark.parametrize("case", ["open rows", "strict", "closed if no hit"])
def test_as_the_plain_version_on_lpddr4(case, refresh):
    spec = scaled("lpddr4-3200-8gb-x16", REFI=900, REFIpb=160, RFCab=200, RFCpb=90)
    name = "REFIpb" if refresh == "per_bank" else "REFI"
    compare(spec, BankMachines(**SMALL | CONTROLLERS[case], refresh=refresh), LPDDR4_BUS_CK, name)


def compare(spec, controller, clocks, interval):
    g = spec.geometry
    for seed, (rows, pause, window) in enumerate([(2, 0, 0), (3, 8, 0), (2, 0, 3), (4, 40, 1)]):
        wanted = requests(np.random.default_rng(seed), g, 70, rows=rows, pause=pause)
        channel = build(spec, controller, log_rows=5000)
        cfg = channel.cfg
        latency = {"RD": int(cfg[e.C_RL] + cfg[e.C_BL]), "WR": int(cfg[e.C_WL] + cfg[e.C_BL])}
        run = replay(channel, controller, *wanted, window=window)
        held = [column.tolist() for column in wanted]
        refi = int(cfg[e.C_REFI])
        assert refi == spec.timings[interval].ck or controller.refresh == "none"
        assert_same(run, plain_replay(rules_of(spec), g, latency, clocks, refi, controller, *held, window))


def reference_like(**changes):
    """A reference configuration of HBM2: pseudo channels, and buses for rows and for columns."""
    timings = {
        "CCDL": 3, "CCDS": 2, "CCDR": 2, "CKE": 8, "DQSCK": 1, "FAW": 17, "PL": 0, "RAS": 28, "RC": 42,
        "RCDRD": 12, "RCDWR": 6, "REFI": 700, "REFISB": 90, "RFC": 220, "RFCSB": 70, "RL": 17, "RP": 14,
        "RRDL": 6, "RRDS": 4, "RREFD": 8, "RTP": 5, "RTW": 18, "WL": 7, "WR": 14, "WTRL": 9, "WTRS": 4,
        "XP": 8, "XS": 216,
    }  # fmt: skip
    return {
        "id": "hbm2", "model": "C", "produced_by": "by hand", "standard": "HBM2",
        "speed": {"cycle_ps": 1000, "cycle_is": "one clock (tCK)"},
        "organisation": {
            "burstLength": 4, "dataRate": 2, "nbrOfBankGroups": 2, "nbrOfBanks": 4, "nbrOfColumns": 32,
            "nbrOfPseudoChannels": 2, "nbrOfRows": 1024, "width": 64, "nbrOfDevices": 1, "nbrOfChannels": 1,
        },
        "timing_cycles": timings | changes.pop("timings", {}),
        "address_mapping": {
            "transaction_bytes": 32,
            "bits_lsb_to_msb": [
                {"field": "pseudochannel", "bits": 1}, {"field": "column", "bits": 5},
                {"field": "bankgroup", "bits": 1}, {"field": "bank", "bits": 1}, {"field": "row", "bits": 10},
            ],
            "xor": None, "xor_order": None,
        },
        "controller": {
            "page_policy": "Open", "scheduler": "FrFcfs", "scheduler_buffer": "Bankwise", "buffer_depth": 2,
            "command_mux": "Oldest", "response_queue": "Fifo", "max_active_transactions": 128,
            "arbiter": "Simple", "power_down": "NoPowerDown",
        } | changes.pop("controller", {}),
        "refresh": {"mode": "NoRefresh", "max_postponed": 0, "max_pulled_in": 0} | changes.pop("refresh", {}),
    }  # fmt: skip


def written(tmp_path, raw):
    path = tmp_path / "config.json"
    path.write_text(json.dumps(raw))
    return path


@pytest.mark.parametrize("mode", ["NoRefresh", "AllBank", "PerBank"])
def test_as_the_plain_version_on_row_and_column_buses(tmp_path, mode):
    config = read_config(written(tmp_path, reference_like(refresh={"mode": mode})))
    g = config.geometry
    for seed, window in enumerate([0, 0, 4]):
        wanted = requests(np.random.default_rng(seed), g, 80, rows=2, pause=seed)
        channel = config.channel(5000)
        run = replay(channel, config.controller, *wanted, window=window)
        latency = {"RD": 17 + 1 + 2, "WR": 7 + 2}  # RL, tDQSCK and burst; WL and burst
        held, refi = [column.tolist() for column in wanted], int(config.cfg[e.C_REFI])
        accepted, done, log = plain_replay(
            config.rules, g, latency, {"ACT1": 2}, refi, config.controller, *held, window, buses=2
        )
        assert_same(run, (accepted, done, in_clock_order(log)))


# Timings of the simulator's own example files, refreshed more often.
OTHERS = {
    "DDR3": (
        {"nbrOfBanks": 8, "dataRate": 2},
        "AL 0 CCD 4 CKE 3 CKESR 4 CL 10 DQSCK 0 FAW 24 RAS 28 RC 38 RCD 10 REFI 500 RFC 88 RL 10 RP 10 RRD 5 "
        "RTP 6 WL 8 WR 12 WTR 6 XP 6 XPDLL 20 XS 96 XSDLL 512 ACTPDEN 1 PRPDEN 1 REFPDEN 1 RTRS 1",
        ("NoRefresh", "AllBank"),
    ),
    "STT-MRAM": (
        {"nbrOfBanks": 8, "dataRate": 2},
        "AL 0 CCD 4 CKE 4 CKESR 7 CL 11 DQSCK 0 FAW 29 RAS 20 RC 34 RCD 14 RL 11 RP 14 RRD 6 RTP 6 WL 11 "
        "WR 12 WTR 2 XP 5 XPDLL 325 XS 324 XSDLL 512 ACTPDEN 2 PRPDEN 2 RTRS 1",
        ("NoRefresh",),
    ),
    "WIDEIO_SDR": (
        {"nbrOfBanks": 4, "dataRate": 1},
        "AC 1 CCD_R 2 CCD_W 1 CKE 3 CKESR 4 DQSCK 1 RAS 12 RC 16 RCD 5 REFI 400 RFC 24 RL 3 RP 5 RRD 3 "
        "TAW 14 WL 1 WR 4 WTR 4 XP 3 XSR 27 RTRS 1",
        ("NoRefresh", "AllBank"),
    ),
    "WIDEIO2": (
        {"nbrOfBanks": 8, "dataRate": 2},
        "CCD 4 CKE 3 CKESR 8 FAW 32 RAS 23 RCAB 34 RCD 10 RCPB 32 REFI 500 REFIPB 90 REFM 1 RFCAB 96 "
        "RFCPB 48 RL 9 RPAB 12 RPPB 10 RRD 6 RTP 4 WL 7 WR 11 WTR 6 XP 4 XSR 102 RTRS 1 DQSCK 0 DQSS 0",
        ("AllBank", "PerBank"),
    ),
}


@pytest.mark.parametrize("standard", OTHERS)
@pytest.mark.parametrize("ranks", [1, 2])
@pytest.mark.parametrize("policy", ["Open", "Closed"])
def test_as_the_plain_version_on_other_standards(tmp_path, standard, ranks, policy):
    shape, timings, modes = OTHERS[standard]
    words = timings.split()
    for mode in modes:
        raw = reference_like(refresh={"mode": mode}, controller={"page_policy": policy})
        raw["standard"] = standard
        raw["timing_cycles"] = {
            name: int(clocks) for name, clocks in zip(words[::2], words[1::2], strict=True)
        }
        raw["organisation"] = shape | {
            "burstLength": 8, "nbrOfColumns": 256, "nbrOfRanks": ranks, "nbrOfRows": 1024, "width": 64,
        }  # fmt: skip
        fields = {"rank": ranks, "column": 32, "bank": shape["nbrOfBanks"], "row": 1024}
        raw["address_mapping"]["bits_lsb_to_msb"] = [
            {"field": field, "bits": units.bit_length() - 1} for field, units in fields.items()
        ]
        raw["address_mapping"]["transaction_bytes"] = 64
        config = read_config(written(tmp_path, raw))
        wanted = requests(np.random.default_rng(ranks), config.geometry, 80, rows=2, pause=3)
        run = replay(config.channel(5000), config.controller, *wanted)
        cfg = config.cfg
        latency = {"RD": int(cfg[e.C_RL] + cfg[e.C_BL]), "WR": int(cfg[e.C_WL] + cfg[e.C_BL])}
        held, refi = [column.tolist() for column in wanted], int(cfg[e.C_REFI])
        plain = plain_replay(config.rules, config.geometry, latency, {}, refi, config.controller, *held, 0)
        assert_same(run, plain)
        assert mode == "NoRefresh" or run.counts["REFPB" if mode == "PerBank" else "REFAB"] >= 1


# By hand: a request may enter the queue of its bank in the clock after it is accepted.


def test_one_read_and_then_a_row_conflict():
    spec = part(DDR4, DramSpec)
    n = {name: spec.timings[name].clocks(spec.tck_fs) for name in ("RCD", "RP", "RAS")}
    controller = BankMachines(refresh="none")
    channel = build(spec, controller, log_rows=10)
    arrays = [np.array(column, np.int64) for column in ((0, 300), (0, 0), (3, 3), (7, 8), (1, 2))]
    run = replay(channel, controller, *arrays)
    rd = 1 + n["RCD"]
    assert list(zip(run.log["clock"], run.log["command"], strict=True)) == [
        (1, "ACT"), (rd, "RD"), (301, "PRE"), (301 + n["RP"], "ACT"), (301 + n["RP"] + n["RCD"], "RD"),
    ]  # fmt: skip
    assert run.done[0] == rd + channel.cfg[e.C_RL] + channel.cfg[e.C_BL]
    assert run.row_hits == 0
    assert run.cycles == run.done[1] + 1


def test_a_full_bank_stops_the_others():
    # Two waiting requests fill bank 0; the third is at the door and stays there, and the one of bank 1 that
    # follows is not even accepted before the first read frees a place.
    spec = part(DDR4, DramSpec)
    controller = BankMachines(refresh="none", depth=2)
    channel = build(spec, controller, log_rows=50)
    bank = np.array([0, 0, 0, 1], np.int64)
    zero = np.zeros(4, np.int64)
    run = replay(channel, controller, zero, zero, bank, np.arange(4), zero)
    first_read = int(run.log["clock"][run.log["command"] == "RD"].iloc[0])
    assert run.accepted.tolist() == [0, 1, 2, first_read + 1]


def test_ranks_are_refreshed_in_bit_reversed_order():
    assert first_refresh(1000, 1) == [1000]
    assert first_refresh(1000, 2) == [1000, 500]
    assert first_refresh(1001, 4) == [1001, 501, 751, 251]  # 500.5, 750.75 and 250.25 rounded up


def test_nothing_is_visited_while_idle():
    spec = part(DDR4, DramSpec)
    controller = BankMachines(refresh="none")
    late = np.array([0, 10**12], np.int64)
    zero = np.zeros(2, np.int64)
    run = replay(build(spec, controller), controller, late, zero, zero, zero, zero)
    assert run.accepted.tolist() == [0, 10**12]


@pytest.mark.parametrize(
    ("name", "refresh"),
    [
        (DDR4, "all_bank"),
        ("ddr5-4800-16gb-x8", "all_bank"),
        ("lpddr4-3200-8gb-x16", "all_bank"),
        ("lpddr4-3200-8gb-x16", "per_bank"),
        ("lpddr5x-8533-16gb-x16", "all_bank"),
        ("lpddr5x-8533-16gb-x16", "per_bank"),
    ],
)
def test_no_rule_of_a_part_is_broken(name, refresh):
    spec = part(name, DramSpec)
    controller = BankMachines(refresh=refresh)
    wanted = requests(np.random.default_rng(5), spec.geometry, 4000, rows=5, pause=4)
    run = replay(build(spec, controller, log_rows=60_000), controller, *wanted)
    found = audit(run.log, spec)
    assert found.empty, found.head(20).to_string()
    assert run.counts["RD"] + run.counts["WR"] == 4000
    assert (run.done > run.accepted).all()
    assert (run.accepted >= wanted[0]).all()


def test_settings_are_checked():
    wrong = {"scheduler": "lifo", "buffer": "none", "command_mux": "any", "row_policy": "shut"}
    for key, value in wrong.items():
        with pytest.raises(SpecError, match=f"{key}='{value}'"):
            BankMachines(**{key: value})
    with pytest.raises(SpecError, match="depth=0; wanted at least 1"):
        BankMachines(depth=0)
    with pytest.raises(SpecError, match="max_active=-1"):
        BankMachines(max_active=-1)
    with pytest.raises(SpecError, match="would stop for ever"):
        BankMachines(command_mux="strict")
    channel = build(part(DDR4, DramSpec), BankMachines(refresh="none"))
    none = np.zeros(1, np.int64)
    with pytest.raises(SpecError, match="refresh='all_bank' but the channel was built with 'none'"):
        replay(channel, BankMachines(), none, none, none, none, none)
    with pytest.raises(SpecError, match="window=-1"):
        replay(channel, BankMachines(refresh="none"), none, none, none, none, none, window=-1)


# Configurations


def test_a_configuration_in_our_terms():
    config = read_config(CONFIGS / "ds_lpddr4_3200_refpb.json")
    assert (config.id, config.model, config.standard) == ("ds_lpddr4_3200_refpb", "C", "LPDDR4")
    assert config.controller == BankMachines(
        name="ds_lpddr4_3200_refpb", depth=8, refresh="per_bank", max_active=0
    )
    assert config.cfg[e.C_REFI] == 780
    # Our own rules of the family are the simulator's, but for one: a read keeps tRRD to the precharge.
    assert config.part is not None
    names = ("ACT1", "PRE", "RD", "WR", "RDA", "WRA", "REFPB")
    tables = compile_rules(rules_of(config.part)), config.table
    differ = set()
    for first, then, bank in itertools.product(names, names, (0, 1)):
        gaps = []
        for table in tables:
            channel = e.make_channels(1, config.cfg, table.first, table.rows, table.rings)
            e.put(channel, 0, 0, CODE[first], 0, 0, -1, -1)
            gaps.append(int(e.earliest(channel, 0, CODE[then], 0, bank)))
        if gaps[0] != gaps[1]:
            differ.add((first, then, bank, *gaps))
    assert {each[:3] for each in differ} <= {("RD", "PRE", 0), ("WR", "RDA", 0)}
    assert ("RD", "PRE", 0, 14, 18) in differ


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"timings": {"tRAS": 1}}, "timing_cycles has no 'tRAS' in HBM2; did you mean 'RAS'"),
        ({"controller": {"scheduler": "GrpFrFcfs"}}, "controller.scheduler='GrpFrFcfs' is not modelled"),
        (
            {"controller": {"response_queue": "Reorder"}},
            "controller.response_queue='Reorder' is not modelled",
        ),
        ({"controller": {"arbiter": "Fifo"}}, "controller.arbiter='Fifo' is not modelled"),
        ({"refresh": {"max_postponed": 8}}, "refresh.max_postponed=8 is not modelled; modelled: 0"),
        ({"refresh": {"mode": "SameBank"}}, "refresh.mode='SameBank' is not modelled"),
        ({"controller": {"queue": 3}}, "unknown field `queue`"),
    ],
)
def test_what_is_not_modelled_is_named(tmp_path, changes, message):
    with pytest.raises(SpecError, match=message.replace("`", ".")):
        read_config(written(tmp_path, reference_like(**changes)))


def test_every_timing_of_a_standard_has_one_use():
    for standard in STANDARDS.values():
        assert not set(standard.used.split()) & set(standard.unused.split())
    assert set(COMMANDS) >= set(read_config(CONFIGS / "ds_ddr4_3200_refab.json").commands)
