"""Reference configurations: the whole device and controller of another simulator's run, from its file.

A file is one JSON object; `tests/reference/dram/README.md` says where such files come from and what each
key means. The key `model` says whose controller it is; each model has a file here that reads its keys.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import msgspec

from pimsim.devices.dram.config import model_a, model_b, model_c
from pimsim.devices.dram.config.reference import ReferenceConfig
from pimsim.errors import SpecError

__all__ = ["ReferenceConfig", "read_config"]

MODELS: dict[str, Callable[[Path, dict[str, Any]], ReferenceConfig]] = {
    "A": model_a.build,
    "B": model_b.build,
    "C": model_c.build,
}


def read_config(path: str | Path) -> ReferenceConfig:
    """The configuration in `path`; a SpecError names the file and the key that is wrong or not modelled."""
    path = Path(path)
    try:
        raw = msgspec.json.decode(path.read_bytes())
    except OSError as error:
        raise SpecError(f"{path}: cannot be read: {error.strerror}") from None
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        raise SpecError(f"{path}: not JSON: {error}") from None
    if not isinstance(raw, dict):
        raise SpecError(f"{path}: wanted one JSON object, not {type(raw).__name__}")
    if "model" not in raw:
        raise SpecError(f"{path}: model is missing")
    model = raw["model"]
    if not isinstance(model, str) or model not in MODELS:
        raise SpecError(f"{path}: model={model!r} is not modelled; modelled: {', '.join(MODELS)}")
    return MODELS[model](path, raw)
