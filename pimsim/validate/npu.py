"""Hold the NPU to recorded runs of other simulators; the tables are described in
`tests/reference/npu/README.md`.

Each table is one file. What is compared exactly and what only in trend is said at each function; rows that
are known to differ carry the reason in the name of their quantity.
"""

from __future__ import annotations

import csv
import json
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np

from pimsim.devices import DramSpec, part
from pimsim.devices.npu import fifo
from pimsim.devices.npu.array import fold_report, gemm_clocks, ideal_clocks
from pimsim.devices.npu.engine import simulate_layer
from pimsim.devices.npu.layer import Layer, conv, gemm
from pimsim.devices.npu.memory import FlatMemory
from pimsim.devices.npu.network import array_layers, run_layers, trace_layers
from pimsim.devices.npu.peers import ALEXNET, LoopNest, mnpusim_clocks, mnpusim_units, onnxim_gemm
from pimsim.devices.npu.spec import LOCAL, OVERLAP, SCALE_SIM, NpuSpec
from pimsim.errors import SpecError
from pimsim.trace.llm import LlmConfig, decode_trace, load_config, models, prefill_trace
from pimsim.trace.op import Operator, Tensor, Trace
from pimsim.trace.vision import vision_model, vision_models
from pimsim.validate.rows import Row, comparison, unsupported

Line = dict[str, str]
CONV_ODDITY = "ONNXim's convolutions read less than their weights; not compared"
"""Rows without a shape that both sides agree on."""


def npu_rows(folder: Path) -> Iterator[Row]:
    """Rows (case, quantity, ours, reference, error) of every table that the folder has."""
    found = False
    for name, compare in TABLES.items():
        path = folder / name
        if path.is_file():
            found = True
            yield from compare(path)
    if not found:
        raise SpecError(f"validate npu: {folder} holds none of {', '.join(TABLES)}")


def holds_cases(folder: Path) -> bool:
    """Whether a folder holds a table of reference runs."""
    return any((folder / name).is_file() for name in TABLES)


def _lines(path: Path, *columns: str) -> list[Line]:
    with open(path, encoding="utf-8", newline="") as file:
        lines = csv.DictReader(file)
        for column in columns:
            if column not in (lines.fieldnames or ()):
                raise SpecError(f"{path}:1: no column {column!r}; it has {', '.join(lines.fieldnames or ())}")
        return list(lines)


def _int(line: Line, name: str) -> int:
    try:
        return int(float(line[name]))
    except ValueError:
        raise SpecError(f"column {name}={line[name]!r}; wanted a number") from None


def _shape(line: Line) -> tuple[int, int, int]:
    return _int(line, "M"), _int(line, "N"), _int(line, "K")


def _scale_sim_case(line: Line) -> str:
    array = f"{line['array_rows']}x{line['array_cols']} {line['dataflow']}"
    return f"scale-sim/{line['workload']}/{line['layer']} {array}"


def scale_sim_compute(path: Path) -> Iterator[Row]:
    """SCALE-Sim without memory: every count exact under its timing."""
    for line in _lines(path, "M", "N", "K", "dataflow", "cycles_no_stall"):
        rows, cols = _int(line, "array_rows"), _int(line, "array_cols")
        said = fold_report(*_shape(line), rows, cols, line["dataflow"], SCALE_SIM)
        case = _scale_sim_case(line)
        yield comparison(case, "scale-sim cycles without stalls", said.cycles, _int(line, "cycles_no_stall"))
        yield comparison(case, "scale-sim folds", said.folds, _int(line, "folds"))
        digits = len(line["mapping_eff_pct"].partition(".")[2])
        efficiency = round(100 * said.mapping_efficiency, digits)
        yield comparison(case, "scale-sim mapping efficiency [%]", efficiency, float(line["mapping_eff_pct"]))
        for name, ours in (
            ("ifmap_reads", said.input_reads),
            ("filter_reads", said.weight_reads),
            ("ofmap_writes_demanded", said.output_writes),
        ):
            yield comparison(case, f"scale-sim sram_{name}", ours, _int(line, f"sram_{name}"))


