"""Broken command logs are caught one clock too early and accepted on the clock.

Logs are written by hand. Clocks of the part under test (tCK 0.9375 ns) are its ns rounded up:
tRCD 18 ns 20, tRCD_WR 8 ns 9, tRPpb 18 ns 20, tRPab 21 ns 23, tRAS 42 ns 45, tRRD 3.75 ns 4, tFAW 15 ns 16,
tRBTP 7.5 ns 8, tWR 34 ns 37, tWTR_S 6.25 ns 7, tWTR_L 12 ns 13, tREFI 3906 ns 4167, tREFIpb 488 ns 521,
tRFCab 280 ns 299, tRFCpb 140 ns 150, pbR-to-pbR 90 ns 96, pbR-to-ACT 7.5 ns 8; and in clocks: RL 23, WL 12,
BL 2 (4 within a bank group), tCCD 2 or 4, tPPD 2, tAAD 8, 2 idle clocks between ranks, WCK 1 after a burst.
"""

import json
from dataclasses import replace
from pathlib import Path

import pandas as pd
import pytest

from pimsim.devices import DramSpec, PimSpec, part
from pimsim.devices.dram.audit import audit, audit_file
from pimsim.devices.dram.audit.walk import RULES
from pimsim.devices.spec import AtLeast, DramGeometry
from pimsim.errors import SpecError

SPEC = part("lpddr5x-8533-16gb-x16", DramSpec)
PIM = part("lpddr5x-pim-8533", PimSpec)  # mode 32 clocks, two accesses; MAC pipeline 16 clocks
QUICK = replace(PIM, mode_ck=1)  # lets other rules be the last to wait for

# Places: rank, bank group, bank. b shares a's bank group, c does not, x is in the other rank.
PLACES = {"a": (0, 0, 0), "b": (0, 0, 1), "c": (0, 1, 0), "d": (0, 2, 0), "e": (0, 3, 0), "x": (1, 0, 0)}
PLACES |= {"0": (0, -1, -1), "1": (1, -1, -1), "": (-1, -1, -1)}
ROW = 7
CAS = dict.fromkeys(("RD", "RDA", "MACAB", "RDRES"), "CAS_RD") | dict.fromkeys(
    ("WR", "WRA", "WRREG"), "CAS_WR"
)


def commands(text):
    """[(clock, command, place, row)] of `clock command place [row]; ...`."""
    out = []
    for line in text.split(";"):
        if line.strip():
            clock, name, *rest = line.split()
            place = rest[0] if rest else ""
            row = int(rest[1]) if len(rest) > 1 else ROW if name in ("ACT1", "ACTAB") else -1
            out.append((int(clock), name, place, row))
    return out


def frame(listed):
    rows = [(clock, name, 0, *PLACES[place], row, -1) for clock, name, place, row in listed]
    return pd.DataFrame(
        rows, columns=["clock", "command", "channel", "rank", "bankgroup", "bank", "row", "column"]
    )


def bare(text):
    """The log as it is written."""
    return frame(commands(text))


def log(text):
    """The log with the commands that only accompany others: ACT2 after ACT1, and a CAS before each access.

    ACT2 takes the first free clock; a CAS is left out where its clock is taken (the data clock runs then).
    """
    listed = commands(text)
    taken = {clock for clock, *_ in listed} | {clock + 1 for clock, name, *_ in listed if name == "ACTAB"}
    for clock, name, place, _ in list(listed):
        if name in CAS and clock - 1 not in taken:
            taken.add(clock - 1)
            listed.append((clock - 1, CAS[name], place, -1))
    for clock, name, place, row in list(listed):
        if name == "ACT1":
            free = next(k for k in range(clock + 1, clock + 9) if k not in taken)
            taken.add(free)
            listed.append((free, "ACT2", place, row))
    return frame(sorted(listed, key=lambda command: command[0]))


def two(a="a", b="b"):
    return f"0 ACT1 {a}; 4 ACT1 {b};"


