"""The site of the documentation: built with warnings as errors, loads nothing, leaves no page out."""

import re
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
PAGES = sorted(page.relative_to(ROOT / "docs").as_posix() for page in (ROOT / "docs").rglob("*.md"))


def test_every_page_is_in_the_navigation():
    text = (ROOT / "mkdocs.yml").read_text(encoding="utf-8")
    named = re.findall(r"([\w/-]+\.md)$", text, flags=re.MULTILINE)
    assert sorted(named) == PAGES


def test_the_limits_that_reports_print_are_explained():
    from pimsim.report.limits import RUN_LEAVES_OUT, SAMPLED

    text = (ROOT / "docs" / "limits.md").read_text(encoding="utf-8").replace("**", "").replace("\n  ", " ")
    for sentence in (*RUN_LEAVES_OUT, SAMPLED):
        assert sentence.split(":")[0].split(" (")[0].rstrip(".") in text


@pytest.mark.extra
def test_the_site_builds_without_a_warning_and_loads_nothing(tmp_path):
    pytest.importorskip("mkdocs")
    pytest.importorskip("material")
    pytest.importorskip("mkdocstrings")
    command = [sys.executable, "-m", "mkdocs", "build", "--strict", "--site-dir", str(tmp_path / "site")]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    for page in (tmp_path / "site").rglob("*.html"):
        text = page.read_text(encoding="utf-8")
        assert not re.findall(r'<(?:script|link|img|iframe)[^>]*(?:src|href)="https?://[^"]*"', text), page
    reference = (tmp_path / "site" / "reference" / "run.html").read_text(encoding="utf-8")
    assert "Run a model with a method on a system" in reference
