"""pimsim: simulation of systems that run neural networks with processing-in-memory.

The public names, in the order of the flow: trace, placement, devices, system, methods, run, result.
They are imported on first use, so that the command line starts fast.
"""

from __future__ import annotations

import importlib
from typing import Any

_HOMES = {
    "load_config": "pimsim.trace",
    "prefill_trace": "pimsim.trace",
    "decode_trace": "pimsim.trace",
    "read_trace": "pimsim.trace",
    "write_trace": "pimsim.trace",
    "AddressMapping": "pimsim.placement",
    "PimLayout": "pimsim.placement",
    "part": "pimsim.devices",
    "parts": "pimsim.devices",
    "System": "pimsim.system",
    "exynos2400": "pimsim.system",
    "load_system": "pimsim.system",
    "METHODS": "pimsim.methods",
    "Method": "pimsim.methods",
    "simulate": "pimsim.run",
    "Result": "pimsim.result",
    "PimsimError": "pimsim.errors",
}

__all__ = list(_HOMES)


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module 'pimsim' has no attribute {name!r}")
    return getattr(importlib.import_module(_HOMES[name]), name)


def __dir__() -> list[str]:
    return sorted(__all__)
