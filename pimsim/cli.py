"""The `pimsim` command: reads arguments, calls the package, prints. No modelling here.

Modules that take long to import are imported in the functions that need them, so that help is instant.
"""

from __future__ import annotations

import dataclasses
import os
import sys
from collections.abc import Mapping, Sequence
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from pimsim.errors import PimsimError, suggest

if TYPE_CHECKING:
    import pandas as pd
    from rich.console import Console

    from pimsim.devices.dram.replay import ReplayReport
    from pimsim.result import Result

app = typer.Typer(
    name="pimsim",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    rich_markup_mode="rich",
    context_settings={"help_option_names": ["-h", "--help"]},
    help="How long does this model take, and how much memory does it need, on this machine, when its "
    "weights are placed and moved in this way?",
    epilog="Start with: pimsim reproduce pim-sherpa capacity",
)


class Fidelity(StrEnum):
    """How much of a repeating stream is stepped through."""

    SAMPLED = "sampled"
    STEP = "step"


Json = Annotated[bool, typer.Option("--json", help="Print one JSON object and nothing else.")]
Quiet = Annotated[bool, typer.Option("--quiet", "-q", help="No progress on standard error.")]
Out = Annotated[
    Path | None,
    typer.Option("--out", help="Folder for the output; written whole or not at all.", metavar="DIR"),
]


def main(args: Sequence[str] | None = None) -> int:
    """Run the command line and return its exit code: 0 done, 1 a check failed, 2 bad input, 130 stopped."""
    try:
        try:
            app(args=list(args) if args is not None else None, prog_name="pimsim")
        finally:
            sys.stdout.flush()
    except BrokenPipeError:  # whoever read our output has seen enough
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 141
    except PimsimError as problem:
        return _fail(str(problem))
    except KeyboardInterrupt:
        return 130
    except MemoryError:
        return _fail("out of memory")
    except OSError as problem:
        named = f"{problem.filename}: " if problem.filename else ""
        return _fail(f"{named}{problem.strerror or problem}")
    except SystemExit as end:
        return end.code if isinstance(end.code, int) else 0 if end.code is None else 1
    return 0


def _version(wanted: bool) -> None:
    if wanted:
        from importlib.metadata import PackageNotFoundError, version

        try:
            typer.echo(f"pimsim {version('pimsim')}")
        except PackageNotFoundError:
            typer.echo("pimsim (not installed)")
        raise typer.Exit


@app.callback()
def _options(
    version: Annotated[
        bool, typer.Option("--version", callback=_version, is_eager=True, help="Print the version.")
    ] = False,
) -> None:
    """Options before the command."""


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
    console = _console()
    from pimsim.report.tables import print_frame

    summary = result.summary
    title = (
        f"{summary['model']} on {summary['system']} with {summary['method']}, "
        f"prompt {summary['prompt']}, {summary['tokens']} tokens"
    )
    print_frame(_run_table(result), title, console)
    _note(console, f"Written to {out}" if out is not None else "")


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
    from pimsim.report.timeline import write_perfetto

    write_perfetto(result.spans, None, folder / "timeline.json.gz")
    figures.save(figures.breakdown_bars(result.to_frame("breakdown")), folder / "breakdown")
    prefill = result.spans[result.spans["phase"].str.startswith("prefill")]
    computing = prefill[(prefill["layer"] >= 0) & (prefill["kind"] != "copy")]["layer"]
    if len(computing):
        layer = int(computing.max()) // 2
        title = f"{result.summary['model']}, {result.summary['method']}: layer {layer} of prefill"
        drawn = figures.timeline([(title, result.spans)], layer=layer, phase="prefill")
        figures.save(drawn, folder / "timeline")


