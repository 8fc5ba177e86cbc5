"""Command logs of our own scheduler, read by the independent auditor; and what the auditor would miss.

No traffic, however odd, may break a rule. And no rule may be kept by chance: every command that went out
at the first clock that the scheduler's table allows is too early for the auditor one clock before.
"""

from collections import Counter
from dataclasses import replace

import numpy as np
import pytest

from benchmarks import dram_legality as legality
from pimsim.devices import DramSpec, PimSpec, part
from pimsim.devices.dram import engine as e
from pimsim.devices.dram.audit import audit
from pimsim.devices.dram.audit.walk import RULES
from pimsim.devices.dram.channel import Controller, build, command_log, replay
from pimsim.devices.dram.controllers import CONTROLLERS
from pimsim.devices.dram.drive import G_BANK, G_COLUMN, G_COMMAND, G_FENCE, G_NUM, G_RANK, G_ROW
from pimsim.devices.dram.replay import replay_requests
from pimsim.devices.dram.stream import Bench, MemoryConfig, Phase, Stream
from pimsim.devices.pim.program import gemv
from pimsim.devices.rules import ACTAB, CODE, MACAB, MODE, PREA, RDRES, WRREG
from pimsim.devices.spec import AtLeast, Clocks
from pimsim.errors import SpecError
from pimsim.placement import AddressMapping, PimLayout

FAMILIES = (
    "ddr4-3200-8gb-x8-2r", "ddr5-4800-16gb-x8", "gddr6-14000-8gb-x16", "hbm2-2000-8gb-x64",
    "hbm3-6400-16gb-x32", "lpddr4-3200-8gb-x16-2r", "lpddr5-6400-16gb-x16-2r",
)  # fmt: skip
SPEC = part("lpddr5x-8533-16gb-x16", DramSpec)
PIM = part("lpddr5x-pim-8533", PimSpec)
BUSY = replace(SPEC, name="refreshed often", timings=SPEC.timings | {"REFIpb": AtLeast(ns=110)})
"""Per-bank refreshes of a rank fall due almost at once after each other, so that some have to wait."""
RUNNING = replace(
    SPEC,
    name="the data clock always runs, few activates",
    timings=SPEC.timings | {"FAW": AtLeast(ns=30)},
    latencies_ck={name: clocks for name, clocks in SPEC.latencies_ck.items() if name != "WCKPST"},
)
"""No CAS comes between a wait and its data command, and four activates take longer than four tRRD."""
LAYOUT = PimLayout(channels=2, ranks=2, banks=16, bank_groups=4)

# Patterns of requests: banks, rows, columns, share of writes, longest pause between arrivals, window.
PATTERNS = {
    "random": (32, 1 << 16, 64, 0.3, 0, 0),
    "one bank, two rows": (1, 2, 64, 0.5, 0, 0),
    "both ranks in turn": (2, 1, 64, 0.5, 3, 0),
    "one bank group": (4, 3, 64, 0.5, 1, 16),
    "writes of closed rows": (32, 1 << 16, 64, 1.0, 0, 0),
    "one at a time": (32, 4, 64, 0.2, 40, 1),
    "idle most of the time": (17, 3, 8, 0.3, 900, 0),
}


def replayed(pattern, controller, n=1500, spec=SPEC):
    """Log of `n` requests on one channel of `spec`."""
    banks, rows, columns, writes, pause, window = PATTERNS[pattern]
    rng = np.random.default_rng(list(PATTERNS).index(pattern))
    arrive = np.cumsum(rng.integers(0, pause + 1, n))
    bank = rng.integers(banks, size=n) * (16 if pattern == "both ranks in turn" else 1)
    row, column = rng.integers(rows, size=n), rng.integers(columns, size=n)
    write = (rng.random(n) < writes).astype(np.int64)
    channel = build(spec, controller, 1, log_rows=12 * n + 5000)
    return replay(channel, arrive, write, bank, row, column, window).log


def assert_legal(log, spec=SPEC):
    found = audit(log, spec, PIM)
    assert found.empty, found.head(20).to_string()


