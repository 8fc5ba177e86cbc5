"""Engines of a system: who can do an operator, and how long it takes there.

An engine is the CPU's cores, the GPU, the NPU or the PIM units. `price` gives the `Cost` of one operator on
one engine; `auto` takes the fastest engine that can do it. Every engine's traffic goes through the system's
command-accurate DRAM channels.
"""

from __future__ import annotations

from pimsim.engines.cost import Cost, Work, work_of
from pimsim.engines.price import ENGINES, engines_of, fastest, price

__all__ = ["ENGINES", "Cost", "Work", "engines_of", "fastest", "price", "work_of"]
