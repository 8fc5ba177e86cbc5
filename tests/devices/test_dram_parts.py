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
from pimsim.devices.dram.audit import audit, audit_blocks
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


def distinct(names):
    """Those that differ in more than density: the first of each family, rate, counts of banks and ranks."""
    first = {}
    for name in names:
        spec = part(name, DramSpec)
        g = spec.geometry
        first.setdefault((spec.family, spec.data_rate_mtps, g.ranks, g.bank_groups, g.banks_per_group), name)
    return list(first.values())


PLAIN = distinct(name for name in PARTS if part(name, DramSpec).family != "lpddr5")


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
    held = spec.geometry.data_buses * spec.geometry.dq_bits / 8 * spec.data_rate_mtps * 1e6
    assert spec.peak_bytes_per_s == pytest.approx(held, rel=0.002)


def test_every_family_has_a_part():
    assert {part(name, DramSpec).family for name in PARTS} == set(FAMILIES)
    assert set(FAMILIES) <= set(NAMES)  # the auditor knows them all


def test_what_the_issue_lists_is_there():
    grades = {(part(name, DramSpec).family, part(name, DramSpec).data_rate_mtps) for name in PARTS}
    for family, rates in {
        "lpddr4": {3200},
        "lpddr5": {6400, 7467, 8533, 9600},
        "ddr4": {2666, 3200},
        "ddr5": {4800, 6400},
        "gddr6": {14000, 16000},
        "hbm2": {2000, 2400},
        "hbm3": {6400},
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


# By hand from the tables of the standards, ns / tCK rounded up: DDR4-3200 (0.625 ns) tRRD_S 5.3, tRRD_L 6.4
# and tFAW 30 ns for pages of 2 KB, tFAW 16 clocks for 512 B, tRFC1 260, 360 (the presets' value) and 550
# ns; DDR5-4800 (0.416 ns) tRFC1 195 and 410 ns, tFAW in clocks as in the presets; LPDDR4-3200 (0.625 ns)
# tRFCab 180 and 380, tRFCpb 90 and 190 ns; LPDDR5X-8533 (0.9375 ns) tRFCab 210 and 380 ns; HBM2 (1 ns,
# 0.833 ns) tRFC 260 and 350 ns.
@pytest.mark.parametrize(
    ("name", "banks", "rows", "row_bytes", "clocks"),
    [
        ("ddr4-3200-4gb-x8", 16, 2**15, 8192, {"RRD_S": 4, "RRD_L": 8, "FAW": 34, "RFC": 416}),
        ("ddr4-3200-16gb-x8", 16, 2**17, 8192, {"RRD_S": 4, "RRD_L": 8, "FAW": 34, "RFC": 880}),
        ("ddr4-3200-16gb-x4", 16, 2**18, 8192, {"RRD_S": 4, "RRD_L": 8, "FAW": 16, "RFC": 880}),
        ("ddr4-3200-8gb-x16", 8, 2**16, 8192, {"RRD_S": 9, "RRD_L": 11, "FAW": 48, "RFC": 576}),
        ("ddr5-4800-8gb-x8", 16, 2**16, 4096, {"FAW": 48, "RFC1": 469}),
        ("ddr5-4800-32gb-x4", 32, 2**17, 8192, {"FAW": 48, "RFC1": 986}),
        ("ddr5-4800-32gb-x16", 16, 2**17, 4096, {"FAW": 60, "RFC1": 986}),
        ("lpddr4-3200-4gb-x16", 8, 2**15, 2048, {"RFCab": 288, "RFCpb": 144}),
        ("lpddr4-3200-16gb-x16", 8, 2**17, 2048, {"RFCab": 608, "RFCpb": 304}),
        ("lpddr5x-8533-8gb-x16", 16, 2**15, 2048, {"RFCab": 224, "RFCpb": 128}),
        ("lpddr5x-8533-32gb-x16", 16, 2**17, 2048, {"RFCab": 406, "RFCpb": 203}),
        ("gddr6-14000-16gb-x16", 16, 2**14, 4096, {"RFCab": 211}),
        ("hbm2-2000-4gb-x64", 16, 2**15, 1024, {"RFCab": 260, "RFCpb": 160, "REFIpb": 122}),
        ("hbm2-2400-8gb-x64", 16, 2**16, 1024, {"RRD_S": 5, "FAW": 19, "RREFD": 10, "RFCab": 421}),
    ],
)
def test_densities_and_widths(name, banks, rows, row_bytes, clocks):
    spec = part(name, DramSpec)
    n, g = Clocks(spec), spec.geometry
    assert (g.banks, g.rows, g.row_bytes) == (banks, rows, row_bytes)
    assert {value: getattr(n, value) for value in clocks} == clocks


@pytest.mark.parametrize(
    ("name", "change", "message"),
    [
        (
            "ddr4-3200-8gb-x8",
            {"RRD_S": AtLeast(ck=9)},
            "tRRD_S is 9 clocks and tRRD_L 8; wanted tRRD_S no longer",
        ),
        ("hbm2-2000-8gb-x64", {"RAS": AtLeast(ck=60)}, "tRAS is 60 clocks and tRC 48"),
        ("lpddr5-6400-16gb-x16", {"REFI": AtLeast(ns=200)}, "tRFCab is 224 clocks and tREFI 160"),
        ("ddr5-4800-16gb-x8", {"RFCsb": AtLeast(ns=300)}, "tRFCsb is 722 clocks and tRFC1 710"),
    ],
)
def test_timings_that_contradict_each_other(name, change, message):
    spec = part(name, DramSpec)
    with pytest.raises(SpecError, match=f"{name}: {message}"):
        replace(spec, timings=spec.timings | change)


@pytest.mark.parametrize("name", ["ddr4-3200-8gb-x8", "ddr5-4800-16gb-x8"])
def test_a_family_without_per_bank_refresh_says_so(name):
    with pytest.raises(SpecError, match=f"{name}: family ddr. has no per-bank refresh"):
        build(part(name, DramSpec), Controller(refresh="per_bank"), 1)


def test_a_pim_unit_in_another_family_is_refused():
    with pytest.raises(SpecError, match="are modelled in parts of lpddr5, not in family 'ddr4'"):
        rules_of(part("ddr4-3200-8gb-x8", DramSpec), part("lpddr5x-pim-8533", PimSpec))


# Our own logs


@pytest.mark.parametrize("refresh", ["none", "all_bank", "per_bank"])
@pytest.mark.parametrize("name", PARTS)
def test_no_traffic_breaks_a_rule(name, refresh):
    if refresh == "per_bank" and name not in PER_BANK:
        return
    spec = part(name, DramSpec)
    for seed, window in ((0, 0), (1, 1), (2, 6)):
        controller = Controller(refresh=refresh, scheduler=("ready_first", "row_hit_guard")[seed % 2])
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
        e.put(channel, 0, clock, command, rank, bank, row, -1)
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
    # The waits of HBM3's reads for an activate end within a clock, the read comes with the next.
    for rule in ("tRPpb", "tCCD_L", "tRRD", "tRTW", *(() if spec.family == "hbm3" else ("tRCD",))):
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
    "hbm2-2000-8gb-x64": "r2_hbm2_2000_refab",
    "hbm3-6400-16gb-x32": "r2_hbm3_6400_refab",
}


