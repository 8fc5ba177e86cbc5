"""Which channel groups are computed in 4 bits: greedy and evolutionary selection by errors, nested sets.

A unit is a residual stream (or a tensor with one reader): all layers that read it lower the same groups, so
one order of its channels serves them all. A selection has one bit a group and unit. Sets of a smaller
ratio are contained in those of a larger one.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import pairwise

import numpy as np
from numpy.typing import NDArray

from pimsim.errors import SpecError

Choice = tuple[NDArray[np.bool_], ...]
"""One (groups,) bool array a unit."""
Fitness = Callable[[Choice], float]
"""Distance of the mixed model's output to the 8-bit model's; smaller is better."""


@dataclass(frozen=True, kw_only=True)
class Search:
    """Settings of the evolutionary search (FlexiQ's own are not published: choices).

    population: selections kept; generations: rounds of mutation and crossover; swaps: bits exchanged inside
    units by a mutation; spread: of the factors on units' errors that move the ratio between units, standard
    deviation of their logarithm.
    """

    population: int = 12
    generations: int = 15
    swaps: int = 8
    spread: float = 0.4
    seed: int = 0


def count_at(total: int, ratio: float) -> int:
    """Groups that a ratio stands for, the nearest whole number."""
    return int(ratio * total + 0.5)


def greedy(errors: Sequence[NDArray[np.float64]], ratios: Sequence[float]) -> list[Choice]:
    """The groups of least estimated error over all units, one selection a ratio; nested by construction."""
    flat = np.concatenate(errors)
    order = np.argsort(flat, kind="stable")
    found = []
    for ratio in ratios:
        taken = np.zeros(len(flat), np.bool_)
        taken[order[: count_at(len(flat), ratio)]] = True
        found.append(_split(taken, errors))
    return found


def per_unit(errors: Sequence[NDArray[np.float64]], ratios: Sequence[float]) -> list[Choice]:
    """The groups of least estimated error of each unit, the same ratio in all of them."""
    found = []
    for ratio in ratios:
        choice = []
        for error in errors:
            taken = np.zeros(len(error), np.bool_)
            taken[np.argsort(error, kind="stable")[: count_at(len(error), ratio)]] = True
            choice.append(taken)
        found.append(tuple(choice))
    return found


def evolve(
    errors: Sequence[NDArray[np.float64]],
    ratios: Sequence[float],
    fitness: Fitness,
    search: Search | None = None,
) -> list[Choice]:
    """Selections of rising ratios by evolution, each containing the one before; never worse than the
    greedy ones by the fitness, where those contain the one before.

    A mutation swaps bits inside a unit; a crossover takes some units of another selection and moves the ratio
    between units to keep the total. The first selections are the greedy one, the one of equal ratios and
    greedy ones in which the ratio was moved between units by chance.
    """
    how = search or Search()
    if list(ratios) != sorted(ratios):
        raise SpecError(f"ratios {list(ratios)}; wanted them rising")
    rng = np.random.default_rng(how.seed)
    base = tuple(np.zeros(len(error), np.bool_) for error in errors)
    found: list[Choice] = []
    total = sum(len(error) for error in errors)
    for ratio, seed, even in zip(ratios, greedy(errors, ratios), per_unit(errors, ratios), strict=True):
        count = count_at(total, ratio)
        others = [greedy(_moved(errors, how.spread, rng), [ratio])[0] for _ in range(how.population - 2)]
        first = [_repair(choice, base, count, errors) for choice in (seed, even, *others)]
        first = first if 0 < count < total else first[:1]
        pool = {key: (fitness(choice), choice) for key, choice in {_key(c): c for c in first}.items()}
        for _ in range(how.generations if 0 < count < total else 0):
            parents = sorted(pool.values(), key=lambda each: each[0])[: how.population]
            for _ in range(how.population):
                mother = parents[int(rng.integers(len(parents)))][1]
                father = parents[int(rng.integers(len(parents)))][1]
                child = _crossover(mother, father, rng)
                moved = _moved(errors, how.spread, rng)
                child = _repair(_mutated(child, base, how.swaps, rng), base, count, moved)
                if _key(child) not in pool:
                    pool[_key(child)] = (fitness(child), child)
            best = sorted(pool.values(), key=lambda each: each[0])[: how.population]
            pool = {_key(choice): (value, choice) for value, choice in best}
        base = min(pool.values(), key=lambda each: each[0])[1]
        found.append(base)
    return found


def nested(choices: Sequence[Choice]) -> bool:
    """Whether each selection contains the one before."""
    return all(
        not (small & ~large).any()
        for before, after in pairwise(choices)
        for small, large in zip(before, after, strict=True)
    )


def channel_order(choices: Sequence[Choice], unit: int, channels: int, group: int) -> NDArray[np.int64]:
    """Order of a unit's channels in which every selection is a prefix: groups by the first that has them."""
    groups = len(choices[0][unit])
    first = np.full(groups, len(choices), np.int64)
    for at in range(len(choices) - 1, -1, -1):
        first[choices[at][unit]] = at
    order = np.argsort(first, kind="stable")
    return np.concatenate([np.arange(g * group, min((g + 1) * group, channels)) for g in order])


def max_4bit_ch(choices: Sequence[Choice], unit: int, channels: int, group: int) -> list[int]:
    """Channels of a unit's reordered prefix that are computed in 4 bits, one number a selection."""
    sizes = np.minimum(group, channels - np.arange(len(choices[0][unit])) * group)
    return [int(sizes[choice[unit]].sum()) for choice in choices]


def _split(flat: NDArray[np.bool_], like: Sequence[NDArray[np.float64]]) -> Choice:
    ends = np.cumsum([len(each) for each in like])[:-1]
    return tuple(np.split(flat, ends))


def _key(choice: Choice) -> bytes:
    return b"".join(unit.tobytes() + b"|" for unit in choice)


def _mutated(choice: Choice, base: Choice, swaps: int, rng: np.random.Generator) -> Choice:
    held = [unit.copy() for unit in choice]
    for _ in range(swaps):
        unit = int(rng.integers(len(held)))
        off, on = np.flatnonzero(~held[unit]), np.flatnonzero(held[unit] & ~base[unit])
        if len(off) and len(on):
            held[unit][rng.choice(off)], held[unit][rng.choice(on)] = True, False
    return tuple(held)


def _crossover(mother: Choice, father: Choice, rng: np.random.Generator) -> Choice:
    return tuple(m if rng.random() < 0.5 else f for m, f in zip(mother, father, strict=True))


def _moved(
    errors: Sequence[NDArray[np.float64]], spread: float, rng: np.random.Generator
) -> list[NDArray[np.float64]]:
    """The errors, those of each unit times a factor."""
    return [error * np.exp(rng.normal(0, spread)) for error in errors]


def _repair(choice: Choice, base: Choice, count: int, errors: Sequence[NDArray[np.float64]]) -> Choice:
    """The nearest selection of `count` groups that contains the base: largest errors go, smallest come."""
    fixed, error = np.concatenate(base), np.concatenate(errors)
    flat = np.concatenate(choice) | fixed
    surplus = int(flat.sum()) - count
    if surplus > 0:
        on = np.flatnonzero(flat & ~fixed)
        flat[on[np.argsort(-error[on], kind="stable")[:surplus]]] = False
    elif surplus < 0:
        off = np.flatnonzero(~flat)
        flat[off[np.argsort(error[off], kind="stable")[:-surplus]]] = True
    return _split(flat, errors)
