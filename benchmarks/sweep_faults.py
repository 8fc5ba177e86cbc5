"""What a sweep survives: killed at random moments, a full disk, a damaged store, two sweeps on one store.

    python benchmarks/sweep_faults.py [--kills 50] [--points 500] [--seed 1]

Prints one line a fault: what was done, what was checked, whether it held. Exit code 1 if anything did not.
The points are functions that take a tenth of a second, so that the kills fall everywhere: before the first
result, between two commits, inside one, while workers start.
"""

from __future__ import annotations

import argparse
import contextlib
import os
import random
import resource
import signal
import subprocess
import sys
import tempfile
import threading
import time
from pathlib import Path

HERE = Path(__file__).parent
sys.path.insert(0, str(HERE.parent))

from pimsim.errors import StoreError  # noqa: E402
from pimsim.sweep import Axis, Function, InProcess, LocalPool, Store, Sweep, prepare, run_sweep  # noqa: E402

SECONDS = 0.1


def point(settings):
    """A result that follows from x alone, after a while."""
    time.sleep(SECONDS)
    return {"third_s": settings["x"] / 3, "square_bytes": settings["x"] ** 2}


def quick(settings):
    """The same, at once."""
    return {"third_s": settings["x"] / 3, "square_bytes": settings["x"] ** 2, "text": "y" * 400}


def sweep_of(count):
    return Sweep(name="faults", axes=(Axis(name="x", values=tuple(range(count))),))


def child(path, count):
    """Run the sweep; a line for each point that was committed."""
    prepared = prepare(sweep_of(count), Function(point))
    with Store.open(path, write=True, make=True) as store:
        run_sweep(
            prepared, store, executor=LocalPool(2),
            report=lambda progress: print(progress.done, flush=True),
        )  # fmt: skip


def begin(path, count):
    """The sweep in a process of its own, which imports this file as a module, as its workers do."""
    code = f"import sys; sys.path[:0] = {[str(HERE), str(HERE.parent)]!r}; import sweep_faults"
    code += f"; sweep_faults.child({str(path)!r}, {count})"
    return subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE, stderr=subprocess.DEVNULL)


def held(path):
    with Store.open(path) as store:
        return {record.key: record.cells() for record in store.records()}


def children_of(pid):
    said = subprocess.run(["ps", "-o", "pid=", "--ppid", str(pid)], capture_output=True, text=True)
    return [int(word) for word in said.stdout.split()]


def kills(folder, count, times, rng):
    """SIGKILL to the sweep or to one of its workers, `times` times, then to its end."""
    path = folder / "killed.sqlite"
    before, moments, workers, wrong = {}, [], 0, []
    for number in range(times):
        process = begin(path, count)
        reported = 0
        lines = []
        reader = threading.Thread(target=lambda p=process, r=lines: r.extend(p.stdout), daemon=True)
        reader.start()
        at_worker, while_starting = rng.random() < 0.2, rng.random() < 0.2
        end = time.monotonic() + (rng.uniform(0.2, 2.0) if while_starting else 60.0)
        while time.monotonic() < end and process.poll() is None and (while_starting or len(lines) < 2):
            time.sleep(0.005)
        if not while_starting:  # the first result of this run is there
            time.sleep(rng.uniform(0.0, 0.9))
        targets = children_of(process.pid) if at_worker else []
        if targets:
            workers += 1
            with contextlib.suppress(ProcessLookupError):
                os.kill(rng.choice(targets), signal.SIGKILL)
            time.sleep(rng.uniform(0.0, 1.0))
        process.kill()
        process.wait()
        reader.join(timeout=5)
        reported = max([int(line) for line in lines if line.strip().isdigit()], default=0)
        if path.exists():
            with Store.open(path) as store:
                wrong += store.verify()
            now = held(path)
            lost = [key for key, cells in before.items() if now.get(key) != cells]
            if lost:
                wrong.append(f"kill {number}: {len(lost)} results were lost or changed")
            if len(now) < reported:
                wrong.append(f"kill {number}: {reported} points were reported, {len(now)} are there")
            before = now
        moments.append(len(before))
    process = begin(path, count)
    process.communicate()
    calm = folder / "calm.sqlite"
    begin(calm, count).communicate()
    with Store.open(path) as a, Store.open(calm) as b:
        if a.content_digest() != b.content_digest():
            wrong.append("the resumed store differs from the undisturbed one")
        if len(held(path)) != count:
            wrong.append(f"{len(held(path))} results, wanted {count}")
    said = (
        f"{times} kills ({workers} of them first a worker) in a sweep of {count} points, at {moments[0]} to "
    )
    return (
        said + f"{moments[-1]} finished points",
        "nothing lost or half-written; resumed equals undisturbed",
        wrong,
    )


