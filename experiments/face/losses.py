"""Losses of face recognition as NumPy references, with gradients: UNPG, MixFace and what they are made of.

    loss = unpg(embeddings, weight, labels, head=ArcFace(), whisker=1.5)
    loss.value, loss.grad_embeddings, loss.grad_weight

Definitions: UNPG (arXiv 2203.11593, github.com/Jung-Jun-Uk/UNPG at a6f9c17) and MixFace (arXiv 2111.01717,
github.com/Jung-Jun-Uk/mixface at cee17f9). Everything is computed in the type of the embeddings.

Declared where the authors' code fails: without negative pairs UNPG is the head's own loss and the pair term
of MixFace and SN-pair is 0; without positive pairs the pair term is 0. A cosine is taken between -1 and 1.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from pimsim.errors import SpecError

Array = NDArray[np.floating]
Labels = NDArray[np.integer]


@dataclass(frozen=True, kw_only=True, eq=False)
class Loss:
    """A loss, its gradients by the raw embeddings (B, d) and class weights (C, d), and what it is made of.

    grad_weight: None where the loss has no class weights. parts: numbers by name, such as `loss_pair`.
    """

    value: float
    grad_embeddings: Array
    grad_weight: Array | None = None
    parts: Mapping[str, float] = field(default_factory=dict)


@dataclass(frozen=True, kw_only=True, eq=False)
class Pairs:
    """Cosines of the pairs i < j of a batch, row by row: of equal and of different labels."""

    positive: Array
    negative: Array
    positive_at: tuple[NDArray[np.intp], NDArray[np.intp]]
    negative_at: tuple[NDArray[np.intp], NDArray[np.intp]]


@dataclass(frozen=True, kw_only=True, eq=False)
class Kept:
    """Negatives within the fences: a mask over all of them, the quartiles, the fences (nan without any)."""

    mask: NDArray[np.bool_]
    q1: float
    q3: float
    low: float
    high: float


@dataclass(frozen=True, kw_only=True)
class CosFace:
    """The true class's cosine less a margin."""

    scale: float = 64.0
    margin: float = 0.5


@dataclass(frozen=True, kw_only=True)
class ArcFace:
    """The true class's angle plus a margin.

    straight: below cos(pi - margin) the cosine falls on by `margin * sin(pi - margin)` instead.
    """

    scale: float = 64.0
    margin: float = 0.5
    straight: bool = False


@dataclass(frozen=True, kw_only=True)
class MagFace:
    """The angle plus a margin that grows with the embedding's length, where the cosine is above 0.

    Lengths are clipped to `shortest` .. `longest`; the regulariser is weighted with `weight`.
    """

    scale: float = 64.0
    low_margin: float = 0.45
    high_margin: float = 0.8
    shortest: float = 10.0
    longest: float = 110.0
    weight: float = 35.0


Head = CosFace | ArcFace | MagFace


def unit_rows(rows: Array) -> tuple[Array, Array]:
    """Rows of length one, and their lengths (n, 1)."""
    length = np.sqrt((rows * rows).sum(axis=1, keepdims=True))
    if not (length > 0).all():
        raise SpecError(f"row {int(np.argmin(length[:, 0] > 0))} has length 0: it has no direction")
    return rows / length, length


def pairs_of(similarities: Array, labels: Labels) -> Pairs:
    """The pairs i < j of a batch. similarities: (B, B)."""
    rows, columns = np.triu_indices(len(labels), k=1)
    same = labels[rows] == labels[columns]
    values = similarities[rows, columns]
    return Pairs(
        positive=values[same],
        negative=values[~same],
        positive_at=(rows[same], columns[same]),
        negative_at=(rows[~same], columns[~same]),
    )


def within_fences(negatives: Array, whisker: float) -> Kept:
    """Values from Q1 - w IQR to Q3 + w IQR; the quartiles are elements n // 4 and 3 n // 4 in order."""
    n = len(negatives)
    if not n:
        nan = float("nan")
        return Kept(mask=np.zeros(0, dtype=bool), q1=nan, q3=nan, low=nan, high=nan)
    first, third = n // 4, 3 * n // 4
    ordered = np.partition(negatives, (first, third))
    q1, q3 = ordered[first], ordered[third]
    reach = negatives.dtype.type(whisker) * (q3 - q1)
    low, high = q1 - reach, q3 + reach
    return Kept(
        mask=(negatives >= low) & (negatives <= high),
        q1=float(q1),
        q3=float(q3),
        low=float(low),
        high=float(high),
    )


def head_loss(embeddings: Array, weight: Array, labels: Labels, head: Head) -> Loss:
    """Softmax cross-entropy over the classes with the head's margin, mean over the batch."""
    return unpg(embeddings, weight, labels, head=head, whisker=None)


