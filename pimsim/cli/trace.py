"""`pimsim trace`: traces from models and foreign files; what a trace holds; how two differ."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from pimsim.cli.app import Json, Quiet, app, console, note

if TYPE_CHECKING:
    import pandas as pd

    from pimsim.trace import Trace
    from pimsim.trace.llm import LlmConfig, Types

Written = Annotated[Path | None, typer.Option("--out", help="Write the trace file (gzip if it ends in .gz).")]

trace_app = typer.Typer(
    name="trace",
    help="What a model computes: operators, FLOPs and bytes by kind; from a configuration or a foreign file.",
    epilog="Examples: pimsim trace --model llama-3.2-1b --prompt 128 | "
    "pimsim trace from-onnx model.onnx | pimsim trace diff a.jsonl.gz b.jsonl.gz",
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
    quiet: Quiet = False,
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
    quiet: Quiet = False,
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
    quiet: Quiet = False,
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
    quiet: Quiet = False,
) -> None:
    """Operators of a recorded PyTorch run; PyTorch is not needed."""
    from pimsim.trace.pytorch import read_pytorch

    read = read_pytorch(profile, skip_unknown=skip_unknown)
    _show(read.trace, "", out, as_json, read.skipped)


@trace_app.command(
    "from-torch", epilog="Example: pimsim trace from-torch llama-3.2-1b --prompt 128 --out llama.jsonl.gz"
)
def from_torch(
    target: Annotated[
        str,
        typer.Argument(
            help="A config.json of transformers, its folder, a model that ships; or package.module:function, "
            "which returns (module, inputs) or, for a training step, (module, inputs, loss, targets)."
        ),
    ],
    prompt: Prompt = None,
    context: Context = None,
    dtype: Annotated[str, typer.Option(help="Type of a transformers model: bf16, fp16, fp32.")] = "bf16",
    fuse: Annotated[bool, typer.Option(help="Join calls that an inference engine runs as one.")] = True,
    skip_unknown: Skip = False,
    figure: Annotated[
        Path | None, typer.Option(help="Draw who holds which memory when: PATH.png and PATH.svg.")
    ] = None,
    out: Written = None,
    as_json: Json = False,
    quiet: Quiet = False,
) -> None:
    """A PyTorch module, captured without weights or data. Needs pimsim[torch]."""
    if ":" in target:
        if prompt is not None or context is not None:
            raise typer.BadParameter("belongs to a configuration", param_hint="'--prompt' / '--context'")
        from pimsim.trace.capture.target import capture_target

        made = capture_target(target, fuse=fuse, skip_unknown=skip_unknown)
    else:
        if (prompt is None) == (context is None):
            raise typer.BadParameter(
                "give either --prompt or --context", param_hint="'--prompt' / '--context'"
            )
        from pimsim.trace.capture.huggingface import capture_language_model

        made = capture_language_model(
            target, prompt=prompt, context=context, dtype=dtype, fuse=fuse, skip_unknown=skip_unknown
        )
    title = f": {made.trace.parameters():,} parameters"
    if figure is not None:
        _draw_memory(made.history(), made.trace.name, figure)
    _show(made.trace, title, out, as_json, made.skipped, memory=made.memory())


@trace_app.command("from-vision", epilog="Example: pimsim trace from-vision resnet50 --batch 8 --dtype int8")
def from_vision(
    model: Annotated[str, typer.Argument(help="A network such as resnet50, vit_base, ir_resnet100.")],
    batch: Annotated[int, typer.Option(min=1, help="Pictures at once.")] = 1,
    dtype: Annotated[str, typer.Option(help="Type of all tensors.")] = "fp32",
    out: Written = None,
    as_json: Json = False,
    quiet: Quiet = False,
) -> None:
    """A vision network from its table of shapes."""
    from pimsim.trace.vision_trace import vision_trace

    _show(vision_trace(model, batch=batch, dtype=dtype), "", out, as_json)


@trace_app.command("from-onnx", epilog="Example: pimsim trace from-onnx model.onnx --dim batch=1")
def from_onnx(
    model: Annotated[Path, typer.Argument(help="An ONNX graph; its weights are not needed.")],
    dim: Annotated[list[str] | None, typer.Option(help="Size of an open dimension: NAME=SIZE.")] = None,
    skip_unknown: Skip = False,
    out: Written = None,
    as_json: Json = False,
    quiet: Quiet = False,
) -> None:
    """Operators of an ONNX graph. Needs pimsim[onnx]."""
    from pimsim.trace.onnx import read_onnx

    dims: dict[str, int] = {}
    for each in dim or ():
        name, _, size = each.rpartition("=")
        if not name or not size.isascii() or not size.isdecimal() or not 0 < int(size[:12]) < 2**31:
            raise typer.BadParameter(f"{each!r}: wanted NAME=SIZE, such as batch=1", param_hint="'--dim'")
        dims[name] = int(size)
    read = read_onnx(model, dims=dims, skip_unknown=skip_unknown)
    _show(read.trace, f": {read.trace.parameters():,} parameters", out, as_json, read.skipped)


@trace_app.command("from-gguf", epilog="Example: pimsim trace from-gguf model.gguf --context 512")
def from_gguf(
    model: Annotated[Path, typer.Argument(help="A GGUF file; only its header is read.")],
    prompt: Prompt = None,
    context: Context = None,
    types: Annotated[
        str, typer.Option(help="Types such as w4a16; by default that of most weights, activations bf16.")
    ] = "",
    out: Written = None,
    as_json: Json = False,
    quiet: Quiet = False,
) -> None:
    """A language model from the header of a GGUF file."""
    from pimsim.trace.gguf import gguf_config, read_gguf
    from pimsim.trace.llm import quantised

    stored = read_gguf(model)
    held = stored.weight_dtype()
    own: Types = {"weight_dtype": held, "activation_dtype": "bf16", "kv_dtype": "bf16"}
    _of_config(
        gguf_config(stored), prompt, context, quantised(types) if types else own, types or held, out, as_json
    )


@trace_app.command("from-chakra", epilog="Example: pimsim trace from-chakra rank0.et --skip-unknown")
def from_chakra(
    file: Annotated[Path, typer.Argument(help="A Chakra execution trace.")],
    skip_unknown: Skip = False,
    out: Written = None,
    as_json: Json = False,
    quiet: Quiet = False,
) -> None:
    """Operators of a Chakra execution trace. Needs pimsim[chakra]."""
    from pimsim.trace.chakra import read_chakra

    read = read_chakra(file, skip_unknown=skip_unknown)
    _show(read.trace, "", out, as_json, read.skipped)


@trace_app.command("to-chakra", epilog="Example: pimsim trace to-chakra model.jsonl.gz model.et")
def to_chakra(
    file: Annotated[Path, typer.Argument(help="A trace file.")],
    out: Annotated[Path, typer.Argument(help="The Chakra execution trace to write.")],
    as_json: Json = False,
    quiet: Quiet = False,
) -> None:
    """Write a trace as a Chakra execution trace. Needs pimsim[chakra]."""
    from pimsim.report.report import json_text
    from pimsim.trace import read_trace
    from pimsim.trace.chakra import write_chakra

    trace = read_trace(file)
    write_chakra(trace, out)
    if as_json:
        typer.echo(json_text({"file": str(out), "nodes": len(trace.operators)}))
        return
    note(console(), f"Written to {out}: {len(trace.operators)} nodes")


@trace_app.command("show", epilog="Example: pimsim trace show traces/llama-3.2-1b-decode-128.jsonl.gz")
def show(
    file: Annotated[Path, typer.Argument(help="A trace file.")],
    as_json: Json = False,
    quiet: Quiet = False,
) -> None:
    """What a trace file holds."""
    from pimsim.trace import read_trace

    _show(read_trace(file), "", None, as_json)


@trace_app.command("diff", epilog="Example: pimsim trace diff a.jsonl.gz b.jsonl.gz")
def diff(
    first: Annotated[Path, typer.Argument(help="A trace file.")],
    second: Annotated[Path, typer.Argument(help="Another one.")],
    as_json: Json = False,
    quiet: Quiet = False,
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
    from pimsim.trace import load_config

    _of_config(load_config(model), prompt, context, dtypes, types, out, as_json)


def _of_config(
    config: LlmConfig,
    prompt: int | None,
    context: int | None,
    dtypes: Types,
    types: str,
    out: Path | None,
    as_json: bool,
) -> None:
    if (prompt is None) == (context is None):
        raise typer.BadParameter("give either --prompt or --context", param_hint="'--prompt' / '--context'")
    from pimsim.trace import decode_trace, prefill_trace

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


def _draw_memory(history: dict[str, list[int]], name: str, figure: Path) -> None:
    """history: bytes by owner at every call."""
    import pandas as pd

    from pimsim.report.curves import stacked_areas
    from pimsim.report.figures import save

    rows = [
        (owner, call, size / 1e6)
        for owner, sizes in history.items()
        if any(sizes)
        for call, size in enumerate(sizes)
    ]
    drawn = stacked_areas(
        pd.DataFrame(rows, columns=["owner", "call", "mb"]),
        x="call",
        y="mb",
        series="owner",
        title=f"{name}: memory while PyTorch runs it",
        x_label="call",
        y_label="memory [MB]",
    )
    save(drawn, figure.with_suffix("") if figure.suffix in (".png", ".svg") else figure)


def _show(
    made: Trace,
    title: str,
    out: Path | None,
    as_json: bool,
    skipped: dict[str, int] | None = None,
    *,
    memory: dict[str, int] | None = None,
) -> None:
    """Print a trace; memory: bytes by owner at the peak of a captured run."""
    from pimsim.report.report import json_text, records
    from pimsim.report.tables import print_frame
    from pimsim.trace import write_trace

    frame = _frame(made)
    if out is not None:
        write_trace(made, out)
    if as_json:
        said = {"name": made.name, "parameters": made.parameters(), "digest": made.digest()}
        more: dict[str, object] = {} if skipped is None else {"skipped": skipped}
        if memory is not None:
            more["peak_memory_bytes"] = memory
        typer.echo(json_text(said | more | {"operators": records(frame)}))
        return
    screen = console()
    print_frame(frame, f"{made.name}{title}", screen)
    if memory is not None:
        from pimsim.units import format_bytes

        told = ", ".join(f"{k} {format_bytes(v, decimal=True)}" for k, v in memory.items() if v)
        total = format_bytes(sum(memory.values()), decimal=True)
        note(screen, f"PyTorch itself holds {total} at most: {told}")
    for name, count in sorted((skipped or {}).items()):
        note(screen, f"left out: {name}, {count} times")
    note(screen, f"Written to {out}" if out is not None else "")
