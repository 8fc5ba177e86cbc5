"""`pimsim run` and `methods`: models on machines."""

from __future__ import annotations

from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from pimsim.cli.app import Json, Out, Quiet, app, console, note

if TYPE_CHECKING:
    import pandas as pd

    from pimsim.result import Result


class Fidelity(StrEnum):
    """How much of a repeating stream is stepped through."""

    SAMPLED = "sampled"
    STEP = "step"


@app.command(
    epilog="Example: pimsim run --model llama-3.2-3b --method double-buffering --prompt 128 --tokens 64 "
    "--out out/ddb"
)
def run(
    model: Annotated[str, typer.Option(help="A model that ships with pimsim, or a config.json.")],
    method: Annotated[str, typer.Option(help="Where weights lie and how they move; see: pimsim methods.")],
    prompt: Annotated[int, typer.Option(min=1, help="Prompt length in tokens.")] = 128,
    tokens: Annotated[int, typer.Option(min=1, help="Tokens to generate.")] = 64,
    system: Annotated[str, typer.Option(help="The machine.")] = "exynos2400",
    weights: Annotated[str, typer.Option(help="Type of the weight matrices: bf16, int8 or int4.")] = "bf16",
    fidelity: Annotated[
        Fidelity, typer.Option(help="sampled: skip what repeats. step: every command, slow.")
    ] = Fidelity.SAMPLED,
    commands: Annotated[
        Path | None,
        typer.Option(help="Also write the log of DRAM commands to this file; see: pimsim audit."),
    ] = None,
    out: Out = None,
    as_json: Json = False,
    quiet: Quiet = False,
) -> None:
    """Run one model with one method: time to first token, time per token, memory.

    With --out, the folder gets the result, a timeline for ui.perfetto.dev and figures.
    """
    from pimsim.report.progress import bar
    from pimsim.result import check_folder
    from pimsim.run import simulate

    if out is not None:
        check_folder(out)
    with bar(f"{model}, {method}, prompt {prompt}, {tokens} tokens", quiet) as advance:
        result: Result = simulate(
            model=model,
            method=method,
            prompt=prompt,
            tokens=tokens,
            system=system,
            weights=weights,
            fidelity=fidelity.value,
            commands=commands,
            progress=advance,
        )
    if out is not None:
        result.save(out, add=lambda folder: _add_figures(result, folder))
    if as_json:
        typer.echo(result.to_json())
        return
    screen = console()
    from pimsim.report.tables import print_frame

    summary = result.summary
    title = (
        f"{summary['model']} on {summary['system']} with {summary['method']}, "
        f"prompt {summary['prompt']}, {summary['tokens']} tokens"
    )
    print_frame(_run_table(result), title, screen)
    note(screen, f"Written to {out}" if out is not None else "")


def _run_table(result: Result) -> pd.DataFrame:
    import pandas as pd

    said = result.summary
    tpot = said["tpot_s"]
    rows: list[tuple[str, str, str]] = [
        ("time to first token", f"{said['ttft_s']:.4g}", "s"),
        ("time per further token", "-" if tpot is None else f"{tpot * 1e3:.4g}", "ms"),
        ("total time", f"{said['total_s']:.4g}", "s"),
        ("generated", f"{said['tokens'] / said['total_s']:.4g}" if said["total_s"] else "-", "tokens/s"),
    ]
    for region, size in said["capacity_bytes"].items():
        rows.append((f"memory, {region}", f"{size / 1e9:.4g}", "GB"))
    return pd.DataFrame(rows, columns=["quantity", "value", "unit"])


def _add_figures(result: Result, folder: Path) -> None:
    from pimsim.report import figures
    from pimsim.report.timeline import write_timeline

    write_timeline(result, folder / "timeline.json.gz")
    figures.save(figures.breakdown_bars(result.to_frame("breakdown")), folder / "breakdown")
    prefill = result.spans[result.spans["phase"].str.startswith("prefill")]
    computing = prefill[(prefill["layer"] >= 0) & (prefill["kind"] != "copy")]["layer"]
    if len(computing):
        layer = int(computing.max()) // 2
        title = f"{result.summary['model']}, {result.summary['method']}: layer {layer} of prefill"
        drawn = figures.timeline([(title, result.spans)], layer=layer, phase="prefill")
        figures.save(drawn, folder / "timeline")


@app.command(epilog="Example: pimsim methods")
def methods(as_json: Json = False) -> None:
    """List the methods: where weights lie and how they move."""
    import pandas as pd

    from pimsim.methods import METHODS
    from pimsim.report.report import json_text, records
    from pimsim.report.tables import print_frame

    rows = [(method.name, method.doc.strip().split("\n")[0]) for method in METHODS.values()]
    frame = pd.DataFrame(rows, columns=["method", "what it does"])
    if as_json:
        typer.echo(json_text({"methods": records(frame)}))
    else:
        print_frame(frame, f"{len(rows)} methods", console())
