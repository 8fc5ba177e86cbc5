"""What the PIM-SHERPA experiments share: models, machine, prompts, names and sources."""

from dataclasses import replace
from typing import Any

from pimsim.methods import METHODS
from pimsim.run import prefill_run
from pimsim.system import System, exynos2400

MODELS = ("llama-3.2-1b", "llama-3.2-3b")
PROMPTS = (16, 32, 64, 96, 128, 160, 192)
GRID = (64, 96, 128, 160, 192)
METHOD_NAMES = tuple(METHODS)
CRITICAL, HIDDEN = (64, 96), (128, 160, 192)  # prompts at which the paper's copies are not, and are, hidden
CRITICAL_PERCENT, HIDDEN_PERCENT = (2.5, 19.0), (0.0, 3.0)
"""Double buffering over FACIL in time to first token: the range that the paper states, and "equal"."""

RATE_SHARE, COPY_SHARE = 0.10, 0.15
"""How far rates and offsets, and copy costs, may be from what the paper calls about so much."""

PAPER = "PIM-SHERPA, arXiv 2603.09216"
READ = f"{PAPER}, as read by others from its HTML (the full text was not at hand)"
DERIVED = f"derived from figures of {PAPER}"

LEAVES_OUT = (
    "frequency changes, heat and other programs: cores run at their nominal clocks alone",
    "TLB misses, page faults and the operating system's memory use",
    "memory traffic of activations beyond the caches",
    "sampled memory rates: see docs/fidelity.md for their error against the step-by-step run",
)


def machine() -> System:
    """The phone of the paper."""
    return exynos2400()


def with_constants(system: System, *, cores: dict[str, Any] | None = None, **cpu: Any) -> System:
    """The machine with these constants of its CPU; those of `cores` are the same on all cores."""
    held = tuple(replace(core, **(cores or {})) for core in system.cpu.cores)
    return replace(system, cpu=replace(system.cpu, cores=held, **cpu))


def seconds(model: str, method: str, prompt: int, system: System) -> float:
    """Time to first token."""
    return prefill_run(model, method, prompt, system).duration_ps * 1e-12


def excess_percent(model: str, prompt: int, system: System) -> float:
    """How much longer than FACIL's the time to first token of double buffering is."""
    mine, bound = (seconds(model, method, prompt, system) for method in ("double-buffering", "facil"))
    return 100 * (mine / bound - 1)
