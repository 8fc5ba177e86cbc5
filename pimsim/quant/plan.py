"""How many input channels each layer computes in 4 bits at a ratio, and what changing the ratio costs."""

from __future__ import annotations

from collections.abc import Callable

from pimsim.devices.npu.array import depth_folds
from pimsim.devices.npu.layer import Layer
from pimsim.devices.npu.spec import NpuSpec
from pimsim.trace.vision import VisionLayer, VisionModel
from pimsim.units import ceil_div

RATIOS = (0.0, 0.25, 0.5, 0.75, 1.0)
"""Shares of 4-bit channels that FlexiQ stores selections for."""


def rounded_channels(channels: int, ratio: float, group: int) -> int:
    """`max_4bit_ch`: whole groups nearest to a share of the channels (a half goes up); at ratio 1 all of
    them."""
    if ratio == 1:
        return channels
    groups = int(ratio * channels / group + 0.5)
    return min(channels, groups * group)


def may_lower(model: VisionModel, layer: VisionLayer) -> bool:
    """Whether a layer has a 4-bit part: all but the first, depthwise ones and products of activations."""
    return layer.kind in ("conv", "linear") and layer.name != model.layers[0].name


def low_channels(model: VisionModel, ratio: float, group: int) -> Callable[[VisionLayer], int]:
    """Function from a layer to its 4-bit input channels at a ratio."""
    return lambda layer: rounded_channels(layer.in_ch, ratio, group) if may_lower(model, layer) else 0


def switch_ps(spec: NpuSpec, model: VisionModel) -> int:
    """Time to change the ratio: one word (`max_4bit_ch`) a convolution or linear layer is rewritten."""
    words = sum(layer.kind in ("conv", "depthwise", "linear") for layer in model.layers)
    return ceil_div(words, spec.switch_words_per_ck) * spec.tck_fs // 1000


def rule_clocks(spec: NpuSpec, layer: Layer) -> int:
    """Clocks of a layer by the loop nest of DNNWeaver and bit-fusion arrays: nothing but full passes.

    images x pixels x kernel positions x output channels / columns x (8-bit and 4-bit input channels, each
    over the rows they fill); depthwise channels lie along the columns, products of activations are taken at
    full use of the array. A lower bound of what the simulated array takes.
    """
    if layer.kind == "attention":
        return ceil_div(layer.macs, spec.units)
    positions = layer.kernel_h * layer.kernel_w
    if layer.kind == "depthwise":
        return layer.m * positions * ceil_div(layer.groups * layer.out_ch, spec.cols)
    deep = depth_folds(spec, positions, layer.in_ch - layer.low_ch, layer.low_ch)
    return layer.groups * layer.m * ceil_div(layer.out_ch, spec.cols) * deep
