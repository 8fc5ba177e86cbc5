"""Tiles in time: every clock is booked, nothing beats its bounds, more is never slower."""

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pimsim.devices import NpuSpec, part, parts
from pimsim.devices.npu.array import layer_clocks, tile_clocks
from pimsim.devices.npu.engine import run_steps, simulate_layer
from pimsim.devices.npu.layer import conv, gemm
from pimsim.devices.npu.memory import FlatMemory, memory_of
from pimsim.devices.npu.spec import LOCAL, OVERLAP, SCALE_SIM
from pimsim.devices.npu.tiling import considered, search, steps, tile_bytes
from pimsim.errors import SpecError

SMALL = NpuSpec(
    name="small",
    source="made up for tests",
    rows=8,
    cols=8,
    tck_fs=1_000_000,
    dataflow="ws",
    input_bytes=4096,
    weight_bytes=4096,
    output_bytes=4096,
    dram="ddr4-3200-8gb-x8",
    channels=1,
)
NPUS = sorted(name for name, spec in parts().items() if isinstance(spec, NpuSpec))
LAYERS = st.one_of(
    st.builds(
        gemm,
        st.integers(1, 90),
        st.integers(1, 90),
        st.integers(1, 90),
        batch=st.integers(1, 4),
        kind=st.just("attention"),
    ),
    st.builds(
        lambda side, ch, out, k, s, groups: conv(
            side + k, side + k, ch * groups, out * groups, k, stride=s, groups=groups, padding=k // 2
        ),
        st.integers(1, 20),
        st.integers(1, 20),
        st.integers(1, 30),
        st.integers(1, 3),
        st.integers(1, 2),
        st.sampled_from((1, 1, 2, 5)),
    ),
    st.builds(
        lambda side, ch: conv(side, side, ch, ch, 3, padding=1, groups=ch),
        st.integers(3, 20),
        st.integers(2, 20),
    ),
)
SPECS = st.builds(
    lambda dataflow, timing, packing, columns: replace(
        SMALL, dataflow=dataflow, timing=timing, packing=packing, depthwise_columns=columns
    ),
    st.sampled_from(("os", "ws", "is")),
    st.sampled_from((OVERLAP, SCALE_SIM, LOCAL)),
    st.sampled_from(("packed", "channel")),
    st.booleans(),
)


@settings(max_examples=80, deadline=None)
@given(
    LAYERS,
    SPECS,
    st.sampled_from((0.5, 4.0, 1000.0)),
    st.sampled_from((0, 0.4, 1)),
    st.sampled_from((1, 2, 4)),
)
def test_every_clock_is_booked_and_bounds_hold(layer, spec, rate, low, rate4):
    spec, layer = replace(spec, rate4=rate4), layer.with_low(int(low * layer.in_ch))
    run = simulate_layer(spec, layer, FlatMemory(rate))
    assert run.ideal_ck + sum(run.lost_ck.values()) == run.clocks
    assert min(run.lost_ck.values()) >= 0
    assert run.clocks >= sum(run.dram_bytes) / rate - 1
    assert run.dram_bytes[1] >= layer.weight_bytes
    assert run.dram_bytes[2] == layer.output_bytes
    assert run.macs == layer.macs


