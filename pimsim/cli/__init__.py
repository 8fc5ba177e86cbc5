"""The `pimsim` command: reads arguments, calls the package, prints. No modelling here.

Each file holds related commands. Modules that take long to import are imported in the functions that need
them, so that help is instant.
"""

# The order of the imports is that of the help.
from pimsim.cli import (  # noqa: I001
    model,
    compare,
    timeline,
    sweep,
    trace,
    parts,
    npu,
    pim,
    check,
    dram,
    cache,
    doctor,
)
from pimsim.cli.app import app, main

__all__ = [
    "app",
    "cache",
    "check",
    "compare",
    "doctor",
    "dram",
    "main",
    "model",
    "npu",
    "parts",
    "pim",
    "sweep",
    "timeline",
    "trace",
]
