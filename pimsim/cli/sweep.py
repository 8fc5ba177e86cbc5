"""`pimsim sweep`, `search` and `results`: many runs, kept."""

from __future__ import annotations

import sys
from collections import Counter
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from pimsim.cli.app import Json, Quiet, app, console, note

if TYPE_CHECKING:
    import pandas as pd

    from pimsim.sweep import Executor, Limits, Store, Sweep

File = Annotated[Path, typer.Argument(help="The sweep, a TOML file.", metavar="FILE", show_default=False)]
StoreFile = Annotated[Path, typer.Argument(help="The store of results.", metavar="STORE")]
Jobs = Annotated[
    int | None, typer.Option("--jobs", "-j", min=0, help="Processes; default: one a core. 0: in this one.")
]
DaskAt = Annotated[
    str | None,
    typer.Option("--dask", help="Run on the Dask scheduler at this address, or 'local'.", metavar="ADDRESS"),
]
Timeout = Annotated[float | None, typer.Option(help="Seconds that one point may take.", metavar="SECONDS")]
Memory = Annotated[
    str | None, typer.Option(help="Memory that the process of a point may take.", metavar="SIZE")
]
StoreOption = Annotated[
    Path | None, typer.Option("--store", help="The store; default: results.sqlite in the output folder.")
]
OutFolder = Annotated[
    Path | None,
    typer.Option("--out", help="Folder for store, table and figures; default: out/NAME.", metavar="DIR"),
]
Which = Annotated[str | None, typer.Option("--sweep", help="Only points of this sweep.", metavar="NAME")]
Where = Annotated[
    str | None, typer.Option(help="Only rows that meet a condition, as in 'prompt >= 64 and ttft_s < 2'.")
]


@app.command(
    epilog="Example: pimsim sweep examples/pim_design_space.toml --jobs 2    "
    "A point that the store has is not run again: the same command goes on where it was stopped."
)
def sweep(
    file: Annotated[
        Path | None, typer.Argument(help="The sweep, a TOML file.", metavar="FILE", show_default=False)
    ] = None,
    jobs: Jobs = None,
    dask: DaskAt = None,
    resume: Annotated[
        bool, typer.Option("--resume", help="Go on with a store that must be there already.")
    ] = False,
    shard: Annotated[
        str | None, typer.Option(help="Run only part i of n, into a store of its own.", metavar="I/N")
    ] = None,
    timeout: Timeout = None,
    memory: Memory = None,
    store: StoreOption = None,
    out: OutFolder = None,
    tables: Annotated[
        str, typer.Option(help="Also keep these tables of each run: spans, counters, capacity.")
    ] = "",
    reuse: Annotated[
        bool, typer.Option("--reuse/--no-reuse", help="Do equal work once. Same results, much faster.")
    ] = True,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Check the file, count its points and stop.")
    ] = False,
    paths: Annotated[
        bool, typer.Option("--paths", help="List every parameter that an axis (of FILE) can name, and stop.")
    ] = False,
    as_json: Json = False,
    quiet: Quiet = False,
) -> None:
    """Run every point of a design space and keep each result: a table, an overview and the best trade-offs.

    Axes are parameters by path (memory.dram.timings.RCD, cpu.copy_threads, prompt, ...). Unknown ones are
    refused before anything runs; values that make no machine are kept as failed points, with their error.
    """
    if paths:
        _print_paths(file, as_json)
        return
    if file is None:
        raise typer.BadParameter("give the file of a sweep, or --paths")
    from pimsim.errors import StoreError
    from pimsim.sweep import Simulation, Store, prepare, read_sweep, run_sweep, shard_of

    design = read_sweep(file)
    part = shard_of(shard) if shard is not None else None
    limits = _limits(timeout, memory)
    kept = tuple(name.strip() for name in tables.split(",") if name.strip())
    ready = prepare(design, Simulation(tables=kept, reuse=reuse), part)
    if dry_run:
        text = f"{design.name}: {len(ready.points)} points, {len(set(ready.keys))} different ones"
        typer.echo(f'{{"points": {len(ready.points)}}}' if as_json else text)
        return
    folder = out if out is not None else Path("out") / design.name
    name = "results.sqlite" if part is None else f"results-{part[0]}-of-{part[1]}.sqlite"
    path = store if store is not None else folder / name
    if resume and not path.is_file():
        raise StoreError(f"{path}: no such store to go on with; leave --resume out to start one")
    executor = _executor(jobs, dask)
    from pimsim.report.progress import points_bar

    done = 0
    with Store.open(path, write=True, make=True) as opened:
        try:
            with points_bar(design.name, quiet) as advance:

                def report(progress: Any) -> None:
                    nonlocal done
                    done = progress.done
                    advance(progress)

                progress = run_sweep(ready, opened, executor=executor, limits=limits, report=report)
        except KeyboardInterrupt:
            said = f"stopped: {done} of {len(ready.points)} points are in {path}; the same command goes on"
            print(f"pimsim: {said}", file=sys.stderr)
            raise
        _say(opened, design, folder, path, as_json, figures=part is None)
    if progress.failed == progress.total:
        raise typer.Exit(1)


