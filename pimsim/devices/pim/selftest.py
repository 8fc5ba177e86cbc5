"""A product of random numbers by the very program that is timed, against NumPy."""

from __future__ import annotations

from typing import Any

import numpy as np

from pimsim.devices.pim import buffer_data, functional, paired_data
from pimsim.devices.pim.attention import AttentionShape, compile_attention
from pimsim.devices.pim.buffer_data import ACTIVATIONS
from pimsim.devices.pim.compile import (
    best_split,
    compile_elementwise,
    compile_gemv,
    lockstep_layout,
    part_rows,
    sum_shape,
)
from pimsim.devices.pim.kernel import Kernel
from pimsim.devices.spec import DramSpec, PimSpec
from pimsim.placement.layout import PimLayout
from pimsim.units import ceil_div

Array = np.ndarray[Any, Any]
_RANGES = {"int8": 128, "int4": 8, "w8a16": 128, "w4a16": 8, "w4a4": 8}
TOLERANCE = {"fp16": 2e-2, "bf16": 2e-2, "fp8": 1e-5, "w8a16fp": 1e-5}
"""Largest difference of floating-point types, as a share of the largest sum of products without signs."""


def check_gemv(
    pim: PimSpec, dram: DramSpec, rows: int, cols: int, dtype: str, *, batch: int = 1,
    channels: int | None = None, split: int = 1, seed: int = 0, activation: str = "",
) -> dict[str, Any]:  # fmt: skip
    """Run a GEMV on random numbers.

    returns: ok; exact: whether integers; largest_error, as a share of what rounding can change; text.
    """
    count = pim.channels if channels is None else channels
    rng = np.random.default_rng(seed)
    ours, exact, size = _run(pim, dram, rows, cols, dtype, batch, count, split, rng, activation)
    error = float(np.max(np.abs(ours - exact) / np.maximum(size, 1e-30)))
    integer = dtype not in TOLERANCE
    ok = bool((ours == exact).all()) if integer else error <= TOLERANCE[dtype]
    how = "exact" if integer else f"largest error {error:.2g} of the sum of sizes"
    text = f"{rows} x {cols} {dtype}, {batch} vectors, on data: {'right' if ok else 'WRONG'} ({how})"
    return {"ok": ok, "exact": integer, "largest_error": error, "text": text}


def _run(
    pim: PimSpec, dram: DramSpec, n: int, k: int, dtype: str, batch: int, channels: int,
    split: int, rng: np.random.Generator, activation: str = "",
) -> tuple[Array, Array, Array]:  # fmt: skip
    """(ours, exact, sums of sizes), each (batch, n)."""
    held, inputs, w, x = random_operands(n, k, dtype, batch, rng)
    ours = product_on_data(
        pim, dram, held, inputs, dtype, channels=channels, split=split, activation=activation
    )
    exact = x @ w.T
    return ours, ACTIVATIONS[activation](exact) if activation else exact, np.abs(x) @ np.abs(w).T


def random_operands(
    n: int, k: int, dtype: str, batch: int, rng: np.random.Generator
) -> tuple[Array, Array, Array, Array]:
    """(weights, inputs) in the bits of `dtype` and the float64 values of both; pairs need an even k."""
    w: Array
    x: Array
    if dtype == "fp16":
        halves = (
            rng.uniform(-1, 1, (n, k)).astype(np.float16),
            rng.uniform(-1, 1, (batch, k)).astype(np.float16),
        )
        return *halves, halves[0].astype(np.float64), halves[1].astype(np.float64)
    if dtype == "bf16":
        held, inputs = (functional.bf16_bits(rng.uniform(-1, 1, size)) for size in ((n, k), (batch, k)))
        w, x = functional.bf16_values(held), functional.bf16_values(inputs)
        return held, inputs, w.astype(np.float64), x.astype(np.float64)
    if dtype in ("fp8", "w8a16fp"):
        held = rng.integers(0, 120, (n, k)).astype(np.uint8)
        w = functional.FP8_VALUES[held].astype(np.float64)
        if dtype == "w8a16fp":
            inputs = functional.bf16_bits(rng.uniform(-1, 1, (batch, k)))
            return held, inputs, w, functional.bf16_values(inputs).astype(np.float64)
        inputs = rng.integers(0, 120, (batch, k)).astype(np.uint8)
        return held, inputs, w, functional.FP8_VALUES[inputs].astype(np.float64)
    top = _RANGES[dtype]
    k += k % 2 if dtype == "w4a4" else 0
    w = rng.integers(-top, top, (n, k)).astype(np.int64)
    limit = {"w8a16": 256, "w4a16": 256, "w4a4": 8}.get(dtype, 128)
    x = rng.integers(-limit, limit, (batch, k)).astype(np.int64)
    kind = np.int16 if limit == 256 else np.int8
    return (
        functional.pack_int4(w) if top == 8 else w.astype(np.int8),
        functional.pack_int4(x) if dtype == "w4a4" else x.astype(kind),
        w.astype(np.float64),
        x.astype(np.float64),
    )


