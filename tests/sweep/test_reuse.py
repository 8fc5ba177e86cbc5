"""Reuse inside a run is exact: on or off, from memory or from disk, in small tables or large ones."""

from dataclasses import replace

import pytest

from pimsim import simulate
from pimsim.agents import SEGMENTS
from pimsim.devices.dram.stream import MemoryConfig, Phase, Stream, sustained
from pimsim.memory import _PROGRAMS
from pimsim.reuse import TABLES, Kept, clear, code_digest, kept, reuse, stored_in
from pimsim.sweep import Axis, InProcess, LocalPool, Simulation, Store, Sweep, prepare, run_sweep, table
from pimsim.sweep.memo import Rates
from pimsim.system import exynos2400

PHONE = exynos2400()


def test_a_table_keeps_what_was_used_last():
    made = []
    held = Kept("t", most=2)
    for key in "abaca":
        assert held.get(key, lambda key=key: made.append(key) or key * 2) == key * 2
    assert made == ["a", "b", "c"]  # a was used again before c came, so b went
    assert list(held.held) == ["c", "a"]
    heavy = Kept("h", most=10, weigh=len)
    for key in ("four", "sixsix", "x"):
        heavy.get(key, lambda key=key: key)
    assert (list(heavy.held), heavy.weight) == (["sixsix", "x"], 7)
    TABLES.remove(held)
    TABLES.remove(heavy)


def test_the_switch_and_the_memo(tmp_path):
    calls = []

    @kept(most=4, to_text=repr, from_text=float)
    def third(x):
        calls.append(x)
        return x / 3

    memo = Rates(str(tmp_path / "m.rates"))
    try:
        with reuse(False):
            assert third(1) == third(1) == 1 / 3
        assert calls == [1, 1]
        stored_in(memo)
        assert third(2) == third(2) == 2 / 3
        clear()
        assert third(2) == 2 / 3  # from the disk, to the last bit
        assert calls == [1, 1, 2]
    finally:
        stored_in(None)
        TABLES.pop()
    assert third.__name__ == "third"


def test_the_digest_of_the_code_leaves_the_command_line_out():
    assert len(code_digest()) == 64
    assert code_digest() == code_digest()


@pytest.mark.parametrize(("method", "tokens"), [("facil", 2), ("double-buffering", 1)])
def test_a_run_without_reuse_gives_the_same(tiny_model, method, tokens):
    def run(**how):
        result = simulate(tiny_model, method, prompt=4, tokens=tokens, **how)
        return result.to_json(), [
            result.to_frame(name).to_csv() for name in ("spans", "counters", "capacity")
        ]

    clear()
    first = run()
    assert len(SEGMENTS.held) > 0
    again = run()
    with reuse(True):
        anew = run(reuse=False)
    assert first == again == anew


def test_rates_do_not_depend_on_the_pim_units():
    # With and without the units' rules in the channels: the rules tie only commands of the units to others.
    reads = Phase(bursts=1 << 30, loops=((1 << 40, 32),))
    writes = Phase(bursts=8, write=True, wait=False, loops=((1 << 40, 32),), mapping=1)
    streams = [
        Stream(kind="read", phases=(reads,), bursts=1, window=40, gap_ps=900.0, path_ns=46.0),
        Stream(
            kind="both", phases=(replace(reads, bursts=8), writes), bursts=1, window=12, gap_ps=0.0,
            path_ns=46.0,
        ),
    ]  # fmt: skip
    from pimsim.devices.dram import stream

    given = tuple((s.shape(), 1) for s in sorted(streams, key=lambda s: repr((s.shape(), 1))))
    with reuse(False):
        bare = stream._sustained(replace(PHONE.memory, pim=None), given)
        assert stream._sustained(PHONE.memory, given) == bare
        assert sorted(sustained(PHONE.memory, [(s, 1) for s in streams])) == sorted(bare)
    assert isinstance(PHONE.memory, MemoryConfig)


def tiny_sweep(model):
    return Sweep(
        name="tiny",
        base={"model": model, "method": "facil", "tokens": 2},
        axes=(
            Axis(name="memory.pim.lanes_bits", values=(128, 256, 512)),
            Axis(name="prompt", values=(4, 6)),
        ),
    )


def test_simulations_in_a_sweep(tmp_path, tiny_model):
    """One process without any memo and two with one give the same bytes; bad values are failed points."""
    sweep, digests = tiny_sweep(tiny_model), []
    for name, executor, share in (("here", InProcess(), False), ("pool", LocalPool(2), True)):
        clear()
        with Store.open(tmp_path / f"{name}.sqlite", write=True, make=True) as store:
            work = Simulation(tables=("spans", "capacity"))
            progress = run_sweep(prepare(sweep, work), store, executor=executor, share_rates=share)
            frame = table(store)
            digests.append(store.content_digest())
            assert (progress.total, progress.run, progress.failed) == (6, 6, 2)
            spans = store.table(next(r.key for r in store.records() if r.status == "done"), "spans")
            assert store.verify() == []
            again = run_sweep(prepare(sweep), store)
            assert (again.reused, again.run) == (6, 0)
    assert digests[0] == digests[1]
    assert spans["end_ps"].max() > 0
    assert frame["status"].tolist() == ["done"] * 4 + ["failed"] * 2
    assert "lanes_bits=512 but a column access" in frame["error"][5]
    done = frame[:4]
    # A narrower unit makes tokens slower; times are those of `simulate` itself.
    assert done["tpot_s"][0] > done["tpot_s"][2]
    alone = simulate(tiny_model, "facil", prompt=4, tokens=2).summary
    assert done["total_s"][2] == alone["total_s"]
    assert done["memory_total_bytes"][2] == alone["capacity_bytes"]["total"]
    assert len(_PROGRAMS.held) > 0


def test_the_key_of_a_point_follows_what_determines_it(tmp_path, tiny_model):
    work = Simulation()
    base = {"model": tiny_model, "method": "facil", "tokens": 2, "prompt": 4}
    key = work.key(base)
    assert work.key(dict(reversed(base.items()))) == key
    assert work.key(base | {"memory.channels": 4, "cpu.copy_threads": 2}) == key  # what the phone has anyway
    others = [
        {"prompt": 5}, {"method": "host-only"}, {"memory.dram.timings.RCD": 19}, {"weights": "int8"},
        {"memory.banks": 6}, {"memory.banks": 5},
    ]  # fmt: skip
    assert len({key, *(work.key(base | other) for other in others)}) == 1 + len(others)
    # The model counts by what its file says, not by its name.
    copy = tmp_path / "other.json"
    with open(tiny_model) as file:
        copy.write_text(file.read())
    same = work.key(base | {"model": str(copy)})
    copy.write_text(copy.read_text().replace("512", "256", 1))
    assert work.key(base | {"model": str(copy)}) != same