@app.command(epilog="Example: pimsim search examples/pim_design_space.toml --jobs 2")
def search(
    file: File,
    trials: Annotated[int | None, typer.Option(min=1, help="Points to try; else as in the file.")] = None,
    jobs: Jobs = None,
    dask: DaskAt = None,
    timeout: Timeout = None,
    memory: Memory = None,
    store: StoreOption = None,
    out: OutFolder = None,
    as_json: Json = False,
    quiet: Quiet = False,
) -> None:
    """Look for the best points of a design space with Optuna: several objectives, a Pareto figure.

    Needs the extra [search]. The section [search] of the file says trials, batch, seed, sampler and
    objectives. The same command goes on where it was stopped, and shares results with sweeps.
    """
    from dataclasses import replace

    from pimsim.report.progress import points_bar
    from pimsim.sweep import Store, read_search
    from pimsim.sweep.search import search as run_search

    design, plan = read_search(file)
    if trials is not None:
        plan = replace(plan, trials=trials)
    folder = out if out is not None else Path("out") / design.name
    path = store if store is not None else folder / "results.sqlite"
    limits = _limits(timeout, memory)
    executor = _executor(jobs, dask)
    with Store.open(path, write=True, make=True) as opened:
        with points_bar(design.name, quiet) as advance:
            found = run_search(design, plan, opened, executor=executor, limits=limits, report=advance)
        _say(opened, found, folder, path, as_json, figures=True)


def _executor(jobs: int | None, dask: str | None) -> Executor:
    from pimsim.sweep.executors import Dask, InProcess, LocalPool
    from pimsim.warmup import cores

    if dask is not None:
        return Dask(dask, workers=jobs or cores())
    return InProcess() if jobs == 0 else LocalPool(jobs or cores())


def _limits(timeout: float | None, memory: str | None) -> Limits:
    from pimsim.errors import SweepError
    from pimsim.sweep import Limits
    from pimsim.units import parse_bytes

    if timeout is not None and not timeout > 0:
        raise SweepError(f"--timeout {timeout}; wanted a number of seconds above 0")
    try:
        return Limits(timeout_s=timeout, memory_bytes=parse_bytes(memory) if memory is not None else None)
    except ValueError as problem:
        raise SweepError(f"--memory: {problem}") from None


def _print_paths(file: Path | None, as_json: bool) -> None:
    """The parameters of the machine of a sweep, or of the shipped phone."""
    import pandas as pd

    from pimsim.report.report import json_text, records
    from pimsim.report.tables import print_frame
    from pimsim.sweep import Simulation, paths, read_sweep
    from pimsim.sweep.work import run_settings

    machine = Simulation().system(read_sweep(file).base if file is not None else {})
    rows = [(name, "", f"argument of a run ({kind.__name__})") for name, kind in run_settings().items()]
    for name, value in paths.paths(machine).items():
        doc = paths.LEVERS[name].doc if name in paths.LEVERS else ""
        shown = getattr(value, "name", value) if paths.children(value) else value
        if isinstance(value, tuple | dict) and paths.children(value):
            continue
        text = str(shown)
        rows.append((name, text if len(text) <= 60 else f"{text[:57]}...", doc))
    frame = pd.DataFrame(rows, columns=["path", "value", "what it is"])
    if as_json:
        typer.echo(json_text({"paths": records(frame)}))
    else:
        print_frame(frame, f"Parameters of {machine.name}", console())


