"""FACIL as an oracle: one copy that the memory controller shows to the host as host-friendly.

FACIL (HPCA 2025) chooses the address map per huge page in the memory controller. It does not say how one
copy can be cacheable for prefill and non-cacheable for decode; like PIM-SHERPA's FACIL-O this method
assumes that this is solved at no cost, so it is the bound that software methods are compared with.
"""

from pimsim.methods import common
from pimsim.methods.plan import Method, Placement, Plan
from pimsim.methods.weight_duplication import plan as plan_with_host_view
from pimsim.system import System
from pimsim.trace.op import Trace


def place(trace: Trace, system: System) -> Placement:
    """All weights once, PIM-aware in DRAM."""
    return common.place(trace, system, host_copy=False, pim_copy=True)


def plan(trace: Trace, system: System) -> Plan:
    """As with two copies: the page's map makes GEMM reads as good as from a host-friendly copy."""
    return plan_with_host_view(trace, system)


METHOD = Method(
    name="facil",
    doc="one copy, address map per page in the controller (oracle on attributes)",
    place=place,
    plan=plan,
)
