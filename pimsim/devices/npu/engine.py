"""Tiles in time: three DMA engines (inputs, weights, outputs) around an array with double-buffered
scratchpads.

A tile is computed when its operands are in and the half of the output scratchpad is free. A load begins when
the half that it fills is no longer read; a store when the last result of its piece has left the array. Every
clock of a layer is booked: to the ideal multiply-adds or to a cause, and they sum to the total.

Left out: instruction fetch, bank conflicts of the scratchpads, zero skipping, the refill of rows that two
tiles of a convolution share.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field

from pimsim.devices.npu.array import ArrayClocks, factors, ideal_clocks, tile_clocks
from pimsim.devices.npu.layer import Layer
from pimsim.devices.npu.memory import NEVER, Memory, Segments, memory_of, transfer_bytes
from pimsim.devices.npu.spec import NpuSpec
from pimsim.devices.npu.tiling import AUTO, Step, Tiling, search, steps
from pimsim.errors import SpecError
from pimsim.units import ceil_div

CAUSES = ("padding", "fill_drain", "first_load", "wait_load", "wait_store", "last_store", "vector")
"""padding: units without work in a fold. fill_drain: operands and results on their way through the array.
first_load, last_store: nothing to compute yet or any more. wait_load, wait_store: for a scratchpad half.
vector: the array waits for the vector unit."""
INPUT, WEIGHT, OUTPUT = range(3)
MOST_TRANSFERS = 6
"""Transfers that one DMA engine works on at a time, if they are small."""
REGION_BYTES = 64 * 2**20
"""Distance of the input, weight and output tensors in memory."""


@dataclass(frozen=True, kw_only=True)
class LayerRun:
    """What a layer did, in clocks of the NPU.

    ideal_ck + the sum of lost_ck = clocks. dram_bytes: moved for inputs, weights and outputs, whole bursts.
    scratchpad_bytes: read or written by array, vector unit and DMA. energy_pj by component; empty where the
    part has no energies.
    """

    name: str
    kind: str
    clocks: int
    ideal_ck: int
    macs: int
    lost_ck: dict[str, int]
    dram_bytes: tuple[int, int, int]
    scratchpad_bytes: int
    tiles: int
    tiling: Tiling | None = None
    energy_pj: dict[str, float] = field(default_factory=dict)

    @property
    def utilisation(self) -> float:
        """Ideal clocks over all."""
        return self.ideal_ck / self.clocks if self.clocks else 0.0

    @property
    def dram_read_bytes(self) -> int:
        return self.dram_bytes[INPUT] + self.dram_bytes[WEIGHT]

    @property
    def dram_write_bytes(self) -> int:
        return self.dram_bytes[OUTPUT]


@dataclass(kw_only=True)
class _Queue:
    """Transfers of one DMA engine in order: (segments, base, step that needs it or clock it is ready)."""

    todo: list[tuple[Segments, int, int]]
    at: int = 0
    running: dict[int, int] = field(default_factory=dict)
    done: dict[int, int] = field(default_factory=dict)
    ends: list[int] = field(default_factory=list)

    def may_start(self, budget_bytes: int) -> bool:
        """Whether the next transfer may join those that run: they have less than the budget to move."""
        held = sum(self.todo[at][0][0] * self.todo[at][0][1] for at in self.running.values())
        return self.at < len(self.todo) and held < budget_bytes and len(self.running) < MOST_TRANSFERS

    def start(self, number: int) -> None:
        self.running[number] = self.at
        self.at += 1

    def end(self, number: int, clock: int) -> None:
        """A transfer ended; those before it count first."""
        self.done[self.running.pop(number)] = clock
        while len(self.ends) in self.done:
            before = self.ends[-1] if self.ends else 0
            self.ends.append(max(before, self.done.pop(len(self.ends))))


def simulate_layer(
    spec: NpuSpec, layer: Layer, memory: Memory | None = None, *, tiling: Tiling | None = None, start: int = 0
) -> LayerRun:
    """Run one layer from clock `start`, when nothing else runs.

    memory: the part's own DRAM if not given. tiling: the best of `search` if not given, for the layer without
    4-bit channels: the ratio changes at run time, tiles and traffic do not.
    """
    held = memory or memory_of(spec)
    cut = tiling or search(spec, layer.with_low(0), round(held.bytes_per_ck, 6))
    return run_steps(spec, layer, list(steps(layer, cut)), held, tiling=cut, start=start)


def run_steps(
    spec: NpuSpec,
    layer: Layer,
    work: list[Step],
    memory: Memory,
    *,
    tiling: Tiling | None = None,
    start: int = 0,
) -> LayerRun:
    """Run tiles in order."""
    loads, uses, pieces = _transfers(work)
    queues = [_Queue(todo=loads[INPUT]), _Queue(todo=loads[WEIGHT])]
    store = _Queue(todo=[])
    numbers: dict[int, int] = {}
    budget = spec.dma_window * memory.burst_bytes
    region = REGION_BYTES + memory.stagger_bytes
    clocks = [tile_clocks(spec, layer, s.m, s.n, s.high, s.low, s.groups) for s in work]
    streamed = [factors(spec, layer, s.m, s.n, s.high, s.low, s.groups)[1] for s in work]
    issued: list[int] = []  # clock at which the array has taken all operands of a step
    left = start  # when the array can take the next step
    lost = dict.fromkeys(CAUSES, 0)
    last_out = now = start
    total_stores = sum(step.last_depth for step in work)
    while len(issued) < len(work) or len(store.ends) < total_stores:
        moved = True
        upcoming = NEVER
        while moved:
            moved = False
            upcoming = NEVER
            for operand in (INPUT, WEIGHT):
                q = queues[operand]
                if not q.may_start(budget):
                    continue
                last_use = work[q.todo[q.at][2]].loads_after
                if last_use == AUTO:
                    last_use = uses[operand][q.at - 2] if q.at > 1 else -1
                if last_use >= 0:
                    if last_use >= len(issued):
                        continue
                    if issued[last_use] > now:
                        upcoming = min(upcoming, issued[last_use])
                        continue
                segments, base, _ = q.todo[q.at]
                number = memory.start(now, segments, operand * region + base, False)
                q.start(number)
                numbers[number] = operand
                moved = True
            if store.may_start(budget):
                segments, base, ready = store.todo[store.at]
                if ready <= now:
                    number = memory.start(now, segments, OUTPUT * region + base, True)
                    store.start(number)
                    numbers[number] = OUTPUT
                    moved = True
                else:
                    upcoming = min(upcoming, ready)
            j = len(issued)
            if j < len(work):
                arrived = [
                    _load_end(queues[operand], _index(loads[operand], j)) for operand in (INPUT, WEIGHT)
                ]
                piece = pieces[j]
                stored = piece - 2 if work[j].room_after == AUTO else work[j].room_after
                room = start if stored < 0 else store.ends[stored] if stored < len(store.ends) else NEVER
                if max(*arrived, room) < NEVER:
                    left, last_out = _issue(clocks[j], streamed[j], left, max(arrived), room, j == 0, lost)
                    issued.append(left)
                    if work[j].last_depth:
                        store.todo.append((work[j].output_segments, work[j].output_at, last_out))
                    moved = True
        ended = memory.advance(upcoming)
        if ended:
            for number, end in ended.items():
                operand = numbers.pop(number)
                q = store if operand == OUTPUT else queues[operand]
                q.end(number, end)
            now = max(now, min(ended.values()))
        elif upcoming < NEVER:
            now = upcoming
        elif len(issued) < len(work) or len(store.ends) < total_stores:
            raise SpecError(
                f"{spec.name}: layer {layer.name} is stuck at clock {now}: {len(issued)} of {len(work)} tiles"
            )
    end = max([last_out, *store.ends])
    lost["fill_drain"] += last_out - left
    lost["last_store"] += end - last_out
    ideal = ideal_clocks(spec, layer)
    lost["padding"] -= ideal  # booked by fold so far
    moved_bytes = tuple(
        sum(transfer_bytes(t[0], memory.burst_bytes) for t in q.todo) for q in (*queues, store)
    )
    traffic = scratchpad_bytes(spec, layer, work, moved_bytes)
    return LayerRun(
        name=layer.name,
        kind=layer.kind,
        clocks=end - start,
        ideal_ck=ideal,
        macs=layer.macs,
        lost_ck=lost,
        dram_bytes=(moved_bytes[0], moved_bytes[1], moved_bytes[2]),
        scratchpad_bytes=traffic,
        tiles=len(work),
        tiling=tiling,
        energy_pj=energy(spec, layer, traffic, sum(moved_bytes)),
    )


def _transfers(
    work: list[Step],
) -> tuple[list[list[tuple[Segments, int, int]]], list[list[int]], list[int]]:
    """Loads of inputs and weights (with the first step that needs each), the last step that uses each load,
    and the number of the output piece of each step."""
    loads: list[list[tuple[Segments, int, int]]] = [[], []]
    uses: list[list[int]] = [[], []]
    pieces: list[int] = []
    numbers: dict[tuple[int, ...], int] = {}
    keys: list[tuple[int, ...] | None] = [None, None]
    for j, step in enumerate(work):
        for operand, key, segments, at in (
            (INPUT, step.input_key, step.input_segments, step.input_at),
            (WEIGHT, step.weight_key, step.weight_segments, step.weight_at),
        ):
            if key is not None and key != keys[operand]:
                loads[operand].append((segments, at, j))
                uses[operand].append(j)
                keys[operand] = key
            if uses[operand]:
                uses[operand][-1] = j
        pieces.append(numbers.setdefault(step.output_key, len(numbers)))
    return loads, uses, pieces


def _index(loads: list[tuple[Segments, int, int]], step: int) -> int:
    """The load that step works on: the last one whose first step is not after it."""
    low, high = 0, len(loads) - 1
    while low < high:
        middle = (low + high + 1) // 2
        if loads[middle][2] <= step:
            low = middle
        else:
            high = middle - 1
    return low


def _load_end(q: _Queue, load: int) -> int:
    return q.ends[load] if load < len(q.ends) else NEVER


def _issue(
    clocks: ArrayClocks,
    t: int,
    left: int,
    loaded: int,
    room: int,
    first: bool,
    lost: dict[str, int],
) -> tuple[int, int]:
    """Book one step; (clock at which the array can take the next one, clock of its last result)."""
    idle = max(loaded, room) - left
    begin = left
    if idle > 0 or first:
        if loaded >= room:
            lost["first_load" if first else "wait_load"] += max(0, idle)
        else:
            lost["wait_store"] += max(0, idle)
        lost["fill_drain"] += clocks.head_ck
        begin = max(left, loaded, room) + clocks.head_ck
    issue = clocks.issue_ck
    streamed = clocks.folds * t
    lost["fill_drain"] += issue - streamed
    lost["padding"] += streamed
    return begin + issue, begin + issue + clocks.tail_ck


def scratchpad_bytes(spec: NpuSpec, layer: Layer, work: list[Step], moved: Iterable[int]) -> int:
    """Bytes through the scratchpads' ports: operands into the array, partial sums, and both ends of the
    DMA."""
    total = sum(moved)
    taps = layer.kernel_h * layer.kernel_w
    for s in work:
        depth, wide = s.high + s.low, ceil_div(s.n, spec.cols)
        deep, tall = ceil_div(taps * depth, spec.rows), ceil_div(s.m, spec.rows)
        inputs, weights = s.m * taps * depth, s.n * taps * depth
        if spec.dataflow == "os":
            words, sums = inputs * wide + weights * tall, s.m * s.n
        elif spec.dataflow == "ws":
            words, sums = inputs * wide + weights, s.m * s.n * (2 * deep - 1)
        else:
            words, sums = inputs + weights * ceil_div(s.m, spec.cols), s.m * s.n * (2 * deep - 1)
        total += s.groups * (ceil_div(words * layer.stored_bits, 8) + sums * spec.accumulator_bytes)
    return total


def energy(spec: NpuSpec, layer: Layer, scratchpad: int, dram: int) -> dict[str, float]:
    """Picojoules by component."""
    if spec.energy is None:
        return {}
    e = spec.energy
    low = layer.macs if layer.bits == 4 else layer.macs // layer.in_ch * layer.low_ch
    wide = e.mac16_pj if layer.bits == 16 else e.mac8_pj
    return {
        "array": low * e.mac4_pj + (layer.macs - low) * wide,
        "scratchpad": scratchpad * e.scratchpad_pj_per_byte,
        "dram": dram * e.dram_pj_per_byte,
    }
