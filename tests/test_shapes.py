"""Shapes that hold whatever the calibration: Llama 3.2 1B on the phone, two prompt lengths, sampled.

Orderings and constants: PIM-SHERPA (arXiv 2603.09216), figures 10 and 12.
"""

from functools import cache

import pytest

from pimsim.run import decode_ps, prefill_run
from pimsim.system import load_system

MODEL = "llama-3.2-1b"
PROMPTS = (64, 192)
PHONE = load_system("exynos2400")
WD, FACIL, DDB, OWR = "weight-duplication", "facil", "double-buffering", "online-rearrangement"


@cache
def ttft_s(method, prompt):
    return prefill_run(MODEL, method, prompt, PHONE).duration_ps * 1e-12


@pytest.mark.parametrize("method", ["host-only", WD, FACIL, DDB, OWR])
def test_longer_prompts_take_longer(method):
    assert ttft_s(method, 64) < ttft_s(method, 192)


def test_the_oracle_is_as_fast_as_two_copies():
    for prompt in PROMPTS:
        assert ttft_s(FACIL, prompt) == ttft_s(WD, prompt)


def test_rearrangement_costs_the_same_for_every_prompt():
    # Each matrix is copied once, with nothing beside it, however many tokens there are.
    short, long = (ttft_s(OWR, prompt) - ttft_s(FACIL, prompt) for prompt in PROMPTS)
    assert short == pytest.approx(long, rel=0.01)


def test_double_buffering_lies_between_the_oracle_and_rearrangement():
    for prompt in PROMPTS:
        assert ttft_s(FACIL, prompt) < ttft_s(DDB, prompt) < ttft_s(OWR, prompt)


def test_longer_prompts_hide_the_copy_better():
    excess = [ttft_s(DDB, prompt) / ttft_s(FACIL, prompt) for prompt in PROMPTS]
    assert excess[0] > excess[1]


def test_prefill_is_no_faster_than_its_arithmetic():
    # 2 FLOP a weight and token in the layers, at the peak of the four GEMM threads.
    flops = 2 * 973_078_528
    peak = sum(core.peak_gflops for core in PHONE.cores(PHONE.compute_cores)) * 1e9
    for prompt in PROMPTS:
        assert ttft_s(FACIL, prompt) > prompt * flops / peak


def test_decode_on_the_host_is_no_faster_than_its_memory():
    assert decode_ps(MODEL, "host-only", 64, PHONE) * 1e-12 > 2_471_628_800 / PHONE.peak_bytes_per_s


def test_decode_in_pim_is_faster_and_the_same_for_every_method():
    times = {method: decode_ps(MODEL, method, 64, PHONE) for method in (WD, FACIL, DDB, OWR)}
    assert len(set(times.values())) == 1
    assert times[FACIL] < decode_ps(MODEL, "host-only", 64, PHONE) / 2


def test_decode_takes_longer_with_more_context():
    for method in ("host-only", FACIL):
        assert decode_ps(MODEL, method, 64, PHONE) < decode_ps(MODEL, method, 4096, PHONE)


def test_speed_up_grows_with_tokens_and_falls_with_the_prompt():
    # With so few tokens the prompt decides, and double buffering is late at a short one. That its speed-up
    # falls with the prompt, too, is a matter of 64 tokens and more: the stored end-to-end report checks it.
    def speed_up(method, prompt, tokens):
        def total_ps(method):
            decode = sum(decode_ps(MODEL, method, prompt + step, PHONE) for step in range(tokens - 1))
            return prefill_run(MODEL, method, prompt, PHONE).duration_ps + decode

        return total_ps("host-only") / total_ps(method)

    assert 1 < speed_up(FACIL, 192, 8) < speed_up(FACIL, 64, 8) < speed_up(FACIL, 64, 24)
    assert 1 < speed_up(DDB, 64, 8) < speed_up(DDB, 64, 24)
