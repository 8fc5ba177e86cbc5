"""First contact: what two processes compile is what a run needs, and only where a second one helps."""

import json
import os
import subprocess
import sys

import pytest

from pimsim import warmup

VERSIONS = """
import gc, json
from numba.core.dispatcher import Dispatcher
from pimsim import simulate, warmup

def versions():
    made = [thing for thing in gc.get_objects() if isinstance(thing, Dispatcher)]
    return {f"{each.py_func.__module__}.{each.py_func.__qualname__}": len(each.signatures) for each in made}

for _, work in warmup.WORK.values():
    work()
before = versions()
simulate("llama-3.2-1b", "facil", prompt=4, tokens=2)
print(json.dumps([before, versions()]))
"""


def python(program, **environment):
    ran = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, env=os.environ | environment
    )
    assert ran.returncode == 0, ran.stderr
    return ran.stdout


def test_a_run_needs_no_other_version_of_any_function():
    before, after = json.loads(python(VERSIONS))
    assert before["pimsim.devices.dram.snapshot.search"] == 1
    assert before["pimsim.devices.pim.machine._run"] == 1
    assert before["pimsim.devices.cache.kernel.run"] == 1
    assert after == before


def test_without_a_compiler_nothing_is_missing():
    assert python("from pimsim import warmup; print(warmup.missing())", NUMBA_DISABLE_JIT="1") == "[]\n"


class Child:
    """Stands for a process; `started` are the arguments of all."""

    def __init__(self, words, **options):
        self.words, self.killed = words, False
        Child.started.append(self)

    def wait(self):
        return 1  # as a child that failed

    def kill(self):
        self.killed = True


@pytest.fixture
def stage(monkeypatch):
    """Two cores and nothing compiled; gives what was done here and the children that were started."""
    here, Child.started = [], []
    monkeypatch.setattr(warmup, "cores", lambda: 2)
    monkeypatch.setattr(warmup, "missing", lambda: ["streams", "programs", "caches"])
    monkeypatch.setattr(warmup, "_streams", lambda: here.append("streams"))
    monkeypatch.setattr(warmup.subprocess, "Popen", Child)
    return here, Child.started


def test_two_processes_share_the_work(stage):
    here, started = stage
    warmup.compile_together()
    assert here == ["streams"]
    assert [child.words[5:] for child in started] == [["programs", "caches"]]
    warmup.compile_together(pim=False)
    assert started[1].words[5:] == ["caches"]


def test_a_child_works_and_imports_nothing_from_the_folder_at_hand(tmp_path, monkeypatch):
    (tmp_path / "simpy.py").write_text("raise SystemExit('not the library')")
    (tmp_path / "numpy.py").write_text("raise SystemExit('not the library')")
    monkeypatch.chdir(tmp_path)
    ended = []
    real = warmup.subprocess.Popen

    class Watched(real):
        def wait(self, *given, **named):
            ended.append(super().wait(*given, **named))
            return ended[-1]

    monkeypatch.setattr(warmup.subprocess, "Popen", Watched)
    with warmup._child(["caches"]):
        pass
    assert ended[0] == 0


@pytest.mark.parametrize(
    "place",
    [
        ("cores", lambda: 1),
        ("missing", list),
        ("missing", lambda: ["programs", "caches"]),  # streams are half of the work
        ("missing", lambda: ["streams"]),
    ],
)
def test_one_process_is_enough(stage, monkeypatch, place):
    monkeypatch.setattr(warmup, *place)
    warmup.compile_together()
    assert stage == ([], [])


def test_a_worker_starts_no_child(stage, monkeypatch):
    monkeypatch.setattr(warmup.multiprocessing, "parent_process", lambda: "a sweep")
    warmup.compile_together()
    assert stage == ([], [])


def test_no_child_outlives_a_stop(stage, monkeypatch):
    def stopped():
        raise KeyboardInterrupt

    monkeypatch.setattr(warmup, "_streams", stopped)
    with pytest.raises(KeyboardInterrupt):
        warmup.compile_together()
    assert stage[1][0].killed


def test_a_machine_out_of_processes(stage, monkeypatch):
    def refused(*given, **named):
        raise OSError("no more processes")

    monkeypatch.setattr(warmup.subprocess, "Popen", refused)
    warmup.compile_together()
    assert stage[0] == ["streams"]
