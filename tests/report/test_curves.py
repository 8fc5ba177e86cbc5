"""Line charts and grouped bars: what is drawn is what the table holds."""

import pandas as pd
import pytest

from pimsim.errors import SpecError
from pimsim.report.curves import grouped_bars, line_chart

FRAME = pd.DataFrame({"x": [0, 1, 0, 1], "y": [1.0, 2.0, 3.0, 4.0], "s": ["a", "a", "b", "b"]})
TEXT = {"title": "t", "x_label": "x", "y_label": "y"}


def test_lines_hold_the_values():
    (axes,) = line_chart(FRAME, x="x", y="y", series="s", **TEXT, marks=((1.0, 2.5, "paper"),)).axes
    assert [line.get_ydata().tolist() for line in axes.get_lines()] == [[1.0, 2.0], [3.0, 4.0], [2.5]]


def test_bars_hold_the_values():
    (axes,) = grouped_bars(FRAME, x="x", y="y", series="s", **TEXT).axes
    assert [bar.get_height() for bar in axes.patches] == [1.0, 2.0, 3.0, 4.0]


def test_a_missing_column_is_named():
    with pytest.raises(SpecError, match="lacks z"):
        line_chart(FRAME, x="z", y="y", series="s", **TEXT)
