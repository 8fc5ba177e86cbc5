"""What a PIM operation costs and why: time, bandwidth, share of the peak, every lost clock by its cause."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from pimsim.devices.dram.channel import Controller, build, replay
from pimsim.devices.pim.kernel import UNHINDERED, HostDrive, Kernel, KernelTime, time_kernel
from pimsim.devices.spec import Clocks, DramSpec, PimSpec
from pimsim.units import ceil_div

ON_PINS = {"RDRES": "read", "RD": "read", "WRREG": "write", "WRACC": "write", "MODE": "write", "WR": "write"}
"""Commands that move one burst over the data pins of a channel, and which way."""


def on_pins(pim: PimSpec, counts: dict[str, int]) -> dict[str, int]:
    """How many bursts commands move over the pins: {"read": .., "write": ..}.

    A mode change is a write to a reserved row; with one buffer a channel it is a command without data.
    """
    moved = {"read": 0, "write": 0}
    for name, way in ON_PINS.items():
        if name != "MODE" or pim.protocol != "global_buffer":
            moved[way] += counts.get(name, 0)
    return moved


MOST_BURSTS = 1 << 17
"""Bursts of a sequential read that are simulated; a longer one goes on as it did."""


@dataclass(frozen=True, kw_only=True)
class Cost:
    """What one operation takes on a part with all its channels.

    clocks, time_ns: from the first command to the last answer. commands: by kind, of all channels.
    peak_clocks: clocks that the operands alone need when every unit works in every column command.
    lost: clocks by cause; peak_clocks and all of them sum to clocks.
    internal_gbps, internal_peak_gbps: operand bytes that the units take in, and what they could.
    external_gbps, external_peak_gbps: bytes over the pins, and what those could move.
    host_peak_ns, host_read_ns: the host reading the weights once, at the full bandwidth of the pins, and as
      the channels do it, with rows and refreshes. speedup, speedup_over_read: those over time_ns.
    possible_speedup: internal over external peak.
    refreshes, refreshes_due: of one channel, all ranks.
    """

    part: str
    operation: str
    dtype: str
    shape: dict[str, int]
    channels: int
    clocks: int
    time_ns: float
    commands: dict[str, int]
    peak_clocks: int
    lost: dict[str, int]
    internal_gbps: float
    internal_peak_gbps: float
    external_gbps: float
    external_peak_gbps: float
    host_peak_ns: float
    host_read_ns: float
    refreshes: int
    refreshes_due: int
    notes: tuple[str, ...]

    @property
    def share_of_peak(self) -> float:
        return self.peak_clocks / self.clocks

    @property
    def speedup(self) -> float:
        return self.host_peak_ns / self.time_ns

    @property
    def speedup_over_read(self) -> float:
        return self.host_read_ns / self.time_ns

    @property
    def possible_speedup(self) -> float:
        return self.internal_peak_gbps / self.external_peak_gbps


def sequential_clocks(dram: DramSpec, controller: Controller, bursts: int, write: bool = False) -> int:
    """Clocks until the data of bursts in address order have been moved on one channel.

    Addresses go over bank groups, banks, columns, ranks and rows, in this order.
    """
    n = min(bursts, MOST_BURSTS)
    g = dram.geometry
    i = np.arange(n, dtype=np.int64)
    bank = i % g.banks
    column = i // g.banks % g.bursts_per_row
    row, rank = np.divmod(i // g.banks // g.bursts_per_row, g.ranks)
    place = rank * g.banks + bank % g.bank_groups * g.banks_per_group + bank // g.bank_groups
    done = replay(
        build(dram, controller, 1),
        np.zeros(n, np.int64),
        np.full(n, int(write), np.int64),
        place,
        row,
        column,
    )
    n_ck = Clocks(dram)
    return ceil_div(done.cycles * bursts, n) + (n_ck.WL + n_ck.BL if write else 0)


def cost_of(
    dram: DramSpec, pim: PimSpec, controller: Controller, kernel: Kernel, host: HostDrive = UNHINDERED
) -> Cost:
    """Run a kernel and say what it cost.

    controller: of the channels; its queue also serves the host's own read of the weights.
    """
    time = time_kernel(dram, pim, controller, kernel, host)
    moved = kernel.operand_bytes + kernel.result_bytes
    weights = kernel.operand_bytes // kernel.shape.get("batch", 1)
    at_once = kernel.channels * kernel.units * kernel.unit_bytes
    peak = min(moved * Clocks(dram).CCD_L // at_once, time.booked["work"])
    ns = time.seconds * 1e9
    bursts = sum(on_pins(pim, time.counts).values())
    read = sequential_clocks(dram, controller, ceil_div(weights, kernel.channels * dram.geometry.burst_bytes))
    tck_ns = dram.tck_fs * 1e-6
    return Cost(
        part=pim.name,
        operation=kernel.operation,
        dtype=kernel.dtype,
        shape=kernel.shape,
        channels=kernel.channels,
        clocks=time.clocks,
        time_ns=ns,
        commands={name: count * kernel.channels for name, count in time.counts.items()},
        peak_clocks=peak,
        lost=_lost(time, peak),
        internal_gbps=moved / ns,
        internal_peak_gbps=at_once / (Clocks(dram).CCD_L * tck_ns),
        external_gbps=bursts * kernel.channels * dram.geometry.burst_bytes / ns,
        external_peak_gbps=kernel.channels * dram.peak_bytes_per_s / 1e9,
        host_peak_ns=weights / (kernel.channels * dram.peak_bytes_per_s) * 1e9,
        host_read_ns=read * tck_ns,
        refreshes=time.refreshes,
        refreshes_due=time.refreshes_due,
        notes=kernel.notes,
    )


def _lost(time: KernelTime, peak: int) -> dict[str, int]:
    """Clocks by cause, which with `peak` sum to all clocks."""
    lost = {"padding and idle units": time.booked["work"] - peak}
    return lost | {cause: clocks for cause, clocks in time.booked.items() if cause != "work"}


__all__ = ["ON_PINS", "Cost", "cost_of", "on_pins", "sequential_clocks"]
