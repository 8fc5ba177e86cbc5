"""The same points through a Dask cluster of this machine: equal bytes, and a lost worker loses nothing."""

import threading

import pytest
from sweep.fakes import deadly_once, plain
from sweep.tools import grid, run

from pimsim.sweep import Dask, InProcess, Store, Sweep, prepare, run_sweep, table
from pimsim.sweep.executors import LocalPool
from pimsim.sweep.points import Axis
from pimsim.sweep.work import Limits, Simulation

pytestmark = pytest.mark.extra
distributed = pytest.importorskip("distributed")


def test_dask_gives_the_same_bytes(tmp_path):
    digests = {
        name: run(tmp_path / f"{name}.sqlite", grid(20), plain, executor)[0]
        for name, executor in (("here", InProcess()), ("dask", Dask("local", workers=2)))
    }
    assert digests["here"] == digests["dask"]


def test_a_lost_worker_loses_no_point(tmp_path):
    sweep = grid(6, folder=str(tmp_path))
    _, frame = run(tmp_path / "r.sqlite", sweep, deadly_once, Dask("local", workers=2))
    assert (tmp_path / "died").exists()
    assert frame["status"].tolist() == ["done"] * 6


def test_workers_of_a_cluster_may_come_later(tmp_path):
    # A queueing system starts workers when it has room: there may be none when a sweep begins.
    with distributed.LocalCluster(n_workers=0, threads_per_worker=1, dashboard_address=None) as cluster:
        later = threading.Timer(1.0, cluster.scale, [2])
        later.start()
        _, frame = run(tmp_path / "r.sqlite", grid(12), plain, Dask(cluster.scheduler_address, workers=2))
        later.join()
    assert frame["status"].tolist() == ["done"] * 12


def test_simulations_are_the_same_through_dask(tmp_path, tiny_model):
    sweep = Sweep(
        name="tiny",
        base={"model": tiny_model, "method": "facil", "tokens": 1},
        axes=(Axis(name="prompt", values=(4, 8)),),
    )
    frames = []
    for name, executor in (("pool", LocalPool(1)), ("dask", Dask("local", workers=1))):
        with Store.open(tmp_path / f"{name}.sqlite", write=True, make=True) as store:
            run_sweep(prepare(sweep, Simulation()), store, executor=executor)
            frames.append((table(store).to_csv(), store.content_digest()))
    assert frames[0] == frames[1]


def test_limits_are_not_for_dask(tmp_path):
    with pytest.raises(Exception, match="for local processes"):
        run(tmp_path / "r.sqlite", grid(1), plain, Dask("local"), Limits(timeout_s=1.0))
