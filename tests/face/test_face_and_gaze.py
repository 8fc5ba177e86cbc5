"""The printed reports equal the texts stored beside the scripts, and every check of theirs holds."""

from pathlib import Path

import pytest

from experiments.face import EXPERIMENTS as FACE
from experiments.gaze import EXPERIMENTS as GAZE
from pimsim import reproduce
from pimsim.report.report import report_text

HERE = Path(__file__).parents[2] / "experiments"
ALL = [("face", name) for name, module in FACE.items() if not hasattr(module, "NEEDS")] + [
    ("gaze", name) for name in GAZE
]


@pytest.mark.parametrize(("group", "name"), ALL)
def test_report_is_the_stored_one(group, name):
    report = (FACE | GAZE)[name].run(lambda share, text: None)
    assert report.name == name
    stored = HERE / group / f"{name.replace('-', '_')}.txt"
    assert report_text(report) == stored.read_text(encoding="utf-8")
    assert [(check.quantity, check.setting) for check in report.checks if not check.ok] == []
    assert all(draw().axes for draw in report.figures.values())


def test_reproduce_finds_them():
    assert list(reproduce.experiments("face")) == list(FACE)
    assert list(reproduce.experiments("gaze")) == list(GAZE)
