"""The printed reports equal the texts stored beside the scripts: every change of a result shows as a diff.

Reports that take long are compared by `make reports`; here a number or two of each is computed again.
"""

import re
from pathlib import Path

import pytest

from benchmarks.calibrate import margins
from experiments.pim_sherpa import EXPERIMENTS, sensitivity
from experiments.pim_sherpa.setting import excess_percent, machine, seconds, with_constants
from experiments.what_if import EXPERIMENTS as WHAT_IF
from experiments.what_if import copy_threads, dma_engine, llama_8b, lpddr6, setting, weight_types
from pimsim.report.report import report_text
from pimsim.reproduce import question
from pimsim.run import decode_ps

HERE = Path(__file__).parents[1] / "experiments"
ALL = {("pim_sherpa", name): module for name, module in EXPERIMENTS.items()}
ALL |= {("what_if", name): module for name, module in WHAT_IF.items()}
SLOW = {
    ("pim_sherpa", name) for name in ("threshold", "contention", "end-to-end", "sensitivity")
} | {("what_if", name) for name in WHAT_IF if name not in ("lm-head", "kv-cache")}  # fmt: skip


def stored(group, name):
    return (HERE / group / f"{name.replace('-', '_')}.txt").read_text(encoding="utf-8")


def compared(group, name):
    report = ALL[group, name].run(lambda share, text: None)
    assert report.name == name
    assert report_text(report) == stored(group, name)
    assert report.figures


@pytest.mark.parametrize(("group", "name"), sorted(set(ALL) - SLOW))
def test_report_is_the_stored_one(group, name):
    compared(group, name)


@pytest.mark.slow
@pytest.mark.parametrize(("group", "name"), sorted(SLOW))
def test_slow_report_is_the_stored_one(group, name):
    compared(group, name)


@pytest.mark.parametrize(("group", "name"), sorted(ALL))
def test_all_checks_of_stored_reports_hold(group, name):
    text = stored(group, name)
    missed = {tuple(re.split(r" {2,}", line)[:2]) for line in text.splitlines() if line.endswith("  MISS")}
    assert missed == set()
    held, of = map(int, re.search(r"^(\d+) of (\d+) checks hold$", text, re.MULTILINE).groups())
    assert held == of - len(missed)
    assert question(ALL[group, name])


def row(group, name, *start):
    """Numbers of the stored row that begins with these cells."""
    for line in stored(group, name).splitlines():
        cells = re.split(r" {2,}", line.strip())
        if tuple(cells[: len(start)]) == start:
            return [
                float(cell.replace(",", ""))
                for cell in cells[len(start) :]
                if re.fullmatch(r"[-\d.,]+", cell)
            ]
    raise AssertionError(f"{name} has no row {start}")


MODEL = "llama-3.2-1b"


def test_stored_thresholds_are_of_this_code():
    assert row("pim_sherpa", "threshold", "128")[1] == pytest.approx(
        excess_percent("llama-3.2-3b", 128, machine()), abs=1e-4
    )


def test_stored_end_to_end_is_of_this_code():
    # Shape of the sum, not a call of the experiment: first token and 63 further ones, host over FACIL.
    system = machine()
    total = {
        method: seconds(MODEL, method, 64, system)
        + sum(decode_ps(MODEL, method, 64 + k, system) for k in range(63)) * 1e-12
        for method in ("host-only", "facil")
    }
    ratio = total["host-only"] / total["facil"]
    assert row("pim_sherpa", "end-to-end", MODEL, "facil", "64")[0] == pytest.approx(ratio, abs=5e-4)


def test_stored_contention_is_of_this_code():
    contention = ALL["pim_sherpa", "contention"]
    for name in (contention.OURS, contention.OWN):
        cores, threads = contention.SETTINGS[name]
        system = setting.replace(machine(), copy_cores=cores, threads=threads)
        assert (system == machine()) == (name == contention.OURS)
        ratio = 100 * (
            seconds(MODEL, "double-buffering", 64, system) / seconds(MODEL, "facil", 64, machine()) - 1
        )
        assert row("pim_sherpa", "contention", MODEL, name)[1] == pytest.approx(ratio, abs=0.01)


