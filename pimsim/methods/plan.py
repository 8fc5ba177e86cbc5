"""What a method returns: where every byte lives (Placement) and who does what after what (Plan).

A plan is a list of segments that run one after the other; a segment is a DAG of tasks, repeated `times`
times (the layers of a transformer). Everything is a plain value: printing a plan explains the method.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass, field, replace

from pimsim.errors import PlanError
from pimsim.placement.capacity import Ledger
from pimsim.placement.region import Placed, Region
from pimsim.system import System
from pimsim.trace.op import Trace


@dataclass(frozen=True, kw_only=True)
class Gemm:
    """C[m, n] = A[m, k] W[n, k]^T on the CPU; weight: tensor name, `{}` for the layer."""

    m: int
    n: int
    k: int
    bits: int
    weight: str
    cacheable: bool = True


@dataclass(frozen=True, kw_only=True)
class PimGemv:
    """y[n] = W[n, k] x[k] in the PIM units, driven by all cores."""

    n: int
    k: int
    dtype: str
    pad_rows_to: int
    weight: str


@dataclass(frozen=True, kw_only=True)
class Vector:
    """A memory-bound operator on data in the caches: bytes moved and arithmetic."""

    bytes: int
    flops: int


@dataclass(frozen=True, kw_only=True)
class Attention:
    """Attention over keys and values; kv_bytes from memory when it is one token, else from the caches."""

    flops: int
    kv_bytes: int
    tokens: int


@dataclass(frozen=True, kw_only=True)
class Copy:
    """Swizzled copy of a part of a weight matrix from its PIM-aware place into a host-friendly buffer.

    first, last: 1/`pieces` parts of the matrix, e.g. the second quarter is first=1, last=2, pieces=4.
    ahead: the matrix belongs to the layer so many after the current one.
    """

    n: int
    k: int
    bits: int
    weight: str
    first: int = 0
    last: int = 1
    pieces: int = 1
    ahead: int = 0

    @property
    def bytes(self) -> int:
        total = self.n * self.k * self.bits // 8
        return total * self.last // self.pieces - total * self.first // self.pieces


Work = Gemm | PimGemv | Vector | Attention | tuple[Copy, ...]

TEAMS = ("one", "compute", "copy", "all", "pim", "gpu", "npu")
"""one: the first compute thread; compute, copy: the system's GEMM and copy threads; all: every core;
pim: the PIM units with every core driving them; gpu, npu: the accelerators of the system."""
ACCELERATORS = ("gpu", "npu")


@dataclass(frozen=True, kw_only=True)
class Task:
    """One step. fresh_threads: its threads are created for it and joined after it."""

    name: str
    kind: str
    team: str
    work: Work
    after: tuple[str, ...] = ()
    fresh_threads: bool = False


@dataclass(frozen=True, kw_only=True)
class Segment:
    """Tasks that end together; `times` repetitions for layers first_layer, first_layer + 1, ..."""

    name: str
    tasks: tuple[Task, ...]
    times: int = 1
    first_layer: int = -1

    def __post_init__(self) -> None:
        seen: set[str] = set()
        for task in self.tasks:
            if task.team not in TEAMS:
                raise PlanError(
                    f"segment {self.name}: task {task.name} names team {task.team!r}; wanted one of {TEAMS}"
                )
            for before in task.after:
                if before not in seen:
                    raise PlanError(
                        f"segment {self.name}: task {task.name} waits for {before!r}, which is not before it"
                    )
            if task.name in seen:
                raise PlanError(f"segment {self.name}: two tasks are named {task.name!r}")
            seen.add(task.name)


@dataclass(frozen=True, kw_only=True)
class Plan:
    """Segments in order."""

    phase: str
    segments: tuple[Segment, ...]

    def __str__(self) -> str:
        lines = []
        for segment in self.segments:
            times = f" x {segment.times}" if segment.times > 1 else ""
            lines.append(f"{segment.name}{times}")
            for task in segment.tasks:
                after = f" after {', '.join(task.after)}" if task.after else ""
                lines.append(f"  {task.name} ({task.kind} on {task.team}){after}")
        return "\n".join(lines)


@dataclass(frozen=True, kw_only=True)
class Placement:
    """Regions, items in them, the capacity ledger, and the first DRAM row of each PIM-aware weight."""

    regions: tuple[Region, ...]
    placed: tuple[Placed, ...]
    ledger: Ledger
    pim_rows: dict[str, int] = field(default_factory=dict)

    def address(self, item: str) -> int:
        """First byte of an item of a host-friendly region."""
        for placed in self.placed:
            if placed.item == item:
                return placed.base
        raise PlanError(f"nothing named {item!r} is placed")


Planner = Callable[[Trace, System], Plan]
Placer = Callable[[Trace, System], Placement]


@dataclass(frozen=True, kw_only=True)
class Method:
    """A way of placing and moving weights. `place` and `plan` are pure functions of trace and system."""

    name: str
    doc: str
    place: Placer
    plan: Planner

    def __call__(self, trace: Trace, system: System) -> tuple[Placement, Plan]:
        return self.place(trace, system), self.plan(trace, system)


def chain(tasks: Iterable[Task]) -> tuple[Task, ...]:
    """The tasks one after the other."""
    out: list[Task] = []
    for task in tasks:
        out.append(replace(task, after=(out[-1].name,) if out else ()))
    return tuple(out)


def move(plan: Plan, engine: str, copies: bool = False) -> Plan:
    """The plan with its operators on an accelerator; PIM keeps its own, the CPU copies unless `copies`."""
    if engine not in ACCELERATORS:
        raise PlanError(f"engine {engine!r}: wanted one of {', '.join(ACCELERATORS)}")

    def moved(task: Task) -> Task:
        stays = task.team == "pim" or (isinstance(task.work, tuple) and not copies)
        return task if stays else replace(task, team=engine, fresh_threads=False)

    return replace(plan, segments=tuple(replace(s, tasks=tuple(map(moved, s.tasks))) for s in plan.segments))


def fold(segments: Iterable[Segment]) -> tuple[Segment, ...]:
    """Join neighbouring segments that do the same work in consecutive layers."""
    out: list[Segment] = []
    for segment in segments:
        if (
            out
            and out[-1].tasks == segment.tasks
            and out[-1].first_layer + out[-1].times == segment.first_layer
        ):
            out[-1] = replace(out[-1], times=out[-1].times + segment.times)
        else:
            out.append(segment)
    return tuple(out)
