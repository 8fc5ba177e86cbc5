"""`pimsim trace`: traces from models and foreign files; what a trace holds; how two differ."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from pimsim.cli.app import Json, app, console, note

if TYPE_CHECKING:
    import pandas as pd

    from pimsim.trace import Trace
    from pimsim.trace.llm import Types

Written = Annotated[Path | None, typer.Option("--out", help="Write the trace file (gzip if it ends in .gz).")]

trace_app = typer.Typer(
    name="trace",
    help="What a model computes: operators, FLOPs and bytes by kind; from a configuration or a foreign file.",
    epilog="Examples: pimsim trace --model llama-3.2-1b --prompt 128 | "
    "pimsim trace from-scalesim Resnet18.csv | pimsim trace diff a.jsonl.gz b.jsonl.gz",
)
app.add_typer(trace_app)

Prompt = Annotated[int | None, typer.Option(min=1, help="Trace the prefill of that many tokens.")]
Context = Annotated[
    int | None, typer.Option(min=0, help="Trace one decode step with that many tokens before it.")
]
Skip = Annotated[bool, typer.Option("--skip-unknown", help="Count unknown operators and leave them out.")]


@trace_app.callback(invoke_without_command=True)
def trace(
    context_: typer.Context,
    model: Annotated[
        str | None, typer.Option(help="A model that ships with pimsim, or a config.json.")
    ] = None,
    prompt: Prompt = None,
    context: Context = None,
    dtype: Annotated[str, typer.Option(help="Type of the weights, such as bf16, int8, int4.")] = "bf16",
    out: Written = None,
    as_json: Json = False,
) -> None:
    """Show what a model computes: operators, FLOPs and bytes by kind; write it as a trace file.

    Give either --prompt (prefill) or --context (one decode step), or one of the commands.
    """
    if context_.invoked_subcommand is not None:
        given = [name for name, value in (("--model", model), ("--prompt", prompt)) if value is not None]
        if given or context is not None or out is not None or as_json:
            raise typer.BadParameter(f"options of {context_.invoked_subcommand!r} stand behind it")
        return
    if model is None:
        raise typer.BadParameter("give a model, or a command such as from-scalesim", param_hint="'--model'")
    dtypes: Types = {"weight_dtype": dtype, "activation_dtype": "bf16", "kv_dtype": "bf16"}
    _of_model(model, prompt, context, dtypes, dtype, out, as_json)


@trace_app.command(
    "from-config", epilog="Example: pimsim trace from-config config.json --context 512 --types w4a16kv8"
)
def from_config(
    config: Annotated[str, typer.Argument(help="A config.json, its folder, or a model that ships.")],
    prompt: Prompt = None,
    context: Context = None,
    types: Annotated[
        str, typer.Option(help="Bits of weights, activations and cache, such as w4a16, w8a8, w4a16kv8.")
    ] = "w16a16",
    out: Written = None,
    as_json: Json = False,
) -> None:
    """A language model from its Hugging Face config.json."""
    from pimsim.trace.llm import quantised

    _of_model(config, prompt, context, quantised(types), types, out, as_json)


@trace_app.command(
    "from-scalesim", epilog="Example: pimsim trace from-scalesim Resnet18.csv --out r18.jsonl.gz"
)
def from_scalesim(
    topology: Annotated[Path, typer.Argument(help="A topology file of SCALE-Sim or mNPUsim.")],
    dtype: Annotated[str, typer.Option(help="Type of all tensors.")] = "int8",
    out: Written = None,
    as_json: Json = False,
) -> None:
    """Convolutions or products from a topology file of SCALE-Sim or mNPUsim."""
    from pimsim.trace.scalesim import read_scalesim

    _show(read_scalesim(topology, dtype=dtype), "", out, as_json)


@trace_app.command("from-pytorch", epilog="Example: pimsim trace from-pytorch profile.json.gz --skip-unknown")
def from_pytorch(
    profile: Annotated[Path, typer.Argument(help="A Kineto profile with shapes, or an execution trace.")],
    skip_unknown: Skip = False,
    out: Written = None,
    as_json: Json = False,
) -> None:
    """Operators of a recorded PyTorch run; PyTorch is not needed."""
    from pimsim.trace.pytorch import read_pytorch

    read = read_pytorch(profile, skip_unknown=skip_unknown)
    _show(read.trace, "", out, as_json, read.skipped)


@trace_app.command("show", epilog="Example: pimsim trace show traces/llama-3.2-1b-decode-128.jsonl.gz")
def show(
    file: Annotated[Path, typer.Argument(help="A trace file.")],
    as_json: Json = False,
) -> None:
    """What a trace file holds."""
    from pimsim.trace import read_trace

    _show(read_trace(file), "", None, as_json)


@trace_app.command("diff", epilog="Example: pimsim trace diff a.jsonl.gz b.jsonl.gz")
def diff(
    first: Annotated[Path, typer.Argument(help="A trace file.")],
    second: Annotated[Path, typer.Argument(help="Another one.")],
    as_json: Json = False,
) -> None:
    """How two traces differ, by operator; exits with 1 if they do."""
    import pandas as pd

    from pimsim.report.report import json_text, records
    from pimsim.report.tables import print_frame
    from pimsim.trace import read_trace
    from pimsim.trace.compare import differences

    a, b = read_trace(first), read_trace(second)
    found = differences(a, b)
    frame = pd.DataFrame(
        [(each.phase, each.operator, each.what, each.first, each.second) for each in found],
        columns=["phase", "operator", "what", "first", "second"],
    )
    if as_json:
        typer.echo(json_text({"same": not found, "differences": records(frame)}))
    else:
        screen = console()
        if found:
            print_frame(frame.head(50), f"{a.name} and {b.name}: {len(found)} differences", screen)
            note(screen, f"and {len(found) - 50} more" if len(found) > 50 else "")
        else:
            note(screen, f"{a.name} and {b.name}: the same operators, FLOPs and bytes")
    if found:
        raise typer.Exit(1)


def _of_model(
    model: str,
    prompt: int | None,
    context: int | None,
    dtypes: Types,
    types: str,
    out: Path | None,
    as_json: bool,
) -> None:
    if (prompt is None) == (context is None):
        raise typer.BadParameter("give either --prompt or --context", param_hint="'--prompt' / '--context'")
    from pimsim.trace import decode_trace, load_config, prefill_trace

    config = load_config(model)
    if prompt is not None:
        made = prefill_trace(config, prompt, **dtypes)
    else:
        made = decode_trace(config, context or 0, **dtypes)
    _show(made, f": {made.parameters():,} parameters, weights {types}", out, as_json)


def _frame(made: Trace) -> pd.DataFrame:
    """Operators, FLOPs and bytes by kind, and in all."""
    import pandas as pd

    sums: dict[str, list[int]] = {}
    for op in made.operators:
        cost, row = made.cost(op), sums.setdefault(op.kind, [0, 0, 0, 0])
        for i, value in enumerate((1, cost.flops, cost.bytes_read, cost.bytes_written)):
            row[i] += value
    total = [sum(row[i] for row in sums.values()) for i in range(4)]
    names = ["kind", "operators", "flops", "read_bytes", "written_bytes"]
    return pd.DataFrame([*((kind, *row) for kind, row in sums.items()), ("total", *total)], columns=names)


def _show(
    made: Trace, title: str, out: Path | None, as_json: bool, skipped: dict[str, int] | None = None
) -> None:
    from pimsim.report.report import json_text, records
    from pimsim.report.tables import print_frame
    from pimsim.trace import write_trace

    frame = _frame(made)
    if out is not None:
        write_trace(made, out)
    if as_json:
        said = {"name": made.name, "parameters": made.parameters(), "digest": made.digest()}
        more = {} if skipped is None else {"skipped": skipped}
        typer.echo(json_text(said | more | {"operators": records(frame)}))
        return
    screen = console()
    print_frame(frame, f"{made.name}{title}", screen)
    for name, count in sorted((skipped or {}).items()):
        note(screen, f"left out: {name}, {count} times")
    note(screen, f"Written to {out}" if out is not None else "")
