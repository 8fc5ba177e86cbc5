"""Search: it finds the best points of a small space, and stopped and undisturbed ones end alike."""

import pytest
from sweep.fakes import plain

from pimsim.errors import SweepError
from pimsim.sweep import Axis, Function, LocalPool, Range, Store, Sweep, table
from pimsim.sweep.file import SearchPlan
from pimsim.sweep.store import sweep_id
from pimsim.sweep.table import pareto

pytestmark = pytest.mark.extra
pytest.importorskip("optuna")

AXES = (Axis(name="x", values=Range(low=0, high=30)), Axis(name="y", values=(1, 2, 3, "four")[:3]))
SWEEP = Sweep(name="s", axes=AXES, sampling="random", count=1, constraints=("x + y > 2",))
PLAN = SearchPlan(trials=40, batch=4, seed=3, objectives=("sum_s", "product_bytes"))


def look(path, plan=PLAN, executor=None):
    from pimsim.sweep.search import search

    with Store.open(path, write=True, make=True) as store:
        found = search(SWEEP, plan, store, work=Function(plain), executor=executor)
        return store.content_digest(), table(store, sweep_id(found))


def test_a_search_finds_small_objectives_and_keeps_to_the_constraints(tmp_path):
    _, frame = look(tmp_path / "r.sqlite")
    assert 20 < len(frame) <= 40
    assert (frame["x"].astype(int) + frame["y"].astype(int) > 2).all()
    best = frame[pareto(frame, PLAN.objectives)]
    # By hand: x + y/3 and x * y with x + y > 2 are both smallest at (0, 3).
    assert best["sum_s"].min() <= 2.0


def test_a_search_that_goes_on_ends_like_one_that_was_never_stopped(tmp_path):
    from dataclasses import replace

    digest, undisturbed = look(tmp_path / "a.sqlite", executor=LocalPool(2))
    look(tmp_path / "b.sqlite", replace(PLAN, trials=13))
    _, resumed = look(tmp_path / "b.sqlite")
    assert resumed.to_csv() == undisturbed.to_csv()
    assert look(tmp_path / "c.sqlite")[0] == digest


@pytest.mark.parametrize("sampler", ["nsga2", "random"])
def test_samplers(tmp_path, sampler):
    plan = SearchPlan(trials=8, batch=2, sampler=sampler, objectives=("sum_s",))
    assert look(tmp_path / "1.sqlite", plan)[0] == look(tmp_path / "2.sqlite", plan)[0]


def test_objectives_that_are_none(tmp_path):
    with pytest.raises(SweepError, match="objective 'sum': .*did you mean 'sum_s'"):
        look(tmp_path / "r.sqlite", SearchPlan(trials=4, objectives=("sum",)))