@settings(max_examples=60, deadline=None)
@given(LAYERS, SPECS)
def test_tiles_fit_and_cover_the_layer(layer, spec):
    tiling = search(spec, layer, 4.0)
    sizes = tile_bytes(spec, layer, tiling)
    halves = (spec.input_bytes // 2, spec.weight_bytes // 2, spec.output_bytes // 2)
    assert all(size <= half for size, half in zip(sizes, halves, strict=True))
    work = list(steps(layer, tiling))
    taps = layer.kernel_h * layer.kernel_w
    assert sum(s.groups * s.m * s.n * (s.high + s.low) * taps for s in work) == layer.macs
    assert sum(s.last_depth for s in work) == len({s.output_key for s in work})


@settings(max_examples=25, deadline=None)
@given(LAYERS, SPECS, st.integers(0, 2**31))
def test_estimates_of_the_search_are_those_of_its_tiles(layer, spec, seed):
    every = list(considered(spec, layer, 4.0))
    for pick in np.random.default_rng(seed).integers(len(every), size=3):
        tiling, array, moved = every[pick]
        work = list(steps(layer, tiling))
        issued = [tile_clocks(spec, layer, s.m, s.n, s.high, s.low, s.groups).issue_ck for s in work]
        run = run_steps(spec, layer, work, FlatMemory(4.0))
        assert array == sum(issued)
        assert layer.output_bytes <= sum(run.dram_bytes) <= moved
        assert run.clocks >= max(array, sum(run.dram_bytes) / 4 - 1)


def test_a_layer_that_fits_takes_the_array_alone_when_memory_is_fast():
    layer = gemm(40, 40, 40)
    run = simulate_layer(SMALL, layer, FlatMemory(1e9))
    # One clock for the first load and one for the last store at so many bytes a clock.
    assert run.tiles == 1
    assert run.clocks == layer_clocks(SMALL, layer).total_ck + 2


def test_double_buffering_by_hand():
    # Three tiles of one fold; a byte a clock, first come first served. Inputs 16 B, weights 64 B and outputs
    # 16 B a tile. Array: 8 clocks to load weights when idle, 8 to issue, 8 more until the last result.
    spec = replace(SMALL, input_bytes=32, weight_bytes=128, output_bytes=32)
    layer = gemm(2, 24, 8)
    tiling = replace(search(spec, layer, 1.0), rows=2, out_ch=8, in_ch=8, channels_outside=False)
    run = run_steps(spec, layer, list(steps(layer, tiling)), FlatMemory(1.0))
    # loads: inputs to 16, weights 0 to 80, weights 1 to 144. Tile 0: 80 + 8 + 8 = 96, out at 104, stored
    # behind
    # weights 1 until 160. Weights 2 begin at 144 behind that store: 224. Tile 1: 144 + 16 = 160, out at
    # 168, stored
    # behind weights 2 until 240. Tile 2: 224 + 16 = 240, out at 248, stored until 264.
    assert run.tiles == 3
    assert run.clocks == 264
    assert run.lost_ck["first_load"] == 80
    assert run.lost_ck["wait_load"] == (144 - 96) + (224 - 160)
    assert run.lost_ck["last_store"] == 16
    assert run.dram_bytes == (16, 192, 48)


@given(st.integers(1, 64), st.integers(1, 64), st.integers(1, 64))
@settings(max_examples=25, deadline=None)
def test_more_bandwidth_is_never_slower(m, n, k):
    layer = gemm(m, n, k)
    tiling = search(SMALL, layer, 2.0)
    slow, fast = (simulate_layer(SMALL, layer, FlatMemory(rate), tiling=tiling).clocks for rate in (1.0, 2.0))
    assert fast <= slow


@pytest.mark.parametrize("name", NPUS)
@pytest.mark.parametrize(
    "layer",
    [gemm(50, 60, 70), conv(14, 14, 64, 32, 3, padding=1), conv(14, 14, 48, 48, 3, padding=1, groups=48)],
    ids=("gemm", "conv", "depthwise"),
)
def test_every_part_runs_on_its_dram(name, layer):
    spec = part(name, NpuSpec)
    run = simulate_layer(spec, layer)
    assert run.ideal_ck + sum(run.lost_ck.values()) == run.clocks
    assert sum(run.dram_bytes) >= layer.weight_bytes + layer.output_bytes
    assert sum(run.dram_bytes) / memory_of(spec).bytes_per_ck < run.clocks  # below the peak
    assert simulate_layer(spec, layer) == run  # the same twice


def test_low_channels_speed_up_and_move_the_same_bytes():
    spec = part("dnnweaver2-32x32", NpuSpec)
    layer = conv(14, 14, 256, 256, 3, padding=1)
    runs = [simulate_layer(spec, layer.with_low(ch)) for ch in (0, 64, 128, 192, 256)]
    assert [run.clocks for run in runs] == sorted((run.clocks for run in runs), reverse=True)
    assert len({run.dram_bytes for run in runs}) == 1
    assert runs[0].energy_pj["array"] > runs[-1].energy_pj["array"] > 0


def test_errors_name_the_layer():
    with pytest.raises(SpecError, match="layer big fits in no tile"):
        simulate_layer(replace(SMALL, weight_bytes=4), conv(9, 9, 1, 1, 5, name="big"))
    with pytest.raises(SpecError, match="does not fit into 2x2"):
        conv(2, 2, 1, 1, 3)
