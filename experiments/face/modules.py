"""Losses and backbones of face recognition as PyTorch modules: UNPG, MixFace, SN-pair, IR-ResNet.

    loss = Unpg(identities=85_742, dim=512, head=ArcFace())
    loss(embeddings, labels).backward()

The same values as the NumPy references in `losses.py` (definitions and declared rules there). All shapes are
known before the data are: which pairs count is a mask and never a selection. So nothing waits for the
device, and a step can be captured as a trace.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Literal

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from experiments.face.losses import ArcFace, CosFace, Head, MagFace, mixface_scale
from pimsim.errors import SpecError

DEPTHS = {"ir_resnet34": (3, 4, 6, 3), "ir_resnet50": (3, 4, 14, 3), "ir_resnet100": (3, 13, 30, 3)}


class Unpg(nn.Module):
    """A margin head whose softmax also sums over the batch's negative pairs, outliers left out.

    whisker: width of the fences in interquartile ranges; None leaves the pairs out. form: `concatenated`
    holds a row of all classes and pairs for every sample, `shared` adds one log-sum-exp of the pairs.
    """

    def __init__(
        self,
        *,
        identities: int,
        dim: int = 512,
        head: Head | None = None,
        whisker: float | None = 1.5,
        form: Literal["shared", "concatenated"] = "shared",
    ) -> None:
        super().__init__()
        if form not in ("shared", "concatenated"):
            raise SpecError(f"no form {form!r}; wanted 'shared' or 'concatenated'")
        self.head = head or ArcFace()
        self.whisker, self.form = whisker, form
        self.weight = nn.Parameter(torch.randn(identities, dim) * 0.01)

    def forward(self, embeddings: Tensor, labels: Tensor) -> Tensor:
        """Mean loss of embeddings (B, d) with labels (B,)."""
        x, lengths = unit_rows(embeddings)
        w, _ = unit_rows(self.weight)
        cosines = clipped(x @ w.T)
        true = labels[:, None]
        target, extra = with_margin(self.head, cosines.gather(1, true)[:, 0], lengths)
        logits = self.head.scale * cosines.scatter(1, true, target[:, None])
        wanted = self.head.scale * target
        if self.whisker is None or len(labels) < 2:
            return (logits.logsumexp(1) - wanted).mean() + extra
        negatives, kept = self.negatives(x, labels)
        pairs = torch.where(kept, self.head.scale * negatives, -math.inf)
        if self.form == "concatenated":
            total = torch.cat([logits, pairs.expand(len(labels), -1)], dim=1).logsumexp(1)
        else:
            total = torch.logaddexp(logits.logsumexp(1), pairs.logsumexp(0))
        return (total - wanted).mean() + extra

    def negatives(self, x: Tensor, labels: Tensor) -> tuple[Tensor, Tensor]:
        """Cosines of all pairs i < j, and which of them are negatives within the fences."""
        similarities, same = pairs_of(x, labels)
        with torch.no_grad():
            ordered = torch.where(same, math.inf, similarities).sort().values
            count = (~same).sum()
            at = torch.stack([count // 4, 3 * count // 4]).clamp(max=len(ordered) - 1)
            q1, q3 = ordered.gather(0, at).unbind()
            reach = (self.whisker or 0.0) * (q3 - q1)
            kept = ~same & (similarities >= q1 - reach) & (similarities <= q3 + reach)
        return similarities, kept


class SnPair(nn.Module):
    """Mean over positive pairs p of log(1 + sum over negatives n of exp(scale (n - p))); 0 without either."""

    def __init__(self, scale: float = 64.0) -> None:
        super().__init__()
        self.scale = scale

    def forward(self, embeddings: Tensor, labels: Tensor) -> Tensor:
        x, _ = unit_rows(embeddings)
        return pair_loss(*pairs_of(x, labels), self.scale)


class MixFace(nn.Module):
    """Cross-entropy with an angular margin, plus every positive pair against all negatives of the batch."""

    def __init__(
        self, *, identities: int, dim: int = 512, epsilon: float = 1e-22, margin: float = 0.5
    ) -> None:
        super().__init__()
        self.epsilon = epsilon
        scale = mixface_scale(identities - 1, epsilon) / math.cos(margin)
        head = ArcFace(scale=scale, margin=margin, straight=True)
        self.classes = Unpg(identities=identities, dim=dim, head=head, whisker=None)

    def forward(self, embeddings: Tensor, labels: Tensor) -> Tensor:
        x, _ = unit_rows(embeddings)
        similarities, same = pairs_of(x, labels)
        negatives = (~same).sum().clamp(min=1).to(x.dtype)
        scale = negatives.log() + math.log1p(-self.epsilon) - math.log(self.epsilon)
        return self.classes(embeddings, labels) + pair_loss(similarities, same, scale)


class IrBlock(nn.Module):
    """Norm, convolution, norm, PReLU, convolution with the stride, norm; and the shortcut."""

    def __init__(self, channels: int, width: int, stride: int) -> None:
        super().__init__()
        self.bn1 = nn.BatchNorm2d(channels)
        self.conv1 = nn.Conv2d(channels, width, 3, 1, 1, bias=False)
        self.bn2 = nn.BatchNorm2d(width)
        self.prelu = nn.PReLU(width)
        self.conv2 = nn.Conv2d(width, width, 3, stride, 1, bias=False)
        self.bn3 = nn.BatchNorm2d(width)
        self.downsample = None
        if stride > 1:
            conv = nn.Conv2d(channels, width, 1, stride, bias=False)
            self.downsample = nn.Sequential(conv, nn.BatchNorm2d(width))

    def forward(self, x: Tensor) -> Tensor:
        out = self.prelu(self.bn2(self.conv1(self.bn1(x))))
        out = self.bn3(self.conv2(out))
        return out + (x if self.downsample is None else self.downsample(x))


class IrResNet(nn.Module):
    """Backbone for pictures of 112 x 112; depths: blocks of the four stages, or a name of `DEPTHS`."""

    def __init__(self, depths: str | Sequence[int] = "ir_resnet100", dim: int = 512) -> None:
        super().__init__()
        depths = DEPTHS[depths] if isinstance(depths, str) else depths
        self.conv1 = nn.Conv2d(3, 64, 3, 1, 1, bias=False)
        self.bn1 = nn.BatchNorm2d(64)
        self.prelu = nn.PReLU(64)
        channels, stages = 64, []
        for depth, width in zip(depths, (64, 128, 256, 512), strict=True):
            blocks = []
            for block in range(depth):
                blocks.append(IrBlock(channels, width, 2 if block == 0 else 1))
                channels = width
            stages.append(nn.Sequential(*blocks))
        self.stages = nn.Sequential(*stages)
        self.bn2 = nn.BatchNorm2d(channels)
        self.fc = nn.Linear(channels * 7 * 7, dim)
        self.features = nn.BatchNorm1d(dim)

    def forward(self, pictures: Tensor) -> Tensor:
        """Embeddings (B, dim) of pictures (B, 3, 112, 112)."""
        x = self.prelu(self.bn1(self.conv1(pictures)))
        return self.features(self.fc(self.bn2(self.stages(x)).flatten(1)))


def unit_rows(rows: Tensor) -> tuple[Tensor, Tensor]:
    """Rows (n, d) of length one, and their lengths (n,)."""
    length = rows.square().sum(1, keepdim=True).sqrt()
    return rows / length, length[:, 0]


def pairs_of(x: Tensor, labels: Tensor) -> tuple[Tensor, Tensor]:
    """Cosines of the pairs i < j of a batch, row by row, and which of them are of one label."""
    at = torch.triu_indices(len(labels), len(labels), 1, device=x.device)
    similarities = clipped(x @ x.T)[at[0], at[1]]
    return similarities, labels[at[0]] == labels[at[1]]


def pair_loss(similarities: Tensor, same: Tensor, scale: Tensor | float) -> Tensor:
    """Mean over the positive pairs of log(1 + sum over negatives n of exp(scale (n - p)))."""
    if not len(same):
        return similarities.sum()
    scaled = scale * similarities
    negatives = torch.where(same, -math.inf, scaled).logsumexp(0)
    excess = torch.where(same, negatives - scaled, -math.inf)
    return torch.logaddexp(excess, torch.zeros_like(excess)).sum() / same.sum().clamp(min=1)


def with_margin(head: Head, cosine: Tensor, length: Tensor) -> tuple[Tensor, Tensor]:
    """Cosines of the true classes with the head's margin, and the mean of its regulariser."""
    if isinstance(head, CosFace):
        return cosine - head.margin, cosine.new_zeros(())
    square = 1 - cosine * cosine
    sine = torch.where(square > 0, torch.where(square > 0, square, 1).sqrt(), 0)
    if isinstance(head, ArcFace):
        target = cosine * math.cos(head.margin) - sine * math.sin(head.margin)
        if head.straight:
            fall = head.margin * math.sin(math.pi - head.margin)
            target = torch.where(cosine > math.cos(math.pi - head.margin), target, cosine - fall)
        return target, cosine.new_zeros(())
    assert isinstance(head, MagFace)
    held = length.clamp(head.shortest, head.longest)
    steep = (head.high_margin - head.low_margin) / (head.longest - head.shortest)
    margin = head.low_margin + steep * (held - head.shortest)
    target = torch.where(cosine > 0, cosine * margin.cos() - sine * margin.sin(), cosine)
    return target, head.weight * (held / head.longest**2 + 1 / held).mean()


def clipped(cosine: Tensor) -> Tensor:
    """Between -1 and 1, with the slope of the plain value, as rounding alone leads out of it."""
    return cosine + (F.hardtanh(cosine) - cosine).detach()