def _say(store: Store, design: Sweep, folder: Path, path: Path, as_json: bool, *, figures: bool) -> None:
    """Write table and figures, print the best points."""
    from pimsim.report.report import json_text, records
    from pimsim.report.tables import print_frame
    from pimsim.sweep.table import export, pareto, table

    frame = table(store, _id(store, design))
    done = frame[frame["status"] == "done"]
    folder.mkdir(parents=True, exist_ok=True)
    objectives = [name for name in design.objectives if name in done.columns and done[name].notna().any()]
    axes = [name for name in design.axis_names if done[name].nunique() > 1] if len(done) else []
    best = done[pareto(done, objectives)] if objectives else done[:0]
    written = [str(path)]
    if figures:
        export(frame, folder / "results.csv")
        written.append(str(folder / "results.csv"))
        if len(done) and axes and objectives:
            written += _draw(done, design, axes, objectives, folder)
    counts = frame["status"].value_counts().to_dict()
    columns = [*design.axis_names, *objectives]
    if as_json:
        typer.echo(json_text({"points": len(frame), "status": counts, "best": records(best[columns]),
                              "files": written}))  # fmt: skip
        return
    screen = console()
    shown = best.sort_values(objectives, kind="stable")[columns][:20] if objectives else best[columns]
    said = f"{design.name}: {len(best)} of {len(done)} points that no other one beats in " + " and ".join(
        objectives
    )
    print_frame(shown, said, screen)
    note(screen, "".join(_failures(frame)))
    note(screen, "Written: " + ", ".join(written))


def _id(store: Store, design: Sweep) -> str:
    """The id of this definition in the store (a name may have had several)."""
    from pimsim.sweep.store import sweep_id

    return sweep_id(design)


def _failures(frame: pd.DataFrame) -> list[str]:
    """The most frequent errors, a line each."""
    bad = frame[frame["status"] != "done"]
    errors = Counter(zip(bad["status"], bad["error"], strict=True))
    lines = [f"{count} {status}: {error}\n" for (status, error), count in errors.most_common(5)]
    return [*lines, f"... and {len(errors) - 5} other errors\n"] if len(errors) > 5 else lines


def _draw(
    done: pd.DataFrame, design: Sweep, axes: list[str], objectives: list[str], folder: Path
) -> list[str]:
    from pimsim.report.design_space import overview, trade_offs
    from pimsim.report.figures import save
    from pimsim.sweep.table import pareto

    title = f"{design.name}: {len(done)} points"
    save(overview(done, axes=axes, objective=objectives[0], title=title), folder / "overview")
    written = [str(folder / "overview.png")]
    varied = [name for name in objectives if done[name].nunique() > 1]
    if len(varied) > 1:
        rows = done.dropna(subset=varied)
        few = [name for name in axes if 1 < rows[name].nunique() <= 8]
        drawn = trade_offs(
            rows, objectives=varied, best=pareto(rows, varied), title=title, colour_by=few[0] if few else None
        )
        save(drawn, folder / "pareto")
        written.append(str(folder / "pareto.png"))
    return written


# The store.

results = typer.Typer(
    no_args_is_help=True,
    help="Look into a store of results, and take care of it.",
    epilog="Example: pimsim results verify out/pim-design-space/results.sqlite",
    context_settings={"help_option_names": ["-h", "--help"]},
)
app.add_typer(results, name="results")


@results.command(
    epilog="Example: pimsim results query out/s/results.sqlite --where 'prompt == 64' --sort ttft_s"
)
def query(
    store: StoreFile,
    sweep: Which = None,
    where: Where = None,
    columns: Annotated[str, typer.Option(help="Only these columns, with commas between them.")] = "",
    sort: Annotated[str | None, typer.Option(help="Smallest values of this column first.")] = None,
    limit: Annotated[int, typer.Option(min=1, help="Rows at most.")] = 20,
    as_json: Json = False,
    quiet: Quiet = False,
) -> None:
    """Print rows of a store."""
    from pimsim.report.report import json_text, records
    from pimsim.report.tables import print_frame
    from pimsim.sweep import Store

    with Store.open(store) as opened:
        frame = _chosen(opened, sweep, where)
        if sort is not None:
            frame = frame.sort_values(_known(frame, sort), kind="stable")
        if columns:
            frame = frame[[_known(frame, name.strip()) for name in columns.split(",")]]
        elif not as_json and (frame["error"] == "").all():
            frame = frame.drop(columns=["error"])
        if as_json:
            typer.echo(json_text({"rows": records(frame[:limit]), "of": len(frame)}))
            return
        print_frame(frame[:limit], f"{store}: {min(limit, len(frame))} of {len(frame)} rows", console())