def full_disk(folder, limited):
    """A sweep whose store cannot grow: by a file size limit, or on a small file system of its own."""
    wrong, count = [], 400
    with contextlib.ExitStack() as stack:
        if limited:
            place = folder / "limited"
            place.mkdir()
            signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
            before = resource.getrlimit(resource.RLIMIT_FSIZE)
            stack.callback(resource.setrlimit, resource.RLIMIT_FSIZE, before)
            resource.setrlimit(resource.RLIMIT_FSIZE, (200_000, before[1]))
        else:
            place = folder / "small"
            place.mkdir()
            mounted = subprocess.run(
                ["mount", "-t", "tmpfs", "-o", "size=400k", "tmpfs", str(place)], capture_output=True
            )
            if mounted.returncode:
                return "full disk (tmpfs of 400 KB)", "not tried: mounting is not allowed here", []
            stack.callback(subprocess.run, ["umount", str(place)], check=False)
        path, said = place / "r.sqlite", ""
        with Store.open(path, write=True, make=True) as store:
            done = [0]
            try:
                run_sweep(
                    prepare(sweep_of(count), Function(quick)), store, executor=InProcess(), share_rates=False,
                    report=lambda progress: done.__setitem__(0, progress.done),
                )  # fmt: skip
                wrong.append("the sweep ended as if there were room")
            except StoreError as problem:
                said = str(problem)
        if "everything finished before is kept" not in said:
            wrong.append(f"the error does not say what is kept: {said}")
        if limited:
            stack.pop_all().close()
        copy = folder / f"copy{limited}.sqlite"
        for end in ("", "-wal"):
            if (source := place / f"r.sqlite{end}").exists():
                copy.with_name(copy.name + end).write_bytes(source.read_bytes())
        with Store.open(copy, write=True) as store:
            kept = sum(1 for _ in store.records())
            wrong += store.verify()
            if kept < done[0]:
                wrong.append(f"{done[0]} points were finished, {kept} are there")
            run_sweep(prepare(sweep_of(count), Function(quick)), store, executor=InProcess())
            if sum(1 for _ in store.records()) != count:
                wrong.append("the sweep could not go on where there was room")
    name = "file size limit of 200 KB" if limited else "file system of 400 KB"
    return (
        f"full disk ({name})",
        f"stopped with an error, {kept} finished points kept, went on elsewhere",
        wrong,
    )


def two_sweeps(folder):
    """Two processes on one store, one of them killed midway and started again."""
    path, count, wrong = folder / "two.sqlite", 100, []
    both = [begin(path, count), begin(path, count)]
    time.sleep(3.0)
    both[0].kill()
    both[0].wait()
    both.append(begin(path, count))
    for process in both[1:]:
        process.communicate()
        if process.returncode:
            wrong.append(f"a sweep ended with {process.returncode}")
    with Store.open(path) as store:
        wrong += store.verify()
        if len(held(path)) != count:
            wrong.append(f"{len(held(path))} results, wanted {count}")
    return "two sweeps on one store, one killed", f"{count} results, none twice, none missing", wrong


def damaged(folder, rng):
    """Random bytes in random places of the file: refused or noticed, and the rest can be saved."""
    count, wrong, saved, refused = 150, [], [], 0
    source = folder / "whole.sqlite"
    with Store.open(source, write=True, make=True) as store:
        run_sweep(prepare(sweep_of(count), Function(quick)), store, executor=InProcess())
        store.file.execute("PRAGMA wal_checkpoint(TRUNCATE)")
    good, data = held(source), source.read_bytes()
    for number in range(30):
        path = folder / f"damaged{number}.sqlite"
        broken = bytearray(data)
        at = rng.randrange(4096 if number % 3 else 0, len(data) - 600)
        broken[at : at + 600] = rng.randbytes(600)
        path.write_bytes(broken)
        try:
            now = held(path)
            with Store.open(path) as store:
                faults = store.verify()
            if not faults and now != good:
                wrong.append(f"damage at byte {at} was not noticed")
            if any(good.get(key) != cells for key, cells in now.items()):
                wrong.append(f"damage at byte {at} gave a wrong result")
        except StoreError:
            refused += 1
        with Store.open(folder / f"saved{number}.sqlite", write=True, make=True) as new:
            new.salvage(path)
            kept = {record.key: record.cells() for record in new.records()}
        if any(good.get(key) != cells for key, cells in kept.items()):
            wrong.append(f"salvage after damage at byte {at} gave a wrong result")
        saved.append(len(kept))
    saved.sort()
    said = f"no wrong result; {refused} refused; salvage kept {saved[len(saved) // 2]} of {count} results "
    said += f"(median; {saved.count(0)} times none: the first page was hit)"
    return "30 stores with 600 random bytes somewhere", said, wrong


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--kills", type=int, default=50)
    parser.add_argument("--points", type=int, default=500)
    parser.add_argument("--seed", type=int, default=1)
    given = parser.parse_args()
    rng = random.Random(given.seed)
    bad = 0
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        for fault in (
            lambda: damaged(folder, rng),
            lambda: full_disk(folder, True),
            lambda: full_disk(folder, False),
            lambda: two_sweeps(folder),
            lambda: kills(folder, given.points, given.kills, rng),
        ):
            what, held_, wrong = fault()
            bad += bool(wrong)
            print(f"| {what} | {'**failed**: ' + '; '.join(wrong[:3]) if wrong else held_} |", flush=True)
    return 1 if bad else 0


if __name__ == "__main__":
    sys.exit(main())