P = "0 MODE; 32 MODE;"  # all-bank mode from clock 64
Q = "0 MODE; 1 MODE;"  # the same where a mode change takes one clock
OPEN_P = P + "64 ACTAB 0;"
# The rule, what happened before, the command, its earliest clock, and the PIM unit where it is not PIM.
CASES = [
    # One rank: the columns. tCCD_S 2, tCCD_L 4.
    ("tCCD_S", two("a", "c") + "40 RD a", "RD c", 42),
    ("tCCD_S", two("a", "c") + "40 RD a", "RDA c", 42),
    ("tCCD_S", two("a", "c") + "40 RDA a", "RD c", 42),
    ("tCCD_S", two("a", "c") + "40 WR a", "WR c", 42),
    ("tCCD_S", two("a", "c") + "40 WRA a", "WRA c", 42),
    ("tCCD_L", two() + "40 RD a", "RD b", 44),
    ("tCCD_L", two() + "40 RD a", "RD a", 44),
    ("tCCD_L", two() + "40 RDA a", "RDA b", 44),
    ("tCCD_L", two() + "40 WR a", "WR b", 44),
    ("tCCD_L", two() + "40 WRA a", "WR b", 44),
    # RL 23 + BL 2 + 2 - WL 12 = 15
    ("tRTW", two("a", "c") + "40 RD a", "WR c", 55),
    ("tRTW", two() + "40 RDA a", "WRA b", 55),
    # WL 12 + BL 2 + tWTR_S 7 = 21; WL 12 + BL 4 + tWTR_L 13 = 29
    ("tWTR_S", two("a", "c") + "40 WR a", "RD c", 61),
    ("tWTR_S", two("a", "c") + "40 WRA a", "RDA c", 61),
    ("tWTR_L", two() + "40 WR a", "RD b", 69),
    ("tWTR_L", two() + "40 WR a", "RD a", 69),
    ("tWTR_L", two() + "40 WRA a", "RDA b", 69),
    # One rank: the rows.
    ("tRRD", "0 ACT1 a", "ACT1 b", 4),
    ("tRRD", "0 ACT1 a", "ACT1 c", 4),
    ("tFAW", "0 ACT1 a; 4 ACT1 b; 8 ACT1 c; 12 ACT1 d", "ACT1 e", 16),
    ("tRC", "0 ACT1 a; 20 RDA a", "ACT1 a", 65),  # 45 + 20; the read alone would allow 20 + 2 + 8 + 20
    ("tRC", "0 ACT1 a; 20 RDA a", "REFAB 0", 65),
    ("tRC", "0 ACT1 a; 20 RDA a", "REFPB a", 65),
    ("tRBTP+tRPpb", "0 ACT1 a; 60 RDA a", "ACT1 a", 90),  # 60 + 2 + 8 + 20
    ("tRBTP+tRPpb", "0 ACT1 a; 60 RDA a", "REFAB 0", 90),
    ("tRBTP+tRPpb", "0 ACT1 a; 60 RDA a", "REFPB a", 90),
    ("tWR+tRPpb", "0 ACT1 a; 60 WRA a", "ACT1 a", 131),  # 60 + 12 + 2 + 37 + 20
    ("tWR+tRPpb", "0 ACT1 a; 60 WRA a", "REFAB 0", 131),
    ("tWR+tRPpb", "0 ACT1 a; 60 WRA a", "REFPB a", 131),
    ("tRCD", "0 ACT1 a", "RD a", 20),
    ("tRCD", "0 ACT1 a", "RDA a", 20),
    ("tRCD_WR", "0 ACT1 a", "WR a", 9),
    ("tRCD_WR", "0 ACT1 a", "WRA a", 9),
    ("tRAS", "0 ACT1 a", "PRE a", 45),
    ("tRAS", "0 ACT1 a", "PREA 0", 45),
    ("tRBTP", "0 ACT1 a; 60 RD a", "PRE a", 70),  # 60 + 2 + 8
    ("tRBTP", "0 ACT1 a; 60 RD a", "PREA 0", 70),
    ("tWR", "0 ACT1 a; 60 WR a", "PRE a", 111),  # 60 + 12 + 2 + 37
    ("tWR", "0 ACT1 a; 60 WR a", "PREA 0", 111),
    ("tRPpb", "0 ACT1 a; 60 PRE a", "ACT1 a", 80),
    ("tRPpb", "0 ACT1 a; 60 PRE a", "REFAB 0", 80),
    ("tRPpb", "0 ACT1 a; 60 PRE a", "REFPB a", 80),
    ("tRPab", "0 ACT1 a; 60 PREA 0", "ACT1 b", 83),
    ("tRPab", "0 ACT1 a; 60 PREA 0", "REFAB 0", 83),
    ("tRPab", "0 ACT1 a; 60 PREA 0", "REFPB b", 83),
    ("tPPD", two("a", "c") + "60 PRE a", "PRE c", 62),
    ("tPPD", two("a", "c") + "60 PRE a", "PREA 0", 62),
    ("tPPD", two("a", "c") + "60 PREA 0", "PRE c", 62),
    ("tPPD", two("a", "c") + "60 PREA 0", "PREA 0", 62),
    # Refresh.
    ("tRFCab", "0 REFAB 0", "ACT1 a", 299),
    ("tRFCab", "0 REFAB 0", "PREA 0", 299),
    ("tRFCab", "0 REFAB 0", "REFAB 0", 299),
    ("tRFCab", "0 REFAB 0", "REFPB a", 299),
    ("tRFCpb", "0 REFPB a", "ACT1 a", 150),
    ("tRFCpb", "0 REFPB a", "REFAB 0", 150),
    ("tRFCpb", "0 REFPB a", "REFPB a", 150),
    ("tPBR2PBR", "0 REFPB a", "REFPB b", 96),
    ("tPBR2ACT", "0 REFPB a", "ACT1 b", 8),
    # The channel: one command a clock, one burst (and 2 idle clocks) at a time.
    ("command bus", two("a", "c") + "60 RD a", "PRE c", 61),
    ("command bus", "0 ACT1 a; 60 PRE a", "ACT1 x", 61),
    ("command bus", OPEN_P, "REFPB x", 66),
    ("command bus", OPEN_P, "ACTAB 1", 66),
    ("data bus", two("a", "x") + "40 RD a", "RD x", 44),
    ("data bus", two("a", "x") + "40 RDA a", "RDA x", 44),
    ("data bus", two("a", "x") + "40 WR a", "WR x", 44),
    ("data bus", two("a", "x") + "40 RD a", "WR x", 55),  # data at 63 and 64, 2 idle clocks, 67 = 55 + 12
    ("data bus", OPEN_P + "66 ACTAB 1; 90 MACAB 0", "MACAB 1", 94),
    ("data bus", P + "90 RDRES a", "RDRES x", 94),
    ("data bus", P + "90 WRREG 0", "WRREG 1", 94),
    ("data bus", OPEN_P + "90 MACAB 0", "WRREG 1", 105),
    # All-bank commands keep the timing of ordinary rows and columns, for the whole rank.
    ("tRCD", OPEN_P, "MACAB 0", 84),
    ("tRAS", OPEN_P, "PREA 0", 109),
    ("tRCab", OPEN_P + "109 PREA 0", "ACTAB 0", 132),  # 64 + 45 + 23
    ("tRCab", OPEN_P + "109 PREA 0", "REFAB 0", 132),
    ("tRCab", Q + "64 ACTAB 0; 109 PREA 0; 110 MODE; 111 MODE", "ACT1 a", 132, QUICK),
    ("tRC", "0 ACT1 a; 20 RDA a; 45 MODE; 46 MODE", "ACTAB 0", 65, QUICK),
    ("tRBTP+tRPpb", "0 ACT1 a; 60 RDA a; 85 MODE; 86 MODE", "ACTAB 0", 90, QUICK),
    ("tWR+tRPpb", "0 ACT1 a; 60 WRA a; 89 MODE; 90 MODE", "ACTAB 0", 131, QUICK),
    ("tRPpb", "0 ACT1 a; 60 PRE a; 61 MODE; 62 MODE", "ACTAB 0", 80, QUICK),
    ("tRPab", OPEN_P + "120 PREA 0", "ACTAB 0", 143),
    ("tRFCab", Q + "2 REFAB 0", "ACTAB 0", 301, QUICK),
    ("tRFCab", Q + "2 REFAB 0", "WRREG 0", 301, QUICK),
    ("tRFCab", Q + "2 REFAB 0", "RDRES a", 301, QUICK),
    ("tRFCab", "0 REFAB 1", "MODE", 299),  # a switch concerns the units of both ranks
    ("tRFCpb", "0 REFPB a; 1 MODE; 2 MODE", "ACTAB 0", 150, QUICK),
    ("tRBTP", OPEN_P + "120 MACAB 0", "PREA 0", 130),  # 120 + 2 + 8
    ("tCCD_L", OPEN_P + "90 MACAB 0", "MACAB 0", 94),
    ("MAC pipeline", OPEN_P + "90 MACAB 0", "RDRES a", 106),
    ("tCCD_S", P + "90 RDRES a", "RDRES c", 92),
    ("tCCD_L", P + "90 RDRES a", "RDRES b", 94),
    ("tCCD_L", P + "90 RDRES a; 92 RDRES c", "RDRES a", 94),
    ("tCCD_L", OPEN_P + "90 RDRES a", "MACAB 0", 94),  # it reads in every bank group
    ("tCCD_L", P + "90 WRREG 0", "WRREG 0", 94),  # it writes in every bank group
    ("tRTW", OPEN_P + "90 MACAB 0", "WRREG 0", 105),
    ("tRTW", P + "90 RDRES a", "WRREG 0", 105),
    ("tWTR_L", OPEN_P + "90 WRREG 0", "MACAB 0", 119),
    ("tWTR_L", P + "90 WRREG 0", "RDRES a", 119),
    # Changing the mode: reads done after RL 23 + BL 2, writes after WL 12 + BL 4 + tWTR_L 13.
    ("reads done", "0 ACT1 a; 40 RD a", "MODE", 65),
    ("reads done", "0 ACT1 a; 40 RDA a", "MODE", 65),
    ("reads done", OPEN_P + "90 MACAB 0", "MODE", 115),
    ("reads done", P + "90 RDRES x", "MODE", 115),
    ("writes done", "0 ACT1 a; 40 WR a", "MODE", 69),
    ("writes done", "0 ACT1 a; 40 WRA a", "MODE", 69),
    ("writes done", P + "90 WRREG 1", "MODE", 119),
    ("mode_ck", "0 MODE", "MODE", 32),
    ("mode_ck", P, "ACTAB 0", 64),
    ("mode_ck", P, "WRREG 0", 64),
    ("mode_ck", P, "RDRES a", 64),
    *(("mode_ck", P, name, 64) for name in ("PRE a", "PREA 0", "REFAB 0", "REFPB a")),
    ("mode_ck", OPEN_P + "90 MODE; 122 MODE; 154 MODE; 186 MODE", "MACAB 0", 218),
    ("mode_ck", P + "64 MODE; 96 MODE", "ACT1 a", 128),
    *(
        ("mode_ck", "0 ACT1 a; 10 MODE; 42 MODE; 74 MODE; 106 MODE", f"{name} a", 138)
        for name in ("RD", "RDA", "WR", "WRA")
    ),
]


