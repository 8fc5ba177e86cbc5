"""`pimsim timeline`: when what ran, as a file for Perfetto or as a figure."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from pimsim.cli.app import Json, Quiet, app, console, note


@app.command(
    epilog="Examples: pimsim timeline out/ddb --out ddb.json.gz | "
    "pimsim timeline out/ddb --out ddb.pftrace | pimsim timeline out/ddb --layer 7 --out layer.svg"
)
def timeline(
    saved: Annotated[Path, typer.Argument(help="Folder of a run (pimsim run --out).", metavar="RUN")],
    out: Annotated[
        Path,
        typer.Option(
            help="By its ending: .json or .json.gz (Chrome JSON) or .pftrace (protobuf) for ui.perfetto.dev; "
            ".png or .svg: a figure.",
            metavar="FILE",
        ),
    ],
    phase: Annotated[str, typer.Option(help="Of a figure: only this phase.")] = "prefill",
    layer: Annotated[
        int | None,
        typer.Option(help="Of a figure: only while this layer computes.", show_default="the middle"),
    ] = None,
    as_json: Json = False,
    quiet: Quiet = False,
) -> None:
    """Write the timeline of a saved run: engines, operators and their streams, channels, banks, bandwidth."""
    from pimsim.errors import PimsimError
    from pimsim.report.progress import bar
    from pimsim.report.report import json_text
    from pimsim.report.timeline import write_timeline
    from pimsim.result import Result

    endings = (".json", ".gz", ".pftrace", ".png", ".svg")
    if out.suffix not in endings:
        raise PimsimError(f"{out}: the ending says the form; wanted is one of .json.gz, {', '.join(endings)}")
    result = Result.load(saved)
    with bar(f"Writing {out}", quiet):
        if out.suffix in (".png", ".svg"):
            _draw(result, out, phase, layer)
        else:
            write_timeline(result, out)
    if as_json:
        said = {"file": str(out), "bytes": out.stat().st_size, "spans": len(result.spans)}
        typer.echo(json_text(said))
        return
    note(console(), f"Written to {out} ({out.stat().st_size / 1e6:.2f} MB, {len(result.spans):,} spans)")


def _draw(result: object, out: Path, phase: str, layer: int | None) -> None:
    from pimsim.errors import PimsimError
    from pimsim.report import figures
    from pimsim.report.explain import label
    from pimsim.result import Result

    assert isinstance(result, Result)
    spans = result.spans[result.spans["phase"].str.startswith(phase)]
    if not len(spans):
        known = dict.fromkeys(str(name).split("[")[0] for name in result.spans["phase"])
        raise PimsimError(f"no span is of phase {phase!r}; the run has: {', '.join(known)}")
    most = int(spans["layer"].max())
    if layer is not None and layer > most:
        raise PimsimError(f"layer {layer}: the last layer of this run is {most}")
    chosen = layer if layer is not None else (most // 2 if most >= 0 else None)
    title = f"{label(result)}: layer {chosen} of {phase}" if chosen is not None else label(result)
    drawn = figures.timeline([(title, result.spans)], layer=chosen, phase=phase)
    figures.save(drawn, out.with_suffix(""))
