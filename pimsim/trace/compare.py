"""How two traces differ, operator by operator."""

from __future__ import annotations

from dataclasses import dataclass

from pimsim.trace.op import Operator, Trace


@dataclass(frozen=True, kw_only=True)
class Difference:
    """One quantity of one operator in two traces; "-" where one of them lacks the operator."""

    phase: str
    operator: str
    what: str
    first: str
    second: str


def differences(first: Trace, second: Trace) -> tuple[Difference, ...]:
    """Operators (by phase and name) that one trace lacks, or whose kind, FLOPs or bytes differ.

    Names of tensors and the traces' own names do not count.
    """
    a, b = _by_name(first), _by_name(second)
    found = []
    for key in [*a, *(key for key in b if key not in a)]:
        left = _facts(first, a[key]) if key in a else {}
        right = _facts(second, b[key]) if key in b else {}
        if not left or not right:
            pairs = {"kind": (left.get("kind", "-"), right.get("kind", "-"))}
        else:
            pairs = {what: (left[what], right[what]) for what in left if left[what] != right[what]}
        found += [
            Difference(phase=key[0], operator=key[1], what=what, first=one, second=other)
            for what, (one, other) in pairs.items()
        ]
    return tuple(found)


def _by_name(trace: Trace) -> dict[tuple[str, str], Operator]:
    return {(op.phase, op.name): op for op in trace.operators}


def _facts(trace: Trace, op: Operator) -> dict[str, str]:
    cost = trace.cost(op)
    return {
        "kind": op.kind,
        "flops": str(cost.flops),
        "bytes read": str(cost.bytes_read),
        "bytes written": str(cost.bytes_written),
    }
