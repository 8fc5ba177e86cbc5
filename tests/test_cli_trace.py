"""`pimsim trace` on the command line: every form, its output and its exit codes."""

import json
import sys
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
        ["from-vision", "resnet5O"],
        ["from-vision", "resnet50", "--batch", 0],
        ["from-gguf", "none.gguf", "--prompt", 1],
        ["from-gguf", "none.gguf"],
    ],
)
def test_wrong_usage_exits_with_2(capsys, args):
    code, out, err = said(capsys, *args)
    assert (code, out) == (2, "")
    assert err


COMMANDS = """from-config from-scalesim from-pytorch from-torch from-vision from-onnx from-gguf from-chakra
to-chakra show diff""".split()  # noqa: SIM905


@pytest.mark.parametrize("command", COMMANDS)
def test_help_gives_an_example(capsys, command):
    code, out, _ = said(capsys, command, "--help")
    assert code == 0
    assert "Example" in out


def test_a_vision_network(capsys, tmp_path):
    out = tmp_path / "r50.jsonl.gz"
    code, text, _ = said(capsys, "from-vision", "resnet50", "--batch", 2, "--out", out, "--json")
    assert code == 0
    conv = next(row for row in json.loads(text)["operators"] if row["kind"] == "conv2d")
    assert conv["operators"] == 53  # and one linear layer, as published
    assert said(capsys, "show", out, "--json")[1] == text


def test_a_gguf_file(capsys, tmp_path):
    from benchmarks.fuzz_readers import READERS

    path = tmp_path / "tiny.gguf"
    path.write_bytes(READERS["gguf"].seeds(tmp_path)[0])
    code, text, _ = said(capsys, "from-gguf", path, "--context", 8, "--json")
    assert code == 0
    # Embedding, attention of four heads, gated MLP and three norms, all of width 64.
    assert json.loads(text)["parameters"] == 160 * 64 + 4 * 64 * 64 + 3 * 64 * 96 + 3 * 64
    narrow = json.loads(said(capsys, "from-gguf", path, "--context", 8, "--types", "w4a16", "--json")[1])
    assert narrow["operators"][-1]["read_bytes"] < json.loads(text)["operators"][-1]["read_bytes"]


@pytest.mark.parametrize(
    ("args", "package", "extra"),
    [
        (["from-torch", "llama-3.2-1b", "--prompt", 2], "torch", "torch"),
        (["from-onnx", "x.onnx"], "onnx", "onnx"),
        (["from-chakra", "x.et"], "google.protobuf", "chakra"),
    ],
)
def test_a_missing_package_names_its_extra(capsys, monkeypatch, args, package, extra):
    monkeypatch.setitem(sys.modules, package, None)
    for name in [name for name in sys.modules if name.startswith(f"pimsim.trace.{MADE_BY[extra]}")]:
        monkeypatch.delitem(sys.modules, name)
    code, out, err = said(capsys, *args)
    assert (code, out) == (2, "")
    assert f"pimsim[{extra}]" in err


MADE_BY = {"torch": "capture", "onnx": "onnx", "chakra": "chakra"}


@pytest.mark.extra
def test_a_module_of_ones_own(capsys, tmp_path, monkeypatch):
    pytest.importorskip("torch")
    (tmp_path / "my_models.py").write_text(
        "import torch\nfrom torch import nn\n\n\n"
        "def net():\n    return nn.Linear(8, 4), (torch.empty(2, 8),)\n\n\n"
        "def step():\n    return nn.Linear(8, 4), (torch.empty(2, 8),), lambda y: y.sum(), ()\n\n\n"
        "def wrong():\n    return 5\n"
    )
    monkeypatch.chdir(tmp_path)
    code, text, _ = said(capsys, "from-torch", "my_models:net", "--json")
    assert code == 0
    told = json.loads(text)
    assert (told["name"], told["parameters"], told["skipped"]) == ("net", 36, {})
    assert told["operators"][0]["flops"] == 2 * 2 * 8 * 4 + 2 * 4
    assert told["peak_memory_bytes"]["weights"] == 36 * 4
    code, text, _ = said(capsys, "from-torch", "my_models:step", "--figure", tmp_path / "memory.png")
    assert code == 0
    assert "PyTorch itself holds" in text
    assert "optimiser state 144 B" in text
    assert (tmp_path / "memory.png").read_bytes().startswith(b"\x89PNG")
    for target, says in (
        ("my_models:wrong", "wanted (module, inputs)"),
        ("my_models:none", "has no function 'none'"),
        ("no_such_file:f", "cannot import 'no_such_file'"),
    ):
        code, _, err = said(capsys, "from-torch", target)
        assert code == 2
        assert says in " ".join(err.split())


@pytest.mark.extra
def test_a_language_model_of_transformers(capsys):
    pytest.importorskip("transformers")
    code, text, _ = said(capsys, "from-torch", "llama-3.2-1b", "--context", 8, "--json")
    assert code == 0
    ours = json.loads(said(capsys, "from-config", "llama-3.2-1b", "--context", 8, "--json")[1])
    total = {row["kind"]: row for row in json.loads(text)["operators"]}["total"]
    mine = {row["kind"]: row for row in ours["operators"]}["total"]
    assert {**total, "operators": 0} == {**mine, "operators": 0}


@pytest.mark.extra
def test_onnx_and_chakra(capsys, tmp_path):
    onnx = pytest.importorskip("onnx")
    light = Path(onnx.__file__).parent / "backend" / "test" / "data" / "light" / "light_squeezenet.onnx"
    out, exchanged = tmp_path / "s.jsonl.gz", tmp_path / "s.et"
    code, text, _ = said(capsys, "from-onnx", light, "--out", out, "--json")
    assert code == 0
    assert json.loads(text)["parameters"] == 1_235_496
    assert said(capsys, "to-chakra", out, exchanged)[0] == 0
    assert (
        json.loads(said(capsys, "from-chakra", exchanged, "--json")[1])["digest"]
        == json.loads(text)["digest"]
    )
    for dim in ("batch", "batch=", "=3", "batch=0", "batch=-1"):
        assert said(capsys, "from-onnx", light, "--dim", dim)[0] == 2
