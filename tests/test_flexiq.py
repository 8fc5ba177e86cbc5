"""The printed FlexiQ reports equal the texts stored beside the scripts, and every check of theirs holds."""

from pathlib import Path

import pytest

from experiments.flexiq import EXPERIMENTS
from pimsim import reproduce
from pimsim.errors import PimsimError
from pimsim.report.report import report_text

PLAIN = {name: module for name, module in EXPERIMENTS.items() if not hasattr(module, "NEEDS")}
HERE = Path(__file__).parents[1] / "experiments" / "flexiq"


@pytest.fixture(scope="module")
def reports():
    return {name: module.run(lambda share, text: None) for name, module in PLAIN.items()}


@pytest.mark.parametrize("name", PLAIN)
def test_report_is_the_stored_one(reports, name):
    assert reports[name].name == name
    assert report_text(reports[name]) == (HERE / f"{name}.txt").read_text(encoding="utf-8")


@pytest.mark.parametrize("name", PLAIN)
def test_every_check_holds(reports, name):
    assert [(check.quantity, check.setting) for check in reports[name].checks if not check.ok] == []


@pytest.mark.parametrize("name", PLAIN)
def test_figures_are_drawn(reports, name):
    assert reports[name].figures
    for draw in reports[name].figures.values():
        assert draw().axes


def test_reproduce_finds_them():
    assert list(reproduce.experiments("flexiq")) == list(EXPERIMENTS)


def test_one_that_lacks_its_packages_is_left_out_and_says_so(monkeypatch):
    module = EXPERIMENTS["accuracy"]
    monkeypatch.setattr(module, "NEEDS", ("numpy", "no_such_package"))
    assert reproduce.missing(module) == ["no_such_package"]
    assert "accuracy" not in reproduce.select("flexiq", None)
    assert reproduce.left_out("flexiq")["accuracy"] == ["no_such_package"]
    with pytest.raises(PimsimError, match=r"flexiq accuracy needs no_such_package: pip install"):
        reproduce.select("flexiq", "accuracy")
