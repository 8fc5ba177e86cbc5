"""`pimsim replay` and `audit`: one DRAM channel and its command logs."""

from __future__ import annotations

import gzip
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from pimsim.cli.app import Json, Quiet, app, console, note

if TYPE_CHECKING:
    import pandas as pd

    from pimsim.devices.dram.energy import Energy
    from pimsim.devices.dram.replay import ReplayReport


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
        str | None, typer.Option(help="The part of the channel: a name (pimsim parts) or a TOML file.")
    ] = None,
    config: Annotated[
        Path | None,
        typer.Option(help="Or: a reference configuration (JSON) with its own controller and mapping."),
    ] = None,
    controller: Annotated[
        str | None,
        typer.Option(
            help="Controller: a name (see: pimsim controllers) or a JSON file of settings.",
            metavar="NAME|FILE",
        ),
    ] = None,
    settings: Annotated[
        list[str] | None,
        typer.Option("--set", help="One of its settings, such as refresh=none.", metavar="KEY=VALUE"),
    ] = None,
    mapping: Annotated[
        str | None,
        typer.Option(help="Address bits from the top: 'row:16 bank:2 column:7'.", metavar="SPEC"),
    ] = None,
    channels: Annotated[
        int, typer.Option(min=1, help="Channels, unless --mapping says it; bursts go to them in turn.")
    ] = 1,
    window: Annotated[int, typer.Option(min=0, help="Most requests outstanding a channel; 0: no limit.")] = 0,
    commands: Annotated[
        Path | None, typer.Option(help="Write the log of DRAM commands; see: pimsim audit.", metavar="FILE")
    ] = None,
    times: Annotated[
        Path | None,
        typer.Option(help="Write when each request was accepted and done, in clocks (CSV).", metavar="FILE"),
    ] = None,
    as_json: Json = False,
    quiet: Quiet = False,
) -> None:
    """Run a file of requests on DRAM channels: time, latency, row hits, commands, bandwidth, energy.

    Unless --mapping says otherwise, addresses are row, rank, bank, bank group, column, channel from the top.
    """
    if (part is None) == (config is None):
        raise typer.BadParameter("give either --part or --config", param_hint="'--part' / '--config'")
    if config is not None and (controller is not None or settings or mapping is not None or channels != 1):
        raise typer.BadParameter(
            "a reference configuration brings its own controller, mapping and channel",
            param_hint="'--controller' / '--set' / '--mapping' / '--channels'",
        )
    from pimsim.devices import DramSpec
    from pimsim.devices.dram.config import ReferenceConfig, read_config
    from pimsim.devices.dram.controllers import controller_of
    from pimsim.devices.dram.replay import replay_file
    from pimsim.devices.part_file import dram_part
    from pimsim.report.progress import bar
    from pimsim.report.report import json_text
    from pimsim.report.tables import print_frame
    from pimsim.result import csv_bytes, write_file

    device: DramSpec | ReferenceConfig
    if config is not None:
        device, held = read_config(config), None
    else:
        device = dram_part(part or "")
        held = controller_of(controller, tuple(settings or ()))
    with bar(f"Replaying {requests.name}", quiet) as advance:
        done = replay_file(
            requests,
            device,
            controller=held,
            mapping=mapping,
            channels=channels,
            window=window,
            log=commands is not None,
            times=times is not None,
            progress=advance,
        )
    written = [path for path in (commands, times) if path is not None]
    for path in written:
        frame = done.commands if path is commands else done.times()
        if frame is not None:
            data = csv_bytes(frame)
            write_file(path, gzip.compress(data, mtime=0) if path.suffix == ".gz" else data)
    if as_json:
        typer.echo(json_text(done.summary()))
        return
    screen = console()
    title = f"{requests.name}: {done.requests:,} requests on {done.device}"
    print_frame(_replay_table(done), title, screen)
    note(screen, f"\nMapping: {done.mapping}")
    note(screen, f"Controller: {done.controller.name}")
    note(screen, _energy_note(done.energy))
    note(screen, f"Written to {', '.join(map(str, written))}" if written else "")


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
    conflicts = "-" if done.row_conflicts is None else f"{done.row_conflicts}"
    rows += [
        ("row hits", f"{done.row_hits}", "accesses"),
        ("row misses", f"{done.row_misses}", "accesses"),
        ("row conflicts", conflicts, "accesses"),
    ]
    rows += [(command, f"{count}", "commands") for command, count in done.counts.items()]
    rows += [
        ("bandwidth", f"{done.bandwidth_gbps:.4g}", "GB/s"),
        ("share of peak", f"{done.share_of_peak * 100:.4g}", "%"),
    ]
    rows += _energy_rows(done.energy)
    return pd.DataFrame(rows, columns=["quantity", "value", "unit"])


