"""The face of the DRAM channels: a part, a controller and a mapping become a `Memory` that runs.

What this model leaves out: self refresh and power-down, temperature-dependent refresh, on-die and
link ECC, refresh management; refreshes are not pulled in.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from pimsim.devices.dram import engine as e
from pimsim.devices.dram import open_loop
from pimsim.devices.rules import (
    ACT1,
    COMMANDS,
    LPDDR4_BUS_CK,
    RuleTable,
    command_counts,
    compile_rules,
    rules_of,
)
from pimsim.devices.spec import Clocks, DramGeometry, DramSpec, PimSpec
from pimsim.errors import SpecError, suggest
from pimsim.placement.mapping import AddressMapping

BUSES = {"hbm2": e.ROW_AND_COLUMN, "hbm3": e.HALF_CLOCK}
"""Command buses of families that have more than one."""
REFRESH_MODES = {
    "none": e.NO_REFRESH,
    "all_bank": e.ALL_BANK,
    "per_bank": e.PER_BANK,
    "same_bank": e.SAME_BANK,
}
POSTPONED = {"ddr5": 3}
OTHERS_POSTPONED = 7
"""Most refreshes that may wait, by family: one fewer than the standards allow (DDR5 four, others eight), so
that the last one has time to close the banks and go out."""
SCHEDULERS = {
    "row_hit_guard": e.ROW_HIT_GUARD,
    "ready_first": e.READY_FIRST,
    "row_hit_first": e.ROW_HIT_FIRST,
    "in_order": e.IN_ORDER,
}
ROW_POLICIES = ("open", "closed", "capped", "timeout")
_CHOICES = {
    "scheduler": tuple(SCHEDULERS),
    "queues": ("split", "unified"),
    "row_policy": ROW_POLICIES,
    "refresh": tuple(REFRESH_MODES),
    "data_clock": ("on_demand", "always_on"),
}


@dataclass(frozen=True, kw_only=True)
class Controller:
    """What a memory controller decides: queues, write drain, who goes first, when rows close, refresh.

    scheduler: of the commands that waiting requests need and that may go now,
      "ready_first": that of the oldest request;
      "row_hit_guard": the same, but a row is not closed while an older request hits it;
      "row_hit_first" (FR-FCFS): row hits before others, and a row is not closed while any request hits it;
      "in_order" (FCFS): only the oldest request's; the next one begins when its data command is out.
    row_hit_cap: accesses after which a row serves no more hits that are younger than a request for another
      row of its bank; 0: any number.
    queues: "split" (reads and writes apart, writes are served in drains) or "unified" (one queue of
      read_queue + write_queue requests, whatever they are).
    read_queue, write_queue: requests that wait, a channel.
    write_high, write_low: write mode starts above `write_high` waiting writes (or when no read waits)
      and ends below `write_low` when a read waits.
    row_policy: "open"; "closed" (every access precharges); "capped" (after `row_cap` accesses a further hit
      precharges, and an idle row is closed); "timeout" (a row that no request hits is closed after
      `row_timeout_ck` clocks without an access).
    refresh: "none", "all_bank", "per_bank" or "same_bank" (DDR5; banks in turn).
    postpone: refreshes that may wait while requests do, at most 7 (DDR5: 3).
    data_clock: "on_demand" (LPDDR5: a CAS starts it) or "always_on".

    Reads of a waiting write's address are served from its queue, and a write to such an address is merged.
    """

    name: str = "default"
    scheduler: str = "row_hit_guard"
    row_hit_cap: int = 0
    queues: str = "split"
    read_queue: int = 32
    write_queue: int = 32
    write_high: int = 25
    write_low: int = 7
    row_policy: str = "open"
    row_cap: int = 1
    row_timeout_ck: int = 100
    refresh: str = "all_bank"
    postpone: int = 0
    data_clock: str = "on_demand"

    def __post_init__(self) -> None:
        for name, least in (
            ("read_queue", 1),
            ("write_queue", 1),
            ("row_cap", 1),
            ("row_timeout_ck", 1),
            ("row_hit_cap", 0),
            ("postpone", 0),
        ):
            if getattr(self, name) < least:
                raise SpecError(
                    f"controller {self.name}: {name}={getattr(self, name)}; wanted at least {least}"
                )
        if not 1 <= self.write_low <= self.write_high + 1 <= self.write_queue + 1:
            raise SpecError(
                f"controller {self.name}: write marks low={self.write_low}, high={self.write_high}; "
                f"wanted 1 <= low <= high + 1 and high <= write_queue={self.write_queue}"
            )
        for name, known in _CHOICES.items():
            value = getattr(self, name)
            if value not in known:
                raise SpecError(f"controller {self.name}: {name}={value!r}{suggest(str(value), known)}")


def configure(spec: DramSpec, controller: Controller) -> NDArray[np.int64]:
    """The engine's configuration row of a part under a controller."""
    n, g = Clocks(spec), spec.geometry
    split = n.has("AAD")
    cfg = np.zeros(e.C_NUM, np.int64)
    cfg[e.C_RANKS], cfg[e.C_GROUPS], cfg[e.C_BANKS] = g.ranks, g.bank_groups, g.banks_per_group
    cfg[e.C_SPLIT_ACT], cfg[e.C_AAD] = split, n.AAD if split else 0
    cfg[e.C_SYNC] = n.has("WCKPST") and controller.data_clock == "on_demand"
    cfg[e.C_WCKPST] = n.WCKPST if n.has("WCKPST") else 0
    cfg[e.C_RL] = n.RL
    if spec.family == "lpddr4":  # data come tDQSCK after RL, which counts from the last clock of a read
        cfg[e.C_RL] += n.DQSCK + LPDDR4_BUS_CK["RD"] - 1
    cfg[e.C_WL], cfg[e.C_BL] = n.WL, n.BL
    cfg[e.C_REFRESH] = REFRESH_MODES[controller.refresh]
    if controller.refresh == "all_bank":
        cfg[e.C_REFI] = n.REFI
    elif controller.refresh == "per_bank":
        if not n.has("REFIpb"):
            raise SpecError(f"{spec.name}: family {spec.family} has no per-bank refresh (no timing REFIpb)")
        cfg[e.C_REFI] = n.REFIpb
    elif controller.refresh == "same_bank":
        if not n.has("REFIsb"):
            raise SpecError(f"{spec.name}: family {spec.family} has no same-bank refresh (no timing REFIsb)")
        cfg[e.C_REFI] = n.REFIsb
    command = {"all_bank": "REFAB", "per_bank": "REFPB", "same_bank": "REFSB"}.get(controller.refresh)
    apart = [
        rule.wait
        for rule in rules_of(spec)
        if rule.scope == "rank" and command in rule.after and command in rule.before
    ]
    if command and cfg[e.C_REFI] <= max(apart, default=0):
        raise SpecError(
            f"{spec.name}: refresh={controller.refresh!r}: one of a rank falls due every {cfg[e.C_REFI]} "
            f"clocks but takes {max(apart)}; no time is left for requests"
        )
    most = POSTPONED.get(spec.family, OTHERS_POSTPONED)
    if controller.postpone > most:
        raise SpecError(
            f"controller {controller.name}: postpone={controller.postpone}; at most {most} refreshes of "
            f"{spec.name} may wait"
        )
    set_policies(cfg, controller)
    cfg[e.C_SIDS] = g.sids
    cfg[e.C_BUSES] = BUSES.get(spec.family, e.ONE_BUS)
    return cfg


