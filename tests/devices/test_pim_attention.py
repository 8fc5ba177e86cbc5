"""Attention over a KV cache in PIM: counts by hand, the program of all heads, and numbers against NumPy."""

import numpy as np
import pytest

from pimsim.devices import DramSpec, PimSpec, part
from pimsim.devices.dram.audit import audit
from pimsim.devices.dram.channel import Controller
from pimsim.devices.pim import machine as m
from pimsim.devices.pim.attention import AttentionShape, compile_attention
from pimsim.devices.pim.compile import compile_gemv
from pimsim.devices.pim.cost import cost_of
from pimsim.devices.pim.functional import bf16_bits, bf16_values
from pimsim.devices.pim.kernel import HostDrive, log_kernel
from pimsim.devices.pim.selftest import check_attention, product_on_data
from pimsim.errors import SpecError

LLAMA = AttentionShape(heads=24, kv_heads=8, head_dim=128, context=1024)  # a layer of Llama 3.2 3B
PARTS = [("lpddr5x-pim-8533", "bf16"), ("lpddr5x-pim-9600", "int8"), ("gddr6-aim", "bf16")]


def parts(name: str) -> tuple[PimSpec, DramSpec]:
    pim = part(name, PimSpec)
    return pim, part(pim.dram, DramSpec)


def test_counts_by_hand() -> None:
    pim, dram = parts("lpddr5x-pim-8533")
    scores, context = compile_attention(pim, dram, LLAMA, "bf16")
    # A KV head a channel, so 8 take 2 turns. K: 1024 rows of 256 bytes are 4 tiles of 8 x 16 x 2 rows, each
    # one DRAM row in 2 ranks; V: 128 rows of 2 KB in 2 parts, one a rank: a tile of 4 chunks of 256 bytes.
    for half, first in ((scores, 0), (context, 8)):
        assert (half.side, half.turns, half.base_row, half.head_rows) == (4, 2, first, 4)
        opened = 2 * 3 * 4 * 2  # turns x queries of a KV head x rows x ranks
        counts = half.kernel.counts()
        assert counts["ACTAB"] == opened
        assert counts["MACAB"] == opened * 64
        assert counts["WRREG"] == opened * 8 + 2 * 9  # 128 values of 2 bytes a row; programs of both ranks
        assert counts["MODE"] == 4  # in and out once
        rows = half.kernel.commands[:, m.G_ROW]
        assert set(rows[rows >= 0]) == set(range(first, first + 8))
        # All of K or V, once for each query head that uses it.
        assert half.kernel.operand_bytes == 3 * 8 * 1024 * 128 * 2
    assert scores.kernel.counts()["RDRES"] == 2 * 3 * 4 * 2 * 16
    assert context.kernel.counts()["RDRES"] == 2 * 3 * 2 * 16


@pytest.mark.parametrize(("name", "dtype"), PARTS)
@pytest.mark.parametrize("kv_heads", [1, 3, 8])
def test_every_turn_is_the_product_in_rows_of_its_own(name: str, dtype: str, kv_heads: int) -> None:
    pim, dram = parts(name)
    shape = AttentionShape(heads=2 * kv_heads, kv_heads=kv_heads, head_dim=64, context=500)
    taken: list[set[int]] = []
    for half in compile_attention(pim, dram, shape, dtype):
        own = half.product.channels
        split = 0 if pim.protocol == "lockstep" else 1
        alone = compile_gemv(pim, dram, half.rows, half.cols, dtype, batch=2, channels=own, split=split)
        # Mode changes, and on two ranks programs of 9 writes, come once.
        head, tail = (2 + 2 * 9, 2) if pim.protocol == "lockstep" else (0, 0)
        body = alone.commands[head : len(alone.commands) - tail]
        assert half.side * half.turns >= kv_heads > half.side * (half.turns - 1)
        assert half.side * own == pim.channels
        whole = half.kernel.commands[head : len(half.kernel.commands) - tail]
        for turn, mine in enumerate(np.split(whole, half.turns)):
            moved = mine.copy()
            has_row = mine[:, m.G_ROW] >= 0
            moved[has_row, m.G_ROW] -= half.base_row + turn * half.head_rows
            assert (moved == body).all()
            taken.append(set(mine[has_row, m.G_ROW]))
    assert sum(map(len, taken)) == len(set().union(*taken))  # no row serves two heads, or K and V


