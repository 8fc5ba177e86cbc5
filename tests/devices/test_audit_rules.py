"""The auditor against the rules of every part, rule by rule.

For each pair of commands and each relation of their banks the shortest legal log is built from the rules as
they are written, by the plain evaluator below. The auditor must accept it, and must report the later command
when it comes one clock earlier. A rule either binds in one of these logs or is outdone in all of them by
another rule or by what has to come in between; each is counted and the outdone ones are named.
"""

from collections import defaultdict
from dataclasses import dataclass, replace
from itertools import product

import pandas as pd
import pytest

from pimsim.devices import DramSpec, PimSpec, part, parts
from pimsim.devices.dram.audit import audit
from pimsim.devices.rules import FAMILIES, PSEUDO_CHANNELS, rules_of
from pimsim.devices.spec import AtLeast

PARTS = [name for name, value in parts().items() if isinstance(value, DramSpec)]
PLAIN = ("ACT1", "PRE", "PREA", "RD", "WR", "RDA", "WRA", "REFAB", "REFPB", "REFSB")
ALL_BANK = ("ACTAB", "MACAB", "WRREG", "RDRES", "MODE")
DATA = ("RD", "WR", "RDA", "WRA")
WHOLE_RANK = ("PREA", "REFAB", "ACTAB", "MACAB", "WRREG", "MODE")
PRECHARGES = ("PRE", "PREA")
LIKES = 1000  # n * LIKES + k stands for bank k of every bank group, of n banks each
ROW = 5


@dataclass(frozen=True)
class Event:
    clock: int
    command: str
    rank: int
    bank: int  # within the rank; -1: all of them; see LIKES


