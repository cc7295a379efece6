"""Starts a Chromium with its own profile that outlives the program that started it."""

from __future__ import annotations

import asyncio
import atexit
import fcntl
import hashlib
import os
import re
import shutil
import signal
import subprocess
import time
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path

from sessions_app.browsers import surroundings
from sessions_app.browsers.profile_lock import clear_foreign_lock
from sessions_app.exceptions import SessionException
from sessions_app.session.endpoint import mask_endpoints

PROGRAMS = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable")
MACOS_PROGRAMS = (
    "/Applications/Chromium.app/Contents/MacOS/Chromium",
    "/Applications/Google Chrome.app/Contents/MacOS/Google Chrome",
)
START_SECONDS = 30.0
POLL_SECONDS = 0.02
PORT_FILE = "DevToolsActivePort"
LOG_FILE = "raptor-browser.log"
LOCK_FILE = "raptor-browser.lock"
ARGUMENTS = (
    "--remote-debugging-port=0",
    "--no-first-run",
    "--no-default-browser-check",
    "--disable-search-engine-choice-screen",
    "--disable-background-networking",
    # Otherwise a headless browser asks for the keys of the desktop's keyring.
    "--password-store=basic",
    "--use-mock-keychain",
)
# Lines of Chromium's log that explain why it does not start; other lines, also later ones, are noise.
_REASON = re.compile(
    r"(?i)profile appears to be in use|another computer|shared librar|no usable sandbox|without --no-sandbox"
    r"|missing x server|cannot open display|platform failed to initialize|read-only file system"
    r"|no space left|permission denied|cannot create|fatal"
)
_LOG_PREFIX = re.compile(r"^\[[^]]*:(?:ERROR|FATAL|WARNING)[^]]*\] ?")

# Polled at each start, so that ended browsers do not stay as zombies.
_started: list[subprocess.Popen[bytes]] = []


@atexit.register
def _let_go() -> None:
    """Mark the browsers as ended: Python would warn at its exit that they outlive it, which is intended."""
    for process in _started:
        process.returncode = process.poll() or 0


@dataclass(frozen=True)
class OpenChromium:
    """A Chromium that listens.

    Args:
        pid: Process id if this program started it, otherwise None.
    """

    cdp_url: str = field(repr=False)
    pid: int | None

    def take_back(self) -> None:
        """Kill the browser and its helpers if this program started it."""
        if self.pid is not None:
            with suppress(ProcessLookupError):
                os.killpg(self.pid, signal.SIGKILL)


def system_programs() -> Iterator[str]:
    """Yield the paths of installed Chromiums, the preferred first."""
    yield from filter(None, map(shutil.which, PROGRAMS))
    yield from (path for path in MACOS_PROGRAMS if Path(path).exists())


def profile_of(profiles_dir: Path, namespace: str, name: str) -> Path:
    """Return the profile folder of a session: stable, and safe for any name."""
    digest = hashlib.sha256(f"{namespace}\0{name}".encode()).hexdigest()[:16]
    readable = re.sub(r"[^A-Za-z0-9_-]+", "-", name)[:40].strip("-")
    return profiles_dir / f"{readable}-{digest}".lstrip("-")


@asynccontextmanager
async def locked(profile_dir: Path) -> AsyncIterator[None]:
    """Let one program at a time launch a browser with a profile; the others wait and find it running."""
    profile_dir.mkdir(mode=0o700, parents=True, exist_ok=True)
    with (profile_dir / LOCK_FILE).open("w") as lock:
        while True:
            with suppress(BlockingIOError):
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
                break
            await asyncio.sleep(POLL_SECONDS)
        yield


def _command(program: str, profile_dir: Path, *, headless: bool) -> list[str]:
    command = [program, *ARGUMENTS, f"--user-data-dir={profile_dir}"]
    if headless:
        command.append("--headless=new")
    if os.geteuid() == 0:
        # Chromium's sandbox does not start as root.
        command.append("--no-sandbox")
    if surroundings.has_small_shared_memory():
        # Otherwise tabs crash in containers.
        command.append("--disable-dev-shm-usage")
    return [*command, "about:blank"]


def start(program: str, profile_dir: Path, *, headless: bool, session: str = "") -> OpenChromium:
    """Start a Chromium in its own process group, and wait until it listens.

    It keeps running when this program ends. The caller holds the lock of the profile; see ``locked``.

    Args:
        session: Value of ``RAPTOR_SESSION`` in its environment.
    Raises: SessionException: it ends, or does not listen in time; the message quotes its log.
    """
    profile_dir = profile_dir.absolute()
    profile_dir.mkdir(mode=0o700, parents=True, exist_ok=True)
    # Remove the stale port file of a killed browser.
    (profile_dir / PORT_FILE).unlink(missing_ok=True)
    clear_foreign_lock(profile_dir)
    process = _spawn(_command(program, profile_dir, headless=headless), profile_dir, session)
    until = time.monotonic() + START_SECONDS
    while time.monotonic() < until:
        if (endpoint := read_endpoint(profile_dir)) is not None:
            return OpenChromium(endpoint, process.pid)
        if process.poll() is not None:
            raise SessionException(
                f"Chromium ended at once. {_reason(profile_dir)}"
                + ("" if headless else " On a machine without a screen, start it with headless.")
            )
        time.sleep(POLL_SECONDS)
    os.killpg(process.pid, signal.SIGKILL)
    raise SessionException(f"Chromium did not listen within {START_SECONDS:g} s. {_reason(profile_dir)}")


def _spawn(command: list[str], profile_dir: Path, session: str) -> subprocess.Popen[bytes]:
    _started[:] = [earlier for earlier in _started if earlier.poll() is None]
    with (profile_dir / LOG_FILE).open("wb") as log:
        try:
            process = subprocess.Popen(
                command,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                cwd=profile_dir,
                env=surroundings.environment(os.environ, profile_dir, session),
                start_new_session=True,
            )
        except OSError as error:
            raise SessionException(f"{command[0]} cannot be started: {error.strerror}.") from None
    _started.append(process)
    return process


def read_endpoint(profile_dir: Path) -> str | None:
    """Return the endpoint that a browser wrote into its profile, or None."""
    with suppress(OSError, ValueError):
        port, path = (profile_dir / PORT_FILE).read_text("ascii").split()
        return f"ws://127.0.0.1:{int(port)}{path}"
    return None


def _reason(profile_dir: Path) -> str:
    """Return the lines of a browser's log that explain its end, otherwise the last one, and its path."""
    log_file = profile_dir / LOG_FILE
    text = log_file.read_text(errors="replace")
    lines = [_LOG_PREFIX.sub("", line).strip() for line in text.splitlines() if line.strip()]
    if not lines:
        return "Its log is empty."
    reasons = [line for line in lines if _REASON.search(line)][:2]
    quoted = " ".join(reasons) if reasons else lines[-1]
    return mask_endpoints(f"Its log says: {quoted[:500]} The whole log is {log_file}.")
