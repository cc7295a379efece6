"""Ends process groups reliably. It imports only the standard library, because the watchdog must start without
the virtual environment."""

import os
import signal
import time
from collections.abc import Callable, Iterable
from contextlib import suppress

POLL_SECONDS = 0.05
KILL_WAIT_SECONDS = 0.5


def end_groups(
    leaders: Iterable[int], *, grace_seconds: float, reap: Callable[[], object] = lambda: None
) -> None:
    """Send SIGTERM to the leader of each group, then kill what remains of the groups.

    Only leaders get SIGTERM: a qcluster whose whole group gets it hangs (8 of 8 tries).

    Args:
        leaders: Process ids that are also the ids of their groups.
        reap: Collects ended children, which would otherwise count as running.
    """
    groups = list(leaders)
    for leader in groups:
        with suppress(ProcessLookupError, PermissionError):
            os.kill(leader, signal.SIGTERM)
    _wait(groups, grace_seconds, reap)
    for group in groups:
        kill_group(group)
    _wait(groups, KILL_WAIT_SECONDS, reap)


def kill_group(group: int) -> None:
    """Kill every process of a group; ignore a group that no longer exists."""
    with suppress(ProcessLookupError, PermissionError):
        os.killpg(group, signal.SIGKILL)


def is_running(group: int) -> bool:
    """Return whether a group has a process that can be signaled."""
    try:
        os.killpg(group, 0)
    except (ProcessLookupError, PermissionError):  # macOS answers EPERM for a group of zombies
        return False
    return True


def _wait(groups: list[int], seconds: float, reap: Callable[[], object]) -> None:
    deadline = time.monotonic() + seconds
    reap()
    while any(map(is_running, groups)) and time.monotonic() < deadline:
        time.sleep(POLL_SECONDS)
        reap()
