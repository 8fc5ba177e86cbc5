"""Conditions: what they say, and that nothing but a condition can be said."""

import pytest

from pimsim.errors import SweepError
from pimsim.sweep.expression import LONGEST, read

VALUES = {"x": 3, "memory.channels": 4, "cpu.cores.0.clock_ghz": 2.5, "method": "facil", "flag": True}


@pytest.mark.parametrize(
    ("text", "holds"),
    [
        ("x == 3", True),
        ("x * memory.channels <= 11", False),
        ("1 < x < 4", True),
        ("1 < x < 3", False),
        ("method != 'facil' or x ** 2 == 9", True),
        ("method in ['facil', 'host-only'] and not x > 3", True),
        ("cpu.cores[0].clock_ghz > 2", True),
        ("min(x, memory.channels, 7) == 3 and max(x, 9) == 9 and log2(memory.channels) == 2", True),
        ("-x + 7 // 2 - 7 % 4 == -3", True),
        ("flag", True),
        ("abs(x - 5) / 2 == 1", True),
    ],
)
def test_a_condition_holds_or_not(text, holds):
    assert read(text).holds(VALUES) is holds


def test_a_condition_knows_its_names():
    assert read("a.b[1].c + d < 3 and 'e' != f").names == {"a.b.1.c", "d", "f"}


@pytest.mark.parametrize(
    "text",
    [
        "__import__('os').system('true')",
        "x.__class__()",
        "(lambda: 1)()",
        "[y for y in [1]]",
        "x if x else 3",
        "f'{x}'",
        "open('a')",
        "x := 3",
        "{1: 2}",
        "x[memory]",
        "x['a']",
        "print(x)",
        "max(x, key=abs)",
        "b'a'",
        "...",
        "None",
        "await x",
        "*x",
        "x is x",
        "x @ x",
        "x = 3",
        "x\n3",
        "(" * 300 + "x" + ")" * 300,
        "x" * (LONGEST + 1),
        "",
        "  ",
    ],
)
def test_anything_else_is_refused(text):
    with pytest.raises(SweepError, match="condition"):
        read(text)


@pytest.mark.parametrize(
    "text", ["y == 1", "x < 'a'", "x / 0 == 1", "9 ** 99 > 1", "'a' * 9 == 'b'", "x in 3"]
)
def test_what_cannot_be_worked_out_is_an_error_of_the_condition(text):
    with pytest.raises(SweepError, match="condition"):
        read(text).holds(VALUES)