@pytest.mark.parametrize(("name", "dtype"), PARTS)
def test_shared_kv_heads_cost_as_much_as_heads_and_less_memory(name: str, dtype: str) -> None:
    pim, dram = parts(name)
    shared = compile_attention(pim, dram, LLAMA, dtype)
    own = AttentionShape(heads=24, kv_heads=24, head_dim=128, context=1024)
    for few, many in zip(shared, compile_attention(pim, dram, own, dtype), strict=True):
        assert few.kernel.operand_bytes == many.kernel.operand_bytes
        assert few.turns * few.head_rows < many.turns * many.head_rows
        cost = cost_of(dram, pim, Controller(), few.kernel)
        assert cost.peak_clocks + sum(cost.lost.values()) == cost.clocks
        # The host would read the cache of 8 heads, a third of that of 24.
        assert cost.host_peak_ns == pytest.approx(
            cost_of(dram, pim, Controller(), many.kernel).host_peak_ns / 3
        )


@pytest.mark.parametrize(("name", "dtype"), PARTS)
def test_the_programs_break_no_rule(name: str, dtype: str) -> None:
    pim, dram = parts(name)
    for half in compile_attention(pim, dram, LLAMA, dtype, fences=True):
        time, log = log_kernel(dram, pim, Controller(), half.kernel, HostDrive(fence_ns=60))
        assert time.refreshes >= time.refreshes_due - 1
        found = audit(log, dram, pim)
        assert found.empty, found.head(20).to_string()


@pytest.mark.parametrize(("name", "dtype"), [*PARTS, ("lpddr5x-pim-9600", "w4a16"), ("lpddr5-aim", "bf16")])
def test_scores_and_context_on_data(name: str, dtype: str) -> None:
    pim, dram = parts(name)
    shape = AttentionShape(heads=6, kv_heads=2, head_dim=64, context=130)
    assert check_attention(pim, dram, shape, dtype)["ok"]


@pytest.mark.parametrize("name", ["lpddr5x-pim-8533", "gddr6-aim"])
def test_a_whole_attention_with_softmax_by_the_host(name: str) -> None:
    pim, dram = parts(name)
    shape = AttentionShape(heads=6, kv_heads=2, head_dim=64, context=200)
    halves = compile_attention(pim, dram, shape, "bf16")
    split = 0 if pim.protocol == "lockstep" else 1
    rng = np.random.default_rng(1)
    q, k, v = (bf16_bits(rng.normal(size=size)) for size in ((6, 64), (2, 200, 64), (2, 200, 64)))

    def times(half: int, held: np.ndarray, vectors: np.ndarray) -> np.ndarray:
        channels = halves[half].product.channels
        return product_on_data(pim, dram, held, vectors, "bf16", channels=channels, split=split)

    def softmax(s: np.ndarray) -> np.ndarray:
        e = np.exp((s - s.max(axis=1, keepdims=True)) / np.sqrt(64))
        return e / e.sum(axis=1, keepdims=True)

    for head in range(2):
        mine = q[3 * head : 3 * head + 3]  # queries in the order of the KV heads they share
        p = softmax(times(0, k[head], mine))
        got = times(1, np.ascontiguousarray(v[head].T), bf16_bits(p))
        wanted = softmax(bf16_values(mine) @ bf16_values(k[head]).T) @ bf16_values(v[head])
        assert np.abs(got - wanted).max() < 0.02  # BF16: 8 bits of p, of scores and of results


def test_what_does_not_fit_or_add_up_is_refused() -> None:
    pim, dram = parts("lpddr5x-pim-8533")
    with pytest.raises(SpecError, match="heads=7 and kv_heads=2; wanted as many heads for each KV head"):
        AttentionShape(heads=7, kv_heads=2, head_dim=64, context=10)
    # K of a head takes 64 rows of every bank (1024 tokens a row), V 128 rows of 512 in 8 parts, one a rank.
    for kv_heads, what, needed in ((1025, "K", 1025 * 64), (1020, "K and V", 1020 * 64 * 2)):
        big = AttentionShape(heads=kv_heads, kv_heads=kv_heads, head_dim=128, context=1 << 16)
        with pytest.raises(
            SpecError, match=f": {what} of {kv_heads} KV heads, .* need {needed} rows of every"
        ):
            compile_attention(pim, dram, big, "bf16", fences=False)
    hbm, hbm_dram = parts("hbm-pim-2000")
    with pytest.raises(SpecError, match="hbm-pim-2000: its units keep a sum a lane; attention wants"):
        compile_attention(hbm, hbm_dram, LLAMA, "fp16")
