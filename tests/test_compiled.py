"""The cache of compiled functions is out of date as soon as any file with compiled functions has changed."""

import shutil
import subprocess
import sys
from pathlib import Path

import pytest

import pimsim
from pimsim.compiled import compiled, inner
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
