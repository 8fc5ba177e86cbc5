"""How fast sweeps are: the example on one process and on two, overheads, memory of a worker over many points.

    python benchmarks/sweep_speed.py [--points 1000] [--memory-points 10000] [--only example,overhead,memory]

Prints a table and writes it to benchmarks/results_sweep.md. CPU time is that of the workers; wall times mean
something on a machine that does nothing else. Empty stores and no measured rates at the start of each run.
"""

from __future__ import annotations

import argparse
import json
import resource
import sys
import tempfile
import time
from dataclasses import replace
from importlib.util import find_spec
from pathlib import Path

HERE = Path(__file__).parent
sys.path.insert(0, str(HERE.parent))

from pimsim.sweep import (  # noqa: E402
    Axis,
    Dask,
    Function,
    InProcess,
    LocalPool,
    Simulation,
    Store,
    Sweep,
    prepare,
    read_sweep,
    run_sweep,
)

EXAMPLE = HERE.parent / "examples" / "pim_design_space.toml"
DASK = find_spec("distributed") is not None
TARGETS = {"wall": 600.0, "efficiency": 1.7, "dask overhead": 20.0, "growth": 5.0}


def nothing(settings):
    """A point that costs nothing."""
    return {"x_s": settings["x"] / 3}


def timed(prepared, executor):
    """(wall s, CPU s of workers, digest of the store) of a sweep into an empty store."""
    with (
        tempfile.TemporaryDirectory() as folder,
        Store.open(Path(folder, "r.sqlite"), make=True, write=True) as s,
    ):
        before, began = cpu_s(), time.perf_counter()
        progress = run_sweep(prepared, s, executor=executor)
        wall = time.perf_counter() - began
        if progress.failed:
            print(f"{progress.failed} of {progress.total} points failed", file=sys.stderr)
        return wall, cpu_s() - before, s.content_digest()


def cpu_s():
    """CPU seconds of this process and of its children that have ended."""
    both = [resource.getrusage(who) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)]
    return sum(used.ru_utime + used.ru_stime for used in both)


def example(points):
    """The example on one process, on two, and on two workers of a Dask cluster where that is installed."""
    sweep = read_sweep(EXAMPLE)
    if points < 1000:  # fewer points, as varied
        sweep = replace(sweep, sampling="latin-hypercube", count=points)
    prepared = prepare(sweep)
    one, two, dask = "1 process", "2 processes", "Dask LocalCluster of 2"
    executors = {two: LocalPool(2), one: LocalPool(1)}
    if DASK:
        executors[dask] = Dask("local", workers=2)
    n, walls, digests, rows = len(prepared.points), {}, set(), []
    for name, executor in executors.items():
        walls[name], cpu, digest = timed(prepared, executor)
        digests.add(digest)
        rows.append((f"{n} points, {name}", f"{walls[name]:.0f} s wall, {cpu / n:.2f} s CPU a point"))
        print(*rows[-1], sep="  ", file=sys.stderr)
    rows.append(
        (
            "two processes over one",
            f"{walls[one] / walls[two]:.2f} times as fast (wanted {TARGETS['efficiency']})",
        )
    )
    if DASK:
        more = 1e3 * (walls[dask] - walls[two]) / n
        rows.append(
            (
                "Dask over two processes",
                f"{more:+.1f} ms wall a point (wanted under {TARGETS['dask overhead']:g})",
            )
        )
    rows.append(("stores of all", "equal" if len(digests) == 1 else "DIFFERENT"))
    return rows


def overhead(count=500):
    """What a point costs beside its simulation."""
    sweep = Sweep(name="nothing", axes=(Axis(name="x", values=tuple(range(count))),))
    prepared = prepare(sweep, Function(nothing))
    rows, digests = [], set()
    executors = {"this process": InProcess(), "pool of 2": LocalPool(2)}
    if DASK:
        executors["Dask LocalCluster of 2"] = Dask("local", workers=2)
    for name, executor in executors.items():
        few = prepare(replace(sweep, axes=(Axis(name="x", values=tuple(range(4))),)), Function(nothing))
        start, _, _ = timed(few, executor)
        wall, cpu, digest = timed(prepared, executor)
        digests.add(digest)
        each = 1e3 * (wall - start) / (count - 4)
        rows.append(
            (
                f"overhead a point, {name}",
                f"{each:.1f} ms wall, {1e3 * cpu / count:.1f} ms CPU; start {start:.1f} s",
            )
        )
    rows.append(("stores of all", "equal" if len(digests) == 1 else "DIFFERENT"))
    return rows


def memory(count):
    """Resident memory of a worker over many different machines of a small model."""
    from pimsim.sweep.work import Job, Limits, code_digest, perform

    with tempfile.TemporaryDirectory() as folder:
        model = Path(folder, "config.json")
        shape = {
            "model_type": "llama", "hidden_size": 64, "intermediate_size": 128, "num_hidden_layers": 1,
            "num_attention_heads": 2, "num_key_value_heads": 1, "vocab_size": 64,
            "tie_word_embeddings": True,
        }  # fmt: skip
        model.write_text(json.dumps(shape))
        work, sizes = Simulation(tables=("spans", "counters")), []
        began = time.perf_counter()
        for i in range(count):
            # Every point is another machine, every fiftieth has another memory (which takes a second).
            settings = {
                "model": str(model), "method": "facil", "prompt": 1 + i % 3, "tokens": 2 + i % 2,
                "memory.dram.timings.RCD": 18 + i // 50 / 10, "cpu.dispatch_us": 20 + i / 100,
            }  # fmt: skip
            outcome = perform(work, Job(key=str(i), settings=settings), Limits(), None, code_digest())
            assert outcome.status == "done", outcome
            if (i + 1) % max(1, count // 20) == 0:
                sizes.append(resident_mb())
                print(
                    f"{i + 1} points: {sizes[-1]:.0f} MB, {time.perf_counter() - began:.0f} s",
                    file=sys.stderr,
                )
    warm = sizes[len(sizes) // 10]
    growth = 100 * (sizes[-1] / warm - 1)
    return [
        (f"memory of a worker after a tenth of {count} points", f"{warm:.0f} MB"),
        ("at the end", f"{sizes[-1]:.0f} MB, {growth:+.1f} % (wanted: at most {TARGETS['growth']:g} %)"),
    ]


def resident_mb():
    """Resident megabytes of this process."""
    for line in Path("/proc/self/status").read_text().splitlines():
        if line.startswith("VmRSS"):
            return int(line.split()[1]) / 1e3
    return float("nan")


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--points", type=int, default=1000)
    parser.add_argument("--memory-points", type=int, default=10_000)
    parser.add_argument("--only", default="example,overhead,memory")
    given = parser.parse_args()
    wanted = given.only.split(",")
    rows = []
    if "overhead" in wanted:
        rows += overhead()
    if "example" in wanted:
        rows += example(given.points)
    if "memory" in wanted:
        rows += memory(given.memory_points)
    width = max(len(name) for name, _ in rows)
    for name, value in rows:
        print(f"{name:{width}}  {value}")
    if wanted == ["example", "overhead", "memory"]:
        lines = [
            "# Speed of sweeps\n",
            "Written by `benchmarks/sweep_speed.py`.\n",
            "| what | measured |",
            "|---|---|",
        ]
        text = "\n".join([*lines, *(f"| {name} | {value} |" for name, value in rows)])
        (HERE / "results_sweep.md").write_text(text + "\n")


if __name__ == "__main__":
    main()
