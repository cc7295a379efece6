"""Find a Chromium for the tests, or install one: ``python -m tests.browser``."""

import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from functools import cache
from pathlib import Path

from sessions_app.browsers.launcher import system_programs

DOWNLOAD_SECONDS = 600


def find_chromium() -> str | None:
    """Return the path of a Chromium that runs: from RAPTOR_CHROMIUM, the system or Playwright."""
    return next((path for path in _candidates() if _runs(path)), None)


@cache
def chromium_of_tests() -> str | None:
    """Find the Chromium once, because each start of it takes a quarter of a second."""
    return find_chromium()


def ensure_chromium() -> str | None:
    """Return the path of a Chromium; install one if none is found."""
    # Debian's package depends on libraries that Playwright's download needs and does not include.
    return find_chromium() or _download() or _install_debian_package()


def _candidates() -> Iterator[str]:
    if chosen := os.environ.get("RAPTOR_CHROMIUM"):
        yield chosen
    yield from system_programs()
    from playwright.sync_api import sync_playwright

    with sync_playwright() as playwright:
        path = playwright.chromium.executable_path
    yield path


def _runs(path: str) -> bool:
    # A Chromium with missing libraries fails even to print its version.
    try:
        subprocess.run([path, "--version"], check=True, capture_output=True, timeout=60)
    except (OSError, subprocess.SubprocessError):
        return False
    return True


def _download() -> str | None:
    print("No Chromium found: trying Playwright's download.", flush=True)
    command = [sys.executable, "-m", "playwright", "install", "chromium"]
    environment = {"PLAYWRIGHT_DOWNLOAD_CONNECTION_TIMEOUT": "20000", **os.environ}
    try:
        subprocess.run(command, check=True, timeout=DOWNLOAD_SECONDS, env=environment)
    except subprocess.SubprocessError:
        return None
    return find_chromium()


def _install_debian_package() -> str | None:
    if os.geteuid() != 0 or shutil.which("apt-get") is None or not Path("/etc/debian_version").exists():
        return None
    print("Installing Debian's package chromium.", flush=True)
    environment = {**os.environ, "DEBIAN_FRONTEND": "noninteractive"}
    try:
        subprocess.run(["apt-get", "update", "-qq"], check=True, env=environment)
        subprocess.run(["apt-get", "install", "-y", "-qq", "chromium"], check=True, env=environment)
    except subprocess.SubprocessError:
        return None
    return find_chromium()


if __name__ == "__main__":
    if found := ensure_chromium():
        print(f"Browser: {found}")
    else:
        sys.exit(
            "error: no Chromium. Install the package chromium, or name one in RAPTOR_CHROMIUM,"
            " or run .venv/bin/python -m playwright install --with-deps chromium."
        )
