"""The command line: help, exit codes, one JSON object with --json, and no traceback on bad input.

The packages behind the commands are stood in for, so that only the command line is tested here.
"""

import json
import subprocess
import sys
from dataclasses import dataclass
from types import ModuleType, SimpleNamespace

import pandas as pd
import pytest
import typer

from pimsim import cli, reproduce
from pimsim.checks import Check, Tolerance
from pimsim.errors import PimsimError
from pimsim.report.report import Report
from pimsim.result import Result, capacity_bytes, table

COMMANDS = [
    "run",
    "sweep",
    "search",
    "results",
    "trace",
    "parts",
    "systems",
    "methods",
    "npu",
    "reproduce",
    "validate",
    "replay",
    "audit",
]
RUN = ["run", "--model", "tiny", "--method", "host-only", "--prompt", "8", "--tokens", "2"]


def module(monkeypatch, name, **contents):
    made = ModuleType(name)
    vars(made).update(contents)
    monkeypatch.setitem(sys.modules, name, made)
    parent, _, last = name.rpartition(".")
    if parent in sys.modules:
        monkeypatch.setattr(sys.modules[parent], last, made, raising=False)
    return made


def result():
    spans = [
        ("layer0/q", "matmul", "prefill", 0, "cpu:compute", 0, 1_500_000),
        ("head", "matmul", "decode[0]", -1, "pim", 2_000_000, 5_000_000),
    ]
    capacity = table("capacity", [("pim", "non-cacheable", "weights", "weights", 2_000_000_000)])
    return Result(
        spans=table("spans", spans),
        counters=table("counters", []),
        capacity=capacity,
        summary={
            "model": "tiny",
            "method": "host-only",
            "system": "bench",
            "prompt": 8,
            "tokens": 2,
            "ttft_s": 0.25,
            "tpot_s": 0.125,
            "total_s": 0.5,
            "capacity_bytes": capacity_bytes(capacity),
        },
        manifest={"seed": 0},
    )


@pytest.fixture
def simulated(monkeypatch):
    calls = []

    def simulate(**named):
        calls.append(named)
        named["progress"](0.5, "half")
        if named["model"] != "tiny":
            raise PimsimError(f"no model named {named['model']!r}; did you mean 'tiny'?")
        return result()

    module(monkeypatch, "pimsim.run", simulate=simulate)
    return calls


def test_help_teaches_every_command(capsys):
    assert cli.main(["--help"]) == 0
    said = capsys.readouterr().out
    assert all(command in said for command in COMMANDS)
    for command in COMMANDS:
        assert cli.main([command, "--help"]) == 0
        assert "Example" in capsys.readouterr().out


def leaves(command, words=()):
    """(words, command) of everything that runs, subcommands included."""
    held = getattr(command, "commands", {})
    if not held or (command.callback is not None and getattr(command, "invoke_without_command", False)):
        yield words, command
    for name, each in held.items():
        yield from leaves(each, (*words, name))


ALL = [pair for pair in leaves(typer.main.get_command(cli.app)) if pair[0]]


@pytest.mark.parametrize(("words", "command"), ALL, ids=[" ".join(words) for words, _ in ALL])
def test_every_command_has_the_common_options_and_an_example(words, command, capsys):
    options = {option for parameter in command.params for option in parameter.opts}
    assert {"--json", "--quiet", "-q"} <= options
    assert cli.main([*words, "--help"]) == 0
    assert "Example" in capsys.readouterr().out


@pytest.mark.parametrize(
    "line",
    [
        "parts", "parts hbm3-6400-16gb-x32", "systems", "systems jetson-orin", "methods", "controllers",
        "trace --model llama-3.2-1b --prompt 4", "trace from-vision resnet50",
        "trace from-config llama-3.2-1b --context 4", "sweep --paths", "reproduce",
        "elementwise --pim hbm-pim-2000 --operation add --elements 65536",
        "gemv --pim hbm-pim-2000 --rows 256 --cols 256", "npu --gemm 64 64 64",
        "cache --pattern stream --size 64KiB",
        "attention --pim lpddr5x-pim-9600 --heads 8 --kv-heads 8 --head-dim 64 --context 64 --dtype int8",
    ],
)  # fmt: skip
def test_json_is_one_object_and_quiet_is_quiet(line, capsys):
    assert cli.main([*line.split(), "--json", "--quiet"]) == 0
    said = capsys.readouterr()
    assert isinstance(json.loads(said.out), dict)
    assert said.err == ""


