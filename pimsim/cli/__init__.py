"""The `pimsim` command: reads arguments, calls the package, prints. No modelling here.

Each file holds related commands. Modules that take long to import are imported in the functions that need
them, so that help is instant.
"""

# The order of the imports is that of the help.
from pimsim.cli import model, compare, timeline, trace, parts, npu, pim, check, dram, doctor  # noqa: I001
from pimsim.cli.app import app, main

__all__ = [
    "app",
    "check",
    "compare",
    "doctor",
    "dram",
    "main",
    "model",
    "npu",
    "parts",
    "pim",
    "timeline",
    "trace",
]