def unpg(
    embeddings: Array,
    weight: Array,
    labels: Labels,
    *,
    head: Head,
    whisker: float | None = 1.5,
    form: Literal["shared", "concatenated"] = "shared",
) -> Loss:
    """A head whose softmax also sums over the batch's negative pairs, outliers left out.

    embeddings: (B, d). weight: (C, d), one row a class. labels: (B,). whisker: width of the fences in
    interquartile ranges; None leaves the pairs out. form: `concatenated` holds a row of all C + K values for
    each sample, as the authors' code does; `shared` adds one log-sum-exp of the K negatives to each row.
    """
    _check(embeddings, weight, labels)
    x, lengths = unit_rows(embeddings)
    w, weight_lengths = unit_rows(weight)
    cosines = np.clip(x @ w.T, -1, 1)
    batch, rows, scale = len(labels), np.arange(len(labels)), head.scale
    target, slope, by_length, extra = _margin(head, cosines[rows, labels], lengths[:, 0])
    logits = cosines.copy()
    logits[rows, labels] = target
    logits *= scale
    true = logits[rows, labels]

    parts: dict[str, float] = {}
    grad_x = np.zeros_like(x)
    found = pairs_of(np.clip(x @ x.T, -1, 1), labels) if whisker is not None else None
    kept = within_fences(found.negative, whisker) if found is not None and whisker is not None else None
    negatives = found.negative[kept.mask] if found is not None and kept is not None else cosines[:0, 0]
    if kept is not None:
        parts |= {"q1": kept.q1, "q3": kept.q3, "lo": kept.low, "hi": kept.high}
        parts["n_kept"] = float(len(negatives))
    if len(negatives) and form == "concatenated":
        together = np.concatenate(
            [logits, np.broadcast_to(scale * negatives, (batch, len(negatives)))], axis=1
        )
        total = log_sum_exp(together, axis=1)
        share = np.exp(together - total[:, None])
        pair_grad = scale / batch * share[:, logits.shape[1] :].sum(axis=0)
    elif len(negatives):
        of_pairs = log_sum_exp(scale * negatives, axis=0)
        total = np.logaddexp(log_sum_exp(logits, axis=1), of_pairs)
        pair_grad = np.exp(scale * negatives - of_pairs) * (scale / batch * np.exp(of_pairs - total).sum())
    else:
        total, pair_grad = log_sum_exp(logits, axis=1), negatives
    if found is not None and kept is not None and len(negatives):
        at = tuple(each[kept.mask] for each in found.negative_at)
        grad_x += _pair_gradient(x, (at[0], at[1]), pair_grad)

    grad = np.exp(logits - total[:, None])
    grad[rows, labels] -= 1
    grad *= scale / batch
    of_target = grad[rows, labels].copy()
    grad[rows, labels] = of_target * slope
    grad_x += grad @ w
    raw = _back(x, lengths, grad_x)
    raw += ((of_target * by_length)[:, None] + extra[1][:, None] / batch) * x
    value = (total - true).mean() + extra[0].mean()
    parts["loss_g_scaled"] = float(extra[0].mean())
    return Loss(
        value=float(value),
        grad_embeddings=raw,
        grad_weight=_back(w, weight_lengths, grad.T @ x),
        parts=parts,
    )


def mixface(
    embeddings: Array, weight: Array, labels: Labels, *, epsilon: float = 1e-22, margin: float = 0.5
) -> Loss:
    """Cross-entropy with an angular margin plus every positive pair against all negatives of the batch.

    Both scales follow from `epsilon`, the wanted rest of the softmax. Parts: loss_cls, loss_pair, s1, s2.
    """
    s1 = mixface_scale(len(weight) - 1, epsilon) / math.cos(margin)
    classes = head_loss(embeddings, weight, labels, ArcFace(scale=s1, margin=margin, straight=True))
    x, _ = unit_rows(embeddings)
    count = len(pairs_of(np.clip(x @ x.T, -1, 1), labels).negative)
    s2 = mixface_scale(count, epsilon) if count else 0.0
    pair = snpair(embeddings, labels, scale=s2)
    return Loss(
        value=classes.value + pair.value,
        grad_embeddings=classes.grad_embeddings + pair.grad_embeddings,
        grad_weight=classes.grad_weight,
        parts={"loss_cls": classes.value, "loss_pair": pair.value, "s1": s1, "s2": s2},
    )


def mixface_scale(negatives: int, epsilon: float) -> float:
    """Scale at which `negatives` logits at 0 leave a rest of `epsilon` beside one at 1."""
    if negatives < 1 or not 0 < epsilon < 1:
        raise SpecError(f"negatives={negatives}, epsilon={epsilon}; wanted at least one, and 0 < epsilon < 1")
    return math.log(negatives) + math.log1p(-epsilon) - math.log(epsilon)