def set_policies(cfg: NDArray[np.int64], controller: Controller) -> None:
    """The columns of an engine's configuration row that are the controller's alone."""
    cfg[e.C_ORDER] = SCHEDULERS[controller.scheduler]
    cfg[e.C_HIT_CAP] = controller.row_hit_cap
    cfg[e.C_UNIFIED] = controller.queues == "unified"
    cfg[e.C_READQ], cfg[e.C_WRITEQ] = controller.read_queue, controller.write_queue
    if controller.queues == "unified":
        cfg[e.C_READQ], cfg[e.C_WRITEQ] = controller.read_queue + controller.write_queue, 0
    cfg[e.C_HIGH], cfg[e.C_LOW] = controller.write_high, controller.write_low
    cfg[e.C_CAP] = {"closed": e.EVERY_ACCESS, "capped": controller.row_cap}.get(controller.row_policy, 0)
    cfg[e.C_TIMEOUT] = controller.row_timeout_ck if controller.row_policy == "timeout" else 0
    cfg[e.C_POSTPONE] = controller.postpone


def lookup_tables(mappings: list[AddressMapping], geometry: DramGeometry) -> NDArray[np.int64]:
    """(m, 6, 256) tables: XOR over the bytes of an address gives its packed coordinates.

    A mapping is linear over bits (XOR hashing included), so the image of a byte is the XOR of its bits'.
    """
    g = geometry
    tables = np.zeros((len(mappings), 6, 256), np.int64)
    for m, mapping in enumerate(mappings):
        units = {
            "rank": g.ranks,
            "bankgroup": g.bank_groups,
            "bank": g.banks_per_group,
            "row": g.rows,
            "column": g.bursts_per_row,
        }
        mapping.check(units | {field: n for field, n in mapping.counts.items() if field == "channel"})
        bits = np.zeros(48, np.int64)
        for bit in range(mapping.offset_bits, mapping.address_bits):
            held = mapping.decode(np.array([1 << bit], np.uint64))[0].tolist()
            at = dict.fromkeys(("channel", *units), 0) | dict(zip(mapping.fields, held, strict=True))
            bank = (at["rank"] * g.bank_groups + at["bankgroup"]) * g.banks_per_group + at["bank"]
            bits[bit] = at["channel"] | bank << 8 | at["column"] << 20 | at["row"] << 36
        for byte in range(6):
            for value in range(256):
                image = 0
                for k in range(8):
                    if value >> k & 1:
                        image ^= int(bits[8 * byte + k])
                tables[m, byte, value] = image
    return tables


