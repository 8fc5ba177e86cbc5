"""Checks: when they hold, and what they refuse."""

import math

import pytest

from pimsim.checks import COLUMNS, Check, Tolerance, checks_frame, verdict
from pimsim.errors import SpecError


def check(ours, expected=None, **tolerance):
    return Check(
        quantity="saving",
        setting="1B",
        ours=ours,
        expected=expected,
        unit="%",
        tolerance=Tolerance(**tolerance),
        source="by hand",
    )


@pytest.mark.parametrize(
    ("ours", "expected", "tolerance", "ok"),
    [
        (110.0, 100.0, {"rel": 0.1}, True),
        (110.1, 100.0, {"rel": 0.1}, False),
        (-110.0, -100.0, {"rel": 0.1}, True),
        (47.9, 47.8, {"abs": 0.1}, True),  # 0.10000000000000142 apart in binary
        (47.91, 47.8, {"abs": 0.1}, False),
        (3, 3.0, {"abs": 0}, True),
        (3.3, None, {"low": 3.0, "high": 3.6}, True),
        (3.0, 3.3, {"low": 3.0, "high": 3.6}, True),
        (2.99, 3.3, {"low": 3.0, "high": 3.6}, False),
        (4.0, None, {"low": 3.0}, True),
        (4.0, None, {"high": 3.0}, False),
        (math.nan, 1.0, {"rel": 10.0}, False),
        (math.inf, None, {"low": 1.0}, False),
        (True, None, {}, True),
        (False, None, {}, False),
    ],
)
def test_when_a_check_holds(ours, expected, tolerance, ok):
    assert check(ours, expected, **tolerance).ok is ok


@pytest.mark.parametrize(
    ("tolerance", "text"),
    [
        ({"rel": 0.1}, "±10 %"),
        ({"abs": 0.1}, "±0.1"),
        ({"low": 3.0, "high": 3.6}, "3..3.6"),
        ({"low": 3.0}, ">= 3"),
        ({"high": 3.0}, "<= 3"),
        ({}, "holds"),
    ],
)
def test_a_tolerance_reads_as_text(tolerance, text):
    assert str(Tolerance(**tolerance)) == text


@pytest.mark.parametrize(
    "tolerance",
    [{"rel": 0.1, "abs": 1.0}, {"rel": 0.1, "low": 1.0}, {"rel": -0.1}, {"low": 2.0, "high": 1.0}],
)
def test_a_tolerance_that_contradicts_itself_is_refused(tolerance):
    with pytest.raises(SpecError, match="tolerance"):
        Tolerance(**tolerance)


@pytest.mark.parametrize(
    ("ours", "expected", "tolerance"),
    [(1.0, None, {}), (True, None, {"low": 1.0}), (1.0, None, {"rel": 0.1}), (1.0, math.nan, {"rel": 0.1})],
)
def test_a_check_that_cannot_be_decided_is_refused(ours, expected, tolerance):
    with pytest.raises(SpecError, match="'saving' \\(1B\\)"):
        check(ours, expected, **tolerance)


def test_the_frame_has_the_agreed_columns():
    frame = checks_frame([check(47.9, 47.8, abs=0.1), check(True)])
    assert tuple(frame.columns) == COLUMNS
    assert frame["ok"].tolist() == [True, True]
    assert frame["expected"].tolist() == [47.8, None]
    assert frame["ours"].tolist() == [47.9, True]
    assert tuple(checks_frame([]).columns) == COLUMNS


def test_the_verdict_counts():
    assert verdict([check(True), check(False)]) == "1 of 2 checks hold"


@pytest.mark.parametrize(
    ("ours", "expected", "tolerance", "said"),
    [
        # By hand: (0.841 - 0.89) / 0.89 = -5.51 %; 47.876 prints as 47.88, 0.08 above 47.8.
        (0.841, 0.89, Tolerance(rel=0.15), "-5.5 %"),
        (47.876, 47.8, Tolerance(abs=0.1), "+0.08"),
        (13260, 13166, Tolerance(abs=100), "+94"),
        (2.0, None, Tolerance(high=3.0), "-"),
        (float("nan"), 1.0, Tolerance(rel=0.1), "-"),
    ],
)
def test_the_difference_is_that_of_the_printed_numbers(ours, expected, tolerance, said):
    check = Check(quantity="q", setting="s", ours=ours, expected=expected, tolerance=tolerance, source="x")
    assert check.difference_text == said


def test_statements_have_no_difference():
    check = Check(quantity="q", setting="s", ours=True, source="x")
    assert (check.difference, check.difference_text) == (None, "-")