def snpair(embeddings: Array, labels: Labels, *, scale: float = 64.0) -> Loss:
    """Mean over positive pairs p of log(1 + sum over negatives n of exp(scale (n - p)))."""
    x, lengths = unit_rows(embeddings)
    found = pairs_of(np.clip(x @ x.T, -1, 1), labels)
    count = len(found.positive)
    if not count or not len(found.negative):
        return Loss(value=0.0, grad_embeddings=np.zeros_like(embeddings))
    negatives = embeddings.dtype.type(scale) * found.negative
    of_all = log_sum_exp(negatives, axis=0)
    excess = of_all - embeddings.dtype.type(scale) * found.positive
    share = np.exp(-np.logaddexp(0, -excess)).astype(embeddings.dtype)  # of the negatives in 1 + sum
    grad = _pair_gradient(x, found.positive_at, -scale / count * share)
    grad += _pair_gradient(x, found.negative_at, np.exp(negatives - of_all) * (scale / count * share.sum()))
    return Loss(value=float(np.logaddexp(0, excess).mean()), grad_embeddings=_back(x, lengths, grad))


def log_sum_exp(values: Array, axis: int) -> Array:
    """Logarithm of the sum of exponentials, the maximum taken out."""
    top = values.max(axis=axis, keepdims=True)
    result: Array = np.log(np.exp(values - top).sum(axis=axis)) + np.squeeze(top, axis=axis)
    return result


def _margin(head: Head, cosine: Array, length: Array) -> tuple[Array, Array, Array, tuple[Array, Array]]:
    """Cosine with margin, its slopes by cosine and length, and the regulariser with its slope by length."""
    none = np.zeros_like(cosine)
    if isinstance(head, CosFace):
        return cosine - head.margin, np.ones_like(cosine), none, (none, none)
    sine = np.sqrt(np.maximum(1 - cosine * cosine, 0))
    with np.errstate(divide="ignore", invalid="ignore"):
        cotangent = np.where(sine > 0, cosine / sine, 0)
    if isinstance(head, ArcFace):
        cos_m, sin_m = math.cos(head.margin), math.sin(head.margin)
        target, slope = cosine * cos_m - sine * sin_m, cos_m + cotangent * sin_m
        if head.straight:
            bent = cosine > math.cos(math.pi - head.margin)
            fall = head.margin * math.sin(math.pi - head.margin)
            target, slope = np.where(bent, target, cosine - fall), np.where(bent, slope, 1)
        return target, slope.astype(cosine.dtype), none, (none, none)
    clipped = np.clip(length, head.shortest, head.longest)
    inside = (length >= head.shortest) & (length <= head.longest)
    steep = (head.high_margin - head.low_margin) / (head.longest - head.shortest)
    margin = head.low_margin + steep * (clipped - head.shortest)
    cos_m, sin_m = np.cos(margin), np.sin(margin)
    on = cosine > 0
    target = np.where(on, cosine * cos_m - sine * sin_m, cosine)
    slope = np.where(on, cos_m + cotangent * sin_m, 1)
    by_length = np.where(on & inside, -(cosine * sin_m + sine * cos_m) * steep, 0)
    rule = head.weight * (clipped / head.longest**2 + 1 / clipped)
    rule_slope = np.where(inside, head.weight * (1 / head.longest**2 - 1 / clipped**2), 0)
    dtype = cosine.dtype
    return (
        target,
        slope.astype(dtype),
        by_length.astype(dtype),
        (rule.astype(dtype), rule_slope.astype(dtype)),
    )


def _pair_gradient(x: Array, at: tuple[NDArray[np.intp], NDArray[np.intp]], grad: Array) -> Array:
    """Gradient by unit rows of a sum over pairs, from the gradient by each pair's cosine."""
    matrix = np.zeros((len(x), len(x)), dtype=x.dtype)
    matrix[at] = grad
    return (matrix + matrix.T) @ x


def _back(unit: Array, length: Array, grad: Array) -> Array:
    """Gradient by raw rows from the gradient by unit rows."""
    result: Array = (grad - unit * (unit * grad).sum(axis=1, keepdims=True)) / length
    return result


def _check(embeddings: Array, weight: Array, labels: Labels) -> None:
    if embeddings.ndim != 2 or weight.ndim != 2 or embeddings.shape[1] != weight.shape[1]:
        raise SpecError(f"embeddings {embeddings.shape} and weight {weight.shape}: wanted (B, d) and (C, d)")
    if labels.shape != embeddings.shape[:1]:
        raise SpecError(f"labels {labels.shape}: wanted one for each of {embeddings.shape[0]} embeddings")
    if len(labels) and not 0 <= labels.min() <= labels.max() < len(weight):
        raise SpecError(f"labels {labels.min()} to {labels.max()}: wanted 0 to {len(weight) - 1}")
