"""Draws the figures of the documentation from real runs: `python docs/make_figures.py [NAME...]`.

Screenshots need the extras "page" and "browser", and Chromium with its driver.
"""

from __future__ import annotations

import subprocess
import sys
import tempfile
from pathlib import Path

import numpy as np
from matplotlib.figure import Figure

HERE = Path(__file__).resolve().parent
IMG = HERE / "img"
sys.path.insert(0, str(HERE.parent / "tests"))  # the browser of the tests

RUNS = ("double-buffering", "online-rearrangement")
COLOURS = {"ACT": "#E69F00", "RD": "#0072B2", "PRE": "#CC79A7", "REF": "#888888"}


def commands() -> None:
    """The first commands of a stream of reads on one channel."""
    from pimsim.devices.dram.channel import command_log
    from pimsim.devices.dram.stream import Bench, MemoryConfig, Phase, Stream
    from pimsim.placement.mapping import AddressMapping
    from pimsim.system import exynos2400

    phone = exynos2400()
    mapping = AddressMapping.parse("row:16 rank:1 bank:2 column:5 bankgroup:2 column:1")
    config = MemoryConfig(spec=phone.dram, controller=phone.controller, channels=1, mappings=(mapping,))
    bench = Bench(config, log_rows=10_000, skip=False)
    burst = phone.dram.geometry.burst_bytes
    count = 400
    reads = Stream(
        kind="read", phases=(Phase(bursts=count, loops=((1 << 40, burst),)),), bursts=count, window=64,
        gap_ps=0, path_ns=46.0,
    )  # fmt: skip
    bench.start(reads, (0,))
    bench.advance(1 << 40)
    log = command_log(bench.channels)
    log = log[log["clock"] < 260]
    fig = Figure(figsize=(10, 3.6), layout="constrained")
    axes = fig.subplots()
    names = [f"group {g}, bank {b}" for g, b in sorted(set(zip(log["bankgroup"], log["bank"], strict=True)))]
    keys = sorted(set(zip(log["bankgroup"], log["bank"], strict=True)))
    for kind, colour in COLOURS.items():
        part = log[log["command"].str.startswith(kind)]
        rows = [keys.index(key) for key in zip(part["bankgroup"], part["bank"], strict=True)]
        if len(part):
            axes.scatter(part["clock"], rows, marker="|", s=190, color=colour, linewidths=2, label=kind)
    axes.set_yticks(range(len(names)), names)
    axes.set_ylim(len(names) - 0.6, -0.4)
    axes.set_xlabel("command clock (0.9375 ns)")
    axes.set_title("Commands of one LPDDR5X channel: consecutive reads", loc="left", fontweight="bold")
    axes.spines[["top", "right"]].set_visible(False)
    axes.legend(ncols=4, frameon=False, loc="upper right", bbox_to_anchor=(1, 1.16))
    fig.savefig(IMG / "commands.png", dpi=130, metadata={"Software": None})


def skip() -> None:
    """What is stepped and what is skipped of a long stream: a drawing."""
    fig = Figure(figsize=(10, 2.3), layout="constrained")
    axes = fig.subplots()
    axes.barh(0, 26, left=0, color="#0072B2", height=0.5)
    axes.barh(0, 56, left=26, color="#B7D4E8", height=0.5)
    axes.barh(0, 18, left=82, color="#0072B2", height=0.5)
    for at in np.arange(2, 27, 4):
        axes.plot([at, at], [-0.25, 0.42], color="#333333", lw=1)
    for at in np.arange(34, 82, 8):
        axes.plot([at, at], [-0.25, 0.25], color="white", lw=1.5)
    for at, text in (
        (13, "stepped; looks (|)"),
        (54, "whole periods: counted, not stepped"),
        (91, "stepped"),
    ):
        axes.text(at, -0.42, text, ha="center", va="top", fontsize=10)
    arrow = {"arrowstyle": "->", "color": "#D55E00", "lw": 1.6, "connectionstyle": "arc3,rad=-0.35"}
    axes.annotate("", xy=(26, 0.5), xytext=(18, 0.5), arrowprops=arrow)
    axes.text(22, 1.0, "the same state again:\na period", ha="center", color="#D55E00", fontsize=10)
    axes.set_xlim(-1, 101)
    axes.set_ylim(-0.9, 1.6)
    axes.axis("off")
    fig.savefig(IMG / "skip.png", dpi=130, metadata={"Software": None})


