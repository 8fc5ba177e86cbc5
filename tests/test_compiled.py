"""The cache of compiled functions is out of date as soon as any file with compiled functions has changed."""

import gc
import shutil
import subprocess
import sys
import types
from pathlib import Path

import pytest

import pimsim
from pimsim.compiled import _Files, compiled, inner, is_kept
from pimsim.devices.dram import engine

PROGRAM = """
import numpy as np
from pimsim.devices import DramSpec, part
from pimsim.devices.dram.replay import replay_requests
from pimsim.devices.dram.requests import Requests
one = Requests(arrive=np.zeros(1, np.int64), write=np.zeros(1, np.int64), address=np.zeros(1, np.int64))
print(replay_requests(one, part("ddr4-3200-8gb-x8", DramSpec)).mean_read_latency_ck)
"""


def latency(folder, cache):
    environment = {"PYTHONPATH": str(folder), "NUMBA_CACHE_DIR": str(cache), "PATH": "/usr/bin:/bin"}
    ran = subprocess.run(
        [sys.executable, "-c", PROGRAM], env=environment, capture_output=True, text=True, cwd=folder
    )
    assert ran.returncode == 0, ran.stderr
    return float(ran.stdout)


def test_a_change_in_one_file_reaches_functions_cached_for_another(tmp_path):
    copy = tmp_path / "copy"
    shutil.copytree(
        Path(pimsim.__file__).parent, copy / "pimsim", ignore=shutil.ignore_patterns("__pycache__")
    )
    # By hand: tRCD 22, CL 22, burst 4. The driver in open_loop.py has the scheduler compiled into it.
    assert latency(copy, tmp_path / "cache") == 48
    scheduler = copy / "pimsim" / "devices" / "dram" / "engine" / "scheduler.py"
    text = scheduler.read_text()
    assert text.count("out[1] = t + s.cfg[C_RL] + s.cfg[C_BL]") == 1
    scheduler.write_text(
        text.replace("out[1] = t + s.cfg[C_RL] + s.cfg[C_BL]", "out[1] = t + s.cfg[C_RL] + 1000")
    )
    assert latency(copy, tmp_path / "cache") == 22 + 22 + 1000


@inner
def _double(x):
    return 2 * x


@compiled
def _sum(x):
    return _double(x) + _double(3) + _double(-1)


def test_constants_make_no_version_of_their_own():
    assert _sum(1) == 6
    _sum.recompile()  # not from the cache
    assert len(_double.signatures) == 1


def test_python_cannot_call_what_is_made_for_compiled_callers():
    for function, given in ((_double, (1,)), (engine.step, (None, 0, 0, None))):
        with pytest.raises(TypeError, match="has compiled callers only"):
            function(*given)


def test_the_files_of_a_function(tmp_path):
    first, second = _Files(tmp_path, "f-1.py311", "one version"), _Files(tmp_path, "f-1.py311", "one version")
    first.save(("whole",), "code for whole numbers")
    named = set(tmp_path.glob("*.nbc"))
    second.save(("real",), "code for real numbers")
    assert len(set(tmp_path.glob("*.nbc")) - named) == 1
    assert first.load(("real",)) == "code for real numbers"
    assert second.load(("whole",)) == "code for whole numbers"
    later = _Files(tmp_path, "f-1.py311", "another version")
    assert later.load(("whole",)) is None
    later.save(("whole",), "new code")
    assert first.load(("whole",)) is None
    assert later.load(("whole",)) == "new code"
    assert len(list(tmp_path.glob("*.nbc"))) == 1  # what nothing reads is gone


@pytest.mark.parametrize("held", [b"", b"\x80\x05", b"nonsense"])
def test_a_file_that_cannot_be_read_counts_as_none(tmp_path, held):
    files = _Files(tmp_path, "f-1.py311", "a version")
    files.save(("whole",), "code")
    (data,) = tmp_path.glob("*.nbc")
    data.write_bytes(held)
    assert files.load(("whole",)) is None
    (tmp_path / "f-1.py311.nbi").write_bytes(held)
    assert files.load(("whole",)) is None
    files.save(("whole",), "code again")
    assert files.load(("whole",)) == "code again"


def test_an_index_of_a_class_that_is_gone(tmp_path, monkeypatch):
    module = types.ModuleType("gone")
    module.Old = type("Old", (), {"__module__": "gone"})
    monkeypatch.setitem(sys.modules, "gone", module)
    files = _Files(tmp_path, "f-1.py311", "a version")
    files.save((module.Old,), "code")
    del module.Old
    assert files.load(("whole",)) is None


def test_an_index_that_another_process_undid_costs_a_compilation_and_no_wrong_code(tmp_path):
    one, other = (_Files(tmp_path, "f-1.py311", "a version") for _ in range(2))
    one.save(("whole",), "code for whole numbers")
    one._save_index({})  # as written by a process that had read it before
    other.save(("real",), "code for real numbers")
    assert one.load(("whole",)) is None
    assert one.load(("real",)) == "code for real numbers"


def test_whether_a_function_is_kept():
    _sum(1)
    assert is_kept(_sum)
    _sum._cache.flush()
    assert is_kept(_sum) is False
    assert is_kept(len) is None


@pytest.mark.parametrize("on", [True, False])
def test_the_collection_of_garbage_is_as_it_was_after_compiling(on):
    before = gc.isenabled()
    try:
        gc.enable() if on else gc.disable()
        _sum.recompile()
        assert gc.isenabled() == on
    finally:
        gc.enable() if before else gc.disable()
