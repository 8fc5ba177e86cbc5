"""Skipping what repeats gives what stepping gives: every counter, clock and position.

The expected values are those of the step-by-step driver. Small parts with few rows and columns and frequent
refreshes repeat soon, so that much is skipped in short runs.
"""

from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from hypothesis import event, given, settings
from hypothesis import strategies as st

from pimsim.compiled import compiled
from pimsim.devices import DramSpec, part
from pimsim.devices.dram import drive as d
from pimsim.devices.dram import engine as e
from pimsim.devices.dram import skip, snapshot
from pimsim.devices.dram.channel import SCHEDULERS, Controller, lookup_tables, set_policies
from pimsim.devices.dram.config import read_config
from pimsim.devices.dram.stream import MAX_STREAMS, Bench, MemoryConfig, Phase, Stream, run_stream
from pimsim.devices.rules import RD
from pimsim.devices.spec import AtLeast
from pimsim.errors import SpecError
from pimsim.placement import AddressMapping

CONFIGS = Path(__file__).parents[1] / "reference" / "dram" / "configs"
PARTS = {
    name: part(name, DramSpec)
    for name in (
        "lpddr5-6400-16gb-x16",
        "lpddr5-6400-16gb-x16-2r",
        "lpddr5x-8533-16gb-x16",
        "ddr4-3200-8gb-x8",
        "ddr4-3200-8gb-x8-2r",
        "ddr5-4800-16gb-x8",
        "gddr6-14000-8gb-x16",
        "lpddr4-3200-8gb-x16",
    )
}
HBM = {name: read_config(CONFIGS / f"r2_{name}_refab.json") for name in ("hbm2_2000", "hbm3_6400")}
FOR_EVER = 1 << 40


@contextmanager
def looking_often():
    """Look for repetitions often and in short runs."""
    kept = skip.BURSTS_A_LOOK, skip.WORTH_IT
    skip.BURSTS_A_LOOK, skip.WORTH_IT = 8, 64
    try:
        yield
    finally:
        skip.BURSTS_A_LOOK, skip.WORTH_IT = kept


def small(spec, columns, interval_ns):
    """The part with so many bursts a row, refreshed as often as that."""
    g = spec.geometry
    geometry = replace(g, columns=columns * g.burst_length)
    timings = dict(spec.timings)
    scale = interval_ns / 3900
    for name in ("REFI", "REFIpb"):
        if name in timings:
            timings[name] = AtLeast(ns=round(spec.timings[name].ns * scale), ck=0)
    if spec.family == "lpddr4":  # whose banks are refreshed tRFCpb apart
        timings["REFIpb"] = AtLeast(ns=2 * spec.timings["RFCpb"].ns)
    density = spec.density_gbit * columns * g.burst_length / g.columns
    return replace(spec, name=f"small {spec.name}", geometry=geometry, timings=timings, density_gbit=density)


def bits(n):
    return (n - 1).bit_length()


@st.composite
def mappings(draw, geometry, channels):
    """A mapping of all of the memory: any order of the fields below the row, hashed or not; rarely odd."""
    low = {
        "column": bits(geometry.bursts_per_row),
        "bank": bits(geometry.banks_per_group),
        "bankgroup": bits(geometry.bank_groups),
        "rank": bits(geometry.ranks),
        "channel": bits(channels),
    }
    names = draw(st.permutations([name for name in low if low[name]]))
    words = [f"{name}:{low[name]}" for name in names]
    rows = f"row:{bits(geometry.rows)}"
    place = draw(st.sampled_from(["top", "top", "top", "below one", "split"]))
    if place == "below one":
        words.insert(1, rows)
    elif place == "split":
        words = [f"row:{bits(geometry.rows) - 2}", *words, "row:2"]
    else:
        words.insert(0, rows)
    for target in draw(
        st.lists(st.sampled_from([n for n in names if n != "column"]), max_size=2, unique=True)
    ):
        source = draw(st.sampled_from([0, 1, 2, bits(geometry.rows) - 1]))
        words.append(f"{target}[{draw(st.integers(0, low[target] - 1))}]^=row[{source}]")
    return AddressMapping.parse(" ".join(words), geometry.burst_bytes)


