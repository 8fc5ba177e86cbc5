"""Host only: one host-friendly copy of the weights; every operator on the CPU. The baseline without PIM."""

from pimsim.methods import common
from pimsim.methods.plan import Method, Placement, Plan
from pimsim.system import System
from pimsim.trace.op import Trace


def place(trace: Trace, system: System) -> Placement:
    """All weights once, cacheable and row-major."""
    return common.place(trace, system, host_copy=True, pim_copy=False)


def plan(trace: Trace, system: System) -> Plan:
    """Operators in order on the CPU."""
    return common.plan_in_order(trace, lambda op: common.host_task(op, trace), common.phase_of(trace))


METHOD = Method(
    name="host-only",
    doc="everything on the CPU, one host-friendly copy of the weights",
    place=place,
    plan=plan,
)
