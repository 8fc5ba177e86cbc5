"""A PIM operation compiled for one channel, and what its program takes.

A program generator lists column commands; `with_rows` adds the activates and precharges they need.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from pimsim.devices.dram.channel import Controller, build, command_log
from pimsim.devices.dram.engine import C_LOG, NEVER, X_NEXT_REF, Channels
from pimsim.devices.pim import machine as m
from pimsim.devices.rules import (
    ACTAB,
    COMMANDS,
    MACAB,
    PRE,
    PREA,
    RD,
    RDRES,
    WR,
    WRAB,
    WRACC,
    WRREG,
    command_counts,
    compile_rules,
    rules_of,
)
from pimsim.devices.spec import Clocks, DramSpec, PimSpec, fs_from_ns
from pimsim.errors import SpecError

Ints = NDArray[np.int64]
DATA = m.G_NUM
"""Column of a list of column commands that holds the operand; the others are `machine.G_*`."""


@dataclass(frozen=True, kw_only=True)
class HostDrive:
    """How the host triggers PIM commands: each column command is one non-cacheable access.

    window: accesses in flight on one channel (0: the host is never the limit).
    path_ns: time of an access outside the channel. fence_ns: extra wait of a fence.
    """

    window: int = 0
    path_ns: float = 0.0
    fence_ns: float = 0.0

    def __post_init__(self) -> None:
        for name in ("window", "path_ns", "fence_ns"):
            if getattr(self, name) < 0:
                raise SpecError(f"host drive: {name}={getattr(self, name)}; wanted no negative value")


UNHINDERED = HostDrive()


def host_clocks(spec: DramSpec, host: HostDrive) -> tuple[int, int, int]:
    """(window, path clocks, fence clocks) of a host drive on a part."""
    path, fence = (-(-fs_from_ns(ns) // spec.tck_fs) for ns in (host.path_ns, host.fence_ns))
    return host.window, path, fence


@dataclass(frozen=True, kw_only=True)
class Kernel:
    """An operation as a program for one channel; all channels run it on their own part of the operands.

    operation, dtype: what it computes, on which type. channels: how many run it.
    commands: (n, 6) int64, columns `machine.G_*`, in order. data: (n,) int64, operand of each command, -1:
      none; the program generator says what it means.
    operand_bytes: bytes of the operands in the memory, without padding; result_bytes: of what is written.
    units, unit_bytes: units that work at once in a channel, and bytes that one takes in a command.
    lookahead, quiet: as `machine.run_program` has them.
    head, tail: commands at its start and end that a chain of such kernels needs only once.
    activation: function that results pass, "": none.
    notes: what the caller should know, such as units that this shape leaves idle.
    """

    operation: str
    dtype: str
    channels: int
    commands: Ints
    data: Ints
    operand_bytes: int
    units: int
    unit_bytes: int = 32
    result_bytes: int = 0
    lookahead: int = 0
    quiet: int = NEVER
    head: int = 0
    tail: int = 0
    activation: str = ""
    notes: tuple[str, ...] = ()
    shape: dict[str, int] = field(default_factory=dict)

    def counts(self) -> dict[str, int]:
        """Commands by name, of one channel."""
        names, counts = np.unique(self.commands[:, m.G_COMMAND], return_counts=True)
        return {COMMANDS[int(c)]: int(k) for c, k in zip(names, counts, strict=True)}


def column_list(command: int, n: int, *, bank: int = -1, row: int = -1, rank: int = 0) -> Ints:
    """(n, 7) column commands of one kind; column and operand are still -1."""
    rows = np.full((n, m.G_NUM + 1), -1, np.int64)
    rows[:, m.G_COMMAND], rows[:, m.G_RANK], rows[:, m.G_BANK], rows[:, m.G_ROW] = command, rank, bank, row
    rows[:, m.G_FENCE] = 0
    return rows


def with_rows(columns: Ints) -> Ints:
    """Column commands with the activates and precharges that they need before them.

    columns: (n, 7); those with a row of -1 need none. A bank of -1 is a whole rank.
    returns: (n', 7). A bank is closed when its next row is needed; nothing is closed at the end.
    """
    where: list[Ints] = []
    rows: list[Ints] = []
    places = columns[:, m.G_RANK] * 4096 + columns[:, m.G_BANK]
    needs = columns[:, m.G_ROW] >= 0
    for place in np.unique(places[needs]).tolist():
        mine = np.flatnonzero(needs & (places == place))
        row = columns[mine, m.G_ROW]
        new = mine[np.flatnonzero(np.diff(row, prepend=-1))]
        for at, command in ((new[1:], PRE), (new, ACTAB)):
            extra = columns[at].copy()
            extra[:, m.G_COMMAND] = PREA if command == PRE and place % 4096 == 4095 else command
            extra[:, [m.G_COLUMN, DATA]] = -1
            extra[:, m.G_FENCE] = 0
            if command == PRE:
                extra[:, m.G_ROW] = -1
            where.append(at)
            rows.append(extra)
    if not where:
        return columns
    order = np.concatenate([np.concatenate(where) * 3 + 0, np.arange(len(columns)) * 3 + 2])
    order[: len(order) - len(columns)] += np.concatenate(rows)[:, m.G_COMMAND] == ACTAB
    return np.asarray(np.concatenate([*rows, columns])[np.argsort(order, kind="stable")])


def split(rows: Ints) -> tuple[Ints, Ints]:
    """(commands, data) of a list of commands with operands."""
    return np.ascontiguousarray(rows[:, : m.G_NUM]), np.ascontiguousarray(rows[:, DATA])


@dataclass(frozen=True, kw_only=True)
class KernelTime:
    """What a kernel took on one channel; all channels run it in lockstep.

    clocks, seconds: from the first command to the last answer. counts: commands issued, refreshes
    included. booked: clocks by cause (`machine.CAUSES`), which sum to `clocks`.
    refreshes_due: all-bank refreshes of a rank that fell due while it ran; refreshes: those done.
    """

    clocks: int
    seconds: float
    counts: dict[str, int]
    booked: dict[str, int]
    refreshes_due: int
    refreshes: int


def answers(dram: DramSpec, pim: PimSpec) -> Ints:
    """(commands,) clocks from a column command to its answer at the host."""
    n = Clocks(dram)
    latency = np.full(len(COMMANDS), n.RL + n.BL, np.int64)
    if pim.protocol == "global_buffer":  # registers at the pins: nothing but the burst
        latency[:] = n.BL
        latency[[RD, WR]] = n.RL + n.BL
    return latency


def clocked(pim: PimSpec) -> Ints:
    """(commands,) whether a column command needs the data clock of the bus (LPDDR5)."""
    needs = np.zeros(len(COMMANDS), np.int64)
    needs[[WRREG, RDRES]] = 1
    needs[MACAB if pim.protocol == "lockstep" else WRACC] = 1
    return needs


_FRESH: dict[tuple[str, str, str], Channels] = {}
_WAITS: dict[tuple[str, str], Ints] = {}
"""Channels as they are built, and waits between commands, by all that decides them."""
_SAID: dict[int, tuple[object, str]] = {}
"""What the last values say, by their identity: saying it takes as long as some hundred commands."""


def _say(value: object) -> str:
    """`repr` of a frozen value."""
    held = _SAID.get(id(value))
    if held is None or held[0] is not value:
        if len(_SAID) >= 64:
            _SAID.clear()
        held = _SAID[id(value)] = value, repr(value)
    return held[1]


def _pair_waits(dram: DramSpec, pim: PimSpec) -> Ints:
    key = _say(dram), _say(pim)
    if key not in _WAITS:
        _WAITS[key] = m.pair_waits(compile_rules(rules_of(dram, pim)))
    return _WAITS[key]


def prepare(
    dram: DramSpec, pim: PimSpec, controller: Controller, log_rows: int = 0, staggered: bool = False
) -> Channels:
    """One fresh channel for kernels, with room to log as many commands."""
    if controller.refresh == "per_bank":
        raise SpecError(
            "PIM programs need all-bank or no refresh: an open all-bank row leaves no bank to refresh"
        )
    key = (_say(dram), _say(pim), _say(controller))
    if key not in _FRESH:
        _FRESH[key] = build(dram, controller, 1, pim)
    copies: Any = [array.copy() for array in _FRESH[key]]
    channel = Channels(*copies)
    if log_rows:
        channel = channel._replace(log=np.zeros((log_rows, channel.log.shape[1]), np.int64))
        channel.cfg[C_LOG] = 1
    if staggered and controller.refresh == "all_bank":
        channel.scalar[:, X_NEXT_REF] = Clocks(dram).REFI // dram.geometry.ranks - 1
    return channel


def time_kernel(
    dram: DramSpec, pim: PimSpec, controller: Controller, kernel: Kernel, host: HostDrive = UNHINDERED,
    *, channel: Channels | None = None, begin: int = 0, staggered: bool = False,
    skip: bool = False,
) -> KernelTime:  # fmt: skip
    """Run a kernel alone on a fresh channel, or on the given one from clock `begin` on, and report its time.

    A given channel must have all banks closed. skip: count what repeats instead of stepping through it.
    staggered: ranks are refreshed in turn, a share of tREFI apart, as controllers do.
    """
    if channel is None:
        channel = prepare(dram, pim, controller, staggered=staggered)
    lost, booked = np.zeros(3, np.int64), np.zeros(len(m.CAUSES), np.int64)
    kind = m.KIND.copy()
    if kernel.operation not in ("gemv", "sum"):  # the results are as much work as the operands
        kind[WRAB] = m.B_WORK
    if pim.protocol == "global_buffer":  # the controller's own moves
        kind[[RD, WR]] = m.B_RESULT
    before = channel.counts[0].copy()
    end = m.run_program(
        channel, 0, kernel.commands, begin, *host_clocks(dram, host), lost,
        lookahead=kernel.lookahead, latency=answers(dram, pim), clocked=clocked(pim), quiet=kernel.quiet,
        waits=_pair_waits(dram, pim), booked=booked, staggered=staggered, kind=kind,
        skip=skip,
    )  # fmt: skip
    clocks, issued = end - begin, channel.counts[0] - before
    counts = command_counts(issued)
    ranks = dram.geometry.ranks
    due = 0
    if controller.refresh != "none":
        interval = Clocks(dram).REFI
        due = clocks // (interval // ranks) if staggered else clocks // interval * ranks
    return KernelTime(
        clocks=clocks,
        seconds=clocks * dram.tck_fs * 1e-15,
        counts=counts,
        booked={name: int(v) for name, v in zip(m.CAUSES, booked, strict=True)},
        refreshes_due=due,
        refreshes=counts.get("REFAB", 0),
    )


def log_kernel(
    dram: DramSpec, pim: PimSpec, controller: Controller, kernel: Kernel, host: HostDrive = UNHINDERED
) -> tuple[KernelTime, pd.DataFrame]:
    """The time of a kernel alone on a fresh channel and its commands, as `command_log` has them."""
    rows = 2 * len(kernel.commands) + 1024  # a CAS with each access at most, and refreshes
    while True:
        channel = prepare(dram, pim, controller, log_rows=rows)
        time = time_kernel(dram, pim, controller, kernel, host, channel=channel)
        used = int(channel.log_used[0])
        if used <= rows:
            return time, command_log(channel)
        rows = used  # a host so slow that refreshes outnumber its accesses


__all__ = [
    "DATA", "UNHINDERED", "HostDrive", "Kernel", "KernelTime", "answers", "clocked", "column_list",
    "host_clocks", "log_kernel", "prepare", "split", "time_kernel", "with_rows",
]  # fmt: skip
