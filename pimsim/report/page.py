"""One HTML file that shows runs and reports: opens anywhere, needs no network, prints.

The charts are Vega-Lite; its JavaScript comes from the package vl-convert-python (extra "page") and is
written into the file. The file says by its content security policy that it loads nothing.
"""

from __future__ import annotations

import base64
import html
import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from importlib import resources
from pathlib import Path
from typing import Any

import pandas as pd

from pimsim.errors import PimsimError
from pimsim.report import charts, explain, views
from pimsim.report.colours import KIND_COLOURS
from pimsim.report.inputs import Inputs, SavedReport
from pimsim.report.limits import RUN_LEAVES_OUT, SAMPLED
from pimsim.report.tables import cells, header
from pimsim.result import Result, write_file

POLICY = "default-src 'none'; script-src 'unsafe-inline'; style-src 'unsafe-inline'; img-src data: blob:"
COUNTS = ["activates", "reads", "writes", "pim"]
ROWS_SHOWN = 400


@dataclass
class _Page:
    """Parts of the page in order, and the charts by the id of their place."""

    parts: list[str] = field(default_factory=list)
    specs: dict[str, charts.Spec] = field(default_factory=dict)
    tables: int = 0

    def add(self, *parts: str) -> None:
        self.parts.extend(parts)

    def chart(self, spec: charts.Spec, caption: str = "", run: str | None = None) -> None:
        name = f"chart{len(self.specs)}"
        self.specs[name] = spec
        owner = f' data-run="{_text(run)}"' if run is not None else ""
        said = f"<figcaption>{_text(caption)}</figcaption>" if caption else ""
        self.add(f'<figure{owner}>{said}<div class="chart" id="{name}"></div></figure>')

    def table(self, frame: pd.DataFrame, search: bool = False) -> None:
        self.tables += 1
        name = f"table{self.tables}"
        if search:
            self.add(f'<input type="search" placeholder="filter rows" data-table="{name}">')
        self.add(_table(frame.head(ROWS_SHOWN), name))
        if len(frame) > ROWS_SHOWN:
            self.add(f'<p class="soft">The first {ROWS_SHOWN} of {len(frame)} rows.</p>')


def write_page(inputs: Inputs, path: str | Path) -> None:
    """Write the page of these runs, reports and tables; whole or not at all."""
    write_file(path, page(inputs).encode())


def page(inputs: Inputs) -> str:
    """The page as text; equal inputs give equal text."""
    script = _library()
    made = _Page()
    runs = inputs.runs
    if runs:
        _answers(made, runs)
        _machines(made, runs)
        if len(runs) > 1:
            _differences(made, runs)
        _time(made, runs)
        _timelines(made, runs)
        _memory_traffic(made, runs)
        _banks(made, runs)
        _capacity(made, runs)
        _energy(made, runs)
    for report in inputs.reports:
        _reported(made, report)
    for title, frame in inputs.frames.items():
        _explored(made, title, frame)
    if runs:
        _left_out(made, runs)
        _manifests(made, runs)
    return _assembled(inputs, made, script)


# Sections.


def _answers(made: _Page, runs: Mapping[str, Result]) -> None:
    made.add("<h2>Answers</h2>", '<div class="cards">')
    for name, run in runs.items():
        said = run.summary
        rows = [
            ("time to first token", f"{said['ttft_s']:.4g} s"),
            ("time per further token", "-" if said["tpot_s"] is None else f"{said['tpot_s'] * 1e3:.4g} ms"),
            ("total", f"{said['total_s']:.4g} s"),
            ("memory", f"{said['capacity_bytes']['total'] / 1e9:.4g} GB"),
        ]
        listed = "".join(f"<dt>{_text(k)}</dt><dd>{_text(v)}</dd>" for k, v in rows)
        about = f"{explain.label(run)}, on {said['system']}"
        made.add(
            f'<div class="card" data-run="{_text(name)}"><h3>{_text(name)}</h3>'
            f'<p class="soft">{_text(about)}</p><dl>{listed}</dl></div>'
        )
    made.add("</div>")
    if len(runs) < 2:
        return
    made.add('<h3>Side by side</h3><div class="grid">')
    for key, title, scale in (
        ("ttft_s", "time to first token (s)", 1.0),
        ("tpot_s", "time per further token (ms)", 1e3),
        ("total_s", "total time (s)", 1.0),
    ):
        rows = [(n, run.summary[key] * scale) for n, run in runs.items() if run.summary[key] is not None]
        if rows:
            frame = pd.DataFrame(rows, columns=["run", "value"])
            made.chart(charts.bars(frame, x=("value", title), y=("run", "")))
    frame = pd.DataFrame(
        [(n, run.summary["capacity_bytes"]["total"] / 1e9) for n, run in runs.items()],
        columns=["run", "value"],
    )
    made.chart(charts.bars(frame, x=("value", "memory (GB)"), y=("run", "")))
    made.add("</div>")


