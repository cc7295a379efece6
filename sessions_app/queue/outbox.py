"""The tasks of the panel, stored until they have finished, so that the queue can lose nothing.

A row is committed together with what it serves, and its message is sent after the commit. The tick sends the
message again if the queue lost it, if it could not be reached, or if the worker that had the task died.
"""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import datetime, timedelta
from itertools import takewhile
from typing import Any

from django.db import Error as DatabaseFailure
from django.db import IntegrityError, connections, transaction
from django.db.models import F, Q, QuerySet

from sessions_app.models import DatabaseClock, QueuedTask
from sessions_app.models.clock import database_now
from sessions_app.queue.broker import is_empty
from sessions_app.queue.enqueue import QueueUnreachable, Task, send
from sessions_app.queue.machines import ADOPTED_AFTER, may_start
from sessions_app.transactions import retried_when_busy, retry_when_busy

HEARTBEAT_SECONDS = 10.0
LOST_AFTER = timedelta(seconds=45)
"""Age of the heartbeat of a task whose worker has died."""
SEND_AGAIN_AFTER = timedelta(minutes=1)
"""Age of a message that the queue no longer has and no worker has started."""
SENT_AT_ONCE = 1_000
MAX_ATTEMPTS = 5
"""A task that lost its worker this often is not started again."""
MESSAGE_LENGTH = 10_000
KEPT_RESULTS = 100
"""Results kept of each task, and as many failures."""

logger = logging.getLogger(__name__)


def enqueue(
    task: Task, *arguments: Any, machine: str = "", due_at: datetime | None = None
) -> QueuedTask | None:
    """Store a task, and send it to the queue after the commit.

    A request for a task that is queued already joins it. If the task is running, it runs once more after it.

    Args:
        machine: The only machine whose workers may run it; blank for any.
        due_at: For a job of the schedule, the instant at which it was due. It is queued once for each.
    Returns: The new row, or None. Its ``sent_at`` stays None if the queue could not be reached.
    """
    values = {"task": task.value, "arguments": list(arguments), "machine": machine}
    row = retry_when_busy(lambda: _store(values, due_at))
    if row is not None:
        transaction.on_commit(lambda: _send(row))
    return row


def perform(pk: int, work: Callable[[], str]) -> str:
    """Run a task that was delivered, unless it was started already, and store its result.

    Args:
        work: Returns the result in a sentence. The message of its exception must contain no secrets.
    """
    if not _start(pk):
        return "It was started already."
    try:
        with _heartbeat(pk):
            message, has_failed = work(), False
    except Exception as error:
        message, has_failed = str(error), True
    except SystemExit:
        # The timeout of django-q2.
        _finish(pk, "It took too long and was stopped.", has_failed=True)
        raise
    _finish(pk, message, has_failed=has_failed)
    return message


def send_lost(now: datetime) -> list[QueuedTask]:
    """Send the messages of lost tasks again, and return these tasks.

    Tasks fail if no worker is left that could start them.
    """
    unfinished = QueuedTask.objects.filter(finished_at=None)
    stalled = unfinished.filter(heartbeat_at__lt=now - LOST_AFTER)
    _give_up(
        stalled.filter(attempt__gte=MAX_ATTEMPTS),
        f"The worker ended {MAX_ATTEMPTS} times while the task ran.",
    )
    _give_up(unfinished.exclude(task__in=list(Task)), "This version of the panel does not know the task.")
    retry_when_busy(lambda: stalled.update(started_at=None, heartbeat_at=None, sent_at=None))
    waiting = unfinished.filter(started_at=None)
    _give_up(
        waiting.filter(queued_at__lt=now - ADOPTED_AFTER).exclude(may_start(now, within=ADOPTED_AFTER)),
        f"Its machine has had no worker for {ADOPTED_AFTER.total_seconds() / 60:.0f} minutes.",
    )
    is_late = Q(sent_at=None) | Q(sent_at__lt=now - SEND_AGAIN_AFTER)
    late = list(waiting.filter(is_late, may_start(now)).order_by("pk")[:SENT_AT_ONCE])
    if late and not is_empty():
        # The messages may be behind others. Double the wait, so that they do not pile up.
        late = [row for row in late if row.sent_at is None or now - row.sent_at > row.sent_at - row.queued_at]
    return list(takewhile(_send, late))