@pytest.mark.parametrize("case", CASES, ids=lambda case: f"{case[0]}: {case[1]} -> {case[2]}")
def test_one_clock_early_is_caught_and_the_clock_itself_is_legal(case):
    rule, before, then, legal, pim = (*case, PIM)[:5]
    name, _, place = then.partition(" ")
    assert audit(log(f"{before}; {legal} {then}"), SPEC, pim).empty

    found = audit(log(f"{before}; {legal - 1} {then}"), SPEC, pim)
    mine = found[found["rule"].str.startswith(f"{rule}: ")]
    assert len(mine) == 1, found.to_string()
    row = mine.iloc[0]
    assert (row["clock"], row["command"], row["wanted"], row["slack"]) == (legal - 1, name, legal, -1)
    assert (row["rank"], row["bankgroup"], row["bank"]) == PLACES[place]
    assert (found["wanted"] <= legal).all()


def test_every_spacing_has_a_case():
    spacings = {rule.split(":")[0] for rule in RULES if "{before}" in rule}
    others = {
        "tRRD_L",
        "tRRD to REFPB",
        "tCCD_R",
        "half clock",
        "tCCD_M",
        "tWTR_M",
    }  # of other families: test_audit_rules.py
    assert spacings - others == {case[0] for case in CASES}


