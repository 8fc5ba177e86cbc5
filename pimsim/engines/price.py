"""The cost of an operator on each engine of a system."""

from __future__ import annotations

from collections.abc import Callable

from pimsim.devices import AcceleratorSpec, CoreSpec, NpuSpec
from pimsim.devices.accelerator import blocked_bytes
from pimsim.devices.cpu import gemm_rate, split
from pimsim.engines import pim, systolic
from pimsim.engines.cost import Cost, Work, roofline
from pimsim.engines.rates import memory_s
from pimsim.errors import PlanError, suggest
from pimsim.system import System

ENGINES = ("cpu", "gpu", "npu", "pim")
SHORT_BYTES = 64 * 1024
"""An operator that touches less runs on one core: waking the others takes longer."""


def engines_of(system: System) -> tuple[str, ...]:
    """The engines that a system has."""
    has = {"cpu": True, "gpu": system.gpu, "npu": system.npu, "pim": system.pim}
    return tuple(name for name in ENGINES if has[name])


def price(system: System, engine: str, work: Work) -> Cost | None:
    """The cost of work on an engine; None where that engine cannot do it. PlanError for an engine that the
    system does not have."""
    if engine not in ENGINES:
        raise PlanError(f"no engine named {engine!r}{suggest(engine, (*ENGINES, 'auto'))}")
    if engine not in engines_of(system):
        raise PlanError(f"system {system.name} has no {engine}; it has {', '.join(engines_of(system))}")
    key = (system.key, engine, work)
    if key not in _COSTS:
        _COSTS[key] = _PRICES[engine](system, work)
    return _COSTS[key]


def fastest(system: System, engine: str, work: Work) -> Cost:
    """The cost on an engine, or on the CPU where that engine cannot do the work; "auto": on the fastest."""
    if engine != "auto":
        return price(system, engine, work) or _of_cpu(system, work)
    best = _of_cpu(system, work)
    for name in ("gpu", "pim", "npu"):
        if name not in engines_of(system):
            continue
        if name == "npu" and isinstance(system.npu, NpuSpec):
            least = systolic.least_ps(system.npu, work)
            if least >= best.time_ps:  # its tiles need not be simulated
                continue
        cost = price(system, name, work)
        if cost is not None and cost.time_ps < best.time_ps:
            best = cost
    return best


def _of_cpu(system: System, work: Work) -> Cost:
    cost = price(system, "cpu", work)
    assert cost is not None
    return cost


_COSTS: dict[tuple[str, str, Work], Cost | None] = {}


def traffic(work: Work, cache_bytes: int) -> tuple[float, float]:
    """(read, written) DRAM bytes of work behind a cache: products that do not fit read operands again."""
    read, written = work.dram_bytes(cache_bytes)
    if work.kind in ("matmul", "conv2d") and len(work.reads) > 1:
        a, b = work.reads[0].bytes, work.reads[1].bytes
        m, n, _, groups = work.products[0]
        read += blocked_bytes(a, b, m, n * groups, cache_bytes) - (a + b)
    return float(max(0, read)), float(written)


def _cpu(system: System, work: Work) -> Cost:
    """Threads of a static split: products on the compute cores (one row: all cores), vector code on one core
    or, from `SHORT_BYTES` on, all compute cores."""
    cpu = system.cpu
    cache = sum(level.size_bytes for level in cpu.shared) or cpu.cores[0].l2.size_bytes
    if work.products:
        single = work.kind != "conv2d" and work.products[0][0] == 1
        team = "all" if single else "compute"
        cores = system.cores(system.all_cores if single else system.compute_cores)
        if work.kind == "attention":
            compute = max(
                work.flops / len(cores) / (core.peak_gflops * cpu.attention_efficiency * 1e9)
                for core in cores
            )
        else:
            compute = _split_product(cores, work, single)
    else:
        team = "compute"
        one = work.bytes < SHORT_BYTES
        cores = system.cores(system.compute_cores[:1] if one else system.compute_cores)
        compute = max(
            max(work.bytes / (core.cached_gbps * 1e9), work.flops / (core.peak_gflops * 1e9)) / len(cores)
            for core in cores
        )
    moved = traffic(work, cache)
    launch = cpu.dispatch_us + cpu.wake_us * (len(cores) > 1)
    return roofline("cpu", launch, compute, memory_s(system, team, *moved), moved)


def _split_product(cores: list[CoreSpec], work: Work, single: bool) -> float:
    """Seconds of the slowest thread; rows or columns are split, whichever are more (of groups, all)."""
    m, n, k, groups = work.products[0]
    longer = max(m, n * groups)
    shares = split(longer, len(cores))
    flops = 2 * m * n * k * groups
    times = []
    for core, rows in zip(cores, shares, strict=True):
        gflops = core.peak_gflops * core.gemm_efficiency if single else gemm_rate(core, max(1, rows))
        times.append(flops * rows / longer / (gflops * 1e9))
    return max(times)


def _accelerator(spec: AcceleratorSpec, engine: str) -> Callable[[System, Work], Cost]:
    def cost(system: System, work: Work) -> Cost:
        if work.products:
            compute = sum(spec.product_s(*shape, work.dtype) for shape in work.products)
        else:
            compute = work.flops / (spec.vector_tflops * 1e12)
        moved = traffic(work, spec.cache_bytes)
        return roofline(engine, spec.launch_us, compute, memory_s(system, engine, *moved), moved)

    return cost


def _gpu(system: System, work: Work) -> Cost | None:
    assert system.gpu is not None
    if work.products and not system.gpu.computes(work.dtype):
        return None
    return _accelerator(system.gpu, "gpu")(system, work)


def _npu(system: System, work: Work) -> Cost | None:
    if isinstance(system.npu, NpuSpec):
        return systolic.price(system, system.npu, work)
    assert system.npu is not None
    if work.products and not system.npu.computes(work.dtype):
        return None
    return _accelerator(system.npu, "npu")(system, work)


_PRICES: dict[str, Callable[[System, Work], Cost | None]] = {
    "cpu": _cpu,
    "gpu": _gpu,
    "npu": _npu,
    "pim": pim.price,
}