def _machines(made: _Page, runs: Mapping[str, Result]) -> None:
    made.add("<h2>The machine</h2>")
    drawn: dict[str, list[str]] = {}
    for name, run in runs.items():
        block = run.manifest.get("machine")
        text = block_html(block) if isinstance(block, dict) else ""
        drawn.setdefault(text, []).append(name)
    for text, names in drawn.items():
        if len(drawn) > 1:
            made.add(f'<p class="soft">{_text(", ".join(names))}</p>')
        made.add(text or "<p>The saved run does not say what its machine is made of.</p>")


def block_html(block: Mapping[str, Any]) -> str:
    """The drawing of a machine (`pimsim.machine.describe`): compute above, memory below."""
    inside = block["inside"]
    above = [each for each in inside if each["kind"] != "memory"]
    below = [each for each in inside if each["kind"] == "memory"]
    facts = below[0]["facts"] if below else {}
    wire = ", ".join(f"{key} {value}" for key, value in facts.items() if key != "capacity")
    drawn = f'<div class="row">{"".join(map(_block, above))}</div>'
    if below:
        drawn += f'<div class="wire">{_text(wire)}</div><div class="row">{"".join(map(_block, below))}</div>'
    source = f'<p class="soft">{_text(block["name"])}: {_text(block["source"])}</p>'
    return f'<div class="machine">{drawn}</div>{source}'


def _block(block: Mapping[str, Any]) -> str:
    facts = "".join(f"<span>{_text(k)} {_text(v)}</span>" for k, v in block["facts"].items())
    inside = "".join(map(_block, block["inside"]))
    return (
        f'<div class="block {_text(block["kind"])}" title="{_text(block["source"])}">'
        f'<b>{_text(block["name"])}</b><div class="facts">{facts}</div>'
        + (f'<div class="row">{inside}</div>' if inside else "")
        + "</div>"
    )


def _differences(made: _Page, runs: Mapping[str, Result]) -> None:
    (first, base), *others = runs.items()
    made.add("<h2>Why they differ</h2>")
    made.add(f"<p>Each run against {_text(first)}; the parts of a difference add up to it.</p>")
    for name, run in others:
        compared = explain.compare(base, run)
        said = "".join(f"<li>{_text(sentence)}</li>" for sentence in compared.sentences())
        made.add(f'<div data-run="{_text(name)}"><h3>{_text(name)}</h3><ul>{said}</ul></div>')
        frame = compared.by("phase", "cause").replace({"cause": {"beside copies": "work"}})
        frame["part"] = frame["phase"] + ": " + frame["cause"]
        sums = frame.groupby("part", sort=False)["difference_s"].sum() * 1e3
        steps = pd.DataFrame({"part": list(sums.index), "ms": sums.to_numpy()})
        steps = steps[steps["ms"].abs() > 1e-9]
        if len(steps):
            spec = charts.bars(
                steps,
                x=("ms", f"longer than {first} (ms)"), y=("part", ""), signed=True,
            )  # fmt: skip
            made.chart(spec, run=name)


