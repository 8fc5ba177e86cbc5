"""An NPU as a frozen table: array, scratchpads, vector unit, DMA and how its folds follow each other."""

from __future__ import annotations

from dataclasses import dataclass

from pimsim.errors import SpecError, suggest
from pimsim.notebook import Shown

DATAFLOWS = ("os", "ws", "is")
PACKINGS = ("packed", "channel")


@dataclass(frozen=True, kw_only=True)
class Timing:
    """How the folds of an array follow each other.

    overlap: the next fold enters while the last one drains (shadow registers for the stationary operand
      and for results); else a fold begins when the one before has left the array.
    row_chunk: streamed rows come in instructions of so many rows, the last one padded; 1: no padding.
    local: in ws and is, every unit reads the stationary operand from a memory of its own, so no fold waits
      for it.
    head_ck: clocks from an idle array's operands to its first multiply, beyond loading the stationary
    operand.
    """

    name: str
    overlap: bool
    row_chunk: int = 1
    local: bool = False
    head_ck: int = 0


OVERLAP = Timing(name="overlap", overlap=True)
SCALE_SIM = Timing(name="scale-sim", overlap=False)
LOCAL = Timing(name="local", overlap=True, local=True)
TIMINGS = {timing.name: timing for timing in (OVERLAP, SCALE_SIM, LOCAL)}


def timing(name: str) -> Timing:
    """A timing preset by its name."""
    if name not in TIMINGS:
        raise SpecError(f"no timing named {name!r}{suggest(name, TIMINGS)}")
    return TIMINGS[name]


@dataclass(frozen=True, kw_only=True)
class NpuEnergy:
    """Energy of one event in picojoules; `source` says of which technology."""

    source: str
    mac16_pj: float
    mac8_pj: float
    mac4_pj: float
    scratchpad_pj_per_byte: float
    dram_pj_per_byte: float


@dataclass(frozen=True, kw_only=True)
class NpuSpec(Shown):
    """One NPU core with its memory.

    rows, cols: multiply-add units of 8 bits; the stationary operand's depth lies along the rows in ws and is.
    rate4: 4-bit multiply-adds that a unit makes in one clock (1: none gained); they widen the depth.
    mac16_ck: clocks of one 16-bit multiply-add.
    packing: "packed" fills rows across kernel positions, "channel" starts a fold at each kernel position.
    depthwise_columns: in a depthwise convolution every column has input channels of its own; else a
    plain array uses one column.
    input_bytes, weight_bytes, output_bytes: scratchpads; half of each holds the tile in work.
    accumulator_bytes: one partial sum in the output scratchpad.
    vector_lanes: elements that the vector unit handles in one clock.
    group_channels: input channels that change precision together.
    switch_words_per_ck: instruction words (one a layer) that a change of ratio rewrites in one clock.
    dram, channels: the memory behind the DMA; dma_window: bursts that one DMA engine (inputs, weights,
    outputs) keeps in flight; dma_path_ns: time of an access outside the channel, both ways.
    """

    name: str
    source: str
    rows: int
    cols: int
    tck_fs: int
    dataflow: str
    input_bytes: int
    weight_bytes: int
    output_bytes: int
    dram: str
    channels: int
    rate4: int = 1
    mac16_ck: int = 1
    packing: str = "packed"
    depthwise_columns: bool = False
    timing: Timing = OVERLAP
    accumulator_bytes: int = 4
    vector_lanes: int = 32
    group_channels: int = 32
    switch_words_per_ck: int = 1
    dma_window: int = 64
    dma_path_ns: float = 50.0
    energy: NpuEnergy | None = None

    def __post_init__(self) -> None:
        for field in (
            "rows",
            "cols",
            "tck_fs",
            "channels",
            "rate4",
            "mac16_ck",
            "accumulator_bytes",
            "vector_lanes",
            "group_channels",
            "switch_words_per_ck",
            "dma_window",
        ):
            if getattr(self, field) < 1:
                raise SpecError(f"{self.name}: {field}={getattr(self, field)}; wanted at least 1")
        for field in ("input_bytes", "weight_bytes", "output_bytes"):
            if getattr(self, field) < 2:
                raise SpecError(
                    f"{self.name}: {field}={getattr(self, field)}; wanted two halves of a byte or more"
                )
        if self.dataflow not in DATAFLOWS:
            raise SpecError(f"{self.name}: dataflow={self.dataflow!r}{suggest(self.dataflow, DATAFLOWS)}")
        if self.packing not in PACKINGS:
            raise SpecError(f"{self.name}: packing={self.packing!r}{suggest(self.packing, PACKINGS)}")

    @property
    def units(self) -> int:
        """Multiply-add units of 8 bits."""
        return self.rows * self.cols

    @property
    def clock_mhz(self) -> float:
        return 1e9 / self.tck_fs
