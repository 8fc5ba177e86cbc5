"""Values in a notebook, and the tutorial as one: run again, it prints what is stored in it."""

from pathlib import Path

import pytest

from pimsim.devices import parts
from pimsim.result import Result, capacity_bytes, table
from pimsim.system import exynos2400
from pimsim.trace.llm import load_config, prefill_trace

ROOT = Path(__file__).resolve().parents[1]
NOTEBOOK = ROOT / "docs" / "tutorial.ipynb"


def test_values_show_themselves():
    for name, part in parts().items():
        assert name in part._repr_html_()
        assert "<script" not in part._repr_html_()
    assert "68.27 GB/s" in exynos2400()._repr_html_()
    trace = prefill_trace(load_config("llama-3.2-1b"), 128)._repr_html_()
    assert "249,633,439,744" in trace  # FLOP of the products, as `pimsim trace` prints them
    capacity = table("capacity", [("pim", "x", "w", "weights", 2_000_000_000)])
    shown = Result(
        spans=table("spans", []),
        counters=table("counters", []),
        capacity=capacity,
        summary={
            "model": "<b>m</b>", "method": "x", "system": "s", "prompt": 1, "tokens": 1, "ttft_s": 0.5,
            "tpot_s": None, "total_s": 0.5, "capacity_bytes": capacity_bytes(capacity),
        },
        manifest={},
    )._repr_html_()  # fmt: skip
    assert "2 GB" in shown
    assert "&lt;b&gt;m" in shown
    assert "spans (0 rows)" in shown


def cells(nb):
    return [cell for cell in nb.cells if cell.cell_type == "code"]


def printed(cell):
    return "".join(out.text for out in cell.outputs if out.output_type == "stream")


@pytest.mark.extra
def test_the_notebook_runs_and_prints_what_it_holds(tmp_path):
    nbformat = pytest.importorskip("nbformat")
    nbclient = pytest.importorskip("nbclient")
    pytest.importorskip("ipykernel")
    stored = nbformat.read(NOTEBOOK, as_version=4)
    again = nbformat.read(NOTEBOOK, as_version=4)
    nbclient.NotebookClient(again, timeout=600, resources={"metadata": {"path": str(tmp_path)}}).execute()
    assert [printed(cell) for cell in cells(again)] == [printed(cell) for cell in cells(stored)]
    assert any(printed(cell) for cell in cells(stored))
    assert all(not any(out.output_type == "error" for out in cell.outputs) for cell in cells(again))
