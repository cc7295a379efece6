"""Ends process groups reliably, also after the supervisor that started them was killed."""

import os
import signal
import threading
import time
from collections.abc import Callable, Iterable
from contextlib import suppress

SUPERVISOR_VARIABLE = "SUPERVISOR_PID"
"""Set by the supervisor for the programs that it starts."""
SUPERVISOR_CHECK_SECONDS = 1.0
ORPHAN_GRACE_SECONDS = 3.0
POLL_SECONDS = 0.05
KILL_WAIT_SECONDS = 0.5


def end_groups(
    leaders: Iterable[int], *, grace_seconds: float, reap: Callable[[], object] = lambda: None
) -> None:
    """Send SIGTERM to the leader of each group, then kill what remains of the groups.

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


def end_with_supervisor() -> None:
    """Start a thread that ends this program and its group when its supervisor ends, if it has one.

    Unlike the parent death signal of Linux, this also works on macOS.
    """
    # Programs that this one starts have another parent.
    supervisor = os.environ.pop(SUPERVISOR_VARIABLE, "")
    if supervisor:
        threading.Thread(target=_end_after, args=(int(supervisor),), daemon=True).start()


def is_running(group: int) -> bool:
    """Return whether a group has a process that can be signaled."""
    try:
        os.killpg(group, 0)
    except (ProcessLookupError, PermissionError):  # macOS answers EPERM for a group of zombies
        return False
    return True


def _end_after(supervisor: int) -> None:
    while os.getppid() == supervisor:
        time.sleep(SUPERVISOR_CHECK_SECONDS)
    os.kill(os.getpid(), signal.SIGTERM)
    time.sleep(ORPHAN_GRACE_SECONDS)
    os.killpg(0, signal.SIGKILL)


def _wait(groups: list[int], seconds: float, reap: Callable[[], object]) -> None:
    deadline = time.monotonic() + seconds
    reap()
    while any(map(is_running, groups)) and time.monotonic() < deadline:
        time.sleep(POLL_SECONDS)
        reap()
