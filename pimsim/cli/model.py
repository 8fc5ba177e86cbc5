"""`pimsim run` and `methods`: models on machines."""

from __future__ import annotations

from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from pimsim.cli.app import Json, Out, Quiet, app, console, note

if TYPE_CHECKING:
    import pandas as pd

    from pimsim.result import Result
    from pimsim.trace import Trace


class Fidelity(StrEnum):
    """How much of a repeating stream is stepped through."""

    SAMPLED = "sampled"
    STEP = "step"


class Engine(StrEnum):
    """Who does an operator."""

    CPU = "cpu"
    GPU = "gpu"
    NPU = "npu"
    PIM = "pim"
    AUTO = "auto"


@app.command(
    epilog="Examples: pimsim run --model llama-3.2-3b --method double-buffering --prompt 128 --tokens 64 "
    "--out out/ddb | pimsim run --model resnet50 --system jetson-orin --engine gpu | "
    "pimsim run traces/llama-3.2-1b-decode-128.jsonl.gz --system my-board.toml"
)
def run(
    trace: Annotated[
        Path | None, typer.Argument(help="A trace file; see: pimsim trace.", metavar="[TRACE_FILE]")
    ] = None,
    model: Annotated[
        str | None,
        typer.Option(help="Instead of a trace: a language model or its config.json, or a vision network."),
    ] = None,
    method: Annotated[
        str | None,
        typer.Option(
            help="For a language model with decode: where weights lie and how they move; a name (see: pimsim "
            "methods) or FILE.py:NAME of your own."
        ),
    ] = None,
    prompt: Annotated[int, typer.Option(min=1, help="Prompt length in tokens.")] = 128,
    tokens: Annotated[int, typer.Option(min=1, help="Tokens to generate.")] = 64,
    batch: Annotated[int, typer.Option(min=1, help="Images of a vision network.")] = 1,
    system: Annotated[
        str, typer.Option(help="The machine: a name (see: pimsim systems), a TOML file or FILE.py:NAME.")
    ] = "exynos2400",
    engine: Annotated[
        Engine, typer.Option(help="Without --method: who does the operators; auto takes the fastest of each.")
    ] = Engine.AUTO,
    prefill_on: Annotated[
        Engine, typer.Option(help="With --method: who does the prefill: cpu, gpu or npu.")
    ] = Engine.CPU,
    weights: Annotated[
        str,
        typer.Option(help="Type of the weights: bf16, int8 or int4; of a vision network also fp16, fp32."),
    ] = "bf16",
    fidelity: Annotated[
        Fidelity, typer.Option(help="sampled: skip what repeats. step: every command, slow.")
    ] = Fidelity.SAMPLED,
    commands: Annotated[
        Path | None,
        typer.Option(help="Also write the log of DRAM commands to this file; see: pimsim audit."),
    ] = None,
    reuse: Annotated[
        bool, typer.Option("--reuse/--no-reuse", help="Do equal work once. Same result, much faster.")
    ] = True,
    out: Out = None,
    as_json: Json = False,
    quiet: Quiet = False,
) -> None:
    """Run a workload on a machine: time, memory, and what bounds them.

    With --method: a language model's prefill and decode, time to first token and per token. Without: every
    operator of a trace (or of a model) on an engine. With --out, the folder gets the result, a timeline for
    ui.perfetto.dev and figures.
    """
    from pimsim.result import check_folder

    if (trace is None) == (model is None):
        raise typer.BadParameter("give a trace file or --model, one of them", param_hint="'TRACE_FILE'")
    if out is not None:
        check_folder(out)
    if method is None:
        _run_operators(trace, model, prompt, batch, system, engine.value, weights, out, as_json, quiet)
        return
    if model is None:
        raise typer.BadParameter("a method needs --model; a trace takes --engine", param_hint="'--method'")
    from pimsim.report.progress import bar
    from pimsim.run import simulate

    with bar(f"{model}, {method}, prompt {prompt}, {tokens} tokens", quiet) as advance:
        result: Result = simulate(
            model=model,
            method=method,
            prompt=prompt,
            tokens=tokens,
            system=system,
            weights=weights,
            prefill_on=prefill_on.value,
            fidelity=fidelity.value,
            commands=commands,
            progress=advance,
            reuse=reuse,
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


def _run_operators(
    path: Path | None, model: str | None, prompt: int, batch: int, system: str, engine: str, weights: str,
    out: Path | None, as_json: bool, quiet: bool,
) -> None:  # fmt: skip
    """Run a trace, operator by operator."""
    from pimsim.report.progress import bar
    from pimsim.report.report import json_text
    from pimsim.report.tables import print_frame
    from pimsim.result import csv_bytes
    from pimsim.run_trace import run_trace
    from pimsim.system import load_system
    from pimsim.trace import read_trace

    machine = load_system(system)
    if path is not None:
        trace = read_trace(path)
    else:
        assert model is not None
        trace = _trace_of(model, prompt, batch, weights)
    with bar(f"{trace.name} on {machine.name}", quiet) as advance:
        ran = run_trace(trace, machine, engine, advance)

    def add(folder: Path) -> None:
        (folder / "operators.csv").write_bytes(csv_bytes(ran.operators))
        _add_figures(result, folder)

    if out is not None:
        result = ran.result()
        result.save(out, add=add)
    said = ran.summary()
    if as_json:
        typer.echo(json_text(said))
        return
    screen = console()
    print_frame(_kinds_table(ran.operators), f"{trace.name} on {machine.name}, engine {engine}", screen)
    screen.print()
    print_frame(_workload_table(said), "In all", screen)
    note(screen, f"Written to {out}" if out is not None else "")


def _trace_of(model: str, prompt: int, batch: int, weights: str) -> Trace:
    """The trace of a model by name: an image batch of a vision network, or a prompt of a language model."""
    from pimsim.errors import TraceError, suggest
    from pimsim.trace.llm import load_config, models, prefill_trace
    from pimsim.trace.vision import vision_models
    from pimsim.trace.vision_trace import vision_trace

    if model in vision_models():
        return vision_trace(model, batch=batch, dtype=weights)
    if not model.endswith(".json") and model not in models():
        known = [*models(), *vision_models()]
        raise TraceError(f"no model named {model!r}{suggest(model, known)}")
    return prefill_trace(load_config(model), prompt, weight_dtype=weights)


def _kinds_table(operators: pd.DataFrame) -> pd.DataFrame:
    """Time, arithmetic and traffic by kind of operator, engine and bound."""
    import pandas as pd

    rows = []
    for names, part in operators.groupby(["kind", "engine", "bound"], sort=False):
        seconds = float(part["time_us"].sum()) * 1e-6
        flops = float(part["flops"].sum())
        moved = float(part["dram_read_bytes"].sum() + part["dram_written_bytes"].sum())
        rows.append((*names, len(part), seconds * 1e3, flops / 1e9, moved / 1e6))
    columns = ["kind", "engine", "bound", "operators", "time_ms", "gflop", "dram_mb"]
    frame = pd.DataFrame(rows, columns=columns)
    return frame.sort_values("time_ms", ascending=False, ignore_index=True)


def _workload_table(said: dict[str, Any]) -> pd.DataFrame:
    import pandas as pd

    memory, room = said["memory_bytes"], said["capacity_bytes"]
    fits = "" if said["fits"] else f" (does not fit: the system has {room / 1e9:.4g} GB)"
    rows: list[tuple[str, str, str]] = [
        ("time", f"{said['time_s'] * 1e3:.4g}", "ms"),
        ("bound", said["bound"] + fits, ""),
        *(
            (f"time of operators bound by {name}", f"{100 * share:.3g}", "%")
            for name, share in said["share_of_time_by_bound"].items()
        ),
        ("arithmetic", f"{said['flops'] / 1e9:.4g}", "GFLOP"),
        ("read from DRAM", f"{said['dram_read_bytes'] / 1e6:.4g}", "MB"),
        ("written to DRAM", f"{said['dram_written_bytes'] / 1e6:.4g}", "MB"),
        *((f"memory, {name}", f"{size / 1e9:.4g}", "GB") for name, size in memory.items()),
    ]
    return pd.DataFrame(rows, columns=["quantity", "value", "unit"])


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
def methods(as_json: Json = False, quiet: Quiet = False) -> None:
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


@app.command(epilog="Examples: pimsim systems | pimsim systems jetson-orin | pimsim systems my-board.toml")
def systems(
    name: Annotated[
        str | None, typer.Argument(help="Show what this system (or TOML file) is made of.")
    ] = None,
    as_json: Json = False,
    quiet: Quiet = False,
) -> None:
    """List the machines: cores, memory, GPU, NPU and PIM units with their headline numbers."""
    import pandas as pd

    from pimsim.report.report import json_text, records
    from pimsim.report.tables import print_frame
    from pimsim.system import headline, load_system
    from pimsim.system import systems as known

    if name is None:
        frame = pd.DataFrame([headline(load_system(each)) for each in known()])
        if as_json:
            typer.echo(json_text({"systems": records(frame)}))
        else:
            print_frame(frame, f"{len(frame)} systems", console())
        return
    system = load_system(name)
    held: dict[str, Any] = {
        "system": system, "cpu": system.cpu, "dram": system.dram, "pim": system.pim, "gpu": system.gpu,
        "npu": system.npu,
    }  # fmt: skip
    rows = [(what, part.name, part.source) for what, part in held.items() if part is not None]
    maps = (("host map", str(system.host_mapping)), ("PIM map", str(system.pim_mapping)))
    rows += [(what, text, "") for what, text in maps]
    if as_json:
        typer.echo(json_text({"system": headline(system), "parts": [list(row) for row in rows]}))
        return
    print_frame(pd.DataFrame([headline(system)]), name, console())
    console().print()
    print_frame(pd.DataFrame(rows, columns=["part", "name", "source"]), "Made of", console())