@st.composite
def streams(draw, burst, maps):
    """A plain stream, a strided one, loops in loops, or a copy in three phases."""
    kind = draw(st.sampled_from(["plain", "plain", "stride", "loops", "copy"]))
    which = st.integers(0, maps - 1)
    ahead = ((1 << 30, burst),)
    size = draw(st.sampled_from([4, 16, 1 << 30]))
    write = draw(st.booleans())
    if kind == "plain":
        phases = (Phase(bursts=size, write=write, loops=ahead, mapping=draw(which)),)
    elif kind == "stride":
        stride = burst * draw(st.sampled_from([2, 3, 8, 64, 1024, 0, -1]))
        phases = (Phase(bursts=size, write=write, loops=((1 << 20, stride),), mapping=draw(which)),)
    elif kind == "loops":
        inner, middle = draw(st.sampled_from([1, 3, 8, 64])), draw(st.sampled_from([1, 2, 40, 500]))
        loops = (
            (inner, burst),
            (middle, burst * draw(st.sampled_from([0, inner, 16, 1024]))),
            (1 << 20, burst * draw(st.sampled_from([0, inner * middle, 64]))),
        )
        phases = (Phase(bursts=size, write=write, loops=loops, mapping=draw(which)),)
    else:
        think = draw(st.sampled_from([0.0, 20.0]))
        walk = draw(st.sampled_from([ahead, ((4, 64 * burst), (1 << 20, burst))]))
        phases = (
            Phase(bursts=4, loops=walk, mapping=draw(which), think_ns=think),
            Phase(bursts=4, loops=ahead, wait=draw(st.booleans())),
            Phase(bursts=draw(st.sampled_from([2, 4])), write=True, wait=False, loops=ahead),
        )
    return Stream(
        kind=kind,
        phases=phases,
        bursts=draw(st.sampled_from([40, 700, 3000, 6000])),
        window=draw(st.sampled_from([1, 2, 7, 32, 128])),
        gap_ps=draw(st.sampled_from([0.0, 0.0, 2500.0, 10_000.0, 7771.3])),
        path_ns=draw(st.sampled_from([0.0, 5.0, 60.0])),
    )


@st.composite
def cases(draw):
    """(function that makes a bench, streams with bases and stretches, clocks at which to stop)."""
    channels = draw(st.sampled_from([1, 1, 2, 4]))
    hbm = draw(st.sampled_from([None, None, None, None, *HBM]))
    refresh = draw(st.sampled_from(["none", "all_bank", "per_bank"]))
    spec = small(
        PARTS[draw(st.sampled_from(sorted(PARTS)))],
        draw(st.sampled_from([4, 16])),
        draw(st.sampled_from([1000, 1950])),
    )
    if hbm is not None:
        channels, geometry = 1, HBM[hbm].geometry
    else:
        geometry = spec.geometry
    if refresh == "per_bank" and (hbm is not None or "REFIpb" not in spec.timings):
        refresh = "all_bank"
    maps = tuple(draw(mappings(geometry, channels)) for _ in range(draw(st.integers(1, 2))))
    controller = Controller(
        refresh=refresh, scheduler=draw(st.sampled_from(sorted(SCHEDULERS))),
        queues=draw(st.sampled_from(["split", "split", "unified"])),
        row_policy=draw(st.sampled_from(["open", "open", "closed", "timeout"])),
        row_hit_cap=draw(st.sampled_from([0, 0, 4])), postpone=draw(st.sampled_from([0, 0, 3])),
        data_clock=draw(st.sampled_from(["on_demand", "always_on"])),
    )  # fmt: skip
    cap = draw(st.sampled_from([0, 0, 0, 4]))

    def make(skipping):
        if hbm is None:
            config = MemoryConfig(spec=spec, controller=controller, channels=channels, mappings=maps)
            bench = Bench(config, skip=skipping)
        else:
            config = MemoryConfig(
                spec=PARTS["ddr4-3200-8gb-x8"], controller=controller, channels=1,
                mappings=(AddressMapping.parse("row:16 bank:2 bankgroup:2 column:7", 64),),
            )  # fmt: skip
            bench = Bench(config, skip=skipping)
            bench.channels = HBM[hbm].channel()
            set_policies(bench.channels.cfg, controller)
            bench.requesters = d.make_requesters(MAX_STREAMS, lookup_tables(list(maps), HBM[hbm].geometry))
            if skipping:
                bench._shifts = skip.shifts_of(bench.requesters.lut)
        if cap:
            bench.channels.cfg[e.C_CAP] = cap
        return bench

    burst = geometry.burst_bytes
    wanted = []
    for _ in range(draw(st.sampled_from([1, 1, 2, 3, 4]))):
        stream = draw(streams(burst, len(maps)))
        bases = tuple(
            draw(st.integers(0, 1 << 16)) * burst * draw(st.sampled_from([1, 64])) for _ in stream.phases
        )
        wanted.append((stream, bases, draw(st.sampled_from([1, 1, 2])), draw(st.sampled_from([0, 0, 13]))))
    stops = draw(st.lists(st.integers(1, 60_000), max_size=2))
    return make, wanted, stops


