"""What the commands of `pimsim` share: the application, common options, errors, printing."""

from __future__ import annotations

import logging
import os
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from pimsim.errors import PimsimError

if TYPE_CHECKING:
    from rich.console import Console

app = typer.Typer(
    name="pimsim",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    rich_markup_mode="rich",
    context_settings={"help_option_names": ["-h", "--help"]},
    help="How long does this model take, and how much memory does it need, on this machine, when its "
    "weights are placed and moved in this way?",
    epilog="Start with: pimsim reproduce pim-sherpa capacity",
)


Json = Annotated[bool, typer.Option("--json", help="Print one JSON object and nothing else.")]


def _hush(quiet: bool) -> bool:
    if quiet:
        logging.getLogger("pimsim").setLevel(logging.WARNING)
    return quiet


Quiet = Annotated[bool, typer.Option("--quiet", "-q", help="No progress on standard error.", callback=_hush)]
Out = Annotated[
    Path | None,
    typer.Option("--out", help="Folder for the output; written whole or not at all.", metavar="DIR"),
]


def main(args: Sequence[str] | None = None) -> int:
    """Run the command line and return its exit code: 0 done, 1 a check failed, 2 bad input, 130 stopped."""
    log = logging.getLogger("pimsim")  # what takes long and why; -q silences it
    if not log.handlers:
        handler = logging.StreamHandler()
        handler.setFormatter(logging.Formatter("pimsim: %(message)s"))
        log.addHandler(handler)
    log.setLevel(logging.INFO)
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


def console() -> Console:
    from rich.console import Console

    return Console()


def note(to: Console, text: str) -> None:
    if text:
        to.print(text, markup=False, highlight=False, soft_wrap=not to.is_terminal)


def _fail(text: str) -> int:
    print(f"pimsim: error: {text}", file=sys.stderr)
    return 2
