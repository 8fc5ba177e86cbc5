"""Where the time went: parts that add up to the run, owners worked out by hand on small runs."""

import json

import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pimsim.cli import main
from pimsim.report.explain import CAUSES, attribute, compare, signed
from pimsim.result import Result, ResultError, capacity_bytes, table


def result(rows, method="double-buffering"):
    capacity = table("capacity", [("weights", "cacheable", "w", "weights", 100)])
    summary = {
        "model": "m", "method": method, "system": "s", "prompt": 1, "tokens": 1, "ttft_s": 0.0,
        "tpot_s": None, "total_s": 0.0, "capacity_bytes": capacity_bytes(capacity),
    }  # fmt: skip
    return Result(
        spans=table("spans", rows),
        counters=table("counters", []),
        capacity=capacity,
        summary=summary,
        manifest={"settings": {"method": method}},
    )


BY_HAND = [
    ("q", "threads", "prefill", 0, "compute:t0@x", 0, 10),
    ("q", "gemm", "prefill", 0, "compute:t0@x", 10, 40),
    ("q", "gemm", "prefill", 0, "compute:t1@y", 10, 30),
    ("copy k 1 of 2", "copy", "prefill", 0, "copy:t0@z", 10, 25),
    ("copy k 2 of 2", "copy", "prefill", 0, "copy:t0@z", 35, 60),
    ("head", "pim_gemv", "decode[0]", -1, "pim:all banks", 70, 100),
]
"""10 of threads; 15 with a copy beside, 5 alone, 10 with one engine of two;
20 of a bare copy; 10 of nothing."""


def test_every_picosecond_has_the_owner_that_it_has_by_hand():
    parts = {tuple(row[:4]): row[4] for row in attribute(table("spans", BY_HAND)).itertuples(index=False)}
    assert parts == {
        ("prefill", "q", "compute", "threads"): 10,
        ("prefill", "q", "compute", "beside copies"): 15,
        ("prefill", "q", "compute", "work"): 5,
        ("prefill", "q", "compute", "last threads"): 10,
        ("prefill", "copy k", "copy", "copy not hidden"): 20,
        ("decode", "-", "-", "nothing runs"): 10,
        ("decode", "head", "pim", "work"): 30,
    }


SPAN = st.tuples(
    st.sampled_from(["a", "b", "copy c 1 of 2"]),
    st.sampled_from(["gemm", "copy", "threads"]),
    st.sampled_from(["prefill", "decode[0]"]),
    st.integers(-1, 2),
    st.sampled_from(["x:1", "x:2", "pim"]),
    st.integers(0, 50),
    st.integers(0, 30),
).map(lambda s: (*s[:6], s[5] + s[6]))


@settings(max_examples=60, deadline=None)
@given(st.lists(SPAN, max_size=25), st.lists(SPAN, max_size=25))
def test_parts_add_up_to_the_run_and_differences_to_the_difference(one, two):
    ends = [max((row[6] for row in rows), default=0) for rows in (one, two)]
    frame = attribute(table("spans", one))
    assert frame["ps"].sum() == ends[0]
    assert (frame["ps"] > 0).all()
    assert set(frame["cause"]) <= set(CAUSES)
    made = compare(result(one), result(two))
    assert made.difference_ps == ends[1] - ends[0]
    assert made.by("operator")["difference_s"].sum() == pytest.approx((ends[1] - ends[0]) * 1e-12)
    assert made.sentences()


def test_a_run_does_not_differ_from_itself():
    made = compare(result(BY_HAND), result(BY_HAND))
    assert (made.parts["difference_ps"] == 0).all()
    assert len(made.sentences()) == 1
    assert "the same time as" in made.sentences()[0]
    assert made.settings == {}


def test_the_cause_is_named():
    later = [(*row[:5], row[5] + 500, row[6] + 500) if row[5] >= 35 else row for row in BY_HAND]
    made = compare(result(BY_HAND), result(later, "other"))
    assert made.settings == {"method": ("double-buffering", "other")}
    assert "nothing runs" in made.sentences()[1]
    assert made.by("cause").iloc[0]["cause"] == "nothing runs"
    with pytest.raises(ResultError, match="did you mean 'cause'"):
        made.by("causes")


def test_signed():
    assert [signed(v) for v in (1.5, -0.25, 3e-6, -2e-9)] == ["+1.5 s", "-250 ms", "+3 µs", "-2 ns"]


def test_command(tmp_path, capsys):
    result(BY_HAND).save(tmp_path / "a")
    result(BY_HAND[:3], "other").save(tmp_path / "b")
    assert main(["compare", str(tmp_path / "a"), str(tmp_path / "b"), "--figure", str(tmp_path / "why")]) == 0
    assert "By phase and cause" in capsys.readouterr().out
    assert {"why.png", "why.svg"} < {file.name for file in tmp_path.iterdir()}
    assert main(["compare", str(tmp_path / "a"), str(tmp_path / "b"), "--json"]) == 0
    said = json.loads(capsys.readouterr().out)
    assert said["difference_s"] == pytest.approx(-60e-12)
    assert sum(row["difference_s"] for row in said["parts"]) == pytest.approx(-60e-12)
    assert pd.DataFrame(said["memory"])["difference_bytes"].tolist() == [0, 0]
    assert main(["compare", str(tmp_path / "a"), str(tmp_path / "none")]) == 2
    assert "no such folder" in capsys.readouterr().err
