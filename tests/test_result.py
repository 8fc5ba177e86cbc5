"""Results: what they refuse, and that a folder is the same bytes every time and read back exactly."""

import dataclasses
import json

import pandas as pd
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from pandas.testing import assert_frame_equal

from pimsim import result as results
from pimsim.errors import PimsimError
from pimsim.result import Result, ResultError, breakdown, capacity_bytes, digest, manifest, table

SPANS = [
    ("layer0/q", "matmul", "prefill", 0, "cpu:compute", 0, 1_500),
    ("layer0/copy", "copy", "prefill", 0, "cpu:copy", 500, 2_000),
    ("head", "matmul", "decode[0]", -1, "pim", 2_000, 5_000),
    ("head", "matmul", "decode[1]", -1, "pim", 5_000, 9_000),
]
COUNTERS = [("channel0", "reads", 7.0, "commands"), ("channel0", "busy", 0.1, "share")]
CAPACITY = [
    ("pim", "non-cacheable", "weights", "weights", 4_096),
    ("pim", "non-cacheable", "padding", "padding", 1_024),
    ("host", "cacheable", "buffer", "buffers", 512),
]


def made(**changes):
    values = {
        "spans": table("spans", SPANS),
        "counters": table("counters", COUNTERS),
        "capacity": table("capacity", CAPACITY),
        "summary": {
            "model": "tiny",
            "method": "host-only",
            "system": "bench",
            "prompt": 8,
            "tokens": 2,
            "ttft_s": 2e-9,
            "tpot_s": 4e-9,
            "total_s": 9e-9,
            "capacity_bytes": {"pim": 5_120, "host": 512, "total": 5_632},
        },
        "manifest": manifest(parts={"a": (1, 2)}, trace_digest="00", settings={"fidelity": "step"}),
    }
    return Result(**values | changes)


def test_what_is_saved_is_read_back(tmp_path):
    one = made()
    one.save(tmp_path / "r")
    two = Result.load(tmp_path / "r")
    for which in ("spans", "counters", "capacity"):
        assert_frame_equal(one.to_frame(which), two.to_frame(which))
    assert (one.summary, one.manifest) == (two.summary, two.manifest)


def test_equal_results_are_equal_bytes(tmp_path):
    for name in ("a", "b"):
        made().save(tmp_path / name)
    for file in sorted((tmp_path / "a").iterdir()):
        assert file.read_bytes() == (tmp_path / "b" / file.name).read_bytes()
        assert b"\r" not in file.read_bytes()
    assert sorted(p.name for p in tmp_path.iterdir()) == ["a", "b"]


@settings(max_examples=30, deadline=None)
@example(rows=[("a\rb", 'c"d,', 0.1, "x"), ("\n", "\u2028", -0.0, "x")])
@given(
    rows=st.lists(
        st.tuples(
            st.text(st.characters(codec="utf-8"), max_size=5),
            st.text(st.characters(codec="utf-8"), max_size=5),
            st.floats(allow_nan=False, allow_infinity=False),
            st.just("x"),
        ),
        max_size=5,
    )
)
def test_any_text_and_any_number_survives(tmp_path_factory, rows):
    folder = tmp_path_factory.mktemp("any") / "r"
    one = made(counters=table("counters", rows))
    one.save(folder)
    assert_frame_equal(one.counters, Result.load(folder).counters, check_exact=True)


def test_a_result_replaces_a_result_and_nothing_else(tmp_path):
    folder = tmp_path / "r"
    made().save(folder, add=lambda here: (here / "old.txt").write_text("old"))
    made().save(folder)
    assert not (folder / "old.txt").exists()
    (folder / "notes.txt").write_text("mine")
    with pytest.raises(ResultError, match=r"notes\.txt"):
        made().save(folder)
    other = tmp_path / "other"
    other.mkdir()
    (other / "thesis.tex").write_text("mine")
    with pytest.raises(ResultError, match="pimsim did not write it"):
        made().save(other)
    (tmp_path / "file").write_text("mine")
    with pytest.raises(ResultError, match="is a file"):
        made().save(tmp_path / "file")
    assert (folder / "notes.txt").read_text() == (other / "thesis.tex").read_text() == "mine"


def test_a_save_that_fails_leaves_the_old_result(tmp_path):
    folder = tmp_path / "r"
    made().save(folder)
    before = (folder / "spans.csv").read_bytes()

    def fail(here):
        raise PimsimError("no figure today")

    with pytest.raises(PimsimError, match="no figure today"):
        made(spans=table("spans", [])).save(folder, add=fail)
    assert (folder / "spans.csv").read_bytes() == before
    assert [p.name for p in tmp_path.iterdir()] == ["r"]


def edit(name, old, new):
    def change(folder):
        path = folder / name
        text = path.read_text()
        assert old in text
        path.write_text(text.replace(old, new, 1))

    return change


