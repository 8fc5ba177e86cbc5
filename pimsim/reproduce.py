"""Published results run again: finds the experiments, runs them, writes their reports.

Experiments are the package `experiments`, installed beside `pimsim`: one subpackage a paper, whose
`EXPERIMENTS` maps names to modules in the order of the paper. A module asks the question in the first
line of its docstring and answers it with `run(progress) -> Report`. One that reads pictures or weights of
optional packages names them in `NEEDS`.
"""

from __future__ import annotations

import importlib
import importlib.util
import pkgutil
from collections.abc import Callable
from pathlib import Path
from types import ModuleType

from pimsim.errors import PimsimError, suggest
from pimsim.report.report import MARKER, Report, write_report
from pimsim.result import check_folder

PACKAGE = "experiments"
INSTALL = "pip install 'pimsim[vision]'"


def names() -> list[str]:
    """The papers (or other sources) that have experiments."""
    package = _package()
    found = [module.name for module in pkgutil.iter_modules(package.__path__) if module.ispkg]
    return sorted(name.replace("_", "-") for name in found if not name.startswith("_"))


def experiments(name: str) -> dict[str, ModuleType]:
    """The experiments of a paper in their order: name -> module."""
    known = names()
    wanted = name.lower().replace("_", "-")
    if wanted not in known:
        raise PimsimError(f"no experiments named {name!r}{suggest(wanted, known)}")
    module = importlib.import_module(f"{PACKAGE}.{wanted.replace('-', '_')}")
    held: dict[str, ModuleType] = module.EXPERIMENTS
    return held


def select(name: str, experiment: str | None) -> dict[str, ModuleType]:
    """All experiments of a paper that can run here, or the one asked for."""
    known = experiments(name)
    if experiment is None:
        return {each: module for each, module in known.items() if not missing(module)}
    for each, module in known.items():
        if each.replace("_", "-") == experiment.lower().replace("_", "-"):
            if lacking := missing(module):
                raise PimsimError(f"{name} {each} needs {', '.join(lacking)}: {INSTALL}")
            return {each: module}
    raise PimsimError(f"{name} has no experiment {experiment!r}{suggest(experiment, known)}")


def missing(module: ModuleType) -> list[str]:
    """Packages that an experiment needs and that are not installed."""
    return [each for each in getattr(module, "NEEDS", ()) if importlib.util.find_spec(each) is None]


def left_out(name: str) -> dict[str, list[str]]:
    """Experiments of a paper that cannot run here -> the packages they lack."""
    lacking = {each: missing(module) for each, module in experiments(name).items()}
    return {each: packages for each, packages in lacking.items() if packages}


def question(module: ModuleType) -> str:
    """What an experiment asks: the first line of its docstring."""
    return (module.__doc__ or "").strip().split("\n")[0]


def check_out(out: str | Path, chosen: dict[str, ModuleType]) -> None:
    """Refuse folders below `out` that `write` must not replace, before a long run."""
    folder = Path(out)
    if folder.exists() and not folder.is_dir():
        raise PimsimError(f"{folder}: is a file; a folder is wanted")
    for each in chosen:
        check_folder(folder / each, MARKER)


def run(chosen: dict[str, ModuleType], progress: Callable[[float, str], None]) -> list[Report]:
    """Run the experiments one after the other; `progress` hears one share of all of them."""
    reports = []
    for index, (each, module) in enumerate(chosen.items()):

        def part(share: float, text: str, index: int = index, each: str = each) -> None:
            said = f"{each}: {text}" if text else each
            progress((index + min(max(share, 0.0), 1.0)) / len(chosen), said)

        part(0.0, "")
        reports.append(module.run(part))
    progress(1.0, "")
    return reports


def write(reports: list[Report], out: str | Path) -> list[Path]:
    """Write each report into its own folder below `out`; returns the folders."""
    folders = [Path(out) / report.name for report in reports]
    for report, folder in zip(reports, folders, strict=True):
        write_report(report, folder)
    return folders


def _package() -> ModuleType:
    try:
        return importlib.import_module(PACKAGE)
    except ModuleNotFoundError as problem:
        if problem.name != PACKAGE:
            raise
        raise PimsimError(f"the package {PACKAGE!r} is not installed beside pimsim") from None
