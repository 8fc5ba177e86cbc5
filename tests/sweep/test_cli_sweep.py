"""The commands sweep and results, on points of a tiny model."""

import json

import pytest

from pimsim.cli import main

FILE = """
[sweep]
name = "t"
[base]
model = "MODEL"
method = "facil"
tokens = 2
[axes]
prompt = [4, 6]
cpu.copy_threads = [1, 2, 9]
"""


@pytest.fixture
def file(tmp_path, monkeypatch, tiny_model):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "t.toml").write_text(FILE.replace("MODEL", tiny_model))
    return tmp_path


def said(capsys, *args, code=0):
    assert main(list(args)) == code
    return capsys.readouterr()


def test_a_sweep_from_start_to_end(file, capsys):
    assert "t: 6 points, 6 different ones" in said(capsys, "sweep", "t.toml", "--dry-run").out
    assert not (file / "out").exists()
    out = said(capsys, "sweep", "t.toml", "--jobs", "0", "--json").out
    found = json.loads(out)
    assert found["points"] == 6
    assert found["status"] == {"done": 4, "failed": 2}
    for name in ("results.sqlite", "results.csv", "overview.png", "overview.svg"):
        assert (file / "out" / "t" / name).stat().st_size > 0
    again = said(capsys, "sweep", "t.toml", "--resume")
    assert "6 were there" in again.err
    assert "2 failed: cpu.copy_threads=9; wanted 1 to the 6 cores" in again.out

    store = "out/t/results.sqlite"
    found = json.loads(
        said(capsys, "results", "query", store, "--where", "prompt > 5", "--sort", "total_s", "--json").out
    )
    assert found["of"] == 3  # the failed one, too: it has no times, but it has a prompt
    text = said(capsys, "results", "query", store, "--columns", "prompt,ttft_s", "--limit", "1").out
    assert "ttft [s]" in text
    assert "1 of 6 rows" in text
    for name in ("a.csv", "b.csv", "c.parquet", "d.json"):
        said(capsys, "results", "export", store, name)
    assert (file / "a.csv").read_bytes() == (file / "b.csv").read_bytes()
    assert (
        (file / "a.csv")
        .read_text()
        .splitlines()[0]
        .startswith("sweep,point,prompt,cpu.copy_threads,status,error")
    )
    assert "6 results, content" in said(capsys, "results", "verify", store, "--recompute", "1").out
    assert "0 results" in said(capsys, "results", "gc", store).out


def test_shards_and_merging(file, capsys):
    for i in (1, 2):
        said(capsys, "sweep", "t.toml", "--jobs", "0", "--shard", f"{i}/2", "-q")
    parts = [f"out/t/results-{i}-of-2.sqlite" for i in (1, 2)]
    assert "3 results were new" in said(capsys, "results", "merge", "all.sqlite", *parts).out
    assert "6 were there" in said(capsys, "sweep", "t.toml", "--store", "all.sqlite").err


@pytest.mark.parametrize(
    ("args", "text"),
    [
        (["sweep", "missing.toml"], "missing.toml: cannot be read"),
        (["sweep", "t.toml", "--shard", "3/2"], "wanted i/n"),
        (["sweep", "t.toml", "--memory", "lots"], "--memory: size 'lots'"),
        (["sweep", "t.toml", "--timeout", "0"], "above 0"),
        (["sweep", "t.toml", "--resume"], "no such store to go on with"),
        (["sweep", "t.toml", "--tables", "span"], "no table 'span'"),
        (["results", "query", "missing.sqlite"], "no such store"),
        (["results", "verify", "t.toml"], "damaged or no store"),
    ],
)
def test_bad_input_is_one_line(file, capsys, args, text):
    err = said(capsys, *args, code=2).err
    assert text in err
    assert len(err.splitlines()) == 1


def test_the_list_of_parameters(capsys):
    rows = {row["path"] for row in json.loads(said(capsys, "sweep", "--paths", "--json").out)["paths"]}
    assert {"prompt", "memory.dram.timings.RCD", "memory.banks", "cpu.copy_threads", "method"} <= rows
