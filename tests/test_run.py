"""Whole runs of a small model: what a result says, that it can be repeated, and what is refused."""

import json
import os
import subprocess
import sys
from dataclasses import replace
from itertools import pairwise
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from pimsim import cli
from pimsim.devices.dram.audit import audit
from pimsim.errors import PimsimError, PlacementError, PlanError
from pimsim.methods import METHODS, load_method
from pimsim.run import simulate
from pimsim.system import load_system
from pimsim.trace.llm import load_config, prefill_trace

TINY = str(Path(__file__).parent / "data" / "tiny-llama.json")
PROMPT, TOKENS = 16, 3
COPYING = ("double-buffering", "online-rearrangement")
PHONE = load_system("exynos2400")
RESULTS = {}

each_method = pytest.mark.parametrize("method", METHODS)


def result_of(method, fidelity="sampled"):
    """The run of a method, made once."""
    if (method, fidelity) not in RESULTS:
        RESULTS[method, fidelity] = simulate(TINY, method, prompt=PROMPT, tokens=TOKENS, fidelity=fidelity)
    return RESULTS[method, fidelity]


both = pytest.mark.parametrize("fidelity", ["sampled", "step"])


# What a result says


@each_method
@both
def test_summary(method, fidelity):
    said = result_of(method, fidelity).summary
    assert (said["model"], said["method"], said["system"]) == ("tiny-llama", method, "exynos2400")
    assert (said["prompt"], said["tokens"]) == (PROMPT, TOKENS)
    assert 0 < said["ttft_s"] < said["total_s"]
    assert said["tpot_s"] * (TOKENS - 1) == pytest.approx(said["total_s"] - said["ttft_s"])


@each_method
@both
def test_spans_lie_in_the_run_and_no_thread_does_two_things_at_once(method, fidelity):
    result = result_of(method, fidelity)
    spans = result.spans
    assert (spans["start_ps"] >= 0).all()
    assert (spans["end_ps"] >= spans["start_ps"]).all()
    assert spans["end_ps"].max() == pytest.approx(result.summary["total_s"] * 1e12, abs=1)
    for _, mine in spans.groupby("engine"):
        ordered = sorted(zip(mine["start_ps"], mine["end_ps"], strict=True))
        assert all(a[1] <= b[0] for a, b in pairwise(ordered))


@each_method
@both
def test_phases_follow_each_other(method, fidelity):
    spans = result_of(method, fidelity).spans
    phases = ["prefill", *(f"decode[{i}]" for i in range(TOKENS - 1))]
    assert list(dict.fromkeys(spans["phase"])) == phases
    times = [(p["start_ps"].min(), p["end_ps"].max()) for _, p in spans.groupby("phase", sort=False)]
    assert all(a[1] <= b[0] for a, b in pairwise(times))
    assert times[0][1] == pytest.approx(result_of(method, fidelity).summary["ttft_s"] * 1e12, abs=1)


@each_method
@both
def test_every_layer_of_every_phase_is_there(method, fidelity):
    spans = result_of(method, fidelity).spans
    for _, phase in spans.groupby("phase"):
        assert sorted(phase["layer"].unique()) == [-1, 0, 1]


@each_method
def test_capacity_is_a_sum(method):
    result = result_of(method)
    said = dict(result.summary["capacity_bytes"])
    total = said.pop("total")
    assert total == sum(said.values()) == result.capacity["bytes"].sum()
    for region, size in said.items():
        assert size == result.capacity.loc[result.capacity["region"] == region, "bytes"].sum()


def test_capacity_counts_the_last_token():
    # K and V of 2 layers x 2 heads x 64 x 2 bytes are 1 KiB a token; the last token needs no place.
    kv = result_of("facil").summary["capacity_bytes"]["kv cache"]
    assert kv == (PROMPT + TOKENS - 1) * 1024


def counter(result, component, name):
    found = result.counters.query("component == @component and statistic == @name")["value"]
    return float(found.sum())