@pytest.mark.parametrize("pattern", PATTERNS)
@pytest.mark.parametrize("refresh", ["none", "all_bank", "per_bank"])
@pytest.mark.parametrize("guard", [True, False])
def test_requests(pattern, refresh, guard):
    log = replayed(
        pattern, Controller(refresh=refresh, scheduler="row_hit_guard" if guard else "ready_first")
    )
    assert_legal(log)
    assert log["command"].isin(["RD", "WR"]).sum() > 50


@pytest.mark.parametrize("pattern", ["random", "one bank, two rows", "both ranks in turn"])
def test_requests_with_small_queues_and_a_running_data_clock(pattern):
    controller = Controller(
        read_queue=3, write_queue=2, write_high=1, write_low=1, data_clock="always_on", refresh="per_bank"
    )
    assert_legal(replayed(pattern, controller, spec=RUNNING), RUNNING)


@pytest.mark.parametrize("refresh", ["all_bank", "per_bank"])
@pytest.mark.parametrize("pattern", ["random", "one bank, two rows", "both ranks in turn"])
def test_requests_under_frequent_refresh(pattern, refresh):
    timings = {"REFI": AtLeast(ns=800), "REFIpb": AtLeast(ns=110)}
    spec = replace(SPEC, name="refreshed often", timings=SPEC.timings | timings)
    assert_legal(replayed(pattern, Controller(refresh=refresh), spec=spec), spec)


@pytest.mark.parametrize("preset", CONTROLLERS)
@pytest.mark.parametrize("name", FAMILIES)
def test_no_controller_breaks_a_rule(name, preset):
    """A small part of `benchmarks/dram_legality.py`, with all refresh modes of part and controller."""
    spec = part(name, DramSpec)
    mine = [held for held in legality.controllers(spec) if held.name == preset]
    assert bool(mine) == (spec.family != "hbm3" or isinstance(CONTROLLERS[preset].controller, Controller))
    for k, held in enumerate(mine):
        kind = legality.TRAFFIC[(k + len(preset)) % len(legality.TRAFFIC)]
        requests = legality.traffic(kind, spec, 1200, np.random.default_rng(k))
        found = audit(replay_requests(requests, spec, controller=held, log=True).commands, spec)
        assert found.empty, (held, kind, found.head(5).to_string())


def test_refreshes_wait_as_long_as_requests_do_but_not_too_long():
    spec = part("ddr4-3200-8gb-x8", DramSpec)
    interval = Clocks(spec).REFI
    busy = legality.traffic("random", spec, 12_000, np.random.default_rng(0))
    log = replay_requests(busy, spec, controller=Controller(postpone=7), log=True).commands
    refreshes = log.loc[log["command"] == "REFAB", "clock"].to_numpy()
    assert 8 * interval <= refreshes[0] < 9 * interval  # seven waited
    assert (np.diff(refreshes) < interval + 500).all()
    late = replace(spec, name="late", timings=spec.timings | {"REFI": AtLeast(ns=7800 / 2)})
    assert not audit(log, late).empty  # the auditor would have told
    with pytest.raises(SpecError, match="postpone=4; at most 3 refreshes of ddr5-4800-16gb-x8 may wait"):
        build(part("ddr5-4800-16gb-x8", DramSpec), Controller(postpone=4), 1)


# Streams and programs

MAPPINGS = {
    "plain": (
        "row:16 rank:1 bank:2 column:5 channel:1 bankgroup:2 column:1",
        "row:16 channel:1 rank:1 bankgroup:2 bank:2 column:6",
    ),
    "hashed": (
        "row:16 rank:1 bank:2 column:5 channel:1 bankgroup:2 column:1 "
        "bank[0]^=row[0]^row[2] bankgroup[1]^=row[5] rank[0]^=row[7]",
        "rank:1 row:16 bankgroup:2 bank:2 channel:1 column:6 bank[1]^=row[1]",
    ),
}


