"""Replay requests on DRAM channels: of a part of the catalog, or of a reference configuration.

    report = replay_file("requests.csv", part("ddr4-3200-8gb-x8", DramSpec))
    report.cycles, report.bandwidth_gbps, report.commands

Several channels (a mapping with a field `channel`) are run beside each other, each by a host of its own that
offers the channel's requests in order; a full queue of one does not hold up the others.

What this leaves out: everything outside the channels (caches, fabric, PHY).
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, fields
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from pimsim.devices.dram import bank_machines, bank_queues, open_loop
from pimsim.devices.dram import engine as e
from pimsim.devices.dram.bank_queues import BankQueues
from pimsim.devices.dram.channel import (
    Controller,
    Replayed,
    build,
    command_log,
    lookup_tables,
    why_stuck,
)
from pimsim.devices.dram.config import ReferenceConfig
from pimsim.devices.dram.controllers import CONTROLLERS, AnyController
from pimsim.devices.dram.energy import Energy, run_energy
from pimsim.devices.dram.requests import Requests, read_blocks, read_trace
from pimsim.devices.rules import command_counts
from pimsim.devices.spec import DramGeometry, DramSpec
from pimsim.errors import SpecError
from pimsim.placement.mapping import AddressMapping

Advance = Callable[[float, str], None]
ORDER = ("row", "rank", "bank", "bankgroup", "column", "channel")
"""Fields of the default mapping, most significant first."""


@dataclass(frozen=True, kw_only=True, eq=False)
class ReplayReport:
    """What happened. Clocks (`_ck`) are those of a channel, `tck_fs` long.

    cycles: clock after the last completion. *_read_latency_ck: from acceptance to the last data of a
    read; None without reads; a percentile is a latency that occurred (the longest, from 65536 clocks on).
    row_hits: data commands that found their row open; row_conflicts: those for which another row had to be
    closed (None where the controller does not count them); row_misses: all others.
    counts: commands by name, of all channels. bandwidth_gbps: bytes of all requests over the whole time,
    those that the write queue served or merged included; share_of_peak: of the peak of the data buses.
    accepted, done: (n,) clocks of each request, None if they were not kept.
    commands: the log, if it was asked for: clock, command, channel, rank, bankgroup, bank, row, column.
    energy: None for a part without currents and for a reference configuration; exact with a log.
    """

    device: str
    mapping: str
    controller: AnyController
    channels: int
    requests: int
    reads: int
    writes: int
    cycles: int
    tck_fs: int
    mean_read_latency_ck: float | None
    p50_read_latency_ck: float | None
    p99_read_latency_ck: float | None
    row_hits: int
    row_misses: int
    row_conflicts: int | None
    counts: dict[str, int]
    bandwidth_gbps: float
    share_of_peak: float
    accepted: NDArray[np.int64] | None = None
    done: NDArray[np.int64] | None = None
    commands: pd.DataFrame | None = None
    energy: Energy | None = None

    @property
    def time_ns(self) -> float:
        return self.cycles * self.tck_fs / 1e6

    def ns(self, clocks: float | None) -> float | None:
        """A number of clocks in nanoseconds."""
        return None if clocks is None else clocks * self.tck_fs / 1e6

    def times(self) -> pd.DataFrame | None:
        """When each request was accepted and done, in clocks: columns index, accept, done."""
        if self.accepted is None or self.done is None:
            return None
        return pd.DataFrame({"index": range(self.requests), "accept": self.accepted, "done": self.done})

    def summary(self) -> dict[str, Any]:
        """Everything but arrays and log as plain values, latencies in clocks and in ns."""
        said: dict[str, Any] = {}
        for field in fields(self):
            value = getattr(self, field.name)
            if field.name == "controller":
                said[field.name] = {f.name: getattr(value, f.name) for f in fields(value)}
            elif field.name == "energy":
                said[field.name] = None if value is None else value.summary()
            elif field.name not in ("commands", "accepted", "done"):
                said[field.name] = value
            if field.name.endswith("_latency_ck"):
                said[field.name.removesuffix("_ck") + "_ns"] = self.ns(value)
        return said | {"time_ns": self.time_ns}


def default_mapping(geometry: DramGeometry, channels: int = 1) -> AddressMapping:
    """row | rank | bank | bankgroup | column | channel from the top: consecutive bursts walk along a row.

    Every count but that of the rows must be a power of two; fields of one unit have no bits.
    """
    units = _units(geometry) | {"channel": channels}
    pieces = []
    for field in ORDER:
        bits = (units[field] - 1).bit_length()
        if field != "row" and units[field] != 1 << bits:
            raise SpecError(f"{units[field]} {field}s are no power of two; give a mapping")
        if bits or field == "row":
            pieces.append(f"{field}:{bits}" + (f"={units[field]}" if units[field] != 1 << bits else ""))
    return AddressMapping.parse(" ".join(pieces), geometry.burst_bytes)


def _units(geometry: DramGeometry) -> dict[str, int]:
    return {
        "rank": geometry.ranks,
        "bankgroup": geometry.bank_groups,
        "bank": geometry.banks_per_group,
        "row": geometry.rows,
        "column": geometry.bursts_per_row,
    }


def replay_file(
    path: str | Path,
    device: DramSpec | ReferenceConfig,
    *,
    controller: AnyController | None = None,
    mapping: str | AddressMapping | None = None,
    channels: int = 1,
    window: int = 0,
    log: bool = False,
    times: bool = False,
    progress: Advance | None = None,
) -> ReplayReport:
    """Replay the requests of a file (see `requests.read_blocks`).

    device: a part, with a controller (default: `CONTROLLERS["default"]`) and an address mapping (default:
    `default_mapping` of so many channels), or a reference configuration, which brings both. window: most
    requests outstanding a channel, 0 for no limit but the queues. log: keep every command. times: keep the
    clocks of every request. Without these two a `Controller` reads the file in blocks, whatever its length.

    Addresses must lie within a part; those of a reference configuration wrap around, as in its source.
    """
    if isinstance(device, ReferenceConfig):
        requests = read_trace(path, device_burst_bytes(device))
        return replay_requests(
            requests,
            device,
            controller=controller,
            mapping=mapping,
            channels=channels,
            window=window,
            log=log,
        )
    used, held = _mapping(device, mapping, channels), controller or CONTROLLERS["default"].controller
    capacity = min(device.geometry.channel_bytes * used.counts.get("channel", 1), used.capacity_bytes)
    burst = device_burst_bytes(device)
    if log or times or not isinstance(held, Controller):
        requests = read_trace(path, burst, capacity)
        return replay_requests(requests, device, controller=held, mapping=used, window=window, log=log)
    blocks = read_blocks(path, burst, capacity)
    return replay_blocks(blocks, device, controller=held, mapping=used, window=window, progress=progress)


def device_burst_bytes(device: DramSpec | ReferenceConfig) -> int:
    """Bytes of one request."""
    return device.geometry.burst_bytes


def replay_requests(
    requests: Requests,
    device: DramSpec | ReferenceConfig,
    *,
    controller: AnyController | None = None,
    mapping: str | AddressMapping | None = None,
    channels: int = 1,
    window: int = 0,
    log: bool = False,
) -> ReplayReport:
    """`replay_file` of requests that are there already; the clocks of every request are kept."""
    _check_window(window)
    if isinstance(device, ReferenceConfig):
        if controller is not None or mapping is not None or channels != 1:
            raise SpecError(
                f"{device.id}: a reference configuration brings its own controller, mapping and channel"
            )
        run = device.run(requests.arrive, requests.write, requests.address, window, 0)
        if log:
            rows = sum(run.counts.values())
            run = device.run(requests.arrive, requests.write, requests.address, window, rows)
        stats = _stats_of(requests.write, run)
        return _report(device, device.controller, device.mapping, [stats], run.accepted, run.done, run.log)
    held, used = controller or CONTROLLERS["default"].controller, _mapping(device, mapping, channels)
    packed = _packed(device, used, requests.address)
    n = used.counts.get("channel", 1)
    places = [np.flatnonzero(packed & 255 == c) for c in range(n)] if n > 1 else [slice(None)]

    def one(c: int) -> tuple[_Stats, Replayed]:
        mine = places[c]
        offered = requests.arrive[mine], requests.write[mine], packed[mine]
        stats, run = _run(device, held, *offered, window, 0)
        return _run(device, held, *offered, window, sum(stats.counts.values())) if log else (stats, run)

    with _threads(n) as each:
        ran = list(each(one, range(n)))
    accepted, done = ran[0][1].accepted, ran[0][1].done
    if n > 1:
        accepted, done = np.empty(len(requests), np.int64), np.empty(len(requests), np.int64)
    logs = []
    for c, (_, run) in enumerate(ran):
        if n > 1:
            accepted[places[c]], done[places[c]] = run.accepted, run.done
        if run.log is not None:
            logs.append(run.log.assign(channel=c))
    commands = None
    if logs:
        commands = pd.concat(logs).sort_values(["clock", "channel"], kind="stable", ignore_index=True)
    return _report(device, held, used, [stats for stats, _ in ran], accepted, done, commands)


@contextmanager
def _threads(n: int) -> Iterator[Callable[..., Iterator[Any]]]:
    """`map` on so many threads; on none for one channel, whose thread would cost more than a short list."""
    if n == 1:
        yield map
    else:
        with ThreadPoolExecutor(n) as pool:
            yield pool.map


def _check_window(window: int) -> None:
    if window < 0:
        raise SpecError(f"window={window}; wanted 0 (no limit) or a count of requests")


def _mapping(spec: DramSpec, mapping: str | AddressMapping | None, channels: int) -> AddressMapping:
    if channels < 1:
        raise SpecError(f"channels={channels}; wanted at least 1")
    if mapping is None:
        return default_mapping(spec.geometry, channels)
    burst = spec.geometry.burst_bytes
    made = AddressMapping.parse(mapping, burst) if isinstance(mapping, str) else mapping
    if made.transaction_bytes != burst:
        raise SpecError(
            f"mapping {made}: transaction_bytes={made.transaction_bytes} but a burst has {burst} bytes"
        )
    held = made.counts.get("channel", 1)
    if channels not in (1, held):
        raise SpecError(f"mapping {made}: has {held} channels but channels={channels}")
    if held > 256:
        raise SpecError(f"mapping {made}: has {held} channels; at most 256 are modelled")
    made.check(_units(spec.geometry) | {field: n for field, n in made.counts.items() if field == "channel"})
    return made


@lru_cache(maxsize=32)
def _table(mapping: AddressMapping, geometry: DramGeometry) -> NDArray[np.int64]:
    return lookup_tables([mapping], geometry).reshape(6, 256)


def _packed(spec: DramSpec, mapping: AddressMapping, address: NDArray[np.int64]) -> NDArray[np.int64]:
    """(n,) coordinates of byte addresses, as `channel.pack` packs them."""
    packed = np.empty(len(address), np.int64)
    open_loop.decode_all(_table(mapping, spec.geometry), address, packed)
    return packed


@dataclass(frozen=True, kw_only=True)
class _Stats:
    """What one channel did. latencies: counts of reads by latency; longest: the longest latency."""

    reads: int
    writes: int
    cycles: int
    latency_sum: int
    longest: int
    latencies: NDArray[np.int64]
    row_hits: int
    row_conflicts: int | None
    counts: dict[str, int]


def _stats_of(write: NDArray[np.int64], run: Replayed) -> _Stats:
    latency = (run.done - run.accepted)[write == 0]
    return _Stats(
        reads=len(latency),
        writes=len(write) - len(latency),
        cycles=run.cycles,
        latency_sum=int(latency.sum()),
        longest=int(latency.max(initial=0)),
        latencies=np.bincount(
            np.minimum(latency, open_loop.LATENCIES), minlength=open_loop.LATENCIES + 1
        ).astype(np.int64),
        row_hits=run.row_hits,
        row_conflicts=None,
        counts=run.counts,
    )


def _stats_from(channel: e.Channels, host: open_loop.Host) -> _Stats:
    at = host.at
    return _Stats(
        reads=int(at[open_loop.H_READS]),
        writes=int(at[open_loop.H_FIRST] - at[open_loop.H_READS]),
        cycles=int(at[open_loop.H_LAST]) + 1 if at[open_loop.H_FIRST] else 0,
        latency_sum=int(at[open_loop.H_LATENCY]),
        longest=int(at[open_loop.H_LONGEST]),
        latencies=host.latencies,
        row_hits=int(channel.scalar[0, e.X_ROW_HITS]),
        row_conflicts=int(channel.scalar[0, e.X_CONFLICTS]),
        counts=command_counts(channel.counts[0]),
    )


def _run(
    spec: DramSpec,
    controller: AnyController,
    arrive: NDArray[np.int64],
    write: NDArray[np.int64],
    packed: NDArray[np.int64],
    window: int,
    log_rows: int,
) -> tuple[_Stats, Replayed]:
    """One channel."""
    if not isinstance(controller, Controller):
        places = packed >> 8 & 4095, packed >> 36, packed >> 20 & 65535
        if isinstance(controller, BankQueues):
            queues = bank_queues.build(spec, controller, log_rows)
            run = bank_queues.replay(queues, controller, arrive, write, *places, window)
        else:
            machines = bank_machines.build(spec, controller, log_rows=log_rows)
            run = bank_machines.replay(machines, controller, arrive, write, *places, window)
        return _stats_of(write, run), run
    channel, host = build(spec, controller, 1, log_rows=log_rows), open_loop.make_host(window)
    accepted, done = np.full(len(arrive), -1, np.int64), np.full(len(arrive), -1, np.int64)
    if not open_loop.offer(channel, host, arrive, write, packed, window, False, accepted, done):
        raise SpecError(why_stuck(channel, int(np.argmax(done < 0)), host))
    stats = _stats_from(channel, host)
    log = command_log(channel) if log_rows else None
    return stats, Replayed(
        accepted=accepted,
        done=done,
        cycles=stats.cycles,
        counts=stats.counts,
        row_hits=stats.row_hits,
        log=log,
    )


def replay_blocks(
    blocks: Iterable[Requests],
    spec: DramSpec,
    *,
    controller: Controller | None = None,
    mapping: str | AddressMapping | None = None,
    channels: int = 1,
    window: int = 0,
    progress: Advance | None = None,
) -> ReplayReport:
    """Replay requests that come in blocks, of which only one is held at a time.

    blocks: clocks go on from block to block. progress: told after each block how many requests there were.
    """
    _check_window(window)
    held, used = controller or Controller(), _mapping(spec, mapping, channels)
    n = used.counts.get("channel", 1)
    made = [build(spec, held, 1) for _ in range(n)]
    hosts = [open_loop.make_host(window) for _ in range(n)]
    none = np.zeros(0, np.int64)
    total = 0

    def one(c: int, block: Requests | None, packed: NDArray[np.int64]) -> None:
        if block is None:
            offered = none, none, none
        else:
            mine = np.flatnonzero(packed & 255 == c) if n > 1 else slice(None)
            offered = block.arrive[mine], block.write[mine], packed[mine]
        if not open_loop.offer(made[c], hosts[c], *offered, window, block is not None, none, none):
            stuck = int(hosts[c].at[open_loop.H_FIRST])
            raise SpecError(why_stuck(made[c], stuck, hosts[c]))

    with _threads(n) as each:
        for block in blocks:
            packed = _packed(spec, used, block.address)
            list(each(one, range(n), [block] * n, [packed] * n))
            total += len(block)
            if progress is not None:
                progress(0.0, f"{total:,} requests")
        list(each(one, range(n), [None] * n, [none] * n))
    stats = [_stats_from(channel, host) for channel, host in zip(made, hosts, strict=True)]
    return _report(spec, held, used, stats, None, None, None)


def _report(
    device: DramSpec | ReferenceConfig,
    controller: AnyController,
    mapping: AddressMapping,
    stats: list[_Stats],
    accepted: NDArray[np.int64] | None,
    done: NDArray[np.int64] | None,
    log: pd.DataFrame | None,
) -> ReplayReport:
    if isinstance(device, ReferenceConfig):
        name, tck_fs, split = device.id, device.cycle_ps * 1000, device.split_activate
        buses = device.geometry.ranks if device.standard.startswith("HBM") else 1  # pseudo channels
        peak = buses * device.geometry.dq_bits / 8 * device.data_rate_mtps * 1e6
    else:
        name, tck_fs, peak = device.name, device.tck_fs, device.peak_bytes_per_s
        split = "AAD" in device.latencies_ck or "AAD" in device.timings
    reads, writes = sum(s.reads for s in stats), sum(s.writes for s in stats)
    cycles, counts = max(s.cycles for s in stats), dict[str, int]()
    for each in stats:
        for command, count in each.counts.items():
            held = "ACT" if command == "ACT1" and not split else command
            counts[held] = counts.get(held, 0) + count
    data = sum(counts.get(command, 0) for command in ("RD", "WR", "RDA", "WRA"))
    hits = sum(s.row_hits for s in stats)
    conflicts = None
    if all(s.row_conflicts is not None for s in stats):
        conflicts = sum(s.row_conflicts or 0 for s in stats)
    longest = max(s.longest for s in stats)
    latencies = np.sum([s.latencies[: longest + 1] for s in stats], axis=0)
    rate = (reads + writes) * device_burst_bytes(device) / (cycles * tck_fs * 1e-15) if cycles else 0.0
    return ReplayReport(
        device=name,
        mapping=str(mapping),
        controller=controller,
        channels=len(stats),
        requests=reads + writes,
        reads=reads,
        writes=writes,
        cycles=cycles,
        tck_fs=tck_fs,
        mean_read_latency_ck=sum(s.latency_sum for s in stats) / reads if reads else None,
        p50_read_latency_ck=_percentile(latencies, longest, 50),
        p99_read_latency_ck=_percentile(latencies, longest, 99),
        row_hits=hits,
        row_misses=data - hits - (conflicts or 0),
        row_conflicts=conflicts,
        counts=counts,
        bandwidth_gbps=rate / 1e9,
        share_of_peak=rate / (peak * len(stats)),
        accepted=accepted,
        done=done,
        commands=log,
        energy=None
        if isinstance(device, ReferenceConfig)
        else run_energy(device, counts, cycles, log, channels=len(stats)),
    )


def _percentile(latencies: NDArray[np.int64], longest: int, share: int) -> float | None:
    """The latency that `share` percent of the reads do not exceed: one that occurred, not a mean of two."""
    reads = int(latencies.sum())
    if not reads:
        return None
    # the place that `numpy.percentile` with method "higher" takes
    place = -(-(reads - 1) * share // 100)
    latency = int(np.searchsorted(np.cumsum(latencies), place + 1))
    return float(longest if latency >= open_loop.LATENCIES else latency)
