"""Memory as a SimPy agent: when flows end. Expected times without DRAM traffic are worked out by hand."""

import pytest
import simpy

from pimsim.devices.dram.stream import Phase, Stream, sustained
from pimsim.devices.pim.program import gemv
from pimsim.errors import PlanError
from pimsim.memory import FIDELITIES, Memory
from pimsim.system import exynos2400

PHONE = exynos2400()
BURST = PHONE.dram.geometry.burst_bytes
both = pytest.mark.parametrize("fidelity", FIDELITIES)


def reads(bursts, window=32, gap_ps=0.0):
    phase = Phase(bursts=1 << 30, loops=((1 << 40, BURST),))
    return Stream(kind="read", phases=(phase,), bursts=bursts, window=window, gap_ps=gap_ps, path_ns=50.0)


class Watch:
    """An environment with a memory, and a note of when each flow ended."""

    def __init__(self, fidelity="sampled"):
        self.env = simpy.Environment()
        self.memory = Memory(self.env, PHONE, fidelity)
        self.ends = {}

    def note(self, name, flow):
        def wait():
            yield flow.done
            self.ends[name] = int(self.env.now)

        self.env.process(wait())
        return flow

    def at(self, time_ps, act):
        def later():
            yield self.env.timeout(time_ps)
            act()

        self.env.process(later())

    def run(self, until=None):
        self.env.run(until)
        return self.ends


# Core time


@both
def test_core_time_alone(fidelity):
    w = Watch(fidelity)
    w.note("a", w.memory.compute(1_000_000))
    w.note("b", w.memory.compute(400_000))
    assert w.run() == {"b": 400_000, "a": 1_000_000}


@both
def test_two_flows_on_one_core_take_twice_as_long(fidelity):
    w = Watch(fidelity)
    w.note("a", w.memory.compute(1_000_000, stretch=2))
    w.note("b", w.memory.compute(1_000_000, stretch=2))
    assert w.run() == {"a": 2_000_000, "b": 2_000_000}


@both
def test_a_core_that_is_shared_for_a_while(fidelity):
    # a runs alone until 500, with b until a's other 500 are done at 1500; b has then had 500 of 1000 and
    # runs alone: 2000.
    w = Watch(fidelity)
    memory = w.memory
    a = w.note("a", memory.compute(1000))

    def second():
        b = w.note("b", memory.compute(1000))
        memory.set_stretch(a, 2)
        memory.set_stretch(b, 2)
        w.at(1000, lambda: memory.set_stretch(b, 1))  # at 1500

    w.at(500, second)
    assert w.run() == {"a": 1500, "b": 2000}


@both
def test_a_flow_that_starts_in_the_middle_of_another(fidelity):
    w = Watch(fidelity)
    w.note("a", w.memory.compute(1_000_000))
    w.at(300_001, lambda: w.note("b", w.memory.compute(100_000)))
    w.at(999_999, lambda: w.note("c", w.memory.compute(1)))
    w.at(2_000_000, lambda: w.note("d", w.memory.compute(5)))  # after a pause without any flow
    assert w.run() == {"b": 400_001, "a": 1_000_000, "c": 1_000_000, "d": 2_000_005}


@both
def test_events_of_others_do_not_move_an_end(fidelity):
    ends = []
    for ticks in (0, 1, 777):
        w = Watch(fidelity)
        w.note("core", w.memory.compute(1_000_000))
        w.note("stream", w.memory.start(reads(2000), (0,)))
        for i in range(ticks):
            w.at(1_300 * i + 7, lambda: None)
        ends.append(w.run())
    assert ends[0]["core"] == ends[1]["core"] == ends[2]["core"] == 1_000_000
    assert max(e["stream"] for e in ends) - min(e["stream"] for e in ends) <= 2 * 937.5  # a clock is 937.5 ps


@both
def test_core_time_that_is_stopped_ends_without_a_word(fidelity):
    w = Watch(fidelity)
    stopped = w.note("a", w.memory.compute(1_000_000))
    w.note("b", w.memory.compute(400_000))
    w.at(400_000, lambda: w.memory.stop(stopped))  # when the other one ends
    w.at(500_000, lambda: w.memory.stop(stopped))  # a second time is no error
    assert w.run() == {"b": 400_000}