def test_help_loads_nothing_heavy():
    code = (
        "import sys; from pimsim import cli; cli.main(['--help']); "
        "print({'numpy', 'pandas', 'numba', 'matplotlib', 'simpy'} & set(sys.modules), file=sys.stderr)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stderr.strip() == "set()"


def test_version(capsys):
    assert cli.main(["--version"]) == 0
    assert capsys.readouterr().out.startswith("pimsim ")


@pytest.mark.parametrize(
    "args",
    [
        ["rum"],
        ["run"],
        ["run", "--modell", "x"],
        [*RUN[:-1], "0"],
        [*RUN[:-1], "-3"],
        [*RUN[:-1], "two"],
        [*RUN, "--fidelity", "exact"],
        ["trace", "--model", "llama-3.2-1b"],
        ["trace", "--model", "llama-3.2-1b", "--prompt", "1", "--context", "1"],
        ["audit", "log.csv"],
    ],
)
def test_wrong_usage_exits_with_2(args, capsys):
    assert cli.main(args) == 2
    said = capsys.readouterr()
    assert said.out == ""
    assert "Traceback" not in said.err
    assert said.err


def test_run_prints_a_table(simulated, capsys):
    assert cli.main(RUN) == 0
    said = capsys.readouterr()
    assert "tiny on bench with host-only, prompt 8, 2 tokens" in said.out
    lines = {" ".join(line.split()) for line in said.out.splitlines()}
    assert {"time to first token 0.25 s", "time per further token 125 ms", "generated 4 tokens/s"} <= lines
    assert "memory, pim 2 GB" in lines
    assert said.err.splitlines() == [
        "tiny, host-only, prompt 8, 2 tokens ...",
        "tiny, host-only, prompt 8, 2 tokens: done",
    ]
    assert simulated[0]["fidelity"] == "sampled"
    assert simulated[0]["system"] == "exynos2400"


def test_run_as_json_is_one_object(simulated, capsys):
    assert cli.main([*RUN, "--json", "--quiet"]) == 0
    said = capsys.readouterr()
    assert json.loads(said.out)["manifest"] == {"seed": 0}
    assert said.err == ""


def test_run_writes_a_folder(simulated, tmp_path, capsys):
    assert cli.main([*RUN, "--out", str(tmp_path / "out")]) == 0
    files = {path.name for path in (tmp_path / "out").iterdir()}
    assert files == {
        "spans.csv",
        "counters.csv",
        "capacity.csv",
        "result.json",
        "timeline.json.gz",
        "timeline.png",
        "timeline.svg",
        "breakdown.png",
        "breakdown.svg",
    }
    assert Result.load(tmp_path / "out").summary["ttft_s"] == 0.25


def test_a_folder_that_is_not_ours_is_refused_before_the_run(simulated, tmp_path, capsys):
    (tmp_path / "thesis.tex").write_text("mine")
    assert cli.main([*RUN, "--out", str(tmp_path)]) == 2
    assert "pimsim did not write it" in capsys.readouterr().err
    assert simulated == []


def test_bad_input_is_one_line_and_leaves_nothing(simulated, tmp_path, capsys):
    args = ["run", "--model", "tini", *RUN[3:], "--quiet", "--out", str(tmp_path / "out")]
    assert cli.main(args) == 2
    said = capsys.readouterr()
    assert said.out == ""
    assert said.err == "pimsim: error: no model named 'tini'; did you mean 'tiny'?\n"
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("problem", "code"),
    [
        (KeyboardInterrupt(), 130),
        (MemoryError(), 2),
        (FileNotFoundError(2, "No such file or directory", "x.csv"), 2),
    ],
)
def test_interrupts_and_system_errors(monkeypatch, capsys, problem, code):
    def simulate(**named):
        raise problem

    module(monkeypatch, "pimsim.run", simulate=simulate)
    assert cli.main(RUN) == code
    assert "Traceback" not in capsys.readouterr().err


def test_trace(tmp_path, capsys):
    pytest.importorskip("pimsim.trace")
    out = tmp_path / "t.jsonl"
    assert cli.main(["trace", "--model", "llama-3.2-1b", "--context", "0", "--json", "--out", str(out)]) == 0
    said = json.loads(capsys.readouterr().out)
    assert said["parameters"] == 1_235_814_400  # the model card
    assert said["operators"][-1]["kind"] == "total"
    assert out.exists()
    assert cli.main(["trace", "--model", "llama-3.2-1b", "--prompt", "4"]) == 0
    assert "read [bytes]" in capsys.readouterr().out
    assert cli.main(["trace", "--model", "lama-3.2-1b", "--prompt", "4"]) == 2
    assert "did you mean 'llama-3.2-1b'" in capsys.readouterr().err


@dataclass(frozen=True)
class Timings:
    RCD: float


@dataclass(frozen=True)
class Part:
    name: str
    source: str
    timings: Timings
    cores: tuple[Timings, ...] = (Timings(1.0), Timings(2.0))