@app.command(
    epilog="Examples: pimsim trace --model llama-3.2-1b --prompt 128 | "
    "pimsim trace --model llama-3.2-3b --context 512 --dtype int8 --out step.jsonl.gz"
)
def trace(
    model: Annotated[str, typer.Option(help="A model that ships with pimsim, or a config.json.")],
    prompt: Annotated[int | None, typer.Option(min=1, help="Trace the prefill of that many tokens.")] = None,
    context: Annotated[
        int | None, typer.Option(min=0, help="Trace one decode step with that many tokens before it.")
    ] = None,
    dtype: Annotated[str, typer.Option(help="Type of the weights, such as bf16, int8, int4.")] = "bf16",
    out: Annotated[Path | None, typer.Option(help="Write the trace file (gzip if it ends in .gz).")] = None,
    as_json: Json = False,
) -> None:
    """Show what a model computes: operators, FLOPs and bytes by kind; write it as a trace file.

    Give either --prompt (prefill) or --context (one decode step).
    """
    if (prompt is None) == (context is None):
        raise typer.BadParameter("give either --prompt or --context", param_hint="'--prompt' / '--context'")
    import pandas as pd

    from pimsim.report.report import json_text, records
    from pimsim.report.tables import print_frame
    from pimsim.trace import decode_trace, load_config, prefill_trace, write_trace

    config = load_config(model)
    if prompt is not None:
        made = prefill_trace(config, prompt, weight_dtype=dtype)
    else:
        made = decode_trace(config, context or 0, weight_dtype=dtype)
    kinds = list(dict.fromkeys(op.kind for op in made.operators))
    rows = []
    for kind in kinds:
        costs = [made.cost(op) for op in made.operators if op.kind == kind]
        flops, read, written = (
            sum(cost.flops for cost in costs),
            sum(cost.bytes_read for cost in costs),
            sum(cost.bytes_written for cost in costs),
        )
        rows.append((kind, len(costs), flops, read, written))
    total = [sum(int(row[i]) for row in rows) for i in range(1, 5)]
    names = ["kind", "operators", "flops", "read_bytes", "written_bytes"]
    frame = pd.DataFrame([*rows, ("total", *total)], columns=names)
    if out is not None:
        write_trace(made, out)
    if as_json:
        said = {"name": made.name, "parameters": made.parameters(), "digest": made.digest()}
        typer.echo(json_text(said | {"operators": records(frame)}))
        return
    console = _console()
    print_frame(frame, f"{made.name}: {made.parameters():,} parameters, weights {dtype}", console)
    _note(console, f"Written to {out}" if out is not None else "")


@app.command(epilog="Examples: pimsim parts | pimsim parts lpddr5x-8533-16gb-x16")
def parts(
    name: Annotated[str | None, typer.Argument(help="Show this part with all its values.")] = None,
    as_json: Json = False,
) -> None:
    """List the parts of the catalog with their sources, or show every value of one."""
    import pandas as pd

    from pimsim import devices
    from pimsim.report.report import json_text, records
    from pimsim.report.tables import print_frame

    known: dict[str, Any] = devices.parts()
    if name is None:
        rows = [(part, type(known[part]).__name__, known[part].source) for part in sorted(known)]
        frame = pd.DataFrame(rows, columns=["part", "type", "source"])
        if as_json:
            typer.echo(json_text({"parts": records(frame)}))
        else:
            print_frame(frame, f"{len(rows)} parts", _console())
        return
    if name not in known:
        raise PimsimError(f"no part named {name!r}{suggest(name, known)}")
    part = known[name]
    fields = _fields(part, "")
    if as_json:
        typer.echo(json_text({"name": name, "type": type(part).__name__, "fields": dict(fields)}))
        return
    frame = pd.DataFrame(fields, columns=["field", "value"]).astype(object)
    print_frame(frame, f"{name} ({type(part).__name__})", _console())


def _fields(value: Any, path: str) -> list[tuple[str, Any]]:
    """(dotted name, plain value) of every field below `value`."""
    held: list[tuple[str, Any]]
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        held = [(field.name, getattr(value, field.name)) for field in dataclasses.fields(value)]
    elif isinstance(value, Mapping):
        held = [(str(key), each) for key, each in value.items()]
    elif isinstance(value, tuple | list) and any(map(dataclasses.is_dataclass, value)):
        held = [(str(getattr(each, "name", index)), each) for index, each in enumerate(value)]
    elif isinstance(value, tuple | list):
        return [(path, ", ".join(str(each) for each in value))]
    else:
        plain = value is None or isinstance(value, bool | int | float | str)
        return [(path, value if plain else str(value))]
    return [row for name, each in held for row in _fields(each, f"{path}.{name}" if path else name)]


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
        print_frame(frame, f"{len(rows)} methods", _console())


