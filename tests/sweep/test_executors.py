"""Executors: the same bytes from each, and what a point does to its worker stays its own affair."""

import multiprocessing
import os
import signal
import subprocess
import sys
import threading
import time

import pytest
from sweep.fakes import counted, deadly, endless, hungry, plain, slow
from sweep.tools import grid, run

from pimsim.errors import SweepError
from pimsim.sweep import Function, InProcess, Limits, LocalPool, Store, prepare, run_sweep, shard_of, table
from pimsim.sweep.executors import Lanes
from pimsim.sweep.work import Job


def test_one_process_or_many_give_the_same_bytes(tmp_path):
    digests = {
        name: run(tmp_path / f"{name}.sqlite", grid(40), plain, executor)[0]
        for name, executor in (("here", InProcess()), ("one", LocalPool(1)), ("three", LocalPool(3)))
    }
    assert len(set(digests.values())) == 1
    assert multiprocessing.active_children() == []


def test_a_point_is_run_once_however_often_it_is_asked_for(tmp_path):
    runs = tmp_path / "runs"
    runs.mkdir()
    sweep = grid(6, folder=str(runs))
    run(tmp_path / "r.sqlite", sweep, counted, LocalPool(2))
    run(tmp_path / "r.sqlite", sweep, counted, LocalPool(2))
    run(tmp_path / "r.sqlite", grid(4, folder=str(runs)), counted)  # another sweep, the same points
    assert len(list(runs.iterdir())) == 6


def test_a_point_that_ends_its_worker_is_recorded_and_the_rest_goes_on(tmp_path):
    _, frame = run(tmp_path / "r.sqlite", grid(8), deadly, LocalPool(2))
    assert frame["status"].tolist() == ["done"] * 3 + ["lost"] + ["done"] * 4
    assert "worker process ended" in frame["error"][3]


def test_limits_of_time_and_memory(tmp_path):
    _, frame = run(tmp_path / "t.sqlite", grid(3), endless, LocalPool(2), Limits(timeout_s=0.3))
    assert frame["status"].tolist() == ["done", "timeout", "done"]
    assert frame["error"][1] == "took longer than 0.3 s"
    _, frame = run(tmp_path / "m.sqlite", grid(3), hungry, LocalPool(1), Limits(memory_bytes=2 * 10**9))
    assert frame["status"].tolist() == ["done", "done", "memory"]
    # Without limits those points are not final: they run again, and now they end.
    _, frame = run(tmp_path / "m.sqlite", grid(2), hungry, LocalPool(1))
    assert frame["status"].tolist()[:2] == ["done", "done"]


def test_shards_are_disjoint_and_together_everything(tmp_path):
    numbers = [[p.number for p in prepare(grid(10), Function(plain), (i, 3)).points] for i in (1, 2, 3)]
    assert sorted(number for part in numbers for number in part) == list(range(10))
    whole, _ = run(tmp_path / "whole.sqlite", grid(10), plain)
    with Store.open(tmp_path / "merged.sqlite", write=True, make=True) as merged:
        for i in (1, 2, 3):
            with Store.open(tmp_path / f"{i}.sqlite", write=True, make=True) as part:
                run_sweep(prepare(grid(10), Function(plain), (i, 3)), part)
            with Store.open(tmp_path / f"{i}.sqlite") as part:
                merged.merge(part)
        assert merged.content_digest() == whole


@pytest.mark.parametrize("text", ["0/3", "4/3", "3", "a/b", "1/0", "-1/3", "1/2/3"])
def test_a_shard_that_is_none_is_refused(text):
    with pytest.raises(SweepError, match="wanted i/n"):
        shard_of(text)
    assert shard_of("2/3") == (2, 3)


def test_lanes_give_every_job_once():
    jobs = [Job(key=str(i), settings={}) for i in range(11)]
    lanes = Lanes(jobs, 3)
    taken = [lanes(lane) for lane in (0, 0, 1, 2, 0, 0, 0, 0, 0, 0, 0)]
    assert sorted(int(job.key) for job in taken) == list(range(11))
    assert lanes(1) is None


def test_two_sweeps_on_one_store(tmp_path):
    path = tmp_path / "r.sqlite"
    found = {}

    def one(name):
        found[name] = run(path, grid(30), slow, InProcess())[1]

    threads = [threading.Thread(target=one, args=(name,)) for name in ("a", "b")]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    alone, frame = run(tmp_path / "alone.sqlite", grid(30), slow)
    with Store.open(path) as store:
        assert store.content_digest() == alone
        assert store.verify() == []
    assert len(found["a"]) == len(found["b"]) == len(frame)


# Stopping: by Ctrl-C and by SIGKILL. The script sweeps slow points; what it committed must stay.

SCRIPT = """
import signal
import sys
from sweep.fakes import slow
from sweep.tools import grid, run
from pimsim.sweep import LocalPool
if __name__ == "__main__":
    # A shell starts what runs in its background with the signal ignored.
    signal.signal(signal.SIGINT, signal.default_int_handler)
    print("begin", flush=True)
    run(sys.argv[1], grid(int(sys.argv[2])), slow, LocalPool(2))
    print("end", flush=True)
"""


def begin(path, count):
    tests = os.path.dirname(os.path.dirname(__file__))
    script = path.with_name("script.py")
    script.write_text(SCRIPT)
    environment = os.environ | {"PYTHONPATH": tests}
    return subprocess.Popen(
        [sys.executable, str(script), str(path), str(count)],
        env=environment, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
    )  # fmt: skip


def held(path):
    if not path.exists():
        return 0
    try:
        with Store.open(path) as store:
            return len(table(store))
    except Exception:
        return 0


def wait_for(path, count, process):
    end = time.monotonic() + 60
    while held(path) < count and process.poll() is None and time.monotonic() < end:
        time.sleep(0.02)


@pytest.mark.parametrize("how", [signal.SIGKILL, signal.SIGINT])
def test_a_sweep_that_is_stopped_loses_nothing(tmp_path, how):
    count, path = 240, tmp_path / "r.sqlite"  # many, so that the signal comes well before the end
    reached = 0
    for target in (5, 25):
        process = begin(path, count)
        assert process.stdout.readline() == "begin\n"
        wait_for(path, target, process)
        process.send_signal(how)
        process.communicate(timeout=30)
        now = held(path)
        assert now >= max(reached, target)
        reached = now
        with Store.open(path) as store:
            assert store.verify() == []
            assert store.damaged() == []
    assert reached < count  # it was stopped midway, so there is something to go on with
    run(path, grid(count), slow)
    alone, _ = run(tmp_path / "alone.sqlite", grid(count), slow)
    with Store.open(path) as store:
        assert store.content_digest() == alone


def test_workers_end_with_their_sweep(tmp_path):
    process = begin(tmp_path / "r.sqlite", 500)
    assert process.stdout.readline() == "begin\n"
    wait_for(tmp_path / "r.sqlite", 3, process)
    children = subprocess.run(
        ["ps", "-o", "pid=", "--ppid", str(process.pid)], capture_output=True, text=True
    ).stdout.split()
    assert len(children) >= 2
    process.kill()
    process.communicate(timeout=30)
    end = time.monotonic() + 10
    while time.monotonic() < end and any(os.path.exists(f"/proc/{pid}") for pid in children):
        time.sleep(0.05)
    assert not [pid for pid in children if os.path.exists(f"/proc/{pid}")]
