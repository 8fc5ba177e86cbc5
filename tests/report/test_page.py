"""Report pages: what they say, and in a browser that they draw, filter and load nothing."""

import json
import re

import numpy as np
import pandas as pd
import pytest
from browser import available, chromium, opened

from pimsim.checks import Check, Tolerance
from pimsim.cli import main
from pimsim.errors import PimsimError
from pimsim.machine import describe
from pimsim.report import views
from pimsim.report.inputs import Inputs, read_inputs
from pimsim.report.report import Report, write_report
from pimsim.result import Result, capacity_bytes, table
from pimsim.sweep import Axis, Function, Store, Sweep, prepare, run_sweep
from pimsim.system import exynos2400

BYTES = [(0, 1_000_000, -1, 40_000, 8_000, 0, 8), (1_000_000, 3_000_000, -1, 0, 0, 90_000, 0)]


def run(method, slower=1, traffic=BYTES, activity=()):
    capacity = table("capacity", [("pim", "non-cacheable", "w", "weights", 2_000_000_000)])
    return Result(
        spans=table(
            "spans",
            [
                ("q <proj>", "gemm", "prefill", 0, "cpu:t0", 0, 1_500_000 * slower),
                ("copy q", "copy", "prefill", 0, "cpu:t1", 0, 1_000_000),
                ("head", "pim_gemv", "decode[0]", -1, "pim", 2_000_000 * slower, 5_000_000 * slower),
            ],
        ),
        counters=table("counters", [("dram", "read energy", 3.0, "pJ")]),
        capacity=capacity,
        traffic=table("traffic", traffic),
        activity=table("activity", activity),
        summary={
            "model": "tiny", "method": method, "system": "exynos2400", "prompt": 8, "tokens": 2,
            "ttft_s": 0.25 * slower, "tpot_s": 0.125, "total_s": 0.5 * slower,
            "capacity_bytes": capacity_bytes(capacity),
        },
        manifest={"settings": {"fidelity": "sampled"}, "machine": describe(exynos2400())},
    )  # fmt: skip


def test_rates_keep_the_bytes():
    """The areas below the curves of the whole run are the bytes that moved, by hand 40, 8 and 90 kB."""
    frame = views.rates(run("a"))
    frame = frame[frame["window"] == "whole run"]
    area = frame["rate"] * (frame["to_ms"] - frame["from_ms"]) * 1e6  # GB/s x ms
    by = area.groupby(frame["series"]).sum()
    assert by["read"] == pytest.approx(40_000, rel=1e-3)
    assert by["written"] == pytest.approx(8_000, rel=1e-3)
    assert by["read by PIM units"] == pytest.approx(90_000, rel=1e-3)
    pins = frame[frame["where"] == "pins"]
    assert pins["high"].max() == pytest.approx(48.0, rel=1e-3)  # 48 kB in 1 us


def test_long_runs_show_a_part_and_say_which():
    rows = [("op", "gemm", "prefill", i % 32, "cpu:t0", i * 10, i * 10 + 9) for i in range(6000)]
    shown, what = views.shown_spans(Result(**{**vars(run("a")), "spans": table("spans", rows)}))
    assert 0 < len(shown) <= views.SPANS_SHOWN
    assert "layers 11 to 19" in what


def test_energies_are_joules():
    assert views.energy(run("a"))["joule"].tolist() == [3e-12]


def test_inputs_are_told_apart_and_bad_ones_named(tmp_path):
    run("a").save(tmp_path / "runs" / "one")
    run("b").save(tmp_path / "runs" / "two")
    run("a").save(tmp_path / "three")
    assert list(read_inputs([tmp_path / "runs"]).runs) == ["a", "b"]
    assert list(read_inputs([tmp_path / "runs", tmp_path / "three"]).runs) == ["one", "two", "three"]
    with pytest.raises(PimsimError, match="no such folder; did you mean 'three'"):
        read_inputs([tmp_path / "thre"])
    (tmp_path / "empty").mkdir()
    with pytest.raises(PimsimError, match="holds neither a run"):
        read_inputs([tmp_path / "empty"])