def finish(bench, wanted, stops):
    """Run the streams to their ends, with stops on the way; (end of each stream, clock after all)."""
    numbers = [bench.start(*each) for each in wanted]
    ends = {}
    for stop in stops:
        until = bench.clock + stop
        while bench.clock < until:
            ends |= bench.advance(until)
    while len(ends) < len(numbers):
        ends |= bench.advance(FOR_EVER)
    return ends, bench.clock


@compiled
def take(s, g, wake, running, t, reach, walks, memory):
    return snapshot.take(s, g, wake, running, t, reach, walks, memory)


def seen(bench):
    """All that matters of channels and requesters, as one look."""
    memory = snapshot.make_memory(1 << 18, 4)
    walks = np.full((MAX_STREAMS, d.MAX_PHASES, snapshot.W_NUM), 1 << 62)
    walks[:, :, snapshot.W_MASK] = -1
    everyone = np.arange(MAX_STREAMS) if bench._running else np.arange(0)
    reach = snapshot.reach_of(bench.channels)  # older commands matter to nothing, and a jump takes them along
    take(bench.channels, bench.requesters, bench.wake, everyone, bench.clock, reach, walks, memory)
    return memory.words[: memory.used[1]].copy()


def assert_same(stepped, skipped):
    """Equal counters, clocks, rows and queues; and, where nothing is a cache, equal arrays."""
    np.testing.assert_array_equal(seen(stepped), seen(skipped))
    a, b = stepped.channels, skipped.channels
    np.testing.assert_array_equal(a.counts, b.counts)
    np.testing.assert_array_equal(a.open_row, b.open_row)
    now = stepped.clock
    np.testing.assert_array_equal(np.maximum(a.ready, now), np.maximum(b.ready, now))
    counters = [
        e.X_ROW_HITS,
        e.X_CONFLICTS,
        e.X_REFRESHES,
        e.X_NEXT_REF,
        e.X_REF_BANK,
        e.X_READS,
        e.X_WRITES,
        e.X_AGE,
    ]
    np.testing.assert_array_equal(a.scalar[:, counters], b.scalar[:, counters])
    g, h = stepped.requesters, skipped.requesters
    for one, other in ((g.left, h.left), (g.place, h.place), (g.address, h.address)):
        np.testing.assert_array_equal(one, other)
    np.testing.assert_array_equal(g.state[:, [d.S_END, d.S_COUNT]], h.state[:, [d.S_END, d.S_COUNT]])


@settings(max_examples=60, deadline=None)
@given(cases())
def test_skipping_gives_what_stepping_gives(case):
    make, wanted, stops = case
    stepped, skipped = make(False), make(True)
    with looking_often():
        ends = [finish(bench, wanted, stops) for bench in (stepped, skipped)]
    assert ends[0] == ends[1]
    assert_same(stepped, skipped)
    for bench in (stepped, skipped):  # and what is left in the queues, and more refreshes
        bench.advance(bench.clock + 30_000)
    assert_same(stepped, skipped)
    assert stepped.skipped == 0
    event("skipped" if skipped.skipped else "stepped")


@settings(max_examples=30, deadline=None)
@given(cases(), st.integers(1, 200_000))
def test_a_stop_on_the_way_finds_what_stepping_finds(case, stop):
    make, wanted, _ = case
    stepped, skipped = make(False), make(True)
    with looking_often():
        for bench in (stepped, skipped):
            for each in wanted:
                bench.start(*each)
            while bench.clock < stop:
                bench.advance(stop)
    assert_same(stepped, skipped)


# Whether it skips

PLAIN = "row:16 bank:2 column:{columns} bankgroup:2"
HASHED = PLAIN + " bank[0]^=row[0]^row[2] bankgroup[1]^=row[1]"


def plain(bursts, burst, **named):
    phase = Phase(bursts=1 << 40, loops=((1 << 40, burst),), **named)
    return Stream(kind="plain", phases=(phase,), bursts=bursts, window=64, gap_ps=0.0, path_ns=50.0)


def bench_of(name, mapping, refresh, **named):
    spec = PARTS[name]
    text = mapping.format(columns=bits(spec.geometry.bursts_per_row))
    maps = (AddressMapping.parse(text, spec.geometry.burst_bytes),)
    config = MemoryConfig(spec=spec, controller=Controller(refresh=refresh), channels=1, mappings=maps)
    return Bench(config, **named), spec.geometry.burst_bytes


@pytest.mark.parametrize("name", ["lpddr5-6400-16gb-x16", "ddr4-3200-8gb-x8"])
@pytest.mark.parametrize("refresh", ["none", "all_bank", "per_bank"])
@pytest.mark.parametrize("mapping", [PLAIN, HASHED], ids=["plain", "hashed"])
def test_a_billion_bursts_are_mostly_skipped(name, refresh, mapping):
    if refresh == "per_bank" and name.startswith("ddr4"):
        pytest.skip("DDR4 has no per-bank refresh")
    bursts = 10**9
    bench, burst = bench_of(name, mapping, refresh)
    number = bench.start(plain(bursts, burst), (0,))
    end = bench.advance(1 << 60)[number]
    assert bench.skipped > 0.9 * end
    assert bench.issued(number) == bench.channels.counts[0, RD] == bursts


