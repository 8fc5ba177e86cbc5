"""dlib's model file: small files written here byte by byte, and the shipped one against dlib itself."""

import struct

import numpy as np
import pytest

from experiments.face.dlib_model import as_inputs, face_network, read_layers
from pimsim.errors import PimsimError


def integer(value):
    size = max(1, (value.bit_length() + 7) // 8)
    return bytes([size]) + value.to_bytes(size, "little")


def layer(name, values, settings=()):
    shape = integer(2) + integer(len(values)) + integer(1) * 3
    data = struct.pack(f"<{len(values)}f", *values)
    return integer(len(name)) + name + shape + data + b"".join(integer(n) for n in settings)


CONVOLUTION = layer(b"con_4", [1.0, 2.0, 0.5], (1, 1, 2, 2, 2, 0, 0))


def test_layers_are_read_in_order(tmp_path):
    path = tmp_path / "net.dat"
    path.write_bytes(b"\x01\x03junk" + CONVOLUTION + bytes(40) + layer(b"affine_", [3.0, 4.0]))
    first, second = read_layers(path)
    assert (first.kind, first.values.tolist(), first.settings) == ("con", [1, 2, 0.5], (1, 1, 2, 2, 2, 0, 0))
    assert (second.kind, second.values.tolist()) == ("affine", [3, 4])


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (b"", "no layer of a dlib network"),
        (b"GIF89a" * 100, "no layer of a dlib network"),
        (CONVOLUTION[:-12], "no layer|bytes wanted"),
        (layer(b"con_4", [1.0])[:9], "bytes wanted"),
        (b"\x01\x05con_4\x01\x02\x08" + b"\xff" * 8 + b"\x01\x01" * 3, "tensor of"),
        (b"\x01\x05con_4\x01\x03", "version other than 2"),
        (b"\x01\x05con_4\x0f", "no integer"),
    ],
)
def test_a_damaged_file_is_named_with_the_place(tmp_path, content, said):
    path = tmp_path / "net.dat"
    path.write_bytes(content)
    with pytest.raises(PimsimError, match=rf"net\.dat: at byte \d+: .*({said})"):
        read_layers(path)


def test_another_network_is_refused(tmp_path):
    path = tmp_path / "net.dat"
    path.write_bytes(CONVOLUTION + layer(b"affine_", [3.0, 4.0]))
    with pytest.raises(PimsimError, match="1 convolutions and 0 linear layers; wanted 29"):
        face_network(path)


def test_a_missing_file(tmp_path):
    with pytest.raises(PimsimError, match=r"none\.dat: No such file"):
        read_layers(tmp_path / "none.dat")


def test_pictures_of_another_size_are_refused():
    with pytest.raises(PimsimError, match="wanted"):
        as_inputs(np.zeros((1, 10, 10, 3), np.uint8))


@pytest.mark.extra
def test_outputs_equal_dlib_s_own():
    dlib = pytest.importorskip("dlib")
    pytest.importorskip("face_recognition_models", exc_type=ImportError)
    from experiments.face.orl import model_file

    path = model_file("dlib_face_recognition_resnet_model_v1.dat")
    pictures = np.random.default_rng(0).integers(0, 256, (2, 150, 150, 3)).astype(np.uint8)
    theirs = np.array(dlib.face_recognition_model_v1(str(path)).compute_face_descriptor(list(pictures)))
    network = face_network(path)
    assert network.run(as_inputs(pictures)) == pytest.approx(theirs, abs=1e-5)
    # 5,614,592 is counted elsewhere from the same network in another program's format.
    assert sum(each.values.size for each in read_layers(path)) == 5_614_592