def test_parts(monkeypatch, capsys):
    import pimsim.devices

    part = Part("lpddr9", "estimate", Timings(18.0))
    monkeypatch.setattr(pimsim.devices, "parts", lambda: {"lpddr9": part}, raising=False)
    assert cli.main(["parts"]) == 0
    assert "estimate" in capsys.readouterr().out
    assert cli.main(["parts", "lpddr9"]) == 0
    said = capsys.readouterr().out
    assert "timings.RCD" in said
    assert "cores.1.RCD" in said
    assert cli.main(["parts", "lpddr9", "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["fields"]["timings.RCD"] == 18.0
    assert cli.main(["parts", "lpddr8"]) == 2
    assert capsys.readouterr().err == "pimsim: error: no part named 'lpddr8'; did you mean 'lpddr9'?\n"


def test_methods(monkeypatch, capsys):
    method = SimpleNamespace(name="facil", doc="An oracle.\n\nMore.")
    module(monkeypatch, "pimsim.methods", METHODS={"facil": method})
    assert cli.main(["methods", "--json"]) == 0
    assert json.loads(capsys.readouterr().out) == {
        "methods": [{"method": "facil", "what it does": "An oracle."}]
    }


@pytest.fixture
def experiment(monkeypatch):
    def run(progress):
        progress(1.0, "")
        ours = Check(quantity="saving", setting="1B", ours=47.0, expected=47.8, unit="%",
                     tolerance=Tolerance(abs=0.1), source="paper")  # fmt: skip
        return Report(
            name="capacity",
            question="How much memory?",
            tables={"capacity": pd.DataFrame({"method": ["facil"], "held_gb": [2.5]})},
            checks=[ours],
            leaves_out=("Heat.",),
        )

    made = ModuleType("experiments.some_paper.capacity", "How much memory?\n\nMore.")
    made.run = run
    monkeypatch.setattr(reproduce, "names", lambda: ["some-paper"])
    module(monkeypatch, "experiments.some_paper", EXPERIMENTS={"capacity": made})
    module(monkeypatch, "experiments")


def test_reproduce_prints_tables_checks_and_limits(experiment, capsys):
    assert cli.main(["reproduce", "some-paper", "--quiet"]) == 0
    said = capsys.readouterr().out
    for text in ("How much memory?", "held [GB]", "MISS", "What the model leaves out", "- Heat."):
        assert text in said
    assert said.splitlines()[-1] == "some-paper: 0 of 1 checks hold"


def test_reproduce_as_json_and_strict(experiment, capsys):
    assert cli.main(["reproduce", "some-paper", "capacity", "--json", "--strict"]) == 1
    said = json.loads(capsys.readouterr().out)
    assert said["tables"] == {"capacity": [{"method": "facil", "held_gb": 2.5}]}
    assert said["checks"][0]["ok"] is False


def test_reproduce_writes_a_folder_an_experiment(experiment, tmp_path, capsys):
    for _ in range(2):
        assert cli.main(["reproduce", "some-paper", "--out", str(tmp_path)]) == 0
    files = {path.name for path in (tmp_path / "capacity").iterdir()}
    assert files == {"capacity.csv", "checks.csv", "report.json", "report.txt"}
    (tmp_path / "capacity" / "notes.txt").write_text("mine")
    assert cli.main(["reproduce", "some-paper", "--out", str(tmp_path)]) == 2
    assert "notes.txt" in capsys.readouterr().err


def test_reproduce_lists_and_suggests(experiment, capsys):
    assert cli.main(["reproduce"]) == 0
    assert "How much memory?" in capsys.readouterr().out
    assert cli.main(["reproduce", "some_papre"]) == 2
    assert "did you mean 'some-paper'" in capsys.readouterr().err
    assert cli.main(["reproduce", "some-paper", "capacityy"]) == 2
    assert "did you mean 'capacity'" in capsys.readouterr().err


def test_validate(monkeypatch, capsys):
    rows = [("a", "latency", 10.0, 10.0, 0.0), ("b", "latency", 9.0, 10.0, -0.1)]
    frame = pd.DataFrame(rows, columns=["case", "quantity", "ours", "reference", "error"])
    fakes = {"validate": lambda what, reference, progress: frame, "by_group": None}
    module(monkeypatch, "pimsim.validate", **fakes)
    assert cli.main(["validate", "dram"]) == 0
    said = capsys.readouterr().out
    assert "largest error [%]" in said
    assert "What differs: 1 of 2 numbers" in said
    assert "latency" in said.partition("What differs")[2]
    assert cli.main(["validate", "dram", "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["cases"][1]["error"] == -0.1


@pytest.mark.parametrize(("rows", "code"), [([], 0), ([(7, "RD", "tRCD", -1)], 1)])
def test_audit(monkeypatch, capsys, rows, code):
    frame = pd.DataFrame(rows, columns=["clock", "command", "rule", "slack"])
    module(monkeypatch, "pimsim.devices.dram.audit", audit_file=lambda path, part: frame)
    assert cli.main(["audit", "log.csv", "--part", "lpddr9"]) == code
    assert ("tRCD" in capsys.readouterr().out) is bool(rows)
    assert cli.main(["audit", "log.csv", "--part", "lpddr9", "--json"]) == code
    assert len(json.loads(capsys.readouterr().out)["violations"]) == len(rows)
