"""WHAT runs: tensors, operators and traces; the trace file; producers of traces."""

from pimsim.trace.file import read_trace, write_trace
from pimsim.trace.llm import LlmConfig, decode_trace, load_config, models, parameters, prefill_trace
from pimsim.trace.op import (
    DTYPE_BITS,
    KINDS,
    ROLES,
    Attrs,
    Cost,
    Operator,
    Tensor,
    Trace,
    dtype_bytes,
    operator_cost,
    plain,
)

__all__ = [
    "DTYPE_BITS",
    "KINDS",
    "ROLES",
    "Attrs",
    "Cost",
    "LlmConfig",
    "Operator",
    "Tensor",
    "Trace",
    "decode_trace",
    "dtype_bytes",
    "load_config",
    "models",
    "operator_cost",
    "parameters",
    "plain",
    "prefill_trace",
    "read_trace",
    "write_trace",
]
