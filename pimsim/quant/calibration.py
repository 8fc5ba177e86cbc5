"""What sample inputs say about a network: ranges, where the four bits of activations lie best, the error to
expect of each group of channels, and the mean error that a layer's bias can take back.

The mean error matters most. Rounding half up adds half a code to a weight on average, at every position of
the four bits, and activations after a ReLU are positive: over a thousand products these halves add up to far
more than what the roundings scatter. The mean is known beforehand, so it is taken off the sums (as in "bias
correction" of Nagel et al., Data-Free Quantization, ICCV 2019, arXiv 1906.04721, section 4.2).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from pimsim.errors import SpecError
from pimsim.quant.bits import PLAIN_SHIFT, Int, Quantised, lowered, lowering, quantise, quantise_weights
from pimsim.quant.network import Array, Network, Node, batches, forward, plain_product, taps

UNCHANGED = PLAIN_SHIFT + 1
"""Row of `code_table` for 8 bits, after those for the positions 0 to 4."""


@dataclass(frozen=True, kw_only=True)
class Calibration:
    """Of every layer's input on sample inputs, by the layer's name.

    peaks: (C,) largest magnitude. The rest is of layers that are not grouped, in INT8 codes, and may be
    missing: then positions follow the peaks and no mean error is taken back. counts: (C, 256) how often each
    code came up, from the lowest code on. means: (C, R, S) mean code under each weight, padding included.
    inside: (R, S) share of the products under each weight that are not with padding.
    """

    peaks: Mapping[str, Array]
    counts: Mapping[str, NDArray[np.int64]] = field(default_factory=dict)
    means: Mapping[str, Array] = field(default_factory=dict)
    inside: Mapping[str, Array] = field(default_factory=dict)

    def scale(self, node: Node) -> float:
        """Value of one INT8 code of a layer's input: the largest magnitude is the largest code."""
        return (float(self.peaks[node.name].max()) or 1.0) / (255 if node.relu else 127)

    @property
    def peaks_only(self) -> Calibration:
        """The same ranges and nothing else."""
        return Calibration(peaks=self.peaks)


def calibrate(network: Network, inputs: Array, batch: int = 8) -> Calibration:
    """Run sample inputs (B, C, H, W) twice: for the peaks, then for the codes that these give."""
    peaks: dict[str, Array] = {}

    def watch(node: Node, values: Array) -> Array:
        found = np.abs(values).max(axis=(0, 2, 3))
        peaks[node.name] = np.maximum(peaks[node.name], found) if node.name in peaks else found
        return plain_product(node, values)

    for part in batches(inputs, batch):
        forward(network, part, watch)
    ranges = Calibration(peaks=peaks)
    counts: dict[str, NDArray[np.int64]] = {}
    means: dict[str, Array] = {}
    inside: dict[str, Array] = {}

    def count(node: Node, values: Array) -> Array:
        if node.groups == 1:
            codes = quantise(values, ranges.scale(node), signed=not node.relu)
            channels = codes.shape[1]
            rows = codes + (256 * np.arange(channels)[:, None, None] + (0 if node.relu else 128))
            found = np.bincount(rows.ravel(), minlength=256 * channels).reshape(channels, 256)
            counts[node.name] = counts.get(node.name, np.zeros(1, np.int64)) + found
            mean = _tap_means(node, codes) * (len(codes) / len(inputs))
            means[node.name] = means.get(node.name, np.zeros(1)) + mean
            inside[node.name] = _tap_means(node, np.ones((1, 1, *codes.shape[2:]), np.int64))[0]
        return plain_product(node, values)

    for part in batches(inputs, batch):
        forward(network, part, count)
    return Calibration(peaks=peaks, counts=counts, means=means, inside=inside)


def _tap_means(node: Node, codes: Int) -> Array:
    """(C, R, S) mean code under each weight."""
    shape = node.weights.shape[2:]
    found = [tap.mean(axis=(0, 1, 2)) for tap in taps(codes, shape, node.stride, node.padding)]
    return np.stack(found, axis=-1).reshape(codes.shape[1], *shape)


# Positions


def code_table(signed: bool) -> NDArray[np.int64]:
    """(6, 256) what each code counts as with its four bits at position 0 to 4, and as it is; lowest first."""
    codes = np.arange(-128, 128) if signed else np.arange(256)
    four = [lowered(codes, np.array(shift), signed=signed) for shift in range(PLAIN_SHIFT + 1)]
    return np.array([*four, codes])


