"""Published results run again: finds the experiments, runs them, writes their reports.

Experiments are the package `experiments`, installed beside `pimsim`: one subpackage a paper, whose
`EXPERIMENTS` maps names to modules in the order of the paper. A module asks the question in the first
line of its docstring and answers it with `run(progress) -> Report`; `COST_S`, where it is more than a
few, says about how many seconds it takes (only the order and the progress bar depend on it). One that reads
pictures or weights of optional packages names them in `NEEDS`.

Finished reports are kept below `store_folder` under a digest of everything that they depend on, so that an
interrupted run goes on where it was. Several experiments run in processes of their own.
"""

from __future__ import annotations

import hashlib
import importlib
import importlib.util
import json
import os
import pkgutil
import platform
import queue
import shutil
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from types import ModuleType
from typing import Any, TextIO, cast

from pimsim.errors import PimsimError, suggest
from pimsim.report.report import MARKER, Report, load_report, write_report
from pimsim.result import check_folder
from pimsim.reuse import stored_in
from pimsim.sweep.memo import Rates

PACKAGE = "experiments"
KEPT_VERSIONS = 8
"""Digests whose reports stay in the store; older ones are removed."""
_LIBRARIES = ("numpy", "numba", "pandas", "simpy")
_SAY_EVERY_S = 0.1
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


Progress = Callable[[float, str], None]


def cores() -> int:
    """Cores that this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def store_folder() -> Path:
    """Where finished reports are kept: `$PIMSIM_CACHE`, else `pimsim` in the user's cache folder."""
    given = os.environ.get("PIMSIM_CACHE")
    if given:
        return Path(given) / "reproduce"
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "pimsim" / "reproduce"


def digest(paper: str) -> str:
    """What the reports of a paper depend on: source and data files of both packages, and the libraries."""
    held = hashlib.sha256(platform.python_version().encode())
    for library in _LIBRARIES:
        try:
            held.update(f"{library} {version(library)}".encode())
        except PackageNotFoundError:
            continue
    roots = [Path(__file__).parent]
    roots += [Path(path) / paper.replace("-", "_") for path in getattr(_package(), "__path__", ())]
    for root in roots:
        for file in sorted(root.rglob("*")):
            if file.suffix in (".py", ".json", ".csv") and file.is_file():
                held.update(f"{file.relative_to(root)}".encode() + b"\0" + file.read_bytes())
    return held.hexdigest()[:20]


@dataclass(frozen=True, kw_only=True)
class Store:
    """Finished reports of one paper in one version: a folder an experiment, written whole or not at all.

    rates: file of measured memory rates (a memo, see `pimsim.reuse`) that runs and versions share.
    """

    folder: Path
    rates: Path | None = None

    @classmethod
    def of(cls, paper: str) -> Store | None:
        """The store for the present version; None where nothing can be written."""
        below = store_folder() / paper
        try:
            folder = below / digest(paper)
            folder.mkdir(parents=True, exist_ok=True)
            os.utime(folder)
            aged = sorted((f for f in below.iterdir() if f.is_dir()), key=lambda f: f.stat().st_mtime)
            for old in aged[:-KEPT_VERSIONS]:
                shutil.rmtree(old, ignore_errors=True)
        except OSError:
            return None
        return cls(folder=folder, rates=store_folder() / "rates.sqlite")

    def get(self, experiment: str) -> Report | None:
        """The report of an experiment that has finished; what cannot be read counts as not there."""
        if not (self.folder / experiment / MARKER).is_file():
            return None
        try:
            return load_report(self.folder / experiment)
        except PimsimError:
            return None

    @contextmanager
    def shared_rates(self) -> Iterator[None]:
        """Inside, measured rates are looked up and kept in the file."""
        stored_in(Rates(str(self.rates)) if self.rates is not None else None)
        try:
            yield
        finally:
            stored_in(None)

    def put(self, experiment: str, report: Report) -> None:
        """Keep a report."""
        folder = self.folder / experiment
        if folder.exists():
            shutil.rmtree(folder)
        write_report(report, folder)


def cost_s(module: ModuleType) -> float:
    """About how many seconds an experiment takes."""
    return float(getattr(module, "COST_S", 3.0))


