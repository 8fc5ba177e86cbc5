"""Other simulators' machines in our words, so that their recorded runs can be held to ours.

ONNXim: tiles as the peer cut them run on our array and DRAM, under its core's sizes and rates. DNNWeaver v2:
its loop nest and its flat memory, in closed form. Nothing here is used by our own parts.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from pimsim.devices import part
from pimsim.devices.npu.array import loop_nest_clocks
from pimsim.devices.npu.engine import run_steps
from pimsim.devices.npu.layer import gemm
from pimsim.devices.npu.memory import DramMemory, memory_config
from pimsim.devices.npu.spec import NpuSpec, Timing
from pimsim.devices.npu.tiling import Step
from pimsim.devices.spec import AtLeast, Clocks, DramSpec
from pimsim.errors import SpecError
from pimsim.units import ceil_div

PARTS = 4
"""A tile of ONNXim is computed block by block as its operands arrive; we follow it in so many pieces."""
ONNXIM_PATH_NS = 20.0
"""Network and queues between core and channel, both ways: its shipped files say 10 + 1 clocks at 1 GHz."""


def onnxim_dram(config: Mapping[str, Any]) -> tuple[DramSpec, int]:
    """(channel, number of channels) of an ONNXim configuration; every request is a burst of `dram_req_size`.

    Its DDR4 runs the clocks of a DDR4-2400 table at the `dram_freq` it is given; its HBM2 file gives 32 bytes
    a clock and channel, as two pseudo channels of ours do.
    """
    channels, path = int(config["dram_channels"]), str(config["dram_config_path"])
    tck_fs = round(1e9 / float(config["dram_freq"]))
    if "HBM2" in path:
        base = part("hbm2-2400-8gb-x64", DramSpec)
        return replace(base, name="onnxim-hbm2", tck_fs=tck_fs, data_rate_mtps=round(2e9 / tck_fs)), channels
    if "DDR4" not in path:
        raise SpecError(f"ONNXim configuration {path}: only DDR4 and HBM2 are known")
    base = part("ddr4-2666-8gb-x8", DramSpec)
    n = Clocks(base)
    bits = int(config["dram_req_size"]) * 8 // base.geometry.burst_length
    return (
        replace(
            base,
            name="onnxim-ddr4",
            tck_fs=tck_fs,
            data_rate_mtps=round(2e9 / tck_fs),
            density_gbit=base.density_gbit * bits // base.geometry.dq_bits,
            geometry=replace(base.geometry, dq_bits=bits),
            timings={key: AtLeast(ck=getattr(n, key)) for key in base.timings},
        ),
        channels,
    )


ALEXNET = (
    (55 * 55, 96, 3 * 11 * 11),
    (27 * 27, 256, 96 * 5 * 5),
    (13 * 13, 384, 256 * 3 * 3),
    (13 * 13, 384, 384 * 3 * 3),
    (13 * 13, 256, 384 * 3 * 3),
    (1, 4096, 9216),
    (1, 4096, 4096),
    (1, 1000, 4096),
)
"""(M, N, K) of AlexNet's layers without groups, as mNPUsim's `alexnet_out_im2col` has them: the recorded
multiply-adds are these products'."""
MNPUSIM_ELEMENTS = 3 * 6 * 2**20 // 2
"""Elements of 2 bytes in three tiles of 6 MiB: what a unit of mNPUsim may hold. Inferred from the recorded
multiply-adds (9216 inputs are cut into 4 x 2302 + 8), not from a description."""


def mnpusim_units(layers: Sequence[tuple[int, int, int]]) -> list[tuple[int, int, int]]:
    """The products of layers (M, N, K), cut along K where inputs, weights and outputs do not fit together."""
    units = []
    for m, n, k in layers:
        most = (MNPUSIM_ELEMENTS - m * n) // (m + n)
        units += [(m, n, min(most, k - start)) for start in range(0, k, most)]
    return units