@each_method
@both
def test_counted_work(method, fidelity):
    # Weights by hand: 2 layers x (2 x 512 x 512 + 2 x 128 x 512 + 3 x 1024 x 512) BF16; head 2000 x 512.
    layers, head = 2 * (2 * 512 * 512 + 2 * 128 * 512 + 3 * 1024 * 512) * 2, 2000 * 512 * 2
    result = result_of(method, fidelity)
    assert counter(result, "dram", "gemm bytes read") == layers
    if method == "host-only":
        assert counter(result, "dram", "gemv bytes read") == TOKENS * head + (TOKENS - 1) * layers
        assert counter(result, "pim", "weight bytes multiplied") == 0
    else:
        assert counter(result, "dram", "gemv bytes read") == 0
        assert counter(result, "pim", "weight bytes multiplied") == TOKENS * head + (TOKENS - 1) * layers
    copied = layers if method in COPYING else 0
    assert counter(result, "dram", "copy bytes written") == copied
    assert counter(result, "dram", "copy bytes read") == 2 * copied  # loads, and fills of the destination


def test_one_token_has_no_time_per_further_token():
    said = simulate(TINY, "facil", prompt=4, tokens=1).summary
    assert said["tpot_s"] is None
    assert said["total_s"] == said["ttft_s"]


def test_progress_runs_to_the_end():
    seen = []
    simulate(TINY, "facil", prompt=4, tokens=3, progress=lambda share, text: seen.append((share, text)))
    shares = [share for share, _ in seen]
    assert shares == sorted(shares)
    assert (shares[0], shares[-1]) == (0.0, 1.0)
    assert "token 2 of 3" in [text for _, text in seen]


# Fidelity


@pytest.mark.parametrize("method", ["facil", "weight-duplication", "host-only"])
def test_sampled_prefill_is_near_the_stepped_one(method):
    # GEMM threads run at their own pace, which the steady rates give exactly.
    sampled, step = (result_of(method, f).summary["ttft_s"] for f in ("sampled", "step"))
    assert sampled == pytest.approx(step, rel=0.05)


@pytest.mark.parametrize("method", COPYING)
def test_sampled_copies_are_near_the_stepped_ones(method):
    # Copy threads wait for each access, so their rate depends on which banks they and the others are in.
    # A sampled rate is the mean over spread positions, a run has those of its addresses: here 1 to 3 % off.
    sampled, step = (result_of(method, f).summary["ttft_s"] for f in ("sampled", "step"))
    assert sampled == pytest.approx(step, rel=0.20)


@pytest.mark.parametrize("method", [m for m in METHODS if m != "host-only"])
def test_sampled_decode_in_pim_is_near_the_stepped_one(method):
    sampled, step = (result_of(method, f).summary["tpot_s"] for f in ("sampled", "step"))
    assert sampled == pytest.approx(step, rel=0.02)


# The same run twice

TWICE = """
import sys
from pathlib import Path
from pimsim.run import simulate
for method, fidelity in (("online-rearrangement", "sampled"), ("double-buffering", "step")):
    result = simulate(sys.argv[1], method, prompt=4, tokens=2, fidelity=fidelity)
    result.save(Path(sys.argv[2]) / fidelity)
"""


def test_runs_of_two_processes_are_equal_byte_for_byte(tmp_path):
    for seed in ("1", "2"):
        env = os.environ | {"PYTHONHASHSEED": seed}
        (tmp_path / seed).mkdir()
        subprocess.run([sys.executable, "-c", TWICE, TINY, str(tmp_path / seed)], check=True, env=env)
    files = sorted(p.relative_to(tmp_path / "1") for p in (tmp_path / "1").rglob("*") if p.is_file())
    assert len(files) >= 8
    assert files == sorted(p.relative_to(tmp_path / "2") for p in (tmp_path / "2").rglob("*") if p.is_file())
    for name in files:
        assert (tmp_path / "1" / name).read_bytes() == (tmp_path / "2" / name).read_bytes(), name


