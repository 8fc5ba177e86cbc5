"""Use the package as someone who installs it: `python tests/check_wheel.py [--cold]`, or `make wheel-check`.

Builds source archive and wheel, compares both with the source tree, installs the wheel into a new virtual
environment, and runs commands there in an empty folder. Functions that are compiled already are copied from
the source tree: pimsim takes one only if every source file with compiled code is the same to the byte, so
that this is one more check of the wheel; with --cold all are compiled.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import tarfile
import tempfile
import time
import venv
import zipfile
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
PACKAGES = ("pimsim", "experiments")
NOT_SHIPPED = (".ci", ".gitignore")
"""Of the files that git knows, what a source archive does not need."""
REQUESTS = "arrive,op,addr\n" + "".join(f"{4 * i},{'RRW'[i % 3]},{64 * i:x}\n" for i in range(500))


def main() -> int:
    """Run all checks and print them; 1 if one fails."""
    cold = "--cold" in sys.argv[1:]
    failed = done = 0
    began = time.monotonic()
    with tempfile.TemporaryDirectory() as folder:
        for what, check in checks(Path(folder), cold):
            start = time.monotonic()
            try:
                said = check()
            except Exception as problem:  # what fails is told with all others
                failed += 1
                said = f"FAILED: {problem}"
            else:
                done += 1
            print(f"{time.monotonic() - start:6.1f} s  {what}: {said}", flush=True)
    print(f"{time.monotonic() - began:6.1f} s in all")
    print(f"{done} passed, {failed} failed")
    return 1 if failed else 0


def checks(work: Path, cold: bool):
    """(name, function) in order; a function says what it found, or raises."""
    dist, home, user = work / "dist", work / "env", work / "user"
    user.mkdir()
    binaries = home / ("Scripts" if os.name == "nt" else "bin")
    python = str(binaries / "python")
    environment = {k: v for k, v in os.environ.items() if k not in ("PYTHONPATH", "VIRTUAL_ENV")}
    environment["PIMSIM_CACHE"] = str(work / "cache")

    def run(words: list[str], wanted: str = "", code: int = 0) -> str:
        done = subprocess.run(
            words, cwd=user, env=environment, capture_output=True, text=True, stdin=subprocess.DEVNULL
        )
        said = done.stdout + done.stderr
        if done.returncode != code or wanted not in said:
            raise AssertionError(f"exit code {done.returncode}, {code} and {wanted!r} wanted:\n{said}")
        return next((line for line in said.splitlines() if wanted and wanted in line), "done").strip()

    def pimsim(*words: str, wanted: str = "", code: int = 0):
        return f"pimsim {' '.join(words)}", lambda: run([str(binaries / "pimsim"), *words], wanted, code)

    def build() -> str:
        run([sys.executable, "-m", "build", "--outdir", str(dist), str(ROOT)])
        return ", ".join(
            f"{path.name} ({path.stat().st_size / 1e6:.2f} MB)" for path in sorted(dist.iterdir())
        )

    def wheel() -> Path:
        return next(dist.glob("*.whl"))

    def compare_wheel() -> str:
        files = {
            path.relative_to(ROOT).as_posix()
            for package in PACKAGES
            for path in (ROOT / package).rglob("*")
            if path.is_file() and "__pycache__" not in path.parts
        }
        held = {name for name in zipfile.ZipFile(wheel()).namelist() if ".dist-info/" not in name}
        if files != held:
            raise AssertionError(f"missing: {sorted(files - held)[:9]}, too many: {sorted(held - files)[:9]}")
        return f"{len(files)} files, those of the source tree"

    def compare_archive() -> str:
        with tarfile.open(next(dist.glob("*.tar.gz"))) as archive:
            held = {name.partition("/")[2] for name in archive.getnames()}
        listed = subprocess.run(
            ["git", "ls-files"], cwd=ROOT, capture_output=True, text=True, check=True
        ).stdout
        files = {name for name in listed.splitlines() if not name.startswith(NOT_SHIPPED)}
        files = {name for name in files if (ROOT / name).exists()}
        if files - held:
            raise AssertionError(f"missing: {sorted(files - held)[:9]}")
        return f"all {len(files)} files that git knows"

    def install() -> str:
        venv.create(home, with_pip=True)
        words = [
            "-m",
            "pip",
            "install",
            "--disable-pip-version-check",
            "-q",
            "-c",
            str(ROOT / "constraints.txt"),
        ]
        run([python, *words, str(wheel())])
        return run([python, "-m", "pip", "check"], "No broken requirements")

    def place() -> str:
        code = "import pimsim, experiments; print(pimsim.__file__, experiments.__file__)"
        files = subprocess.run(
            [python, "-c", code], cwd=user, env=environment, capture_output=True, text=True, check=True
        ).stdout.split()
        if not all(Path(file).is_relative_to(home) for file in files):
            raise AssertionError(f"not in the new environment: {files}")
        return "in the new environment"

    def compiled() -> str:
        site = next(home.rglob("site-packages"))
        count = 0
        for file in (ROOT / "pimsim").rglob("__pycache__/*.nb[ic]"):
            target = site / file.relative_to(ROOT)
            target.parent.mkdir(parents=True, exist_ok=True)
            shutil.copy(file, target)
            count += 1
        return f"{count} files copied"

    def requests() -> str:
        (user / "requests.csv").write_text(REQUESTS, encoding="utf-8")
        return run(
            [str(binaries / "pimsim"), "replay", "requests.csv", "--part", "ddr4-3200-8gb-x8", "-q"], "500"
        )

    yield "source archive and wheel are built", build
    yield "the wheel holds the packages", compare_wheel
    yield "the source archive holds the rest", compare_archive
    yield "the wheel is installed", install
    yield "the packages are imported", place
    if not cold:
        yield "compiled functions", compiled
    yield pimsim("--version", wanted="pimsim ")
    yield pimsim("parts", wanted="lpddr5x-pim-8533")
    yield pimsim("systems", wanted="exynos2400")
    yield pimsim("methods", wanted="double-buffering")
    yield pimsim("trace", "--model", "llama-3.2-1b", "--prompt", "8", wanted="1,235,814,400 parameters")
    yield pimsim("doctor", "-q", wanted="4 of 4 tests pass")
    yield "pimsim replay", requests
    for method in ("double-buffering", "facil"):
        words = ("run", "--model", "llama-3.2-1b", "--method", method, "--prompt", "16", "--tokens", "2")
        yield pimsim(*words, "-q", "--out", method, wanted="time to first token")
    yield pimsim("compare", "facil", "double-buffering", wanted="takes longer")
    yield pimsim("timeline", "facil", "--out", "facil.json.gz", "-q", wanted="Written to")
    yield pimsim("sweep", "--paths", wanted="memory.dram.timings.RCD")
    yield pimsim("reproduce", wanted="pim-sherpa")
    yield pimsim("reproduce", "pim-sherpa", "capacity", "-q", "--out", "ps", wanted="6 of 6 checks hold")
    # What needs more than the wheel says so.
    yield pimsim("report", "facil", "--out", "page.html", wanted="pip install 'pimsim[page]'", code=2)
    yield pimsim("reproduce", "face", "real-faces", wanted="pip install 'pimsim[vision]'", code=2)
    yield pimsim("validate", "dram", wanted="--reference DIR", code=2)


if __name__ == "__main__":
    sys.exit(main())
