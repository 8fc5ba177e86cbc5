"""The printed FlexiQ reports equal the texts stored beside the scripts, and every check of theirs holds."""

from pathlib import Path

import pytest

from experiments.flexiq import EXPERIMENTS
from pimsim import reproduce
from pimsim.report.report import report_text

HERE = Path(__file__).parents[1] / "experiments" / "flexiq"


@pytest.fixture(scope="module")
def reports():
    return {name: module.run(lambda share, text: None) for name, module in EXPERIMENTS.items()}


@pytest.mark.parametrize("name", EXPERIMENTS)
def test_report_is_the_stored_one(reports, name):
    assert reports[name].name == name
    assert report_text(reports[name]) == (HERE / f"{name}.txt").read_text(encoding="utf-8")


@pytest.mark.parametrize("name", EXPERIMENTS)
def test_every_check_holds(reports, name):
    assert [(check.quantity, check.setting) for check in reports[name].checks if not check.ok] == []


@pytest.mark.parametrize("name", EXPERIMENTS)
def test_figures_are_drawn(reports, name):
    assert reports[name].figures
    for draw in reports[name].figures.values():
        assert draw().axes


def test_reproduce_finds_them():
    assert list(reproduce.experiments("flexiq")) == list(EXPERIMENTS)