def test_the_rule_is_told_in_words():
    found = audit(log("120 ACT1 a; 139 RD a"), SPEC)
    assert found["rule"].tolist() == ["tRCD: ACT1 at 120 to RD"]
    assert found.columns.tolist() == [
        "clock", "command", "channel", "rank", "bankgroup", "bank", "rule", "wanted", "slack",
    ]  # fmt: skip


def test_other_ranks_and_banks_do_not_wait():
    # Right behind each other: activates in both ranks, a precharge beside reads, refreshes of both ranks.
    assert audit(
        log("0 ACT1 a; 2 ACT1 x; 60 RD a; 64 RD x; 74 PRE a; 75 PRE x; 94 REFAB 0; 95 REFAB 1"), SPEC
    ).empty


def test_four_activates_where_that_binds():
    # 30 ns are 32 clocks: the fifth activate waits for the first, the sixth for the second.
    spec = replace(SPEC, timings=SPEC.timings | {"FAW": AtLeast(ns=30)})
    first = "0 ACT1 a; 10 ACT1 b; 14 ACT1 c; 18 ACT1 d;"
    assert audit(log(first + "32 ACT1 e; 42 ACT1 x"), spec).empty
    assert audit(log(first + "31 ACT1 e"), spec)["rule"].tolist() == ["tFAW: ACT1 at 0 to ACT1"]
    assert audit(log(first + "31 ACT1 x"), spec).empty


def test_one_burst_at_a_time_even_if_tccd_allowed_more():
    spec = replace(SPEC, latencies_ck=SPEC.latencies_ck | {"CCD_S": 1})
    assert audit(log(two("a", "c") + "40 RD a; 42 RD c"), spec).empty
    assert audit(log(two("a", "c") + "40 RD a; 41 RD c"), spec)["rule"].tolist() == [
        "data bus: RD at 40 to RD"
    ]


@pytest.mark.parametrize(("clock", "legal"), [(42, True), (47, True), (48, False), (54, False), (55, True)])
def test_a_write_of_the_other_rank_may_pass_before_the_data_of_a_read(clock, legal):
    # The read at 40 has the bus at 63 and 64; the write has it from clock + 12 for 2 clocks, 2 apart from it.
    found = audit(log(f"{two('a', 'x')} 40 RD a; {clock} WR x"), SPEC)
    assert found["rule"].tolist() == ([] if legal else ["data bus: RD at 40 to WR"])
    assert found["wanted"].tolist() == ([] if legal else [55])


def test_second_half_of_an_activate():
    assert audit(bare("0 ACT1 a; 8 ACT2 a"), SPEC).empty
    late = audit(bare("0 ACT1 a; 9 ACT2 a"), SPEC)
    assert late["rule"].tolist() == ["tAAD: ACT1 at 0 to ACT2"]
    assert late[["wanted", "slack"]].to_numpy().tolist() == [[8, 1]]
    never = audit(bare("0 ACT1 a; 70 REFPB x"), SPEC)
    assert never[["command", "bankgroup", "bank", "rule"]].to_numpy().tolist() == [
        ["END", 0, 0, "tAAD: ACT1 at 0 to ACT2"]
    ]


