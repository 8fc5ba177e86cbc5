"""Closed forms of the array against the array that moves every value."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pimsim.devices.npu import stepped
from pimsim.devices.npu.array import fold_report, gemm_clocks
from pimsim.devices.npu.spec import OVERLAP, SCALE_SIM
from pimsim.units import ceil_div

sizes = st.integers(1, 9)


@settings(max_examples=60, deadline=None)
@given(
    sizes,
    sizes,
    sizes,
    st.integers(1, 4),
    st.integers(1, 4),
    st.sampled_from(("os", "ws", "is")),
    st.sampled_from((OVERLAP, SCALE_SIM)),
    st.integers(0, 2**31),
)
def test_clocks_and_product_are_those_of_the_stepped_array(m, n, k, rows, cols, dataflow, timing, seed):
    rng = np.random.default_rng(seed)
    a, b = rng.integers(-128, 128, (m, k)), rng.integers(-128, 128, (k, n))
    clocks, product = stepped.run(a, b, rows, cols, dataflow, timing)
    assert (product == a @ b).all()
    assert clocks == gemm_clocks(m, n, k, rows, cols, dataflow, timing).total_ck


@given(sizes, sizes, sizes, st.integers(1, 4), st.integers(1, 4), st.sampled_from(("os", "ws", "is")))
def test_words_are_those_of_a_walk_over_the_folds(m, n, k, rows, cols, dataflow):
    sr, sc = {"os": (m, n), "ws": (k, n), "is": (k, m)}[dataflow]
    inputs = weights = outputs = 0
    used = []
    for r in range(0, sr, rows):
        for c in range(0, sc, cols):
            h, w = min(rows, sr - r), min(cols, sc - c)
            used.append(h * w / (rows * cols))
            if dataflow == "os":
                inputs, weights, outputs = inputs + h * k, weights + w * k, outputs + h * w
            elif dataflow == "ws":
                inputs, weights, outputs = inputs + h * m, weights + h * w, outputs + w * m
            else:
                inputs, weights, outputs = inputs + h * w, weights + h * n, outputs + w * n
    said = fold_report(m, n, k, rows, cols, dataflow, SCALE_SIM)
    assert (said.input_reads, said.weight_reads, said.output_writes) == (inputs, weights, outputs)
    assert said.mapping_efficiency == pytest.approx(np.mean(used))
    assert said.folds == len(used)


@given(st.integers(1, 300), st.integers(1, 300), st.integers(1, 300), st.sampled_from(("os", "ws", "is")))
def test_overlap_never_costs_and_never_beats_the_units(m, n, k, dataflow):
    overlap = gemm_clocks(m, n, k, 16, 8, dataflow, OVERLAP).total_ck
    assert ceil_div(m * n * k, 16 * 8) <= overlap <= gemm_clocks(m, n, k, 16, 8, dataflow, SCALE_SIM).total_ck
