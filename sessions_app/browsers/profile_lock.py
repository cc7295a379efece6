"""Reads the lock that Chromium keeps in a profile: a symbolic link to ``HOST-PID``."""

from __future__ import annotations

import os
import platform
import signal
import subprocess
import time
from contextlib import suppress
from pathlib import Path

LOCK = "SingletonLock"
_FILES = (LOCK, "SingletonSocket", "SingletonCookie")
POLL_SECONDS = 0.02


def clear_foreign_lock(profile_dir: Path) -> None:
    """Remove a lock that was made under another host name, for example in an earlier container.

    Chromium would refuse the profile forever. The caller holds the panel's own lock of the profile.
    """
    host, _ = _read(profile_dir)
    if host and host != platform.node():
        for name in _FILES:
            (profile_dir / name).unlink(missing_ok=True)


def browser_of(profile_dir: Path) -> int | None:
    """Return the process of the browser that uses a profile on this machine, or None."""
    host, pid = _read(profile_dir)
    if host != platform.node() or not pid:
        return None
    # Process ids are used again: only a command line with this profile proves that it is the browser.
    return pid if f"--user-data-dir={profile_dir} " in f"{_command_line(pid)} " else None


def end_browser(profile_dir: Path, *, seconds: float) -> bool:
    """Kill the browser that uses a profile, and its helpers; return whether it has ended."""
    pid = browser_of(profile_dir)
    if pid is None:
        return True
    # Processes of another user cannot be killed.
    with suppress(ProcessLookupError, PermissionError):
        # A browser of ``launcher.start`` leads its process group.
        if os.getpgid(pid) == pid:
            os.killpg(pid, signal.SIGKILL)
        else:
            os.kill(pid, signal.SIGKILL)
    return wait_until_unused(profile_dir, seconds=seconds)


def wait_until_unused(profile_dir: Path, *, seconds: float) -> bool:
    """Wait until no browser uses a profile; return False if one still does."""
    until = time.monotonic() + seconds
    while browser_of(profile_dir) is not None:
        if time.monotonic() > until:
            return False
        time.sleep(POLL_SECONDS)
    return True


def _read(profile_dir: Path) -> tuple[str, int]:
    with suppress(OSError, ValueError):
        host, _, pid = str((profile_dir / LOCK).readlink()).rpartition("-")
        return host, int(pid)
    return "", 0


def _command_line(pid: int) -> str:
    """Return the command line of a process; blank if there is none, or if it has ended."""
    if Path("/proc/self").exists():
        with suppress(OSError):
            return Path(f"/proc/{pid}/cmdline").read_bytes().replace(b"\0", b" ").decode(errors="replace")
        return ""
    listed = subprocess.run(
        ["/bin/ps", "-ww", "-o", "args=", "-p", str(pid)], capture_output=True, text=True, check=False
    )
    return listed.stdout
