"""`pimsim replay` and `audit`: one DRAM channel and its command logs."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from pimsim.cli.app import Json, app, console, note

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
    """Run a file of requests on one DRAM channel: time, latency, row hits, commands, bandwidth, energy.

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
    screen = console()
    title = f"{requests.name}: {done.requests:,} requests on {done.device}"
    print_frame(_replay_table(done), title, screen)
    note(screen, f"\nMapping: {done.mapping}")
    note(screen, _energy_note(done.energy))
    note(screen, f"Written to {commands}" if commands is not None else "")


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
        print_frame(frame, f"{commands}: {len(frame)} broken rules", console())
    else:
        note(console(), f"{commands}: no rule of {part} is broken")
    if len(frame):
        raise typer.Exit(1)