@both
def test_what_ran_before_does_not_matter(fidelity):
    first = result_of("double-buffering", fidelity)
    simulate(TINY, "online-rearrangement", prompt=3, tokens=2, fidelity=fidelity)
    again = simulate(TINY, "double-buffering", prompt=PROMPT, tokens=TOKENS, fidelity=fidelity)
    assert again.summary == first.summary
    pd.testing.assert_frame_equal(again.spans, first.spans)
    pd.testing.assert_frame_equal(again.counters, first.counters)


# The commands of a run


def log_of(method, path, tokens):
    simulate(TINY, method, prompt=8, tokens=tokens, fidelity="step", commands=path)
    return pd.read_csv(path)


def test_a_mixed_run_breaks_no_rule(tmp_path):
    # DDB: copies beside GEMMs in prefill, then decode in PIM, on the same channels.
    log = log_of("double-buffering", tmp_path / "log.csv.gz", 3)
    assert {"MACAB", "RD", "WR", "REFAB", "MODE"} <= set(log["command"])
    found = audit(log, PHONE.dram, PHONE.pim)
    assert found.empty, found.head(20).to_string()


def test_a_copy_reads_every_weight_once_where_it_lies(tmp_path):
    # Reads of the rows that hold weights, against the layout's own list of runs (padding is not read).
    trace = prefill_trace(load_config(TINY), 8)
    placement = load_method("online-rearrangement").place(trace, PHONE)
    region = next(r for r in placement.regions if r.name == "pim weights")
    log = log_of("online-rearrangement", tmp_path / "log.csv", 1)
    names = ["channel", "rank", "bankgroup", "bank", "row", "column"]
    rows = region.end // (PHONE.layout.tile_rows * PHONE.layout.chunk_bytes)
    found = log[(log["command"] == "RD") & (log["row"] < rows)][names].to_numpy()

    bursts = []
    for op in trace.operators:
        if op.kind == "matmul" and op.layer is not None:
            weight = trace.tensor(op.inputs[1])
            source, _, size = PHONE.layout.copy_runs(*weight.shape, 16, placement.pim_rows[weight.name])
            bursts += [np.arange(a, a + n, 32) for a, n in zip(source, size, strict=True)]
    wanted = PHONE.pim_mapping.decode(np.concatenate(bursts).astype(np.uint64))
    wanted = wanted[:, [PHONE.pim_mapping.fields.index(name) for name in names]]
    assert len(found) == len(wanted)
    np.testing.assert_array_equal(found[np.lexsort(found.T)], wanted[np.lexsort(wanted.T)])


