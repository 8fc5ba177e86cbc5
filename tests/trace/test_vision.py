"""Shape tables of vision networks against published figures."""

import pytest

from pimsim.errors import TraceError
from pimsim.trace.vision import vision_model, vision_models

# Parameters, 10^9 multiply-adds, those of attention products, convolutions / depthwise / linear layers:
# counted by
# running the definitions of torchvision 0.28.0 and timm 1.0.31; torchvision publishes the same multiply-adds.
PUBLISHED = {
    "resnet18": (11_689_512, 1.8141, 0, (20, 0, 1)),
    "resnet34": (21_797_672, 3.6638, 0, (36, 0, 1)),
    "resnet50": (25_557_032, 4.0892, 0, (53, 0, 1)),
    "mobilenet_v2": (3_504_872, 0.3008, 0, (35, 17, 1)),
    "vit_small": (22_050_664, 4.5989, 0.3577, (1, 0, 49)),
    "deit_small": (22_050_664, 4.5989, 0.3577, (1, 0, 49)),
    "vit_base": (86_567_656, 17.5638, 0.7153, (1, 0, 49)),
    "deit_base": (86_567_656, 17.5638, 0.7153, (1, 0, 49)),
    "swin_tiny": (28_288_354, 4.4906, 0.1402, (1, 0, 52)),
    "swin_small": (49_606_258, 8.7409, 0.2287, (1, 0, 100)),
    "swin_base": (87_768_224, 15.4309, 0.3048, (1, 0, 100)),
    "cifar_resnet20": (269_722, 0.0406, 0, (19, 0, 1)),
    "cifar_resnet56": (853_018, 0.1255, 0, (55, 0, 1)),
    "efficientnet_lite0": (4_652_008, 0.3852, 0, (33, 16, 1)),
    "efficientnet_lite1": (5_416_680, 0.6002, 0, (43, 21, 1)),
    "efficientnet_lite2": (6_092_072, 0.8597, 0, (43, 21, 1)),
    # By running models/iresnet.py of Jung-Jun-Uk/UNPG, and torchvision's ResNets with two outputs.
    "ir_resnet34": (34_139_328, 4.4596, 0, (37, 0, 1)),
    "ir_resnet50": (43_590_848, 6.3093, 0, (53, 0, 1)),
    "ir_resnet100": (65_156_160, 12.0896, 0, (103, 0, 1)),
    "gaze_resnet18": (11_177_538, 1.8136, 0, (20, 0, 1)),
    # And, by hand, 4 maps of 512 x 512 with biases over 49 pixels, and two products of 49 x 49 x 512.
    "gaze_attention_resnet18": (11_177_538 + 4 * (512 * 512 + 512), 1.8674, 0.0025, (20, 0, 3)),
    "gaze_resnet50": (23_512_130, 4.0871, 0, (53, 0, 1)),
}


def test_every_network_has_published_figures():
    assert set(vision_models()) == set(PUBLISHED)


@pytest.mark.parametrize("name", PUBLISHED)
def test_parameters_and_multiply_adds_are_the_published_ones(name):
    model = vision_model(name)
    parameters, gmac, attention, layers = PUBLISHED[name]
    assert model.parameters == parameters
    assert round(model.macs / 1e9, 4) == gmac
    products = sum(layer.macs for layer in model.layers if layer.kind == "attention")
    assert products / 1e9 == pytest.approx(attention, abs=1.1e-4)  # the last digit is not rounded alike
    assert tuple(model.count(kind) for kind in ("conv", "depthwise", "linear")) == layers


def test_depthwise_part_of_mobilenet():
    macs = sum(layer.macs for layer in vision_model("mobilenet_v2").layers if layer.kind == "depthwise")
    assert round(macs / 1e9, 4) == 0.0207  # counted as above


@pytest.mark.parametrize("name", vision_models())
def test_streams_are_read_with_the_channels_they_were_written_with(name):
    channels: dict[str, int] = {}
    for layer in vision_model(name).layers:
        if layer.writes:
            assert channels.setdefault(layer.writes, layer.out_ch) == layer.out_ch, layer.name
        if layer.stream and "reduction" not in layer.name:
            assert channels.get(layer.stream, layer.in_ch) == layer.in_ch, layer.name


def test_an_unknown_name():
    with pytest.raises(TraceError, match="did you mean 'resnet50'"):
        vision_model("resnet5O")