def _energy_rows(energy: Energy | None) -> list[tuple[str, str, str]]:
    if energy is None:
        return [("energy", "-", "nJ")]
    mark = " (estimate)" if energy.estimate else ""
    a_bit = energy.pj_per_bit
    return [
        (f"energy{mark}", f"{energy.total_pj / 1000:.5g}", "nJ"),
        *((f"energy, {name}", f"{value / 1000:.5g}", "nJ") for name, value in energy.components_pj.items()),
        (f"average power{mark}", f"{energy.power_mw:.5g}", "mW"),
        (f"energy a bit{mark}", "-" if a_bit is None else f"{a_bit:.4g}", "pJ/bit"),
    ]


def _energy_note(energy: Energy | None) -> str:
    if energy is None:
        return "Energy: no supply currents are known here."
    said = f"Energy from supply currents ({energy.source})."
    if energy.exact_background:
        return said
    low, high = energy.background_low_pj / 1000, energy.background_high_pj / 1000
    return f"{said} Background from command counts: between {low:.5g} and {high:.5g} nJ (--commands: exact)."


@app.command(epilog="Example: pimsim controllers")
def controllers(as_json: Json = False, quiet: Quiet = False) -> None:
    """List the DRAM controllers by name, with their settings; each can be changed with --set."""
    import dataclasses

    import pandas as pd

    from pimsim.devices.dram.controllers import CONTROLLERS
    from pimsim.report.report import json_text
    from pimsim.report.tables import print_frame

    if as_json:
        settings = {name: dataclasses.asdict(preset.controller) for name, preset in CONTROLLERS.items()}
        typer.echo(json_text({"controllers": settings}))
        return
    rows = [(name, preset.doc) for name, preset in CONTROLLERS.items()]
    screen = console()
    print_frame(pd.DataFrame(rows, columns=["controller", "what it does"]), "", screen)
    kinds = {type(preset.controller): preset.controller for preset in CONTROLLERS.values()}
    for kind, example in kinds.items():
        names = [name for name, preset in CONTROLLERS.items() if isinstance(preset.controller, kind)]
        held = ", ".join(f.name for f in dataclasses.fields(example) if f.name != "name")
        note(screen, f"\nSettings of {', '.join(names)}: {held}")


@app.command(epilog="Example: pimsim audit commands.csv --part lpddr5x-pim-8533")
def audit(
    commands: Annotated[Path, typer.Argument(help="A log of DRAM commands; see: pimsim replay --commands.")],
    part: Annotated[
        str, typer.Option(help="The part whose rules hold: a name (pimsim parts) or a TOML file.")
    ],
    as_json: Json = False,
    quiet: Quiet = False,
) -> None:
    """Check a log of DRAM commands against every timing rule; exit code 1 if one is broken."""
    from pimsim.devices.dram.audit import audit_file
    from pimsim.report.progress import bar
    from pimsim.report.report import json_text, records
    from pimsim.report.tables import print_frame

    with bar(f"Checking {commands.name}", quiet):
        frame: pd.DataFrame = audit_file(commands, part)
    if as_json:
        typer.echo(json_text({"violations": records(frame)}))
    elif len(frame):
        print_frame(frame, f"{commands}: {len(frame)} broken rules", console())
    else:
        note(console(), f"{commands}: no rule of {part} is broken")
    if len(frame):
        raise typer.Exit(1)
