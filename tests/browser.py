"""A headless Chromium for tests and screenshots, without any network of its own."""

from __future__ import annotations

import shutil
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

ARGUMENTS = (
    "--headless=new", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run",
    "--hide-scrollbars",
    "--disable-background-networking", "--disable-component-update", "--disable-sync",
    "--disable-dev-shm-usage", "--force-color-profile=srgb",
)  # fmt: skip


def available() -> bool:
    try:
        import selenium  # noqa: F401
    except ImportError:
        return False
    return bool(shutil.which("chromium") and shutil.which("chromedriver"))


@contextmanager
def chromium(width: int = 1240, height: int = 1000) -> Iterator[Any]:
    """A browser that records its console and every request of its pages."""
    from selenium import webdriver
    from selenium.webdriver.chrome.options import Options
    from selenium.webdriver.chrome.service import Service

    with tempfile.TemporaryDirectory() as profile:
        options = Options()
        options.binary_location = shutil.which("chromium") or ""
        for argument in (*ARGUMENTS, f"--window-size={width},{height}", f"--user-data-dir={profile}"):
            options.add_argument(argument)
        options.set_capability("goog:loggingPrefs", {"browser": "ALL", "performance": "ALL"})
        driver = webdriver.Chrome(options=options, service=Service(shutil.which("chromedriver")))
        try:
            yield driver
        finally:
            driver.quit()


def opened(driver: Any, path: Path, limit_s: float = 60) -> int:
    """Open a page of pimsim and wait until its charts are drawn; returns how many there are."""
    driver.get(path.resolve().as_uri())
    end = time.monotonic() + limit_s
    while time.monotonic() < end:
        drawn = driver.execute_script("return document.documentElement.dataset.drawn")
        if drawn:
            return int(drawn)
        time.sleep(0.1)
    raise TimeoutError(f"{path}: not drawn; console: {driver.get_log('browser')}")


def whole(driver: Any, path: Path, width: int = 1240) -> None:
    """A screenshot of all of the page."""
    driver.set_window_size(width, 1000)
    height = driver.execute_script("return document.documentElement.scrollHeight")
    driver.set_window_size(width, min(int(height) + 150, 16000))
    time.sleep(0.5)
    driver.save_screenshot(str(path))
