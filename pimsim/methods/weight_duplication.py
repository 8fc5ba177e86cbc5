"""Weight duplication: one host-friendly copy for prefill, one PIM-aware copy for decode. Twice the memory."""

from pimsim.methods import common
from pimsim.methods.plan import Method, Placement, Plan
from pimsim.system import System
from pimsim.trace.op import Trace


def place(trace: Trace, system: System) -> Placement:
    """All weights twice: cacheable row-major, and non-cacheable PIM-aware."""
    return common.place(trace, system, host_copy=True, pim_copy=True)


def plan(trace: Trace, system: System) -> Plan:
    """GEMMs read the host copy; matrix-vector products run in PIM on the other."""
    return common.plan_in_order(trace, lambda op: common.pim_task(op, trace, system), common.phase_of(trace))


METHOD = Method(
    name="weight-duplication",
    doc="two copies of the weights, one for prefill and one for PIM decode",
    place=place,
    plan=plan,
)
