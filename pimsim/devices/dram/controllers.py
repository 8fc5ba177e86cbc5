"""Controllers by name: our own, and a preset for each simulator that ours is compared with.

A controller is one of three values: `Controller` (queues for all banks, of reads and writes or one for both),
`BankQueues` (a queue a bank, visited in turn) and `BankMachines` (each bank decides for itself).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, fields, replace
from pathlib import Path
from typing import Any

import msgspec

from pimsim.devices.dram.bank_machines import BankMachines
from pimsim.devices.dram.bank_queues import BankQueues
from pimsim.devices.dram.channel import Controller
from pimsim.errors import SpecError, suggest

AnyController = Controller | BankQueues | BankMachines


@dataclass(frozen=True, kw_only=True)
class Preset:
    """A named controller and what it is, in a line."""

    controller: AnyController
    doc: str


def _presets() -> dict[str, Preset]:
    def ours(name: str, doc: str, **settings: Any) -> tuple[str, Preset]:
        return name, Preset(controller=Controller(name=name, **settings), doc=doc)

    def queues(name: str, doc: str, **settings: Any) -> tuple[str, Preset]:
        return name, Preset(controller=BankQueues(name=name, **settings), doc=doc)

    def machines(name: str, doc: str, **settings: Any) -> tuple[str, Preset]:
        return name, Preset(controller=BankMachines(name=name, **settings), doc=doc)

    return dict(
        (
            ours("default", "ready commands first, oldest first; no row is closed under an older hit"),
            ours("fr-fcfs", "row hits first, then the oldest request", scheduler="row_hit_first"),
            ours(
                "fr-fcfs-cap",
                "the same, but a row serves at most 4 hits while an older request waits for its bank",
                scheduler="row_hit_first",
                row_hit_cap=4,
            ),
            ours("fcfs", "one request at a time, in order of arrival", scheduler="in_order"),
            ours(
                "closed",
                "every access closes its row",
                scheduler="row_hit_first",
                row_policy="closed",
            ),
            ours(
                "timeout",
                "rows close after 100 clocks without use",
                scheduler="row_hit_first",
                row_policy="timeout",
            ),
            ours("ramulator2", "Ramulator 2.1, FRFCFS, open rows", scheduler="ready_first"),
            ours("ramulator2-row-hit-guard", "Ramulator 2.1, FRFCFS that guards row hits, open rows"),
            ours(
                "ramulator2-closed-cap",
                "Ramulator 2.1, FRFCFS, rows closed after one access",
                scheduler="ready_first",
                row_policy="capped",
            ),
            queues("dramsim3", "DRAMsim3, queues a bank, open pages"),
            queues("dramsim3-close-page", "DRAMsim3, queues a bank, closed pages", row_policy="closed"),
            machines("dramsys", "DRAMSys, bank machines, FR-FCFS, open pages"),
            machines(
                "dramsys-fifo-strict",
                "DRAMSys, data commands strictly in order of arrival",
                scheduler="fifo",
                command_mux="strict",
            ),
        )
    )


CONTROLLERS: Mapping[str, Preset] = _presets()


def controller_of(name: str | Path | None = None, settings: tuple[str, ...] = ()) -> AnyController:
    """The controller of a name in `CONTROLLERS` or of a JSON file, changed by `key=value` settings.

    A file holds one object of a controller's fields; its key `base` names the preset that it changes
    ("default" if it is not there). What is not given keeps its value; an unknown name or key, or a value of
    the wrong type, is a SpecError.
    """
    held = _from_file(Path(name)) if name is not None and str(name) not in CONTROLLERS else None
    made = held if held is not None else CONTROLLERS[str(name) if name is not None else "default"].controller
    known = _kinds(made)
    changes: dict[str, Any] = {}
    for setting in settings:
        key, equals, text = setting.partition("=")
        if not equals:
            raise SpecError(f"setting {setting!r}; wanted key=value, as in refresh=none")
        if key not in known:
            raise SpecError(
                f"setting {setting!r}: no setting {key!r} of controller {made.name}{suggest(key, known)}"
            )
        changes[key] = _typed(setting, text, known[key])
    return replace(made, **changes)


def _kinds(controller: AnyController) -> dict[str, type]:
    return {field.name: type(getattr(controller, field.name)) for field in fields(controller)}


def _from_file(path: Path) -> AnyController:
    if not path.exists() and not path.suffix:
        raise SpecError(f"no controller named {str(path)!r}{suggest(str(path), CONTROLLERS)}")
    try:
        raw = msgspec.json.decode(path.read_bytes())
    except OSError as error:
        raise SpecError(f"{path}: cannot be read: {error.strerror}") from None
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        raise SpecError(f"{path}: not JSON: {error}") from None
    if not isinstance(raw, dict):
        raise SpecError(f"{path}: wanted one JSON object, not {type(raw).__name__}")
    base = raw.pop("base", "default")
    if not isinstance(base, str) or base not in CONTROLLERS:
        raise SpecError(f"{path}: base: no controller named {base!r}{suggest(str(base), CONTROLLERS)}")
    made = CONTROLLERS[base].controller
    known = _kinds(made)
    for key, value in raw.items():
        if key not in known:
            raise SpecError(f"{path}: no setting {key!r} of controller {base}{suggest(key, known)}")
        if type(value) is not known[key]:
            raise SpecError(f"{path}: {key}={value!r}; wanted {known[key].__name__}")
    try:
        return replace(made, **raw)
    except SpecError as error:
        raise SpecError(f"{path}: {error}") from None


def _typed(setting: str, text: str, kind: type) -> str | int:
    if kind is int:
        if not (text.isascii() and text.isdigit()):
            raise SpecError(f"setting {setting!r}; wanted a whole number")
        return int(text)
    return text
