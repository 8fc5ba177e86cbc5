"""Decoder-only language models: traces from a Hugging Face `config.json`, without PyTorch.

The operators are those of the models in Hugging Face transformers, one sequence at a time. Left out: the
tables of sines and cosines, the scales of quantised weights, the soft cap inside attention, sampling.
Matrices that a model stores as one (the q, k, v and gate, up of Phi-3) are traced apart: the same weights
and arithmetic, their input read once each. `families` holds what a model's type says, `config` reads and
checks a config.json, `build` makes the operators, `count` the parameters by arithmetic.
"""

from pimsim.trace.llm.build import (
    WEIGHT_DTYPES,
    Types,
    decode_trace,
    expert_rows,
    prefill_trace,
    quantised,
)
from pimsim.trace.llm.config import LlmConfig, load_config, models
from pimsim.trace.llm.count import parameters

__all__ = [
    "WEIGHT_DTYPES",
    "LlmConfig",
    "Types",
    "decode_trace",
    "expert_rows",
    "load_config",
    "models",
    "parameters",
    "prefill_trace",
    "quantised",
]
