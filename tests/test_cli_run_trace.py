"""`pimsim run` of traces and networks, and `pimsim systems`: what is printed, and what is refused."""

import json

import pytest

from pimsim.cli import main
from pimsim.result import Result
from pimsim.trace.file import write_trace
from pimsim.trace.vision_trace import vision_trace

ON = ["--system", "iphone-15-pro", "--engine", "gpu", "--quiet"]


def run(capsys, *words):
    code = main(list(words))
    said = capsys.readouterr()
    return code, said.out, said.err


def test_a_network_as_json(capsys):
    code, out, _ = run(capsys, "run", "--model", "cifar_resnet20", "--weights", "fp16", *ON, "--json")
    said = json.loads(out)
    assert code == 0
    assert (said["workload"], said["system"], said["fits"]) == ("cifar_resnet20", "iphone-15-pro", True)
    # 40.55 million multiply-adds (docs/workloads.md), two operations each, and biases, sums and pooling.
    assert said["flops"] == pytest.approx(2 * 40.55e6, rel=0.01)
    assert sum(said["share_of_time_by_bound"].values()) == pytest.approx(1)


def test_a_trace_file_gives_what_its_model_gives(capsys, tmp_path):
    write_trace(vision_trace("cifar_resnet20", dtype="fp16"), tmp_path / "net.jsonl.gz")
    _, of_file, _ = run(capsys, "run", str(tmp_path / "net.jsonl.gz"), *ON, "--json")
    _, of_name, _ = run(capsys, "run", "--model", "cifar_resnet20", "--weights", "fp16", *ON, "--json")
    assert json.loads(of_file) == json.loads(of_name)


def test_tables_and_a_folder(capsys, tmp_path):
    folder = tmp_path / "out"
    words = ["run", "--model", "cifar_resnet20", "--weights", "fp16", *ON, "--out", str(folder)]
    code, out, _ = run(capsys, *words)
    assert code == 0
    assert "time of operators bound by bandwidth" in out
    assert "dram [MB]" in out
    files = {path.name for path in folder.iterdir()}
    assert {"operators.csv", "result.json", "spans.csv", "timeline.json.gz"} <= files
    assert Result.load(folder).summary["method"] == "engine gpu"


@pytest.mark.parametrize(
    ("words", "error"),
    [
        (["run"], "give a trace file or --model"),
        (["run", "t.jsonl", "--model", "resnet18"], "give a trace file or --model"),
        (["run", "t.jsonl", "--method", "facil"], "a method needs --model"),
        (["run", "none.jsonl"], "none.jsonl: cannot read the trace"),
        (["run", "--model", "resnet19"], "no model named 'resnet19'; did you mean 'resnet18'"),
        (["run", "--model", "resnet18", "--weights", "fp12"], "no dtype 'fp12'"),
        (["run", "--model", "resnet18", "--system", "orin"], "no system named 'orin'"),
        (["run", "--model", "resnet18", "--system", "none.toml"], "none.toml: cannot be read"),
        (["systems", "orin"], "no system named 'orin'"),
    ],
)
def test_bad_input_is_one_message_and_exit_code_2(capsys, words, error):
    code, out, err = run(capsys, *words)
    assert (code, out) == (2, "")
    assert error in " ".join(err.replace("│", " ").split())


def test_systems(capsys):
    code, out, _ = run(capsys, "systems", "--json")
    rows = {row["system"]: row for row in json.loads(out)["systems"]}
    assert code == 0
    assert rows["jetson-orin"]["gpu_gflops"] == 42_500
    code, out, _ = run(capsys, "systems", "jetson-orin")
    assert code == 0
    assert "orin-ampere-gpu" in out
