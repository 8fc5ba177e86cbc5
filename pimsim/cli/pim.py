"""`pimsim gemv`, `pimsim elementwise`, `pimsim attention`: operations on the units of a PIM part."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from pimsim.cli.app import Json, Quiet, app, console, note

if TYPE_CHECKING:
    import pandas as pd

    from pimsim.devices.dram.energy import Energy
    from pimsim.devices.pim.cost import Cost

Fence = Annotated[
    float | None,
    typer.Option(min=0, help="The host fences groups of accesses, each for so long; else no fences."),
]
Refresh = Annotated[bool, typer.Option(help="Refresh the DRAM meanwhile.")]


@app.command(
    epilog="Examples: pimsim gemv --pim hbm-pim-2000 --rows 4096 --cols 4096 | "
    "pimsim gemv --pim lpddr5x-pim-9600 --rows 4096 --cols 4096 --dtype int8 --fence-ns 150 --check"
)
def gemv(
    pim: Annotated[
        str, typer.Option(help="The PIM part: a name (see: pimsim parts) or FILE.py:NAME.", metavar="NAME")
    ],
    rows: Annotated[int, typer.Option(help="Rows of the matrix: outputs.", metavar="N")],
    cols: Annotated[int, typer.Option(help="Columns of the matrix: inputs.", metavar="K")],
    batch: Annotated[int, typer.Option(help="Vectors that are multiplied.", metavar="B")] = 1,
    dtype: Annotated[
        str | None, typer.Option(help="Type of the weights; else the part's first.", metavar="T")
    ] = None,
    channels: Annotated[
        int | None, typer.Option(help="Channels that hold the matrix; else the usual number.")
    ] = None,
    split: Annotated[
        int,
        typer.Option(min=0, help="Parts the columns are cut into, to fill units; 0: as many as pay."),
    ] = 1,
    activation: Annotated[
        str, typer.Option(help="Function of the results, for GDDR6-AiM: relu, gelu, tanh ...", metavar="F")
    ] = "",
    fence_ns: Fence = None,
    refresh: Refresh = True,
    run_check: Annotated[bool, typer.Option("--check", help="Run the same program on data, too.")] = False,
    commands: Annotated[
        Path | None,
        typer.Option(help="Write a channel's commands; see: pimsim audit.", metavar="FILE"),
    ] = None,
    as_json: Json = False,
    quiet: Quiet = False,
) -> None:
    """Time, bandwidth and every lost clock of a matrix-vector product in memory."""
    from pimsim.devices import DramSpec, PimSpec, part
    from pimsim.devices.dram.channel import Controller
    from pimsim.devices.pim.compile import compile_gemv
    from pimsim.devices.pim.cost import cost_of
    from pimsim.devices.pim.energy import pim_energy
    from pimsim.devices.pim.kernel import HostDrive, log_kernel
    from pimsim.report.progress import bar

    unit = part(pim, PimSpec)
    dram = part(unit.dram, DramSpec)
    kind = dtype if dtype is not None else next(iter(unit.weight_dtypes))
    kernel = compile_gemv(
        unit, dram, rows, cols, kind, batch=batch, channels=channels, fences=fence_ns is not None,
        split=split, activation=activation,
    )  # fmt: skip
    controller = Controller(refresh="all_bank" if refresh else "none")
    host = HostDrive(fence_ns=fence_ns or 0.0)
    with bar(f"{rows} x {cols} product on {unit.name}", quiet):
        cost = cost_of(dram, unit, controller, kernel, host)
        energy = pim_energy(dram, unit, controller, kernel, host)
    if commands is not None:
        _write_log(commands, log_kernel(dram, unit, controller, kernel, host)[1])
    verdict = None
    if run_check:
        from pimsim.devices.pim.selftest import check_gemv

        verdict = check_gemv(
            unit, dram, rows, cols, kind, batch=batch, channels=kernel.channels, split=split,
            activation=activation,
        )  # fmt: skip
    _report(cost, energy, verdict, as_json)


@app.command(
    epilog="Examples: pimsim elementwise --pim hbm-pim-2000 --operation add --elements 1048576 --check | "
    "pimsim elementwise --pim lpddr5x-pim-8533 --operation sum --elements 1048576"
)
def elementwise(
    pim: Annotated[str, typer.Option(help="The PIM part; see: pimsim parts.", metavar="NAME")],
    operation: Annotated[
        str, typer.Option(help="add, mul, relu, scale-shift or sum, as far as the part has it.", metavar="OP")
    ],
    elements: Annotated[int, typer.Option(help="Elements of each vector.", metavar="N")],
    dtype: Annotated[
        str | None, typer.Option(help="Type of the elements; else the part's first.", metavar="T")
    ] = None,
    channels: Annotated[
        int | None, typer.Option(help="Channels that hold the vectors; else the usual number.")
    ] = None,
    fence_ns: Fence = None,
    refresh: Refresh = True,
    run_check: Annotated[bool, typer.Option("--check", help="Run the same program on data, too.")] = False,
    as_json: Json = False,
    quiet: Quiet = False,
) -> None:
    """Time, bandwidth and every lost clock of an operation on whole vectors in memory, or of a sum."""
    from pimsim.devices import DramSpec, PimSpec, part
    from pimsim.devices.dram.channel import Controller
    from pimsim.devices.pim.compile import compile_elementwise
    from pimsim.devices.pim.cost import cost_of
    from pimsim.devices.pim.energy import pim_energy
    from pimsim.devices.pim.kernel import HostDrive
    from pimsim.report.progress import bar

    unit = part(pim, PimSpec)
    dram = part(unit.dram, DramSpec)
    kind = dtype if dtype is not None else next(iter(unit.weight_dtypes))
    kernel = compile_elementwise(
        unit, dram, operation, elements, kind, channels=channels, fences=fence_ns is not None
    )
    controller = Controller(refresh="all_bank" if refresh else "none")
    host = HostDrive(fence_ns=fence_ns or 0.0)
    with bar(f"{operation} of {elements:,} elements on {unit.name}", quiet):
        cost = cost_of(dram, unit, controller, kernel, host)
        energy = pim_energy(dram, unit, controller, kernel, host)
    verdict = None
    if run_check:
        from pimsim.devices.pim.selftest import check_elementwise

        verdict = check_elementwise(unit, dram, operation, elements, kind, channels=kernel.channels)
    _report(cost, energy, verdict, as_json)


@app.command(
    epilog="Example: pimsim attention --pim lpddr5x-pim-9600 --heads 24 --kv-heads 8 --head-dim 128 "
    "--context 1024 --dtype int8 --check"
)
def attention(
    pim: Annotated[
        str, typer.Option(help="The PIM part: a name (see: pimsim parts) or FILE.py:NAME.", metavar="NAME")
    ],
    heads: Annotated[int, typer.Option(help="Query heads.", metavar="H")],
    kv_heads: Annotated[int, typer.Option(help="Heads of K and V.", metavar="G")],
    head_dim: Annotated[int, typer.Option(help="Values of a head.", metavar="D")],
    context: Annotated[int, typer.Option(help="Tokens in the cache.", metavar="N")],
    dtype: Annotated[
        str | None, typer.Option(help="Type of K and V; else the part's first.", metavar="T")
    ] = None,
    channels: Annotated[
        int | None, typer.Option(help="Channels that hold the cache; else the usual number.")
    ] = None,
    fence_ns: Fence = None,
    refresh: Refresh = True,
    run_check: Annotated[bool, typer.Option("--check", help="Run the same programs on data, too.")] = False,
    as_json: Json = False,
    quiet: Quiet = False,
) -> None:
    """Time of a token's attention in a layer over a KV cache in PIM: scores and context, without softmax."""
    from pimsim.devices import DramSpec, PimSpec, part
    from pimsim.devices.dram.channel import Controller
    from pimsim.devices.pim.attention import AttentionShape, compile_attention
    from pimsim.devices.pim.cost import cost_of
    from pimsim.devices.pim.energy import pim_energy
    from pimsim.devices.pim.kernel import HostDrive
    from pimsim.report.progress import bar

    unit = part(pim, PimSpec)
    dram = part(unit.dram, DramSpec)
    kind = dtype if dtype is not None else next(iter(unit.weight_dtypes))
    shape = AttentionShape(heads=heads, kv_heads=kv_heads, head_dim=head_dim, context=context)
    halves = compile_attention(unit, dram, shape, kind, channels=channels, fences=fence_ns is not None)
    controller, host = (
        Controller(refresh="all_bank" if refresh else "none"),
        HostDrive(fence_ns=fence_ns or 0),
    )
    with bar(f"Attention on {unit.name}", quiet):
        costs = [cost_of(dram, unit, controller, half.kernel, host) for half in halves]
        energies = [pim_energy(dram, unit, controller, half.kernel, host) for half in halves]
    verdict = None
    if run_check:
        from pimsim.devices.pim.selftest import check_attention

        verdict = check_attention(unit, dram, shape, kind, channels=channels)
    if as_json:
        from pimsim.report.report import json_text

        held: dict[str, Any] = {"time_ns": sum(cost.time_ns for cost in costs)}
        for half, cost, energy in zip(halves, costs, energies, strict=True):
            held[cost.operation] = _fields(cost) | {
                "kv_heads_at_once": half.side, "turns": half.turns,
                "energy": None if energy is None else energy.summary(),
            }  # fmt: skip
        typer.echo(json_text(held | ({} if verdict is None else {"check": verdict})))
    else:
        _print_attention(costs, energies, verdict)
    if verdict is not None and not verdict["ok"]:
        raise typer.Exit(1)


