"""`pimsim gemv` and `pimsim validate pim`: what they print, and how they fail."""

import json

import pytest

from pimsim.cli import main


def run(capsys, *args):
    code = main(args)
    out = capsys.readouterr()
    return code, out.out, out.err


def test_a_gemv_prints_time_losses_and_commands(capsys):
    code, out, _ = run(capsys, "gemv", "--pim", "hbm-pim-2000", "--rows", "4096", "--cols", "4096")
    assert code == 0
    for text in (
        "hbm-pim-2000, 64 channels: fp16 GEMV 4096 x 4096",
        "speed-up over that",
        "refreshes expected",
        "input writes",
        "bus turnarounds",
        "row changes",
        "MACAB",
    ):
        assert text in out
    assert "Note:" not in out


def test_json_holds_every_number_and_the_parts_sum(capsys):
    code, out, _ = run(
        capsys, "gemv", "--pim", "lpddr5x-pim-9600", "--rows", "1000", "--cols", "2048", "--dtype", "int8",
        "--fence-ns", "150", "--batch", "2", "--check", "--json",
    )  # fmt: skip
    assert code == 0
    held = json.loads(out)
    assert held["peak_clocks"] + sum(held["lost"].values()) == held["clocks"]
    assert held["lost"]["fences"] > 0
    assert held["lost"]["padding and idle units"] > 0
    assert held["check"]["ok"]
    assert held["check"]["exact"]
    assert held["shape"] == {"rows": 1000, "cols": 2048, "batch": 2}
    assert held["speedup"] == pytest.approx(held["host_peak_ns"] / held["time_ns"])
    assert "rows are computed as" in held["notes"][0]


def test_energy_is_an_estimate_or_a_dash(capsys):
    size = ("--rows", "300", "--cols", "500")
    code, out, _ = run(capsys, "gemv", "--pim", "lpddr5x-pim-8533", *size)
    assert code == 0
    for text in (
        "energy (estimate)",
        "energy, reads of units and host",
        "energy, data pins",
        "Energy: an estimate from supply currents",
    ):
        assert text in out
    code, out, _ = run(capsys, "gemv", "--pim", "lpddr5x-pim-8533", *size, "--json")
    held = json.loads(out)["energy"]
    parts = ("activate", "read", "write", "refresh", "background", "io")
    assert held["estimate"] is True
    assert sum(held[f"{part}_pj"] for part in parts) == pytest.approx(held["total_pj"])
    for name in ("gddr6-aim", "hbm-pim-2000"):
        _, out, _ = run(capsys, "gemv", "--pim", name, *size)
        printed = [line.split() for line in out.splitlines() if line.startswith("energy, ")]
        total = next(line.split() for line in out.splitlines() if line.startswith("energy (estimate)"))
        assert sum(float(line[-2]) for line in printed) == pytest.approx(float(total[-2]), rel=1e-3)
    _, out, _ = run(capsys, "gemv", "--pim", "lpddr5-aim", *size)
    assert [line.split() for line in out.splitlines() if line.startswith("energy")] == [["energy", "-", "nJ"]]
    assert json.loads(run(capsys, "gemv", "--pim", "lpddr5-aim", *size, "--json")[1])["energy"] is None


ATTENTION = ("--heads", "6", "--kv-heads", "2", "--head-dim", "64", "--context", "300")


def test_attention_prints_both_products_and_their_sum(capsys):
    code, out, _ = run(capsys, "attention", "--pim", "lpddr5x-pim-8533", *ATTENTION, "--check")
    assert code == 0
    for text in (
        "bf16 attention, 6 heads on 2 KV heads of 64, 300 tokens",
        "Where the clocks of the scores go",
        "energy (estimate)",
        "Check: scores and context of 2 KV heads on data: right",
    ):
        assert text in out
    args = ("attention", "--pim", "lpddr5x-pim-9600", *ATTENTION, "--dtype", "int8", "--check", "--json")
    code, out, _ = run(capsys, *args)
    held = json.loads(out)
    assert code == 0
    assert held["check"]["exact"]
    assert held["time_ns"] == pytest.approx(held["scores"]["time_ns"] + held["context"]["time_ns"])
    for half in (held["scores"], held["context"]):
        assert half["peak_clocks"] + sum(half["lost"].values()) == half["clocks"]


@pytest.mark.parametrize(
    ("name", "changed", "text"),
    [
        ("hbm-pim-2000", (), "attention wants a part with an adder tree"),
        ("gddr6-aim", ("--dtype", "int8"), "gddr6-aim runs no gemv of type 'int8'; known: bf16"),
        ("gddr6-aim", ("--heads", "5"), "heads=5 and kv_heads=2; wanted as many heads for each KV head"),
        ("gddr6-aim", ("--context", "0"), "attention with context=0; wanted at least 1"),
        ("gddr6-aim", ("--channels", "1", "--context", "200000"), "use more channels or a shorter context"),
    ],
)
def test_bad_attention_says_what_to_do(capsys, name, changed, text):
    code, out, err = run(capsys, "attention", "--pim", name, *ATTENTION, *changed)
    assert code == 2
    assert out == ""
    assert text in err