def product_on_data(
    pim: PimSpec, dram: DramSpec, held: Array, inputs: Array, dtype: str, *, channels: int, split: int = 1,
    activation: str = "",
) -> Array:  # fmt: skip
    """W x for each vector by the program of `compile_gemv`: (batch, n).

    held: (n, k) and inputs: (batch, k) in the bits of `dtype`, INT4 values in pairs. split, activation: as
    there.
    """
    n, batch = len(held), len(inputs)
    k = inputs.shape[1] * (2 if dtype == "w4a4" else 1)
    if pim.protocol == "lockstep":
        bits = pim.weight_dtypes[dtype]
        layout = lockstep_layout(pim, dram, channels, n, k, bits)
        parts = split or best_split(layout, n, k, bits)
        if parts > 1:
            return _in_parts(pim, layout, held, inputs, dtype, n, parts)
        return np.stack([functional.gemv_on_data(pim, layout, held, vector, dtype) for vector in inputs])
    kernel = compile_gemv(pim, dram, n, k, dtype, batch=batch, channels=channels, activation=activation)
    if pim.protocol == "paired_banks":
        return paired_data.gemv_on_data(pim, dram, kernel, held, inputs)
    return buffer_data.gemv_on_data(pim, dram, kernel, held, inputs)


ONES = {"bf16": 0x3F80, "int8": 1, "int4": 1, "w8a16": 1, "w4a16": 1, "w4a4": 0x11, "fp8": 0x38,
        "w8a16fp": 0x3F80}  # fmt: skip
"""Bits of one, or of two of them, by weight type: as inputs."""


