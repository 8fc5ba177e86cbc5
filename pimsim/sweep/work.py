"""One point: what determines its result, and running it. Workers run `perform`; they write no results."""

from __future__ import annotations

import contextlib
import functools
import hashlib
import inspect
import io
import json
import math
import signal
import threading
import traceback
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol, get_type_hints

from pimsim.errors import PimsimError, SweepError
from pimsim.reuse import code_digest, stored_in
from pimsim.sweep.points import Settings, Sweep

if TYPE_CHECKING:
    import pandas as pd

    from pimsim.result import Result
    from pimsim.system import System

TABLES = ("spans", "counters", "capacity")
FINAL = ("done", "failed")
"""Statuses that running a point again would not change; the others are "timeout", "memory" and "lost"."""


@dataclass(frozen=True, kw_only=True)
class Job:
    """A point to run. key: of its result; settings: as in a sweep."""

    key: str
    settings: Settings


@dataclass(frozen=True, kw_only=True)
class Limits:
    """What one point may take: seconds, and bytes of memory of its worker; None: no limit."""

    timeout_s: float | None = None
    memory_bytes: int | None = None


@dataclass(frozen=True, kw_only=True)
class Outcome:
    """What became of a point.

    values: the columns of its row. tables: name -> a Parquet file. error: why there are none.
    """

    status: str
    values: dict[str, Any] = field(default_factory=dict)
    tables: dict[str, bytes] = field(default_factory=dict)
    error: str = ""


class Work(Protocol):
    """What a sweep does at each point; goes to the workers, so it is a small frozen value."""

    @property
    def tables(self) -> tuple[str, ...]: ...

    def check(self, sweep: Sweep) -> None:
        """Refuse a sweep that names something unknown."""

    def look(self, settings: Settings, names: set[str]) -> Mapping[str, Any]:
        """Values of names in conditions that the point does not set itself."""

    def key(self, settings: Settings) -> str:
        """Digest of everything that determines the result."""

    def order(self, settings: Settings) -> tuple[str, ...]:
        """Points that sort near each other share work."""

    def run(self, settings: Settings) -> tuple[dict[str, Any], dict[str, pd.DataFrame]]:
        """(columns of the row, tables)."""


# A point that is a simulation.


@functools.lru_cache(maxsize=1)
def run_settings() -> dict[str, type]:
    """Arguments of `simulate` that a sweep can set: name -> type."""
    from pimsim.run import simulate

    hints = get_type_hints(simulate)
    found: dict[str, type] = {"system": str}
    for name in inspect.signature(simulate).parameters:
        kinds = [kind for kind in (str, int, float) if hints[name] in (kind, kind | None)]
        if name in ("model", "method"):
            kinds = [str]
        if kinds and name not in found:
            found[name] = kinds[0]
    return found


