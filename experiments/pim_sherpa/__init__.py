"""PIM-SHERPA (arXiv 2603.09216): placing the weights of an on-device LLM for host prefill and PIM decode."""

from experiments.pim_sherpa import capacity, copy_cost, end_to_end, high_flop, timeline, ttft

EXPERIMENTS = {
    "capacity": capacity,
    "ttft": ttft,
    "copy-cost": copy_cost,
    "timeline": timeline,
    "end-to-end": end_to_end,
    "high-flop": high_flop,
}
