"""Decides which machine probes a session, and which sessions are probed next."""

from __future__ import annotations

from collections.abc import Collection, Iterator
from datetime import datetime
from functools import partial
from itertools import islice
from typing import NamedTuple

from django.conf import settings
from django.db.models import Exists, Max, OuterRef, QuerySet

from sessions_app.models import BrowserSession, Machine, Probe
from sessions_app.session.endpoint import Endpoint, is_loopback_host
from sessions_app.transactions import retry_when_busy

ANY_MACHINE = ""
ENROLLED_AT_ONCE = 2_000
PAGE_SIZE = 500


class Target(NamedTuple):
    """A session to probe. ``machine`` is None if no machine can probe it."""

    pk: int
    cdp_url: str
    browser_type: str
    machine: str | None

    @property
    def is_ours(self) -> bool:
        """Whether this machine probes the session. Any machine records that a machine is unknown."""
        return self.machine in (None, ANY_MACHINE, settings.RAPTOR_MACHINE)


_COLUMNS = ("pk", "content__cdp_url", "browser_type", "machine", "directory__machine")


def announced_machines() -> tuple[str, ...]:
    """Return the machines whose workers have announced themselves; only this machine if none has."""
    return tuple(Machine.objects.order_by("name").values_list("name", flat=True)) or (
        settings.RAPTOR_MACHINE,
    )


def unnamed_machines() -> tuple[str, ...]:
    """Return the machines that a task without a machine name serves.

    This machine is included until its worker has announced it.
    """
    is_known = Machine.objects.filter(name=settings.RAPTOR_MACHINE).exists()
    return (ANY_MACHINE,) if is_known else (ANY_MACHINE, settings.RAPTOR_MACHINE)


def machine_of(
    cdp_url: str, *, directory_machine: str | None, claimed: str | None, announced: Collection[str]
) -> str | None:
    """Return the machine whose worker probes a session; ``ANY_MACHINE`` if every worker can.

    Args:
        directory_machine: Machine of the session directory.
        claimed: Machine on which ``SessionManager`` saved the session; ignored unless a worker announced it.
    Returns: None if no worker can probe the session, because its machine has no worker, or because the
        endpoint is a loopback address and there are several machines.
    """
    if directory_machine:
        return directory_machine if directory_machine in announced else None
    if claimed and claimed in announced:
        return claimed
    if not is_loopback_host(Endpoint.parse(cdp_url).host):
        return ANY_MACHINE
    if claimed:
        # Do not probe here: on this machine, the port may belong to another program.
        return None
    return next(iter(announced)) if len(announced) == 1 else None


def targets(sessions: QuerySet[BrowserSession], announced: Collection[str]) -> Iterator[Target]:
    """Yield sessions with the machines that probe them."""
    for pk, endpoint, browser_type, claimed, directory_machine in sessions.values_list(*_COLUMNS):
        # A row that was written by SQL may have no document.
        cdp_url = endpoint or ""
        machine = machine_of(
            cdp_url, directory_machine=directory_machine, claimed=claimed, announced=announced
        )
        yield Target(pk, cdp_url, browser_type, machine)


def enrol_sessions(now: datetime, *, is_complete: bool = False) -> int:
    """Schedule the first probe of new sessions for now; return the number of these sessions.

    Args:
        is_complete: Examine all sessions, including restored ones, instead of only the newest.
    """
    announced = announced_machines()
    new = BrowserSession.objects.order_by("pk")
    if is_complete:
        # An index alone answers this query.
        new = new.filter(~Exists(Probe.objects.filter(session=OuterRef("pk"))))
    elif (last := Probe.objects.aggregate(last=Max("session"))["last"]) is not None:
        new = new.filter(pk__gt=last)
    found = list(targets(new[:ENROLLED_AT_ONCE], announced))
    rows = [Probe(session_id=one.pk, machine=one.machine or ANY_MACHINE, due_at=now) for one in found]
    retry_when_busy(lambda: Probe.objects.bulk_create(rows, ignore_conflicts=True))
    return len(rows)


def reassign_forgotten() -> None:
    """Let any worker probe the sessions of machines that are no longer announced."""
    lost = Probe.objects.exclude(machine__in=(*announced_machines(), ANY_MACHINE))
    if lost.exists():
        retry_when_busy(lambda: lost.update(machine=ANY_MACHINE))


def due_targets(machine: str, now: datetime, *, limit: int) -> Iterator[Target]:
    """Yield the sessions that are due on a machine, the longest overdue first.

    Delete the probes of removed sessions, and hand sessions of another machine over to that machine.
    """
    due = Probe.objects.filter(machine=machine, due_at__lte=now).order_by("due_at", "session_id")
    waiting = iter(list(due.values_list("pk", flat=True)[:limit]))
    announced = announced_machines()
    while page := list(islice(waiting, PAGE_SIZE)):
        found = {one.pk: one for one in targets(BrowserSession.objects.filter(pk__in=page), announced)}
        removed = Probe.objects.filter(pk__in=[pk for pk in page if pk not in found])
        retry_when_busy(removed.delete)
        _hand_over(found.values(), machine, now)
        yield from (found[pk] for pk in page if pk in found and found[pk].machine in (machine, None))


def _hand_over(found: Collection[Target], machine: str, now: datetime) -> None:
    for other in {one.machine for one in found} - {machine, None}:
        moved = Probe.objects.filter(pk__in=[one.pk for one in found if one.machine == other])
        retry_when_busy(partial(moved.update, machine=other, due_at=now))
