"""Engines: arithmetic by hand, roofs that hold, and the same work on different paths."""

from dataclasses import replace
from itertools import pairwise

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pimsim.engines import engines_of, fastest, price, work_of
from pimsim.engines.cost import Operand, Work
from pimsim.engines.rates import ports, rate
from pimsim.errors import PlanError
from pimsim.run import simulate
from pimsim.run_trace import memory_of, run_trace
from pimsim.system import load_system
from pimsim.trace.llm import decode_trace, load_config, prefill_trace
from pimsim.trace.op import Operator, Tensor, Trace
from pimsim.trace.training import FaceStep
from pimsim.trace.training_trace import face_step_trace
from pimsim.trace.vision_trace import vision_trace

PHONE = load_system("exynos2400")
SMALL = load_system("iphone-15-pro")


def product(m, n, k, dtype="fp16", weight="fp16"):
    size = {"fp32": 4, "fp16": 2, "bf16": 2, "int8": 1}[dtype]
    return Work(
        kind="matmul",
        flops=2 * m * n * k,
        reads=(Operand(bytes=m * k * size, kept=True), Operand(bytes=n * k * size, kept=False)),
        writes=(Operand(bytes=m * n * size, kept=True),),
        dtype=dtype,
        weight_dtype=weight,
        products=((m, n, k, 1),),
    )


def test_a_product_on_a_gpu_by_hand():
    # 2 x 4096^3 FLOP at 49 % of 2.15 TFLOPS; launch 10 us (catalog, apple_m3_max.py).
    cost = price(SMALL, "gpu", product(4096, 4096, 4096))
    seconds = 2 * 4096**3 / (2.15e12 * 0.49)
    assert cost.compute_ps == pytest.approx(seconds * 1e12, rel=1e-9)
    assert cost.time_ps == cost.launch_ps + cost.compute_ps
    assert (cost.launch_ps, cost.bound) == (10_000_000, "compute")


def test_rows_are_padded_to_the_grain():
    # 8 rows are a grain of this GPU: one row takes as long as eight.
    one, eight, nine = (price(SMALL, "gpu", product(m, 4096, 4096)).compute_ps for m in (1, 8, 9))
    assert one <= eight < nine


def test_one_row_waits_for_the_weights():
    cost = price(SMALL, "gpu", product(1, 4096, 4096))
    assert cost.bound == "bandwidth"
    assert cost.memory_ps == pytest.approx(4096 * 4096 * 2 / rate(SMALL, "gpu", "read") * 1e12, rel=1e-6)


@pytest.mark.parametrize(
    ("engine", "mix"),
    [
        ("gpu", "read"), ("gpu", "mixed"), ("gpu", "relayout"), ("npu", "relayout"), ("compute", "read"),
        ("all", "mixed"),
    ],
)  # fmt: skip
def test_no_engine_is_faster_than_the_channels(engine, mix):
    assert 0.2 * SMALL.peak_bytes_per_s < rate(SMALL, engine, mix) < SMALL.peak_bytes_per_s


def test_ports_hold_the_bytes_in_flight():
    windows = ports(SMALL.gpu, 32)
    assert sum(windows) * 32 == SMALL.gpu.outstanding_bytes


@settings(max_examples=60, deadline=None)
@given(st.integers(1, 2000), st.integers(1, 3000), st.integers(1, 3000))
def test_the_fastest_engine_is_the_fastest(m, n, k):
    work = product(m, n, k)
    best = fastest(SMALL, "auto", work)
    costs = [cost for name in engines_of(SMALL) if (cost := price(SMALL, name, work)) is not None]
    assert best.time_ps == min(cost.time_ps for cost in costs)
    for cost in costs:
        assert cost.time_ps >= cost.launch_ps + max(cost.compute_ps, cost.memory_ps) - 1


def test_engines_do_what_they_can():
    assert price(PHONE, "pim", product(17, 1024, 1024)) is None  # more rows than PIM takes
    assert price(PHONE, "pim", product(1, 1024, 1024, weight="")) is None  # no weights
    assert price(PHONE, "npu", product(8, 64, 64, "fp32", "fp32")) is None  # wider than 16 bits
    assert fastest(PHONE, "npu", product(8, 64, 64, "fp32", "fp32")).engine == "cpu"
    two, one = (price(PHONE, "pim", product(m, 1024, 1024)) for m in (2, 1))
    assert two.memory_ps == 2 * one.memory_ps


def test_wrong_engines_are_named():
    with pytest.raises(PlanError, match="no engine named 'tpu'"):
        price(PHONE, "tpu", product(1, 1, 1))
    with pytest.raises(PlanError, match="has no gpu; it has cpu, npu, pim"):
        price(replace(PHONE, gpu=None), "gpu", product(1, 1, 1))


# Whole traces


@pytest.mark.parametrize("phase", ["prefill", "decode"])
def test_operators_on_the_cpu_take_as_long_as_the_method(phase):
    config = load_config("llama-3.2-1b")
    said = simulate("llama-3.2-1b", "host-only", prompt=64, tokens=2).summary
    trace = prefill_trace(config, 64) if phase == "prefill" else decode_trace(config, 64)
    wanted = said["ttft_s"] if phase == "prefill" else said["tpot_s"]
    assert run_trace(trace, PHONE, "cpu").time_s == pytest.approx(wanted, rel=0.03)


