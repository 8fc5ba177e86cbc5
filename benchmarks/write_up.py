"""What the benchmark scripts end with: `--out`, the file of results, the same on the screen."""

from __future__ import annotations

import argparse
from collections.abc import Callable
from pathlib import Path


def write_up(report: Callable[[], str], description: str | None, name: str) -> None:
    """Write the Markdown of `report` to `--out`, by default a file of this name beside the scripts."""
    options = argparse.ArgumentParser(description=description)
    options.add_argument("--out", type=Path, default=Path(__file__).with_name(name))
    given = options.parse_args()
    text = report()
    given.out.write_text(text, encoding="utf-8")
    print(text)
