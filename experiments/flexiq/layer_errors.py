"""Where the error of 4-bit layers comes from: what scatters, and the mean that every picture shares."""

from __future__ import annotations

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from pimsim.quant.bits import lowered, quantise
from pimsim.quant.calibration import Calibration, lower_layer, mean_errors
from pimsim.quant.integer import may_lower
from pimsim.quant.network import Network, Node, convolve, forward


def layer_errors(
    network: Network,
    calibration: Calibration,
    inputs: NDArray[np.float64],
    group: int,
    keep: tuple[str, ...] = (),
) -> pd.DataFrame:
    """One row a way of lowering all channels: errors of a layer's sums over the sums' variance, in percent,
    the mean of all layers that have a 4-bit part; each layer reads what it reads in INT8.

    Positions of activations are the calibration's (for "largest code": by the largest it saw). Columns:
    all of the squared error; the part that is the same for all pictures and pixels of an output; what is left
    once the mean to expect is taken back. The last is the mean error of a weight, in codes.
    """
    ways = {
        "top four bits": (calibration, True),
        "effective bits, largest code": (calibration.peaks_only, False),
        "effective bits": (calibration, False),
    }
    found: dict[str, list[list[float]]] = {name: [] for name in ways}

    def product(node: Node, values: NDArray[np.float64]) -> NDArray[np.float64]:
        codes = quantise(values, calibration.scale(node), signed=not node.relu)
        exact = None
        for name, (seen, plain) in ways.items():
            low = lower_layer(node, seen, group, plain=plain)
            if exact is None:
                exact = _sums(node, codes, low.weights.codes)
                output, unit = exact, calibration.scale(node) * low.weights.scale[None, :, None, None]
            if not may_lower(node, frozenset(keep)) or low.activation_shift is None:
                continue
            four = lowered(codes, low.activation_shift[:, None, None], signed=not node.relu)
            error = (_sums(node, four, low.low_codes) - exact) * unit
            excess = mean_errors(node, calibration, low).sum(axis=1)[None, :, None, None] * unit
            scatter = np.square((exact - exact.mean(axis=(0, 2, 3), keepdims=True)) * unit).mean()
            shares = (
                np.square(error).mean() / scatter,
                np.square(error.mean(axis=(0, 2, 3))).mean() / scatter,
                np.square(error - excess).mean() / scatter,
            )
            mean = float((low.low_codes - low.weights.codes).mean())
            found[name].append([*(100 * float(share) for share in shares), mean])
        return np.asarray(output * unit)

    forward(network, inputs, product)
    columns = ("squared_error_percent", "of_it_mean_percent", "mean_taken_back_percent", "weight_error_codes")
    return pd.DataFrame(
        [
            {"lowering": name, **dict(zip(columns, np.mean(rows, axis=0).tolist(), strict=True))}
            for name, rows in found.items()
        ]
    )


def _sums(node: Node, codes: NDArray[np.int64], weights: NDArray[np.integer]) -> NDArray[np.float64]:
    return convolve(
        codes.astype(np.float32), weights.astype(np.float32), node.stride, node.padding, node.groups
    )
