"""Tables: units in headings, figures below each other, the same text every time."""

import io
import json
from dataclasses import replace

import pandas as pd
import pytest
from rich.console import Console

from pimsim.checks import Check, Tolerance
from pimsim.errors import SpecError
from pimsim.report.report import Report, load_report, records, report_text, reports_json, write_report
from pimsim.report.tables import cells, checks_text, frame_text, header, print_checks, print_frame

FRAME = pd.DataFrame({"method": ["[red]ddb", "owr"], "prompt": [64, 128], "ttft_s": [3.5, 11.25]})

CHECKS = [
    Check(quantity="saving", setting="1B", ours=47.83, expected=47.8, unit="%", tolerance=Tolerance(abs=0.1),
          source="paper"),
    Check(quantity="order", setting="3B", ours=False, source="paper"),
]  # fmt: skip


def printed(terminal, what):
    text = io.StringIO()
    what(Console(file=text, force_terminal=terminal, width=120, color_system="standard"))
    return text.getvalue()


def test_headings_carry_units():
    assert header("ttft_s") == "ttft [s]"
    assert header("read_bytes") == "read [bytes]"
    assert header("error_percent") == "error [%]"
    assert header("buffers") == "buffers"
    assert header("s") == "s"
    assert header("memory.dram.timings.RCD_ns") == "memory.dram.timings.RCD_ns"  # a path, as it is typed
    assert header("llama-3.2-1b_percent") == "llama-3.2-1b [%]"  # a name with a dot is none


def test_numbers_line_up():
    assert cells([1.5, 20.25, None]) == ["1.50", "20.25", "-"]
    assert cells([10.0, 20.0]) == ["10", "20"]
    assert cells([1e-9, 2.0]) == ["1e-09", "2"]
    assert cells([1234, 12345, True]) == ["1234", "12,345", "yes"]


def test_plain_text():
    assert frame_text(FRAME) == (
        "method    prompt  ttft [s]\n"
        "--------  ------  --------\n"
        "[red]ddb      64      3.50\n"
        "owr          128     11.25\n"
    )
    assert "(no rows)" in frame_text(FRAME[:0])


def test_a_pipe_gets_plain_text_and_a_terminal_a_drawn_table():
    piped = printed(False, lambda console: print_frame(FRAME, "Times", console))
    assert piped == f"Times\n\n{frame_text(FRAME)}"
    drawn = printed(True, lambda console: print_frame(FRAME, "Times", console))
    assert "[red]ddb" in drawn
    assert "ttft [s]" in drawn
    assert "┃" in drawn


def test_long_lines_are_not_cut_in_a_pipe():
    wide = pd.DataFrame({"source": ["x" * 300]})
    assert "x" * 300 in printed(False, lambda console: print_frame(wide, "", console))


def test_checks_read_without_colour():
    for text in (checks_text(CHECKS), printed(False, lambda console: print_checks(CHECKS, console))):
        assert "MISS" in text
        assert "\x1b" not in text
        assert "1 of 2 checks hold" in text
    coloured = printed(True, lambda console: print_checks(CHECKS, console))
    assert "MISS" in coloured
    assert "\x1b[32m" in coloured


def report(name="ttft"):
    return Report(
        name=name,
        question="How long?",
        tables={"times": FRAME.assign(gap=[0.5, float("nan")])},
        checks=CHECKS,
        leaves_out=("Heat.",),
    )


def test_report_as_text_and_json():
    text = report_text(report())
    assert text.startswith("How long?\n")
    assert "- Heat.\n" in text
    said = report().to_json()
    assert set(said) == {"checks", "tables"}
    assert said["tables"]["times"][1]["gap"] is None
    assert said["checks"][1] == {
        "quantity": "order",
        "setting": "3B",
        "ours": False,
        "expected": None,
        "difference": None,
        "unit": "",
        "tolerance": "holds",
        "source": "paper",
        "ok": False,
    }
    assert set(reports_json([report("a"), report("b")])["tables"]) == {"a/times", "b/times"}
    assert type(records(FRAME)[0]["prompt"]) is int


def test_a_report_is_loaded_as_it_was_written(tmp_path):
    # Every kind of value: a missing number, whole and broken ones, a number that is none.
    odd = Check(quantity="q", setting="s", ours=float("nan"), tolerance=Tolerance(low=0.1 + 0.2), source="x")
    some = replace(report(), checks=[*CHECKS, odd], tables={"t": FRAME.assign(gap=[0.1 + 0.2, float("nan")])})
    write_report(some, tmp_path / "a")
    again = load_report(tmp_path / "a")
    assert report_text(again) == report_text(some)
    assert again.checks[:-1] == some.checks[:-1]
    assert again.checks[-1].tolerance == odd.tolerance
    pd.testing.assert_frame_equal(again.tables["t"], some.tables["t"])
    write_report(again, tmp_path / "b")
    for file in (tmp_path / "a").iterdir():
        assert (tmp_path / "b" / file.name).read_bytes() == file.read_bytes()


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"schema": "pimsim.result"}, "wanted 'pimsim.report', version 1"),
        ({"limits": []}, "not a report"),
        ({"tables": {"times": [{}]}}, "not a report"),
    ],
)
def test_a_damaged_report_is_refused(tmp_path, change, said):
    write_report(report(), tmp_path / "a")
    path = tmp_path / "a" / "report.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | change))
    with pytest.raises(SpecError, match=said):
        load_report(tmp_path / "a")


def test_a_report_on_disk_is_the_same_bytes(tmp_path):
    for name in ("a", "b", "a"):
        write_report(report(), tmp_path / name)
    files = sorted(p.name for p in (tmp_path / "a").iterdir())
    assert files == ["checks.csv", "report.json", "report.txt", "times.csv"]
    for file in files:
        assert (tmp_path / "a" / file).read_bytes() == (tmp_path / "b" / file).read_bytes()