ACT = "0 ACT1 a; 1 ACT2 a;"
WCK = "WCK: {} without its CAS in the clock before, data clock off since {}"
STATES = [
    ("state: ACT1 to an open bank (row 7)", ACT + "70 ACT1 a; 71 ACT2 a"),
    ("state: RD to a closed bank", "9 CAS_RD a; 10 RD a"),
    ("state: WR to a closed bank", ACT + "60 PRE a; 61 CAS_WR a; 62 WR a"),
    ("state: RD to a closed bank", ACT + "60 PREA 0; 61 CAS_RD a; 62 RD a"),
    ("state: RD to a closed bank", ACT + "59 CAS_RD a; 60 RDA a; 64 RD a"),
    ("state: WRA to another row than the open row 7", ACT + "60 CAS_WR a; 61 WRA a 8"),
    ("state: RD before ACT2 (ACT1 at 0)", "0 ACT1 a; 20 CAS_RD a; 21 RD a"),
    ("state: PRE before ACT2 (ACT1 at 0)", "0 ACT1 a; 50 PRE a"),
    ("state: ACT2 without ACT1", "0 ACT2 a"),
    ("state: ACT2 without ACT1", ACT + "2 ACT2 a"),
    ("state: REFAB while bank 0 of the rank is open", ACT + "70 REFAB 0"),
    ("state: REFPB to an open bank (row 7)", ACT + "70 REFPB a"),
    ("state: ACTAB while bank 0 of the rank is open", ACT + "2 MODE; 34 MODE; 70 ACTAB 0"),
    ("state: ACTAB while all banks hold row 7", OPEN_P + "132 ACTAB 0"),
    ("state: REFAB while all banks hold row 7", OPEN_P + "132 REFAB 0"),
    ("state: REFPB while all banks hold row 7", OPEN_P + "132 REFPB a"),
    ("state: PRE while all banks hold row 7", OPEN_P + "132 PRE a"),
    ("state: MACAB without a row open in all banks", P + "99 CAS_RD 0; 100 MACAB 0"),
    ("state: MACAB without a row open in all banks", OPEN_P + "109 PREA 0; 119 CAS_RD 0; 120 MACAB 0"),
    ("state: MACAB to another row than the open row 7", OPEN_P + "99 CAS_RD 0; 100 MACAB 0 8"),
    ("state: ACT1 in all-bank mode", P + "64 ACT1 a; 65 ACT2 a"),
    *(
        (f"state: {name} in all-bank mode", ACT + f"10 MODE; 42 MODE; 99 {CAS[name]} a; 100 {name} a")
        for name in ("RD", "RDA", "WR", "WRA")
    ),
    ("state: ACTAB outside all-bank mode", "0 ACTAB 0"),
    ("state: WRREG outside all-bank mode", "0 CAS_WR 0; 1 WRREG 0"),
    ("state: RDRES outside all-bank mode", P + "64 MODE; 96 MODE; 200 CAS_RD 0; 201 RDRES a"),
    ("state: MACAB outside all-bank mode", OPEN_P + "70 MODE; 102 MODE; 200 CAS_RD 0; 201 MACAB 0"),
    ("state: WRREG between the MODE commands of one switch (last at 0)", "0 MODE; 99 CAS_WR 0; 100 WRREG 0"),
    (
        "state: ACT1 between the MODE commands of one switch (last at 0)",
        "0 MODE; 99 ACT1 a; 100 ACT2 a; 101 MODE",
    ),
    (WCK.format("RD", 0), ACT + "20 RD a"),
    (WCK.format("RD", 0), ACT + "19 CAS_WR a; 20 RD a"),
    (WCK.format("WR", 0), ACT + "19 CAS_RD a; 20 WR a"),
    (WCK.format("RD", 0), ACT + "18 CAS_RD a; 20 RD a"),
    (WCK.format("RD", 0), ACT + "19 CAS_RD 1; 20 RD a"),
    (WCK.format("RD", 66), ACT + "39 CAS_RD a; 40 RD a; 66 RD a"),  # 40 + 23 + 2 + 1
    (WCK.format("RD", 55), ACT + "39 CAS_WR a; 40 WR a; 70 RD a"),  # 40 + 12 + 2 + 1
    (WCK.format("WR", 70), ACT + "39 CAS_RD a; 40 RD a; 55 WR a; 70 WR a"),  # 55 + 12 + 2 + 1
    (WCK.format("MACAB", 0), OPEN_P + "84 MACAB 0"),
    (WCK.format("RDRES", 0), P + "83 CAS_WR 0; 84 RDRES a"),
    (WCK.format("WRREG", 0), P + "83 CAS_RD 0; 84 WRREG 0"),
]


@pytest.mark.parametrize(("rule", "text"), STATES)
def test_a_command_in_the_wrong_state_is_caught(rule, text):
    found = audit(bare(text), SPEC, PIM)
    mine = found[found["command"] != "END"]
    assert mine["rule"].tolist().count(rule) == 1, found.to_string()
    assert mine.loc[mine["rule"] == rule, ["wanted", "slack"]].isna().all(axis=None)


