"""A systolic NPU as an engine: tiles in time on the system's own channels, kept by layer.

Convolutions of more than `IMAGES` pictures and products beyond `ROWS`, `COLS`, `DEPTH` and `GROUPS` repeat:
one slice of that size is simulated and counted as often as it fits, with its operands loaded each time.
"""

from __future__ import annotations

from pimsim.devices import NpuSpec
from pimsim.devices.npu.engine import LayerRun, simulate_layer
from pimsim.devices.npu.layer import Layer, gemm
from pimsim.devices.npu.memory import DramMemory, memory_config
from pimsim.devices.npu.network import run_vector
from pimsim.engines.cost import Cost, Work
from pimsim.engines.rates import rate
from pimsim.system import System
from pimsim.trace.op import DTYPE_BITS
from pimsim.trace.vision import VisionLayer

IMAGES = 4
ROWS = 4096
COLS = 16384
DEPTH = 16384
GROUPS = 64
LAUNCH_US = 10.0
"""The runtime's time before a layer: estimate."""
VECTOR = {"norm": "norm", "softmax": "softmax", "reduce": "pool", "gather": "pool", "copy": "pool"}
"""Work of the vector unit by kind of operator; elementwise is a sum, or the activation that it is."""
ACTIVATIONS = ("silu", "silu_mul", "gelu", "gelu_mul", "sigmoid", "tanh", "exp", "softcap")
_RUNS: dict[tuple[str, Layer | VisionLayer], LayerRun] = {}


def price(system: System, spec: NpuSpec, work: Work) -> Cost | None:
    """The run of a layer or of the vector unit; None for products wider than 16 bits or bent kernels."""
    if not work.products:
        return _cost(system, spec, [(_vector(work), 1.0)])
    bits = _width(work.dtype)
    if bits is None:
        return None
    if work.spatial:
        made = _conv(work, bits)
        return None if made is None else _cost(system, spec, [made])
    return _cost(system, spec, [_product(shape, bits) for shape in work.products])


def least_ps(spec: NpuSpec, work: Work) -> int:
    """A time that no run of the work is below: its multiply-adds on all units."""
    slow = spec.mac16_ck if _width(work.dtype) == 16 else 1
    macs = sum(m * n * k * groups for m, n, k, groups in work.products)
    units = spec.units * (spec.rate4 if _width(work.dtype) == 4 else 1)
    return round(LAUNCH_US * 1e6 + macs * slow / units * spec.tck_fs / 1000)


def _width(dtype: str) -> int | None:
    bits = DTYPE_BITS[dtype]
    return bits if bits in (4, 8, 16) else None


def _conv(work: Work, bits: int) -> tuple[Layer, float] | None:
    in_h, in_w, out_h, out_w, kh, kw, stride, stride_w, dilation, images, in_ch, out_ch = work.spatial
    groups = work.products[0][3]
    if stride != stride_w:
        return None
    held = min(images, IMAGES)
    layer = Layer(
        name="",
        kind="depthwise" if groups == in_ch and groups > 1 else "conv",
        in_h=in_h,
        in_w=in_w,
        in_ch=in_ch // groups,
        out_h=out_h,
        out_w=out_w,
        out_ch=out_ch // groups,
        kernel_h=kh,
        kernel_w=kw,
        stride=stride,
        dilation=dilation,
        groups=groups,
        images=held,
        bits=bits,
        stored_bits=bits,
        out_bits=bits,
    )
    return layer, images / held


def _product(shape: tuple[int, int, int, int], bits: int) -> tuple[Layer, float]:
    m, n, k, groups = shape
    rows, cols, depth, held = min(m, ROWS), min(n, COLS), min(k, DEPTH), min(groups, GROUPS)
    kind = "attention" if groups > 1 else "linear"
    layer = gemm(rows, cols, depth, name="", batch=held, bits=bits, kind=kind)
    return layer, (m / rows) * (n / cols) * (k / depth) * (groups / held)


def _vector(work: Work) -> VisionLayer:
    kind = VECTOR.get(work.kind) or ("gelu" if work.function in ACTIVATIONS else "add")
    size = max(1, work.elements)
    return VisionLayer(name="", kind=kind, in_h=1, in_w=1, in_ch=size, out_h=1, out_w=1, out_ch=size)


def _cost(system: System, spec: NpuSpec, layers: list[tuple[Layer | VisionLayer, float]]) -> Cost:
    clocks = busy = read = written = 0.0
    for layer, times in layers:
        run = _once(system, spec, layer)
        waits = sum(run.lost_ck[cause] for cause in ("first_load", "wait_load", "wait_store", "last_store"))
        clocks += run.clocks * times
        busy += (run.clocks - waits) * times
        read += run.dram_read_bytes * times
        written += run.dram_write_bytes * times
    tck_ps = spec.tck_fs / 1000
    launch = round(LAUNCH_US * 1e6)
    return Cost(
        engine="npu",
        launch_ps=launch,
        compute_ps=round(busy * tck_ps),
        memory_ps=round((read + written) / rate(system, "npu", "read") * 1e12),
        read_bytes=round(read),
        written_bytes=round(written),
        time_ps=launch + round(clocks * tck_ps),
    )


def _once(system: System, spec: NpuSpec, layer: Layer | VisionLayer) -> LayerRun:
    key = (system.key, layer)
    if key not in _RUNS:
        memory = DramMemory(
            memory_config(system.dram, system.channels, system.controller),
            spec.tck_fs,
            window=spec.dma_window,
            path_ns=spec.dma_path_ns,
        )
        _RUNS[key] = (
            run_vector(spec, layer, memory, 0)
            if isinstance(layer, VisionLayer)
            else simulate_layer(spec, layer, memory)
        )
    return _RUNS[key]
