"""The printed reports equal the texts stored beside the scripts: every change of a result shows as a diff.

Reports that take long are compared by `make reports`; here a number or two of each is computed again.
"""

import re
from pathlib import Path

import pytest

from experiments.pim_sherpa import EXPERIMENTS, sensitivity
from experiments.pim_sherpa.setting import excess_percent, machine, seconds
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
MISSES = {  # of the experiments of a paper; each is explained in docs/calibration.md or docs/platforms.md
    ("pim_sherpa", "ttft"): {
        ("double buffering no better than online rearrangement (contention)", f"llama-3.2-{size}, prompt 32")
        for size in ("1b", "3b")
    },
    ("pim_sherpa", "copy-cost"): {("cacheable over non-cacheable copy rate", "one thread")},
    ("pim_sherpa", "high-flop"): {
        ("share of the ideal with the rates of the channels", "overlap, 190 FLOP/B"),
        ("share of the ideal with the rates of the channels", "serial, 128 FLOP/B"),
    },
    ("pim_sherpa", "contention"): {
        ("double buffering slower than FACIL by", "llama-3.2-1b, prompt 128, 3.2 ms late"),
        ("double buffering from FACIL end to end", "llama-3.2-1b, 64 + 64 tokens, 3.2 ms late"),
        ("double buffering from FACIL end to end", "llama-3.2-3b, 64 + 64 tokens, 3.2 ms late"),
    },
}


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
def test_stored_reports_miss_what_is_known(group, name):
    text = stored(group, name)
    missed = {tuple(re.split(r" {2,}", line)[:2]) for line in text.splitlines() if line.endswith("  MISS")}
    assert missed == MISSES.get((group, name), set())
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
    assert row("pim_sherpa", "threshold", "64")[0] == pytest.approx(
        excess_percent(MODEL, 64, machine()), abs=5e-4
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
    cores, threads = ALL["pim_sherpa", "contention"].SETTINGS["X4, equal shares"]
    system = setting.replace(machine(), copy_cores=cores, threads=threads)
    ratio = 100 * (
        seconds(MODEL, "double-buffering", 64, system) / seconds(MODEL, "facil", 64, machine()) - 1
    )
    assert row("pim_sherpa", "contention", MODEL, "X4, equal shares")[1] == pytest.approx(ratio, abs=0.01)


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
    from pimsim.system import Threads

    plain = machine()
    late = setting.replace(plain, threads=Threads(copy_wait_us=1000.0))
    steps = (
        16 * 7
    )  # layers x copies beside GEMMs; the last layer has no next attention matrices, but a first fill
    grown = copy_only_run(MODEL, 64, late) - copy_only_run(MODEL, 64, plain)
    assert grown == pytest.approx(steps * 1e-3, rel=0.02)


def test_threads_are_checked():
    from pimsim.errors import SpecError
    from pimsim.system import Threads

    with pytest.raises(SpecError, match="did you mean 'static'"):
        Threads(copy_split="statik")
    with pytest.raises(SpecError, match="copy_wait_us=-1"):
        Threads(copy_wait_us=-1.0)