def _print_attention(
    costs: list[Cost], energies: list[Energy | None], verdict: dict[str, Any] | None
) -> None:
    import pandas as pd

    from pimsim.report.tables import print_frame

    screen, first = console(), costs[0]
    shape = first.shape
    title = (
        f"{first.part}, {first.channels} channels: {first.dtype} attention, {shape['heads']} heads on "
        f"{shape['kv_heads']} KV heads of {shape['head_dim']}, {shape['context']} tokens"
    )
    columns = ["quantity", *(cost.operation for cost in costs), "both", "unit"]
    joules = [None if energy is None else energy.total_pj / 1000 for energy in energies]
    lines: list[tuple[str, list[float | None], str]] = [
        ("time", [cost.clocks for cost in costs], "clocks"),
        ("time", [cost.time_ns / 1000 for cost in costs], "us"),
        ("host reads the cache once, in order", [cost.host_read_ns / 1000 for cost in costs], "us"),
        ("energy (estimate)" if joules[0] is not None else "energy", joules, "nJ"),
    ]
    rows = [(name, *(_figure(v) for v in values), _figure(_sum(values)), u) for name, values, u in lines]
    shares = [f"{cost.share_of_peak * 100:.4g}" for cost in costs]
    rows.append(("share of the peak inside", *shares, "", "%"))
    print_frame(pd.DataFrame(rows, columns=columns), title, screen)
    for cost in costs:
        screen.print()
        print_frame(_losses(cost), f"Where the clocks of the {cost.operation} go", screen)
    for cost in costs:
        for text in cost.notes:
            note(screen, f"\nNote, {cost.operation}: {text}")
    if verdict is not None:
        note(screen, f"\nCheck: {verdict['text']}")


