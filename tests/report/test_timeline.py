"""Timeline files: valid trace events, nested or in sequence on every thread, the same bytes each time."""

import gzip
import json

import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st

from pimsim.report.timeline import events, lanes, write_perfetto
from pimsim.result import table

SPANS = table(
    "spans",
    [
        ("q", "matmul", "prefill", 0, "cpu:compute", 0, 1_500_400),
        ("copy", "copy", "prefill", 0, "cpu:copy", 500, 2_000_600),
        ("k", "matmul", "prefill", 0, "cpu:compute", 1_500_400, 2_000_000),
        ("head", "matmul", "decode[0]", -1, "pim", 3_000_000, 4_000_000),
    ],
)
COUNTERS = pd.DataFrame({"component": ["dram:ch0"], "time_ps": [1_000_000], "value": [3.5]})


def test_processes_threads_and_times():
    made = events(SPANS, COUNTERS)
    names = {(e["name"], e["args"]["name"]) for e in made if e["ph"] == "M"}
    assert names == {
        ("process_name", "cpu"),
        ("process_name", "pim"),
        ("process_name", "dram"),
        ("thread_name", "cpu:compute"),
        ("thread_name", "cpu:copy"),
        ("thread_name", "pim"),
    }
    first = next(e for e in made if e["name"] == "q")
    assert (first["ts"], first["dur"]) == (0.0, 1.5)
    assert first["args"] == {"phase": "prefill", "layer": 0, "kind": "matmul"}
    second = next(e for e in made if e["name"] == "k")
    assert second["ts"] == first["ts"] + first["dur"]
    counter = next(e for e in made if e["ph"] == "C")
    assert (counter["name"], counter["ts"], counter["args"]) == ("dram:ch0", 1.0, {"value": 3.5})


@pytest.mark.parametrize("name", ["t.json", "t.json.gz"])
def test_files(tmp_path, name):
    contents = []
    for _ in range(2):
        write_perfetto(SPANS, COUNTERS, tmp_path / name)
        contents.append((tmp_path / name).read_bytes())
    assert contents[0] == contents[1]
    text = gzip.decompress(contents[0]) if name.endswith(".gz") else contents[0]
    assert json.loads(text)["traceEvents"] == events(SPANS, COUNTERS)
    assert [p.name for p in tmp_path.iterdir()] == [name]


def test_an_empty_run_is_a_valid_file(tmp_path):
    write_perfetto(table("spans", []), None, tmp_path / "t.json")
    assert json.loads((tmp_path / "t.json").read_text())["traceEvents"] == []


@given(st.lists(st.tuples(st.integers(0, 30), st.integers(0, 10)), max_size=20))
def test_spans_of_a_lane_follow_or_hold_each_other(pairs):
    times = sorted(((s, s + d) for s, d in pairs), key=lambda t: (t[0], -t[1]))
    chosen = lanes(times)
    for i, (s, e) in enumerate(times):
        for j in range(i):
            if chosen[i] == chosen[j]:
                apart = s >= times[j][1] or times[i] == times[j]
                assert apart or e <= times[j][1]


def test_overlapping_spans_get_a_second_thread():
    spans = table("spans", [("a", "x", "p", -1, "e", 0, 2000), ("b", "x", "p", -1, "e", 1000, 3000)])
    threads = [e["args"]["name"] for e in events(spans) if e["name"] == "thread_name"]
    assert threads == ["e", "e (2)"]
