"""Replay a list of requests on one DRAM channel: of a part of the catalog, or of a reference configuration.

    report = replay_file("requests.csv", part("ddr4-3200-8gb-x8", DramSpec))
    report.cycles, report.bandwidth_gbps, report.commands

What this leaves out: everything outside the channel (caches, fabric, PHY), several channels.
"""

from __future__ import annotations

from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import pandas as pd
from numpy.typing import NDArray

from pimsim.devices.dram import bank_machines, bank_queues
from pimsim.devices.dram.bank_machines import BankMachines
from pimsim.devices.dram.bank_queues import BankQueues
from pimsim.devices.dram.channel import Controller, Replayed, build, replay
from pimsim.devices.dram.config import ReferenceConfig
from pimsim.devices.dram.energy import Energy, run_energy
from pimsim.devices.dram.requests import Requests, read_trace
from pimsim.devices.spec import DramGeometry, DramSpec
from pimsim.errors import SpecError, suggest
from pimsim.placement.mapping import AddressMapping

AnyController = Controller | BankQueues | BankMachines
Places = tuple[NDArray[np.int64], NDArray[np.int64], NDArray[np.int64]]
ORDER = ("row", "rank", "bank", "bankgroup", "column")
"""Fields of the default mapping, most significant first."""


@dataclass(frozen=True, kw_only=True)
class ReplayReport:
    """What happened. Clocks (`_ck`) are those of the channel, `tck_fs` long.

    cycles: clock after the last completion. *_read_latency_ck: from acceptance to the last data of a
    read; None without reads. row_hits, row_misses: data commands that found their row open, and the others.
    counts: commands by name. bandwidth_gbps: bytes of all requests over the whole time, those that the
    write queue served or merged included; share_of_peak: of the peak of the data bus.
    commands: the log, if it was asked for: clock, command, channel, rank, bankgroup, bank, row, column.
    energy: None for a part without currents and for a reference configuration; exact with a log.
    """

    device: str
    mapping: str
    controller: AnyController
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
    counts: dict[str, int]
    bandwidth_gbps: float
    share_of_peak: float
    commands: pd.DataFrame | None = None
    energy: Energy | None = None

    @property
    def time_ns(self) -> float:
        return self.cycles * self.tck_fs / 1e6

    def ns(self, clocks: float | None) -> float | None:
        """A number of clocks in nanoseconds."""
        return None if clocks is None else clocks * self.tck_fs / 1e6

    def summary(self) -> dict[str, Any]:
        """Everything but the log as plain values, latencies in clocks and in ns."""
        said: dict[str, Any] = {}
        for field in fields(self):
            value = getattr(self, field.name)
            if field.name == "controller":
                said[field.name] = {f.name: getattr(value, f.name) for f in fields(value)}
            elif field.name == "energy":
                said[field.name] = None if value is None else value.summary()
            elif field.name != "commands":
                said[field.name] = value
            if field.name.endswith("_latency_ck"):
                said[field.name.removesuffix("_ck") + "_ns"] = self.ns(value)
        return said | {"time_ns": self.time_ns}


def default_mapping(geometry: DramGeometry) -> AddressMapping:
    """row | rank | bank | bankgroup | column from the top: consecutive bursts walk along a row.

    Every count but that of the rows must be a power of two; fields of one unit have no bits.
    """
    units = _units(geometry)
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


def read_controller(path: str | Path | None = None, settings: tuple[str, ...] = ()) -> Controller:
    """A controller from a JSON object of its fields and from `key=value` settings, which come last.

    What is not given keeps its default; an unknown key or a value of the wrong type is a SpecError.
    """
    known = {field.name: type(field.default) for field in fields(Controller)}
    held: dict[str, Any] = {}
    if path is not None:
        try:
            raw = msgspec.json.decode(Path(path).read_bytes())
        except OSError as error:
            raise SpecError(f"{path}: cannot be read: {error.strerror}") from None
        except (msgspec.DecodeError, UnicodeDecodeError) as error:
            raise SpecError(f"{path}: not JSON: {error}") from None
        if not isinstance(raw, dict):
            raise SpecError(f"{path}: wanted one JSON object, not {type(raw).__name__}")
        for key, value in raw.items():
            if key not in known:
                raise SpecError(f"{path}: no controller setting {key!r}{suggest(key, known)}")
            if type(value) is not known[key]:
                raise SpecError(f"{path}: {key}={value!r}; wanted {known[key].__name__}")
            held[key] = value
    for setting in settings:
        key, equals, text = setting.partition("=")
        if not equals:
            raise SpecError(f"setting {setting!r}; wanted key=value, as in refresh=none")
        if key not in known:
            raise SpecError(f"setting {setting!r}: no controller setting {key!r}{suggest(key, known)}")
        held[key] = _typed(setting, text, known[key])
    return Controller(**held)


def _typed(setting: str, text: str, kind: type) -> str | int | bool:
    if kind is bool:
        if text not in ("true", "false"):
            raise SpecError(f"setting {setting!r}; wanted true or false")
        return text == "true"
    if kind is int:
        if not (text.isascii() and text.isdigit()):
            raise SpecError(f"setting {setting!r}; wanted a whole number")
        return int(text)
    return text


