"""What the what-if experiments share: models, machines that differ from the phone, and what is left out."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

from experiments.pim_sherpa.setting import LEAVES_OUT, MODELS, excess_percent, machine, seconds
from pimsim.devices import DramSpec, part
from pimsim.methods import METHODS, Method
from pimsim.placement.mapping import AddressMapping
from pimsim.run import run_plan
from pimsim.system import System
from pimsim.trace import load_config, prefill_trace
from pimsim.trace.llm import decode_trace

LLAMA_8B = str(
    Path(__file__).parent / "llama-3.1-8b.json"
)  # as published: 32 layers, 4096, 14336, 8 KV heads
BEYOND = "no published number: the machine of the PIM-SHERPA experiments with one thing changed"

__all__ = [
    "BEYOND",
    "LEAVES_OUT",
    "LLAMA_8B",
    "MODELS",
    "eight_channels",
    "excess_percent",
    "first_token_s",
    "machine",
    "next_token_s",
    "other_dram",
    "seconds",
    "with_memory",
]


def first_token_s(
    model: str, method: str | Method, prompt: int, system: System, weights: str = "bf16"
) -> float:
    """Time to first token with weights of a type."""
    how = METHODS[method] if isinstance(method, str) else method
    trace = prefill_trace(load_config(model), prompt, weight_dtype=weights)
    return run_plan(system, how.plan(trace, system)).duration_ps * 1e-12


def next_token_s(
    model: str, method: str | Method, context: int, system: System, weights: str = "bf16"
) -> float:
    """Time of a decode step with weights of a type and `context` tokens in the cache."""
    how = METHODS[method] if isinstance(method, str) else method
    trace = decode_trace(load_config(model), context, weight_dtype=weights)
    return run_plan(system, how.plan(trace, system)).duration_ps * 1e-12


def other_dram(system: System, dram: DramSpec, **changes: object) -> System:
    """The system with another memory part and the same PIM units in it."""
    assert system.pim is not None
    pim = replace(system.pim, dram=dram.name)
    return replace(system, name=f"{system.name}, {dram.name}", dram=dram, pim=pim, **changes)  # type: ignore[arg-type]


def with_memory(system: System, part_name: str, row_bits: int) -> System:
    """The system with the memory part of this name, of another density: `row_bits` bits of row address."""

    def grown(mapping: AddressMapping) -> AddressMapping:
        return AddressMapping.parse(str(mapping).replace("row:16", f"row:{row_bits}", 1))

    return other_dram(
        system,
        part(part_name, DramSpec),
        host_mapping=grown(system.host_mapping),
        pim_mapping=grown(system.pim_mapping),
    )


def eight_channels(system: System, dram: DramSpec) -> System:
    """The system with eight channels of one rank: maps as on the phone, a channel bit for the rank's."""
    return other_dram(
        system,
        dram,
        channels=8,
        host_mapping=AddressMapping.parse(
            "row:16 bank:2 column:5 bankgroup:2 channel:3 column:1 "
            "bank[0]^=row[0]^row[3]^row[6]^row[9]^row[12] bank[1]^=row[1]^row[4]^row[7]^row[10]^row[13]"
        ),
        pim_mapping=AddressMapping.parse("row:16 channel:3 bankgroup:2 bank:2 column:6"),
    )