def test_a_prefill_moves_to_the_gpu_and_decode_stays():
    cpu, gpu = (
        simulate("llama-3.2-1b", "host-only", prompt=64, tokens=2, prefill_on=where).summary
        for where in ("cpu", "gpu")
    )
    alone = run_trace(prefill_trace(load_config("llama-3.2-1b"), 64), PHONE, "gpu").time_s
    assert gpu["ttft_s"] < cpu["ttft_s"] / 5
    assert gpu["ttft_s"] == pytest.approx(alone, rel=0.02)  # streams in time against the sum of rooflines
    assert gpu["tpot_s"] == pytest.approx(cpu["tpot_s"], rel=1e-9)
    with pytest.raises(PlanError, match="prefill_on='pim'; wanted one of cpu, gpu, npu"):
        simulate("llama-3.2-1b", "facil", prompt=4, tokens=1, prefill_on="pim")


def chain(sizes):
    """A chain of elementwise operators over tensors of so many bytes."""
    tensors = [
        Tensor(name=f"t{i}", shape=(size,), dtype="int8", role="input" if i == 0 else "activation")
        for i, size in enumerate(sizes)
    ]
    operators = [
        Operator(
            kind="elementwise", name=f"op{i}", inputs=(f"t{i}",), outputs=(f"t{i + 1}",), phase="forward",
            attrs={"function": "add"},
        )
        for i in range(len(sizes) - 1)
    ]  # fmt: skip
    return Trace(name="chain", tensors=tuple(tensors), operators=tuple(operators))


@settings(max_examples=40, deadline=None)
@given(st.lists(st.integers(1, 1000), min_size=2, max_size=12))
def test_memory_of_a_chain_is_its_largest_neighbours(sizes):
    peak = max(a + b for a, b in pairwise(sizes))
    assert memory_of(chain(sizes), {}) == {"weights": 0, "kv": 0, "activations": peak}


def test_views_hold_no_memory():
    trace = chain([10, 20, 30])
    assert memory_of(trace, {"t1": "t0"})["activations"] == 10 + 30
    with pytest.raises(PlanError, match="circle"):
        memory_of(trace, {"t1": "t2", "t2": "t1"})


def test_a_step_of_training_has_the_multiply_adds_of_its_parts():
    for step in (
        FaceStep(backbone="ir_resnet34", batch=8, identities=1000),
        FaceStep(backbone="ir_resnet34", batch=8, identities=100, loss="softmax"),
        FaceStep(backbone="ir_resnet34", batch=8, identities=100, loss="mixface", positives=4),
    ):
        trace = face_step_trace(step)
        macs = 0
        for op in trace.operators:
            if op.kind in ("matmul", "conv2d"):
                bias = trace.tensor(op.outputs[0]).elements if len(op.inputs) == 3 else 0
                macs += (trace.flops(op) - bias) // 2
        assert macs == sum(part.macs for part in step.parts())
        # Every output once is a lower bound of what a step keeps; views hold nothing.
        held = memory_of(trace, trace.meta["views"])
        assert held["activations"] >= step.memory_bytes()["activations"]


def test_what_does_not_fit_is_capacity_bound():
    step = FaceStep(backbone="ir_resnet34", batch=8, identities=10_000_000)
    run = run_trace(face_step_trace(step), SMALL, "gpu")
    assert run.bound == "capacity"
    assert not run.fits
    assert run.time_s > 0
    assert run.summary()["bound"] == "capacity"


def test_a_run_is_a_result_that_can_be_saved(tmp_path):
    from pimsim.result import Result

    run = run_trace(vision_trace("cifar_resnet20", dtype="fp16"), SMALL, "gpu")
    assert run.operators["flops"].sum() == run.trace.flops()
    assert sum(run.shares.values()) == pytest.approx(1)
    run.result().save(tmp_path / "run")
    again = Result.load(tmp_path / "run")
    assert again.summary["total_s"] == pytest.approx(run.time_s)
    assert again.summary["workload"]["bound"] == run.bound
    assert len(again.spans) == len(run.operators)


def test_equal_attentions_side_by_side_are_one_launch():
    trace = vision_trace("swin_tiny", dtype="fp16")
    run = run_trace(trace, SMALL, "gpu")
    kinds = run.operators["kind"].value_counts()
    assert sum(op.kind == "attention" for op in trace.operators) > kinds["attention"] == 12
    assert run.operators["flops"].sum() == trace.flops()


def test_a_systolic_npu_is_never_faster_than_its_array():
    run = run_trace(vision_trace("cifar_resnet20", dtype="int8"), PHONE, "npu")
    npu = PHONE.npu
    peak = 2 * npu.units / (npu.tck_fs * 1e-15)
    products = run.operators[run.operators["kind"].isin(["conv2d", "matmul"])]
    assert set(products["engine"]) == {"npu"}
    # Biases ride on the way out of the array: not more than 1 % of the arithmetic.
    assert products["time_us"].sum() * 1e-6 >= 0.99 * products["flops"].sum() / peak


def test_work_of_a_gradient():
    trace = face_step_trace(FaceStep(backbone="ir_resnet34", batch=2, identities=10))
    op = next(op for op in trace.operators if op.attrs.get("gradient") == "weight")
    work = work_of(op, trace)
    (m, n, k, groups) = work.products[0]
    assert 2 * m * n * k * groups == work.flops
