"""Probes and closes browsers on other machines, through tasks for the workers of those machines."""

from __future__ import annotations

import time
from collections.abc import Collection, Sequence
from datetime import timedelta

from sessions_app.browsers.probe import Liveness
from sessions_app.cleanup.closings import Closing
from sessions_app.deadline import Deadline
from sessions_app.liveness.due import ANY_MACHINE, Target
from sessions_app.liveness.record import digest_of
from sessions_app.liveness.saved import SavedBrowser
from sessions_app.models import DatabaseClock, Probe, QueuedTask, SessionEvent
from sessions_app.models.clock import database_now
from sessions_app.queue.enqueue import Task
from sessions_app.queue.machines import heard_machines
from sessions_app.queue.outbox import enqueue
from sessions_app.transactions import retry_when_busy

WAIT = timedelta(seconds=60)
"""Time limit for the worker of another machine; its task does nothing afterwards."""
POLL_SECONDS = 0.25

_Code = SessionEvent.Code


def probe_by_worker(targets: Collection[Target]) -> None:
    """Make sessions due for a probe now, and queue a task for the worker of each of their machines."""
    rows = Probe.objects.filter(pk__in=[one.pk for one in targets])
    retry_when_busy(lambda: rows.update(due_at=database_now()))
    for machine in {one.machine or ANY_MACHINE for one in targets}:
        enqueue(Task.PROBE_SESSIONS, *filter(None, (machine,)), machine=machine)


class ClosingElsewhere:
    """A request to the workers of other machines to close browsers; ``closings`` waits for the results.

    Args:
        confirmed: Keys of the sessions whose browsers are closed even if a client is connected to them.
    """

    def __init__(
        self, browsers: Sequence[SavedBrowser], *, actor: str, confirmed: Collection[int] = ()
    ) -> None:
        self._browsers, self._actor = browsers, actor
        self._requested_at = database_now()
        self._until = Deadline.after(WAIT.total_seconds())
        self._tasks = self._queue(confirmed) if browsers else []

    def closings(self, deadline: Deadline) -> list[Closing]:
        """Wait for the results and return them. A browser without a clear result counts as running."""
        if not self._browsers:
            return []
        while self._is_waiting() and not (self._until.has_passed or deadline.has_passed):
            time.sleep(POLL_SECONDS)
        self._cancel()
        tasks = QueuedTask.objects.filter(pk__in=self._tasks, has_failed=False)
        answered = set(tasks.exclude(finished_at=None).values_list("machine", flat=True))
        events = [
            SessionEvent(session_key=one.pk, code=_Code.KEPT, actor=self._actor, details=_unanswered(one))
            for one in self._browsers
            if one.machine not in answered
        ]
        retry_when_busy(lambda: SessionEvent.objects.bulk_create(events))
        return self._results(answered)

    def _queue(self, confirmed: Collection[int]) -> list[int]:
        """Queue a task for each machine with a current heartbeat; return the primary keys of the tasks."""
        heard = heard_machines(self._requested_at)
        expires_at = (self._requested_at + WAIT).isoformat()
        tasks = []
        for machine in heard.values_list("name", flat=True):
            # The digest pins the endpoint: a session that is saved again has another browser.
            requested = [
                [one.pk, digest_of(one.cdp_url), one.pk in confirmed]
                for one in self._browsers
                if one.machine == machine
            ]
            arguments = (requested, self._actor, expires_at)
            if requested and (task := enqueue(Task.CLOSE_BROWSERS, *arguments, machine=machine)):
                tasks.append(task.pk)
        return tasks

    def _is_waiting(self) -> bool:
        return QueuedTask.objects.filter(pk__in=self._tasks, finished_at=None).exists()

    def _cancel(self) -> None:
        late = QueuedTask.objects.filter(pk__in=self._tasks, finished_at=None, started_at=None)
        message = "The task was not started in time."
        retry_when_busy(lambda: late.update(finished_at=DatabaseClock(), has_failed=True, message=message))

    def _results(self, answered: Collection[str]) -> list[Closing]:
        keys = [one.pk for one in self._browsers if one.machine in answered]
        codes = (_Code.CLOSED, _Code.KEPT)
        recorded = SessionEvent.objects.filter(
            session_key__in=keys, at__gte=self._requested_at, code__in=codes
        )
        events = {event.session_key: event for event in recorded.order_by("id")}
        probes = Probe.objects.filter(probed_at__gte=self._requested_at).in_bulk(keys)
        closings = []
        for one in self._browsers:
            if one.machine not in answered:
                closings.append(Closing(one.pk, _unanswered(one)))
            elif event := events.get(one.pk):
                closings.append(Closing(one.pk, event.details, True, event.freed_bytes or 0))
            elif one.pk not in probes or probes[one.pk].result == Liveness.ALIVE:
                closings.append(Closing(one.pk, "Its browser was not closed."))
            else:
                closings.append(Closing(one.pk))
        return closings


def _unanswered(browser: SavedBrowser) -> str:
    if browser.machine is None:
        return "Its machine is unknown, so its browser was not contacted."
    return f"The worker of the machine {browser.machine} did not answer in time."