def run(
    chosen: dict[str, ModuleType],
    progress: Progress,
    *,
    paper: str = "",
    jobs: int = 1,
    store: Store | None = None,
    fresh: bool = False,
    finished: Callable[[str], None] | None = None,
) -> list[Report]:
    """Run experiments; reports in their order, whatever ended first.

    progress: hears the share of all work that is done. jobs: experiments at once, each in a process of its
    own, which needs `paper` and a store; with 1 all run here. store: where finished ones are looked up
    (unless `fresh`) and kept. finished: hears a line as each ends.
    """
    told = finished or (lambda line: None)
    reports: dict[str, Report] = {}
    if store is not None and not fresh:
        for each in chosen:
            kept = store.get(each)
            if kept is not None:
                reports[each] = kept
        if reports:
            told(f"kept from an earlier run: {', '.join(reports)} (--fresh runs them again)")
    left = {each: module for each, module in chosen.items() if each not in reports}
    meter = _Meter(left, progress, told)
    if store is not None and paper and jobs > 1 and len(left) > 1:
        _run_apart(paper, left, meter, jobs, store)
        for each in left:
            report = store.get(each)
            if report is None:
                raise PimsimError(f"experiment {each}: its report in {store.folder} cannot be read")
            reports[each] = report
    else:
        for each, module in left.items():
            meter.hear(each, 0.0, "")
            with store.shared_rates() if store is not None else nullcontext():
                reports[each] = module.run(lambda share, text, each=each: meter.hear(each, share, text))
            if store is not None:
                store.put(each, reports[each])
            meter.ended(each)
    progress(1.0, "")
    return [reports[each] for each in chosen]


class _Meter:
    """Adds up what experiments report of themselves, each weighted by its cost."""

    def __init__(self, left: dict[str, ModuleType], progress: Progress, told: Callable[[str], None]) -> None:
        self.cost = {each: cost_s(module) for each, module in left.items()}
        self.share = dict.fromkeys(left, 0.0)
        self.done: list[str] = []
        self.progress, self.told = progress, told
        self.began = time.monotonic()

    def hear(self, each: str, share: float, text: str) -> None:
        self.share[each] = max(self.share[each], min(max(share, 0.0), 1.0))
        self.progress(self.total(), f"{each}: {text}" if text else each)

    def total(self) -> float:
        return sum(self.cost[e] * share for e, share in self.share.items()) / sum(self.cost.values())

    def ended(self, each: str) -> None:
        self.share[each] = 1.0
        self.done.append(each)
        total, spent = self.total(), time.monotonic() - self.began
        said = f"{each} done, {len(self.done)} of {len(self.cost)}"
        if len(self.done) < len(self.cost):
            said += f", about {spent / total * (1 - total):.0f} s left"
        self.told(said)
        self.progress(total, "")


def _run_apart(paper: str, left: dict[str, ModuleType], meter: _Meter, jobs: int, store: Store) -> None:
    """Run experiments in processes, the longest first; each writes its own report into the store."""
    waiting = sorted(left, key=lambda each: -meter.cost[each])
    heard: queue.Queue[tuple[str, str | None]] = queue.Queue()
    running: dict[str, tuple[subprocess.Popen[str], TextIO]] = {}
    environment = os.environ | {
        "PYTHONPATH": os.pathsep.join(path or os.getcwd() for path in sys.path),
        "OMP_NUM_THREADS": "1",
        "OPENBLAS_NUM_THREADS": "1",
    }
    try:
        while waiting or running:
            while waiting and len(running) < jobs:
                each = waiting.pop(0)
                errors = cast(TextIO, tempfile.TemporaryFile("w+", encoding="utf-8"))  # noqa: SIM115
                child = subprocess.Popen(
                    [sys.executable, "-P", "-c", "from pimsim.reproduce import work; work()",
                     paper, each, str(store.folder), str(store.rates or "")],
                    stdout=subprocess.PIPE, stderr=errors, text=True, encoding="utf-8", env=environment,
                )  # fmt: skip
                running[each] = child, errors
                threading.Thread(target=_listen, args=(each, child, heard), daemon=True).start()
            each, line = heard.get()
            if line is not None:
                message = json.loads(line)
                meter.hear(each, message["share"], message["text"])
                continue
            child, errors = running.pop(each)
            failed = child.wait()
            errors.seek(0)
            said = errors.read().strip().splitlines()
            errors.close()
            if failed:
                last = said[-1] if said else "it said nothing"
                raise PimsimError(f"experiment {each} ended with code {failed}: {last}")
            meter.ended(each)
    finally:
        for child, errors in running.values():
            child.kill()
            child.wait()
            errors.close()


def _listen(each: str, child: subprocess.Popen[str], heard: queue.Queue[tuple[str, str | None]]) -> None:
    assert child.stdout is not None
    for line in child.stdout:
        heard.put((each, line))
    heard.put((each, None))


def work() -> None:
    """A process of its own, called `paper experiment folder rates`; progress as JSON lines."""
    paper, each, folder, rates = sys.argv[1:]
    last = [0.0]

    def progress(share: float, text: str) -> None:
        now = time.monotonic()
        if now - last[0] >= _SAY_EVERY_S:
            last[0] = now
            print(json.dumps({"share": share, "text": text}), flush=True)

    store = Store(folder=Path(folder), rates=Path(rates) if rates else None)
    with store.shared_rates():
        report: Any = experiments(paper)[each].run(progress)
    store.put(each, report)


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
