"""Ends groups of processes for certain. Standard library only: the watchdog runs without the environment."""

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
    """Ask the leader of each group to stop, then kill what is left of the groups.

    Only leaders are asked: a SIGTERM to the whole group of a qcluster makes it hang (8 of 8 tries).

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
    """Kill every process of a group; one that is gone already is no error."""
    with suppress(ProcessLookupError, PermissionError):
        os.killpg(group, signal.SIGKILL)


def is_running(group: int) -> bool:
    """Whether a group has a process that can be signalled."""
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