# Streams


def test_a_sampled_stream_ends_after_its_bursts_at_the_steady_rate():
    w = Watch()
    stream = reads(100_000)
    w.note("a", w.memory.start(stream))
    rate = sustained(PHONE.memory, [(stream, 1)])[0]
    assert w.run()["a"] == pytest.approx(100_000 / rate, abs=2)


def test_rates_change_when_company_comes():
    # Until half of its time a is alone, then b is there: the rates of each set of streams apply.
    a, b = reads(100_000), reads(10**7, window=64)
    alone = sustained(PHONE.memory, [(a, 1)])[0]
    beside = sustained(PHONE.memory, [(a, 1), (b, 1)])[0]
    w = Watch()
    w.note("a", w.memory.start(a))
    half = round(50_000 / alone)
    w.at(half, lambda: w.memory.start(b))
    assert w.run(10 * half)["a"] == pytest.approx(half + (100_000 - half * alone) / beside, abs=2)


@pytest.mark.parametrize("bursts", [10, 100, 1000])
def test_a_stepped_flow_ends_when_its_last_burst_is_back(bursts):
    # One burst every 10 ns, then the latency of the last: at most 150 ns on an idle channel. A refresh
    # that falls due later (every 3906 ns) is no part of it.
    w = Watch("step")
    w.note("a", w.memory.start(reads(bursts, gap_ps=10_000.0), (0,)))
    assert 0 < w.run()["a"] - (bursts - 1) * 10_000 < 150_000


def test_a_stepped_stream_is_near_its_sampled_time():
    ends = []
    for fidelity in FIDELITIES:
        w = Watch(fidelity)
        w.note("a", w.memory.start(reads(100_000), (0,)))
        ends.append(w.run()["a"])
    assert ends[1] == pytest.approx(ends[0], rel=0.01)


@both
def test_a_stream_beside_core_time(fidelity):
    w = Watch(fidelity)
    w.note("core", w.memory.compute(3_000_000))
    w.note("stream", w.memory.start(reads(1000, gap_ps=10_000.0), (0,)))
    ends = w.run()
    assert ends["core"] == 3_000_000  # other cores' memory traffic is no matter to it
    assert ends["stream"] == pytest.approx(1000 * 10_000, rel=0.02)


@both
def test_the_same_flows_end_at_the_same_times(fidelity):
    def once():
        w = Watch(fidelity)
        for i in range(3):
            w.note(i, w.memory.start(reads(5000 * (i + 1)), (i * 2**28,)))
        w.at(1_000_000, lambda: w.note("late", w.memory.start(reads(3000, window=8), (2**30,))))
        return list(w.run().items())

    assert once() == once()


# PIM programs


def product():
    return (1024, 512, "bf16", 0), lambda: gemv(PHONE.pim, PHONE.layout, 1024, 512, "bf16")


@both
def test_a_pim_program_needs_the_channels_alone(fidelity):
    w = Watch(fidelity)
    w.memory.compute(10)  # core time is no traffic
    w.memory.program(*product(), PHONE.host_drive)
    w.memory.start(reads(10), (0,))
    with pytest.raises(PlanError, match="while threads use memory"):
        w.memory.program(*product(), PHONE.host_drive)


def test_a_pim_program_takes_as_long_in_both_fidelities():
    # Fresh channels both times; a refresh may fall on it at most once more.
    times = {f: Watch(f).memory.program(*product(), PHONE.host_drive) for f in FIDELITIES}
    assert times["step"][0] == pytest.approx(times["sampled"][0], abs=400_000)
    assert times["step"][1]["MACAB"] == times["sampled"][1]["MACAB"] == product()[1]().counts()["MACAB"]


def test_no_such_fidelity():
    with pytest.raises(PlanError, match="fidelity 'samplet'; did you mean 'sampled'"):
        Memory(simpy.Environment(), PHONE, "samplet")
