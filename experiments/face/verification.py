"""How well similarities tell pairs of one person from pairs of two: true accepts at a rate of false ones."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from pimsim.errors import SpecError


def roc_points(similarities: NDArray[np.floating], same: NDArray[np.integer]) -> NDArray[np.float64]:
    """Corners of the ROC curve, from (0, 0) on: columns false and true accept rate, threshold falling.

    similarities: (n,). same: (n,) 1 for a pair of one person, 0 for two. Points on a straight line between
    their neighbours are left out, as `sklearn.metrics.roc_curve` does.
    """
    order = np.argsort(-similarities, kind="stable")
    scores, genuine = similarities[order], same[order].astype(np.int64)
    positives, negatives = int(genuine.sum()), int((1 - genuine).sum())
    if not positives or not negatives:
        raise SpecError(f"{positives} pairs of one person and {negatives} of two: wanted some of each")
    last = np.append(np.nonzero(np.diff(scores))[0], len(scores) - 1)  # of equal scores
    true = np.cumsum(genuine)[last]
    false = last + 1 - true
    if len(last) > 2:
        bends = np.logical_or(np.diff(false, 2), np.diff(true, 2))
        kept = np.concatenate([[True], bends, [True]])
        true, false = true[kept], false[kept]
    points = np.column_stack([false / negatives, true / positives])
    return np.vstack([[0.0, 0.0], points])


def true_accept_percent(
    similarities: NDArray[np.floating], same: NDArray[np.integer], false_accept: float
) -> float:
    """True accept rate of the ROC point nearest to a false accept rate; the larger one of equally near."""
    points = roc_points(similarities, same)
    distance = np.abs(points[:, 0] - false_accept)
    return float(100 * points[distance == distance.min(), 1].max())


def pairs(
    embeddings: NDArray[np.floating], person: NDArray[np.integer]
) -> tuple[NDArray[np.float64], NDArray[np.int64]]:
    """(cosines, 1 for one person and 0 for two) of all pairs of (n, d) embeddings."""
    units = embeddings / np.linalg.norm(embeddings, axis=1, keepdims=True)
    i, j = np.triu_indices(len(units), 1)
    same = (person[i] == person[j]).astype(np.int64)
    return np.asarray((units @ units.T)[i, j], np.float64), same


def true_accept_over(
    similarities: NDArray[np.floating], same: NDArray[np.integer], false_accept: float
) -> float:
    """Percent of the pairs of one person above the k-th largest similarity of two people.

    k: the whole part of `false_accept` times the number of pairs of two people, at least 1.
    """
    others = np.sort(similarities[same == 0])[::-1]
    k = max(1, int(false_accept * len(others)))
    return float(100 * (similarities[same == 1] > others[k - 1]).mean())
