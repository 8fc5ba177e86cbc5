"""`pimsim compare` and `report`: saved runs, explained and shown."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from pimsim.cli.app import Json, Quiet, app, console, note

if TYPE_CHECKING:
    from pimsim.report.explain import Comparison


@app.command(epilog="Example: pimsim compare out/ddb out/owr --figure why.png")
def compare(
    a: Annotated[Path, typer.Argument(help="Folder of a run (pimsim run --out).", metavar="A")],
    b: Annotated[Path, typer.Argument(help="Folder of another run.", metavar="B")],
    figure: Annotated[
        Path | None, typer.Option(help="Also draw the difference (both PNG and SVG).", metavar="FILE")
    ] = None,
    as_json: Json = False,
    quiet: Quiet = False,
) -> None:
    """Explain why run B takes another time than run A: operators, engines, causes.

    Every picosecond of a run belongs to one part, so that the parts add up to the difference.
    """
    from pimsim.report import explain
    from pimsim.report.report import json_text
    from pimsim.report.tables import print_frame
    from pimsim.result import Result

    made = explain.compare(Result.load(a), Result.load(b))
    if figure is not None:
        _draw(made, figure)
    if as_json:
        typer.echo(json_text(made.to_json()))
        return
    screen = console()
    note(screen, "\n".join(made.sentences()))
    for title, keys in (
        ("By phase and cause", ("phase", "cause")),
        ("By engine", ("phase", "engine")),
        ("By operator", ("phase", "operator")),
    ):
        frame = made.by(*keys)
        differ = frame[frame["difference_s"] != 0].head(12)
        if len(differ):
            screen.print()
            print_frame(differ, title, screen)
            rest = frame["difference_s"].sum() - differ["difference_s"].sum()
            if len(frame[frame["difference_s"] != 0]) > len(differ):
                note(screen, f"and smaller ones that add up to {explain.signed(rest)}")
    screen.print()
    print_frame(made.memory, "Memory", screen)
    for name, (one, two) in made.settings.items():
        note(screen, f"{name}: {one} (A), {two} (B)")
    note(screen, f"Written to {figure.with_suffix('.png')} and .svg" if figure is not None else "")


def _draw(made: Comparison, path: Path) -> None:
    import pandas as pd

    from pimsim.report.curves import waterfall
    from pimsim.report.figures import save

    sums: dict[str, float] = {}
    frame = made.by("phase", "cause")
    for phase, cause, step in zip(frame["phase"], frame["cause"], frame["difference_s"], strict=True):
        part = f"{phase}: {'work' if cause == 'beside copies' else cause}"
        sums[part] = sums.get(part, 0.0) + float(step)
    rows = [(part, step) for part, step in sums.items() if abs(step) > 1e-12]
    steps = pd.DataFrame(rows, columns=["part", "difference"])
    names = [
        ", ".join(str(pair[side]) for name, pair in made.settings.items() if "(" not in name) or "ab"[side]
        for side in (0, 1)
    ]
    title = f"Why {names[1]} takes another time than {names[0]}"
    start = (f"A: {names[0]}", float(made.parts["a_ps"].sum()) * 1e-12)
    save(
        waterfall(steps, start=start, end=f"B: {names[1]}", title=title, x_label="time (s)"),
        path.with_suffix(""),
    )


@app.command(epilog="Example: pimsim report out/ddb out/owr --out report.html")
def report(
    saved: Annotated[
        list[Path],
        typer.Argument(help="Folders of runs (run --out), reports (reproduce --out), sweeps, or above them."),
    ],
    out: Annotated[Path, typer.Option(help="The HTML file.", metavar="FILE")] = Path("report.html"),
    as_json: Json = False,
    quiet: Quiet = False,
) -> None:
    """Show saved runs and reports as one HTML page: charts to hover, filter and zoom; no network needed.

    Several runs are held side by side, each explained against the first.
    """
    from pimsim.report.inputs import read_inputs
    from pimsim.report.page import write_page
    from pimsim.report.progress import bar
    from pimsim.report.report import json_text

    with bar(f"Writing {out}", quiet) as advance:
        advance(0.1, "reading")
        inputs = read_inputs(saved)
        advance(0.5, "drawing")
        write_page(inputs, out)
    size = out.stat().st_size
    if as_json:
        names = {"runs": list(inputs.runs), "reports": [each.name for each in inputs.reports]}
        typer.echo(json_text({"file": str(out), "bytes": size} | names))
        return
    note(console(), f"Written to {out} ({size / 1e6:.1f} MB); open it in a browser.")
