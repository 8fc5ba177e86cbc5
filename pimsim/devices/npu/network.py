"""Whole networks on an NPU: vision tables as layers, runs of all layers on one memory, sums.

Layers run one after the other; each reads its input from memory and writes its output there. ReLU, biases
and requantisation ride on the way out of the array. Sums of residual branches, norms, softmax, GELU and
pooling are work of the vector unit; what it reads and writes stays on chip if it fits into half of the output
scratchpad.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass, replace
from functools import lru_cache

from pimsim.devices.npu.engine import CAUSES, REGION_BYTES, LayerRun, energy, simulate_layer
from pimsim.devices.npu.layer import Layer, conv, gemm
from pimsim.devices.npu.memory import NEVER, FlatMemory, Memory, memory_of
from pimsim.devices.npu.spec import NpuSpec
from pimsim.trace.op import Trace
from pimsim.trace.vision import CONV_KINDS, VECTOR_KINDS, VisionLayer, VisionModel
from pimsim.units import ceil_div

PASSES = {"pool": 1, "add": 1, "norm": 3, "softmax": 4, "gelu": 4}
"""Times that an element passes the vector unit: a norm needs mean, variance, scale; softmax maximum,
exponential, sum, divide; GELU a cubic and a table. Estimates."""

FUSED = ("softmax", "gelu")
"""Vector work on results that are still in the output scratchpad: no traffic. A sum of branches reads
the other branch only."""


@dataclass(frozen=True, kw_only=True)
class NetworkRun:
    """Runs of all layers in order, on one part; times in clocks of its array."""

    name: str
    part: NpuSpec
    layers: tuple[LayerRun, ...]

    @property
    def clocks(self) -> int:
        return sum(run.clocks for run in self.layers)

    @property
    def time_ps(self) -> int:
        return self.clocks * self.part.tck_fs // 1000

    @property
    def utilisation(self) -> float:
        return sum(run.ideal_ck for run in self.layers) / self.clocks

    @property
    def lost_ck(self) -> dict[str, int]:
        return {cause: sum(run.lost_ck[cause] for run in self.layers) for cause in CAUSES}

    @property
    def dram_bytes(self) -> tuple[int, int, int]:
        """Of inputs, weights and outputs."""
        inputs, weights, outputs = (sum(run.dram_bytes[i] for run in self.layers) for i in range(3))
        return inputs, weights, outputs

    @property
    def energy_pj(self) -> dict[str, float]:
        parts = {key for run in self.layers for key in run.energy_pj}
        return {key: sum(run.energy_pj.get(key, 0.0) for run in self.layers) for key in sorted(parts)}


def npu_layer(layer: VisionLayer, *, bits: int = 8, stored_bits: int = 8, images: int = 1) -> Layer:
    """A convolution, linear map or batched product of a network as a layer of the array."""
    if layer.kind in CONV_KINDS:
        made = conv(
            layer.in_h,
            layer.in_w,
            layer.in_ch,
            layer.out_ch,
            layer.kernel,
            stride=layer.stride,
            padding=layer.padding,
            groups=layer.groups,
            images=images,
            name=layer.name,
            bits=bits,
            stored_bits=stored_bits,
        )
        return replace(made, kind=layer.kind)
    if layer.kind == "attention":
        return gemm(
            layer.in_h,
            layer.out_ch,
            layer.in_ch,
            name=layer.name,
            batch=layer.batch * images,
            kind="attention",
            bits=bits,
            stored_bits=stored_bits,
        )
    return gemm(
        layer.in_h * images,
        layer.out_ch,
        layer.in_ch,
        name=layer.name,
        bits=bits,
        stored_bits=stored_bits,
    )


def array_layers(model: VisionModel, *, bits: int = 8, stored_bits: int = 8, images: int = 1) -> list[Layer]:
    """The layers of a network that run on the array, in order."""
    return [
        npu_layer(layer, bits=bits, stored_bits=stored_bits, images=images)
        for layer in model.layers
        if layer.kind not in VECTOR_KINDS
    ]


def run_vector(spec: NpuSpec, layer: VisionLayer, memory: Memory, start: int, *, images: int = 1) -> LayerRun:
    """Work of the vector unit; transfers run beside it and the longer counts."""
    loaded = 0 if layer.kind in FUSED else layer.in_elements * images
    stored = 0 if layer.kind in (*FUSED, "add") else layer.out_elements * images
    clocks = ceil_div(layer.in_elements * images * PASSES[layer.kind], spec.vector_lanes)
    moved = (0, 0, 0)
    if loaded + stored > spec.output_bytes // 2:
        waiting = {memory.start(start, (1, loaded, 0), 0, False)}
        if stored:
            region = 2 * (REGION_BYTES + memory.stagger_bytes)
            waiting.add(memory.start(start, (1, stored, 0), region, True))
        while waiting:
            for number, end in memory.advance(NEVER).items():
                waiting.discard(number)
                clocks = max(clocks, end - start)
        burst = memory.burst_bytes
        moved = (ceil_div(loaded, burst) * burst, 0, ceil_div(stored, burst) * burst)
    lost = dict.fromkeys(CAUSES, 0) | {"vector": clocks}
    traffic = 2 * (loaded + stored)
    none = gemm(1, 1, 1)
    spent = energy(spec, none, traffic, sum(moved))
    return LayerRun(
        name=layer.name,
        kind=layer.kind,
        clocks=clocks,
        ideal_ck=0,
        macs=0,
        lost_ck=lost,
        dram_bytes=moved,
        scratchpad_bytes=traffic,
        tiles=1,
        energy_pj=spent | {"array": 0.0} if spent else {},
    )


def run_network(
    spec: NpuSpec,
    model: VisionModel,
    *,
    bits: int = 8,
    stored_bits: int = 8,
    images: int = 1,
    low: Callable[[VisionLayer], int] | None = None,
    memory: float | None = None,
    vector: bool = True,
) -> NetworkRun:
    """Run a network layer by layer; each begins on an idle memory, so equal layers are run once.

    low: input channels of a layer that are computed in 4 bits. memory: the part's DRAM channels, or a flat
    memory of so many bytes a clock. vector: False leaves out the vector unit's work.
    """
    runs: list[LayerRun] = []
    for layer in model.layers:
        nameless = replace(layer, name="", stream="", writes="", parameters=0)
        if layer.kind in VECTOR_KINDS:
            if not vector:
                continue
            run = _vector_once(spec, nameless, memory, images)
        else:
            made = npu_layer(nameless, bits=bits, stored_bits=stored_bits, images=images)
            run = layer_once(spec, made.with_low(low(layer)) if low else made, memory)
        runs.append(replace(run, name=layer.name))
    return NetworkRun(name=model.name, part=spec, layers=tuple(runs))


def _memory(spec: NpuSpec, rate: float | None) -> Memory:
    return memory_of(spec) if rate is None else FlatMemory(rate)


@lru_cache(maxsize=4096)
def layer_once(spec: NpuSpec, layer: Layer, rate: float | None) -> LayerRun:
    """`simulate_layer` on an idle memory, kept for layers that are equal."""
    return simulate_layer(spec, layer, _memory(spec, rate))


@lru_cache(maxsize=4096)
def _vector_once(spec: NpuSpec, layer: VisionLayer, rate: float | None, images: int) -> LayerRun:
    return run_vector(spec, layer, _memory(spec, rate), 0, images=images)


def forget() -> None:
    """Drop what is kept of layers that ran."""
    layer_once.cache_clear()
    _vector_once.cache_clear()


def trace_layers(trace: Trace, *, bits: int = 8) -> list[Layer]:
    """The matrix products and attention of a trace as layers of the array; query heads that share keys and
    values are the rows of one product. All of them in one width."""
    layers = []
    for op in trace.operators:
        if op.kind == "matmul":
            layers.append(gemm(*trace.matmul_shape(op), name=op.name, bits=bits))
        elif op.kind == "attention":
            rows = trace.tensor(op.inputs[0]).shape[0] * op.attrs["heads"] // op.attrs["kv_heads"]
            context, dim, batch = op.attrs["context"], op.attrs["head_dim"], op.attrs["kv_heads"]
            for name, n, k in (("scores", context, dim), ("mix", dim, context)):
                name = f"{op.name}.{name}"
                layers.append(gemm(rows, n, k, name=name, batch=batch, kind="attention", bits=bits))
    return layers


def run_layers(spec: NpuSpec, layers: Iterable[Layer], memory: float | None = None) -> tuple[LayerRun, ...]:
    """Runs of layers one after the other, each on an idle memory; equal ones are run once."""
    return tuple(
        replace(layer_once(spec, replace(layer, name=""), memory), name=layer.name) for layer in layers
    )