@results.command(epilog="Example: pimsim results export out/s/results.sqlite s.parquet")
def export(
    store: StoreFile,
    out: Annotated[Path, typer.Argument(help="A file that ends in .csv, .json or .parquet.")],
    sweep: Which = None,
    where: Where = None,
    as_json: Json = False,
    quiet: Quiet = False,
) -> None:
    """Write rows of a store as CSV, JSON or Parquet; equal results, equal bytes."""
    from pimsim.report.report import json_text
    from pimsim.sweep import Store
    from pimsim.sweep.table import export as write

    with Store.open(store) as opened:
        frame = _chosen(opened, sweep, where)
    write(frame, out)
    if as_json:
        typer.echo(json_text({"file": str(out), "rows": len(frame)}))
    else:
        note(console(), f"{len(frame)} rows written to {out}")


@results.command(
    epilog="Example: pimsim results merge all.sqlite results-1-of-4.sqlite results-2-of-4.sqlite"
)
def merge(
    into: Annotated[Path, typer.Argument(help="The store that takes them; made if it is not there.")],
    stores: Annotated[list[Path], typer.Argument(help="Stores to take over.")],
    salvage: Annotated[
        bool, typer.Option("--salvage", help="Take what can still be read of damaged stores.")
    ] = False,
    as_json: Json = False,
    quiet: Quiet = False,
) -> None:
    """Take the results of other stores over into one; those that both have must agree."""
    from pimsim.report.report import json_text
    from pimsim.sweep import Store

    taken: dict[str, int] = {}
    with Store.open(into, write=True, make=True) as opened:
        for path in stores:
            if salvage:
                new = opened.salvage(path)
            else:
                with Store.open(path) as other:
                    new = opened.merge(other)
            taken[str(path)] = new
            if not as_json:
                note(console(), f"{path}: {new} results were new")
    if as_json:
        typer.echo(json_text({"store": str(into), "new": taken}))


@results.command(epilog="Example: pimsim results gc out/s/results.sqlite --other-code")
def gc(
    store: StoreFile,
    other_code: Annotated[
        bool, typer.Option("--other-code", help="Also results of other versions of pimsim's code.")
    ] = False,
    as_json: Json = False,
    quiet: Quiet = False,
) -> None:
    """Remove what nothing uses: unfinished points, damaged rows, table files without a result."""
    from pimsim.report.report import json_text
    from pimsim.sweep import Store

    with Store.open(store, write=True) as opened:
        gone, files = opened.gc(other_code=other_code)
    if as_json:
        typer.echo(json_text({"results_removed": gone, "files_removed": files}))
    else:
        note(console(), f"{gone} results and {files} files removed")


@results.command(epilog="Example: pimsim results verify out/s/results.sqlite --recompute 3")
def verify(
    store: StoreFile,
    recompute: Annotated[
        int, typer.Option(min=0, help="Also run so many of its points again and compare.")
    ] = 0,
    as_json: Json = False,
    quiet: Quiet = False,
) -> None:
    """Check a store: the file, every row, every table; exit code 1 if anything is wrong."""
    from pimsim.report.progress import bar
    from pimsim.report.report import json_text
    from pimsim.sweep import Store
    from pimsim.sweep.care import recomputed

    screen = console()
    with Store.open(store) as opened:
        wrong = opened.verify()
        count = sum(1 for _ in opened.records())
        content = opened.content_digest()[:16]
        checked = 0
        if recompute:
            with bar(f"Computing {recompute} points again", quiet):
                checked, differ = recomputed(opened, recompute)
            wrong += differ
    if as_json:
        said = {"results": count, "content": content, "computed_again": checked, "faults": wrong}
        typer.echo(json_text(said))
    else:
        for line in wrong:
            note(screen, line)
        again = f", {checked} computed again" if recompute else ""
        faults = f"{len(wrong)} faults" if wrong else "no fault"
        note(screen, f"{store}: {count} results, content {content}{again}: {faults}")
    if wrong:
        raise typer.Exit(1)


def _chosen(store: Store, sweep: str | None, where: str | None) -> pd.DataFrame:
    from pimsim.sweep.table import table
    from pimsim.sweep.table import where as filtered

    frame = table(store, sweep)
    return frame if where is None else filtered(frame, where)


def _known(frame: pd.DataFrame, name: str) -> str:
    from pimsim.errors import StoreError, suggest

    if name not in frame.columns:
        raise StoreError(f"no column {name!r}{suggest(name, map(str, frame.columns))}")
    return name