def mnpusim_clocks(m: int, n: int, k: int, rows: int, cols: int) -> int:
    """Clocks of a product on mNPUsim's output-stationary array: folds follow each other at once, whether or
    not the results of the one before are out; the last drains over the rows and columns that it fills."""
    last = (m - 1) % rows + (n - 1) % cols
    return -(-m // rows) * -(-n // cols) * k + last


def onnxim_spec(name: str, config: Mapping[str, Any]) -> NpuSpec:
    """One core of an ONNXim configuration.

    Weights stay; rows stream in instructions of as many rows as the array has, the next weights load
    meanwhile; the first needs 2 R - 1 clocks before it multiplies.
    """
    core = config["core_config"]["core_0"]
    rows, cols = int(core["core_height"]), int(core["core_width"])
    spad, accumulators = int(core["spad_size"]) * 1024, int(core["accum_spad_size"]) * 1024
    return NpuSpec(
        name=name,
        source="ONNXim configuration",
        rows=rows,
        cols=cols,
        tck_fs=round(1e9 / float(config["core_freq"])),
        dataflow="ws",
        timing=Timing(name="onnxim", overlap=True, row_chunk=rows, head_ck=rows - 1),
        input_bytes=spad // 2,
        weight_bytes=spad // 2,
        output_bytes=accumulators,
        dram="hbm2-2400-8gb-x64",
        channels=int(config["dram_channels"]),
        dma_window=500,
        dma_path_ns=ONNXIM_PATH_NS,
    )


def onnxim_gemm(
    name: str, config: Mapping[str, Any], m: int, n: int, k: int, outer: Sequence[int], inner: Sequence[int]
) -> int:
    """Clocks of one GEMM of ONNXim until its last write is in memory: `outer` tiles of `inner` sizes
    over (M, K, N), every tile loading both operands.

    Tiles of one (M, N) piece stay on a core; pieces go to the cores in turn, and cores that work share the
    channels evenly. The time is that of the core with the most tiles.
    """
    spec = onnxim_spec(name, config)
    dram, channels = onnxim_dram(config)
    cores = int(config["num_cores"])
    pieces = [(i, j) for i in range(outer[0]) for j in range(outer[2])]
    busy = min(cores, len(pieces))
    share = max(1, channels // busy)
    size = int(config["precision"])
    memory = DramMemory(
        memory_config(dram, share), spec.tck_fs, window=spec.dma_window, path_ns=spec.dma_path_ns
    )
    layer = gemm(m, n, k, bits=8, stored_bits=8 * size if size < 3 else 16)
    work: list[Step] = []
    ends: list[int] = []  # last step of each tile
    stored: list[int] = []  # last output piece of each (M, N) piece
    outputs = -1
    for i, j in pieces[::cores]:
        rows, wide = min(inner[0], m - i * inner[0]), min(inner[2], n - j * inner[2])
        if rows <= 0 or wide <= 0:
            continue
        depths = [min(inner[1], k - d * inner[1]) for d in range(outer[1]) if k - d * inner[1] > 0]
        columns = _blocks(wide, spec.cols)
        for d, deep in enumerate(depths):
            tile = (len(ends), 0)
            at = (i * inner[0] * k + d * inner[1]) * size, (j * inner[2] * k + d * inner[1]) * size
            blocks = [(0, columns[0], start, high) for start, high in _starts(_blocks(deep, spec.rows))]
            blocks += [(start, width, 0, deep) for start, width in _starts(columns)[1:]]
            for left, width, top, high in blocks:
                work.append(
                    Step(
                        groups=1,
                        m=rows,
                        n=width,
                        high=high,
                        low=0,
                        input_key=None if left else (*tile, top),
                        weight_key=(*tile, left, top),
                        output_key=(i, j, left),
                        input_segments=(1, rows * high * size, 0),
                        weight_segments=(1, width * high * size, 0),
                        output_segments=_stored(rows, width, n, spec.cols, size, memory.burst_bytes),
                        input_at=at[0] + rows * top * size,
                        weight_at=at[1] + (left * deep + width * top) * size,
                        output_at=(i * inner[0] * n + j * inner[2] + left) * size,
                        last_depth=d == len(depths) - 1 and top + high == deep,
                        loads_after=ends[-2] if len(ends) > 1 else -1,
                        room_after=stored[-2] if len(stored) > 1 else -1,
                    )
                )
            ends.append(len(work) - 1)
        outputs += len(columns)
        stored.append(outputs)
    run = run_steps(spec, layer, work, memory)
    return max(run.clocks, memory.drained())


def _stored(rows: int, width: int, n: int, cols: int, size: int, burst: int) -> tuple[int, int, int]:
    """Segments of results: a request holds at most the columns of one array block."""
    blocks = ceil_div(width, cols)
    if cols * size >= burst or blocks == 1:
        return rows, width * size, n * size
    return rows * blocks, cols * size, max(burst, n * size // blocks)


def _blocks(size: int, multiple: int) -> list[int]:
    """`size` in at most `PARTS` pieces, each but the last a multiple of `multiple`."""
    each = ceil_div(ceil_div(size, PARTS), multiple) * multiple
    return [min(each, size - start) for start in range(0, size, each)]


def _starts(sizes: list[int]) -> list[tuple[int, int]]:
    return [(sum(sizes[:i]), size) for i, size in enumerate(sizes)]


MOVES = {
    "inputs": ("B/b", "OW/ow", "OH/oh", "IC/ic"),
    "weights": ("IC/ic", "OC/oc"),
    "sums": ("B/b", "OW/ow", "OH/oh", "OC/oc"),
    "biases": ("OC/oc",),
}
"""Loops of DNNWeaver v2 that bring a buffer a new piece."""
OVERHEAD_CK = 2
SUM_BITS, BIAS_BITS = 64, 32


@dataclass(frozen=True, kw_only=True)
class LoopNest:
    """A convolution on DNNWeaver v2: an array of `array` x `array`, tiles and their order as it chose them.

    tiles: loop name -> (number of tiles, size); order: loop names, the outermost last. Sums are 64 bits and
    move in and out of memory, biases 32 bits; channels are padded to the array.
    """

    array: int
    interface_bits: int
    bits: int
    kernel: int
    stride: int
    tiles: Mapping[str, tuple[int, int]]
    order: Sequence[str]

    def pieces(self) -> dict[str, int]:
        """Bits of one tile in each buffer."""
        b, ow, oh, ic, oc = (self.tiles[name][1] for name in ("B/b", "OW/ow", "OH/oh", "IC/ic", "OC/oc"))
        deep, wide = (ceil_div(size, self.array) * self.array for size in (ic, oc))
        ih, iw = ((size - 1) * self.stride + self.kernel for size in (oh, ow))
        return {
            "inputs": iw * ih * deep * b * self.bits,
            "weights": deep * self.kernel**2 * wide * self.bits,
            "sums": ow * oh * wide * b * SUM_BITS,
            "biases": wide * BIAS_BITS,
        }

    def moved(self) -> dict[str, int]:
        """Bits that reach each buffer from memory in all."""
        total = {}
        for buffer, bits in self.pieces().items():
            fixed = True
            for loop in self.order:
                fixed = fixed and loop not in MOVES[buffer]
                bits *= 1 if fixed else self.tiles[loop][0]
            total[buffer] = bits
        return total

    def clocks(self) -> int:
        """The longer of array and memory, the first loads and the last store before and after."""
        piece, moved = self.pieces(), self.moved()
        first, last = sum(piece.values()), piece["sums"]
        between = sum(moved.values()) + moved["sums"] - first - last
        count = 1
        for number, _ in self.tiles.values():
            count *= number
        b, ow, oh, ic, oc = (self.tiles[name][1] for name in ("B/b", "OW/ow", "OH/oh", "IC/ic", "OC/oc"))
        loops = (b, ceil_div(oc, self.array), oh, ow, self.kernel, self.kernel, ceil_div(ic, self.array))
        array = count * loop_nest_clocks(loops, OVERHEAD_CK)
        ends = ceil_div(first, self.interface_bits) + ceil_div(last, self.interface_bits)
        return max(array, ceil_div(between, self.interface_bits)) + ends
