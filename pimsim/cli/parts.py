"""`pimsim parts`: the catalog."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from typing import Annotated, Any

import typer

from pimsim.cli.app import Json, Quiet, app, console
from pimsim.errors import PimsimError, suggest


@app.command(epilog="Examples: pimsim parts | pimsim parts lpddr5x-8533-16gb-x16")
def parts(
    name: Annotated[str | None, typer.Argument(help="Show this part with all its values.")] = None,
    as_json: Json = False,
    quiet: Quiet = False,
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
            print_frame(frame, f"{len(rows)} parts", console())
        return
    if name not in known:
        raise PimsimError(f"no part named {name!r}{suggest(name, known)}")
    part = known[name]
    fields = _fields(part, "")
    if as_json:
        typer.echo(json_text({"name": name, "type": type(part).__name__, "fields": dict(fields)}))
        return
    frame = pd.DataFrame(fields, columns=["field", "value"]).astype(object)
    print_frame(frame, f"{name} ({type(part).__name__})", console())


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
