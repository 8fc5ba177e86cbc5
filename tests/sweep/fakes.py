"""Points that cost nothing, for tests of everything around them; workers import them from here."""

import os
import signal
import time
from pathlib import Path


def plain(settings):
    """A few numbers that follow from x and y."""
    x, y = settings.get("x", 0), settings.get("y", 0)
    return {"sum_s": x + y / 3, "product_bytes": x * y, "name": f"{x}/{y}"}


def slow(settings):
    """As `plain`, but takes a while."""
    time.sleep(settings.get("seconds", 0.02))
    return plain(settings)


def counted(settings):
    """As `plain`; leaves a file for each time it was run in the folder that it is given."""
    Path(settings["folder"], f"{settings['x']}-{os.getpid()}-{time.monotonic_ns()}").touch()
    return plain(settings)


def fails(settings):
    """Some points raise."""
    if settings["x"] % 3 == 1:
        raise ValueError(f"x={settings['x']} is one more than a multiple of three")
    return plain(settings)


def deadly(settings):
    """The point x = 3 ends its process."""
    if settings["x"] == 3:
        os.kill(os.getpid(), signal.SIGKILL)
    return plain(settings)


def deadly_once(settings):
    """The point x = 3 ends its process the first time."""
    mark = Path(settings["folder"], "died")
    if settings["x"] == 3 and not mark.exists():
        mark.touch()
        os.kill(os.getpid(), signal.SIGKILL)
    return plain(settings)


def hungry(settings):
    """The point x = 2 takes 4 GB."""
    if settings["x"] == 2:
        bytearray(4 * 10**9)
    return plain(settings)


def endless(settings):
    """The point x = 1 sleeps for a minute."""
    if settings["x"] == 1:
        time.sleep(60)
    return plain(settings)


def not_finite(settings):
    """A result that no store may hold."""
    return {"sum_s": float("nan")}
