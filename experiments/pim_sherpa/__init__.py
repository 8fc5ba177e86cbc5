"""PIM-SHERPA (arXiv 2603.09216): placing the weights of an on-device LLM for host prefill and PIM decode."""

from experiments.pim_sherpa import (
    attributes,
    capacity,
    contention,
    copy_cost,
    emulation,
    end_to_end,
    functional,
    high_flop,
    phone,
    sensitivity,
    threshold,
    timeline,
    ttft,
)

EXPERIMENTS = {
    "attributes": attributes,
    "threshold": threshold,
    "capacity": capacity,
    "ttft": ttft,
    "copy-cost": copy_cost,
    "timeline": timeline,
    "contention": contention,
    "end-to-end": end_to_end,
    "high-flop": high_flop,
    "emulation": emulation,
    "functional": functional,
    "phone": phone,
    "sensitivity": sensitivity,
}