@dataclass(frozen=True, kw_only=True)
class Simulation:
    """`pimsim.simulate` at each point. tables: which of a result's tables are kept. reuse: see `simulate`.

    machines: systems of your own by name, beside the shipped ones.
    """

    tables: tuple[str, ...] = ()
    reuse: bool = True
    machines: tuple[System, ...] = ()

    def __post_init__(self) -> None:
        for name in self.tables:
            if name not in TABLES:
                raise SweepError(f"no table {name!r}; a result has {', '.join(TABLES)}")

    def system(self, settings: Settings) -> System:
        """The machine that a point starts from."""
        name = settings.get("system", "exynos2400")
        own = {machine.name: machine for machine in self.machines}
        return own[name] if name in own else _preset(name)

    def check(self, sweep: Sweep) -> None:
        """Every path exists, every value has the right type, models and methods are known."""
        given: list[tuple[str, Any]] = list(sweep.base.items())
        for axis in sweep.axes:
            for value in axis.grid() if sweep.sampling == "grid" else _ends(axis):
                given += axis.settings(value).items()
        given += [item for row in sweep.listed for item in row.items()]
        systems = {value for path, value in given if path == "system"} or {"exynos2400"}
        for name in systems:
            self._check_one(given, self.system({"system": name}))
        for name in ("model", "method", "prompt", "tokens"):
            everywhere = all(name in row for row in sweep.listed) if sweep.listed else False
            if not (name in sweep.base or everywhere or any(name in _paths(axis) for axis in sweep.axes)):
                raise SweepError(f"sweep {sweep.name}: {name} is given neither in base nor by an axis")

    def _check_one(self, given: list[tuple[str, Any]], system: System) -> None:
        from pimsim.methods import load_method
        from pimsim.sweep import paths
        from pimsim.trace.llm import load_config

        known = run_settings()
        for path, value in given:
            if path in known:
                kind = known[path]
                if not isinstance(value, kind) or isinstance(value, bool):
                    raise SweepError(f"{path}={value!r}; wanted {'a text' if kind is str else 'a number'}")
                if path == "model":
                    load_config(str(value))
                if path == "method":
                    load_method(str(value))
            else:
                every = [*known, *paths.paths(system)]
                if "." not in path and path not in every:
                    raise SweepError(f"no parameter {path!r}{paths.near(path, dict.fromkeys(every))}")
                paths.check(path, value, system)

    def machine(self, settings: Settings) -> System:
        """The machine of a point; a PimsimError if its values make none."""
        from pimsim.sweep import paths

        base = self.system(settings)
        changes = {path: value for path, value in settings.items() if path not in run_settings()}
        return paths.machine(base, {path: paths.check(path, v, base) for path, v in changes.items()})

    def look(self, settings: Settings, names: set[str]) -> Mapping[str, Any]:
        from pimsim.sweep import paths

        return {k: v for k, v in paths.paths(self.machine(settings)).items() if k in names}

    def key(self, settings: Settings) -> str:
        from pimsim.result import digest
        from pimsim.trace.llm import load_config

        run = {path: value for path, value in settings.items() if path in run_settings()}
        run.pop("system", None)
        what: dict[str, Any] = {"pimsim": package_version(), "code": code_digest(), "run": run}
        try:
            what["system"] = self.machine(settings).key
            what["model"] = digest(load_config(settings["model"]))
        except (PimsimError, ArithmeticError, ValueError) as problem:
            what |= {"settings": settings, "refused": str(problem)}
        else:
            run.pop("model")
        return digest(what)

    def order(self, settings: Settings) -> tuple[str, ...]:
        """Memory first, then cores, then what is run, PIM units last: rates are shared in that order."""
        rest = {path: repr(value) for path, value in settings.items()}
        pim = sorted(f"{path}={rest.pop(path)}" for path in list(rest) if path.startswith("memory.pim"))
        memory = sorted(f"{path}={rest.pop(path)}" for path in list(rest) if path.startswith("memory."))
        cores = sorted(f"{path}={rest.pop(path)}" for path in list(rest) if path.startswith("cpu."))
        return *memory, *cores, *sorted(f"{path}={value}" for path, value in rest.items()), *pim

    def run(self, settings: Settings) -> tuple[dict[str, Any], dict[str, pd.DataFrame]]:
        from pimsim.run import simulate

        known = run_settings()
        given = {path: value for path, value in settings.items() if path in known and path != "system"}
        result = simulate(**given, system=self.machine(settings), reuse=self.reuse)
        return row(result), {name: getattr(result, name) for name in self.tables}


@functools.lru_cache(maxsize=1)
def package_version() -> str:
    """The version of the installed package."""
    from importlib.metadata import PackageNotFoundError, version

    try:
        return version("pimsim")
    except PackageNotFoundError:
        return "unknown"


@functools.lru_cache(maxsize=16)
def _preset(name: str) -> System:
    from pimsim.system import load_system

    return load_system(name)


def _paths(axis: Any) -> set[str]:
    return {path for value in _ends(axis) for path in axis.settings(value)}


def _ends(axis: Any) -> tuple[Any, ...]:
    """Values by which an axis is checked: all, or both ends of a range."""
    from pimsim.sweep.points import Range

    if isinstance(axis.values, Range):
        return axis.at(0.0), axis.at(1.0)
    return tuple(axis.values)


_GIVEN = ("model", "method", "system", "prompt", "tokens")


def row(result: Result) -> dict[str, Any]:
    """The numbers of a result as columns with units: times in s, memory by region in bytes."""
    columns: dict[str, Any] = {}
    for name, value in result.summary.items():
        if name == "capacity_bytes":
            sizes = {region.replace(" ", "_"): size for region, size in value.items()}
            columns |= {f"memory_{region}_bytes": size for region, size in sizes.items()}
        elif name not in _GIVEN and (value is None or isinstance(value, bool | int | float | str)):
            columns[name] = value
    return columns


# A point that is a function of your own.