@app.command(
    epilog="Examples: pimsim reproduce pim-sherpa --out out | pimsim reproduce pim-sherpa capacity --json"
)
def reproduce(
    name: Annotated[str | None, typer.Argument(help="What to reproduce; none lists all.")] = None,
    experiment: Annotated[str | None, typer.Argument(help="Only this experiment.")] = None,
    out: Annotated[
        Path | None,
        typer.Option(help="Folder for tables, checks, figures and timelines.", metavar="DIR"),
    ] = None,
    as_json: Json = False,
    quiet: Quiet = False,
    strict: Annotated[bool, typer.Option("--strict", help="Exit code 1 unless every check holds.")] = False,
) -> None:
    """Run the experiments of a paper and hold our numbers to its numbers.

    Prints each table, the checks (ours, expected, tolerance, source) and what the model leaves out.
    """
    import pandas as pd

    from pimsim import reproduce as experiments
    from pimsim.checks import verdict
    from pimsim.report.progress import bar
    from pimsim.report.report import json_text, records, reports_json
    from pimsim.report.tables import print_checks, print_frame

    console = _console()
    if name is None:
        rows = [
            (paper, each, experiments.question(module))
            for paper in experiments.names()
            for each, module in experiments.experiments(paper).items()
        ]
        frame = pd.DataFrame(rows, columns=["name", "experiment", "question"])
        if as_json:
            typer.echo(json_text({"experiments": records(frame)}))
        else:
            print_frame(frame, f"{len(rows)} experiments", console)
        return
    chosen = experiments.select(name, experiment)
    if out is not None:
        experiments.check_out(out, chosen)
    with bar(f"Reproducing {name}", quiet) as advance:
        reports = experiments.run(chosen, advance)
    if out is not None:
        experiments.write(reports, out)
    checks = [check for report in reports for check in report.checks]
    if as_json:
        typer.echo(json_text(reports_json(reports)))
    else:
        for report in reports:
            _note(console, f"\n{report.question}\n")
            for title, frame in report.tables.items():
                print_frame(frame, title, console)
                console.print()
            if report.checks:
                print_checks(report.checks, console)
            if report.leaves_out:
                _note(console, "\nWhat the model leaves out")
                _note(console, "\n".join(f"- {line}" for line in report.leaves_out))
        _note(console, f"\nWritten to {out}" if out is not None else "")
        _note(console, f"\n{name}: {verdict(checks)}")
    if strict and not all(check.ok for check in checks):
        raise typer.Exit(1)


@app.command(epilog="Examples: pimsim validate dram | pimsim validate dram --reference cases/ --json")
def validate(
    what: Annotated[str, typer.Argument(help="What to hold to reference numbers: dram, pim, npu ...")],
    reference: Annotated[
        Path | None, typer.Option(help="Folder with reference cases; else those of the tests.", metavar="DIR")
    ] = None,
    as_json: Json = False,
) -> None:
    """Run reference cases (data sheets, other simulators, hardware) and print one row a case."""
    from pimsim.report.report import json_text, records
    from pimsim.report.tables import print_frame
    from pimsim.validate import validate as run_cases

    frame: pd.DataFrame = run_cases(what, reference)
    if as_json:
        typer.echo(json_text({"cases": records(frame)}))
        return
    console = _console()
    print_frame(frame, f"{what}: {len(frame)} cases", console)
    console.print()
    print_frame(_by_quantity(frame), "By quantity", console)


def _by_quantity(frame: pd.DataFrame) -> pd.DataFrame:
    """Cases, mean and largest |error| of each quantity; errors are shares, printed in percent."""
    import pandas as pd

    rows = []
    for quantity, part in frame.groupby("quantity", sort=False):
        size = part["error"].astype(float).abs() * 100
        rows.append((str(quantity), len(part), float(size.mean()), float(size.max())))
    return pd.DataFrame(rows, columns=["quantity", "cases", "mean_error_percent", "largest_error_percent"])


