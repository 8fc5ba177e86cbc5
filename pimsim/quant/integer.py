"""A network run in integers: INT8, mixed 4 and 8 bits as FlexiQ does, and uniform INT4 as a baseline."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from pimsim.quant.bits import Lowering, group_peaks, lowered, lowering, quantise, quantise_weights, shift_of
from pimsim.quant.network import Array, Calibration, Network, Node, batches, convolve, forward
from pimsim.quant.select import Choice, estimated_errors

Low = Mapping[str, NDArray[np.bool_]]


@dataclass(frozen=True)
class _Layer:
    """What a layer's products need, made once. codes, low_codes: (N, C, R, S) weights as they are and in
    effective bits, as floats that hold integers."""

    codes: NDArray[np.float32]
    low_codes: NDArray[np.float32]
    scale: Array
    input_scale: float
    how: Lowering


class MixedNetwork:
    """A network with INT8 layers, any input channels of which may be computed in 4 bits.

    Weights have a scale an output channel, activations one a tensor, unsigned after a ReLU. dynamic, plain:
    see `pimsim.quant.bits.lowering`. keep: layers that stay at 8 bits whatever is chosen.
    """

    def __init__(
        self,
        network: Network,
        calibration: Calibration,
        *,
        group: int = 4,
        dynamic: bool = False,
        plain: bool = False,
        keep: tuple[str, ...] = (),
    ) -> None:
        self.network, self.group, self.keep = network, group, frozenset(keep)
        self._streams = network.streams
        self._layers = {
            node.name: _layer(node, calibration, group, dynamic, plain) for node in network.layers
        }

    def run(self, inputs: Array, low: Low | None = None, batch: int = 32) -> Array:
        """Outputs (B, N). low: stream -> (C,) bool, the channels that its readers compute in 4 bits."""
        chosen = low or {}
        weights: dict[str, tuple[NDArray[np.float32], NDArray[np.bool_] | None]] = {}
        for node in self.network.layers:
            mask = chosen.get(self._streams[node.reads]) if may_lower(node, self.keep) else None
            held = self._layers[node.name]
            mixed = held.codes if mask is None else np.where(mask[:, None, None], held.low_codes, held.codes)
            weights[node.name] = (mixed, mask)

        def product(node: Node, values: Array) -> Array:
            held = self._layers[node.name]
            mixed, mask = weights[node.name]
            codes = quantise(values, held.input_scale, signed=not node.relu)
            if mask is not None and mask.any():
                codes[:, mask] = _lowered_inputs(codes, held.how)[:, mask]
            sums = convolve(codes.astype(np.float32), mixed, node.stride, node.padding, node.groups)
            return np.asarray(sums * (held.input_scale * held.scale)[None, :, None, None])

        return np.concatenate([forward(self.network, part, product) for part in batches(inputs, batch)])


def may_lower(node: Node, keep: frozenset[str] = frozenset()) -> bool:
    """Whether a layer has a 4-bit part: not if it reads the input, is depthwise or grouped, or is kept."""
    return node.reads != "input" and node.groups == 1 and node.name not in keep


def run_int8(
    network: Network,
    calibration: Calibration,
    inputs: Array,
    *,
    low: Low | None = None,
    group: int = 4,
    dynamic: bool = False,
    plain: bool = False,
) -> Array:
    """Outputs with INT8 layers, of which some input channels are computed in 4 bits; see `MixedNetwork`."""
    return MixedNetwork(network, calibration, group=group, dynamic=dynamic, plain=plain).run(inputs, low)


def run_int4(network: Network, calibration: Calibration, inputs: Array, batch: int = 32) -> Array:
    """Outputs with all layers but the first and last in 4 bits with scales of their own: uniform INT4."""
    ends = (network.layers[0].name, network.layers[-1].name)
    held = {
        node.name: quantise_weights(node.weights, bits=8 if node.name in ends else 4)
        for node in network.layers
    }

    def integer(node: Node, values: Array) -> Array:
        bits = 8 if node.name in ends else 4
        top = (1 << bits) - 1 if node.relu else (1 << (bits - 1)) - 1
        scale = (float(calibration.peaks[node.name].max()) or 1.0) / top
        codes = quantise(values, scale, signed=not node.relu, bits=bits).astype(np.float32)
        weights = held[node.name]
        sums = convolve(codes, weights.codes.astype(np.float32), node.stride, node.padding, node.groups)
        return np.asarray(sums * (scale * weights.scale)[None, :, None, None])

    return np.concatenate([forward(network, part, integer) for part in batches(inputs, batch)])


def stream_errors(
    network: Network, calibration: Calibration, group: int, keep: tuple[str, ...] = ()
) -> dict[str, Array]:
    """Stream -> estimated error of its groups in 4 bits, summed over the layers that read it.

    Layers in `keep` and those that have no 4-bit part do not count; streams without readers are left out.
    """
    found: dict[str, Array] = {}
    streams = network.streams
    for node in network.layers:
        if not may_lower(node, frozenset(keep)):
            continue
        peak = calibration.peaks[node.name]
        scale = _input_scale(node, calibration)
        weights = quantise_weights(node.weights)
        codes = np.rint(peak / scale).astype(np.int64)
        own = estimated_errors(weights.codes, codes, group, signed=not node.relu)
        stream = streams[node.reads]
        found[stream] = found.get(stream, 0) + own * scale * float(weights.scale.mean())
    return found


def channels_of(choice: Choice, streams: tuple[str, ...], network: Network, group: int) -> Low:
    """Stream -> (C,) bool of the channels in 4 bits."""
    widths = network.widths
    return {name: np.repeat(unit, group)[: widths[name]] for name, unit in zip(streams, choice, strict=True)}


def _input_scale(node: Node, calibration: Calibration) -> float:
    return (float(calibration.peaks[node.name].max()) or 1.0) / (255 if node.relu else 127)


def _layer(node: Node, calibration: Calibration, group: int, dynamic: bool, plain: bool) -> _Layer:
    scale = _input_scale(node, calibration)
    weights = quantise_weights(node.weights)
    everything = np.ones(weights.codes.shape[1], np.bool_)
    peaks = np.rint(calibration.peaks[node.name] / scale).astype(np.int64)[: len(everything)]
    how = lowering(
        weights.codes, everything, None if dynamic else peaks, group, signed=not node.relu, plain=plain
    )
    low = lowered(weights.codes, how.weight_shift[:, :, None, None])
    return _Layer(weights.codes.astype(np.float32), low.astype(np.float32), weights.scale, scale, how)


def _lowered_inputs(codes: NDArray[np.int64], how: Lowering) -> NDArray[np.int64]:
    """Activations (B, C, H, W) in effective bits: static positions, or of this tensor (dynamic)."""
    shift = how.activation_shift
    if shift is None:
        shift = shift_of(group_peaks(np.abs(codes).max(axis=(0, 2, 3)), how.group), signed=how.signed)
    return lowered(codes, shift[:, None, None], signed=how.signed)