def bench_of(mapping, refresh, guard=True, spec=SPEC, log_rows=300_000):
    mappings = tuple(AddressMapping.parse(text) for text in MAPPINGS[mapping])
    controller = Controller(refresh=refresh, scheduler="row_hit_guard" if guard else "ready_first")
    config = MemoryConfig(spec=spec, controller=controller, channels=2, mappings=mappings, pim=PIM)
    return Bench(config, log_rows)


def random_stream(rng):
    """A plain stream, a stream that stays in few banks, or a copy with fills and write-backs."""
    stride, mapping = int(rng.choice([32, 64, 2048, 1 << 16, 1 << 18])), int(rng.integers(2))
    kind = rng.integers(3)
    into = ((4, 4096), (1 << 14, 32))
    if kind == 0:
        walk = ((1 << 20, stride),)
        bursts, write = int(rng.integers(1, 64)), bool(rng.integers(2))
        phases = (Phase(bursts=bursts, write=write, wait=True, mapping=mapping, loops=walk),)
    elif kind == 1:
        phases = (
            Phase(bursts=4, loops=((1 << 18, 32),), mapping=mapping, think_ns=float(rng.integers(100))),
            Phase(bursts=4, write=True, wait=bool(rng.integers(2)), loops=((1 << 18, stride),)),
        )
    else:
        phases = (
            Phase(bursts=2, loops=((1 << 18, 32),), mapping=1, wait=bool(rng.integers(2))),
            Phase(bursts=2, loops=into),
            Phase(bursts=2, write=True, wait=False, loops=into),
        )
    return Stream(
        kind="test",
        phases=phases,
        bursts=int(rng.integers(50, 1500)),
        window=int(rng.choice([1, 2, 8, 32, 128])),
        gap_ps=float(rng.choice([0, 0, 500, 5000, 40000])),
        path_ns=float(rng.choice([0, 5, 60])),
    )


def traffic(bench, rng):
    """Start some streams at odd clocks and run until all have ended (their writes may still wait)."""
    running = set()
    for _ in range(rng.integers(1, 5)):
        stream = random_stream(rng)
        bases = tuple(int(rng.integers(1 << 24)) * 32 for _ in stream.phases)
        running.add(bench.start(stream, bases))
        if rng.random() < 0.5:
            running -= set(bench.advance(bench.clock + int(rng.integers(1, 3000))))
    while running:
        running -= set(bench.advance(bench.clock + 100_000))


def random_program(rng, n=150):
    """A PIM program in no sensible order, legal as far as modes and open rows go, one command a row."""
    rows = []

    def add(command, rank, bank=-1, row=-1, column=-1):
        line = np.full(G_NUM, -1, np.int64)
        line[[G_COMMAND, G_RANK, G_BANK, G_ROW, G_COLUMN]] = command, rank, bank, row, column
        line[G_FENCE] = rng.random() < 0.03
        rows.append(line)

    for _ in range(PIM.mode_accesses):
        add(MODE, 0)
    opened = [-1, -1]
    for _ in range(n):
        rank = int(rng.integers(2))
        kinds = [WRREG, RDRES, *([MACAB, MACAB, MACAB, PREA] if opened[rank] >= 0 else [ACTAB, ACTAB])]
        command = int(rng.choice(kinds))
        if command == ACTAB:
            opened[rank] = int(rng.integers(100))
        for _ in range(rng.integers(1, 4) if command in (WRREG, RDRES, MACAB) else 1):
            bank = 16 * rank + int(rng.integers(16)) if command == RDRES else -1
            add(command, rank, bank, opened[rank] if command in (ACTAB, MACAB) else -1, 0)
        if command == PREA:
            opened[rank] = -1
    for rank in (0, 1):
        if opened[rank] >= 0:
            add(PREA, rank)
    if rng.random() < 0.5:
        add(WRREG, 0, column=0)
    for _ in range(PIM.mode_accesses):
        add(MODE, 0)
    return np.array(rows)


def gemv_program(rng):
    n, k, dtype = int(rng.integers(1, 600)), int(rng.integers(1, 500)), str(rng.choice(["int8", "int4"]))
    return gemv(PIM, LAYOUT, n, k, dtype, fences=bool(rng.integers(2))).commands


