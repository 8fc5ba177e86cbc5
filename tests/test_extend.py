"""docs/extend.md done as it says: two files outside the package, at most 60 lines each, and its commands."""

import json
import re
import shlex
from pathlib import Path

import pytest

from pimsim.cli import main
from pimsim.devices import NpuSpec, PimSpec, part
from pimsim.devices.python_file import from_file
from pimsim.errors import PimsimError
from pimsim.methods import Method, load_method

PAGE = Path(__file__).resolve().parents[1] / "docs" / "extend.md"


def blocks(language):
    return re.findall(rf"^```{language}\n(.*?)^```", PAGE.read_text(encoding="utf-8"), flags=re.M | re.S)


@pytest.fixture
def files(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    for name, text in zip(("my_unit.py", "my_method.py"), blocks("python"), strict=False):
        (tmp_path / name).write_text(text, encoding="utf-8")
    return tmp_path


def test_lines_are_counted_right_and_few(files):
    said = dict(re.findall(r"^\| `(\w+\.py)` \| (\d+) \|$", PAGE.read_text(encoding="utf-8"), flags=re.M))
    for name in ("my_unit.py", "my_method.py"):
        lines = [line for line in (files / name).read_text().splitlines() if line.strip()]
        assert int(said[name]) == len(lines) <= 60


def test_the_lines_on_the_page_of_trials_are_those_of_the_pages(files):
    docs = PAGE.parent
    said = re.findall(
        r"^\| \[.*\]\((.*)\) \| 1 \| (\d+) \|$", (docs / "tried.md").read_text("utf-8"), flags=re.M
    )
    counted = []
    for page, count in ((PAGE, 2), (docs / "howto-npu.md", 1)):
        found = re.findall(r"^```python\n(.*?)^```", page.read_text(encoding="utf-8"), flags=re.M | re.S)
        counted += [
            (page.name, str(sum(1 for line in block.splitlines() if line.strip()))) for block in found[:count]
        ]
    assert said == counted


def test_the_commands_of_the_page_work(files, capsys):
    done = []
    for block in blocks("sh"):
        for line in block.splitlines():
            assert main([*shlex.split(line)[1:]]) == 0, capsys.readouterr().err
            done.append(capsys.readouterr().out)
    assert "right" in done[0]  # the product on data
    assert "my-phone" in done[1]
    assert "layer-at-a-time" in done[2]
    assert "By phase and cause" in done[4]


def test_what_a_file_prints_is_not_part_of_the_result(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "loud.py").write_text(
        "from dataclasses import replace\nfrom pimsim.devices import NpuSpec, part\n"
        "A = replace(part('mobile-64x64', NpuSpec), name='a')\nprint('a is made')\n"
    )
    assert main(["npu", "--gemm", "8", "8", "8", "--part", "loud.py:A", "--json", "--quiet"]) == 0
    said = capsys.readouterr()
    assert json.loads(said.out)["part"] == "a"
    assert said.err == "a is made\n"


def test_what_a_file_may_hold(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "mine.py").write_text(
        "from dataclasses import replace\n"
        "from pimsim.devices import PimSpec, part\n"
        "from pimsim.methods import facil\n"
        "A = replace(part('lpddr5x-pim-8533', PimSpec), name='a')\n"
        "def b():\n    return replace(A, name='b')\n"
        "METHOD = replace(facil.METHOD, name='mine')\n"
    )
    assert part("mine.py:A", PimSpec).name == "a"
    assert part("mine.py:b", PimSpec).name == "b"
    assert part("mine.py", PimSpec).name == "a"
    assert load_method("mine.py:METHOD").name == "mine"
    assert load_method("mine.py").name == "mine"
    (tmp_path / "broken.py").write_text("x = 1\ny = 1 / 0\n")
    (tmp_path / "wrong.py").write_text("x = (\n")
    for text, kind, said in (
        ("mine.py:B", PimSpec, "nothing is named 'B'; known: A"),
        ("mine.py:A", Method, "is a PimSpec; a Method is wanted"),
        ("mine.py", NpuSpec, "it has none; name one NpuSpec"),
        ("none.py:A", PimSpec, "no such file"),
        ("broken.py:x", PimSpec, "broken.py:2: ZeroDivisionError"),
        ("wrong.py:x", PimSpec, "wrong.py:1: "),
    ):
        with pytest.raises(PimsimError, match=re.escape(said)):
            from_file(text, kind)