@pytest.mark.parametrize(
    "text",
    [
        ACT + "39 CAS_RD a; 40 RD a; 65 RD a; 90 RD a",
        ACT + "39 CAS_WR a; 40 WR a; 54 WR a",
        ACT + "39 CAS_RD a; 40 RD a; 55 WR a; 69 WR a",
        ACT + "39 CAS_RD a; 40 RD a; 65 CAS_RD a; 66 RD a",
        ACT + "39 CAS_RD a; 40 RD a 7; 48 CAS_RD a",
        OPEN_P + "66 CAS_WR 0; 67 WRREG 0; 95 CAS_RD 0; 96 MACAB 0 7; 100 MACAB 0; 116 RDRES a; 118 RDRES c",
        # Refresh goes on in all-bank mode.
        P + "64 REFAB 0; 65 REFAB 1; 362 CAS_WR 0; 363 WRREG 0; 364 ACTAB 0",
        "0 MODE; 32 REFAB 0; 331 MODE; 363 ACTAB 0",  # 32 + 299 + 32
    ],
)
def test_legal_logs_are_accepted(text):
    assert audit(bare(text), SPEC, PIM).empty


def test_a_mac_waits_for_the_refresh_that_should_not_have_been():
    # No row can be open in all banks during a refresh, so the wait shows only beside that mistake.
    for clock, early in ((378, [True]), (379, [])):
        found = audit(bare(OPEN_P + f"80 REFAB 0; {clock - 1} CAS_RD 0; {clock} MACAB 0"), SPEC, PIM)
        refresh = found[found["rule"] == "tRFCab: REFAB at 80 to MACAB"]  # 80 + 299
        assert (refresh["wanted"] == 379).tolist() == early


def test_a_part_without_a_data_clock_needs_no_cas():
    latencies = {k: v for k, v in SPEC.latencies_ck.items() if k != "WCKPST"}
    assert audit(bare(ACT + "20 RD a"), replace(SPEC, latencies_ck=latencies)).empty


def test_a_part_that_activates_in_one_command():
    latencies = {k: v for k, v in SPEC.latencies_ck.items() if k not in ("AAD", "WCKPST")}
    spec = replace(SPEC, latencies_ck=latencies)
    assert audit(bare("0 ACT a 7; 20 RD a; 28 RD a; 45 PRE a; 65 ACT a 8"), spec).empty
    assert audit(bare("0 ACT a 7; 19 RD a"), spec)["rule"].tolist() == ["tRCD: ACT at 0 to RD"]
    with pytest.raises(SpecError, match="row 0: ACT1: lpddr5x-8533-16gb-x16 activates by ACT"):
        audit(bare(ACT), spec)


def test_refresh_may_be_postponed_by_nine_intervals():
    # 9 x 4167 = 37503
    one = replace(SPEC, geometry=replace(SPEC.geometry, ranks=1))
    assert audit(bare("0 REFAB 0; 37503 REFAB 0; 75006 PREA 0"), one).empty
    late = audit(bare("0 REFAB 0; 37504 REFAB 0"), one)
    assert late[["clock", "command", "wanted", "slack"]].to_numpy().tolist() == [[37504, "REFAB", 37503, 1]]
    assert late["rule"].tolist() == ["tREFI: last whole refresh of the rank at 0"]
    end = audit(bare("0 REFAB 0; 37503 REFAB 0; 75007 PREA 0"), one)
    assert end[["clock", "command", "wanted", "slack"]].to_numpy().tolist() == [[75007, "END", 75006, 1]]


def test_every_rank_is_refreshed_if_one_is():
    found = audit(bare("0 REFAB 0; 37000 REFAB 0; 37504 PREA 0"), SPEC)
    assert found[["command", "rank"]].to_numpy().tolist() == [["END", 1]]
    assert audit(bare("0 PREA 0; 90000 PREA 0"), SPEC).empty  # refresh is off


def test_eight_per_bank_refreshes_are_one_of_the_rank():
    # The banks in turn, one each 520 clocks: a bank waits 16 x 520 at most. Then one bank alone, and slowly.
    one = replace(SPEC, geometry=replace(SPEC.geometry, ranks=1))
    banks = [(0, g, b) for g in range(4) for b in range(4)]

    def refreshes(step, n, among):
        rows = [(k * step, "REFPB", *among[k % len(among)], -1, -1) for k in range(n)]
        return pd.DataFrame(rows, columns=["clock", "command", "rank", "bankgroup", "bank", "row", "column"])

    assert audit(refreshes(520, 600, banks), one).empty
    # Sets of eight end each 8 x 4700 = 37600 clocks after the first (the first after 7): two wait too long.
    slow = audit(refreshes(4700, 24, banks), one)
    slow = slow[slow["rule"].str.startswith("tREFI:")]
    assert slow[["clock", "wanted"]].to_numpy().tolist() == [
        [15 * 4700, 7 * 4700 + 37503],
        [23 * 4700, 15 * 4700 + 37503],
    ]
    # Always the same bank: after 9 x 16 x 521 = 75024 clocks the others have waited too long.
    same = audit(refreshes(520, 150, banks[:1]), one)
    assert same["rule"].str.startswith("tREFIpb: ").sum() == 15
    assert set(same["command"]) == {"END"}
    assert set(same["wanted"]) == {75024}


