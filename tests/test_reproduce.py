"""Running experiments: processes, what is kept, what an interruption leaves, progress."""

import json
import os
import signal
import subprocess
import sys
import textwrap
import time
from types import ModuleType

import pandas as pd
import pytest

from pimsim import reproduce
from pimsim.checks import Check
from pimsim.errors import PimsimError
from pimsim.report.report import Report, report_text

RAN: list[str] = []


def made(name, cost=1.0):
    def run(progress):
        RAN.append(name)
        progress(0.5, "half")
        check = Check(quantity="q", setting="s", ours=True, source="x")
        table = pd.DataFrame({"a_s": [0.1 + 0.2]})
        return Report(name=name, question="Q?", tables={"t": table}, checks=[check])

    module = ModuleType(name, "Q?")
    module.run, module.COST_S = run, cost
    return module


def test_finished_experiments_are_not_run_again(tmp_path):
    RAN.clear()
    store = reproduce.Store(folder=tmp_path)
    chosen = {name: made(name) for name in ("one", "two")}
    first = reproduce.run({"one": chosen["one"]}, lambda share, text: None, store=store)
    said: list[str] = []
    both = reproduce.run(chosen, lambda share, text: None, store=store, finished=said.append)
    assert RAN == ["one", "two"]
    assert [report.name for report in both] == ["one", "two"]
    assert report_text(both[0]) == report_text(first[0])
    assert said[0].startswith("kept from an earlier run: one ")
    reproduce.run(chosen, lambda share, text: None, store=store, fresh=True)
    assert RAN == ["one", "two", "one", "two"]


def test_what_is_half_written_counts_as_not_there(tmp_path):
    store = reproduce.Store(folder=tmp_path)
    reproduce.run({"one": made("one")}, lambda share, text: None, store=store)
    head = tmp_path / "one" / "report.json"
    head.write_text(head.read_text()[:40])
    assert store.get("one") is None
    reproduce.run({"one": made("one")}, lambda share, text: None, store=store)
    assert store.get("one") is not None


def test_shares_are_weighted_and_never_fall():
    heard: list[float] = []
    chosen = {"short": made("short", 1.0), "long": made("long", 3.0)}
    reproduce.run(chosen, lambda share, text: heard.append(share))
    assert heard == sorted(heard)
    assert 0.25 in heard
    assert heard[-1] == 1.0


def test_a_change_of_a_source_changes_the_digest(tmp_path, monkeypatch):
    package = ModuleType("experiments")
    package.__path__ = [str(tmp_path)]
    monkeypatch.setattr(reproduce, "_package", lambda: package)
    (tmp_path / "some_paper").mkdir()
    before = reproduce.digest("some-paper")
    assert reproduce.digest("some-paper") == before
    (tmp_path / "some_paper" / "new.py").write_text("X = 1\n")
    assert reproduce.digest("some-paper") != before


def paper(tmp_path, monkeypatch, **bodies):
    """A package `experiments.made_up` of its own, seen by this process's children, too."""
    folder = tmp_path / "made" / "experiments" / "made_up"
    folder.mkdir(parents=True)
    for name, body in bodies.items():
        text = f'"""Q {name}?"""\nimport time\nfrom pimsim.report.report import Report\n'
        text += f"def run(progress):\n{textwrap.indent(textwrap.dedent(body), '    ')}\n"
        text += f"    return Report(name={name!r}, question='Q?', tables={{}}, checks=[])\n"
        (folder / f"{name}.py").write_text(text)
    names, held = ", ".join(bodies), ", ".join(f"{name}={name}" for name in bodies)
    (folder / "__init__.py").write_text(
        f"from experiments.made_up import {names}\nEXPERIMENTS = dict({held})\n"
    )
    (folder.parent / "__init__.py").write_text("")
    for name in [name for name in sys.modules if name.partition(".")[0] == "experiments"]:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.syspath_prepend(str(folder.parents[1]))
    return reproduce.experiments("made-up")


def test_processes_give_the_same_reports_in_order(tmp_path, monkeypatch):
    chosen = paper(tmp_path, monkeypatch, a="progress(0.5, 'x')", b="progress(0.9, 'y')")
    store = reproduce.Store(folder=tmp_path / "store")
    heard: list[tuple[float, str]] = []
    got = reproduce.run(
        chosen, lambda share, text: heard.append((share, text)), paper="made-up", jobs=2, store=store
    )
    assert [report.name for report in got] == ["a", "b"]
    assert {text for _, text in heard} >= {"a: x", "b: y"}


def test_a_failure_in_a_process_is_told(tmp_path, monkeypatch):
    chosen = paper(tmp_path, monkeypatch, a="raise ValueError('no such thing')", b="pass")
    store = reproduce.Store(folder=tmp_path / "store")
    with pytest.raises(PimsimError, match="experiment a ended with code 1: ValueError: no such thing"):
        reproduce.run(chosen, lambda share, text: None, paper="made-up", jobs=2, store=store)


def test_killed_at_any_moment_it_goes_on(tmp_path, monkeypatch):
    waits = f"""
    from pathlib import Path
    for _ in range(600):
        progress(0.1, 'waiting')
        if Path({str(tmp_path / "go")!r}).exists():
            break
        time.sleep(0.1)
    """
    paper(tmp_path, monkeypatch, quick="pass", slow=waits)
    environment = os.environ | {
        "PYTHONPATH": os.pathsep.join([str(tmp_path / "made"), *filter(None, sys.path)])
    }
    command = [sys.executable, "-m", "pimsim.cli", "reproduce", "made-up", "--jobs", "2", "--json"]
    first = subprocess.Popen(
        command, cwd=tmp_path, env=environment, stdout=subprocess.PIPE, stderr=subprocess.PIPE
    )
    kept = reproduce.store_folder() / "made-up"
    for _ in range(600):
        if list(kept.glob("*/quick/report.json")):
            break
        time.sleep(0.1)
    first.send_signal(signal.SIGKILL)
    assert first.wait(60) != 0
    first.stdout.close()
    first.stderr.close()
    assert not list(kept.glob("*/slow/report.json"))
    (tmp_path / "go").touch()
    again = subprocess.run(command, cwd=tmp_path, env=environment, capture_output=True, text=True, check=True)
    assert "kept from an earlier run: quick" in again.stderr
    assert json.loads(again.stdout) == {"checks": [], "tables": {}}
