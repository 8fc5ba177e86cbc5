"""Gaze directions as (pitch, yaw) in radians, and the angle between two of them."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from pimsim.errors import SpecError

Array = NDArray[np.float64]


def directions(pitch_yaw: Array) -> Array:
    """Unit vectors (n, 3) of (n, 2) pitch and yaw: (-cos p sin y, -sin p, -cos p cos y).

    A pitch beyond a right angle is refused: the columns may be swapped, as some gaze sets store
    (yaw, pitch).
    """
    angles = np.asarray(pitch_yaw, dtype=np.float64)
    if angles.ndim != 2 or angles.shape[1] != 2:
        raise SpecError(f"gaze angles {angles.shape}: wanted (n, 2), pitch and yaw in radians")
    pitch, yaw = angles[:, 0], angles[:, 1]
    if not (np.abs(pitch) <= np.pi / 2).all():
        worst = float(pitch[np.argmax(np.abs(pitch))])
        raise SpecError(f"pitch {worst:.3f} rad is beyond a right angle: are the columns (yaw, pitch)?")
    return np.column_stack([-np.cos(pitch) * np.sin(yaw), -np.sin(pitch), -np.cos(pitch) * np.cos(yaw)])


def angular_error(found: Array, true: Array) -> Array:
    """Angles (n,) in radians between two sets of (n, 2) pitch and yaw; exact for small ones as well."""
    a, b = directions(found), directions(true)
    if a.shape != b.shape:
        raise SpecError(f"{len(a)} gaze directions against {len(b)}")
    across = np.linalg.norm(np.cross(a, b), axis=1)
    result: Array = np.arctan2(across, (a * b).sum(axis=1))
    return result


def synthetic_gaze(count: int, seed: int) -> Array:
    """Synthetic (count, 2) pitch and yaw: normal, 15 and 25 degrees wide, cut at 60. No data set's spread."""
    rng = np.random.default_rng(seed)
    spread = np.radians([15.0, 25.0])
    return np.clip(rng.normal(size=(count, 2)) * spread, -np.radians(60), np.radians(60))
