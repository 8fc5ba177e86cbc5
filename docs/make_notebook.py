"""Makes docs/tutorial.ipynb from docs/tutorial.md and runs it: `python docs/make_notebook.py`."""

from __future__ import annotations

import re
import tempfile
from pathlib import Path

import nbformat
from nbclient import NotebookClient
from nbformat.v4 import new_code_cell, new_markdown_cell, new_notebook

HERE = Path(__file__).resolve().parent
FENCE = re.compile(r"^```(\w*)\n(.*?)^```\n?", re.MULTILINE | re.DOTALL)
SHOWN = ("ddb", "exynos2400()")  # values that show themselves, after the blocks that make them


def made() -> nbformat.NotebookNode:
    """The notebook without outputs: Python blocks are code, outputs are left out, the rest is text."""
    text = (HERE / "tutorial.md").read_text(encoding="utf-8")
    cells, at = [], 0
    for block in FENCE.finditer(text):
        language, code = block[1], block[2]
        if language not in ("python", "text"):
            continue  # part of the text
        prose = text[at : block.start()].strip()
        if prose:
            cells.append(new_markdown_cell(prose))
        if language == "python":
            cells.append(new_code_cell(code.rstrip()))
        at = block.end()
    cells.append(new_markdown_cell(text[at:].strip()))
    code = [cell for cell in cells if cell.cell_type == "code"]
    code[0].source += f"\n{SHOWN[0]}"
    code[-1].source += f"\n{SHOWN[1]}"
    for number, cell in enumerate(cells):
        cell.id = f"cell-{number}"
    kernel = {"display_name": "Python 3", "language": "python", "name": "python3"}
    return new_notebook(cells=cells, metadata={"kernelspec": kernel})


def main() -> None:
    """Write the notebook with its outputs."""
    notebook = made()
    with tempfile.TemporaryDirectory() as folder:
        NotebookClient(notebook, timeout=900, resources={"metadata": {"path": folder}}).execute()
    for cell in notebook.cells:
        cell.metadata.pop("execution", None)  # times of day
    nbformat.write(notebook, HERE / "tutorial.ipynb")


if __name__ == "__main__":
    main()