def build(
    spec: DramSpec, controller: Controller, channels: int, pim: PimSpec | None = None, log_rows: int = 0
) -> e.Channels:
    """Fresh channels of a part (with the rules of its PIM unit, if any)."""
    table: RuleTable = compile_rules(rules_of(spec, pim))
    cfg = configure(spec, controller)
    cfg[e.C_LOG] = log_rows > 0
    return e.make_channels(channels, cfg, table.first, table.rows, table.rings, log_rows)


def command_log(channels: e.Channels) -> pd.DataFrame:
    """Commands issued so far: clock, command, channel, rank, bankgroup, bank, row, column (-1: none).

    An activate in one command is ACT, the halves of one in two are ACT1 and ACT2.
    """
    used = int(channels.log_used[0])
    if used > len(channels.log):
        raise SpecError(f"the command log holds {len(channels.log)} rows but {used} commands were issued")
    frame = pd.DataFrame(channels.log[:used].copy(), columns=list(e.LOG_COLUMNS))
    frame = frame.sort_values(["clock", "channel"], kind="stable", ignore_index=True)
    names = np.array(COMMANDS, dtype=object)
    if not channels.cfg[e.C_SPLIT_ACT]:
        names[ACT1] = "ACT"
    frame["command"] = names[frame["command"].to_numpy()]
    return frame


@dataclass(frozen=True, kw_only=True)
class Replayed:
    """What a request list did on one channel; clocks count from the start.

    accepted, done: (n,) int64, clocks of acceptance and completion of each request.
    cycles: clocks until the last completion; counts: commands by name; row_hits: data commands that
    found their row open; log: the commands, or None when they were not kept.
    """

    accepted: NDArray[np.int64]
    done: NDArray[np.int64]
    cycles: int
    counts: dict[str, int]
    row_hits: int
    log: pd.DataFrame | None


def replay(
    channel: e.Channels,
    arrive: NDArray[np.int64],
    write: NDArray[np.int64],
    bank: NDArray[np.int64],
    row: NDArray[np.int64],
    column: NDArray[np.int64],
    window: int = 0,
) -> Replayed:
    """Offer requests in order, each from its arrival clock on, at most `window` outstanding (0: no limit).

    arrive, write, bank, row, column: (n,) int64; `bank` counts over ranks, groups and banks.
    """
    if window < 0:
        raise SpecError(f"window={window}; wanted 0 (no limit) or a count of requests")
    for name, value, limit in (("bank", bank, channel.open_row.shape[1]), ("column", column, 1 << 16)):
        if len(value) and not (value.min() >= 0 and value.max() < limit):
            raise SpecError(
                f"{name}s of requests reach from {value.min()} to {value.max()}; wanted 0 to {limit - 1}"
            )
    accepted = np.full(len(arrive), -1, np.int64)
    done = np.full(len(arrive), -1, np.int64)
    host = open_loop.make_host(window)
    if not open_loop.offer(
        channel, host, arrive, write, pack(bank, row, column), window, False, accepted, done
    ):
        raise SpecError(why_stuck(channel, int(np.argmax(done < 0)), host))
    return Replayed(
        accepted=accepted,
        done=done,
        cycles=int(host.at[open_loop.H_LAST]) + 1,
        counts=command_counts(channel.counts[0]),
        row_hits=int(channel.scalar[0, e.X_ROW_HITS]),
        log=command_log(channel) if channel.cfg[e.C_LOG] else None,
    )


def pack(bank: NDArray[np.int64], row: NDArray[np.int64], column: NDArray[np.int64]) -> NDArray[np.int64]:
    """Coordinates in one number each, as `lookup_tables` packs them (channel 0)."""
    return bank << 8 | column << 20 | row << 36


def why_stuck(channel: e.Channels, request: int, host: open_loop.Host) -> str:
    """What a request waits for that never comes, in words."""
    s, clock = channel, int(host.at[open_loop.H_CLOCK])
    held = [int(k) for k in np.flatnonzero(s.banks["owner"][0] >= 0)]
    refreshes = int(s.scalar[0, e.X_REFRESHES])
    said = (
        f"request {request} can never complete: no command that it needs can issue any more "
        f"(after clock {clock}; {int(s.scalar[0, e.X_READS])} reads and "
        f"{int(s.scalar[0, e.X_WRITES])} writes "
        f"wait, {'writes' if s.scalar[0, e.X_WRITE_MODE] else 'reads'} are served"
    )
    waiting = [int(slot) for slot in s.lists["head"][0] if slot >= 0]
    if waiting:
        oldest = min(waiting, key=lambda slot: int(s.slots["age"][0, slot]))
        bank, row = int(s.slots["bank"][0, oldest]), int(s.slots["row"][0, oldest])
        open_row = int(s.open_row[0, bank])
        state = f"row {open_row} is open" if open_row >= 0 else "no row is open"
        said += f"; the oldest waits for row {row} of bank {bank}, where {state}"
    if held:
        said += f"; rows of banks {held} were opened for requests that wait for their data"
    return said + f"; {refreshes} refreshes went out meanwhile)"