@app.command(
    epilog="Examples: pimsim replay requests.csv --part ddr4-3200-8gb-x8 --set refresh=none | "
    "pimsim replay mix.trace --part lpddr5-6400-16gb-x16 --mapping 'row:16 bank:2 bankgroup:2 column:6' "
    "--commands log.csv"
)
def replay(
    requests: Annotated[
        Path,
        typer.Argument(help="Requests: CSV (arrive,op,addr), Ramulator (LD 0x40) or DRAMsim3 (0x40 READ 0)."),
    ],
    part: Annotated[
        str | None, typer.Option(help="The part that the channel is made of; see: pimsim parts.")
    ] = None,
    config: Annotated[
        Path | None,
        typer.Option(help="Or: a reference configuration (JSON) with its own controller and mapping."),
    ] = None,
    controller: Annotated[
        Path | None, typer.Option(help="Settings of the controller: a JSON object.", metavar="FILE")
    ] = None,
    settings: Annotated[
        list[str] | None,
        typer.Option("--set", help="One of its settings, such as refresh=none.", metavar="KEY=VALUE"),
    ] = None,
    mapping: Annotated[
        str | None,
        typer.Option(help="Address bits from the top: 'row:16 bank:2 column:7'.", metavar="SPEC"),
    ] = None,
    window: Annotated[int, typer.Option(min=0, help="Most requests outstanding; 0: no limit.")] = 0,
    commands: Annotated[
        Path | None, typer.Option(help="Write the log of DRAM commands; see: pimsim audit.", metavar="FILE")
    ] = None,
    as_json: Json = False,
) -> None:
    """Run a file of requests on one DRAM channel: time, latency, row hits, commands, bandwidth.

    Unless --mapping says otherwise, addresses are row, rank, bank, bank group, column from the top.
    """
    if (part is None) == (config is None):
        raise typer.BadParameter("give either --part or --config", param_hint="'--part' / '--config'")
    if config is not None and (controller is not None or settings or mapping is not None):
        raise typer.BadParameter(
            "a reference configuration brings its own controller and mapping",
            param_hint="'--controller' / '--set' / '--mapping'",
        )
    from pimsim.devices import DramSpec
    from pimsim.devices import part as find_part
    from pimsim.devices.dram.config import ReferenceConfig, read_config
    from pimsim.devices.dram.replay import read_controller, replay_file
    from pimsim.report.report import json_text
    from pimsim.report.tables import print_frame
    from pimsim.result import csv_bytes, write_file

    device: DramSpec | ReferenceConfig
    if config is not None:
        device, held = read_config(config), None
    else:
        device = find_part(part or "", DramSpec)
        held = read_controller(controller, tuple(settings or ()))
    done = replay_file(
        requests, device, controller=held, mapping=mapping, window=window, log=commands is not None
    )
    if commands is not None and done.commands is not None:
        import gzip

        data = csv_bytes(done.commands)
        write_file(commands, gzip.compress(data, mtime=0) if commands.suffix == ".gz" else data)
    if as_json:
        typer.echo(json_text(done.summary()))
        return
    console = _console()
    title = f"{requests.name}: {done.requests:,} requests on {done.device}"
    print_frame(_replay_table(done), title, console)
    _note(console, f"\nMapping: {done.mapping}")
    _note(console, f"Written to {commands}" if commands is not None else "")


def _replay_table(done: ReplayReport) -> pd.DataFrame:
    import pandas as pd

    rows: list[tuple[str, str, str]] = [
        ("reads", f"{done.reads}", "requests"),
        ("writes", f"{done.writes}", "requests"),
        ("time to drain", f"{done.cycles}", "clocks"),
        ("time to drain", f"{done.time_ns / 1000:.6g}", "us"),
    ]
    for name, clocks in (
        ("mean read latency", done.mean_read_latency_ck),
        ("median read latency", done.p50_read_latency_ck),
        ("99 % read latency", done.p99_read_latency_ck),
    ):
        rows.append((name, "-" if clocks is None else f"{clocks:.6g}", "clocks"))
        rows.append((name, "-" if clocks is None else f"{done.ns(clocks):.6g}", "ns"))
    rows += [("row hits", f"{done.row_hits}", "accesses"), ("row misses", f"{done.row_misses}", "accesses")]
    rows += [(command, f"{count}", "commands") for command, count in done.counts.items()]
    rows += [
        ("bandwidth", f"{done.bandwidth_gbps:.4g}", "GB/s"),
        ("share of peak", f"{done.share_of_peak * 100:.4g}", "%"),
    ]
    return pd.DataFrame(rows, columns=["quantity", "value", "unit"])


@app.command(epilog="Example: pimsim audit commands.csv --part lpddr5x-pim-8533")
def audit(
    commands: Annotated[Path, typer.Argument(help="A log of DRAM commands; see: pimsim replay --commands.")],
    part: Annotated[str, typer.Option(help="The part whose rules hold; see: pimsim parts.")],
    as_json: Json = False,
) -> None:
    """Check a log of DRAM commands against every timing rule; exit code 1 if one is broken."""
    from pimsim.devices.dram.audit import audit_file
    from pimsim.report.report import json_text, records
    from pimsim.report.tables import print_frame

    frame: pd.DataFrame = audit_file(commands, part)
    if as_json:
        typer.echo(json_text({"violations": records(frame)}))
    elif len(frame):
        print_frame(frame, f"{commands}: {len(frame)} broken rules", _console())
    else:
        _note(_console(), f"{commands}: no rule of {part} is broken")
    if len(frame):
        raise typer.Exit(1)


def _console() -> Console:
    from rich.console import Console

    return Console()


def _note(console: Console, text: str) -> None:
    if text:
        console.print(text, markup=False, highlight=False, soft_wrap=not console.is_terminal)


def _fail(text: str) -> int:
    print(f"pimsim: error: {text}", file=sys.stderr)
    return 2


if __name__ == "__main__":
    sys.exit(main())
