"""dlib's face recognition network (29 convolutions, 128 outputs) from dlib's own model file.

The file is a stream of length-prefixed layer names and raw float32 tensors; integers are a byte that says how
many bytes follow, then those bytes, lowest first. Architecture: the comment at the top of dlib's
examples/dnn_face_recognition_ex.cpp (a ResNet-34 with fewer layers and half the filters); strides, paddings
and sizes are read from the file and checked against it.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from pimsim.errors import PimsimError
from pimsim.quant.network import Network, Node, Pool

STAGES = ((32, 3, False), (64, 4, True), (128, 3, True), (256, 3, True), (256, 1, True))
"""(filters, blocks, whether the first block halves the picture) from the input on."""
INPUT_MEAN = np.array([122.782, 117.001, 104.298])
"""Red, green, blue: dlib's input_rgb_image_sized; the rest is divided by 256."""
PIXELS, OUTPUTS = 150, 128
_NAMES = (b"con_4", b"affine_", b"fc_2")
_GAP = 400
"""Bytes between layers with weights are settings and empty tensors; more means another kind of file."""


@dataclass(frozen=True, kw_only=True)
class Layer:
    """A layer with weights as the file has it. settings: of a convolution, filters, height, width, strides
    and paddings (vertical first)."""

    kind: str
    values: NDArray[np.float32]
    settings: tuple[int, ...] = ()


class _Reader:
    def __init__(self, path: Path) -> None:
        self.path, self.at = path, 0
        try:
            self.data = path.read_bytes()
        except OSError as problem:
            raise PimsimError(f"{path}: {problem.strerror}") from None

    def fail(self, text: str) -> PimsimError:
        return PimsimError(f"{self.path}: at byte {self.at}: {text}")

    def take(self, size: int) -> bytes:
        if not 0 <= size <= len(self.data) - self.at:
            raise self.fail(f"{size} bytes wanted, {len(self.data) - self.at} left")
        self.at += size
        return self.data[self.at - size : self.at]

    def integer(self) -> int:
        control = self.take(1)[0]
        if control & 0x0F > 8:
            raise self.fail("no integer here")
        value = int.from_bytes(self.take(control & 0x0F), "little")
        return -value if control & 0x80 else value

    def tensor(self) -> NDArray[np.float32]:
        if self.integer() != 2:
            raise self.fail("tensor of a version other than 2")
        shape = [self.integer() for _ in range(4)]
        if min(shape) < 0 or np.prod(shape, dtype=object) * 4 > len(self.data):
            raise self.fail(f"tensor of {shape} values")
        return np.frombuffer(self.take(4 * int(np.prod(shape))), "<f4").reshape(-1)

    def next_layer(self) -> Layer | None:
        """The next layer that has weights, or None if no name follows."""
        window = self.data[self.at : self.at + _GAP]
        found = [(window.find(bytes((1, len(name))) + name), name) for name in _NAMES]
        here = min(((place, name) for place, name in found if place >= 0), default=None)
        if here is None:
            return None
        self.at += here[0] + 2 + len(here[1])
        kind = here[1].split(b"_")[0].decode()
        if kind == "fc":
            self.integer(), self.integer()  # outputs and inputs, which the tensor's size says again
        values = self.tensor()
        return Layer(
            kind=kind,
            values=values,
            settings=tuple(self.integer() for _ in range(7)) if kind == "con" else (),
        )


def read_layers(path: str | Path) -> list[Layer]:
    """All layers with weights of a dlib network file, from the input on."""
    reader = _Reader(Path(path))
    layers = []
    while (layer := reader.next_layer()) is not None:
        layers.append(layer)
    if not layers:
        raise reader.fail("no layer of a dlib network follows")
    return layers


def face_network(path: str | Path) -> Network:
    """The network of `dlib_face_recognition_resnet_model_v1.dat`, scales and shifts folded into weights."""
    layers = read_layers(path)
    kinds = [layer.kind for layer in layers]
    convolutions = 1 + 2 * sum(blocks for _, blocks, _ in STAGES)
    if kinds != ["con", "affine"] * convolutions + ["fc"]:
        raise PimsimError(
            f"{path}: {kinds.count('con')} convolutions and {kinds.count('fc')} linear layers; wanted "
            f"{convolutions} convolutions, each with its scale, and one linear layer at the end"
        )
    pairs = iter(zip(layers[0:-1:2], layers[1:-1:2], strict=True))

    def convolution(name: str, reads: str, writes: str, c: int, *, relu: bool = True) -> Node:
        layer, scale = next(pairs)
        n, r, s, stride, across, padding, aside = layer.settings
        if layer.values.size != n * c * r * s + n or scale.values.size != 2 * n:
            raise PimsimError(f"{path}: layer {name}: {layer.values.size} values do not fit {n}x{c}x{r}x{s}")
        if (stride, padding) != (across, aside):
            raise PimsimError(f"{path}: layer {name}: strides or paddings differ by direction")
        gamma, beta = scale.values[:n].astype(np.float64), scale.values[n:].astype(np.float64)
        weights = layer.values[: n * c * r * s].reshape(n, c, r, s).astype(np.float64)
        bias = layer.values[n * c * r * s :].astype(np.float64)
        return Node(
            name=name,
            weights=weights * gamma[:, None, None, None],
            bias=bias * gamma + beta,
            reads=reads,
            writes=writes,
            stride=stride,
            padding=padding,
            relu=relu,
        )

    nodes: list[Node | Pool] = [
        convolution("stem", "input", "stem", 3, relu=False),
        Pool(name="pool", kind="max", reads="stem", writes="stage0", channels=32, kernel=3, stride=2),
    ]
    tensor, width = "stage0", 32
    for stage, (n, blocks, halves) in enumerate(STAGES):
        for block in range(blocks):
            name, down = f"stage{stage}.block{block}", halves and block == 0
            first = convolution(f"{name}.conv1", tensor, f"{name}.hidden", width)
            second = convolution(f"{name}.conv2", f"{name}.hidden", name, n)
            if (first.stride, second.stride) != (1 + down, 1):
                raise PimsimError(f"{path}: {name} has strides {first.stride} and {second.stride}")
            shortcut = Pool(
                name=f"{name}.shortcut",
                kind="mean",
                reads=tensor,
                writes=name,
                channels=n,
                kernel=1 + down,
                stride=1 + down,
            )
            nodes += [first, second, shortcut]
            tensor, width = name, n
    last = layers[-1].values
    if last.size != OUTPUTS * width:
        raise PimsimError(f"{path}: the linear layer has {last.size} values, not {OUTPUTS * width}")
    nodes.append(
        Node(
            name="fc",
            weights=last.reshape(width, OUTPUTS).T[:, :, None, None].astype(np.float64),
            bias=np.zeros(OUTPUTS),
            reads=tensor,
            writes="output",
            pool=True,
        )
    )
    return Network(nodes=tuple(nodes))


def as_inputs(pictures: NDArray[np.uint8]) -> NDArray[np.float64]:
    """(n, 3, 150, 150) network inputs of (n, 150, 150, 3) pictures, red first."""
    if pictures.ndim != 4 or pictures.shape[1:] != (PIXELS, PIXELS, 3):
        raise PimsimError(f"pictures of shape {pictures.shape}; wanted (n, {PIXELS}, {PIXELS}, 3)")
    return np.ascontiguousarray(np.moveaxis((pictures - INPUT_MEAN) / 256.0, -1, 1))