def other_rank(first, then):
    return {("rank", a, b, 1, True) for a in (first, f"{first}A") for b in (then, f"{then}A")}


def why(family, key):
    """The reason of a difference that is known, or None."""
    scope, first, then, window, sibling = key
    del window
    if "REFSB" in (first, then):
        return "theirs has no same-bank refresh"
    if key in other_rank("RD", "WR"):
        return "theirs lets the bursts of two ranks overlap: no latencies in it"
    if key in other_rank("WR", "WR"):
        return "theirs has no idle clock between the writes of two ranks"
    if key in other_rank("WR", "RD"):
        return "at least 1, which one command a clock gives anyway; LPDDR5: theirs is longer than needed"
    if (first, then) == ("REFAB", "REFAB"):
        return "theirs lacks it: its controller has no second refresh so soon"
    if (first, then) == ("REFPB", "REFPB") and scope == "bank":
        return "theirs has that of two banks, or none"
    if family in ("hbm2", "hbm3") and then in ("REFPB", "REFAB") and first in ("RDA", "WRA", "PREA"):
        return "theirs lacks it before REFPB"
    if family in ("hbm2", "hbm3") and first in ("REFPB", "REFAB") and then in ("REFPB", "REFAB"):
        return "theirs lacks it"
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
    assert described.tck_fs == spec.tck_fs - spec.tck_fs % 1000  # theirs are whole ps
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
    e.put(channel, 0, 0, CODE[first], 0, -1 if first == "REFAB" else 0, -1, -1)
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


