"""`pimsim reproduce` and `validate`: our numbers beside those of papers and other simulators."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from pimsim.cli.app import Json, Quiet, app, console, note

if TYPE_CHECKING:
    import pandas as pd


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
    fresh: Annotated[
        bool, typer.Option("--fresh", help="Run every experiment, also those that an earlier run finished.")
    ] = False,
    jobs: Annotated[
        int | None, typer.Option(min=1, help="Experiments at once; else one a core.", metavar="N")
    ] = None,
) -> None:
    """Run the experiments of a paper and hold our numbers to its numbers.

    Prints each table, the checks (ours, expected, difference, tolerance, source) and what the model leaves
    out. Finished experiments are kept in the user's cache folder ($PIMSIM_CACHE): interrupted and started
    again, it goes on.
    """
    import pandas as pd

    from pimsim import reproduce as experiments
    from pimsim.checks import verdict
    from pimsim.report.progress import bar
    from pimsim.report.report import json_text, records, reports_json
    from pimsim.report.tables import print_checks, print_frame

    screen = console()
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
            print_frame(frame, f"{len(rows)} experiments", screen)
        return
    chosen = experiments.select(name, experiment)
    if out is not None:
        experiments.check_out(out, chosen)
    paper = name.lower().replace("_", "-")
    with bar(f"Reproducing {name}", quiet) as advance:
        reports = experiments.run(
            chosen,
            advance,
            paper=paper,
            jobs=jobs or experiments.cores(),
            store=experiments.Store.of(paper),
            fresh=fresh,
            finished=None if quiet else lambda line: print(f"  {line}", file=sys.stderr, flush=True),
        )
    if out is not None:
        experiments.write(reports, out)
    checks = [check for report in reports for check in report.checks]
    if as_json:
        typer.echo(json_text(reports_json(reports)))
    else:
        for report in reports:
            note(screen, f"\n{report.question}\n")
            for title, frame in report.tables.items():
                print_frame(frame, title, screen)
                screen.print()
            if report.checks:
                print_checks(report.checks, screen)
            if report.leaves_out:
                note(screen, "\nWhat the model leaves out")
                note(screen, "\n".join(f"- {line}" for line in report.leaves_out))
        note(screen, f"\nWritten to {out}" if out is not None else "")
        for each, lacking in experiments.left_out(name).items() if experiment is None else ():
            note(screen, f"\nNot run: {each} needs {', '.join(lacking)}: {experiments.INSTALL}")
        note(screen, f"\n{name}: {verdict(checks)}")
    if strict and not all(check.ok for check in checks):
        raise typer.Exit(1)


@app.command(epilog="Examples: pimsim validate dram | pimsim validate dram --reference cases/ --json")
def validate(
    what: Annotated[str, typer.Argument(help="What to hold to reference numbers: dram, pim, npu ...")],
    reference: Annotated[
        Path | None, typer.Option(help="Folder with reference cases; else those of the tests.", metavar="DIR")
    ] = None,
    every: Annotated[
        bool, typer.Option("--all", help="Also print every case, not only what differs.")
    ] = False,
    as_json: Json = False,
    quiet: Quiet = False,
) -> None:
    """Run reference cases (data sheets, other simulators, hardware): errors, and every case that differs."""
    from pimsim.report.progress import bar
    from pimsim.report.report import json_text, records
    from pimsim.report.tables import print_frame
    from pimsim.validate import by_group
    from pimsim.validate import validate as run_cases

    with bar(f"Validating {what}", quiet) as advance:
        frame: pd.DataFrame = run_cases(what, reference, advance)
    if as_json:
        typer.echo(json_text({"cases": records(frame)}))
        return
    screen = console()
    every = every or what == "pim"  # few numbers, and next to none is equal
    if every:
        print_frame(frame, f"{what}: {len(frame)} numbers", screen)
        screen.print()
    print_frame(_by_quantity(frame), "By quantity", screen)
    if "group" in frame:
        screen.print()
        print_frame(by_group(frame), "By simulator and standard", screen)
    differ = frame[frame["error"].isna() | (frame["error"] != 0)]
    known = differ["quantity"].str.contains("documented defect")
    if not every and len(differ[~known]):
        screen.print()
        print_frame(differ[~known], f"What differs: {len(differ[~known])} of {len(frame)} numbers", screen)
    if known.any():
        note(screen, f"\n{known.sum()} distances differ on purpose: documented defects of the reference.")


def _by_quantity(frame: pd.DataFrame) -> pd.DataFrame:
    """Cases, median, mean and largest |error| of each quantity; errors are shares, printed in percent."""
    import pandas as pd

    rows = []
    for quantity, part in frame.groupby("quantity", sort=False):
        size = part["error"].astype(float).abs() * 100
        figures = (float(size.median()), float(size.mean()), float(size.max()))
        rows.append((str(quantity), len(part), *figures))
    columns = ["quantity", "cases", "median_error_percent", "mean_error_percent", "largest_error_percent"]
    return pd.DataFrame(rows, columns=columns)
