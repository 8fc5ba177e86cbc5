"""Every DRAM part of the catalog: built, run on random traffic, and its log read by the auditor.

Clocks of a part that another simulator describes, too, are held to it: see `tests/reference`.
"""

import csv
from collections import Counter
from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from pimsim.devices import DramSpec, PimSpec, part, parts
from pimsim.devices.dram import engine as e
from pimsim.devices.dram.audit import audit
from pimsim.devices.dram.audit.waits import NAMES
from pimsim.devices.dram.channel import Controller, build, configure, replay
from pimsim.devices.dram.config import read_config
from pimsim.devices.rules import CODE, COMMANDS, FAMILIES, SCOPES, RuleTable, compile_rules, rules_of
from pimsim.devices.rules.lpddr import lpddr4_waits
from pimsim.devices.spec import AtLeast, Clocks
from pimsim.errors import SpecError

TESTS = Path(__file__).parents[1]
DRAM = TESTS / "reference" / "dram"
LPDDR4 = TESTS / "reference" / "lpddr4"
WHOLE = TESTS.parents[1] / "shared" / "reference" / "dram"
PARTS = [name for name, value in parts().items() if isinstance(value, DramSpec)]
PER_BANK = [name for name in PARTS if "REFIpb" in part(name, DramSpec).timings]
PLAIN = [name for name in PARTS if part(name, DramSpec).family != "lpddr5"]


