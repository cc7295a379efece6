"""The note in an empty list of sessions while new directories have not been synced yet."""

from __future__ import annotations

from typing import Any

from sessions_app.access.visibility import visible
from sessions_app.models import SessionDirectory
from sessions_app.models.clock import database_now
from sessions_app.queue.machines import heard_machines
from sessions_app.text import count_of


def describe_first_sync(user: Any) -> str:
    """Describe the first sync of new directories, which is running or will begin; blank for none."""
    awaited = visible(user, SessionDirectory.objects.mirrored().filter(synced_at=None))
    rows = list(awaited.values_list("machine", "claimed_at"))
    if not rows:
        return ""
    what = f"The first sync of {count_of(len(rows), 'session directory', 'session directories')}"
    if any(claimed_at for _, claimed_at in rows):
        return f"{what} is running."
    machines = {machine for machine, _ in rows}
    alive = set(heard_machines(database_now()).values_list("name", flat=True))
    if not alive:
        return f"{what} begins when a worker is running. No worker is running now."
    if "" not in machines and alive.isdisjoint(machines):
        return f"{what} begins when the worker of {' or '.join(sorted(machines))} is running."
    return f"{what} begins within a minute."
