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