def run_program(bench, rng):
    program = random_program(rng) if rng.random() < 0.5 else gemv_program(rng)
    bench.run_program(
        program, int(rng.choice([0, 1, 8])), int(rng.choice([0, 50])), int(rng.choice([0, 100]))
    )


@pytest.mark.parametrize("seed", range(6))
@pytest.mark.parametrize("mapping", MAPPINGS)
@pytest.mark.parametrize("refresh", ["none", "all_bank", "per_bank"])
def test_streams(refresh, mapping, seed):
    rng = np.random.default_rng(seed)
    bench = bench_of(mapping, refresh, guard=seed % 2 == 0)
    for _ in range(2):
        traffic(bench, rng)
    bench.drain()
    assert_legal(command_log(bench.channels))


@pytest.mark.parametrize("seed", range(6))
@pytest.mark.parametrize("mapping", MAPPINGS)
@pytest.mark.parametrize("refresh", ["none", "all_bank"])
def test_programs_between_streams(refresh, mapping, seed):
    rng = np.random.default_rng(seed)
    bench = bench_of(mapping, refresh, guard=seed % 2 == 0)
    for _ in range(3):
        traffic(bench, rng)
        run_program(bench, rng)
        if rng.random() < 0.5:
            bench.advance(bench.clock + int(rng.integers(10_000)))
            run_program(bench, rng)
    traffic(bench, rng)
    bench.drain()
    log = command_log(bench.channels)
    assert_legal(log)
    assert {"ACT1", "WR", "ACTAB", "MACAB", "RDRES", "MODE", "PREA"} <= set(log["command"])


def test_a_write_that_comes_back_at_once_does_not_get_a_second_command_into_its_clock():
    # Nothing lies between core and channel, so the next write is accepted in the clock of the last command.
    bench = bench_of("plain", "none")
    phase = Phase(bursts=64, write=True, loops=((1 << 20, 32),), mapping=1)
    bench.start(Stream(kind="test", phases=(phase,), bursts=900, window=1, gap_ps=0, path_ns=0), (0,))
    while not bench.advance(bench.clock + 100_000):
        pass
    bench.drain()
    log = command_log(bench.channels)
    assert not log.duplicated(["channel", "clock"]).any()
    assert_legal(log)


def test_idle_channels_reach_any_clock():
    bench = bench_of("plain", "none")
    assert bench.advance(1000) == {}
    assert bench.clock == 1000


def test_a_program_beside_per_bank_refresh_is_refused():
    with pytest.raises(SpecError, match="PIM programs need all-bank or no refresh"):
        bench_of("plain", "per_bank").run_program(gemv_program(np.random.default_rng(0)), 0, 0, 0)


# Mutations: a command that went out at the first clock of the scheduler's table, one clock earlier

APART = 1000
"""Clocks between two mutations of one log: more than any rule looks back."""
DATA = ("RD", "WR", "MACAB", "WRREG", "RDRES")


def first_clocks(log, spec):
    """(n,) the earliest clock that the scheduler's rule table allows for each command of a log."""
    g = spec.geometry
    channels = build(spec, Controller(refresh="none"), int(log["channel"].max()) + 1, PIM)
    out = np.zeros(len(log), np.int64)
    flat = (log["rank"] * g.bank_groups + log["bankgroup"]) * g.banks_per_group + log["bank"]
    flat = np.where(log["bank"] < 0, -1, flat)
    fields = (log["clock"], log["command"].map(CODE), log["channel"], log["rank"], flat, log["row"])
    for k, (clock, command, c, rank, bank, row) in enumerate(zip(*fields, strict=True)):
        out[k] = e.earliest(channels, c, command, rank, bank)
        e.put(channels, c, clock, command, rank, bank, row, -1)
    return out


