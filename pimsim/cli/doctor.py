"""`pimsim doctor`: is this installation well?"""

from __future__ import annotations

import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import typer

from pimsim.cli.app import Json, Quiet, app, console, note

REQUIRED = ("numpy", "numba", "llvmlite", "simpy", "pandas", "matplotlib", "msgspec", "typer", "rich")
EXTRAS = {
    "page": "vl-convert-python",
    "perfetto": "perfetto",
    "docs": "mkdocs-material",
    "notebook": "nbclient",
    "torch": "torch",
    "onnx": "onnx",
}
"""Extra of pimsim -> a package that it installs."""


@app.command(epilog="Examples: pimsim doctor | pimsim doctor --json")
def doctor(as_json: Json = False, quiet: Quiet = False) -> None:
    """Look at this installation: versions, cores, compile cache, and a self-test of about ten seconds.

    Exits with 1 if a test of the self-test fails.
    """
    import pandas as pd

    from pimsim.report.progress import bar
    from pimsim.report.report import json_text, records
    from pimsim.report.tables import print_frame

    about = _about()
    tests = []
    with bar("Self-test", quiet) as advance:
        for done, (name, test) in enumerate(TESTS.items()):
            advance(done / len(TESTS), name)
            begin = time.perf_counter()
            try:
                said, ok = test(), True
            except Exception as problem:  # a broken installation may break anything
                said, ok = f"{type(problem).__name__}: {problem}", False
            tests.append((name, said, round(time.perf_counter() - begin, 2), ok))
        advance(1.0, "")
    frame = pd.DataFrame(tests, columns=["test", "result", "time_s", "ok"])
    if as_json:
        typer.echo(json_text({"about": about, "tests": records(frame), "ok": bool(frame["ok"].all())}))
    else:
        screen = console()
        rows = [(key, ", ".join(value) if isinstance(value, list) else value) for key, value in about.items()]
        print_frame(pd.DataFrame(rows, columns=["what", "value"]), "This installation", screen)
        screen.print()
        print_frame(frame, "Self-test", screen)
        well = int(frame["ok"].sum())
        note(screen, f"\n{well} of {len(frame)} tests pass" + ("" if well == len(frame) else "; see above"))
    if not frame["ok"].all():
        raise typer.Exit(1)


def _about() -> dict[str, Any]:
    import os
    import platform
    from importlib.metadata import PackageNotFoundError, version

    def held(package: str) -> str | None:
        try:
            return version(package)
        except PackageNotFoundError:
            return None

    usable = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
    return {
        "pimsim": held("pimsim") or "not installed",
        "python": f"{platform.python_version()} on {platform.system()} {platform.machine()}",
        "packages": [f"{name} {held(name) or 'missing'}" for name in REQUIRED],
        "extras": [f"{name}: {'yes' if held(package) else 'no'}" for name, package in EXTRAS.items()],
        "cores": f"{usable} usable of {os.cpu_count()}",
        **_cache(),
    }


def _cache() -> dict[str, str]:
    """Where compiled functions are kept, how many there are, and whether new ones can be."""
    import os

    from numba.core import config

    import pimsim
    from pimsim.warmup import missing

    package = Path(pimsim.__file__).parent
    named = str(getattr(config, "CACHE_DIR", ""))  # from NUMBA_CACHE_DIR
    folder = Path(named) if named else package
    files = list(folder.rglob("*.nbc")) if folder.is_dir() else []
    size = sum(file.stat().st_size for file in files)
    state = f"{len(files)} functions, {size / 1e6:.1f} MB" if files else "empty: the first run compiles"
    lacking = missing() if files else []
    if lacking:
        state += f"; not the inner loops of {' and '.join(lacking)}: the next run compiles"
    writable = os.access(folder if folder.is_dir() else folder.parent, os.W_OK)
    return {
        "compile cache": f"{folder}{'' if named else ' (__pycache__ folders)'}",
        "cached": state + ("" if writable else "; the folder is read-only: every run compiles"),
    }


# The self-test: each returns what it found, or raises.


def _dram() -> str:
    """A read of a closed bank takes activate, column access and burst: tRCD + RL + BL clocks (data sheet)."""
    import numpy as np

    from pimsim.devices import DramSpec, part
    from pimsim.devices.dram.channel import Controller, build, replay
    from pimsim.devices.spec import Clocks

    spec = part("ddr4-3200-8gb-x8", DramSpec)
    zero = np.zeros(1, np.int64)
    done = replay(build(spec, Controller(refresh="none"), 1), zero, zero, zero, zero, zero)
    clocks = int(done.done[0])
    n = Clocks(spec)
    wanted = n.RCD + n.RL + n.BL
    if not wanted <= clocks <= wanted + 1:
        raise AssertionError(f"a read of a closed bank took {clocks} clocks; tRCD + RL + BL are {wanted}")
    return f"closed bank read in {clocks} clocks"


def _pim() -> str:
    """The commands of a product in memory, run on data, give the product."""
    from pimsim.devices import DramSpec, PimSpec, part
    from pimsim.devices.pim.selftest import check_gemv

    unit = part("lpddr5x-pim-8533", PimSpec)
    said = check_gemv(unit, part(unit.dram, DramSpec), 256, 256, "int8")
    if not said["ok"]:
        raise AssertionError(f"the product in memory is wrong: {said}")
    return "256 x 256 product in PIM equals NumPy's"


def _run() -> str:
    """A run of a model, saved and read back."""
    from pimsim.result import Result
    from pimsim.run import simulate

    result = simulate("llama-3.2-1b", "facil", prompt=16, tokens=2)
    with tempfile.TemporaryDirectory() as folder:
        result.save(Path(folder) / "run")
        again = Result.load(Path(folder) / "run")
    if again.summary != result.summary or not again.spans.equals(result.spans):
        raise AssertionError("a saved run is not read back as it was")
    return f"time to first token {result.summary['ttft_s']:.3f} s, saved and read back"


def _figure() -> str:
    """A figure is drawn."""
    import pandas as pd

    from pimsim.report.figures import breakdown_bars, save

    frame = pd.DataFrame([("prefill", "cpu", "gemm", 1.0)], columns=["phase", "engine", "kind", "seconds"])
    with tempfile.TemporaryDirectory() as folder:
        save(breakdown_bars(frame), Path(folder) / "f")
        size = (Path(folder) / "f.png").stat().st_size
    return f"{size:,} bytes of PNG"


TESTS: dict[str, Callable[[], str]] = {
    "DRAM engine": _dram,
    "PIM on data": _pim,
    "a model": _run,
    "a figure": _figure,
}
