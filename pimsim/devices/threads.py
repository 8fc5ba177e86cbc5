"""Threads on unequal cores: who does how much of a step, when each is done, and what the barrier costs.

Rates are work a second (rows, bytes, FLOP) of a thread that has its core for itself.
"""

from __future__ import annotations

import heapq
from collections.abc import Sequence
from dataclasses import dataclass

from pimsim.errors import SpecError, suggest

SPLITS = {
    "static": "equal shares",
    "weighted": "shares in proportion to the core's rate",
    "dynamic": "chunks, taken one by one by whoever is free",
}


@dataclass(frozen=True, kw_only=True)
class Step:
    """One parallel step. done_s: when each thread is done; work: what each did; end_s: after the barrier.

    idle_share: of the cores' time up to the last thread's end that no thread used, 0 to 1.
    """

    done_s: tuple[float, ...]
    work: tuple[float, ...]
    end_s: float
    idle_share: float


def shares(total: int, rates: Sequence[float], split: str) -> list[int]:
    """Whole units of work of each thread for the splits "static" and "weighted"; they sum to `total`."""
    if split == "static":
        weights = [1.0] * len(rates)
    elif split == "weighted":
        weights = list(rates)
    else:
        raise SpecError(f"no fixed shares with split {split!r}{suggest(split, ('static', 'weighted'))}")
    whole = sum(weights)
    made = [int(total * weight / whole) for weight in weights]
    rest = sorted(range(len(rates)), key=lambda i: (made[i] - total * weights[i] / whole, i))
    for i in rest[: total - sum(made)]:
        made[i] += 1
    return made


def run_step(
    total: int, rates: Sequence[float], *, threads: int | None = None, split: str = "static", chunk: int = 1,
    pinned: bool = True, barrier_s: float = 0.0, take_s: float = 0.0,
) -> Step:  # fmt: skip
    """`total` units of work by threads on cores of these rates.

    threads: one a core unless said; thread i is pinned to core i modulo the cores. With more threads than
    cores, the threads of a core share it equally; unpinned ones share all cores equally, and when fewer are
    left than there are cores the longest runs on the fastest core (an ideal scheduler: moving a thread is
    free).
    chunk, take_s: units of a piece of "dynamic" and what taking one costs. barrier_s: from the last
    thread's end on.
    """
    count = len(rates) if threads is None else threads
    if not rates or min(rates) <= 0:
        raise SpecError(f"threads on cores of rates {list(rates)}; wanted at least one, all above 0")
    if split not in SPLITS:
        raise SpecError(f"no split of work named {split!r}{suggest(split, SPLITS)}")
    for name, value, least in (("threads", count, 1), ("total", total, 0), ("chunk", chunk, 1)):
        if value < least:
            raise SpecError(f"threads: {name}={value}; wanted at least {least}")
    homes = [i % len(rates) for i in range(count)]
    own = [rates[core] / homes.count(core) for core in homes]
    if split == "dynamic":
        done, work = _dynamic(total, own, chunk, take_s)
    else:
        work = [float(share) for share in shares(total, own, split)]
        done = (
            [units / rate for units, rate in zip(work, own, strict=True)] if pinned else _shared(work, rates)
        )
        if pinned and count > len(rates):
            done = _on_one_core(work, homes, rates)
    last = max(done)
    used = total / sum(rates)
    return Step(
        done_s=tuple(done),
        work=tuple(work),
        end_s=last + barrier_s,
        idle_share=1 - used / last if last > 0 else 0.0,
    )


def _dynamic(
    total: int, rates: Sequence[float], chunk: int, take_s: float
) -> tuple[list[float], list[float]]:
    free = [(0.0, i) for i in range(len(rates))]
    done, work, left = [0.0] * len(rates), [0.0] * len(rates), total
    while left > 0:
        when, i = heapq.heappop(free)
        piece = min(chunk, left)
        left -= piece
        work[i] += piece
        done[i] = when + take_s + piece / rates[i]
        heapq.heappush(free, (done[i], i))
    return done, work


def _on_one_core(work: Sequence[float], homes: Sequence[int], rates: Sequence[float]) -> list[float]:
    """Threads of a core share it equally until they end."""
    done = [0.0] * len(work)
    for core, rate in enumerate(rates):
        here = sorted((work[i], i) for i, home in enumerate(homes) if home == core)
        now = before = 0.0
        for place, (units, i) in enumerate(here):
            now += (units - before) * (len(here) - place) / rate
            before, done[i] = units, now
    return done


def _shared(work: Sequence[float], rates: Sequence[float]) -> list[float]:
    """Threads that the scheduler moves freely."""
    left, done, now = dict(enumerate(work)), [0.0] * len(work), 0.0
    fast = sorted(rates, reverse=True)
    while left:
        order = sorted(left, key=lambda i: (-left[i], i))
        if len(order) >= len(fast):
            speed = dict.fromkeys(order, sum(fast) / len(order))
        else:
            speed = dict(zip(order, fast, strict=False))
        step = min(left[i] / speed[i] for i in order)
        # Equals in what is left are kept together, or they would change places for ever.
        now += step
        for i in order:
            left[i] -= step * speed[i]
            if left[i] <= 1e-9 * max(1.0, work[i]):
                done[i] = now
                del left[i]
    return done