def _sum(values: list[float | None]) -> float | None:
    known = [value for value in values if value is not None]
    return sum(known) if len(known) == len(values) else None


def _figure(value: float | None) -> str:
    return "-" if value is None else str(value) if isinstance(value, int) else f"{value:.6g}"


def _write_log(path: Path, log: pd.DataFrame) -> None:
    import gzip

    from pimsim.result import csv_bytes, write_file

    data = csv_bytes(log)
    write_file(path, gzip.compress(data, mtime=0) if path.suffix == ".gz" else data)


def _fields(cost: Cost) -> dict[str, Any]:
    from dataclasses import asdict

    return asdict(cost) | {
        "share_of_peak": cost.share_of_peak,
        "speedup": cost.speedup,
        "speedup_over_read": cost.speedup_over_read,
        "possible_speedup": cost.possible_speedup,
    }


def _report(cost: Cost, energy: Energy | None, verdict: dict[str, Any] | None, as_json: bool) -> None:
    """Print what an operation cost; exit status 1 if it was wrong on data."""
    if as_json:
        from pimsim.report.report import json_text

        held = _fields(cost) | {"energy": None if energy is None else energy.summary()}
        typer.echo(json_text(held | ({} if verdict is None else {"check": verdict})))
    else:
        _print(cost, energy, verdict)
    if verdict is not None and not verdict["ok"]:
        raise typer.Exit(1)