class Device:
    """The rules of a part with two ranks, without its data clock and second halves of activates."""

    def __init__(self, spec, pim=None):
        latencies = {name: ck for name, ck in spec.latencies_ck.items() if name not in ("AAD", "WCKPST")}
        buses = 2 if spec.family in PSEUDO_CHANNELS else 1
        geometry = replace(spec.geometry, ranks=2, data_buses=buses)
        self.spec, self.pim = replace(spec, latencies_ck=latencies, geometry=geometry), pim
        self.g = geometry
        self.rules = rules_of(self.spec, pim)
        self.by_pair = defaultdict(list)
        for rule in self.rules:
            for after, before in product(rule.after, rule.before):
                self.by_pair[after, before].append(rule)
        per_level, per_group = self.g.bank_groups // self.g.sids, self.g.banks_per_group
        self.places = {
            "same_bank": (0, 0),
            "same_group": (0, 1),
            **({"other_group": (0, per_group)} if per_level > 1 else {}),
            **({"other_sid": (0, per_level * per_group)} if self.g.sids > 1 else {}),
            "other_rank": (1, 0),
        }
        self.two_buses = spec.family in ("hbm2", "hbm3")
        self.half_clocks = spec.family == "hbm3"
        absent = [c for c, timing in (("REFPB", "RFCpb"), ("REFSB", "RFCsb")) if timing not in spec.timings]
        self.commands = [c for c in PLAIN if c not in absent] + list(ALL_BANK if pim else ())
        self.long = max(rule.wait for rule in self.rules) + 50

    def same(self, scope, a, b):
        """Whether two places (rank, bank) lie in one node of a scope; a bank of -1 touches every node."""
        if scope == "channel":
            return True
        if a[0] != b[0]:
            return False
        if scope == "rank":
            return True
        per_group, sids = self.g.banks_per_group, self.g.sids
        size = {"sid": self.g.banks // sids, "bankgroup": per_group, "bank": 1}[scope]
        nodes = [{bank // size for bank in self.touched(place[1])} for place in (a, b)]
        return b[1] >= 0 and bool(nodes[0] & nodes[1])

    def touched(self, bank):
        if bank >= LIKES:
            return range(bank % LIKES, self.g.banks, bank // LIKES)
        return range(self.g.banks) if bank < 0 else (bank,)

    def within(self, rule, a, b):
        if not rule.sibling:
            return self.same(rule.scope, a, b)
        if rule.scope == "rank":
            return a[0] != b[0]
        return a[0] == b[0] and min(a[1], b[1]) >= 0 and not self.same("sid", a, b)

    def first(self, events, command, place):
        """The first clock for a command after these."""
        clock = events[-1].clock if events else 0
        seen = {e.command for e in events}
        for name in seen:
            for rule in self.by_pair[name, command]:
                mine = [
                    e
                    for e in events
                    if e.command in rule.after and self.within(rule, (e.rank, e.bank), place)
                ]
                if len(mine) >= rule.window:
                    clock = max(clock, mine[-rule.window].clock + rule.wait)
        on_bus = [e for e in events if not self.two_buses or (e.command in DATA) == (command in DATA)]
        if on_bus:
            clock = max(clock, on_bus[-1].clock + 1)
        if self.half_clocks and clock % 2:
            rows = [e for e in events if e.command not in DATA and e.rank == place[0] and e.clock % 2 == 0]
            taken = 3 if rows and rows[-1].command == "ACT1" else 1
            blocked = rows and rows[-1].clock == clock - taken and (
                command == "PREA" or rows[-1].command in ("PREA", "REFAB") or rows[-1].bank == place[1]
            )  # fmt: skip
            clock += command not in PRECHARGES or bool(blocked)
        return clock


# States: banks that are open, ranks whose banks are all open, all-bank mode.
CLOSED = (frozenset(), frozenset(), False)


def after(state, command, place):
    """The state after a command, or None where it is not allowed (or does nothing)."""
    banks, ranks, mode = state
    rank = place[0]
    own = {each for each in banks if each[0] == rank}
    if command == "MODE":
        return banks, ranks, not mode
    if (mode and command in ("ACT1", *DATA)) or (
        not mode and command in ("ACTAB", "MACAB", "WRREG", "RDRES")
    ):
        return None
    if command == "ACT1":
        return None if place in banks or rank in ranks else (banks | {place}, ranks, mode)
    if command in DATA:
        left = banks - {place} if command.endswith("A") else banks
        return (left, ranks, mode) if place in banks else None
    if command == "PRE":
        return None if rank in ranks else (banks - {place}, ranks, mode)
    if command == "PREA":
        return banks - own, ranks - {rank}, mode
    if command == "REFPB":
        return None if place in banks or rank in ranks else state
    if command == "REFSB":
        per_group, first = divmod(place[1], LIKES)
        return None if any(bank % per_group == first for _, bank in own) or rank in ranks else state
    if command in ("REFAB", "ACTAB"):
        return (
            None if own or rank in ranks else (banks, ranks | ({rank} if command == "ACTAB" else set()), mode)
        )
    if command == "MACAB":
        return state if rank in ranks else None
    return state


def ways(device, state, allowed, moves):
    """The shortest sequences of moves to a state that is allowed."""
    reached = [(state, ())]
    seen = {state}
    while reached:
        there = [way for at, way in reached if allowed(at)]
        if there:
            return there
        further, new = [], set()
        for at, way in reached:
            for move in moves:
                to = after(at, *move)
                if to is not None and to not in seen and len(way) < 4:
                    further.append((to, (*way, move)))
                    new.add(to)
        seen |= new
        reached = further
    return []


def place_of(command, place, per_group):
    if command == "MODE":
        return (0, -1)
    if command == "REFSB":
        return (place[0], LIKES * per_group + place[1] % per_group)
    return (place[0], -1) if command in WHOLE_RANK else place


@dataclass(frozen=True)
class Case:
    """A shortest log: `first` at events[at], `then` last."""

    first: str
    then: str
    places: tuple
    events: tuple
    at: int

    @property
    def distance(self):
        return self.events[-1].clock - self.events[self.at].clock


def cases(device):
    """The shortest legal logs of each pair of commands and relation, after long pauses."""
    for (first, then), there in product(product(device.commands, repeat=2), device.places.values()):
        per_group = device.g.banks_per_group
        a, b = place_of(first, (0, 0), per_group), place_of(then, there, per_group)
        banks = sorted({(0, 0), there})
        moves = [(c, place) for c in ("ACT1", "PRE", "RDA", "WRA") for place in banks]
        moves += [("PREA", (rank, -1)) for rank in sorted({0, there[0]})]
        if device.pim:
            moves += [("MODE", (0, -1))] + [("ACTAB", (rank, -1)) for rank in sorted({0, there[0]})]

        def ready(state, first=first, a=a, then=then, b=b):
            mid = after(state, first, a)
            return mid is not None and after(mid, then, b) is not None

        starts, between = ways(device, CLOSED, ready, moves)[:1], None
        if not starts:
            starts = ways(device, CLOSED, lambda s, first=first, a=a: after(s, first, a) is not None, moves)[
                :1
            ]
            states = CLOSED
            for move in starts[0]:
                states = after(states, *move)
            mid = after(states, first, a)
            between = ways(device, mid, lambda s, then=then, b=b: after(s, then, b) is not None, moves)
        for way in between or [()]:
            events, clock = [], 0
            for move in starts[0]:
                events.append(Event(clock, move[0], *move[1]))
                clock += 2 * device.long
            events.append(Event(clock, first, *a))
            at = len(events) - 1
            for move in (*way, (then, b)):
                events.append(Event(device.first(events, *move), move[0], *move[1]))
            yield Case(first, then, (a, b), tuple(events), at)
    for rule in device.rules:
        if rule.window > 1:
            spread = [k * device.g.banks_per_group for k in range(device.g.bank_groups)]
            order = [bank + k for k in range(device.g.banks_per_group) for bank in spread]
            events = []
            for bank in order[: rule.window + 1]:
                events.append(Event(device.first(events, "ACT1", (0, bank)), "ACT1", 0, bank))
            yield Case("ACT1", "ACT1", ((0, order[0]), (0, order[rule.window])), tuple(events), 0)


def frame(device, listed, earlier):
    """The logs, one a channel; the last command of each `earlier` clocks before."""
    rows = []
    for channel, case in enumerate(listed):
        for k, event in enumerate(case.events):
            clock = event.clock - (earlier if k == len(case.events) - 1 else 0)
            group, bank = divmod(event.bank, device.g.banks_per_group) if event.bank >= 0 else (-1, -1)
            if event.bank >= LIKES:
                group, bank = -1, event.bank % LIKES
            name = "ACT" if event.command == "ACT1" else event.command
            row = ROW if event.command in ("ACT1", "ACTAB") else -1
            rows.append((clock, name, channel, event.rank, group, bank, row, -1))
    columns = ["clock", "command", "channel", "rank", "bankgroup", "bank", "row", "column"]
    return pd.DataFrame(rows, columns=columns)


def missed(device, listed, earlier):
    """The logs whose last command may come `earlier` clocks before, as the auditor sees it."""
    listed = [case for case in listed if case.events[-1].clock - case.events[-2].clock >= earlier]
    found = audit(frame(device, listed, earlier), device.spec, device.pim)
    late = found[found["command"] != "END"].groupby("channel")["wanted"].max()
    return [
        case
        for channel, case in enumerate(listed)
        if not case.events[-1].clock - earlier < late.get(channel, 0) <= case.events[-1].clock
    ]


def held(device):
    """Checks a device; returns the pairs of its rules that bind and those that are outdone.

    In whole clocks of two halves a wait of an odd number of halves binds one half later.
    """
    listed = list(cases(device))
    clean = audit(frame(device, listed, 0), device.spec, device.pim)
    assert clean.empty, clean.head().to_string()
    assert missed(device, listed, 1) == []
    if device.half_clocks:
        assert missed(device, [case for case in listed if case.then not in PRECHARGES], 2) == []
    binds, outdone = set(), {}
    for rule in device.rules:
        for first, then in product(rule.after, rule.before):
            if then not in device.commands:  # second halves of activates and starts of the data clock
                continue
            least = min(
                case.distance
                for case in listed
                if (case.first, case.then) == (first, then)
                and device.within(rule, *case.places)
                and (rule.window == 1 or len(case.events) == rule.window + 1)
            )
            key = (rule.scope, rule.sibling, rule.window, first, then)
            rounded = device.half_clocks and then not in PRECHARGES and rule.wait % 2
            if least == rule.wait + (1 if rounded else 0):
                binds.add(key)
            else:
                assert least > rule.wait, key
                outdone[key] = (rule.wait, least)
    return binds, {key: clocks for key, clocks in outdone.items() if key not in binds}


@pytest.mark.parametrize("name", PARTS)
def test_every_command_one_clock_early_is_reported(name):
    binds, outdone = held(Device(part(name, DramSpec)))
    assert len(binds) > 60
    assert len(binds) > len(outdone)


LARGER = {
    "CCD_S": ("CCD_L", "CCD_R"), "CCD_S_WR": ("CCD_L_WR",), "RRD_S": ("RRD_L",), "WTR_S": ("WTR_L",),
    "RPpb": ("RPab",), "BL": ("BL_L",), "RAS": ("RC",), "RFCpb": ("RFCab",), "RFCsb": ("RFC1",),
}  # fmt: skip
"""What a value of the same part is never longer than."""
NO_SPACING = ("REFI", "REFIpb", "REFIsb", "AAD", "WCKPST")


def stretched(spec, name):
    """The part with one value 40 clocks longer (and with it those that are never shorter)."""
    timings, latencies = dict(spec.timings), dict(spec.latencies_ck)
    for each in (name, *LARGER.get(name, ())):
        if each in timings:
            timings[each] = AtLeast(ck=timings[each].clocks(spec.tck_fs) + 40)
        elif each in latencies:
            latencies[each] += 40
    return replace(spec, timings=timings, latencies_ck=latencies)


@pytest.mark.parametrize(
    "name",
    [
        "ddr4-3200-8gb-x8",
        "ddr5-4800-16gb-x8",
        "gddr6-14000-8gb-x16",
        "hbm2-2000-8gb-x64",
        "hbm3-6400-16gb-x32",
        "lpddr4-3200-8gb-x16",
        "lpddr5-6400-16gb-x16",
    ],
)
def test_every_rule_binds_once_its_value_is_longer(name):
    """No rule is outdone for ever: each of them is the last to wait for in the part or in a variant of it."""
    spec = part(name, DramSpec)
    binds, outdone = held(Device(spec))
    for value in (*spec.timings, *spec.latencies_ck):
        if value not in NO_SPACING:
            binds |= held(Device(stretched(spec, value)))[0]
    assert {key: clocks for key, clocks in outdone.items() if key not in binds} == {}


def test_spacings_of_two_banks_of_a_group_bind():
    """Of DDR5 parts that give tCCD_M, tCCD_M_WR and tWTR_M; the values here are made up."""
    spec = part("ddr5-4800-16gb-x8", DramSpec)
    middle = replace(
        spec,
        latencies_ck=spec.latencies_ck | {"CCD_M": 10, "CCD_M_WR": 24},
        timings=spec.timings | {"WTR_M": AtLeast(ck=12)},
    )
    binds, _ = held(Device(middle))
    for scope, first, then in (
        ("bankgroup", "RD", "RD"),
        ("bankgroup", "WR", "WR"),
        ("bankgroup", "WR", "RD"),
    ):
        assert (scope, False, 1, first, then) in binds
        assert ("bank", False, 1, first, then) in binds


def test_every_family_is_stretched():
    (mark,) = (m for m in test_every_rule_binds_once_its_value_is_longer.pytestmark if m.args[0] == "name")
    assert {part(name, DramSpec).family for name in mark.args[1]} == set(FAMILIES)


def test_every_rule_of_a_pim_unit_binds():
    pim = replace(part("lpddr5x-pim-8533", PimSpec), mode_accesses=1)
    spec = part(pim.dram, DramSpec)
    binds, outdone = set(), {}
    for mode_ck in (1, 32):  # a mode change that takes long outdoes what else a command waits for
        more, left = held(Device(spec, replace(pim, mode_ck=mode_ck)))
        binds |= more
        outdone |= left
    for value in (*spec.timings, *spec.latencies_ck):
        if value not in (*NO_SPACING, "BL", "CS"):  # a mode change outlasts them on the data bus
            binds |= held(Device(stretched(spec, value), replace(pim, mode_ck=1)))[0]
    # The mode changes and the banks are closed between the first two, an activate lies between the others.
    mode = {("channel", False, 1, "ACTAB", then) for then in ("ACT1", "RD", "RDA", "WR", "WRA")}
    assert outdone.keys() - binds == mode | {("rank", False, 1, "REFAB", "MACAB")}
