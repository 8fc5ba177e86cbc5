"""How far a verification figure may be off because of who was tested: people drawn again, with repetition."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from pimsim.errors import SpecError

_DEEPEST = 0.1
"""Share of the pairs of two people, the most similar ones, in which thresholds are looked for."""


def draws(people: int, times: int, seed: int = 0) -> NDArray[np.int64]:
    """(1 + times, people) how often each person is in a draw; row 0 is everybody once."""
    rng = np.random.default_rng(seed)
    again = rng.multinomial(people, np.full(people, 1 / people), size=times)
    return np.vstack([np.ones((1, people), np.int64), again]).astype(np.int64)


def true_accepts(
    embeddings: NDArray[np.floating],
    person: NDArray[np.integer],
    weights: NDArray[np.integer],
    rates: NDArray[np.floating],
) -> NDArray[np.float64]:
    """(draws, rates) percent of pairs of one person above the threshold of each rate of false accepts.

    embeddings: (n, d); person: (n,) from 0 on; weights: (draws, people). A pair counts as often as its people
    were drawn; a person drawn twice is no pair of two. With weights of 1 this is
    `verification.true_accept_over`.
    """
    units = embeddings / np.linalg.norm(embeddings, axis=1, keepdims=True)
    i, j = np.triu_indices(len(units), 1)
    cosines = np.asarray((units @ units.T)[i, j])
    same = person[i] == person[j]
    times = np.bincount(person, minlength=weights.shape[1]) * weights
    total = (times.sum(axis=1) ** 2 - (times**2).sum(axis=1)) // 2
    if not same.any() or not total.all():
        raise SpecError("a draw without pairs of one person or without pairs of two")
    others = np.flatnonzero(~same)
    top = others[np.argsort(-cosines[others], kind="stable")[: int(_DEEPEST * len(others)) + 1]]
    reached = np.cumsum(weights[:, person[i[top]]] * weights[:, person[j[top]]], axis=1)
    own = np.flatnonzero(same)
    own = own[np.argsort(cosines[own], kind="stable")]
    rejected = np.cumsum(weights[:, person[i[own]]], axis=1)
    found = np.empty((len(weights), len(rates)))
    every = np.arange(len(weights))
    for at, rate in enumerate(rates):
        wanted = np.maximum(1, (rate * total).astype(np.int64))
        if (reached[:, -1] < wanted).any():
            raise SpecError(f"false accepts at {rate:g}: more than {_DEEPEST:g} of the pairs would be needed")
        threshold = cosines[top[(reached >= wanted[:, None]).argmax(axis=1)]]
        below = np.searchsorted(cosines[own], threshold, side="right")
        lost = np.where(below > 0, rejected[every, below - 1], 0)
        found[:, at] = 100 * (1 - lost / rejected[:, -1])
    return found


def interval(values: NDArray[np.floating]) -> tuple[float, float]:
    """The middle 95 % of the draws; `values` (1 + draws,) as of `draws`, everybody left out."""
    low, high = np.quantile(values[1:], (0.025, 0.975))
    return float(low), float(high)