def movable(log, spec):
    """[(place, places that move with it)] of commands whose clock is their first and the one before is free.

    A data command takes along the CAS in the clock before it.
    """
    at = {(c, clock): k for k, (c, clock) in enumerate(zip(log["channel"], log["clock"], strict=True))}
    tight = first_clocks(log, spec) == log["clock"].to_numpy()
    out = []
    for k in np.flatnonzero(tight & (log["clock"].to_numpy() > 1)).tolist():
        c, clock, command = log["channel"][k], log["clock"][k], log["command"][k]
        moves = [k]
        before = at.get((c, clock - 1))
        if command in DATA and before is not None and log["command"][before].startswith("CAS"):
            moves.append(before)
            before = at.get((c, clock - 2))
        if before is None and not command.startswith("CAS"):
            out.append((k, moves))
    return out


def mutants(log, spec, rng, rounds):
    """Move commands of a log, far apart, `rounds` times; yields (rules told, what was missed or None)."""
    left = movable(log, spec)
    rng.shuffle(left)
    kinds = Counter(log["command"])
    left.sort(key=lambda move: kinds[log["command"][move[0]]])  # rare commands first
    for _ in range(rounds):
        chosen, later, taken = [], [], []
        for move in left:
            clock = log["clock"][move[0]]
            if all(abs(clock - other) > APART for other in taken):
                chosen.append(move)
                taken.append(clock)
            else:
                later.append(move)
        left = later
        moved = log.copy()
        moved.loc[[k for _, moves in chosen for k in moves], "clock"] -= 1
        found = audit(moved, spec, PIM)
        for k, _ in chosen:
            clock, command, c = (log[field][k] for field in ("clock", "command", "channel"))
            mine = found[
                (found["clock"] == clock - 1) & (found["command"] == command) & (found["channel"] == c)
            ]
            told = {rule.split(":")[0] for rule in mine["rule"][mine["wanted"] == clock]}
            yield told, None if told else f"{command} of channel {c} from {clock} to {clock - 1}"


def squeezed(log, spec):
    """Rules told when a command is moved into the clock of another: the command bus."""
    clocks = log["clock"].to_numpy()
    k = next(k for k in range(200, len(log)) if clocks[k] == clocks[k - 1] + 1)
    moved = log.copy()
    moved.loc[k, "clock"] -= 1
    return {rule.split(":")[0] for rule in audit(moved, spec, PIM)["rule"]}


def test_one_clock_earlier_is_always_caught():
    rng = np.random.default_rng(0)
    logs = [
        (SPEC, replayed("random", Controller(), 1200)),
        (SPEC, replayed("both ranks in turn", Controller(refresh="none"), 1200)),
        (SPEC, replayed("one bank group", Controller(), 1200)),
        (SPEC, replayed("one bank, two rows", Controller(refresh="none"), 400)),
        (RUNNING, replayed("random", Controller(data_clock="always_on"), 1200, RUNNING)),
        (RUNNING, replayed("one bank group", Controller(data_clock="always_on"), 1200, RUNNING)),
        (BUSY, replayed("random", Controller(refresh="per_bank"), 1200, BUSY)),
        (BUSY, replayed("one at a time", Controller(refresh="per_bank"), 600, BUSY)),
    ]
    for refresh in ("none", "all_bank"):
        bench = bench_of("hashed", refresh)
        for _ in range(4):
            bench.run_program(random_program(rng, 400), 0, 0, 0)
        log = command_log(bench.channels)
        logs.append((SPEC, log[log["channel"] == 0].reset_index(drop=True)))
    told, missed, tried = Counter(), [], 0
    for spec, log in logs:
        assert_legal(log, spec)
        told.update(squeezed(log, spec))
        for rules, miss in mutants(log, spec, rng, rounds=40):
            told.update(rules)
            missed += [miss] * (miss is not None)
            tried += 1
    assert missed == []
    assert tried > 500
    spacings = {rule.split(":")[0] for rule in RULES if "{before}" in rule}
    # The scheduler issues no reads and writes with automatic precharge; others are of other families.
    others = {"tRRD_L", "tRRD to REFPB", "tCCD_R", "half clock", "tCCD_M", "tWTR_M"}
    assert spacings - set(told) == {"tRBTP+tRPpb", "tWR+tRPpb", *others}