def sum_on_data(pim: PimSpec, dram: DramSpec, held: Array, dtype: str, *, channels: int) -> float:
    """The sum of a vector on a part with an adder tree: (n,) in the bits of `dtype`, INT4 values in pairs.

    The host adds the sums of the rows in float64.
    """
    each = 2 if pim.weight_dtypes[dtype] < 8 else 1
    rows, cols = sum_shape(pim, dram, channels, len(held) * each, dtype)
    matrix = np.zeros(rows * cols // each, held.dtype)
    matrix[: len(held)] = held
    bits = functional.INPUT_TYPES[dtype][-1]
    ones = np.full((1, cols // 2 if dtype == "w4a4" else cols), ONES[dtype], bits)
    sums = product_on_data(pim, dram, matrix.reshape(rows, -1), ones, dtype, channels=channels)
    return float(sums.astype(np.float64).sum())


def check_elementwise(
    pim: PimSpec, dram: DramSpec, operation: str, elements: int, dtype: str, *, channels: int, seed: int = 0
) -> dict[str, Any]:
    """Run an operation on vectors of random numbers; returns: as `check_gemv`.

    Each result must be the one that the type's own arithmetic gives; a sum may differ by its rounding.
    """
    rng = np.random.default_rng(seed)
    kernel = compile_elementwise(pim, dram, operation, elements, dtype, channels=channels)
    if operation == "sum":
        return _check_sum(pim, dram, kernel, dtype, rng)
    count = 2 if operation in ("add", "mul") else 1
    ours: Array
    exact: Array
    if pim.protocol == "global_buffer":
        a, b = (functional.bf16_bits(rng.uniform(-2, 2, elements)) for _ in range(count))
        ours = functional.bf16_values(buffer_data.vectors_on_data(pim, dram, kernel, a, b))
        left, right = functional.bf16_values(a), functional.bf16_values(b)
        done = left * right if operation == "mul" else left + right
        exact = functional.bf16_values(functional.bf16_bits(done))
    else:
        operands = tuple(rng.uniform(-2, 2, elements).astype(np.float16) for _ in range(count))
        ours = paired_data.elementwise_on_data(pim, dram, kernel, operands, (2.5, -1.0))
        first, last = operands[0], operands[-1]
        exact = {
            "add": first + last,
            "mul": first * last,
            "relu": np.maximum(first, np.float16(0)),
            "scale-shift": first * np.float16(2.5) + np.float16(-1),
        }[operation]
    ok = bool((ours == exact).all())
    text = f"{operation} of {elements} {dtype}, on data: {'right' if ok else 'WRONG'} (exact)"
    error = float(np.max(np.abs(ours.astype(np.float64) - exact)))
    return {"ok": ok, "exact": True, "largest_error": error, "text": text}


def _check_sum(
    pim: PimSpec, dram: DramSpec, kernel: Kernel, dtype: str, rng: np.random.Generator
) -> dict[str, Any]:
    elements = kernel.shape["elements"]
    held, _, values, _ = random_operands(1, elements, dtype, 1, rng)
    if pim.lane_reduction:
        ours = sum_on_data(pim, dram, held[0], dtype, channels=kernel.channels)
    else:
        ours = paired_data.sum_on_data(pim, dram, kernel, held[0])
    exact, size = float(values.sum()), float(np.abs(values).sum())
    integer, error = dtype not in TOLERANCE, abs(ours - exact) / max(size, 1e-30)
    ok = ours == exact if integer else error <= TOLERANCE[dtype]
    how = "exact" if integer else f"error {error:.2g} of the sum of sizes"
    text = f"sum of {elements} {dtype}, on data: {'right' if ok else 'WRONG'} ({how})"
    return {"ok": ok, "exact": integer, "largest_error": error, "text": text}


def check_attention(
    pim: PimSpec, dram: DramSpec, shape: AttentionShape, dtype: str, *, channels: int | None = None,
    seed: int = 0,
) -> dict[str, Any]:  # fmt: skip
    """Run scores and context of every KV head on random numbers; returns: as `check_gemv`."""
    rng, split = np.random.default_rng(seed), 0 if pim.protocol == "lockstep" else 1
    error, same, integer = 0.0, True, dtype not in TOLERANCE
    for half in compile_attention(pim, dram, shape, dtype, channels=channels):
        own = half.product.channels
        for _ in range(shape.kv_heads):
            ours, exact, size = _run(pim, dram, half.rows, half.cols, dtype, shape.group, own, split, rng)
            error = max(error, float(np.max(np.abs(ours - exact) / np.maximum(size, 1e-30))))
            same = same and bool((ours == exact).all())
    ok = same if integer else error <= TOLERANCE[dtype]
    how = "exact" if integer else f"largest error {error:.2g} of the sum of sizes"
    text = f"scores and context of {shape.kv_heads} KV heads on data: {'right' if ok else 'WRONG'} ({how})"
    return {"ok": ok, "exact": integer, "largest_error": error, "text": text}


def _in_parts(
    pim: PimSpec, layout: PimLayout, held: np.ndarray[Any, Any], inputs: np.ndarray[Any, Any], dtype: str,
    n: int, parts: int,
) -> np.ndarray[Any, Any]:  # fmt: skip
    """W x with the columns in parts, one below the other: each part's ranks meet its own inputs.

    All ranks of a program take the same inputs here, so it runs once a part, of whose rows it keeps the sums.
    """
    most = part_rows(layout, n)
    share = ceil_div(held.shape[1], parts)  # columns as they are held: pairs of INT4 values stay together
    stacked = np.zeros((parts, most, share), held.dtype)
    wide = ceil_div(inputs.shape[1], held.shape[1]) * share
    fed = np.zeros((len(inputs), parts, wide), inputs.dtype)
    for part in range(parts):
        some = held[:, part * share : (part + 1) * share]
        stacked[part, :n, : some.shape[1]] = some
        given = inputs[:, part * wide : (part + 1) * wide]
        fed[:, part, : given.shape[1]] = given
    weights = stacked.reshape(parts * most, share)
    total: list[np.ndarray[Any, Any]] = []
    for vector in fed:
        sums = [
            functional.gemv_on_data(pim, layout, weights, piece, dtype)[part * most : part * most + n]
            for part, piece in enumerate(vector)
        ]
        total.append(np.sum(sums, axis=0))
    return np.stack(total)


__all__ = ["TOLERANCE", "check_attention", "check_gemv", "product_on_data", "random_operands"]
