"""4-bit channels a layer, the speed-up table of the array's loop nest, the cost of a switch."""

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pimsim.devices import NpuSpec, part
from pimsim.devices.npu.array import layer_clocks
from pimsim.devices.npu.network import npu_layer
from pimsim.quant.plan import RATIOS, low_channels, may_lower, rounded_channels, rule_clocks, switch_ps
from pimsim.trace.vision import VECTOR_KINDS, vision_model

SPEC = part("dnnweaver2-32x32", NpuSpec)
# 32 x 32 8-bit units, groups of 32 channels, first layer, depthwise and products of activations at 8
# bits; 8-bit
# Mcycles and speed-ups at 25, 50, 75 and 100 % for 2 and 4 times the rate in 4 bits. From a separate
# program that
# counts loop nests after hsharma35/dnnweaver2 and bitfusion `simulator/accelerator.py`.
TABLE = {
    "resnet18": (2.89, (1.03, 1.11, 1.28, 1.40), (1.04, 1.15, 1.42, 1.63)),
    "resnet34": (4.69, (1.05, 1.17, 1.38, 1.59), (1.06, 1.24, 1.60, 2.06)),
    "resnet50": (5.11, (1.07, 1.19, 1.39, 1.61), (1.09, 1.30, 1.66, 2.19)),
    "mobilenet_v2": (1.08, (1.01, 1.04, 1.08, 1.10), (1.02, 1.06, 1.11, 1.15)),
    "vit_small": (5.04, (1.09, 1.25, 1.39, 1.68), (1.16, 1.39, 1.73, 2.55)),
    "vit_base": (18.24, (1.13, 1.29, 1.51, 1.81), (1.18, 1.51, 1.97, 3.05)),
    "swin_small": (8.67, (1.10, 1.31, 1.50, 1.89), (1.19, 1.50, 1.96, 3.44)),
    "swin_base": (15.25, (1.13, 1.32, 1.55, 1.94), (1.20, 1.55, 2.16, 3.64)),
}


def clocks(name, ratio, rate4):
    model = vision_model(name)
    low = low_channels(model, ratio, 32)
    spec = replace(SPEC, rate4=rate4)
    return sum(
        rule_clocks(spec, npu_layer(layer).with_low(low(layer)))
        for layer in model.layers
        if layer.kind not in VECTOR_KINDS
    )


@pytest.mark.parametrize("name", TABLE)
def test_speed_ups_of_the_loop_nest(name):
    mcycles, *tables = TABLE[name]
    assert clocks(name, 0, 2) / 1e6 == pytest.approx(mcycles, rel=0.01)
    for rate4, table in zip((2, 4), tables, strict=True):
        ours = [clocks(name, 0, rate4) / clocks(name, ratio, rate4) for ratio in RATIOS[1:]]
        assert ours == pytest.approx(table, rel=0.01)


@pytest.mark.parametrize("name", ["resnet18", "mobilenet_v2", "vit_small"])
@pytest.mark.parametrize("ratio", RATIOS)
def test_the_simulated_array_is_never_faster_than_the_loop_nest(name, ratio):
    model = vision_model(name)
    low = low_channels(model, ratio, 32)
    for layer in model.layers:
        if layer.kind not in VECTOR_KINDS:
            made = npu_layer(layer).with_low(low(layer))
            assert layer_clocks(SPEC, made).total_ck >= rule_clocks(SPEC, made), layer.name


@given(st.integers(1, 2048), st.sampled_from((1, 4, 8, 32, 64)))
def test_channels_grow_with_the_ratio_in_whole_groups(channels, group):
    counts = [rounded_channels(channels, ratio, group) for ratio in RATIOS]
    assert counts == sorted(counts)
    assert counts[0] == 0
    assert all(count % group == 0 or count == channels for count in counts)
    assert counts[-1] == channels


def test_the_first_layer_depthwise_ones_and_attention_stay():
    model = vision_model("mobilenet_v2")
    kept = [layer.name for layer in model.layers if layer.kind == "conv" and not may_lower(model, layer)]
    assert kept == ["features.0.0"]
    assert not any(may_lower(model, layer) for layer in model.layers if layer.kind == "depthwise")


def test_a_switch_rewrites_one_word_a_layer():
    # ResNet-50 has 54 convolutions and linear layers: 54 clocks, 0.36 us at 150 MHz and 0.27 us at 200 MHz.
    model = vision_model("resnet50")
    assert switch_ps(SPEC, model) == pytest.approx(360_000, rel=1e-4)
    assert switch_ps(replace(SPEC, tck_fs=5_000_000), model) == 270_000