def traffic(spec, n, seed, rows=64):
    """Random reads and writes over a few rows of every bank, in clumps.

    returns: arrive, write, bank, row, column, each (n,).
    """
    rng = np.random.default_rng(seed)
    g = spec.geometry
    banks = g.ranks * g.banks
    bank, row = rng.integers(banks, size=n), rng.integers(rows, size=n)
    again = rng.random(n) < 0.6  # row hits
    for k in range(1, n):
        if again[k]:
            bank[k], row[k] = bank[k - 1], row[k - 1]
    write = (np.arange(n) // 40 % 3 == 0) | (rng.random(n) < 0.2)
    arrive = np.cumsum(rng.integers(0, 8, size=n) * (rng.random(n) < 0.3))
    return arrive, write.astype(np.int64), bank, row, rng.integers(g.bursts_per_row, size=n)


def run(spec, controller, n=3000, seed=0, window=0):
    return replay(build(spec, controller, 1, log_rows=12 * n), *traffic(spec, n, seed), window)


# The catalog


@pytest.mark.parametrize("name", PARTS)
def test_a_part_is_complete_and_says_where_it_comes_from(name):
    spec = part(name, DramSpec)
    assert spec.source
    assert str(spec.data_rate_mtps) in name
    assert name.split("-")[0].startswith(spec.family)
    compile_rules(rules_of(spec))
    held = spec.geometry.dq_bits / 8 * spec.data_rate_mtps * 1e6
    assert spec.peak_bytes_per_s == pytest.approx(held, rel=0.002)


def test_every_family_has_a_part():
    assert {part(name, DramSpec).family for name in PARTS} == set(FAMILIES)
    assert set(FAMILIES) <= set(NAMES)  # the auditor knows them all


def test_what_the_issue_lists_is_there():
    grades = {(part(name, DramSpec).family, part(name, DramSpec).data_rate_mtps) for name in PARTS}
    for family, rates in {
        "lpddr4": {3200},
        "lpddr5": {6400, 8533, 9600},
        "ddr4": {2666, 3200},
        "ddr5": {4800, 6400},
        "gddr6": {14000, 16000},
    }.items():
        assert {rate for name, rate in grades if name == family} == rates


def test_clocks_of_the_faster_lpddr5x():
    # By hand: ns / (5/6 ns), rounded up.
    n = Clocks(part("lpddr5x-9600-16gb-x16", DramSpec))
    wanted = {"RL": 25, "WL": 14, "RCD": 22, "RCD_WR": 10, "RPpb": 22, "RPab": 26, "RAS": 51, "RRD": 4,
              "FAW": 16, "RBTP": 9, "WR": 41, "WTR_S": 8, "WTR_L": 15, "REFI": 4688}  # fmt: skip
    assert {name: getattr(n, name) for name in wanted} == wanted
    pim = part("lpddr5x-pim-9600", PimSpec)
    spec = part(pim.dram, DramSpec)
    inside = spec.geometry.banks * pim.lanes_bits / 8 / (n.CCD_L * spec.tck_fs * 1e-15)
    assert 4 * inside == pytest.approx(614.4e9, rel=1e-4)  # a package has four channels


@pytest.mark.parametrize("name", ["ddr4-3200-8gb-x8", "ddr5-4800-16gb-x8"])
def test_a_family_without_per_bank_refresh_says_so(name):
    with pytest.raises(SpecError, match=f"{name}: family ddr. has no per-bank refresh"):
        build(part(name, DramSpec), Controller(refresh="per_bank"), 1)


def test_a_pim_unit_in_another_family_is_refused():
    with pytest.raises(SpecError, match="PIM units are modelled in LPDDR5 parts, not in family 'ddr4'"):
        rules_of(part("ddr4-3200-8gb-x8", DramSpec), part("lpddr5x-pim-8533", PimSpec))


# Our own logs


@pytest.mark.parametrize("refresh", ["none", "all_bank", "per_bank"])
@pytest.mark.parametrize("name", PARTS)
def test_no_traffic_breaks_a_rule(name, refresh):
    if refresh == "per_bank" and name not in PER_BANK:
        return
    spec = part(name, DramSpec)
    for seed, window in ((0, 0), (1, 1), (2, 6)):
        controller = Controller(refresh=refresh, row_hit_guard=seed % 2 == 0)
        done = run(spec, controller, 2000 if window == 0 else 600, seed, window)
        found = audit(done.log, spec)
        assert found.empty, found.head(10).to_string()
        assert done.counts["RD"] + done.counts["WR"] <= (2000 if window == 0 else 600)  # some are forwarded


def mutants(spec, log, every, rng):
    """Rules told when a command that went out at its first clock goes out one clock before, far apart."""
    g = spec.geometry
    channel = build(spec, Controller(refresh="none"), 1)
    clocks = log["clock"].to_numpy()
    flat = (log["rank"] * g.bank_groups + log["bankgroup"]) * g.banks_per_group + log["bank"]
    flat = np.where(log["bank"] < 0, -1, flat)
    tight = []
    fields = (clocks, log["command"].map(CODE), log["rank"], flat, log["row"])
    for k, (clock, command, rank, bank, row) in enumerate(zip(*fields, strict=True)):
        if k and e.earliest(channel, 0, command, rank, bank) == clock and clocks[k - 1] < clock:
            tight.append(k)
        e.issue(channel, 0, clock, command, rank, bank, row, -1)
    rng.shuffle(tight)
    for _ in range(every):
        chosen, later = [], []
        for k in tight:
            apart = all(abs(clocks[k] - clocks[other]) > 2000 for other in chosen)
            (chosen if apart else later).append(k)
        tight = later
        moved = log.copy()
        moved.loc[chosen, "clock"] -= 1
        found = audit(moved.sort_values("clock", kind="stable", ignore_index=True), spec)
        for k in chosen:
            mine = found[(found["clock"] == clocks[k] - 1) & (found["wanted"] == clocks[k])]
            told = set(mine["rule"].str.split(":").str[0])
            yield told, f"{log['command'][k]} from {clocks[k]} to {clocks[k] - 1}"


@pytest.mark.parametrize("name", PLAIN)
def test_one_clock_earlier_is_caught(name):
    """Every rule that keeps a command back in random traffic is seen by the auditor, too."""
    spec = part(name, DramSpec)
    rng = np.random.default_rng(1)
    told, missed = Counter(), []
    for refresh in ("all_bank", "per_bank") if name in PER_BANK else ("all_bank",):
        for window in (0, 2):
            done = run(spec, Controller(refresh=refresh), 1500, 3, window)
            for rules, move in mutants(spec, done.log, 12, rng):
                told.update(rules)
                missed += [move] * (not rules)
    assert missed == []
    own = NAMES[spec.family]
    for rule in ("tRCD", "tRPpb", "tCCD_L", "tRRD", "tRTW"):
        assert own.get(rule, rule) in told, told
    assert sum(told.values()) > 60


# Rules against other simulators


def gathered(rules):
    out = {}
    for rule in rules:
        for after in rule.after:
            for before in rule.before:
                key = (rule.scope, after, before, rule.window, rule.sibling)
                out[key] = max(out.get(key, 0), rule.wait)
    return {key: wait for key, wait in out.items() if wait > 0}


def effective(waits, key):
    """The wait of a pair in its scope and in those around it: a bank is in a bank group, in a rank."""
    scope, *rest = key
    around = SCOPES[: SCOPES.index(scope) + 1] if not key[4] else (scope,)
    return max(waits.get((each, *rest), 0) for each in around)


REFERENCE = {
    "ddr4-3200-8gb-x8": "r2_ddr4_3200_refab",
    "ddr4-3200-8gb-x8-2r": "r2_ddr4_3200_2rank_chrabaroco_refab",
    "ddr5-4800-16gb-x8": "r2_ddr5_4800_refab",
    "lpddr5-6400-16gb-x16": "r2_lpddr5_6400_refpb",
}


def other_rank(first, then):
    return {("rank", a, b, 1, True) for a in (first, f"{first}A") for b in (then, f"{then}A")}


def why(family, key):
    """The reason of a difference that is known, or None."""
    scope, first, then, window, sibling = key
    del window
    if key in other_rank("RD", "WR"):
        return "theirs lets the bursts of two ranks overlap: no latencies in it"
    if key in other_rank("WR", "WR"):
        return "theirs has no idle clock between the writes of two ranks"
    if key in other_rank("WR", "RD"):
        return "at least 1, which one command a clock gives anyway; LPDDR5: theirs is longer than needed"
    if (first, then) == ("REFAB", "REFAB"):
        return "theirs lacks it: its controller has no second refresh so soon"
    if family == "lpddr5" and then in ("REFPB", "REFAB") and first in ("RDA", "WRA", "PREA"):
        return "theirs lacks it or waits for one bank"
    if family == "lpddr5" and (first, then) == ("REFAB", "REFPB") and scope == "rank" and not sibling:
        return "theirs gives it per bank"
    return None


@pytest.mark.parametrize("name", REFERENCE)
def test_our_rules_are_those_of_the_reference_file(name):
    spec = part(name, DramSpec)
    config = read_config(DRAM / "configs" / f"{REFERENCE[name]}.json")
    ours, theirs = gathered(rules_of(spec)), gathered(config.rules)
    keys = ours.keys() | theirs.keys()
    different = {key for key in keys if effective(ours, key) != effective(theirs, key)}
    unexplained = {key: (ours.get(key), theirs.get(key)) for key in different if not why(spec.family, key)}
    assert unexplained == {}
    assert len(ours.keys() & theirs.keys()) > 30


@pytest.mark.parametrize("name", REFERENCE)
def test_our_clocks_are_those_of_the_reference_file(name):
    spec = part(name, DramSpec)
    config = read_config(DRAM / "configs" / f"{REFERENCE[name]}.json")
    described = config.part
    assert described.geometry == spec.geometry
    assert described.density_gbit == spec.density_gbit
    assert described.tck_fs == spec.tck_fs
    ours, theirs = Clocks(spec).as_dict(), Clocks(described).as_dict()
    assert {key: (ours.get(key), value) for key, value in theirs.items() if ours.get(key) != value} == {}


def spacing(spec, table, relation, first, then):
    """Clocks from `first` to the earliest `then` on an idle device."""
    g = spec.geometry
    bank, rank = {
        "same_bank": (0, 0),
        "other_bank_same_bankgroup": (1, 0),
        "other_bankgroup": (1, 0),  # LPDDR4 has none
        "other_rank": (g.banks, 1),
        "same_rank": (0, 0),
    }[relation]
    cfg = configure(spec, Controller(refresh="none"))
    channel = e.make_channels(1, cfg, table.first, table.rows, table.rings)
    e.issue(channel, 0, 0, CODE[first], 0, -1 if first == "REFAB" else 0, -1, -1)
    return max(1, int(e.earliest(channel, 0, CODE[then], rank, -1 if then == "REFAB" else bank)))


def test_lpddr4_against_the_spacings_of_another_simulator():
    device = {"RCD": 15, "RPpb": 15, "RPab": 15, "RAS": 32, "RRD": 8, "FAW": 32, "RTP": 12, "WR": 30,
              "WTR": 16, "DQSCK": 0, "REFI": 8660, "REFIpb": 1083, "RFCab": 392, "RFCpb": 196}  # fmt: skip
    spec = replace(
        part("lpddr4-3200-8gb-x16-2r", DramSpec),
        data_rate_mtps=2410,
        tck_fs=830_000,
        timings={name: AtLeast(ck=value) for name, value in device.items()},
        latencies_ck={"RL": 17, "WL": 14, "CCD": 8, "PPD": 2, "DQSS": 0, "WPRE": 1, "RPST": 0, "CS": 1},
    )
    table: RuleTable = compile_rules(lpddr4_waits(Clocks(spec)))
    compared = 0
    text = (LPDDR4 / "d3_lpddr4_2400_spacings.csv").read_text()
    for line in csv.DictReader(text.splitlines()):
        relation, first, then, theirs = line["relation"], line["first"], line["then"], int(line["cycles"])
        if "SREF" in first + then or "REFPB" in first + then:
            continue  # self refresh is left out, and its per-bank refresh is wrong
        ours = spacing(spec, table, relation, first, then)
        compared += 1
        expected = theirs
        if relation == "other_rank" and (first[:2], then[:2]) == ("WR", "WR"):
            expected += 1  # an idle clock between two ranks
        if relation == "other_bankgroup" and (first[:2], then[:2]) == ("WR", "RD"):
            expected += 8  # tWTR is 16 whatever the bank
        if (relation, first, then) == ("same_bank", "RDA", "ACT"):
            expected -= 8  # the burst is within tRTP
        assert ours == expected, line
    assert compared == 76


@pytest.mark.parametrize("kind", ["serial_pingpong", "sat_randmix"])
def test_lpddr4_accepts_the_log_of_another_simulator(kind):
    spec = part("lpddr4-3200-8gb-x16", DramSpec)
    log = pd.read_csv(LPDDR4 / f"ds_lpddr4_3200_refpb_{kind}.csv.gz")
    found = audit(log, spec)
    assert found.empty, found.head().to_string()
    if kind == "serial_pingpong":  # each ACT, RD and REFPB at its first clock, so one earlier is too early
        early = log.copy()
        moved = (log["command"] == "RD") & (log.index % 30 < 4)
        early.loc[moved, "cycle"] -= 1
        rules = audit(early, spec)["rule"].str.split(":").str[0]
        assert set(rules) == {"tRCD"}
        assert (rules == "tRCD").sum() == moved.sum()


LOGS = sorted((DRAM / "commands").glob("*/*.csv.gz"))


@pytest.mark.parametrize("path", LOGS, ids=lambda path: f"{path.parent.name}-{path.name.split('.')[0]}")
def test_the_logs_of_the_reference_are_legal(path):
    """All of them but for the defects that the README of the reference names."""
    config = read_config(DRAM / "configs" / f"{path.parent.name}.json")
    found = audit(pd.read_csv(path), config.part)
    told = Counter(found["rule"].str.split(":").str[0])
    known = set()
    if config.geometry.ranks > 1:
        known = {"data bus"}
    elif config.controller.refresh == "all_bank" and config.standard == "LPDDR5":
        known = {"tRPab"}  # PREA to REFAB waits for one bank
    assert set(told) <= known, found.head().to_string()


def test_commands_that_a_family_lacks():
    spec = part("ddr4-3200-8gb-x8", DramSpec)
    columns = ["clock", "command", "rank", "bankgroup", "bank", "row", "column"]
    with pytest.raises(SpecError, match="row 0: REFPB: ddr4-3200-8gb-x8 has no such command"):
        audit(pd.DataFrame([(0, "REFPB", 0, 0, 0, -1, -1)], columns=columns), spec)
    with pytest.raises(SpecError, match="row 0: ACT1: ddr4-3200-8gb-x8 activates by ACT"):
        audit(pd.DataFrame([(0, "ACT1", 0, 0, 0, 5, -1)], columns=columns), spec)
    assert set(COMMANDS) > {"REFPB", "ACT1"}