@dataclass(frozen=True)
class Function:
    """`function(settings)` at each point: a function of a module that workers can import.

    It returns the columns of the row, units in their names. What it computes must follow from its settings
    and its own source text: these two are the key of a result.
    """

    function: Callable[[Settings], Mapping[str, Any]]

    @property
    def tables(self) -> tuple[str, ...]:
        return ()

    def check(self, sweep: Sweep) -> None:
        """Any name may be set; the function must lie in a file, since its text is a part of every key."""
        try:
            inspect.getsource(self.function)
        except (OSError, TypeError):
            raise SweepError(f"{self.function!r}: wanted a function that a Python file defines") from None

    def look(self, settings: Settings, names: set[str]) -> Mapping[str, Any]:
        return {}

    def key(self, settings: Settings) -> str:
        named = f"{self.function.__module__}.{self.function.__qualname__}"
        source = inspect.getsource(self.function)
        text = json.dumps([named, source, settings], sort_keys=True)
        return hashlib.sha256(text.encode()).hexdigest()

    def order(self, settings: Settings) -> tuple[str, ...]:
        return ()

    def run(self, settings: Settings) -> tuple[dict[str, Any], dict[str, pd.DataFrame]]:
        return dict(self.function(settings)), {}


# In a worker.


class OutOfTime(Exception):
    """Raised inside a point that has taken its time."""


def perform(work: Work, job: Job, limits: Limits, memo: str | None, code: str) -> Outcome:
    """Run one point; whatever it does becomes an outcome. The caller gives the digest of its own code."""
    if code != code_digest():
        return Outcome(status="lost", error="this worker has another version of pimsim's code")
    with _ALONE:
        use_memo(memo)
        try:
            with _limited(limits):
                values, tables = work.run(job.settings)
                _check_values(values)
                return Outcome(
                    status="done",
                    values=values,
                    tables={name: parquet(frame) for name, frame in tables.items()},
                )
        except OutOfTime:
            return Outcome(status="timeout", error=f"took longer than {limits.timeout_s:g} s")
        except MemoryError:
            return Outcome(
                status="memory", error=f"needs more memory than the limit of {limits.memory_bytes} B"
            )
        except PimsimError as problem:
            return Outcome(status="failed", error=str(problem))
        except Exception as problem:
            last = traceback.extract_tb(problem.__traceback__)[-1]
            where = f"{Path(last.filename).name}:{last.lineno}"
            return Outcome(status="failed", error=f"{type(problem).__name__}: {problem} ({where})")


_ALONE = threading.Lock()
"""A process runs one point at a time: limits and memo belong to the process."""
_Memos: dict[str, Any] = {}


def use_memo(path: str | None) -> None:
    """Let this process keep measured rates in the file, too."""
    from pimsim.sweep.memo import Rates

    if path is not None and path not in _Memos:
        _Memos[path] = Rates(path)
    stored_in(_Memos[path] if path is not None else None)


@contextlib.contextmanager
def _limited(limits: Limits) -> Iterator[None]:
    """The limits, where this thread can set them: a signal for the time, a resource limit for the memory."""
    timed = limits.timeout_s is not None and threading.current_thread() is threading.main_thread()

    def stop(number: int, frame: object) -> None:
        raise OutOfTime

    before = signal.signal(signal.SIGALRM, stop) if timed else None
    if timed:
        assert limits.timeout_s is not None
        signal.setitimer(signal.ITIMER_REAL, limits.timeout_s)
    try:
        with _memory(limits.memory_bytes):
            yield
    finally:
        if timed:
            signal.setitimer(signal.ITIMER_REAL, 0)
            signal.signal(signal.SIGALRM, before)


@contextlib.contextmanager
def _memory(limit: int | None) -> Iterator[None]:
    if limit is None:
        yield
        return
    import resource

    soft, hard = resource.getrlimit(resource.RLIMIT_DATA)
    resource.setrlimit(resource.RLIMIT_DATA, (limit, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_DATA, (soft, hard))


def _check_values(values: Mapping[str, Any]) -> None:
    for name, value in values.items():
        plain = value is None or isinstance(value, bool | int | float | str)
        if not plain or (isinstance(value, float) and not math.isfinite(value)):
            raise SweepError(f"the result {name}={value!r} is no finite number and no text")


def parquet(frame: pd.DataFrame) -> bytes:
    """The frame as a Parquet file; equal frames give equal bytes."""
    import pyarrow
    from pyarrow import parquet as file

    table = pyarrow.table({str(name): pyarrow.array(frame[name].tolist()) for name in frame.columns})
    data = io.BytesIO()
    file.write_table(table, data, compression="zstd")
    return data.getvalue()