def replay_file(
    path: str | Path,
    device: DramSpec | ReferenceConfig,
    *,
    controller: AnyController | None = None,
    mapping: str | AddressMapping | None = None,
    window: int = 0,
    log: bool = False,
) -> ReplayReport:
    """Replay the requests of a file (see `read_trace`).

    device: a part, with a controller (default `Controller()`) and an address mapping (default
    `default_mapping`), or a reference configuration, which brings both. window: most requests
    outstanding, 0 for no limit but the queues. log: keep every command.

    Addresses must lie within a part; those of a reference configuration wrap around, as in its source.
    """
    capacity = None if isinstance(device, ReferenceConfig) else device.geometry.channel_bytes
    requests = read_trace(path, device_burst_bytes(device), capacity)
    return replay_requests(requests, device, controller=controller, mapping=mapping, window=window, log=log)


def device_burst_bytes(device: DramSpec | ReferenceConfig) -> int:
    """Bytes of one request."""
    return device.geometry.burst_bytes


def replay_requests(
    requests: Requests,
    device: DramSpec | ReferenceConfig,
    *,
    controller: AnyController | None = None,
    mapping: str | AddressMapping | None = None,
    window: int = 0,
    log: bool = False,
) -> ReplayReport:
    """`replay_file` of requests that are there already."""
    if window < 0:
        raise SpecError(f"window={window}; wanted 0 (no limit) or a count of requests")
    if isinstance(device, ReferenceConfig):
        if controller is not None or mapping is not None:
            raise SpecError(f"{device.id}: a reference configuration brings its own controller and mapping")
        used, held = device.mapping, device.controller
    else:
        used, held = _mapping(device, mapping), controller or Controller()
    run = _run(device, held, used, requests, window, 0)
    if log:
        run = _run(device, held, used, requests, window, sum(run.counts.values()))
    return _report(device, held, used, requests, run)


def _mapping(spec: DramSpec, mapping: str | AddressMapping | None) -> AddressMapping:
    if mapping is None:
        return default_mapping(spec.geometry)
    burst = spec.geometry.burst_bytes
    made = AddressMapping.parse(mapping, burst) if isinstance(mapping, str) else mapping
    if made.transaction_bytes != burst:
        raise SpecError(
            f"mapping {made}: transaction_bytes={made.transaction_bytes} but a burst has {burst} bytes"
        )
    made.check(_units(spec.geometry))
    return made


def _places(geometry: DramGeometry, mapping: AddressMapping, address: NDArray[np.int64]) -> Places:
    """Bank (counted over ranks and groups), row and column of byte addresses, each (n,) int64."""
    coordinates = mapping.decode(address).astype(np.int64)
    at = {field: coordinates[:, k] for k, field in enumerate(mapping.fields)}
    none = np.zeros(len(address), np.int64)
    group = at.get("rank", none) * geometry.bank_groups + at.get("bankgroup", none)
    bank = group * geometry.banks_per_group + at.get("bank", none)
    return bank, at.get("row", none), at.get("column", none)


def _run(
    device: DramSpec | ReferenceConfig,
    controller: AnyController,
    mapping: AddressMapping,
    requests: Requests,
    window: int,
    log_rows: int,
) -> Replayed:
    if isinstance(device, ReferenceConfig):
        return device.run(requests.arrive, requests.write, requests.address, window, log_rows)
    places = _places(device.geometry, mapping, requests.address)
    offered = requests.arrive, requests.write, *places, window
    if isinstance(controller, BankQueues):
        return bank_queues.replay(bank_queues.build(device, controller, log_rows), controller, *offered)
    if isinstance(controller, BankMachines):
        machines = bank_machines.build(device, controller, log_rows=log_rows)
        return bank_machines.replay(machines, controller, *offered)
    return replay(build(device, controller, 1, log_rows=log_rows), *offered)


def _report(
    device: DramSpec | ReferenceConfig,
    controller: AnyController,
    mapping: AddressMapping,
    requests: Requests,
    run: Replayed,
) -> ReplayReport:
    if isinstance(device, ReferenceConfig):
        name, tck_fs, split = device.id, device.cycle_ps * 1000, device.split_activate
        buses = device.geometry.ranks if device.standard.startswith("HBM") else 1  # pseudo channels
        peak = buses * device.geometry.dq_bits / 8 * device.data_rate_mtps * 1e6
    else:
        name, tck_fs, peak = device.name, device.tck_fs, device.peak_bytes_per_s
        split = "AAD" in device.latencies_ck or "AAD" in device.timings
    latency = (run.done - run.accepted)[requests.write == 0]
    data = sum(run.counts.get(command, 0) for command in ("RD", "WR", "RDA", "WRA"))
    moved = len(requests) * device_burst_bytes(device)
    rate = moved / (run.cycles * tck_fs * 1e-15) if run.cycles else 0.0
    counts = {
        "ACT" if command == "ACT1" and not split else command: count for command, count in run.counts.items()
    }
    return ReplayReport(
        device=name,
        mapping=str(mapping),
        controller=controller,
        requests=len(requests),
        reads=len(latency),
        writes=len(requests) - len(latency),
        cycles=run.cycles,
        tck_fs=tck_fs,
        mean_read_latency_ck=float(latency.mean()) if len(latency) else None,
        p50_read_latency_ck=_percentile(latency, 50),
        p99_read_latency_ck=_percentile(latency, 99),
        row_hits=run.row_hits,
        row_misses=data - run.row_hits,
        counts=counts,
        bandwidth_gbps=rate / 1e9,
        share_of_peak=rate / peak,
        commands=run.log,
        energy=None
        if isinstance(device, ReferenceConfig)
        else run_energy(device, counts, run.cycles, run.log),
    )


def _percentile(latency: NDArray[np.int64], share: int) -> float | None:
    """The latency that `share` percent of the reads do not exceed: one that occurred, not a mean of two."""
    return float(np.percentile(latency, share, method="higher")) if len(latency) else None
