"""`pimsim doctor`, completion and suggestions."""

import json

import pytest
from numba.core import config

from pimsim import warmup
from pimsim.cli import doctor, main


def test_doctor(capsys, monkeypatch):
    quick = {name: test for name, test in doctor.TESTS.items() if name in ("DRAM engine", "PIM on data")}
    monkeypatch.setattr(doctor, "TESTS", quick)
    assert main(["doctor", "--json", "--quiet"]) == 0
    said = json.loads(capsys.readouterr().out)
    assert said["ok"]
    assert [test["test"] for test in said["tests"]] == list(quick)
    assert said["about"]["packages"][0].startswith("numpy ")

    def broken():
        raise OSError("no disk")

    monkeypatch.setattr(doctor, "TESTS", {"disk": broken})
    assert main(["doctor", "--quiet"]) == 1
    out = capsys.readouterr().out
    assert "OSError: no disk" in out
    assert "0 of 1 tests pass" in out


def test_what_the_cache_lacks(monkeypatch, tmp_path):
    monkeypatch.setattr(config, "CACHE_DIR", str(tmp_path))
    assert doctor._cache()["cached"] == "empty: the first run compiles"
    (tmp_path / "f.nbc").write_bytes(b"code")
    monkeypatch.setattr(warmup, "missing", list)
    assert doctor._cache()["cached"] == "1 functions, 0.0 MB"
    monkeypatch.setattr(warmup, "missing", lambda: ["programs", "caches"])
    assert doctor._cache()["cached"].endswith(
        "not the inner loops of programs and caches: the next run compiles"
    )


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["reprot"], "Did you mean"),
        (["run", "--modle", "x"], "--model"),
        (["run", "--model", "llama-3.2-1b", "--method", "facill"], "did you mean 'facil'"),
    ],
)
def test_suggestions(words, said, capsys):
    assert main(words) == 2
    assert said in capsys.readouterr().err


def test_completion_is_offered(capsys):
    assert main(["--help"]) == 0
    assert "--install-completion" in capsys.readouterr().out