def runs(folder: Path) -> list[Path]:
    """Two saved runs."""
    from pimsim import simulate

    made = []
    for method in RUNS:
        simulate("llama-3.2-1b", method, prompt=128, tokens=8).save(folder / method)
        made.append(folder / method)
    return made


def compared(saved: list[Path]) -> None:
    """Why the one takes longer, and a layer of prefill."""
    from pimsim.cli import main

    main(["compare", *map(str, saved), "--figure", str(IMG / "why.png"), "--json"])
    main(["timeline", str(saved[0]), "--out", str(IMG / "timeline.png"), "--quiet"])
    for name in ("why", "timeline"):
        (IMG / f"{name}.svg").unlink()


def screenshots(saved: list[Path]) -> None:
    """The page of both runs, light and dark."""
    from browser import chromium, opened

    with tempfile.TemporaryDirectory() as folder:
        page = Path(folder) / "report.html"
        command = [sys.executable, "-m", "pimsim.cli", "report", *map(str, saved), "--out", str(page), "-q"]
        subprocess.run(command, check=True, stdout=subprocess.DEVNULL)
        with chromium(1240, 1500) as driver:
            opened(driver, page)
            driver.execute_script("document.querySelectorAll('h2')[3].scrollIntoView()")
            for colours in ("light", "dark"):
                if colours == "dark":
                    driver.find_element("id", "theme").click()
                driver.execute_async_script("setTimeout(arguments[0], 4000)")
                driver.save_screenshot(str(IMG / f"report-{colours}.png"))


def perfetto(saved: list[Path]) -> None:
    """A timeline in Perfetto: a layer of prefill, one operator chosen, its flows to the engines."""
    from perfetto_page import perfetto as page

    from pimsim.cli import main

    show = """
    const [begin, end, id, groups] = arguments, workspace = app.trace.workspaces.currentWorkspace;
    const place = track => groups.findIndex(group => track.name.startsWith(group)) + 1 || 99;
    for (const track of [...workspace.children].sort((a, b) => place(a) - place(b))) {
      workspace.addChildLast(track);
      if (place(track) < 99) track.expand();
    }
    app.trace.timeline.setViewportTime(BigInt(begin), BigInt(end));
    app.trace.selection.selectSqlEvent('slice', id);
    """
    layer = (
        "select cast(ts as text) as begin, cast(ts + dur as text) as end from slice where name = 'layer 7'"
    )
    operator = "select id from slice where name = 'up_proj' and id in (select slice_out from flow) and ts > "
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "timeline.json.gz"
        main(["timeline", str(saved[0]), "--out", str(path), "--quiet"])
        with page(1400, 1200) as shown:
            shown.open(path)
            begin, end = shown.ask(layer, begin=str, end=str)[0]
            ((chosen,), *_) = shown.ask(f"{operator} {begin} order by ts", id=int)
            groups = ["phases", "operators", "compute", "copy", "DRAM"]
            shown.driver.execute_script(show, begin, end, chosen, groups)
            shown.driver.execute_async_script("setTimeout(arguments[0], 3000)")
            shown.driver.save_screenshot(str(IMG / "perfetto.png"))


def main(names: list[str]) -> None:
    """Draw the named figures, or all."""
    IMG.mkdir(exist_ok=True)
    wanted = set(names) or {"commands", "skip", "compared", "screenshots", "perfetto"}
    for name, draw in (("commands", commands), ("skip", skip)):
        if name in wanted:
            draw()
    if wanted & {"compared", "screenshots", "perfetto"}:
        with tempfile.TemporaryDirectory() as folder:
            saved = runs(Path(folder))
            if "compared" in wanted:
                compared(saved)
            if "screenshots" in wanted:
                screenshots(saved)
            if "perfetto" in wanted:
                perfetto(saved)


if __name__ == "__main__":
    main(sys.argv[1:])