def reaches(node: Node, calibration: Calibration, weights: Int, group: int) -> NDArray[np.int64]:
    """(C,) calibrated magnitude of each group of input channels, in codes: what positions are taken from.

    Of the magnitudes that four bits reach at the five positions, the one of least squared error over the
    codes that came up, channels weighed by the squares of their weights: rare large codes saturate if that
    makes the many small ones finer. Without counts the largest code.
    """
    channels = node.in_channels
    if node.name not in calibration.counts:
        return np.rint(calibration.peaks[node.name] / calibration.scale(node)).astype(np.int64)[:channels]
    table = code_table(signed=not node.relu)
    squares = np.square(table[:UNCHANGED] - table[UNCHANGED]).astype(np.float64)
    weight = np.square(weights.astype(np.float64)).sum(axis=(0, 2, 3))
    errors = (calibration.counts[node.name] @ squares.T) * weight[:, None]
    best = np.add.reduceat(errors, np.arange(0, channels, group), axis=0).argmin(axis=1)
    magnitude = (1 << (best + (4 if node.relu else 3))) - 1
    return np.repeat(magnitude, group)[:channels]


# Errors


@dataclass(frozen=True, kw_only=True)
class LoweredLayer:
    """A layer's INT8 weights (N, C, R, S) and the same in effective bits, and where its inputs' bits are.

    activation_shift: (C,), or None if it is taken from each input (dynamic).
    """

    weights: Quantised
    low_codes: NDArray[np.int64]
    activation_shift: NDArray[np.int64] | None


def lower_layer(
    node: Node, calibration: Calibration, group: int, *, dynamic: bool = False, plain: bool = False
) -> LoweredLayer:
    """A layer with all of its input channels in 4 bits."""
    weights = quantise_weights(node.weights)
    everything = np.ones(node.weights.shape[1], np.bool_)
    peaks = None if dynamic else reaches(node, calibration, weights.codes, group)[: len(everything)]
    how = lowering(weights.codes, everything, peaks, group, signed=not node.relu, plain=plain)
    low = lowered(weights.codes, how.weight_shift[:, :, None, None])
    return LoweredLayer(weights=weights, low_codes=low, activation_shift=how.activation_shift)


def mean_errors(node: Node, calibration: Calibration, layer: LoweredLayer) -> Array:
    """(N, C) mean error of a layer's accumulators for each input channel that is computed in 4 bits.

    Dynamic positions: that of the weights alone.
    """
    if node.name not in calibration.means:
        return np.zeros(node.weights.shape[:2])
    mean = calibration.means[node.name]
    low_mean = mean
    if layer.activation_shift is not None:
        counts, table = calibration.counts[node.name], code_table(signed=not node.relu)
        change = (counts * (table[layer.activation_shift] - table[UNCHANGED])).sum(axis=1) / counts.sum(
            axis=1
        )
        low_mean = mean + change[:, None, None] * calibration.inside[node.name]
    errors: Array = (layer.low_codes * low_mean - layer.weights.codes * mean).sum(axis=(2, 3))
    return errors


def expected_errors(node: Node, calibration: Calibration, group: int, *, plain: bool = False) -> Array:
    """(groups,) error of a layer's output to expect if a group is computed in 4 bits, over the output's
    variance.

    From the codes that came up and the weights' own roundings, as if products were independent:
    the weights' squared errors times the inputs' variance plus the inputs' error variance times the weights'
    squares. Means do not count: they are taken back.
    """
    if node.name not in calibration.counts:
        raise SpecError(f"layer {node.name}: this calibration has no counts of codes to expect errors from")
    layer = lower_layer(node, calibration, group, plain=plain)
    if layer.activation_shift is None:
        raise SpecError("dynamic positions have no error to expect")
    table = code_table(signed=not node.relu).astype(np.float64)
    share = calibration.counts[node.name] / calibration.counts[node.name].sum(axis=1, keepdims=True)
    exact, low = np.broadcast_to(table[UNCHANGED], share.shape), table[layer.activation_shift]

    def variance(values: Array) -> Array:
        spread: Array = (share * values**2).sum(axis=1) - (share * values).sum(axis=1) ** 2
        return np.maximum(spread, 0.0)

    unit = np.square(layer.weights.scale)[:, None, None, None]
    codes = layer.weights.codes.astype(np.float64)
    weights = (unit * codes**2).sum(axis=(0, 2, 3))
    roundings = (unit * (layer.low_codes - codes) ** 2).sum(axis=(0, 2, 3))
    output = float((weights * variance(exact)).sum()) or 1.0
    errors = (roundings * variance(low) + weights * variance(low - exact)) / output
    found: Array = np.add.reduceat(errors, np.arange(0, node.in_channels, group))
    return found