def _give_up(tasks: QuerySet[QueuedTask], reason: str) -> None:
    result: dict[str, Any] = {"has_failed": True, "message": f"{reason} It is not started again."}
    retry_when_busy(lambda: tasks.update(finished_at=DatabaseClock(), **result))


def drop_old_results() -> None:
    """Delete the results of each task except the last ones, which the queue's page shows."""
    for task in Task:
        for has_failed in (False, True):
            results = QueuedTask.objects.filter(task=task.value, has_failed=has_failed)
            oldest = results.order_by("-pk").values_list("pk", flat=True)[KEPT_RESULTS : KEPT_RESULTS + 1]
            for pk in list(oldest):
                old = results.filter(pk__lte=pk).exclude(finished_at=None)
                retry_when_busy(old.delete)


def _store(values: dict[str, Any], due_at: datetime | None) -> QueuedTask | None:
    unfinished = QueuedTask.objects.filter(**values, finished_at=None)
    while True:
        try:
            with transaction.atomic():
                return QueuedTask.objects.create(**values, due_at=due_at)
        except IntegrityError:
            # No row is updated if the task has finished since; then store a new one.
            if due_at is not None or unfinished.update(is_requested_again=True):
                return None


def _send(row: QueuedTask) -> bool:
    """Send a task's message unless another process has; return False if the queue cannot be reached."""
    now = database_now()
    unsent = QueuedTask.objects.filter(pk=row.pk, sent_at=row.sent_at, started_at=None, finished_at=None)
    if not retry_when_busy(lambda: unsent.update(sent_at=now)):
        return True
    try:
        send(Task(row.task), *row.arguments, machine=row.machine, queued_task=row.pk)
    except QueueUnreachable as error:
        logger.error("Task %s is sent to the queue once it can be reached. %s", row.pk, error)
        retry_when_busy(lambda: QueuedTask.objects.filter(pk=row.pk).update(sent_at=None))
        return False
    row.sent_at = now
    return True


@retried_when_busy
def _start(pk: int) -> bool:
    """Mark a task as started; return False if another delivery of its message was faster."""
    waiting = QueuedTask.objects.filter(pk=pk, started_at=None, finished_at=None)
    changes: dict[str, Any] = {"started_at": DatabaseClock(), "heartbeat_at": DatabaseClock()}
    return waiting.update(**changes, attempt=F("attempt") + 1, is_requested_again=False) == 1


@retried_when_busy
def _finish(pk: int, message: str, *, has_failed: bool) -> None:
    with transaction.atomic():
        row = QueuedTask.objects.select_for_update().filter(pk=pk, finished_at=None).first()
        if row is None:
            return
        # PostgreSQL stores no NUL, and no database a part of a surrogate pair.
        text = message.encode("utf-8", "backslashreplace").decode().replace("\0", "")[:MESSAGE_LENGTH]
        result: dict[str, Any] = {"message": text, "has_failed": has_failed}
        QueuedTask.objects.filter(pk=pk).update(finished_at=DatabaseClock(), **result)
        if row.is_requested_again:
            enqueue(Task(row.task), *row.arguments, machine=row.machine)


@contextmanager
def _heartbeat(pk: int) -> Iterator[None]:
    """Update the heartbeat of a task from a thread while it runs."""
    has_ended = threading.Event()
    thread = threading.Thread(target=_beat, args=(pk, has_ended), daemon=True)
    thread.start()
    try:
        yield
    finally:
        has_ended.set()
        thread.join()


def _beat(pk: int, has_ended: threading.Event) -> None:
    while not has_ended.wait(HEARTBEAT_SECONDS):
        try:
            QueuedTask.objects.filter(pk=pk, finished_at=None).update(heartbeat_at=DatabaseClock())
        except DatabaseFailure as error:
            logger.info("The heartbeat of task %s is late: %s", pk, type(error).__name__)
        finally:
            connections.close_all()