def _print(cost: Cost, energy: Energy | None, verdict: dict[str, Any] | None) -> None:
    from pimsim.report.tables import print_frame

    screen, shape = console(), cost.shape
    if cost.operation == "gemv":
        batch = f", {shape['batch']} vectors" if shape["batch"] > 1 else ""
        what = f"GEMV {shape['rows']} x {shape['cols']}{batch}"
    else:
        what = f"{cost.operation} of {shape['elements']:,} elements"
    title = f"{cost.part}, {cost.channels} channels: {cost.dtype} {what}"
    print_frame(_summary(cost, energy), title, screen)
    screen.print()
    print_frame(_losses(cost), "Where the clocks go", screen)
    screen.print()
    print_frame(_commands(cost), "Commands", screen)
    if energy is not None:
        note(screen, f"\nEnergy: an estimate from supply currents ({energy.source})")
    for text in cost.notes:
        note(screen, f"\nNote: {text}")
    if cost.refreshes < cost.refreshes_due - 1:
        note(screen, f"\nWarning: {cost.refreshes_due} refreshes fell due but {cost.refreshes} were made")
    if verdict is not None:
        note(screen, f"\nCheck: {verdict['text']}")


def _energy(energy: Energy | None) -> list[tuple[str, str, str]]:
    if energy is None:
        return [("energy", "-", "nJ")]
    names = {"read": "reads of units and host", "write": "writes of units and host", "io": "data pins"}
    return [
        ("energy (estimate)", f"{energy.total_pj / 1000:.5g}", "nJ"),
        *(
            (f"energy, {names.get(name, name)}", f"{pj / 1000:.5g}", "nJ")
            for name, pj in energy.components_pj.items()
            if pj
        ),
        ("energy a bit of operands (estimate)", f"{energy.pj_per_bit:.4g}", "pJ/bit"),
    ]


def _summary(cost: Cost, energy: Energy | None) -> pd.DataFrame:
    import pandas as pd

    what = "weights" if cost.operation == "gemv" else "operands"
    rows = [
        ("time", f"{cost.clocks}", "clocks"),
        ("time", f"{cost.time_ns / 1000:.6g}", "us"),
        ("inside the memory", f"{cost.internal_gbps:.5g}", "GB/s"),
        ("share of the peak inside", f"{cost.share_of_peak * 100:.4g}", "%"),
        ("over the pins", f"{cost.external_gbps:.4g}", "GB/s"),
        ("share of the pins", f"{cost.external_gbps / cost.external_peak_gbps * 100:.4g}", "%"),
        (f"host reads the {what} at full bandwidth", f"{cost.host_peak_ns / 1000:.6g}", "us"),
        ("speed-up over that", f"{cost.speedup:.4g}", f"of {cost.possible_speedup:.4g}"),
        (f"host reads the {what} in order", f"{cost.host_read_ns / 1000:.6g}", "us"),
        ("speed-up over that", f"{cost.speedup_over_read:.4g}", "times"),
        ("refreshes expected", f"{cost.refreshes_due}", "a channel"),
        ("refreshes done", f"{cost.refreshes}", "a channel"),
        *_energy(energy),
    ]
    return pd.DataFrame(rows, columns=["quantity", "value", "unit"])


def _losses(cost: Cost) -> pd.DataFrame:
    import pandas as pd

    rows = [("units at work", cost.peak_clocks), *cost.lost.items()]
    rows = [row for row in rows if row[1]] + [("total", cost.clocks)]
    table = [(name, clocks, f"{clocks / cost.clocks * 100:.1f}") for name, clocks in rows]
    return pd.DataFrame(table, columns=["cause", "clocks", "share_percent"])


def _commands(cost: Cost) -> pd.DataFrame:
    import pandas as pd

    return pd.DataFrame(list(cost.commands.items()), columns=["command", "all_channels"])