def test_stored_sensitivity_is_of_this_code():
    (changed,) = [each for each in sensitivity.ranges(machine()) if each.name == "create_us"]
    penalty = 100 * (
        seconds(MODEL, "online-rearrangement", 64, changed.high) / seconds(MODEL, "facil", 64, changed.high)
        - 1
    )
    line = next(
        s for s in stored("pim_sherpa", "sensitivity").splitlines() if s.startswith(f"{MODEL}  create_us")
    )
    assert line.endswith(f".. {penalty:.3g}")


def test_stored_what_ifs_are_of_this_code():
    phone = machine()
    memory = "LPDDR6-14400, 8 x 12 (estimate)"
    token = 1e3 * setting.next_token_s(MODEL, "facil", 128, lpddr6.machines()[memory])
    assert row("what_if", "lpddr6", MODEL, memory)[2] == pytest.approx(token, abs=0.006)
    token = 1e3 * setting.next_token_s(MODEL, "facil", 128, phone, "int4")
    assert row("what_if", "weight-types", MODEL, "int4")[2] == pytest.approx(token, abs=0.006)
    big = setting.with_memory(phone, "lpddr5x-8533-32gb-x16", 17)
    token = 1e3 * setting.next_token_s(setting.LLAMA_8B, "facil", 128, big, "int4")
    assert row("what_if", "llama-8b", "int4", "facil")[2] == pytest.approx(token, abs=0.06)
    wide = dma_engine.with_dma(phone, 4)
    assert wide.all_cores == phone.all_cores
    assert wide.host_drive == phone.host_drive
    assert {llama_8b, weight_types, copy_threads} <= set(WHAT_IF.values())


def test_copies_take_the_shares_they_are_given():
    # One copy thread beside a GEMM is enough to see it: late threads end later, by what they were late.
    from pimsim.run import copy_only_run

    plain = machine()
    late = setting.replace(plain, threads=setting.replace(plain.threads, copy_wait_us=1000.0))
    steps = (
        16 * 7
    )  # layers x copies beside GEMMs; the last layer has no next attention matrices, but a first fill
    grown = copy_only_run(MODEL, 64, late) - copy_only_run(MODEL, 64, plain)
    assert grown == pytest.approx(steps * 1e-3, rel=0.02)


def test_a_thread_that_polls_takes_its_core_from_the_copy_beside_it():
    # K at prompt 64: the GEMM thread on the X4 is done long before its copy. While it polls, the copy thread
    # there has half of the core, so that it is late by the core time that was polled, and the stage with it.
    from pimsim.methods import load_method
    from pimsim.run import run_plan
    from pimsim.trace import load_config, prefill_trace

    plan = load_method("double-buffering").plan(prefill_trace(load_config(MODEL), 64), machine())
    layer = next(segment for segment in plan.segments if segment.times > 1)
    stage = [
        setting.replace(t, after=()) for t in layer.tasks if t.name in ("k_proj", "copy gate_proj 2 of 4")
    ]
    short = setting.replace(plan, segments=(setting.replace(layer, tasks=tuple(stage), times=1),))

    def time_ms(spin_us):
        threads = setting.replace(machine().threads, spin_us=spin_us)
        return run_plan(setting.replace(machine(), threads=threads), short).duration_ps * 1e-9

    assert len(stage) == 2
    assert time_ms(400.0) - time_ms(0.0) == pytest.approx(0.4, rel=0.05)


def test_threads_are_checked():
    from pimsim.errors import SpecError
    from pimsim.system import Threads

    with pytest.raises(SpecError, match="did you mean 'static'"):
        Threads(copy_split="statik")
    for name in ("copy_wait_us", "spin_us"):
        with pytest.raises(SpecError, match=f"{name}=-1"):
            Threads(**{name: -1.0})


def test_constants_are_inside_the_bounds_they_were_fitted_to():
    """The fit sees the statements that the experiments check; with GEMMs a fifth faster one is lost."""
    system = machine()
    assert min(margin for _, margin in margins(system).values()) > 0
    faster = with_constants(system, cores={"gemm_efficiency": 0.72})
    assert margins(faster)["llama-3.2-1b: over FACIL at 64 (%)"][1] < 0
