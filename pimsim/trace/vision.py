"""Vision networks as tables of shapes, one image at a time; neither PyTorch nor weights are needed.

    model = vision_model("resnet50")
    model.parameters, model.macs, model.layers[0]

Definitions: torchvision 0.28 (ResNet, MobileNetV2) and timm 1.0 (ViT, DeiT, Swin, EfficientNet-Lite);
ResNet-20 for CIFAR is that of the ResNet paper, shortcuts without weights; the face networks `ir_resnet*` are
those of Jung-Jun-Uk/UNPG models/iresnet.py, the gaze networks are ResNets with two outputs; that
with attention is a choice of ours, as CauGE (arXiv 2408.16964) publishes no shapes. A layer is a
convolution, a linear map, a batched product (attention) or work of a vector unit; batch norms (of
`ir_resnet*` also those before a convolution) are folded into convolutions but their parameters count. A
PReLU has no layer of its own.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass

from pimsim.errors import TraceError, suggest

CONV_KINDS = ("conv", "depthwise")
VECTOR_KINDS = ("pool", "add", "norm", "softmax", "gelu")
KINDS = (*CONV_KINDS, "linear", "attention", *VECTOR_KINDS)


@dataclass(frozen=True, kw_only=True)
class VisionLayer:
    """One step of a network.

    conv, depthwise: in_h x in_w pixels of in_ch channels to out_ch, square kernel. linear: in_h rows.
    attention: `batch` products of in_h rows, in_ch deep, out_ch wide. Vector kinds: in_h x in_w x in_ch
    elements in, out_h x out_w x out_ch out. parameters: weights, biases and folded norms. stream: the
    residual stream whose channels it reads, "" for none; writes: the one it adds to.
    """

    name: str
    kind: str
    in_h: int
    in_w: int
    in_ch: int
    out_h: int
    out_w: int
    out_ch: int
    kernel: int = 1
    stride: int = 1
    padding: int = 0
    groups: int = 1
    batch: int = 1
    parameters: int = 0
    stream: str = ""
    writes: str = ""

    @property
    def macs(self) -> int:
        """Multiply-adds, those on padding included; none for vector kinds."""
        if self.kind in VECTOR_KINDS:
            return 0
        each = self.kernel**2 * self.in_ch // self.groups
        return self.batch * self.out_h * self.out_w * self.out_ch * each

    @property
    def in_elements(self) -> int:
        return self.batch * self.in_h * self.in_w * self.in_ch

    @property
    def out_elements(self) -> int:
        return self.batch * self.out_h * self.out_w * self.out_ch


@dataclass(frozen=True, kw_only=True)
class VisionModel:
    """A network: its layers in order, the side of its square input, parameters outside layers."""

    name: str
    input_size: int
    layers: tuple[VisionLayer, ...]
    other_parameters: int = 0

    @property
    def parameters(self) -> int:
        return self.other_parameters + sum(layer.parameters for layer in self.layers)

    @property
    def macs(self) -> int:
        return sum(layer.macs for layer in self.layers)

    def count(self, kind: str) -> int:
        return sum(layer.kind == kind for layer in self.layers)


class _Builder:
    """Collects layers; the running shape is `side` x `side` x `channels` (or `side` rows for tokens)."""

    def __init__(self) -> None:
        self.layers: list[VisionLayer] = []

    def conv(
        self,
        name: str,
        side: int,
        in_ch: int,
        out_ch: int,
        kernel: int,
        *,
        stride: int = 1,
        padding: int = 0,
        groups: int = 1,
        norm: bool = True,
        bias: bool = False,
        extra: int = 0,
        stream: str = "",
        writes: str = "",
    ) -> int:
        """extra: parameters of norms before it and of its activation."""
        out = (side + 2 * padding - kernel) // stride + 1
        parameters = (
            out_ch * in_ch // groups * kernel**2
            + (2 * out_ch if norm else 0)
            + (out_ch if bias else 0)
            + extra
        )
        kind = "depthwise" if groups == in_ch and groups > 1 else "conv"
        self.layers.append(
            VisionLayer(
                name=name,
                kind=kind,
                in_h=side,
                in_w=side,
                in_ch=in_ch,
                out_h=out,
                out_w=out,
                out_ch=out_ch,
                kernel=kernel,
                stride=stride,
                padding=padding,
                groups=groups,
                parameters=parameters,
                stream=stream,
                writes=writes,
            )
        )
        return out

    def linear(
        self,
        name: str,
        rows: int,
        in_ch: int,
        out_ch: int,
        *,
        bias: bool = True,
        stream: str = "",
        writes: str = "",
    ) -> None:
        self.layers.append(
            VisionLayer(
                name=name,
                kind="linear",
                in_h=rows,
                in_w=1,
                in_ch=in_ch,
                out_h=rows,
                out_w=1,
                out_ch=out_ch,
                parameters=in_ch * out_ch + (out_ch if bias else 0),
                stream=stream,
                writes=writes,
            )
        )

    def product(self, name: str, batch: int, m: int, n: int, k: int) -> None:
        self.layers.append(
            VisionLayer(
                name=name, kind="attention", in_h=m, in_w=1, in_ch=k, out_h=m, out_w=1, out_ch=n, batch=batch
            )
        )

    def vector(
        self,
        name: str,
        kind: str,
        side: int,
        channels: int,
        *,
        out: int | None = None,
        wide: int | None = None,
        parameters: int = 0,
        batch: int = 1,
    ) -> None:
        """wide: columns where they are not `side`."""
        columns = side if wide is None else wide
        out_h, out_w = (side, columns) if out is None else (out, out)
        self.layers.append(
            VisionLayer(
                name=name,
                kind=kind,
                in_h=side,
                in_w=columns,
                in_ch=channels,
                out_h=out_h,
                out_w=out_w,
                out_ch=channels,
                parameters=parameters,
                batch=batch,
            )
        )

    def attention(self, name: str, batch: int, tokens: int, dim: int) -> None:
        """Scores, softmax and mix of `batch` heads (and windows)."""
        self.product(f"{name}.scores", batch, tokens, tokens, dim)
        self.vector(f"{name}.softmax", "softmax", tokens, tokens, wide=1, batch=batch)
        self.product(f"{name}.mix", batch, tokens, dim, tokens)


def _resnet(
    name: str, depths: tuple[int, ...], bottleneck: bool, classes: int = 1000, *, attention: bool = False
) -> VisionModel:
    """attention: one head over the pixels of the last map, with linear maps for q, k, v and the result."""
    b = _Builder()
    side = b.conv("conv1", 224, 3, 64, 7, stride=2, padding=3, writes="stem")
    b.vector("maxpool", "pool", side, 64, out=(side + 2 - 3) // 2 + 1)
    side = (side + 2 - 3) // 2 + 1
    channels = 64
    stream = "stem"
    for stage, (depth, width) in enumerate(zip(depths, (64, 128, 256, 512), strict=True), 1):
        for block in range(depth):
            at = f"layer{stage}.{block}"
            stride = 2 if block == 0 and stage > 1 else 1
            wide = width * (4 if bottleneck else 1)
            new = f"stage{stage}" if block == 0 and (stride > 1 or channels != wide) else stream
            if stage == 1 and block == 0 and not bottleneck:
                new = "stem"
            if bottleneck:
                b.conv(f"{at}.conv1", side, channels, width, 1, stream=stream)
                out = b.conv(f"{at}.conv2", side, width, width, 3, stride=stride, padding=1)
                b.conv(f"{at}.conv3", out, width, wide, 1, writes=new)
            else:
                out = b.conv(f"{at}.conv1", side, channels, width, 3, stride=stride, padding=1, stream=stream)
                b.conv(f"{at}.conv2", out, width, width, 3, padding=1, writes=new)
            if block == 0 and (stride > 1 or channels != wide):
                b.conv(
                    f"{at}.downsample.0", side, channels, wide, 1, stride=stride, stream=stream, writes=new
                )
            b.vector(f"{at}.add", "add", out, wide)
            side, channels, stream = out, wide, new
    if attention:
        b.linear("attention.qkv", side * side, channels, 3 * channels, stream=stream)
        b.attention("attention", 1, side * side, channels)
        b.linear("attention.proj", side * side, channels, channels, writes=stream)
        b.vector("attention.add", "add", side, channels)
    b.vector("avgpool", "pool", side, channels, out=1)
    b.linear("fc", 1, channels, classes, stream=stream)
    return VisionModel(name=name, input_size=224, layers=tuple(b.layers))


def _ir_resnet(name: str, depths: tuple[int, ...]) -> VisionModel:
    b = _Builder()
    side = b.conv("conv1", 112, 3, 64, 3, padding=1, extra=64, writes="stem")
    channels, stream = 64, "stem"
    for stage, (depth, width) in enumerate(zip(depths, (64, 128, 256, 512), strict=True), 1):
        for block in range(depth):
            at, new = f"layer{stage}.{block}", f"stage{stage}"
            stride = 2 if block == 0 else 1
            before = 2 * channels  # the norm in front
            b.conv(f"{at}.conv1", side, channels, width, 3, padding=1, extra=before + width, stream=stream)
            out = b.conv(f"{at}.conv2", side, width, width, 3, stride=stride, padding=1, writes=new)
            if block == 0:
                b.conv(
                    f"{at}.downsample.0", side, channels, width, 1, stride=stride, stream=stream, writes=new
                )
            b.vector(f"{at}.add", "add", out, width)
            side, channels, stream = out, width, new
    b.linear("fc", 1, channels * side * side, 512)
    norms = 2 * channels + 2 * 512  # before the linear layer and of the embedding
    return VisionModel(name=name, input_size=112, layers=tuple(b.layers), other_parameters=norms)


def _cifar_resnet(name: str, depth: int) -> VisionModel:
    b = _Builder()
    side = b.conv("conv1", 32, 3, 16, 3, padding=1, writes="stage1")
    channels, stream = 16, "stage1"
    for stage, width in enumerate((16, 32, 64), 1):
        for block in range((depth - 2) // 6):
            at = f"layer{stage}.{block}"
            stride = 2 if block == 0 and stage > 1 else 1
            new = f"stage{stage}"
            out = b.conv(f"{at}.conv1", side, channels, width, 3, stride=stride, padding=1, stream=stream)
            b.conv(f"{at}.conv2", out, width, width, 3, padding=1, writes=new)
            b.vector(f"{at}.add", "add", out, width)
            side, channels, stream = out, width, new
    b.vector("avgpool", "pool", side, channels, out=1)
    b.linear("fc", 1, channels, 10, stream=stream)
    return VisionModel(name=name, input_size=32, layers=tuple(b.layers))


def _mobilenet_v2(name: str) -> VisionModel:
    b = _Builder()
    side = b.conv("features.0.0", 224, 3, 32, 3, stride=2, padding=1, writes="block0")
    channels, number, stream = 32, 0, "block0"
    for expand, width, repeats, first in (
        (1, 16, 1, 1),
        (6, 24, 2, 2),
        (6, 32, 3, 2),
        (6, 64, 4, 2),
        (6, 96, 3, 1),
        (6, 160, 3, 2),
        (6, 320, 1, 1),
    ):
        for i in range(repeats):
            number += 1
            at = f"features.{number}"
            hidden = channels * expand
            stride = first if i == 0 else 1
            new = stream if stride == 1 and channels == width else f"block{number}"
            if expand > 1:
                b.conv(f"{at}.expand", side, channels, hidden, 1, stream=stream)
            side_in = side
            side = b.conv(f"{at}.depthwise", side, hidden, hidden, 3, stride=stride, padding=1, groups=hidden)
            b.conv(f"{at}.project", side, hidden, width, 1, writes=new)
            if new == stream and side == side_in:
                b.vector(f"{at}.add", "add", side, width)
            channels, stream = width, new
    b.conv("features.18.0", side, channels, 1280, 1, stream=stream)
    b.vector("avgpool", "pool", side, 1280, out=1)
    b.linear("classifier.1", 1, 1280, 1000)
    return VisionModel(name=name, input_size=224, layers=tuple(b.layers))


def _efficientnet_lite(name: str, size: int, width: float, depth: float) -> VisionModel:
    """EfficientNet without squeeze and excitation; stem, head and the depth of both ends are not scaled."""
    b = _Builder()
    side = b.conv("conv_stem", size, 3, 32, 3, stride=2, padding=1, writes="block0")
    channels, number, stream = 32, 0, "block0"
    stages = (
        (1, 16, 1, 1, 3),
        (6, 24, 2, 2, 3),
        (6, 40, 2, 2, 5),
        (6, 80, 3, 2, 3),
        (6, 112, 3, 1, 5),
        (6, 192, 4, 2, 5),
        (6, 320, 1, 1, 3),
    )
    for stage, (expand, base, repeats, first, kernel) in enumerate(stages):
        out = max(8, int(base * width + 4) // 8 * 8)
        for i in range(repeats if stage in (0, 6) else math.ceil(repeats * depth)):
            number += 1
            at, hidden, stride = f"blocks.{stage}.{i}", channels * expand, first if i == 0 else 1
            new = stream if stride == 1 and channels == out else f"block{number}"
            if expand > 1:
                b.conv(f"{at}.conv_pw", side, channels, hidden, 1, stream=stream)
            side = b.conv(
                f"{at}.conv_dw",
                side,
                hidden,
                hidden,
                kernel,
                stride=stride,
                padding=kernel // 2,
                groups=hidden,
            )
            b.conv(f"{at}.conv_pwl", side, hidden, out, 1, writes=new)
            if new == stream:
                b.vector(f"{at}.add", "add", side, out)
            channels, stream = out, new
    b.conv("conv_head", side, channels, 1280, 1, stream=stream)
    b.vector("avgpool", "pool", side, 1280, out=1)
    b.linear("classifier", 1, 1280, 1000)
    return VisionModel(name=name, input_size=size, layers=tuple(b.layers))


def _vit(name: str, dim: int, heads: int) -> VisionModel:
    b = _Builder()
    tokens = 197
    b.conv("patch_embed.proj", 224, 3, dim, 16, stride=16, norm=False, bias=True, writes="tokens")
    for i in range(12):
        at = f"blocks.{i}"
        b.vector(f"{at}.norm1", "norm", tokens, dim, wide=1, parameters=2 * dim)
        b.linear(f"{at}.attn.qkv", tokens, dim, 3 * dim, stream="tokens")
        b.attention(f"{at}.attn", heads, tokens, dim // heads)
        b.linear(f"{at}.attn.proj", tokens, dim, dim, writes="tokens")
        b.vector(f"{at}.add1", "add", tokens, dim, wide=1)
        b.vector(f"{at}.norm2", "norm", tokens, dim, wide=1, parameters=2 * dim)
        b.linear(f"{at}.mlp.fc1", tokens, dim, 4 * dim, stream="tokens")
        b.vector(f"{at}.mlp.gelu", "gelu", tokens, 4 * dim, wide=1)
        b.linear(f"{at}.mlp.fc2", tokens, 4 * dim, dim, writes="tokens")
        b.vector(f"{at}.add2", "add", tokens, dim, wide=1)
    b.vector("norm", "norm", tokens, dim, wide=1, parameters=2 * dim)
    b.linear("head", 1, dim, 1000, stream="tokens")
    return VisionModel(
        name=name, input_size=224, layers=tuple(b.layers), other_parameters=dim + tokens * dim
    )  # class token, positions


def _swin(name: str, dim: int, depths: tuple[int, ...], heads: tuple[int, ...]) -> VisionModel:
    b = _Builder()
    window, tables = 7, 0
    side = b.conv("patch_embed.proj", 224, 3, dim, 4, stride=4, norm=False, bias=True, writes="stage0")
    b.vector("patch_embed.norm", "norm", side, dim, parameters=2 * dim)
    for stage, (depth, head) in enumerate(zip(depths, heads, strict=True)):
        stream = f"stage{stage}"
        if stage:
            at = f"layers.{stage}.downsample"
            side //= 2
            b.vector(f"{at}.norm", "norm", side, 4 * dim, parameters=8 * dim)
            b.linear(
                f"{at}.reduction",
                side * side,
                4 * dim,
                2 * dim,
                bias=False,
                stream=f"stage{stage - 1}",
                writes=stream,
            )
            dim *= 2
        for i in range(depth):
            at, tokens = f"layers.{stage}.blocks.{i}", side * side
            b.vector(f"{at}.norm1", "norm", tokens, dim, wide=1, parameters=2 * dim)
            b.linear(f"{at}.attn.qkv", tokens, dim, 3 * dim, stream=stream)
            b.attention(f"{at}.attn", head * (side // window) ** 2, window**2, dim // head)
            tables += (2 * window - 1) ** 2 * head
            b.linear(f"{at}.attn.proj", tokens, dim, dim, writes=stream)
            b.vector(f"{at}.add1", "add", tokens, dim, wide=1)
            b.vector(f"{at}.norm2", "norm", tokens, dim, wide=1, parameters=2 * dim)
            b.linear(f"{at}.mlp.fc1", tokens, dim, 4 * dim, stream=stream)
            b.vector(f"{at}.mlp.gelu", "gelu", tokens, 4 * dim, wide=1)
            b.linear(f"{at}.mlp.fc2", tokens, 4 * dim, dim, writes=stream)
            b.vector(f"{at}.add2", "add", tokens, dim, wide=1)
    b.vector("norm", "norm", side, dim, parameters=2 * dim)
    b.linear("head.fc", 1, dim, 1000, stream=f"stage{len(depths) - 1}")
    return VisionModel(name=name, input_size=224, layers=tuple(b.layers), other_parameters=tables)


_MODELS: dict[str, Callable[[str], VisionModel]] = {
    "resnet18": lambda name: _resnet(name, (2, 2, 2, 2), bottleneck=False),
    "resnet34": lambda name: _resnet(name, (3, 4, 6, 3), bottleneck=False),
    "resnet50": lambda name: _resnet(name, (3, 4, 6, 3), bottleneck=True),
    "mobilenet_v2": _mobilenet_v2,
    "vit_small": lambda name: _vit(name, 384, 6),
    "vit_base": lambda name: _vit(name, 768, 12),
    "deit_small": lambda name: _vit(name, 384, 6),
    "deit_base": lambda name: _vit(name, 768, 12),
    "swin_tiny": lambda name: _swin(name, 96, (2, 2, 6, 2), (3, 6, 12, 24)),
    "swin_small": lambda name: _swin(name, 96, (2, 2, 18, 2), (3, 6, 12, 24)),
    "swin_base": lambda name: _swin(name, 128, (2, 2, 18, 2), (4, 8, 16, 32)),
    "cifar_resnet20": lambda name: _cifar_resnet(name, 20),
    "cifar_resnet56": lambda name: _cifar_resnet(name, 56),
    "efficientnet_lite0": lambda name: _efficientnet_lite(name, 224, 1.0, 1.0),
    "efficientnet_lite1": lambda name: _efficientnet_lite(name, 240, 1.0, 1.1),
    "efficientnet_lite2": lambda name: _efficientnet_lite(name, 260, 1.1, 1.2),
    "ir_resnet34": lambda name: _ir_resnet(name, (3, 4, 6, 3)),
    "ir_resnet50": lambda name: _ir_resnet(name, (3, 4, 14, 3)),
    "ir_resnet100": lambda name: _ir_resnet(name, (3, 13, 30, 3)),
    "gaze_resnet18": lambda name: _resnet(name, (2, 2, 2, 2), bottleneck=False, classes=2),
    "gaze_attention_resnet18": lambda name: _resnet(name, (2, 2, 2, 2), False, 2, attention=True),
    "gaze_resnet50": lambda name: _resnet(name, (3, 4, 6, 3), bottleneck=True, classes=2),
}


def vision_models() -> tuple[str, ...]:
    """Names of the networks."""
    return tuple(_MODELS)


def vision_model(name: str) -> VisionModel:
    """A network by its name."""
    if name not in _MODELS:
        raise TraceError(f"no vision network named {name!r}{suggest(name, _MODELS)}")
    return _MODELS[name](name)
