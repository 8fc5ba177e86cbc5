"""`pimsim trace` on the command line: every form, its output and its exit codes."""

import json
from pathlib import Path

import pytest

from pimsim import cli

ROOT = Path(__file__).parents[1]
GEMM = "Layer, M, N, K,\na,4,6,8,\n"


def said(capsys, *args):
    code = cli.main(["trace", *map(str, args)])
    out = capsys.readouterr()
    assert "Traceback" not in out.err
    return code, out.out, out.err


def test_both_ways_to_name_a_model_give_the_same(capsys):
    old = said(capsys, "--model", "llama-3.2-1b", "--context", 8, "--json")
    new = said(capsys, "from-config", "llama-3.2-1b", "--context", 8, "--json")
    assert old == new
    assert old[0] == 0
    assert json.loads(old[1])["parameters"] == 1_235_814_400  # the model page says 1.24B


def test_types_of_a_model(capsys):
    config = ROOT / "tests" / "data" / "llm" / "qwen3-0.6b.json"
    code, out, _ = said(capsys, "from-config", config, "--context", 99, "--types", "w8a16kv8", "--json")
    assert code == 0
    wide = said(capsys, "from-config", config, "--context", 99, "--json")[1]

    def attention(text):
        return next(row for row in json.loads(text)["operators"] if row["kind"] == "attention")["read_bytes"]

    cache = 28 * 2 * 100 * 1024  # layers, K and V, tokens, elements
    assert attention(wide) - attention(out) == cache


def test_a_topology_becomes_a_trace_file_that_can_be_shown_and_compared(capsys, tmp_path):
    topology, out = tmp_path / "net.csv", tmp_path / "net.jsonl.gz"
    topology.write_text(GEMM)
    code, text, _ = said(capsys, "from-scalesim", topology, "--out", out)
    assert code == 0
    assert "Written to" in text
    assert json.loads(said(capsys, "show", out, "--json")[1])["operators"][0]["flops"] == 2 * 4 * 6 * 8
    assert said(capsys, "diff", out, out)[0] == 0
    topology.write_text(GEMM.replace("8", "9"))
    said(capsys, "from-scalesim", topology, "--out", tmp_path / "other.jsonl")
    code, text, _ = said(capsys, "diff", out, tmp_path / "other.jsonl", "--json")
    assert code == 1
    told = json.loads(text)
    assert not told["same"]
    assert {"phase": "forward", "operator": "a", "what": "flops", "first": "384", "second": "432"} in told[
        "differences"
    ]


def test_a_profile_with_an_unknown_operator(capsys, tmp_path):
    def event(name, start, dims):
        args = {"Input Dims": dims, "Input type": ["float"] * len(dims)}
        return {"ph": "X", "cat": "cpu_op", "name": name, "ts": start, "dur": 1, "args": args}

    path = tmp_path / "run.json"
    events = [event("aten::mm", 0, [[2, 3], [3, 4]]), event("aten::novel", 5, [[2]])]
    path.write_text(json.dumps({"traceEvents": events}))
    code, out, err = said(capsys, "from-pytorch", path)
    assert (code, out) == (2, "")
    assert "unknown operators: aten::novel x 1; --skip-unknown" in err
    code, out, _ = said(capsys, "from-pytorch", path, "--skip-unknown")
    assert code == 0
    assert "left out: aten::novel, 1 times" in out
    assert json.loads(said(capsys, "from-pytorch", path, "--skip-unknown", "--json")[1])["skipped"] == {
        "aten::novel": 1
    }


@pytest.mark.parametrize(
    "args",
    [
        [],
        ["--prompt", 3],
        ["from-config", "llama-3.2-1b"],
        ["from-config", "llama-3.2-1b", "--prompt", 1, "--context", 1],
        ["from-config", "llama-3.2-1b", "--prompt", 1, "--types", "w5a5"],
        ["--model", "llama-3.2-1b", "show", "x"],
        ["from-scalesim"],
        ["from-scalesim", "none.csv"],
        ["show", "none.jsonl"],
        ["diff", "none.jsonl", "none.jsonl"],
        ["from-nothing"],
    ],
)
def test_wrong_usage_exits_with_2(capsys, args):
    code, out, err = said(capsys, *args)
    assert (code, out) == (2, "")
    assert err


@pytest.mark.parametrize("command", ["from-config", "from-scalesim", "from-pytorch", "show", "diff"])
def test_help_gives_an_example(capsys, command):
    code, out, _ = said(capsys, command, "--help")
    assert code == 0
    assert "Example" in out