# Bad input


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        ({"prompt": 0}, "prompt=0, tokens=2; wanted at least 1"),
        ({"prompt": -5}, "prompt=-5"),
        ({"tokens": 0}, "prompt=4, tokens=0; wanted at least 1"),
        ({"model": "llama-3.2-1"}, "llama-3.2-1'.*did you mean 'llama-3.2-1b'"),
        ({"method": "double-bufering"}, "'double-bufering'; did you mean 'double-buffering'"),
        ({"system": "exynos2500"}, "'exynos2500'; did you mean 'exynos2400'"),
        ({"fidelity": "steps"}, "fidelity 'steps'.*step"),
        ({"commands": Path("log.csv")}, 'a command log needs fidelity "step"'),
    ],
)
def test_bad_input(wrong, message, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    given = {"model": TINY, "method": "facil", "prompt": 4, "tokens": 2} | wrong
    with pytest.raises(PimsimError, match=message):
        simulate(**given)
    assert not list(tmp_path.iterdir())


@pytest.fixture
def big(tmp_path):
    """A model of 24 GB in BF16: 48 layers of a width of 4096."""
    config = json.loads(Path(TINY).read_text())
    config |= {"hidden_size": 4096, "intermediate_size": 14336, "num_hidden_layers": 48}
    path = tmp_path / "big.json"
    path.write_text(json.dumps(config))
    return str(path)


@each_method
def test_a_model_that_does_not_fit(method, big):
    with pytest.raises(
        PlacementError, match=r"does not fit exynos2400: needs .* GB .*the memory holds 17\.18 GB"
    ):
        simulate(big, method, prompt=4, tokens=2)


def test_a_long_run_that_does_not_fit_is_refused_at_once():
    # 1 KiB a token: the KV cache of 2^25 tokens is twice the memory.
    with pytest.raises(PlacementError, match=r"kv cache 34\.36 GB"):
        simulate(TINY, "facil", prompt=2**25, tokens=1)


# The command line

FIELDS = {"model", "method", "system", "prompt", "tokens", "ttft_s", "tpot_s", "total_s"}
FIELDS |= {"capacity_bytes", "manifest"}


def command(*more, model=TINY, method="double-buffering"):
    return ["run", "--model", model, "--method", method, "--prompt", "4", "--tokens", "2", *more]


def test_json_of_the_command_line(capsys):
    assert cli.main(command("--json")) == 0
    said = json.loads(capsys.readouterr().out)
    assert set(said) >= FIELDS
    assert said["capacity_bytes"]["total"] == sum(
        v for k, v in said["capacity_bytes"].items() if k != "total"
    )
    named = (said["model"], said["method"], said["prompt"], said["tokens"])
    assert named == ("tiny-llama", "double-buffering", 4, 2)
    assert said["ttft_s"] + said["tpot_s"] == pytest.approx(said["total_s"])
    assert said["manifest"]["settings"]["fidelity"] == "sampled"


def test_the_command_line_refuses_a_model_that_does_not_fit(capsys, tmp_path, big):
    out = tmp_path / "out"
    assert cli.main(command("--out", str(out), model=big, method="facil")) == 2
    said = capsys.readouterr()
    assert "does not fit exynos2400" in said.err
    assert "Traceback" not in said.err
    assert said.out == ""
    assert not out.exists()


def test_a_system_without_pim_is_an_error_not_a_crash():
    bare = replace(PHONE, name="bare", pim=None)
    assert simulate(TINY, "host-only", prompt=4, tokens=2, system=bare).summary["system"] == "bare"
    with pytest.raises(PlanError, match="system bare has no PIM units"):
        simulate(TINY, "facil", prompt=4, tokens=2, system=bare)


@pytest.mark.parametrize("fidelity", ["sampled", "step"])
def test_traffic_adds_up_to_the_counted_bytes(fidelity):
    """What crosses the pins is what the streams move, and registers and results of PIM operations."""
    result = result_of("double-buffering", fidelity)
    burst = PHONE.dram.geometry.burst_bytes * PHONE.channels
    moved = result.traffic[["read_bytes", "written_bytes", "pim_bytes"]].sum()
    read = sum(counter(result, "dram", f"{kind} bytes read") for kind in ("copy", "gemm", "kv"))
    read += counter(result, "pim", "RDRES commands") * burst
    written = counter(result, "dram", "copy bytes written")
    written += counter(result, "pim", "WRREG commands") * burst
    # Sampled: a row is rounded to a byte. Step: writes that a write buffer still holds come later.
    near = {"abs": len(result.traffic)} if fidelity == "sampled" else {"rel": 0.02}
    assert moved["read_bytes"] == pytest.approx(read, **near)
    assert moved["written_bytes"] == pytest.approx(written, **near)
    assert moved["pim_bytes"] == counter(result, "pim", "weight bytes multiplied")
    assert set(result.traffic["channel"]) == ({-1} if fidelity == "sampled" else {-1, 0, 1, 2, 3})
    long = result.traffic[result.traffic["end_ps"] - result.traffic["start_ps"] > 10**6]
    rate = (long["read_bytes"] + long["written_bytes"]) / (long["end_ps"] - long["start_ps"]) * 1e12
    assert rate.max() <= PHONE.peak_bytes_per_s