def test_channels_are_apart_and_may_be_mixed_or_follow_each_other():
    one = log("0 ACT1 a; 40 RD a; 100 PRE a")
    both = pd.concat([one, one.assign(channel=3)], ignore_index=True)
    assert audit(both, SPEC).empty
    assert audit(both.sort_values("clock", kind="stable"), SPEC).empty
    early = audit(pd.concat([one, log("0 ACT1 a; 19 RD a").assign(channel=3)]), SPEC)
    assert early[["channel", "clock"]].to_numpy().tolist() == [[3, 19]]


def test_many_broken_rules_are_all_told():
    n = 5000
    rows = [(10 * k, "ACT2", 0, 0, 0, 0, -1) for k in range(n)]
    found = audit(
        pd.DataFrame(rows, columns=["clock", "command", "rank", "bankgroup", "bank", "row", "column"]), SPEC
    )
    assert found["clock"].tolist() == [10 * k for k in range(n)]


def test_an_empty_log_is_legal():
    assert audit(bare(""), SPEC).empty


HEADER = "clock,command,channel,rank,bankgroup,bank,row,column\n"


@pytest.mark.parametrize(
    ("text", "wanted"),
    [
        (HEADER + "0,PREA,0,0,,,,\n5,FOO,0,0,,,,\n", "line 3: no command named 'FOO'"),
        (HEADER + "0,REFABB,0,0,,,,\n", "line 2: no command named 'REFABB'; did you mean 'REFAB'?"),
        (HEADER + "0,PREA,0,0,,,,\n\n5,PREA,0,0,,,,\n", "line 3: no clock; wanted"),
        (HEADER + "9,PREA,0,0,,,,\n5,PREA,0,0,,,,\n", "line 3: clock 5 of channel 0 comes after clock 9"),
        (HEADER + "0,PREA,0,0,,,,\n1x,PREA,0,0,,,,\n", "line 3: clock '1x'; wanted a whole number"),
        (HEADER + "0.5,PREA,0,0,,,,\n", "line 2: clock '0.5'; wanted a whole number"),
        (HEADER + "-1,PREA,0,0,,,,\n", "line 2: clock '-1'; wanted a whole number"),
        (HEADER + "0,PREA,0,-2,,,,\n", "line 2: rank '-2'; wanted a whole number"),
        (HEADER + "0,PREA,0,2,,,,\n", "line 2: rank 2; lpddr5x-8533-16gb-x16 has 2, counted from 0"),
        (HEADER + "0,PRE,0,0,4,0,,\n", "line 2: bankgroup 4; lpddr5x-8533-16gb-x16 has 4"),
        (HEADER + "0,PRE,0,0,0,4,,\n", "line 2: bank 4; lpddr5x-8533-16gb-x16 has 4"),
        (HEADER + "0,ACT1,0,0,0,0,65536,\n", "line 2: row 65536; lpddr5x-8533-16gb-x16 has 65536"),
        (HEADER + "0,PREA,0,,,,,\n", "line 2: PREA without a rank"),
        (HEADER + "0,RD,0,0,0,,,\n", "line 2: RD without a bank"),
        (HEADER + "0,ACT1,0,0,0,0,,\n", "line 2: ACT1 without a row"),
        (HEADER + "0,ACT,0,0,0,0,5,\n", "line 2: ACT: lpddr5x-8533-16gb-x16 activates by ACT1 and ACT2"),
        (HEADER + "0,MODE,0,,,,,\n", "line 2: MODE is for a PIM unit"),
        (HEADER + "0,PREA,0,0,,,,,,\n", "line 2: has more fields"),
        (HEADER + "0,PREA,0,0,,,,\n0,PREA,0,0,,,,,,,\n", "line 3"),
        ("clock,command,rank,bank,row,column\n", "lacks bankgroup"),
        (HEADER.replace("row", "line"), "lacks row and has unknown line"),
        ("", "is no table"),
    ],
)
def test_errors_name_the_file_and_the_line(tmp_path, text, wanted):
    path = tmp_path / "log.csv"
    path.write_text(text, encoding="utf-8")
    with pytest.raises(SpecError) as error:
        audit_file(path, "lpddr5x-8533-16gb-x16")
    assert wanted in str(error.value)
    assert str(path) in str(error.value)


def test_errors_of_a_table_name_the_row():
    with pytest.raises(SpecError, match="log, row 1: no command named 'FOO'"):
        audit(bare("0 PREA 0; 1 FOO 0"), SPEC)


def test_files_that_cannot_be_read(tmp_path):
    with pytest.raises(SpecError, match=r"none\.csv: cannot be read"):
        audit_file(tmp_path / "none.csv", "lpddr5x-pim-8533")
    (tmp_path / "cut.csv.gz").write_bytes(b"\x1f\x8b\x08\x00")
    with pytest.raises(SpecError, match=r"cut\.csv\.gz: cannot be read"):
        audit_file(tmp_path / "cut.csv.gz", "lpddr5x-pim-8533")