def scale_sim_stall_free(path: Path) -> Iterator[Row]:
    """SCALE-Sim with memory that keeps up: clocks exact."""
    for line in _lines(path, "M", "N", "K", "dataflow", "total_cycles_last_index"):
        rows, cols = _int(line, "array_rows"), _int(line, "array_cols")
        said = fold_report(*_shape(line), rows, cols, line["dataflow"], SCALE_SIM)
        case = _scale_sim_case(line)
        yield comparison(
            case, "scale-sim clocks, stall-free", said.cycles - 1, _int(line, "total_cycles_last_index")
        )


def scale_sim_bandwidth(path: Path) -> Iterator[Row]:
    """SCALE-Sim with so many words a clock and operand: our stepped scratchpads with its refill."""
    for line in _lines(path, "M", "N", "K", "dataflow", "dram_words_per_cycle_each_operand"):
        m, n, k = _shape(line)
        if line["kind"] == "conv":
            sizes = [_int(line, key) for key in ("ifmap_h", "ifmap_w", "filt_h", "filt_w", "in_ch", "stride")]
            inputs = fifo.im2col(*sizes)
        else:
            inputs = np.arange(m * k, dtype=np.int64).reshape(m, k)
        rows, cols, rate = (
            _int(line, key) for key in ("array_rows", "array_cols", "dram_words_per_cycle_each_operand")
        )
        words = tuple(_int(line, f"sram_{name}_kib") * 1024 for name in ("ifmap", "filter", "ofmap"))
        said = fifo.run(inputs, n, rows, cols, line["dataflow"], (words[0], words[1], words[2]), rate)
        case = f"{_scale_sim_case(line)} {rate} words a clock"
        theirs = _int(line, "total_cycles_last_index")
        yield comparison(case, "scale-sim clocks, bandwidth-limited", said.cycles - 1, theirs)
        least = fold_report(m, n, k, rows, cols, line["dataflow"], SCALE_SIM).cycles
        yield comparison(case, "scale-sim runs below the clocks without stalls", said.cycles < least, 0)


