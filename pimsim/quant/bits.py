"""Effective bits: which four bits of an INT8 code carry a channel's values, and integer arithmetic on them.

The definition (ours; FlexiQ's own rounding is not published): of a group with largest magnitude M,

    bits(M) = ceil(log2(M + 1)) + 1 signed, without the + 1 unsigned;  shift s = max(0, bits - 4)
    v = clamp(floor(q / 2^s + 1/2), -8, 7) signed, 0 to 15 unsigned;   value used = v 2^s

Plain lowering is s = 4 everywhere. Unless v saturates, |q - v 2^s| <= 2^(s-1), and s = 0 loses nothing.
All sums are int32 and exact; scales stay those of INT8.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from pimsim.errors import SpecError

Int = NDArray[np.integer]
PLAIN_SHIFT = 4
LOW_SIGNED, LOW_UNSIGNED = (-8, 7), (0, 15)


def bits_of(peak: Int, *, signed: bool = True) -> NDArray[np.int64]:
    """Bits that magnitudes up to `peak` (0 to 255) need."""
    held = np.asarray(peak, np.int64)
    limit = 128 if signed else 255
    if (held < 0).any() or (held > limit).any():
        raise SpecError(f"largest magnitude {held.min()} to {held.max()}; wanted 0 to {limit}")
    # ceil(log2(M + 1)) is the number of binary digits of M.
    digits = np.zeros(held.shape, np.int64)
    for power in range(8):
        digits += held >= 1 << power
    total: NDArray[np.int64] = digits + int(signed)
    return total


def shift_of(peak: Int, *, signed: bool = True) -> NDArray[np.int64]:
    """Position of the four effective bits for magnitudes up to `peak`: 0 to 4."""
    shift: NDArray[np.int64] = np.minimum(np.maximum(0, bits_of(peak, signed=signed) - 4), PLAIN_SHIFT)
    return shift


def extract(codes: Int, shift: Int, *, signed: bool = True) -> NDArray[np.int64]:
    """4-bit values of INT8 codes at a position; `shift` broadcasts to the shape of `codes`."""
    q, s = np.asarray(codes, np.int64), np.asarray(shift, np.int64)
    half = np.where(s > 0, 1 << np.maximum(s - 1, 0), 0)
    low, high = LOW_SIGNED if signed else LOW_UNSIGNED
    values: NDArray[np.int64] = np.clip((q + half) >> s, low, high)
    return values


def lowered(codes: Int, shift: Int, *, signed: bool = True) -> NDArray[np.int64]:
    """The codes that 4-bit values stand for."""
    return extract(codes, shift, signed=signed) << np.asarray(shift, np.int64)


def group_peaks(codes: Int, group: int, axis: int = -1) -> NDArray[np.int64]:
    """Largest magnitude of each group of `group` neighbouring channels along `axis`, repeated for each
    channel.

    Other axes are kept; the last group may be smaller.
    """
    moved = np.moveaxis(np.abs(np.asarray(codes, np.int64)), axis, -1)
    starts = np.arange(0, moved.shape[-1], group)
    peaks = np.maximum.reduceat(moved, starts, axis=-1)
    return np.moveaxis(np.repeat(peaks, group, axis=-1)[..., : moved.shape[-1]], -1, axis)


# Quantisation


@dataclass(frozen=True, kw_only=True)
class Quantised:
    """INT8 codes and the scale that gives values back: value = code x scale (broadcast along axis 0)."""

    codes: NDArray[np.int8]
    scale: NDArray[np.float64]


def quantise_weights(weights: NDArray[np.floating], *, bits: int = 8) -> Quantised:
    """Symmetric codes with one scale an output channel (axis 0)."""
    top = (1 << (bits - 1)) - 1
    flat = np.abs(weights.reshape(len(weights), -1)).max(axis=1).astype(np.float64)
    scale = np.where(flat > 0, flat / top, 1.0)
    shape = (-1,) + (1,) * (weights.ndim - 1)
    codes = np.clip(np.rint(weights / scale.reshape(shape)), -top, top).astype(np.int8)
    return Quantised(codes=codes, scale=scale)


def quantise(values: NDArray[np.floating], scale: float, *, signed: bool, bits: int = 8) -> NDArray[np.int64]:
    """Codes of activations at one scale; they saturate."""
    top = (1 << (bits - 1)) - 1 if signed else (1 << bits) - 1
    held = values / scale
    np.rint(held, out=held)
    codes: NDArray[np.int64] = np.clip(held, -top if signed else 0, top, out=held).astype(np.int64)
    return codes


# Products


@dataclass(frozen=True, kw_only=True)
class Lowering:
    """Which input channels are computed in 4 bits, and where their effective bits are.

    low: (C,) bool. activation_shift: (C,) int, or None to take it from the tensor itself (dynamic) in
    groups of `group`. weight_shift: (N, C) int. signed: whether activation codes are signed. channels of
    one group have equal shifts; they need not be neighbours.
    """

    low: NDArray[np.bool_]
    activation_shift: NDArray[np.int64] | None
    weight_shift: NDArray[np.int64]
    signed: bool = True
    group: int = 4

    def reordered(self, order: NDArray[np.int64]) -> Lowering:
        """The same channels in another order (static positions only)."""
        if self.activation_shift is None:
            raise SpecError("dynamic positions belong to neighbouring channels; reorder before lowering")
        return Lowering(
            low=self.low[order],
            activation_shift=self.activation_shift[order],
            weight_shift=self.weight_shift[:, order],
            signed=self.signed,
            group=self.group,
        )


def lowering(
    weights: Int,
    low: NDArray[np.bool_],
    peaks: Int | None,
    group: int,
    *,
    signed: bool = True,
    plain: bool = False,
) -> Lowering:
    """Positions of effective bits for weights (N, C, ...) and calibrated activation peaks (C,) in codes.

    peaks None: dynamic. plain: the top four bits everywhere, the baseline.
    """
    n, c = weights.shape[:2]
    if plain:
        four = np.full(c, PLAIN_SHIFT, np.int64)
        return Lowering(
            low=low,
            activation_shift=four,
            weight_shift=np.broadcast_to(four, (n, c)),
            signed=signed,
            group=group,
        )
    magnitudes = np.abs(np.asarray(weights, np.int64)).reshape(n, c, -1).max(axis=2)
    weight_shift = shift_of(group_peaks(magnitudes, group))
    shift = None if peaks is None else shift_of(group_peaks(np.asarray(peaks), group), signed=signed)
    return Lowering(low=low, activation_shift=shift, weight_shift=weight_shift, signed=signed, group=group)


def operands(inputs: Int, weights: Int, how: Lowering) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Codes that enter the products: 4-bit channels rounded to their effective bits.

    inputs: (..., C), weights: (N, C). Shifting a product of 4-bit values by sa + sw is the product of the
    shifted values, so one integer product of these gives the accumulator of the mixed array.
    """
    a, w = np.asarray(inputs, np.int64), np.asarray(weights, np.int64)
    shift = how.activation_shift
    if shift is None:
        peaks = np.abs(a).reshape(-1, a.shape[-1]).max(axis=0) if a.size else np.zeros(a.shape[-1], np.int64)
        shift = shift_of(group_peaks(peaks, how.group), signed=how.signed)
    return (
        np.where(how.low, lowered(a, shift, signed=how.signed), a),
        np.where(how.low, lowered(w, how.weight_shift), w),
    )


