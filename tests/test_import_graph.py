"""The layers of the package: a module imports only from its own layer or from one to its left."""

import ast
from pathlib import Path

import pytest

PACKAGE = Path(__file__).parents[1] / "pimsim"

# Leftmost first. A name is a module or a package of that name directly under pimsim.
LAYERS = [
    {"units", "errors", "compiled", "reuse", "notebook"},
    {"trace"},
    {"placement"},
    {"devices"},
    {"system", "machine", "memory", "engines", "warmup"},
    {"methods"},
    {"agents", "run", "run_engine", "run_trace", "result"},
    {"quant", "serving", "sweep"},
    {"validate", "checks"},
    {"report"},
    {"reproduce"},
    {"cli", "__main__"},
]
LAYER_OF = {name: number for number, names in enumerate(LAYERS) for name in names}

# Third-party packages with one place each.
ONLY_IN = {
    "matplotlib": {"report"},
    "simpy": {"agents", "memory"},
    "sqlite3": {"sweep"},
    "pyarrow": {"sweep"},
    "distributed": {"sweep"},
    "optuna": {"sweep"},
}


def modules():
    """(dotted name, is a package, source) of every module of pimsim."""
    for path in sorted(PACKAGE.rglob("*.py")):
        parts = path.relative_to(PACKAGE.parent).with_suffix("").parts
        package = parts[-1] == "__init__"
        yield ".".join(parts[:-1] if package else parts), package, path.read_text(encoding="utf-8")


def imports(name, package, source):
    """(line, dotted name) of everything the module imports, wherever in it the import stands."""
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Import):
            for alias in node.names:
                yield node.lineno, alias.name
        elif isinstance(node, ast.ImportFrom):
            base = name.split(".")
            above = node.level - (1 if package else 0)
            base = base[: len(base) - above] if node.level else []
            stem = ".".join([*base, *([node.module] if node.module else [])])
            if stem == "pimsim":  # `from pimsim import trace` imports the package trace
                for alias in node.names:
                    yield node.lineno, f"pimsim.{alias.name}"
            else:
                yield node.lineno, stem


def broken(name, package, source):
    """What the module imports against the order, as sentences."""
    parts = name.split(".")
    if len(parts) == 1:  # pimsim/__init__.py may import all of pimsim
        own, layer = "__init__", len(LAYERS)
    elif parts[1] not in LAYER_OF:
        return [f"{name}: give {parts[1]!r} a place in LAYERS of {Path(__file__).name}"]
    else:
        own, layer = parts[1], LAYER_OF[parts[1]]
    found = []
    for line, target in imports(name, package, source):
        top, *rest = target.split(".")
        if top == "pimsim":
            # The package itself, or a name that only its __init__ has, stands to the right of everything.
            other = rest[0] if rest else "pimsim"
            if layer == 0:
                found.append(f"{name}:{line}: imports {target}, but {own} imports nothing from pimsim")
            elif LAYER_OF.get(other, LAYER_OF["cli"]) > layer:
                found.append(f"{name}:{line}: imports {target}, which is to the right of {own}")
        elif own not in ONLY_IN.get(top, {own}):
            found.append(f"{name}:{line}: imports {top}, which only {' and '.join(sorted(ONLY_IN[top]))} may")
    return found


def test_the_import_graph():
    assert [line for module in modules() for line in broken(*module)] == []


def test_every_module_is_looked_at():
    assert {"pimsim", "pimsim.units", "pimsim.trace", "pimsim.trace.llm"} <= {
        name for name, _, _ in modules()
    }


@pytest.mark.parametrize(
    ("name", "package", "source"),
    [
        ("pimsim.units", False, "import pimsim.errors"),
        ("pimsim.errors", False, "from pimsim.units import ceil_div"),
        ("pimsim.trace.op", False, "from pimsim.placement import region"),
        ("pimsim.trace.op", False, "from ..placement import region"),
        ("pimsim.trace", True, "from ..placement import region"),
        ("pimsim.trace.op", False, "from .. import placement"),
        ("pimsim.trace.op", False, "def f():\n    import pimsim.devices.cache"),
        ("pimsim.trace.op", False, "if TYPE_CHECKING:\n    from pimsim.run import run"),
        ("pimsim.devices.dram.engine", False, "from pimsim import system"),
        ("pimsim.devices.dram.engine", False, "from pimsim import simulate"),
        ("pimsim.devices.dram.engine", False, "import pimsim"),
        ("pimsim.methods.facil", False, "from pimsim.result import Result"),
        ("pimsim.sweep", True, "import pimsim.cli"),
        ("pimsim.sweep.store", False, "import matplotlib.pyplot as plt"),
        ("pimsim.reuse", False, "from pimsim.errors import StoreError"),
        ("pimsim.cli.sweep", False, "import sqlite3"),
        ("pimsim.cli", False, "from matplotlib import pyplot"),
        ("pimsim.devices.npu", False, "import simpy"),
        ("pimsim", True, "import simpy"),
        ("pimsim.novel", False, ""),
    ],
)
def test_a_bad_import_is_caught(name, package, source):
    assert len(broken(name, package, source)) == 1


@pytest.mark.parametrize(
    ("name", "package", "source"),
    [
        ("pimsim.units", False, "from __future__ import annotations\nimport re"),
        ("pimsim.trace.op", False, "from pimsim.errors import TraceError\nfrom pimsim import units"),
        ("pimsim.trace", True, "from .op import Trace\nfrom . import file"),
        ("pimsim.placement.layout", False, "from ..trace.op import Tensor\nfrom .region import Region"),
        ("pimsim.agents", False, "import simpy\nfrom pimsim.result import Result"),
        ("pimsim.agents.clock", False, "import simpy"),
        ("pimsim.memory", False, "import simpy\nfrom pimsim.system import System"),
        ("pimsim.report.figures", False, "import matplotlib.pyplot as plt"),
        ("pimsim.cli", False, "from pimsim import __version__, sweep"),
        ("pimsim", True, "from pimsim.cli import main"),
    ],
)
def test_a_good_import_is_accepted(name, package, source):
    assert broken(name, package, source) == []
