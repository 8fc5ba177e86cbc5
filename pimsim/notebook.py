"""How values show themselves in a notebook: small tables in HTML, of text alone."""

from __future__ import annotations

import dataclasses
import html
from collections.abc import Iterable, Mapping

ROW = '<tr><td style="text-align:left">{}</td><td style="text-align:left">{}</td></tr>'


def card(title: str, rows: Iterable[tuple[str, object]], note: str = "") -> str:
    """A title, a table of names and values, and a note below; everything is escaped."""
    said = "".join(ROW.format(html.escape(name), html.escape(_text(value))) for name, value in rows)
    below = f'<div style="opacity:0.7">{html.escape(note)}</div>' if note else ""
    return f"<div><b>{html.escape(title)}</b><table>{said}</table>{below}</div>"


def card_of(value: object) -> str:
    """The fields of a dataclass that has `name` and `source`, except what is long."""
    assert dataclasses.is_dataclass(value)
    rows = []
    for field in dataclasses.fields(value):
        held = getattr(value, field.name)
        if field.name in ("name", "source") or held is None or held == {} or held == ():
            continue
        rows.append((field.name, held))
    title = f"{getattr(value, 'name', '')} ({type(value).__name__})"
    return card(title, rows, str(getattr(value, "source", "")))


def table(title: str, columns: Iterable[str], rows: Iterable[Iterable[object]], note: str = "") -> str:
    """A title and a table with headings."""
    head = "".join(f"<th>{html.escape(name)}</th>" for name in columns)
    body = "".join(
        "<tr>" + "".join(f"<td>{html.escape(_text(cell))}</td>" for cell in row) + "</tr>" for row in rows
    )
    below = f'<div style="opacity:0.7">{html.escape(note)}</div>' if note else ""
    return f"<div><b>{html.escape(title)}</b><table><tr>{head}</tr>{body}</table>{below}</div>"


def _text(value: object) -> str:
    """A value in a line: nested values by their names, numbers with commas."""
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        parts = {field.name: getattr(value, field.name) for field in dataclasses.fields(value)}
        if "name" in parts:
            return str(parts["name"])
        return ", ".join(f"{name} {_text(each)}" for name, each in parts.items() if each is not None)
    if isinstance(value, Mapping):
        return "; ".join(f"{name}: {_text(each)}" for name, each in value.items())
    if isinstance(value, tuple | list):
        return ", ".join(map(_text, value))
    if isinstance(value, int) and not isinstance(value, bool) and abs(value) >= 10_000:
        return f"{value:,}"
    return f"{value:.4g}" if isinstance(value, float) else str(value)


class Shown:
    """A part that shows its values in a notebook."""

    def _repr_html_(self) -> str:
        return card_of(self)
