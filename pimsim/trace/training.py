"""Training steps of face recognition, part by part: multiply-adds, traffic and memory, exact in integers.

    step = FaceStep(backbone="ir_resnet100", batch=512, identities=85_742)
    step.parts(), step.memory_bytes()

A step is SGD with momentum in mixed precision: operands of products have 2 bytes, sums, logits, gradients of
weights and master weights 4. Each part reads its operands once and writes its results once; what caches or
tiles add is the devices' business. Left out: data loading, norms and activations apart from their tensors,
the sort behind the quartiles (one pass over the pairs is counted), communication between devices.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, replace

from pimsim.errors import TraceError, suggest
from pimsim.trace.op import Operator, Tensor, Trace
from pimsim.trace.vision import VECTOR_KINDS, vision_model

LOSSES = ("softmax", "unpg", "mixface")
FORMS = ("shared", "concatenated")
VALUE_BYTES = 2
SUM_BYTES = 4


@dataclass(frozen=True, kw_only=True)
class StepPart:
    """One part of a step. shape: (M, N, K) of its product, None where it is not one product."""

    name: str
    macs: int
    read_bytes: int
    written_bytes: int
    shape: tuple[int, int, int] | None = None

    @property
    def bytes(self) -> int:
        """Traffic in both directions."""
        return self.read_bytes + self.written_bytes


@dataclass(frozen=True, kw_only=True)
class FaceStep:
    """One training step: a backbone, a class matrix of `identities` rows and, beside it, pairs of the batch.

    batch: embeddings a step (MixFace with two pictures a person: twice the persons). negatives: pairs of
    different persons that the loss keeps; by default all pairs of the batch, as with many more identities
    than embeddings nearly all are. positives: pairs of one person (MixFace).
    """

    backbone: str = "ir_resnet100"
    batch: int = 512
    identities: int = 85_742
    dim: int = 512
    loss: str = "unpg"
    form: str = "shared"
    negatives: int | None = None
    positives: int = 0

    def __post_init__(self) -> None:
        for name in ("batch", "identities", "dim"):
            if getattr(self, name) < 1:
                raise TraceError(f"face step: {name}={getattr(self, name)}; wanted at least 1")
        for name, known in (("loss", LOSSES), ("form", FORMS)):
            if getattr(self, name) not in known:
                raise TraceError(
                    f"face step: no {name} {getattr(self, name)!r}{suggest(getattr(self, name), known)}"
                )
        if not 0 <= self.kept <= self.pairs or not 0 <= self.positives <= self.pairs:
            raise TraceError(
                f"face step: {self.kept} negatives and {self.positives} positives of {self.pairs} pairs"
            )

    @property
    def pairs(self) -> int:
        """Pairs of two embeddings of the batch."""
        return self.batch * (self.batch - 1) // 2

    @property
    def kept(self) -> int:
        """Negative pairs in the loss."""
        if self.loss == "softmax":
            return 0
        return self.pairs if self.negatives is None else self.negatives

    @property
    def class_parameters(self) -> int:
        return self.identities * self.dim

    @property
    def loss_values(self) -> int:
        """Values that the softmax (and the pair term) works on at once.

        UNPG concatenated: a row of classes and negatives for every embedding. Shared: the logits, the
        negatives once, one log-sum-exp for each row. MixFace materialised: the logits and a row of
        negatives for every positive pair; shared: the logits, the negatives and the positives.
        """
        logits = self.batch * self.identities
        if self.loss == "softmax":
            return logits
        rows = self.batch if self.loss == "unpg" else self.positives
        return logits + (rows * self.kept if self.form == "concatenated" else self.kept + rows)

    def parts(self) -> tuple[StepPart, ...]:
        """All parts in order: forward, loss, backward, update."""
        model = vision_model(self.backbone)
        b, c, d, v, s = self.batch, self.identities, self.dim, VALUE_BYTES, SUM_BYTES
        layers = [layer for layer in model.layers if layer.kind not in VECTOR_KINDS]
        first = layers[0]
        inputs = b * sum(layer.in_elements for layer in layers) * v
        outputs = b * sum(layer.out_elements for layer in layers) * v
        weights = model.parameters
        x, w, logits = b * d, self.class_parameters, b * c
        parts = [
            StepPart(
                name="backbone forward",
                macs=b * model.macs,
                read_bytes=inputs + weights * v,
                written_bytes=outputs,
            ),
            StepPart(
                name="logits",
                macs=logits * d,
                read_bytes=(x + w) * v,
                written_bytes=logits * s,
                shape=(b, c, d),
            ),
        ]
        if self.loss != "softmax":
            parts.append(
                StepPart(
                    name="similarities",
                    macs=b * b * d,
                    read_bytes=x * v,
                    written_bytes=b * b * s,
                    shape=(b, b, d),
                )
            )
            chosen = (self.pairs + self.kept) * s if self.loss == "unpg" else self.pairs * s
            parts.append(
                StepPart(name="pairs and quartiles", macs=0, read_bytes=chosen, written_bytes=self.kept * s)
            )
        if self.form == "concatenated" and self.loss != "softmax":
            parts.append(
                StepPart(
                    name="concatenation",
                    macs=0,
                    read_bytes=(logits + self.kept) * s,
                    written_bytes=self.loss_values * s,
                )
            )
        of_loss = self.loss_values * s
        parts += [
            StepPart(name="loss and its gradient", macs=0, read_bytes=of_loss, written_bytes=of_loss),
            StepPart(
                name="gradient of embeddings",
                macs=logits * d,
                read_bytes=logits * s + w * v,
                written_bytes=x * s,
                shape=(b, d, c),
            ),
            StepPart(
                name="gradient of classes",
                macs=logits * d,
                read_bytes=logits * s + x * v,
                written_bytes=w * s,
                shape=(c, d, b),
            ),
            *self._of_pairs(),
            StepPart(
                name="backbone backward",
                macs=2 * b * model.macs - b * first.macs,  # nobody wants the gradient of the pictures
                read_bytes=2 * outputs + inputs + weights * v,
                written_bytes=inputs - b * first.in_elements * v + weights * s,
            ),
            _update("update of backbone", weights),
            _update("update of classes", w),
        ]
        return tuple(parts)

    def _of_pairs(self) -> tuple[StepPart, ...]:
        """Similarities are a product of the embeddings with themselves: each side has a gradient."""
        if self.loss == "softmax":
            return ()
        b, d = self.batch, self.dim
        part = StepPart(
            name="gradient of similarities",
            macs=2 * b * b * d,
            read_bytes=b * b * SUM_BYTES + b * d * VALUE_BYTES,
            written_bytes=b * d * SUM_BYTES,
        )
        return (part,)

    def memory_bytes(self) -> dict[str, int]:
        """What lies in memory at the end of the forward pass, by owner.

        Weights: 2 bytes to compute with, 4 each for master, gradient and momentum. Activations: every
        layer's output once (a lower bound: norms and activations may keep their own).
        """
        model = vision_model(self.backbone)
        each = VALUE_BYTES + 3 * SUM_BYTES
        kept = sum(layer.out_elements for layer in model.layers if layer.kind not in VECTOR_KINDS)
        return {
            "backbone weights": model.parameters * each,
            "class matrix": self.class_parameters * each,
            "activations": self.batch * kept * VALUE_BYTES,
            "loss": self.loss_values * SUM_BYTES,
        }

    def most_identities(self, capacity_bytes: int) -> int:
        """Identities whose step fits into a memory; 0 if not even one does."""
        base = replace(self, identities=1)
        each = self.dim * (VALUE_BYTES + 3 * SUM_BYTES) + self.batch * SUM_BYTES
        left = capacity_bytes - sum(base.memory_bytes().values())
        return 0 if left < 0 else 1 + left // each


def memory_bound_identities(step: FaceStep, macs_per_s: float, bytes_per_s: float) -> int | None:
    """Identities from which on the traffic of a step takes longer than its multiply-adds; None if never.

    Both grow in a straight line with the identities: at most one crossing. Peak rates, nothing on chip.
    """

    def excess(identities: int) -> float:
        parts = replace(step, identities=identities).parts()
        return sum(part.bytes for part in parts) / bytes_per_s - sum(part.macs for part in parts) / macs_per_s

    at_one = excess(1)
    if at_one >= 0:
        return 1
    far = 10**12
    slope = (excess(far) - at_one) / (far - 1)
    return None if slope <= 0 else 1 + math.ceil(-at_one / slope)


def memory_bound_batch(identities: int, dim: int, macs_per_s: float, bytes_per_s: float) -> int:
    """Embeddings up to which the logits alone take longer to move than to compute, at peak rates."""
    compute = identities * dim / macs_per_s  # each embedding's
    moved = (dim * VALUE_BYTES + identities * SUM_BYTES) / bytes_per_s
    matrix = identities * dim * VALUE_BYTES / bytes_per_s
    if moved >= compute:
        raise TraceError(
            f"dim={dim}: writing a logit takes {moved / compute:.2f} times as long as computing it, "
            "whatever the batch"
        )
    return math.floor(matrix / (compute - moved))


def _update(name: str, parameters: int) -> StepPart:
    """SGD with momentum: master, momentum and gradient in; master, momentum and the working copy out."""
    return StepPart(
        name=name,
        macs=0,
        read_bytes=parameters * 3 * SUM_BYTES,
        written_bytes=parameters * (2 * SUM_BYTES + VALUE_BYTES),
    )


def gallery_trace(queries: int, identities: int, dim: int = 512, *, dtype: str = "bf16") -> Trace:
    """The product of embeddings and class matrix (or gallery) alone: (queries, dim) x (identities, dim).

    One query is a search among all identities; more are the forward pass of the logits.
    """
    tensors = (
        Tensor(name="embeddings", shape=(queries, dim), dtype="bf16", role="input"),
        Tensor(name="classes.weight", shape=(identities, dim), dtype=dtype, role="weight"),
        Tensor(name="cosines", shape=(queries, identities), dtype="bf16", role="output"),
    )
    op = Operator(
        kind="matmul",
        name="classes",
        inputs=("embeddings", "classes.weight"),
        outputs=("cosines",),
        phase="prefill" if queries > 1 else "decode[0]",
    )
    return Trace(name=f"gallery-{queries}x{identities}", tensors=tensors, operators=(op,))