def described(config):
    """The device of a reference configuration as a part; of DRAMsim3 by hand where it has none.

    It gives every command one clock of the bus, also LPDDR4's and the activates of HBM2, so that its clocks
    are those of the last clock of our commands.
    """
    if config.part is not None:
        return config.part
    n, g = config.timings, config.geometry
    like, names, latencies = {
        "HBM2 (legacy channel, no pseudo channels)": (
            "hbm2-2000-8gb-x64",
            {"RCDRD": "tRCDRD", "RCDWR": "tRCDWR", "RP": "tRP", "RRD_S": "tRRD_S", "RRD_L": "tRRD_L",
             "WTR_S": "tWTR_S", "WTR_L": "tWTR_L", "RFCab": "tRFC"},
            {"CCD_S": "tCCD_S", "CCD_L": "tCCD_L"},
        ),
        "LPDDR4": (
            "lpddr4-3200-8gb-x16",
            {"RCD": "tRCD", "RPpb": "tRP", "RPab": "tRP", "RRD": "tRRD_S", "WTR": "tWTR_S", "RFCab": "tRFC"},
            {"PPD": "tPPD"},
        ),
    }[config.standard]  # fmt: skip
    spec = part(like, DramSpec)
    clocks = {ours: n[theirs] for ours, theirs in names.items()}
    clocks |= {"RAS": n["tRAS"], "FAW": n["tFAW"], "WR": n["tWR"], "REFI": n["tREFI"]}
    clocks |= {"RTP": n.get("tRTP", 5), "RC": n["tRAS"] + n["tRP"], "DQSCK": 0}
    timings = spec.timings | {name: AtLeast(ck=clocks[name]) for name in spec.timings.keys() & clocks.keys()}
    latencies = {ours: n[theirs] for ours, theirs in latencies.items()} | {"RL": n["CL"], "WL": n["CWL"]}
    if spec.family == "lpddr4":
        latencies |= {"DQSS": 0, "WPRE": 1, "RPST": 0}
    return replace(
        spec,
        name=config.id,
        density_gbit=g.rank_bytes * 8 // 2**30,
        data_rate_mtps=config.data_rate_mtps,
        tck_fs=config.cycle_ps * 1000,
        geometry=g,
        timings=timings,
        latencies_ck=spec.latencies_ck | latencies,
    )


BUS_CK = {"hbm2": {"ACT": 2}, "lpddr4": dict.fromkeys(("ACT", "RD", "WR", "RDA", "WRA"), 4)}
"""Clocks that commands take where DRAMsim3 has one for each; other commands: LPDDR4 2, HBM2 1."""