def mixed_gemm(inputs: Int, weights: Int, how: Lowering) -> NDArray[np.int64]:
    """int32 accumulators (M, N) of inputs (M, C) and weights (N, C)."""
    a, w = operands(inputs, weights, how)
    return _int32(a @ w.T)


def mixed_conv(
    inputs: Int, weights: Int, how: Lowering, *, stride: int = 1, padding: int = 0
) -> NDArray[np.int64]:
    """int32 accumulators (B, N, P, Q) of inputs (B, C, H, W) and weights (N, C, R, S)."""
    c = weights.shape[1]
    per_channel = np.moveaxis(np.asarray(inputs, np.int64), 1, -1)
    flat = np.moveaxis(np.asarray(weights, np.int64), 1, -1)  # (N, R, S, C)
    shifts = how.weight_shift[:, None, None, :]
    spatial = Lowering(
        low=how.low,
        activation_shift=how.activation_shift,
        weight_shift=np.asarray(shifts),
        signed=how.signed,
        group=how.group,
    )
    a, w = operands(per_channel, flat, spatial)
    padded = np.pad(a, ((0, 0), (padding, padding), (padding, padding), (0, 0)))
    windows = np.lib.stride_tricks.sliding_window_view(padded, weights.shape[2:], axis=(1, 2))
    taken = windows[:, ::stride, ::stride]  # (B, P, Q, C, R, S)
    b, p, q = taken.shape[:3]
    rows = taken.reshape(b * p * q, c * weights.shape[2] * weights.shape[3])
    columns = np.moveaxis(w, -1, 1).reshape(len(w), -1)
    return np.moveaxis(_int32(rows @ columns.T).reshape(b, p, q, len(w)), -1, 1)


def _int32(sums: NDArray[np.int64]) -> NDArray[np.int64]:
    if sums.size and max(int(sums.max()), -int(sums.min())) >= 1 << 31:
        raise SpecError("an accumulator left 32 bits")
    return sums