def _time(made: _Page, runs: Mapping[str, Result]) -> None:
    made.add(
        "<h2>Where the time went</h2>",
        "<p>Every moment of a run belongs to one operator and cause, so that bars are as long as the run. "
        "Click an entry of a legend to keep it alone.</p>",
    )
    parts = pd.concat([explain.attribute(run.spans).assign(run=name) for name, run in runs.items()])
    parts["ms"] = parts.pop("ps") / 1e9
    causes: pd.DataFrame = parts.groupby(["run", "phase", "cause"], sort=False)["ms"].sum().reset_index()
    order = [cause for cause in explain.CAUSES if cause in set(causes["cause"])]
    made.chart(
        charts.bars(
            causes, x=("ms", "time (ms)"), y=("run", ""), colour=("cause", ""), order=order,
            colours=charts.CAUSE_COLOURS, tips=["phase"],
        ),
        "By cause. " + "; ".join(f"{cause}: {explain.CAUSES[cause]}" for cause in order) + ".",
    )  # fmt: skip
    keys = ["run", "phase", "operator", "cause"]
    operators: pd.DataFrame = parts.groupby(keys, sort=False)["ms"].sum().reset_index()
    sums = operators.groupby("operator")["ms"].sum().sort_values(ascending=False, kind="stable")
    keep = [name for name in sums.index if sums[name] >= 0.002 * sums.sum()][:24]
    operators = operators[operators["operator"].isin(keep)]
    operators = operators.sort_values("operator", key=lambda c: c.map(keep.index), kind="stable")
    made.chart(
        charts.bars(
            operators, x=("ms", "time (ms)"), y=("operator", "operator"), colour=("cause", ""), order=order,
            colours=charts.CAUSE_COLOURS, row="run" if len(runs) > 1 else None, tips=["phase"],
            step=20 if len(runs) == 1 else 12,
        ),
        "By operator" + ("; one bar a run, in the order of the runs above." if len(runs) > 1 else "."),
    )  # fmt: skip
    busy = pd.concat([run.to_frame("breakdown").assign(run=name) for name, run in runs.items()])
    busy["ms"] = busy.pop("seconds") * 1e3
    made.add("<h3>How long each engine was busy</h3>")
    for name in runs:
        rows = busy[busy["run"] == name]
        order = list(dict.fromkeys(rows["kind"]))
        made.chart(
            charts.bars(
                rows, x=("ms", "busy (ms)"), y=("engine", "engine"), colour=("kind", ""), order=order,
                colours=KIND_COLOURS, tips=["phase"], step=21,
            ),
            f"{name}: engines work at the same time.",
            run=name,
        )  # fmt: skip


def _timelines(made: _Page, runs: Mapping[str, Result]) -> None:
    made.add("<h2>Timeline</h2>", "<p>Zoom with the wheel, move with the mouse, double click to go back.</p>")
    for name, run in runs.items():
        frame, what = views.shown_spans(run)
        if len(frame):
            made.chart(charts.timeline(frame.assign(run=name)), f"{name}: {what}.", run=name)


def _memory_traffic(made: _Page, runs: Mapping[str, Result]) -> None:
    made.add("<h2>Memory bandwidth over time</h2>")
    for name, run in runs.items():
        frame = views.rates(run).assign(run=name)
        if not len(frame):
            made.add(f'<p class="soft" data-run="{_text(name)}">{_text(name)}: no traffic was recorded.</p>')
            continue
        pins = frame[frame["where"] == "pins"].drop(columns="where")
        alike = (
            "all channels together; they share the traffic evenly"
            if not pins["series"].str.startswith("channel").any()
            else "by channel"
        )
        if len(pins):
            spec = charts.over_time(pins, title="GB/s at the pins", peak=_peak(run))
            made.chart(spec, f"{name}: what crosses the pins of the DRAM, {alike}.", run=name)
        banks = frame[frame["where"] == "banks"].drop(columns="where")
        if len(banks):
            spec = charts.over_time(banks, title="GB/s in the banks")
            made.chart(spec, f"{name}: weights that PIM units read inside their banks.", run=name)


def _peak(run: Result) -> float | None:
    facts = run.manifest.get("machine", {}).get("facts", {})
    text = str(facts.get("peak bandwidth", ""))
    return float(text.split()[0]) if text.endswith("GB/s") else None


def _banks(made: _Page, runs: Mapping[str, Result]) -> None:
    made.add("<h2>Bank activity</h2>")
    for name, run in runs.items():
        if len(run.activity):
            frame = views.coarse_activity(run, COUNTS).assign(run=name)
            made.chart(charts.heat(frame, COUNTS), f"{name}: commands of each bank.", run=name)
        else:
            made.add(
                f'<p class="soft" data-run="{_text(name)}">{_text(name)}: which bank does what is known of '
                "runs with <code>--fidelity step --commands FILE</code>.</p>"
            )