@pytest.mark.parametrize(
    ("damage", "message"),
    [
        (edit("spans.csv", "1500", "15.5"), r"spans\.csv:2: end_ps: '15\.5' is not a 64-bit integer"),
        (edit("spans.csv", "1500", "9" * 19), r"spans\.csv:2: end_ps"),
        (edit("spans.csv", "1500", "-1"), "runs 0..-1 ps"),
        (edit("spans.csv", "task,kind", "kind,task"), r"spans\.csv:1: columns kind,task"),
        (edit("spans.csv", ",1500\n", "\n"), r"spans\.csv:2: 6 values for 7 columns"),
        (edit("spans.csv", "layer0/q", '"layer0/q'), r"spans\.csv"),
        (edit("spans.csv", "5000,9000\n", "5000,90"), r"spans\.csv:5: the file ends within a line"),
        (
            edit("spans.csv", "head,matmul,decode[1],-1,pim,5000,9000\n", ""),
            r"spans\.csv: 3 rows, but result\.json says 4",
        ),
        (edit("counters.csv", "0.1", "nan"), r"counters\.csv:3: value: 'nan' is not a finite number"),
        (edit("counters.csv", "0.1", "__import__('os')"), r"counters\.csv:3: value"),
        (edit("capacity.csv", "512", "513"), "differs from the capacity table"),
        (edit("result.json", '"version": 1', '"version": 2'), "version 2; this pimsim reads version 1"),
        (edit("result.json", "pimsim.result", "other"), "schema 'other'"),
        (edit("result.json", '"rows"', '"row"'), "unknown key 'row'; did you mean 'rows'"),
        (edit("result.json", '"schema"', '"schema" "'), r"result\.json:2:\d+"),
        (edit("result.json", '"prompt": 8', '"prompt": NaN'), r"result\.json: NaN"),
        (edit("result.json", '"prompt": 8', '"prompt": 8, "prompt": 9'), "appears twice"),
        (edit("result.json", '"prompt": 8', '"prompt": -8'), "prompt=-8"),
        (edit("result.json", '"model": "tiny",', ""), "model is missing"),
        (lambda folder: (folder / "result.json").write_text("[" * 100_000), r"result\.json"),
        (lambda folder: (folder / "spans.csv").write_bytes(b"\xff"), r"spans\.csv: byte 0 is not UTF-8"),
        (lambda folder: (folder / "spans.csv").unlink(), r"spans\.csv: cannot be read"),
    ],
)
def test_a_damaged_folder_gives_one_clear_message(tmp_path, damage, message):
    made().save(tmp_path / "r")
    damage(tmp_path / "r")
    with pytest.raises(ResultError, match=message):
        Result.load(tmp_path / "r")


def test_no_folder(tmp_path):
    with pytest.raises(ResultError, match="no such folder"):
        Result.load(tmp_path / "r")


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"spans": table("spans", SPANS).drop(columns="layer")}, "spans: columns"),
        ({"spans": table("spans", SPANS).astype({"layer": float})}, r"spans\.layer: type float64"),
        ({"spans": table("spans", [("a", "b", "c", 0, "e", 5, 4)])}, r"row 0 \(a\): runs 5\.\.4 ps"),
        (
            {"counters": table("counters", [("c", "s", float("nan"), "u")])},
            r"\(c/s\): the value is not finite",
        ),
        ({"capacity": table("capacity", [("pim", "nc", "w", "weights", -1)])}, "negative bytes"),
        ({"capacity": table("capacity", CAPACITY[:2])}, "differs from the capacity table"),
        ({"manifest": {"when": float("inf")}}, "manifest"),
        ({"manifest": {"where": object()}}, "manifest"),
    ],
)
def test_a_result_that_contradicts_itself_is_refused(changes, message):
    with pytest.raises(ResultError, match=message):
        made(**changes)


def test_json_holds_summary_and_manifest():
    said = json.loads(made().to_json())
    assert said["capacity_bytes"]["total"] == 5_632
    assert set(results.SUMMARY) < set(said)
    assert said["manifest"]["seed"] == 0


def test_frames():
    one = made()
    assert one.to_frame("summary")["capacity_total_bytes"].tolist() == [5_632]
    with pytest.raises(ResultError, match="did you mean 'spans'"):
        one.to_frame("span")
    frame = one.to_frame("spans")
    frame["layer"] = 9
    assert one.spans["layer"].tolist() == [0, 0, -1, -1]


def test_breakdown_joins_the_steps_of_a_phase():
    # By hand: the two decode steps of 3000 and 4000 ps.
    frame = breakdown(table("spans", SPANS))
    rows = {(r.phase, r.engine, r.kind): r.seconds for r in frame.itertuples()}
    assert rows["decode", "pim", "matmul"] == pytest.approx(7e-9)
    assert len(rows) == 3


def test_capacity_sums_by_region():
    assert capacity_bytes(table("capacity", CAPACITY)) == {"pim": 5_120, "host": 512, "total": 5_632}


def test_a_table_refuses_rows_of_another_length():
    with pytest.raises(ResultError, match="row 0: 2 values"):
        table("counters", [("a", "b")])


@dataclasses.dataclass(frozen=True)
class Part:
    name: str
    clocks: tuple[int, ...]


def test_digests_tell_parts_apart():
    assert digest(Part("a", (1, 2))) == digest(Part("a", (1, 2)))
    assert digest(Part("a", (1, 2))) != digest(Part("a", (1, 3)))
    assert digest({"b": 1, "a": 2}) == digest({"a": 2, "b": 1})
    with pytest.raises(ResultError, match="has no digest"):
        digest(object())


def test_csv_of_floats_is_exact():
    frame = pd.DataFrame({"x": [0.1, 1e-300, float("nan")], "y": [1, 2, 3]})
    assert results.csv_bytes(frame) == b"x,y\n0.1,1\n1e-300,2\n,3\n"


def test_optional_tables_are_saved_where_they_have_rows(tmp_path):
    bare = made()
    bare.save(tmp_path / "bare")
    assert not (tmp_path / "bare" / "traffic.csv").exists()
    assert len(Result.load(tmp_path / "bare").traffic) == 0
    full = made(traffic=table("traffic", [(0, 10, -1, 64, 32, 0, 4)]))
    full.save(tmp_path / "full")
    again = Result.load(tmp_path / "full")
    assert again.traffic.equals(full.traffic)
    assert again.to_frame("traffic")["read_bytes"].tolist() == [64]
    with pytest.raises(ResultError, match="read_bytes is negative"):
        made(traffic=table("traffic", [(0, 10, -1, -64, 32, 0, 4)]))
