"""A server under load: arrivals, a batching queue, latencies, and a controller that changes FlexiQ's ratio.

Times are integer picoseconds. Service times of a batch come from the NPU simulation (`service_times`) or are
given. One server takes up to `max_batch` waiting requests at a time, as soon as it is free.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from pimsim.devices.npu.network import run_network
from pimsim.devices.npu.spec import NpuSpec
from pimsim.errors import SpecError
from pimsim.quant.plan import low_channels, switch_ps
from pimsim.trace.vision import VisionModel
from pimsim.units import PS_PER_S

Times = NDArray[np.int64]


# Arrivals


def poisson_arrivals(rate_per_s: float, count: int, seed: int = 0) -> Times:
    """(count,) arrival times of a Poisson process of constant rate."""
    if rate_per_s <= 0 or count < 1:
        raise SpecError(f"{count} arrivals at {rate_per_s} a second; wanted positive numbers")
    gaps = np.random.default_rng(seed).exponential(PS_PER_S / rate_per_s, count)
    return np.cumsum(np.maximum(1, np.rint(gaps))).astype(np.int64)


def changing_arrivals(pieces: Sequence[tuple[float, float]], seed: int = 0) -> Times:
    """Arrivals of a Poisson process whose rate changes in steps; pieces: (seconds, requests a second)."""
    rng = np.random.default_rng(seed)
    found, start = [], 0.0
    for seconds, rate in pieces:
        if seconds <= 0 or rate < 0:
            raise SpecError(f"a piece of {seconds} s at {rate} a second; wanted positive numbers")
        times = start + np.sort(rng.uniform(0, seconds, rng.poisson(seconds * rate)))
        found.append(times)
        start += seconds
    return np.rint(np.concatenate(found) * PS_PER_S).astype(np.int64)


# Service times


@dataclass(frozen=True, kw_only=True)
class ServiceTimes:
    """Time of a batch by ratio and size, and of a change of the ratio.

    ratios: rising shares of 4-bit channels. batch_ps: (ratios, max_batch) times of batches of 1, 2, ...
    """

    ratios: tuple[float, ...]
    batch_ps: Times
    switch_ps: int = 0

    def __post_init__(self) -> None:
        if self.batch_ps.shape[0] != len(self.ratios) or self.batch_ps.ndim != 2 or self.batch_ps.min() < 1:
            raise SpecError(
                f"batch_ps {self.batch_ps.shape} for {len(self.ratios)} ratios; wanted (ratios, batches)"
            )
        if list(self.ratios) != sorted(self.ratios):
            raise SpecError(f"ratios {self.ratios}; wanted them rising")

    @property
    def max_batch(self) -> int:
        return int(self.batch_ps.shape[1])

    def capacity_per_s(self, ratio: int) -> float:
        """Requests a second with full batches at the ratio of this index."""
        return self.max_batch * PS_PER_S / float(self.batch_ps[ratio, -1])


def service_times(
    spec: NpuSpec,
    model: VisionModel,
    ratios: Sequence[float],
    max_batch: int = 1,
    *,
    memory: float | None = None,
) -> ServiceTimes:
    """Times of batches of a network on an NPU; memory: bytes a clock of a flat one, else the part's DRAM."""
    table = np.zeros((len(ratios), max_batch), np.int64)
    for r, ratio in enumerate(ratios):
        for images in range(1, max_batch + 1):
            low = low_channels(model, ratio, spec.group_channels)
            table[r, images - 1] = run_network(spec, model, images=images, low=low, memory=memory).time_ps
    return ServiceTimes(ratios=tuple(ratios), batch_ps=table, switch_ps=switch_ps(spec, model))


# The queue

Policy = Callable[[int, int, float, int], int]
"""(clock in ps, requests waiting, recent arrivals a second, index of the ratio in use) -> index to use."""


def fixed(ratio: int) -> Policy:
    """Always the ratio of this index."""
    return lambda clock, waiting, rate, now: ratio


