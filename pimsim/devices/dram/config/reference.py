"""A reference configuration in our own terms, whichever simulator it comes from."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from pimsim.devices.dram import bank_machines, bank_queues
from pimsim.devices.dram import engine as e
from pimsim.devices.dram.channel import Controller, Replayed, replay
from pimsim.devices.rules import Rule, RuleTable, compile_rules
from pimsim.devices.spec import DramGeometry, DramSpec
from pimsim.placement.mapping import AddressMapping


@dataclass(frozen=True, kw_only=True, eq=False)
class ReferenceConfig:
    """A reference configuration in our own terms.

    cycle_ps: length of a clock. timings: durations in clocks under the file's names (`nRCD`).
    commands: the device's commands under our names. rules: its spacing rules, in the file's order.
    mapping: fields rank (where there are several), sid (HBM3), bankgroup, bank, row, column (bursts).
    geometry: bank groups are counted over all stack levels of a rank.
    cfg: (C_NUM,) int64, the engine's configuration row.
    part: the same device as one of our parts, timings in clocks; None if we have no rules for its family.
    """

    id: str
    model: str
    standard: str
    produced_by: str
    cycle_ps: int
    data_rate_mtps: int
    geometry: DramGeometry
    timings: dict[str, int]
    commands: tuple[str, ...]
    rules: tuple[Rule, ...]
    controller: Controller | bank_queues.BankQueues | bank_machines.BankMachines
    mapping: AddressMapping
    cfg: NDArray[np.int64]
    part: DramSpec | None = None

    @property
    def burst_bytes(self) -> int:
        return self.mapping.transaction_bytes

    @property
    def split_activate(self) -> bool:
        """Whether an activate is two commands, ACT1 and ACT2 (LPDDR5)."""
        return bool(self.cfg[e.C_SPLIT_ACT])

    @cached_property
    def table(self) -> RuleTable:
        return compile_rules(list(self.rules))

    def channel(self, log_rows: int = 0) -> e.Channels:
        """One fresh channel that keeps its first `log_rows` commands."""
        cfg = self.cfg.copy()
        cfg[e.C_LOG] = log_rows > 0
        return e.make_channels(1, cfg, self.table.first, self.table.rows, self.table.rings, log_rows)

    def places(
        self, address: NDArray[np.int64]
    ) -> tuple[NDArray[np.int64], NDArray[np.int64], NDArray[np.int64]]:
        """Bank (counted over ranks and groups), row and column of byte addresses, each (n,) int64.

        Address bits above the mapping are ignored, as the reference does.
        """
        inside = address & (self.mapping.capacity_bytes - 1)
        coordinates = self.mapping.decode(inside).astype(np.int64)
        at = {field: coordinates[:, k] for k, field in enumerate(self.mapping.fields)}
        none = np.zeros(len(address), np.int64)
        sids = int(self.cfg[e.C_SIDS])
        level = at.get("rank", none) * sids + at.get("sid", none)
        group = level * (self.geometry.bank_groups // sids) + at.get("bankgroup", none)
        return group * self.geometry.banks_per_group + at.get("bank", none), at["row"], at["column"]

    def run(
        self,
        arrive: NDArray[np.int64],
        write: NDArray[np.int64],
        address: NDArray[np.int64],
        window: int = 0,
        log_rows: int = 0,
    ) -> Replayed:
        """Requests offered in order to a fresh channel: see `channel.replay`."""
        if isinstance(self.controller, bank_queues.BankQueues):
            channel, places = self.channel(log_rows), self.places(address)
            return bank_queues.replay(channel, self.controller, arrive, write, *places, window, address)
        if isinstance(self.controller, bank_machines.BankMachines):
            channel, places = self.channel(log_rows), self.places(address)
            return bank_machines.replay(channel, self.controller, arrive, write, *places, window)
        return replay(self.channel(log_rows), arrive, write, *self.places(address), window)
