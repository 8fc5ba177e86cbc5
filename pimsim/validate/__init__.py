"""Hold the simulator to reference numbers: one row a case and quantity. One file a subject."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pandas as pd

from pimsim.errors import SpecError, suggest
from pimsim.validate import dram, npu, pim
from pimsim.validate.dram import by_group as by_group

COLUMNS = ("case", "quantity", "ours", "reference", "error")


@dataclass(frozen=True)
class Subject:
    """What can be validated. rows: of a folder of cases; holds_cases: whether a folder is one.

    extra: columns that its rows have beside `COLUMNS`.
    """

    rows: Callable[[Path], Iterator[tuple[Any, ...]]]
    holds_cases: Callable[[Path], bool]
    extra: tuple[str, ...] = ()


AVAILABLE = {
    "dram": Subject(dram.dram_rows, dram.holds_cases, ("group",)),
    "npu": Subject(npu.npu_rows, npu.holds_cases),
    "pim": Subject(pim.pim_rows, pim.holds_cases, ("cause",)),
}


def validate(
    what: str, reference: Path | None = None, progress: Callable[[float, str], None] | None = None
) -> pd.DataFrame:
    """Compare our numbers with reference numbers.

    what: a name in `AVAILABLE`. reference: the folder of its cases, or the folder above it; None takes
    `tests/reference` of the source tree. progress: told (0, text) from time to time.
    returns: columns case, quantity, ours, reference (in the quantity's unit: clocks or counts) and
    error = ours / reference - 1, 0 when both are 0, infinite when only the reference is 0. A row whose
    quantity begins with "not supported" has no numbers. "dram" has a column `group`: simulator and standard;
    "pim" a column `cause` of differences.
    """
    if what not in AVAILABLE:
        raise SpecError(f"nothing to validate named {what!r}{suggest(what, AVAILABLE)}")
    subject = AVAILABLE[what]
    rows = []
    for row in subject.rows(_folder(what, reference)):
        rows.append(row)
        if progress is not None and len(rows) % 50 == 0:
            progress(0.0, f"{len(rows):,} numbers, {row[0]}")
    return pd.DataFrame(rows, columns=[*COLUMNS, *subject.extra])


def _folder(what: str, reference: Path | None) -> Path:
    holds_cases = AVAILABLE[what].holds_cases
    if reference is None:
        here = Path(__file__).resolve().parents[2] / "tests" / "reference" / what
        if not holds_cases(here):
            raise SpecError(
                f"validate {what}: the reference cases are part of the source tree, which is not here; "
                "name their folder with --reference DIR"
            )
        return here
    for folder in (reference, reference / what):
        if holds_cases(folder):
            return folder
    wanted = "a table that is known" if what == "npu" else "a file cases.csv"
    raise SpecError(f"validate {what}: neither {reference} nor {reference / what} holds {wanted}")
