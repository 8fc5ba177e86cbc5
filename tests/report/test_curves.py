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


def test_no_bar_is_too_small_to_be_seen():
    """2.5e-8 beside 0.12, as of a product in memory that is right and one that is not."""
    frame = FRAME.assign(y=[2.5e-8, 5.8e-8, 0.12, 0.14])
    (axes,) = grouped_bars(frame, x="x", y="y", series="s", **TEXT).axes
    low, high = axes.get_ylim()
    tops = axes.transAxes.inverted().transform(axes.transData.transform([(0, y) for y in frame["y"]]))[:, 1]
    assert low < 2.5e-8
    assert high > 0.14
    assert all(0.05 < top < 1 for top in tops)
    (axes,) = grouped_bars(FRAME, x="x", y="y", series="s", **TEXT).axes
    assert axes.get_yscale() == "linear"


def test_a_missing_column_is_named():
    with pytest.raises(SpecError, match="lacks z"):
        line_chart(FRAME, x="z", y="y", series="s", **TEXT)