def test_fences_cost_time(capsys):
    clocks = []
    for fence in ((), ("--fence-ns", "0"), ("--fence-ns", "150")):
        _, out, _ = run(
            capsys, "gemv", "--pim", "hbm-pim-2000", "--rows", "64", "--cols", "256", "--json", *fence
        )
        clocks.append(json.loads(out)["clocks"])
    assert clocks[0] < clocks[1] < clocks[2]


@pytest.mark.parametrize("name", ["hbm-pim-2000", "gddr6-aim", "lpddr5x-pim-9600"])
@pytest.mark.parametrize("suffix", ["csv", "csv.gz"])
def test_a_command_log_passes_the_auditor(capsys, tmp_path, name, suffix):
    path = tmp_path / f"log.{suffix}"
    size = ("--rows", "300", "--cols", "4096", "--channels", "1", "--json")
    code, out, _ = run(capsys, "gemv", "--pim", name, *size, "--commands", str(path))
    assert code == 0
    assert json.loads(out)["refreshes"] > 0
    code, out, _ = run(capsys, "audit", str(path), "--part", name)
    assert code == 0
    assert "no rule" in out


@pytest.mark.parametrize(
    ("args", "text"),
    [
        (("--pim", "hbm-pim-20000", "--rows", "1", "--cols", "1"), "did you mean 'hbm-pim-2000'"),
        (("--pim", "gddr6-aim", "--rows", "0", "--cols", "1"), "gemv with rows=0; wanted at least 1"),
        (
            ("--pim", "gddr6-aim", "--rows", "1", "--cols", "1", "--dtype", "int8"),
            "gddr6-aim runs no gemv of type 'int8'; known: bf16",
        ),
        (
            ("--pim", "gddr6-aim", "--rows", "200000", "--cols", "60000", "--channels", "1"),
            "use more channels or a smaller matrix",
        ),
    ],
)
def test_bad_input_says_which_and_what_to_do(capsys, args, text):
    code, out, err = run(capsys, "gemv", *args)
    assert code == 2
    assert out == ""
    assert text in err


def test_validate_prints_causes_and_medians(capsys):
    code, out, _ = run(capsys, "validate", "pim", "--json")
    assert code == 0
    cases = json.loads(out)["cases"]
    assert {"case", "quantity", "ours", "reference", "error", "cause"} == set(cases[0])


def test_an_activation_runs_on_data_and_is_refused_elsewhere(capsys):
    shape = ("--rows", "100", "--cols", "1500", "--channels", "2", "--activation", "tanh", "--check")
    code, out, _ = run(capsys, "gemv", "--pim", "gddr6-aim", *shape)
    assert code == 0
    assert "AFAB" in out
    assert "on data: right" in " ".join(out.split())
    code, _, err = run(capsys, "gemv", "--pim", "hbm-pim-2000", *shape)
    assert code == 2
    assert "no table of a function" in " ".join(err.replace("│", " ").split())


@pytest.mark.parametrize(
    ("name", "operation", "text"),
    [
        ("hbm-pim-2000", "add", "add of 20,000 elements"),
        ("hbm-pim-2000", "scale-shift", "host reads the operands in order"),
        ("hbm-pim-2400", "sum", "sum of 20,000 elements"),
        ("gddr6-aim", "mul", "EWAB"),
        ("gddr6-aim", "add", "the controller adds (EWADD)"),
        ("lpddr5-aim", "sum", "the host adds 32 sums"),
        ("lpddr5x-pim-9600", "sum", "a product with ones"),
    ],
)
def test_elementwise_operations_run_on_data(capsys, name, operation, text):
    size = ("--operation", operation, "--elements", "20000", "--channels", "2", "--check")
    code, out, _ = run(capsys, "elementwise", "--pim", name, *size)
    assert code == 0
    assert text in out
    assert "on data: right" in out
    held = json.loads(run(capsys, "elementwise", "--pim", name, *size, "--json")[1])
    assert held["peak_clocks"] + sum(held["lost"].values()) == held["clocks"]
    assert held["shape"] == {"elements": 20000}


def test_an_operation_that_a_part_lacks_says_what_to_do(capsys):
    wanted = ("--pim", "lpddr5x-pim-8533", "--operation", "add", "--elements", "100")
    code, _, err = run(capsys, "elementwise", *wanted)
    assert code == 2
    assert "a scale goes into the weights" in " ".join(err.replace("│", " ").split())