def _capacity(made: _Page, runs: Mapping[str, Result]) -> None:
    made.add("<h2>Memory by region</h2>")
    rows = []
    for name, run in runs.items():
        sums = run.capacity.groupby(["region", "kind", "attribute"], as_index=False, sort=False)[
            "bytes"
        ].sum()
        rows.append(sums.assign(run=name, gb=sums["bytes"] / 1e9))
    frame = pd.concat(rows)
    frame["what"] = frame["region"] + ", " + frame["kind"]
    frame = frame[frame["bytes"] > 0]
    spec = charts.bars(
        frame, x=("gb", "memory (GB)"), y=("run", ""), colour=("what", ""), tips=["attribute"], step=34
    )
    made.chart(spec, "Bytes of every region, and what they hold; padding is memory that layouts leave empty.")


def _energy(made: _Page, runs: Mapping[str, Result]) -> None:
    held = {name: views.energy(run).assign(run=name) for name, run in runs.items()}
    made.add("<h2>Energy</h2>")
    if not any(len(frame) for frame in held.values()):
        made.add("<p>These runs counted no energies.</p>")
        return
    frame = pd.concat(held.values())
    frame["mJ"] = frame.pop("joule") * 1e3
    frame["what"] = frame["component"] + ", " + frame["statistic"]
    made.chart(charts.bars(frame, x=("mJ", "energy (mJ)"), y=("run", ""), colour=("what", ""), step=34))


def _reported(made: _Page, report: SavedReport) -> None:
    made.add(f"<h2>{_text(report.question)}</h2>")
    if len(report.checks):
        frame = report.checks
        held = int(frame["ok"].astype(bool).sum()) if "ok" in frame else 0
        made.add(f"<p>{held} of {len(frame)} checks against references hold.</p>")
        error = [_error(o, e) for o, e in zip(frame["ours"], frame["expected"], strict=True)]
        at = list(frame.columns).index("expected") + 1
        frame = frame.copy()
        frame.insert(at, "error_percent", pd.Series(error, dtype=object, index=frame.index))
        made.table(frame, search=True)
    for figure in report.figures:
        data = base64.b64encode(figure.read_bytes()).decode()
        alt = _text(figure.stem)
        made.add(f'<figure><img alt="{alt}" src="data:image/png;base64,{data}"></figure>')
    for title, frame in report.tables.items():
        made.add(f"<details><summary>{_text(title)} ({len(frame)} rows)</summary>")
        made.table(frame, search=len(frame) > 12)
        made.add("</details>")
    if report.leaves_out:
        made.add("<h3>What the model leaves out</h3>", _list(report.leaves_out))


def _error(ours: Any, expected: Any) -> float | None:
    """(ours / expected - 1) in percent, where both are numbers."""
    if not _number(ours) or not _number(expected):
        return None
    return round(100 * (ours / expected - 1), 2) if expected and expected == expected else None


def _explored(made: _Page, title: str, frame: pd.DataFrame) -> None:
    """A table of many runs, as of a sweep: a chart with axes to choose, and the rows."""
    made.add(f"<h2>{_text(title)}</h2>")
    if any(pd.api.types.is_numeric_dtype(frame[name]) for name in frame.columns) and len(frame):
        made.chart(charts.explorer(frame))
    made.table(frame, search=True)


def _left_out(made: _Page, runs: Mapping[str, Result]) -> None:
    sampled = any(r.manifest.get("settings", {}).get("fidelity") == "sampled" for r in runs.values())
    made.add("<h2>What the models leave out</h2>")
    made.add(_list((*RUN_LEAVES_OUT, *((SAMPLED,) if sampled else ()))))


def _manifests(made: _Page, runs: Mapping[str, Result]) -> None:
    made.add("<h2>Manifest</h2>", "<p>From this each run can be repeated bit for bit.</p>")
    for name, run in runs.items():
        plain = {key: value for key, value in run.manifest.items() if key != "machine"}
        text = json.dumps(plain, indent=2, ensure_ascii=False)
        made.add(
            f'<details class="long" data-run="{_text(name)}"><summary>{_text(name)}</summary>'
            f"<pre>{_text(text)}</pre></details>"
        )


# The file.


def _library() -> str:
    try:
        import vl_convert
    except ImportError:
        raise PimsimError(
            "pages need the package vl-convert-python; install it with: pip install 'pimsim[page]'"
        ) from None
    return str(vl_convert.javascript_bundle())


