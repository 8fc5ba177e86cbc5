"""The printed reports of FACIL and of the overview equal the texts stored beside the scripts."""

import re
from pathlib import Path

import pytest

from experiments.facil import EXPERIMENTS as FACIL
from experiments.overview import EXPERIMENTS as OVERVIEW
from experiments.overview import workloads
from pimsim import reproduce
from pimsim.report.report import report_text
from pimsim.run_trace import run_trace
from pimsim.system import load_system

HERE = Path(__file__).parents[1] / "experiments"
ALL = [("facil", name) for name in FACIL] + [("overview", name) for name in OVERVIEW]

# FACIL's prompts are not known. At the 32 tokens chosen here every platform's GPU waits for its memory, and
# the ratio is what three passes over the weights take over one: above the paper's 2.37 to 2.89.
KNOWN = {
    ("TTFT, baseline over FACIL, short conversation", "prompt 32, geometric mean of the platforms"),
    ("TTFT, baseline over FACIL", "llama3-8b on jetson-orin, prompt 32"),
    ("TTFT, baseline over FACIL", "llama3-8b on apple-m3-max, prompt 32"),
    ("TTFT, baseline over FACIL", "opt-6.7b on core-ultra-7-155h, prompt 32"),
    ("TTFT, baseline over FACIL", "phi-1.5 on iphone-15-pro, prompt 32"),
}


def compared(group, name):
    report = (FACIL | OVERVIEW)[name].run(lambda share, text: None)
    assert report.name == name
    assert report_text(report) == stored(group, name)
    missed = {(check.quantity, check.setting) for check in report.checks if not check.ok}
    assert missed == (KNOWN if (group, name) == ("facil", "ttft") else set())
    assert all(draw().axes for draw in report.figures.values())


def stored(group, name):
    return (HERE / group / f"{name.replace('-', '_')}.txt").read_text(encoding="utf-8")


@pytest.mark.parametrize(("group", "name"), [each for each in ALL if each[0] == "facil"])
def test_report_is_the_stored_one(group, name):
    compared(group, name)


@pytest.mark.slow
def test_the_overview_is_the_stored_one():
    compared("overview", "workloads")


@pytest.mark.parametrize("system", ["exynos2400", "jetson-orin"])
def test_some_workloads_of_the_overview_are_the_stored_ones(system):
    lines = [re.split(r" {2,}", line) for line in stored("overview", "workloads").splitlines()]
    rows = {(cells[1], cells[2]): cells for cells in lines if len(cells) > 10}
    for work in workloads.workloads():
        if work.name in ("cifar_resnet20, one picture", "UNPG step, 85 742 identities"):
            engine = workloads.ENGINES[system][work.kind]
            run = run_trace(work.trace(workloads.TYPES[system]), load_system(system), engine)
            cells = rows[work.name, system]
            assert float(cells[4]) == pytest.approx(run.time_s * 1e3, rel=1e-3)
            assert float(cells[5]) == pytest.approx(run.memory_bytes / 1e9, rel=1e-3)
            assert cells[7] == run.bound


def test_reproduce_finds_them():
    assert list(reproduce.experiments("facil")) == list(FACIL)
    assert list(reproduce.experiments("overview")) == list(OVERVIEW)