def on_our_clocks(log, family):
    """A log whose clocks are those of last clocks, in clocks of the first."""
    taken = log["command"].map(BUS_CK[family]).fillna(2 if family == "lpddr4" else 1).astype(int)
    log = log.assign(cycle=log["cycle"] + 4 - taken)
    return log.sort_values("cycle", kind="stable", ignore_index=True)


WHERE = WHOLE if WHOLE.is_dir() else DRAM
LOGS = sorted((WHERE / "commands").glob("*/*.csv.gz"))


@pytest.mark.parametrize("path", LOGS, ids=lambda path: f"{path.parent.name}-{path.name.split('.')[0]}")
def test_the_logs_of_the_reference_are_legal(path):
    """All of them but for the defects that the README of the reference names."""
    config = read_config(WHERE / "configs" / f"{path.parent.name}.json")
    spec, log, known = described(config), pd.read_csv(path), set()
    if config.part is None:
        log, known = on_our_clocks(log, spec.family), {"command bus"}
    found = audit(log, spec, data_clock=getattr(config.controller, "data_clock", "on_demand"))
    told = Counter(found["rule"].str.split(":").str[0])
    if config.model == "A" and config.geometry.ranks > 1 and not config.standard.startswith("HBM"):
        known = {"data bus"}  # their bursts may overlap
    elif config.controller.refresh == "all_bank" and config.standard == "LPDDR5":
        known = {"tRPab"}  # PREA to REFAB waits for one bank
    assert set(told) <= known, found[~found["rule"].str.startswith(tuple(known))].head().to_string()


def test_a_log_of_hbm3_names_its_stack_levels():
    spec = part("hbm3-6400-16gb-x32", DramSpec)
    columns = ["cycle", "command", "pseudochannel", "sid", "bankgroup", "bank", "row", "column"]

    def log(*rows):
        return pd.DataFrame(rows, columns=columns)

    opened = (0, "ACT", 0, 0, 3, 1, 7, None), (8, "ACT", 0, 1, 0, 2, 7, None)
    # By hand: tRCDRD 62 half clocks from the last of three of the activate to the last of two of the read.
    assert audit(log(*opened, (64, "RD", 0, 0, 3, 1, 7, 0), (72, "RD", 0, 1, 0, 2, 7, 0)), spec).empty
    early = audit(log(*opened, (62, "RD", 0, 0, 3, 1, 7, 0), (72, "RD", 0, 1, 0, 2, 7, 0)), spec)
    assert early[["rule", "wanted"]].to_numpy().tolist() == [["tRCDRD: ACT at 0 to RD", 63]]
    # Reads of two stack levels are 6 half clocks apart, as tCCD_R says; of one level in two groups 4.
    apart = audit(log(*opened, (72, "RD", 0, 0, 3, 1, 7, 0), (76, "RD", 0, 1, 0, 2, 7, 0)), spec)
    assert apart["rule"].tolist() == ["tCCD_R: RD at 72 to RD"]
    # Reads begin in the first half of a clock.
    half = audit(log(*opened, (65, "RD", 0, 0, 3, 1, 7, 0)), spec)
    assert half[["rule", "wanted"]].to_numpy().tolist() == [
        ["half clock: RD in the second half of a clock", 66]
    ]
    # Our own logs count the groups over the levels: group 4 is the first of level 1.
    flat = log(*opened).assign(bankgroup=[3, 4]).drop(columns="sid")
    assert audit(flat, spec).empty
    for field, at, value, message in (
        ("sid", 1, 2, "row 1: sid 2; hbm3-6400-16gb-x32 has 2"),
        ("bankgroup", 1, 4, "row 1: bankgroup 4; hbm3-6400-16gb-x32 has 4"),
        ("sid", 0, None, "row 0: a bankgroup without a sid"),
    ):
        wrong = log(*opened)
        wrong.loc[at, field] = value
        with pytest.raises(SpecError, match=message):
            audit(wrong, spec)