def measured(settings):
    """A point of a sweep."""
    return {"time_s": settings["prompt"] / 64, "system": "phone"}


def test_a_sweep_is_a_table_of_what_differs(tmp_path):
    (tmp_path / "s").mkdir()
    axes = (Axis(name="prompt", values=(16, 64)), Axis(name="method", values=("facil", "host-only")))
    with Store.open(tmp_path / "s" / "results.sqlite", write=True, make=True) as store:
        run_sweep(prepare(Sweep(name="s", base={}, axes=axes), Function(measured)), store)
    for path in (tmp_path / "s", tmp_path / "s" / "results.sqlite", tmp_path):
        (frame,) = read_inputs([path]).frames.values()
        assert len(frame) == 4
        assert sorted(frame["time_s"]) == [0.25, 0.25, 1.0, 1.0]
        assert "method" in frame.columns
        assert "system" not in frame.columns  # the same of all


def test_without_the_library_the_error_says_what_to_install(tmp_path, monkeypatch, capsys):
    monkeypatch.setitem(__import__("sys").modules, "vl_convert", None)
    run("a").save(tmp_path / "a")
    assert main(["report", str(tmp_path / "a"), "--out", str(tmp_path / "p.html"), "--quiet"]) == 2
    assert "pip install 'pimsim[page]'" in capsys.readouterr().err
    assert not (tmp_path / "p.html").exists()


@pytest.fixture(scope="module")
def written(tmp_path_factory):
    """A page of two runs, a report and a table of many runs."""
    pytest.importorskip("vl_convert")
    from pimsim.report.page import write_page

    folder = tmp_path_factory.mktemp("page")
    activity = [(0, 1_000_000, c, b, 1 + b, 2, 3, 4) for c in range(2) for b in range(4)]
    run("first").save(folder / "one")
    run("second", slower=2, activity=activity).save(folder / "two")
    checks = [
        Check(quantity="time", setting="1B", ours=1.1, expected=1.0, unit="s", tolerance=Tolerance(rel=0.05),
              source="paper"),
        Check(quantity="order", setting="1B", ours=True, source="paper"),
    ]  # fmt: skip
    report = Report(
        name="r", question="Is it fast?", tables={"t": pd.DataFrame({"x_s": [1.0, 2.0]})}, checks=checks,
        leaves_out=("A thing.",),
    )  # fmt: skip
    write_report(report, folder / "report")
    inputs = read_inputs([folder])
    sweep = pd.DataFrame({"banks": [4, 8, 16], "time_s": [3.0, 2.0, 1.0], "method": ["a", "b", "a"]})
    write_page(Inputs(runs=inputs.runs, reports=inputs.reports, frames={"Sweep": sweep}), folder / "p.html")
    return folder / "p.html"


@pytest.mark.extra
def test_the_text_of_a_page(written):
    text = written.read_text(encoding="utf-8")
    for said in ("Is it fast?", "1 of 2 checks", "A thing.", "lpddr5x-pim-8533", "What the models leave out"):
        assert said in text
    assert "q <proj>" not in re.sub(r'<script type="application/json".*?</script>', "", text, flags=re.S)
    data = re.search(r'id="charts">(.*?)</script>', text, flags=re.S)
    assert len(json.loads(data[1])) >= 12
    assert len(text) < 1_500_000
    loaded = re.findall(r'(?:src|href)="(?!data:)([^"]*)"', text.split('<script type="module">')[0])
    assert loaded == []


