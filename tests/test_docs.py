"""The documentation tells the truth: its Python blocks run and print what they show, its commands parse,
its links lead somewhere, and the constants in the calibration table are those of the code."""

from __future__ import annotations

import contextlib
import io
import re
import shlex
from pathlib import Path
from typing import Any

import pytest
import typer

from pimsim import agents
from pimsim.cli import app
from pimsim.devices import cpu as host
from pimsim.devices.dram import stream
from pimsim.methods import METHODS
from pimsim.system import exynos2400

ROOT = Path(__file__).resolve().parents[1]
PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md"))]
BLOCK = re.compile(r"^```(\w*)\n(.*?)^```\n", re.MULTILINE | re.DOTALL)


def blocks(page: Path) -> list[tuple[str, str, int]]:
    """(language, text, first line number) of each fenced block."""
    text = page.read_text(encoding="utf-8")
    return [(m[1], m[2], text.count("\n", 0, m.start()) + 2) for m in BLOCK.finditer(text)]


def name(page: Path) -> str:
    return page.relative_to(ROOT).as_posix()


@pytest.mark.parametrize("page", PAGES, ids=name)
def test_python_blocks_run_and_print_what_follows(
    page: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A `text` block right after a `python` block is what it prints. One namespace a page."""
    monkeypatch.chdir(tmp_path)
    before = dict(METHODS)  # a page may add to it
    here: dict[str, Any] = {"__name__": "__docs__"}
    found = blocks(page)
    try:
        for i, (language, code, line) in enumerate(found):
            if language != "python":
                continue
            said = io.StringIO()
            with contextlib.redirect_stdout(said):
                exec(compile("\n" * (line - 1) + code, str(page), "exec"), here)
            if found[i + 1 :] and found[i + 1][0] == "text":
                assert said.getvalue() == found[i + 1][1], f"{name(page)}, block at line {line}"
    finally:
        METHODS.clear()
        METHODS.update(before)


@pytest.mark.extra
@pytest.mark.parametrize("page", [ROOT / "docs" / "workloads.md"], ids=name)
def test_blocks_that_need_pytorch(page: Path) -> None:
    """Blocks marked `py` run where PyTorch is installed."""
    pytest.importorskip("torch")
    found = blocks(page)
    for i, (language, code, line) in enumerate(found):
        if language == "py":
            said = io.StringIO()
            with contextlib.redirect_stdout(said):
                exec(compile("\n" * (line - 1) + code, str(page), "exec"), {"__name__": "__docs__"})
            assert said.getvalue() == found[i + 1][1], f"{name(page)}, block at line {line}"


def commands() -> list[tuple[str, str]]:
    return [
        (name(page), line.split("#")[0])
        for page in PAGES
        for language, text, _ in blocks(page)
        if language == "sh"
        for line in text.splitlines()
        if line.startswith("pimsim ")
    ]


@pytest.mark.parametrize(("page", "line"), commands())
def test_commands_are_accepted(page: str, line: str) -> None:
    words = shlex.split(line)[1:]
    group = typer.main.get_command(app)
    with group.make_context("pimsim", list(words), resilient_parsing=True) as context:
        command = group.get_command(context, words[0])  # type: ignore[attr-defined]
        assert command is not None, f"{page}: no command {words[0]!r}"
        command.make_context(words[0], words[1:])


@pytest.mark.parametrize("page", PAGES, ids=name)
def test_links_lead_to_files(page: Path) -> None:
    prose = BLOCK.sub("", page.read_text(encoding="utf-8"))
    for target in re.findall(r"\]\(([^)#]+)\)", prose):
        if "://" not in target:
            assert (page.parent / target).exists(), f"{name(page)}: {target}"


def constants() -> list[tuple[str, str]]:
    """(expressions, values) of the calibration table whose first column is code and second is not."""
    rows = []
    for line in (ROOT / "docs" / "calibration.md").read_text(encoding="utf-8").splitlines():
        cells = [cell.strip() for cell in line.strip("|").split("|")]
        if line.startswith("| `") and not cells[1].startswith("`"):
            rows.append((cells[0], cells[1]))
    return rows


@pytest.mark.parametrize(("expressions", "values"), constants())
def test_calibration_table_holds_the_values_of_the_code(expressions: str, values: str) -> None:
    system = exynos2400()
    names = {
        "system": system, "cpu": system.cpu, "x4": system.cpu.cores[0], "a720": system.cpu.cores[1],
        "dram": system.dram, "pim": system.pim, "host": host, "agents": agents, "stream": stream,
    }  # fmt: skip
    got = [eval(expression, names) for expression in re.findall(r"`([^`]+)`", expressions)]
    assert (str(got[0]) if len(got) == 1 else ", ".join(map(str, got))) == values


def test_calibration_table_shows_the_address_maps() -> None:
    text = (ROOT / "docs" / "calibration.md").read_text(encoding="utf-8")
    for mapping in (exynos2400().host_mapping, exynos2400().pim_mapping):
        drawn = re.sub(r" \w+\[\d+\]\^=.*", "", str(mapping))
        assert f"`{drawn}`" in text