def onnxim(path: Path) -> Iterator[Row]:
    """ONNXim's GEMMs at its own tiling, on our array and command-accurate DRAM."""
    configs_path = path.parent / "onnxim_configs.json"
    try:
        configs = json.loads(configs_path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as problem:
        raise SpecError(f"{configs_path}: cannot be read: {problem}") from None
    for line in _lines(path, "config", "kind", "total_cycles", "tiling_outer_NCM_inner_NCM"):
        case = f"onnxim/{line['config']}/{line['workload']}"
        if line["kind"] != "gemm":
            yield unsupported(case, CONV_ODDITY)
            continue
        if line["config"] not in configs:
            raise SpecError(f"{path}: configuration {line['config']!r} is not in {configs_path.name}")
        cut = [int(size) for size in line["tiling_outer_NCM_inner_NCM"].split()]
        clocks = onnxim_gemm(line["config"], configs[line["config"]], *_shape(line), cut[:3], cut[3:])
        yield comparison(case, "onnxim clocks", clocks, _int(line, "total_cycles"))


def dnnweaver2(path: Path) -> Iterator[Row]:
    """DNNWeaver v2: clocks and memory bits of its loop nest at its tiling; and our own array and search."""
    for line in _lines(path, "array_n", "tiling", "order", "total_cycles"):
        tiles = {name: (int(count), int(size)) for name, (count, size) in json.loads(line["tiling"]).items()}
        nest = LoopNest(
            array=_int(line, "array_n"),
            interface_bits=_int(line, "mem_if_bits"),
            bits=_int(line, "prec_bits"),
            kernel=_int(line, "kernel"),
            stride=_int(line, "stride"),
            tiles=tiles,
            order=line["order"].split(),
        )
        case = (
            f"dnnweaver2/{line['workload']}/{line['layer']} {nest.array}x{nest.array} {nest.interface_bits} "
            f"bits a clock, {nest.bits} bits"
        )
        moved = nest.moved()
        yield comparison(case, "dnnweaver2 clocks", nest.clocks(), _int(line, "total_cycles"))
        yield comparison(
            case, "dnnweaver2 memory bits read", sum(moved.values()), _int(line, "dram_read_bits")
        )
        yield comparison(case, "dnnweaver2 memory bits written", moved["sums"], _int(line, "dram_write_bits"))
        own = _own_array(line, nest)
        yield comparison(
            case, "our tiles on DNNWeaver's array, sums stored once", own, _int(line, "total_cycles")
        )


def _own_array(line: Line, nest: LoopNest) -> int:
    """Clocks of our array, search and tiles with the row's array, scratchpads and interface; 32-bit sums
    leave
    the chip once, where the peer moves sums of 64 bits in and out and pads channels."""
    sizes = (int(float(line[f"{name}_kib"]) * 1024) for name in ("ibuf", "wbuf", "obuf"))
    inputs, weights, outputs = sizes
    spec = NpuSpec(
        name="dnnweaver2",
        source="the row",
        rows=nest.array,
        cols=nest.array,
        tck_fs=round(1e9 / float(line["freq_mhz"])),
        dataflow="ws",
        packing="channel",
        timing=LOCAL,
        input_bytes=inputs,
        weight_bytes=weights,
        output_bytes=outputs,
        accumulator_bytes=8,
        dram="",
        channels=1,
    )
    side = (_int(line, "out_hw") - 1) * nest.stride + nest.kernel
    made = conv(
        side, side, _int(line, "in_ch"), _int(line, "out_ch"), nest.kernel, stride=nest.stride, bits=nest.bits
    )
    layer = replace(made, out_bits=32)
    return simulate_layer(spec, layer, FlatMemory(nest.interface_bits / 8)).clocks


def zigzag(path: Path) -> Iterator[Row]:
    """ZigZag: ideal clocks (multiply-adds over 32 x 32 units) exact; its latency never below them."""
    spec = NpuSpec(
        name="zigzag-1024",
        source="zigzag-dse 3.9.1: both accelerators have 1024 units",
        rows=32,
        cols=32,
        tck_fs=1_000_000,
        dataflow="ws",
        input_bytes=2,
        weight_bytes=2,
        output_bytes=2,
        dram="",
        channels=1,
    )
    for line in _lines(path, "workload", "layer", "ideal_cycles"):
        case = f"zigzag/{line['accelerator']}/{line['workload']} {line['layer']}"
        if line["M"]:
            layer: Layer | None = gemm(*_shape(line))
        else:
            layer = _vision_layer(line["workload"], _torch_name(line["layer"]))
        if layer is None:
            yield unsupported(case, "no such layer in our tables")
        else:
            yield comparison(
                case, "zigzag ideal clocks", ideal_clocks(spec, layer), float(line["ideal_cycles"])
            )


def _vision_layer(network: str, name: str) -> Layer | None:
    model = network.lower().replace("mobilenetv2", "mobilenet_v2")
    if model not in vision_models():
        return None
    return {layer.name: layer for layer in array_layers(vision_model(model))}.get(name)


def _torch_name(node: str) -> str:
    """`/layer2/layer2.0/downsample/downsample.0/Conv` names the module layer2.0.downsample.0."""
    parts = node.strip("/").split("/")[:-1]
    return ".".join(
        part for part, after in zip(parts, [*parts[1:], ""], strict=True) if not after.startswith(f"{part}.")
    )


# Language models

LLAMA2_7B = LlmConfig(  # meta-llama/Llama-2-7b-hf config.json
    name="llama-2-7b",
    model_type="llama",
    hidden_size=4096,
    intermediate_size=11008,
    num_hidden_layers=32,
    num_attention_heads=32,
    num_key_value_heads=32,
    head_dim=128,
    vocab_size=32000,
)
WIDTHS = {"bf16": ("bf16", "bf16"), "int8": ("int8", "int8"), "w4a16": ("int4", "bf16")}
"""Weight and activation types of the table's `bits`."""


def llm(path: Path) -> Iterator[Row]:
    """Time per token and to the first token on an array with a flat memory, beside two analytical tools.

    The row's peak is an array that is fed perfectly; every operator takes the longer of its multiply-adds and
    its bytes, weights and KV cache once, 1 GB/s being 10^9. The rows "as the peer counts" add what the
    tool does otherwise. GenZ: 2^30 bytes a GB, attention without its mask, the embedding as a product over
    the vocabulary and the classifier on every prompt token. LLM-Viewer: attention without its mask, every
    intermediate (norms, activations, scores) through memory.
    """
    for line in _lines(path, "model", "bits", "prompt_tokens", "ttft_ms", "tpot_ms", "mem_gb_per_s"):
        config, prompt = _llama(line["model"]), _int(line, "prompt_tokens")
        if config is None or line["bits"] not in WIDTHS:
            yield unsupported(f"llm/{line['model']} {line['bits']}", "no such model or width here")
            continue
        weights, activations = WIDTHS[line["bits"]]
        rate = float(line["mem_gb_per_s"]) * 1e9
        peak = float(line["peak_int8_tops" if line["bits"] == "int8" else "peak_fp16_tflops"]) * 1e12 / 2
        decode = decode_trace(config, prompt, weight_dtype=weights, kv_dtype=activations)
        prefill = prefill_trace(config, prompt, weight_dtype=weights, kv_dtype=activations)
        genz = line["peer"].startswith("genz")
        peer = "GenZ" if genz else "LLM-Viewer"
        case = f"llm/{peer}/{line['device']}/{config.name} {line['bits']} {prompt} tokens"
        theirs = float(line["tpot_ms"]), float(line["ttft_ms"])
        times = [
            1e3 * sum(_seconds(trace, op, rate, peak) for op in trace.operators)
            for trace in (decode, prefill)
        ]
        names = "llm ms a token", "llm ms to the first token"
        for name, ours, their in zip(names, times, theirs, strict=True):
            yield comparison(case, f"{name}, {peer}", ours, their)
        size = 1 if activations == "int8" else 2
        if genz:
            rate = rate * 2**30 / 1e9
            products = 2 * config.vocab_size * config.hidden_size * prompt / peak
            counted = [
                sum(_seconds(t, op, rate, peak, masked=False) for op in t.operators)
                for t in (decode, prefill)
            ]
            counted[1] += products
        else:
            counted = [
                sum(_through_memory(t, op, rate, peak, size) for op in t.operators) for t in (decode, prefill)
            ]
        for name, ours, their in zip(names, counted, theirs, strict=True):
            yield comparison(case, f"{name} as {peer} counts", 1e3 * ours, their)
        read = sum(t.bytes for t in decode.weights() if not _table_only(decode, t.name))
        bound = 1e3 * read / (float(line["mem_gb_per_s"]) * 1e9)
        yield comparison(case, "llm runs below weight bytes over bandwidth", times[0] < bound, 0)
        phone = part("mobile-64x64", NpuSpec)
        peak_bytes = part(phone.dram, DramSpec).peak_bytes_per_s * phone.channels
        if line["bits"] == "int8" and abs(float(line["mem_gb_per_s"]) * 1e9 / peak_bytes - 1) < 0.01:
            runs = run_layers(phone, trace_layers(decode))
            simulated = 1e-9 * phone.tck_fs * 1e-3 * sum(run.clocks for run in runs)
            yield comparison(
                case, f"llm ms a token on {phone.name} and its DRAM, {peer}", simulated, theirs[0]
            )
            yield comparison(
                case, "llm runs on DRAM below weight bytes over peak", simulated < 1e3 * read / peak_bytes, 0
            )


def _llama(name: str) -> LlmConfig | None:
    short = name.split("/")[-1].lower()
    if short.startswith("llama-2-7b"):
        return LLAMA2_7B
    return load_config(short) if short in models() else None


def _table_only(trace: Trace, tensor: str) -> bool:
    """Whether a weight is only looked up in, not read whole."""
    users = [op.kind for op in trace.operators if tensor in op.inputs]
    return users == ["gather"]


def _seconds(
    trace: Trace, op: Operator, bytes_per_s: float, macs_per_s: float, *, masked: bool = True
) -> float:
    """The longer of an operator's multiply-adds and the bytes of its weights or KV cache."""
    if op.kind not in ("matmul", "attention"):
        return 0.0  # vector work hides behind the next operator's weights
    cost = trace.cost(op)
    macs, loaded = cost.flops / 2, sum(t.bytes for t in _tensors(trace, op.inputs) if t.role == "weight")
    if op.kind == "attention":
        loaded = cost.bytes_read - trace.tensor(op.inputs[0]).bytes
        if not masked:
            macs = 2.0 * trace.tensor(op.inputs[0]).elements * int(op.attrs["context"])
    return max(loaded / bytes_per_s, macs / macs_per_s)


def _through_memory(trace: Trace, op: Operator, bytes_per_s: float, macs_per_s: float, size: int) -> float:
    """The same with every operand and result in memory, `size` bytes an activation; scores and softmax
    too."""

    def held(tensors: list[Tensor]) -> int:
        return sum(t.bytes if t.role == "weight" else t.elements * size for t in tensors)

    ins, outs = _tensors(trace, op.inputs), _tensors(trace, op.outputs)
    if op.kind == "attention":
        rows, heads = ins[0].shape[0], op.attrs["heads"]
        scores = heads * rows * op.attrs["context"]
        product = float(scores * op.attrs["head_dim"] / macs_per_s)
        cache = op.attrs["context"] * op.attrs["kv_heads"] * op.attrs["head_dim"]
        moved: float = (ins[0].elements + cache + 2 * scores) * size / bytes_per_s
        softmax = float(scores * size / bytes_per_s)
        return 2 * max(product, moved - softmax) + 2 * softmax
    if op.kind == "matmul":
        return max(trace.cost(op).flops / 2 / macs_per_s, held([*ins, *outs]) / bytes_per_s)
    if op.kind in ("norm", "elementwise"):
        return held([*ins, *outs]) / bytes_per_s
    return 0.0


def _tensors(trace: Trace, names: tuple[str, ...]) -> list[Tensor]:
    return [trace.tensor(name) for name in names]


MNPUSIM_SIDE = 128
"""Rows and columns of its `arch_tpu_small`."""


def mnpusim(path: Path) -> Iterator[Row]:
    """mNPUsim's AlexNet, output-stationary: multiply-adds and clocks of its array exact, and our own array's.

    Its array begins a fold before the results of the one before are out; ours waits for them, which counts
    where a fold is shorter than the array is high. When units end is not compared: that depends on the
    peer's memory requests and addresses, which are not recorded beside its clocks.
    """
    units = mnpusim_units(ALEXNET)
    array = f"{MNPUSIM_SIDE}x{MNPUSIM_SIDE}"
    for line in _lines(
        path, "workload", "core", "unit_index", "cumulative_end_cycle", "pe_busy_over_capacity"
    ):
        case = f"mnpusim/{line['workload']} {line['unit_index']}"
        if line["unit_index"] == "total":
            yield unsupported(case, "the end of mNPUsim's units: its memory requests are not recorded")
            continue
        at = _int(line, "unit_index")
        if line["workload"] != "alexnet_out_im2col" or array not in line["core"] or at >= len(units):
            yield unsupported(case, "no such network or array of mNPUsim here")
            continue
        m, n, k = units[at]
        busy, _, capacity = line["pe_busy_over_capacity"].partition("/")
        clocks = int(capacity) / MNPUSIM_SIDE**2
        yield comparison(case, "mnpusim multiply-adds", m * n * k, int(busy))
        yield comparison(
            case, "mnpusim array clocks", mnpusim_clocks(m, n, k, MNPUSIM_SIDE, MNPUSIM_SIDE), clocks
        )
        own = gemm_clocks(m, n, k, MNPUSIM_SIDE, MNPUSIM_SIDE, "os", OVERLAP).total_ck
        waits = ", which does not wait for results of short folds" if k < MNPUSIM_SIDE else ""
        yield comparison(case, f"our array on mNPUsim's products{waits}", own, clocks)


TABLES: dict[str, Callable[[Path], Iterator[Row]]] = {
    "scalesim3_compute.csv": scale_sim_compute,
    "scalesim3_memory_stallfree.csv": scale_sim_stall_free,
    "scalesim3_memory_bandwidth.csv": scale_sim_bandwidth,
    "onnxim.csv": onnxim,
    "dnnweaver2.csv": dnnweaver2,
    "zigzag.csv": zigzag,
    "llm_analytical.csv": llm,
    "mnpusim.csv": mnpusim,
}
"""File -> comparison."""