def _title(inputs: Inputs) -> tuple[str, str]:
    """Heading and question of the page."""
    runs = list(inputs.runs.values())
    if not runs:
        names = ", ".join([report.name for report in inputs.reports] + list(inputs.frames)) or "nothing"
        return f"pimsim: {names}", ""
    models, systems, methods = (
        list(dict.fromkeys(str(run.summary[key]) for run in runs)) for key in ("model", "system", "method")
    )
    question = (
        f"How long does {' or '.join(models)} take, and how much memory does it need, "
        f"on {' or '.join(systems)}, when its weights are placed and moved by {' or '.join(methods)}?"
    )
    return f"{', '.join(models)} on {', '.join(systems)}", question


def _assembled(inputs: Inputs, made: _Page, script: str) -> str:
    title, question = _title(inputs)
    data = json.dumps(made.specs, separators=(",", ":"), ensure_ascii=False, allow_nan=False)
    boxes = "".join(
        f'<label><input type="checkbox" data-filter-run value="{_text(name)}" checked> {_text(name)}</label>'
        for name in inputs.runs
    )
    phases = dict.fromkeys(views.short_phase(str(p)) for r in inputs.runs.values() for p in r.spans["phase"])
    chosen = "".join(f"<option>{_text(phase)}</option>" for phase in ("all", *phases))
    phase = f'<label>phase <select id="phase">{chosen}</select></label>' if inputs.runs else ""
    version = next((str(r.manifest.get("pimsim", "")) for r in inputs.runs.values()), "")
    return f"""<!DOCTYPE html>
<html lang="en" data-theme="light">
<head>
<meta charset="utf-8">
<meta http-equiv="Content-Security-Policy" content="{POLICY}">
<meta name="viewport" content="width=device-width, initial-scale=1">
<title>{_text(title)}</title>
<link rel="icon" href="data:,">
<style>
{_asset("page.css")}</style>
</head>
<body>
<header><h1>{_text(title)}</h1><p>{_text(question)}</p></header>
<nav class="bar">{boxes}{phase}<span class="right"><button id="print">print</button>
<button id="theme">light / dark</button></span></nav>
<main>
{chr(10).join(made.parts)}
</main>
<footer><p>Made by pimsim {_text(version)}. This file needs no network.</p></footer>
<script type="application/json" id="charts">{data.replace("</", "<" + chr(92) + "/")}</script>
<script type="module">
{script.replace("</script", "<" + chr(92) + "/script")}
{_asset("page.js")}</script>
</body>
</html>
"""


def _asset(name: str) -> str:
    return resources.files("pimsim.report").joinpath("assets", name).read_text(encoding="utf-8")


def _text(value: object) -> str:
    return html.escape(str(value), quote=True)


def _number(value: object) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)


def _list(lines: Iterable[str]) -> str:
    return "<ul>" + "".join(f"<li>{_text(line)}</li>" for line in lines) + "</ul>"


def _table(frame: pd.DataFrame, name: str) -> str:
    columns = [frame.iloc[:, i].tolist() for i in range(len(frame.columns))]
    texts = [cells(values) for values in columns]
    right = [
        any(isinstance(v, int | float) and not isinstance(v, bool) for v in values) for values in columns
    ]
    mark = [' class="n"' if numeric else "" for numeric in right]
    head = "".join(f"<th{m}>{_text(header(c))}</th>" for m, c in zip(mark, frame.columns, strict=True))
    rows = []
    for values, said in zip(zip(*columns, strict=True), zip(*texts, strict=True), strict=True):
        line = ""
        for column, m, value, text in zip(frame.columns, mark, values, said, strict=True):
            if column == "ok" and isinstance(value, bool):
                line += '<td class="ok">ok</td>' if value else '<td class="miss">MISS</td>'
            else:
                key = f' data-v="{_text(value)}"' if m and isinstance(value, int | float) else ""
                line += f"<td{m}{key}>{_text(text)}</td>"
        rows.append(f"<tr>{line}</tr>")
    return (
        f'<div class="scroll"><table class="sorts" id="{name}"><thead><tr>{head}</tr></thead>'
        f"<tbody>{''.join(rows)}</tbody></table></div>"
    )