def adaptive(service: ServiceTimes, *, headroom: float = 0.9, drain_s: float = 0.1) -> Policy:
    """The smallest ratio that carries the recent rate and what waits within `drain_s`, at a share `headroom`
    of its capacity; the largest if none does."""
    capacity = [service.capacity_per_s(r) * headroom for r in range(len(service.ratios))]

    def choose(clock: int, waiting: int, rate: float, now: int) -> int:
        wanted = rate + max(0, waiting - service.max_batch) / drain_s
        for r, held in enumerate(capacity):
            if held >= wanted:
                return r
        return len(capacity) - 1

    return choose


@dataclass(frozen=True, kw_only=True)
class ServingRun:
    """What happened to each request: arrival, start and end of its batch, and the ratio's index it ran at."""

    arrive: Times
    start: Times
    end: Times
    ratio: NDArray[np.int64]
    switches: int

    @property
    def latency(self) -> Times:
        return self.end - self.arrive

    def percentile_ps(self, share: float) -> float:
        """Latency that `share` percent of the requests do not exceed: one that occurred."""
        return float(np.percentile(self.latency, share, method="higher"))

    def by_window(self, window_ps: int, share: float = 50) -> tuple[Times, NDArray[np.float64]]:
        """(starts of windows, percentile of the latencies of requests that arrived in each); empty ones
        left out."""
        index = self.arrive // window_ps
        starts = np.unique(index)
        values = [float(np.percentile(self.latency[index == at], share, method="higher")) for at in starts]
        return starts * window_ps, np.array(values)


def serve(arrive: Times, service: ServiceTimes, policy: Policy, *, window_s: float = 0.1) -> ServingRun:
    """Run a queue; before each batch the policy may change the ratio, which costs `switch_ps`.

    arrive: rising times. window_s: span over which the policy's rate of arrivals is taken.
    """
    n = len(arrive)
    if n == 0 or (np.diff(arrive) < 0).any():
        raise SpecError("arrivals must be rising and at least one")
    start, end, used = np.zeros(n, np.int64), np.zeros(n, np.int64), np.zeros(n, np.int64)
    window = int(window_s * PS_PER_S)
    clock, at, ratio, switches = 0, 0, 0, 0
    while at < n:
        clock = max(clock, int(arrive[at]))
        seen = int(np.searchsorted(arrive, clock, side="right"))
        since = int(np.searchsorted(arrive, clock - window, side="right"))
        span = min(window, max(clock, 1))
        chosen = policy(clock, seen - at, (seen - since) * PS_PER_S / span, ratio)
        if chosen != ratio:
            ratio = chosen
            switches += 1
            clock += service.switch_ps
        size = min(service.max_batch, seen - at)
        done = clock + int(service.batch_ps[ratio, size - 1])
        start[at : at + size], end[at : at + size], used[at : at + size] = clock, done, ratio
        clock, at = done, at + size
    return ServingRun(arrive=arrive, start=start, end=end, ratio=used, switches=switches)


def single_server_latency(arrive: Times, service_ps: int) -> Times:
    """Latencies of requests served one by one in a fixed time: `serve` without batches or control, at
    once."""
    index = np.arange(len(arrive), dtype=np.int64)
    return np.maximum.accumulate(arrive - index * service_ps) + (index + 1) * service_ps - arrive


def equal_latency_rate_ratio(
    speed_up: float, load: float, *, share: float = 90, count: int = 400_000, seed: int = 0
) -> float:
    """How many times the request rate a server `speed_up` times as fast carries at the same latency
    percentile.

    load: share of the slower server's capacity; Poisson arrivals, one request at a time.
    """
    service_ps = 1_000_000_000
    gaps = np.random.default_rng(seed).exponential(1.0, count)

    def latency(rate: float, time_ps: int) -> float:
        arrive = np.cumsum(np.rint(gaps * service_ps / rate)).astype(np.int64)
        return float(np.percentile(single_server_latency(arrive, time_ps), share))

    wanted = latency(load, service_ps)
    fast = round(service_ps / speed_up)
    low, high = load, 0.999 * speed_up
    for _ in range(40):
        middle = (low + high) / 2
        low, high = (middle, high) if latency(middle, fast) < wanted else (low, middle)
    return (low + high) / 2 / load