@pytest.mark.parametrize(
    ("name", "burst_ps"), [("r2_hbm2_2000_refab", 2 * 1000), ("r2_hbm3_6400_refab", 4 * 312)]
)
def test_a_reference_configuration_of_hbm_as_one_of_our_parts(name, burst_ps):
    config = read_config(DRAM / "configs" / f"{name}.json")
    np.testing.assert_array_equal(configure(config.part, config.controller), config.cfg)
    # Two pseudo channels, each with bursts of 32 bytes right behind each other.
    assert config.part.peak_bytes_per_s == pytest.approx(2 * 32 / (burst_ps * 1e-12))


@pytest.mark.parametrize(
    ("name", "change", "message"),
    [
        ("hbm2-2000-8gb-x64", {"data_buses": 1}, "data_buses=1 but family 'hbm2' has 2 for ranks=2"),
        ("ddr4-3200-8gb-x8-2r", {"data_buses": 2}, "data_buses=2 but family 'ddr4' has 1 for ranks=2"),
        ("hbm2-2000-8gb-x64", {"sids": 2}, "sids=2 but family 'hbm2' has no rules of stack levels"),
        ("hbm3-6400-16gb-x32", {"sids": 3}, "bank_groups=8 are no multiple of sids=3"),
        ("hbm3-6400-16gb-x32", {"data_buses": 3}, "data_buses=3; wanted 1 or one a rank"),
    ],
)
def test_buses_and_stack_levels_that_a_family_lacks(name, change, message):
    spec = part(name, DramSpec)
    with pytest.raises(SpecError, match=f"{name}: geometry.{message}"):
        rules_of(replace(spec, geometry=replace(spec.geometry, **change)))


def test_a_log_in_blocks_is_audited_as_a_whole():
    spec = part("lpddr5-6400-16gb-x16", DramSpec)
    log = run(spec, Controller(refresh="per_bank"), 1500).log
    log.loc[log.index % 97 == 50, "clock"] -= 1
    log = log.sort_values("clock", kind="stable", ignore_index=True)
    both = pd.concat([log, log.assign(channel=1)]).sort_values("clock", kind="stable", ignore_index=True)
    whole = audit(both, spec)
    assert len(whole) > 20
    for size in (1, 100, 4000):
        blocks = (both[k : k + size] for k in range(0, len(both) if size > 1 else 300, size))
        pd.testing.assert_frame_equal(
            audit_blocks(blocks, spec), whole if size > 1 else audit(both[:300], spec)
        )
    with pytest.raises(SpecError, match="clock 0 of channel 0 comes after clock 9"):
        audit_blocks((pd.DataFrame({**both.iloc[0], "clock": [c]}) for c in (9, 0)), spec)


def test_a_data_clock_that_always_runs_needs_no_cas():
    spec = part("lpddr5-6400-16gb-x16", DramSpec)
    log = run(spec, Controller(data_clock="always_on"), 600).log
    assert audit(log, spec, data_clock="always_on").empty
    assert audit(log, spec)["rule"].str.startswith("WCK").all()
    with pytest.raises(SpecError, match="data_clock='off'; wanted on_demand or always_on"):
        audit(log, spec, data_clock="off")


def test_commands_that_a_family_lacks():
    spec = part("ddr4-3200-8gb-x8", DramSpec)
    columns = ["clock", "command", "rank", "bankgroup", "bank", "row", "column"]
    with pytest.raises(SpecError, match="row 0: REFPB: ddr4-3200-8gb-x8 has no such command"):
        audit(pd.DataFrame([(0, "REFPB", 0, 0, 0, -1, -1)], columns=columns), spec)
    with pytest.raises(SpecError, match="row 0: ACT1: ddr4-3200-8gb-x8 activates by ACT"):
        audit(pd.DataFrame([(0, "ACT1", 0, 0, 0, 5, -1)], columns=columns), spec)
    assert set(COMMANDS) > {"REFPB", "ACT1"}