@pytest.mark.extra
@pytest.mark.skipif(not available(), reason="needs Chromium with its driver, and Selenium")
def test_a_page_in_a_browser(written):
    with chromium() as driver:
        drawn = opened(driver, written)
        places = driver.find_elements("css selector", ".chart")
        assert drawn == len(places) >= 12
        assert all(place.find_elements("css selector", "svg, canvas") for place in places)
        assert [entry for entry in driver.get_log("browser") if entry["level"] == "SEVERE"] == []

        def rows(mark):
            return driver.execute_script(
                "return window.pimsim.views.map(({view}) => view.data('data_0') || view.data('source_0'))"
                ".filter((rows) => rows.some((row) => 'run' in row))"
                f".map((rows) => rows.filter((row) => row.run === {mark!r}).length)"
            )

        # A run that is not chosen leaves every chart, and what belongs to it alone is hidden.
        assert any(rows("second"))
        hidden = "return document.querySelectorAll('[data-run].hidden').length"
        assert driver.execute_script(hidden) == 0
        driver.find_elements("css selector", "[data-filter-run]")[1].click()
        driver.execute_async_script("setTimeout(arguments[0], 800)")
        assert not any(rows("second"))
        assert any(rows("first"))
        assert driver.execute_script(hidden) > 0
        # The phase leaves only its rows.
        driver.execute_script(
            "const p = document.getElementById('phase');"
            "p.value = 'decode'; p.dispatchEvent(new Event('change'))"
        )
        driver.execute_async_script("setTimeout(arguments[0], 800)")
        phases = driver.execute_script(
            "return window.pimsim.views.flatMap(({view}) => (view.data('data_0') || [])"
            ".map((row) => row.phase)).filter(Boolean)"
        )
        assert set(phases) == {"decode"}
        # A search box keeps matching rows; a heading sorts.
        box = driver.find_element("css selector", "input[data-table]")
        box.send_keys("order")
        table = f"#{box.get_attribute('data-table')} tbody tr"
        shown = [row for row in driver.find_elements("css selector", table) if row.is_displayed()]
        assert len(shown) == 1
        # Dark and back, without errors; colours of the page and of the charts change.
        before = driver.execute_script("return getComputedStyle(document.body).backgroundColor")
        driver.find_element("id", "theme").click()
        driver.execute_async_script("setTimeout(arguments[0], 2500)")
        assert driver.execute_script("return document.documentElement.dataset.drawn") == str(drawn)
        assert driver.execute_script("return getComputedStyle(document.body).backgroundColor") != before
        assert [entry for entry in driver.get_log("browser") if entry["level"] == "SEVERE"] == []
        # Nothing but the file itself was asked for.
        asked = [json.loads(entry["message"])["message"] for entry in driver.get_log("performance")]
        urls = {e["params"]["request"]["url"] for e in asked if e["method"] == "Network.requestWillBeSent"}
        urls = {url for url in urls if not url.startswith("chrome")}  # the browser's own first tab
        assert {url.split(":")[0] for url in urls} <= {"file", "data", "blob"}
        assert {url for url in urls if url.startswith("file")} == {written.resolve().as_uri()}


@pytest.mark.extra
@pytest.mark.skipif(not available(), reason="needs Chromium with its driver, and Selenium")
def test_a_page_on_a_phone_and_on_paper(written):
    """Nothing sticks out of a narrow window. Dark pages are printed light, with their folded tables."""
    with chromium(500, 900) as driver:
        opened(driver, written)
        size = "return [document.documentElement.scrollWidth, window.innerWidth]"
        width, window = driver.execute_script(size)
        assert width <= window
    with chromium() as driver:
        opened(driver, written)
        driver.find_element("id", "theme").click()
        driver.execute_async_script("setTimeout(arguments[0], 2500)")
        driver.execute_script(
            "window.addEventListener('beforeprint', () => { window.onPaper = ["
            "getComputedStyle(document.body).backgroundColor,"
            "document.querySelectorAll('main details:not(.vega-embed details):not(.long)').length,"
            "document.querySelectorAll('main details[open]').length,"
            "document.querySelectorAll('main details.long[open]').length] })"
        )
        assert driver.print_page()
        background, tables, opened_ones, manifests = driver.execute_script("return window.onPaper")
        assert background == "rgb(255, 255, 255)"
        assert tables == opened_ones > 0
        assert manifests == 0
        assert driver.execute_script("return document.documentElement.dataset.theme") == "dark"
        assert driver.find_elements("css selector", "details[open]") == []


@pytest.mark.extra
def test_equal_inputs_give_equal_pages():
    pytest.importorskip("vl_convert")
    from pimsim.report.page import page

    one, two = (page(Inputs(runs={"a": run("a")})) for _ in range(2))
    assert one == two
    assert np.array_equal(list(one.encode()), list(two.encode()))
