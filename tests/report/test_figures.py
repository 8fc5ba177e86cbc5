"""Figures: each is drawn, says its units, and is the same bytes every time."""

import pandas as pd
import pytest

from pimsim.errors import SpecError
from pimsim.report import figures
from pimsim.result import breakdown, table

METHODS = ["host-only", "double-buffering", "a-method-of-my-own"]
MODELS = ["llama-3.2-1b", "llama-3.2-3b"]

SPANS = table(
    "spans",
    [
        ("layer0/q_proj", "matmul", "prefill", 0, "cpu:compute", 0, 4_000_000_000),
        ("layer1/copy", "copy", "prefill", 1, "cpu:copy", 1_000_000_000, 6_000_000_000),
        ("layer1/q_proj", "matmul", "prefill", 1, "cpu:compute", 5_000_000_000, 9_000_000_000),
        ("layer1/odd", "something new", "prefill", 1, "cpu:compute", 6_000_000_000, 7_000_000_000),
        ("head", "matmul", "decode[0]", -1, "pim", 9_000_000_000, 9_500_000_000),
    ],
)


def capacity():
    rows = [(m, w, k, b) for m in MODELS for w in METHODS for k, b in (("weights", 2e9), ("padding", 1e8))]
    return figures.capacity_bars(pd.DataFrame(rows, columns=["model", "method", "kind", "bytes"]))


def ttft():
    rows = [(m, w, p, p * 0.05) for m in MODELS for w in METHODS for p in (16, 32, 64, 192)]
    return figures.ttft_lines(pd.DataFrame(rows, columns=["model", "method", "prompt", "ttft_s"]))


def speedups():
    rows = [(m, w, p, t, 1 + t / p) for m in MODELS for w in METHODS for p in (64, 128) for t in (64, 192)]
    return figures.speedup_heatmaps(
        pd.DataFrame(rows, columns=["model", "method", "prompt", "tokens", "speedup"])
    )


def gantt():
    return figures.timeline([("prompt 64", SPANS), ("prompt 128", SPANS)], layer=1, phase="prefill")


def busy():
    return figures.breakdown_bars(breakdown(SPANS))


DRAW = [capacity, ttft, speedups, gantt, busy]
UNITS = [
    "memory (GB = 10⁹ bytes)",
    "time to first token (s)",
    "prompt (tokens)",
    "time (ms)",
    "busy time (ms)",
]


@pytest.mark.parametrize("draw", DRAW)
def test_the_same_figure_is_the_same_bytes(tmp_path, draw):
    for name in ("a", "b"):
        figures.save(draw(), tmp_path / name)
    for ending in ("png", "svg"):
        one, two = ((tmp_path / f"{name}.{ending}").read_bytes() for name in ("a", "b"))
        assert one == two
        assert b"<dc:date>" not in one
        assert b"matplotlib.org" not in one
    assert len(list(tmp_path.iterdir())) == 4


@pytest.mark.parametrize(("draw", "unit"), list(zip(DRAW, UNITS, strict=True)))
def test_axes_say_their_units(draw, unit):
    axes = draw().axes
    assert unit in {each.get_xlabel() for each in axes} | {each.get_ylabel() for each in axes}


@pytest.mark.parametrize("draw", [capacity, ttft, gantt, busy])
def test_the_legend_lies_within_the_figure(draw):
    fig = draw()
    fig.draw_without_rendering()
    box = fig.legends[0].get_window_extent()
    assert box.x0 >= 0
    assert box.x1 <= fig.bbox.x1
    assert box.y1 <= fig.bbox.y1


def test_the_window_of_a_layer_holds_what_ran_beside_it():
    axes = gantt().axes[0]
    # Layer 1 computes from 5 to 9 ms; of the copy, 5 to 6 ms lies in that window.
    widths = sorted(round(patch.get_width(), 6) for patch in axes.patches)
    assert widths == [1.0, 1.0, 4.0]
    assert [label.get_text() for label in axes.get_yticklabels()] == ["cpu:compute", "cpu:copy"]


def test_wrong_tables_are_refused():
    with pytest.raises(SpecError, match="lacks ttft_s"):
        figures.ttft_lines(pd.DataFrame({"model": [], "method": [], "prompt": []}))
    with pytest.raises(SpecError, match="layer 7"):
        figures.timeline([("x", SPANS)], layer=7)


def test_the_users_settings_do_not_matter(tmp_path):
    import matplotlib

    figures.save(ttft(), tmp_path / "a")
    with matplotlib.rc_context({"font.size": 30, "axes.grid": True}):
        figures.save(ttft(), tmp_path / "b")
        assert matplotlib.rcParams["font.size"] == 30
    assert (tmp_path / "a.svg").read_bytes() == (tmp_path / "b.svg").read_bytes()
