"""Machines with a running worker, according to the heartbeats that workers store."""

from __future__ import annotations

from collections.abc import Iterable
from datetime import datetime, timedelta

from django.db.models import Q, QuerySet

from sessions_app.models import Machine
from sessions_app.queue.start import is_panel_starting

SILENT_AFTER = timedelta(seconds=75)
"""Time after which a machine without a heartbeat is silent. Workers send two heartbeats a minute."""
ADOPTED_AFTER = timedelta(minutes=10)
"""Time without a heartbeat after which other machines may adopt the machine's folders, and its tasks fail."""


def is_silent(machine: Machine, now: datetime) -> bool:
    """Check whether a machine has no running worker."""
    return machine.heartbeat_at < now - SILENT_AFTER


def heard_machines(now: datetime, *, within: timedelta = SILENT_AFTER) -> QuerySet[Machine]:
    """Return the machines with a recent heartbeat."""
    return Machine.objects.filter(heartbeat_at__gte=now - within)


def are_all_new(machines: Iterable[Machine], now: datetime, *, since: datetime) -> bool:
    """Check whether all running workers started after an instant, so that earlier tasks may still wait.

    If no worker runs, check whether the panel has just started, so that its worker may still be starting.
    """
    started = [machine.started_at for machine in machines if not is_silent(machine, now)]
    return min(started) > since if started else is_panel_starting()


def may_start(now: datetime, *, within: timedelta = SILENT_AFTER) -> Q:
    """Match tasks for any machine, and tasks for machines with a recent heartbeat."""
    return Q(machine="") | Q(machine__in=heard_machines(now, within=within).values("name"))
