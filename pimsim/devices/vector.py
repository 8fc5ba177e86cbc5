"""Operators that memory bounds: what they move and compute, and how long on data that lies in a given level.

Bytes are those of one pass over inputs and outputs, as a fused kernel makes them; softmax and norms read
their input twice (once for the maximum or the square sum), from wherever a row of it lies by then.
"""

from __future__ import annotations

from dataclasses import dataclass

from pimsim.devices.cache.hierarchy import cpu_hierarchy
from pimsim.devices.spec import CpuSpec
from pimsim.errors import SpecError


@dataclass(frozen=True, kw_only=True)
class VectorOp:
    """Bytes read and written, and FLOP (an exponential counts 8, a root or division 4: estimates)."""

    name: str
    read_bytes: int
    written_bytes: int
    flops: int

    @property
    def bytes(self) -> int:
        return self.read_bytes + self.written_bytes


def softmax(rows: int, width: int, value_bytes: int = 2) -> VectorOp:
    """Softmax of `rows` vectors: maximum, then exponentials and their sum, then the scaling."""
    size = rows * width * value_bytes
    return VectorOp(name="softmax", read_bytes=2 * size, written_bytes=size, flops=rows * (width * 11 + 4))


def rms_norm(rows: int, width: int, value_bytes: int = 2) -> VectorOp:
    """RMSNorm of `rows` vectors: sum of squares, then the scaling by its root and the weights."""
    size = rows * width * value_bytes
    weights = width * value_bytes
    return VectorOp(
        name="norm", read_bytes=2 * size + weights, written_bytes=size, flops=rows * (4 * width + 8)
    )


def rope(tokens: int, heads: int, head_dim: int, value_bytes: int = 2) -> VectorOp:
    """Rotary embedding: pairs of values turned by angles that lie in a table (cosine and sine)."""
    size = tokens * heads * head_dim * value_bytes
    table = tokens * head_dim * value_bytes
    return VectorOp(
        name="rope", read_bytes=size + table, written_bytes=size, flops=tokens * heads * head_dim * 3
    )


def attention(
    tokens: int, context: int, heads: int, kv_heads: int, head_dim: int, value_bytes: int = 2
) -> VectorOp:
    """Attention of `tokens` queries over `context` keys and values: two products and the softmax between.

    Grouped queries read a head of K and V once for all heads of the group, and once for each query block of
    64 rows (estimate): with one token it is memory that bounds it, whatever the group.
    """
    if heads % kv_heads:
        raise SpecError(f"attention: heads={heads} are no multiple of kv_heads={kv_heads}")
    kv = 2 * context * kv_heads * head_dim * value_bytes
    passes = -(-tokens * (heads // kv_heads) // 64)
    own = 2 * tokens * heads * head_dim * value_bytes
    flops = tokens * heads * context * (4 * head_dim + 11)
    return VectorOp(name="attention", read_bytes=kv * passes + own // 2, written_bytes=own // 2, flops=flops)


def level_gbps(cpu: CpuSpec, core: int, working_bytes: int, memory_ns: float = 100.0) -> tuple[str, float]:
    """(level that holds so many bytes, GB/s that one core reads from it).

    Little's law: the lines that the core keeps in flight over the latency of the level; vector code itself
    is no faster than `cached_gbps`. A level holds what is not larger than it; beyond the last it is
    "memory".
    """
    if working_bytes < 0:
        raise SpecError(f"{cpu.name}: working_bytes={working_bytes}; wanted at least 0")
    spec, levels = cpu.cores[core], cpu_hierarchy(cpu, (core,)).levels()
    for level in levels:
        if working_bytes <= level.size_bytes:
            name, latency = level.name, level.hit_ns
            break
    else:
        name, latency = "memory", memory_ns
    line = levels[0].line_bytes
    return name, min(
        spec.cached_gbps, spec.lines_outstanding * line / latency
    ) if latency else spec.cached_gbps


def vector_ns(
    cpu: CpuSpec, core: int, op: VectorOp, working_bytes: int | None = None, memory_ns: float = 100.0
) -> float:
    """Time of an operator on one core: its bytes from the level that holds them, or its arithmetic."""
    held = op.read_bytes + op.written_bytes if working_bytes is None else working_bytes
    _, gbps = level_gbps(cpu, core, held, memory_ns)
    return max(op.bytes / gbps, op.flops / cpu.cores[core].peak_gflops)
