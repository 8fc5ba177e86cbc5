"""Capacity arithmetic of PIM-SHERPA (arXiv 2603.09216).

Expected percentages: the paper's abstract gives 47.8 to 49.7 %; the two-decimal values were worked out
by hand from the Llama 3.2 shapes with saving = (W - n * b) / (2 W + P), not by pimsim.
"""

import pytest

from pimsim.errors import PlacementError
from pimsim.placement import (
    Attribute,
    Ledger,
    LedgerRow,
    PimLayout,
    host_bytes,
    host_rows,
    pim_copy_bytes,
    pim_rows,
    saving,
)
from pimsim.trace.op import Tensor

PHONE = PimLayout(channels=4, ranks=2, banks=16)
MIB = 2**20
VOCAB = 128256
PADDED_VOCAB = {"embed": 131072}


def llama(layers: int, hidden: int, kv: int, feed_forward: int = 8192) -> list[Tensor]:
    """Weights of Llama 3.2 1B or 3B in BF16; the embedding is the output head too."""

    def weight(name: str, *shape: int) -> Tensor:
        return Tensor(name=name, shape=shape, dtype="bf16", role="weight")

    weights = [weight("embed", VOCAB, hidden), weight("norm", hidden)]
    for i in range(layers):
        weights += [
            weight(f"{i}.q", hidden, hidden),
            weight(f"{i}.k", kv, hidden),
            weight(f"{i}.v", kv, hidden),
            weight(f"{i}.o", hidden, hidden),
            weight(f"{i}.gate", feed_forward, hidden),
            weight(f"{i}.up", feed_forward, hidden),
            weight(f"{i}.down", hidden, feed_forward),
            weight(f"{i}.norm1", hidden),
            weight(f"{i}.norm2", hidden),
        ]
    return weights


LLAMA_1B = llama(layers=16, hidden=2048, kv=512)
LLAMA_3B = llama(layers=28, hidden=3072, kv=1024)


@pytest.mark.parametrize(
    ("weights", "parameters", "padding_mb"),
    [(LLAMA_1B, 1_235_814_400, 78.6), (LLAMA_3B, 3_212_749_824, 17.3)],
    ids=["1B", "3B"],
)
def test_weights_and_padding(weights: list[Tensor], parameters: int, padding_mb: float) -> None:
    assert host_bytes(weights) == 2 * parameters
    padding = pim_copy_bytes(weights, PHONE, PADDED_VOCAB) - host_bytes(weights)
    assert padding / 1e6 == pytest.approx(padding_mb, abs=0.05)
    # vocabulary padded to whole tiles only: 70.3 and 4.7 MB
    less = pim_copy_bytes(weights, PHONE) - host_bytes(weights)
    assert less / 1e6 == pytest.approx(padding_mb - (8.4 if len(weights) < 200 else 12.6), abs=0.06)


def buffered(weights: list[Tensor], buffers: int, buffer_bytes: int) -> int:
    return pim_copy_bytes(weights, PHONE, PADDED_VOCAB) + buffers * buffer_bytes


@pytest.mark.parametrize(
    ("weights", "buffer_mib", "double", "single"),
    [
        (LLAMA_1B, 32, 47.88, 48.55),
        (LLAMA_3B, 32, 49.41, 49.67),
        (LLAMA_3B, 48, 49.15, 49.54),
    ],
    ids=["1B", "3B", "3B-48MiB"],
)
def test_savings(weights: list[Tensor], buffer_mib: int, double: float, single: float) -> None:
    duplicated = host_bytes(weights) + pim_copy_bytes(weights, PHONE, PADDED_VOCAB)
    assert saving(duplicated, buffered(weights, 2, buffer_mib * MIB)) == pytest.approx(double, abs=0.005)
    assert saving(duplicated, buffered(weights, 1, buffer_mib * MIB)) == pytest.approx(single, abs=0.005)


def test_savings_with_the_padding_that_the_paper_reports() -> None:
    w, p, b = host_bytes(LLAMA_1B), 80 * MIB, 32 * MIB
    assert saving(2 * w + p, w + p + 2 * b) == pytest.approx(47.83, abs=0.005)
    assert saving(2 * w + p, w + p + b) == pytest.approx(48.50, abs=0.005)


def test_buffers_of_the_largest_3b_matrix_cannot_give_the_published_saving() -> None:
    w, b = host_bytes(LLAMA_3B), 48 * MIB
    assert saving(2 * w, w + 2 * b) == pytest.approx(49.22, abs=0.005)  # even without padding: not 49.4
    assert saving(2 * w, w + b) == pytest.approx(49.61, abs=0.005)  # not 49.7


def test_the_ledger_counts_padding_as_its_own_rows() -> None:
    ledger = pim_rows(LLAMA_1B, PHONE, region="pim", pad_rows=PADDED_VOCAB)
    ledger += Ledger(
        rows=(
            LedgerRow(
                region="host", attribute=Attribute.CACHEABLE, item="buffer", kind="buffer", bytes=32 * MIB
            ),
        )
    )
    assert ledger.by_kind() == {
        "weights": host_bytes(LLAMA_1B),
        "padding": 64 * MIB + 2816 * 2048 * 2,
        "buffer": 32 * MIB,
    }
    assert ledger.by_region() == {
        "pim": pim_copy_bytes(LLAMA_1B, PHONE, PADDED_VOCAB),
        "host": 32 * MIB,
    }
    padded = {row.item for row in ledger.rows if row.kind == "padding"}
    assert padded == {"embed"} | {f"{i}.{name}" for i in range(16) for name in "kv"}
    frame = ledger.to_frame()
    assert list(frame.columns) == ["region", "attribute", "item", "kind", "bytes"]
    assert frame["bytes"].sum() == ledger.total()
    assert frame["bytes"].dtype == "int64"
    assert set(frame["attribute"]) == {"cacheable", "non-cacheable"}
    assert list(Ledger().to_frame().columns) == list(frame.columns)


def test_host_rows_have_no_padding() -> None:
    ledger = host_rows(LLAMA_1B, region="host")
    assert ledger.by_kind() == {"weights": host_bytes(LLAMA_1B)}
    assert len(ledger.rows) == len(LLAMA_1B)


def test_unknown_names_are_refused() -> None:
    with pytest.raises(PlacementError, match="no weight named 'embedding'; did you mean 'embed'"):
        pim_copy_bytes(LLAMA_1B, PHONE, {"embedding": 131072})
    with pytest.raises(PlacementError, match="no kind named 'weight'; did you mean 'weights'"):
        LedgerRow(region="r", attribute=Attribute.CACHEABLE, item="i", kind="weight", bytes=1)
    with pytest.raises(PlacementError, match="-1 bytes"):
        LedgerRow(region="r", attribute=Attribute.CACHEABLE, item="i", kind="kv", bytes=-1)
    with pytest.raises(PlacementError, match="baseline of 0"):
        saving(0, 1)