def test_unknown_parts_and_families(tmp_path):
    with pytest.raises(SpecError, match="did you mean 'lpddr5x-pim-"):
        audit_file(tmp_path / "none.csv", "lpddr5x-pim")
    with pytest.raises(
        SpecError,
        match="family 'hbm2e' has no auditor; did you mean 'hbm2'.*known: lpddr5, lpddr4, ddr4, ddr5, gddr6",
    ):
        audit(bare(""), replace(SPEC, family="hbm2e"))


@pytest.mark.parametrize("suffix", [".csv", ".csv.gz"])
def test_a_file_is_audited_like_its_table(tmp_path, suffix):
    table = log(OPEN_P + "83 MACAB 0")
    path = tmp_path / f"log{suffix}"
    table.to_csv(path, index=False)
    pd.testing.assert_frame_equal(audit_file(path, "lpddr5x-pim-8533"), audit(table, SPEC, PIM))
    empty = table.replace(-1, None).rename(columns={"clock": "cycle"})
    empty.drop(columns="channel").to_csv(path, index=False)
    pd.testing.assert_frame_equal(audit_file(path, "lpddr5x-pim-8533"), audit(table, SPEC, PIM))


# Another simulator's logs: CMU-SAFARI/ramulator2 (version and settings in the configuration beside them).
REFERENCE = Path(__file__).parents[2].parent / "shared" / "reference" / "dram"
PEER_NAMES = {
    "RL": "nCL", "WL": "nCWL", "BL": "nBL_min", "BL_L": "nBL_max", "CCD_S": "nCCDS", "CCD_L": "nCCDL",
    "WR": "nWR", "WTR_S": "nWTRS", "WTR_L": "nWTRL", "RRD": "nRRDS", "FAW": "nFAW",
    "RCD": "nRCD", "RCD_WR": "nRCD", "RAS": "nRAS", "RPpb": "nRP", "RPab": "nRPab", "PPD": "nPPD",
    "RFCab": "nRFC", "RFCpb": "nRFCpb", "PBR2PBR": "nPBR2PBR", "PBR2ACT": "nPBR2ACT", "CS": "nCS",
    "WCKPST": "nWCKPST", "AAD": "nAAD", "REFI": "nREFI", "REFIpb": "nREFIpb",
}  # fmt: skip
PEER_LOGS = sorted(
    path
    for refresh in ("refab", "refpb", "noref")
    for path in REFERENCE.glob(f"commands/*_lpddr5_6400_{refresh}/*")
)


@pytest.fixture(scope="module")
def peer_spec():
    config = json.loads((REFERENCE / "configs" / "r2_lpddr5_6400_refab.json").read_text(encoding="utf-8"))
    clocks = config["timing_cycles"]
    return DramSpec(
        name="lpddr5-6400-peer",
        family="lpddr5",
        source=config["produced_by"],
        density_gbit=16,
        data_rate_mtps=6400,
        tck_fs=1_250_000,
        clock_ratio=8,
        geometry=DramGeometry(
            ranks=1, bank_groups=4, banks_per_group=4, rows=2**16, columns=2**10, dq_bits=16, burst_length=16
        ),
        timings={},
        latencies_ck={ours: clocks[theirs] for ours, theirs in PEER_NAMES.items()}
        | {"RBTP": clocks["nRTP"] - clocks["nBL_min"]},  # 8 clocks from the read are 2 of its burst and 6
    )


@pytest.mark.skipif(not PEER_LOGS, reason="the reference logs are not beside the repository")
@pytest.mark.parametrize("path", PEER_LOGS, ids=lambda path: f"{path.parent.name}/{path.name}")
def test_logs_of_another_simulator_are_legal(path, peer_spec):
    found = audit(pd.read_csv(path), peer_spec)
    # It waits tRPpb (15) where the standard asks for tRPab (17) between PREA and REFAB; nothing else differs.
    known = found["rule"].str.fullmatch(r"tRPab: PREA at \d+ to REFAB") & (found["slack"] == -2)
    assert found[~known].empty, found[~known].to_string()


@pytest.mark.skipif(not PEER_LOGS, reason="the reference logs are not beside the repository")
@pytest.mark.parametrize(
    "name", ["RL", "WL", "BL_L", "CCD_L", "RBTP", "WR", "WTR_L", "RRD", "RCD", "RAS", "RPpb", "RFCab"]
)
def test_logs_of_another_simulator_leave_no_clock_to_spare(name, peer_spec):
    # The peer issues at the first legal clock: one clock more on any value must be noticed somewhere.
    tighter = replace(
        peer_spec, latencies_ck=peer_spec.latencies_ck | {name: peer_spec.latencies_ck[name] + 1}
    )
    for path in PEER_LOGS:
        if "refab" in path.parent.name:
            found = audit(pd.read_csv(path), tighter)
            if not found["rule"].str.startswith("tRPab").all():
                return
    pytest.fail(f"no log notices {name} + 1")