def test_a_mapping_that_cannot_be_moved_is_stepped():
    # Bank bits are hashed with every row bit: no move of addresses leaves the banks alone.
    everything = PLAIN + " bank[0]^=" + "^".join(f"row[{k}]" for k in range(16))
    runs = []
    for skipping in (True, False):
        bench, burst = bench_of("lpddr5-6400-16gb-x16", everything, "none", skip=skipping)
        assert skip.shifts_of(bench.requesters.lut) == (None,)
        ends, _ = finish(bench, [(plain(40_000, burst), (0,))], [])
        assert bench.skipped == 0
        runs.append((ends, bench.channels.counts))
    assert runs[0][0] == runs[1][0]
    np.testing.assert_array_equal(runs[0][1], runs[1][1])


def test_a_stream_that_comes_to_rows_of_another_is_stepped_there():
    # The second stream reads one burst of row 100 again and again; the first walks over that row.
    runs = []
    for skipping in (True, False):
        bench, burst = bench_of("lpddr5-6400-16gb-x16", PLAIN, "none", skip=skipping)
        stay = Phase(bursts=1 << 40, loops=((1 << 40, 0),))
        still = Stream(kind="still", phases=(stay,), bursts=1 << 30, window=1, gap_ps=20_000.0, path_ns=50.0)
        a, b = bench.start(plain(400_000, burst), (0,)), bench.start(still, (100 * 1024 * burst,))
        runs.append((bench.advance(1 << 60)[a], bench.issued(b), bench.channels.counts, bench.skipped))
    assert runs[0][:2] == runs[1][:2]
    np.testing.assert_array_equal(runs[0][2], runs[1][2])


def test_the_longest_run_of_row_bits_may_move():
    spec = PARTS["lpddr5-6400-16gb-x16"]
    for text, low, high, row_bit, wraps in (
        ("row:16 bank:2 column:6 bankgroup:2", 15, 31, 0, True),
        ("row:16 bank:2 column:6 bankgroup:2 bank[0]^=row[0]^row[2]", 18, 31, 3, True),
        ("bank:2 row:16 column:6 bankgroup:2", 13, 29, 0, False),
        ("row:12 bank:2 column:6 row:4 bankgroup:2", 19, 31, 4, True),
    ):
        found = skip.shift_of(lookup_tables([AddressMapping.parse(text, 32)], spec.geometry)[0])
        assert (found.low, found.high, found.row_bit, found.wraps) == (low, high, row_bit, wraps)
    assert found.within(5 << 19, (7 << 19) + 1) == (5 << 4, (7 << 4) + 15)


def test_a_log_keeps_every_command():
    bench, burst = bench_of("lpddr5-6400-16gb-x16", PLAIN, "none", log_rows=100_000)
    bench.start(plain(20_000, burst), (0,))
    bench.advance(1 << 60)
    assert bench.skipped == 0
    assert bench.channels.log_used[0] == bench.channels.counts.sum()


def test_one_stream_alone():
    spec = PARTS["ddr4-3200-8gb-x8"]
    mapping = AddressMapping.parse("row:16 bank:2 column:7 bankgroup:2", 64)
    run = run_stream(spec, Controller(refresh="none"), mapping, plain(10**7, 64))
    assert run.counts["RD"] == 10**7
    assert run.cycles == pytest.approx(4 * 10**7, rel=1e-3)  # four clocks a burst at the peak


def test_refreshes_that_leave_no_time_are_refused_and_found():
    spec = PARTS["lpddr4-3200-8gb-x16"]
    often = replace(spec, name="often", timings=spec.timings | {"REFIpb": AtLeast(ns=140)})
    mapping = AddressMapping.parse("row:16 bank:3 column:6", spec.geometry.burst_bytes)
    config = MemoryConfig(
        spec=spec, controller=Controller(refresh="per_bank"), channels=1, mappings=(mapping,)
    )
    # tRFCpb 140 ns of an 8 Gb channel, 224 clocks of 0.625 ns, is also the distance of two refreshes.
    with pytest.raises(
        SpecError, match="often: refresh='per_bank': one of a rank falls due every 224 clocks"
    ):
        Bench(replace(config, spec=often))
    bench = Bench(config)
    bench.channels.cfg[e.C_REFI] = 200  # past the check
    bench.start(plain(1000, spec.geometry.burst_bytes), (0,))
    with pytest.raises(SpecError, match="no command can issue any more"):
        bench.advance(FOR_EVER)
