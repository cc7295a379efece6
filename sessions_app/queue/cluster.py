"""The processes of a worker: django-q2's sentinel and its children, with a clean stop.

The main process sends the tick and announces the machine. The sentinel and its children are a separate
process group, which does not receive signals to the main process's group. A child whose parent ends kills
this group, so no process outlives the main process, however it ends.
"""

from __future__ import annotations

import logging
import multiprocessing
import os
import select
import signal
import threading
import time
import uuid
from collections.abc import Callable
from contextlib import suppress
from datetime import datetime
from typing import Any

from django.conf import settings
from django.db import Error as DatabaseFailure
from django.db import close_old_connections, connections
from django_q import cluster
from django_q.brokers import get_broker
from django_q.worker import worker

from sessions_app.models.clock import database_now
from sessions_app.queue.broker import is_reachable
from sessions_app.queue.enqueue import QueueUnreachable
from sessions_app.queue.schedules import send_due_tick, sync_schedules
from sessions_app.queue.worker import announce
from sessions_app.session.masking import safe_message

STOP_SIGNALS = (signal.SIGTERM, signal.SIGINT, signal.SIGHUP)
STOP_SECONDS = 2
"""Time that running tasks have to finish before they are killed."""
CHECK_SECONDS = 2.0
ANNOUNCE_SECONDS = 30.0
PARENT_CHECK_SECONDS = 1.0
MAIN_STOP_SECONDS = 6
"""Time after which the main process is killed, for example while it waits for the database."""
TIMED_OUT, RECYCLED = 0, -2
"""Values of the timers of django-q2's workers."""

logger = logging.getLogger(__name__)
_fork = multiprocessing.get_context("fork")


class SentinelDied(Exception):
    """The processes that run tasks have ended without a stop signal."""


class StopEvent:
    """A pipe that is closed to stop, also when its owner is killed.

    A ``multiprocessing.Event`` would block its owner forever if the process that waits for it is killed.
    """

    def __init__(self) -> None:
        self.reader, self._writer = os.pipe()

    def set(self) -> None:
        """Stop; a second call does nothing. Signal handlers may call this."""
        writer, self._writer = self._writer, -1
        if writer != -1:
            os.close(writer)

    def is_set(self) -> bool:
        return self.wait(0)

    def wait(self, timeout: float) -> bool:
        return bool(select.select([self.reader], [], [], timeout)[0])


class Sentinel(cluster.Sentinel):  # type: ignore[misc]  # django-q2 has no types
    """django-q2's sentinel, whose children end with it and whose stop is limited in time."""

    def spawn_process(self, target: Callable[..., None], *args: Any) -> Any:
        process = _fork.Process(target=_run_child, args=(target, os.getpid(), *args), daemon=True)
        if target is worker:
            process.timer = args[2]  # type: ignore[attr-defined]  # the sentinel reads it
            self.pool.append(process)
        process.start()
        return process

    def spawn_monitor(self) -> Any:
        return self.spawn_process(_acknowledge, self.result_queue, self.broker)

    def reincarnate(self, process: Any) -> None:
        """Replace a worker that has timed out or is recycled; end everything if a process has died.

        A process that was killed may have held the lock of its queue, for which its successor would wait
        forever.
        """
        if process not in self.pool or process.timer.value not in (TIMED_OUT, RECYCLED):
            logger.error("A task process has died, so all are restarted.")
            os.killpg(0, signal.SIGKILL)
        super().reincarnate(process)

    def stop(self) -> None:
        # Kills this process; its children then end by themselves.
        signal.alarm(STOP_SECONDS)
        super().stop()


def run_cluster() -> None:
    """Run tasks until a stop signal.

    Raises: SentinelDied.
    """
    stop = StopEvent()

    def stop_soon(*signal_arguments: Any) -> None:
        stop.set()
        signal.alarm(MAIN_STOP_SECONDS)

    for sign in STOP_SIGNALS:
        signal.signal(sign, stop_soon)
    if not _wait_for_queue(stop):
        return
    connections.close_all()
    sentinel = _fork.Process(target=_run_sentinel, args=(stop,))
    sentinel.start()
    try:
        _keep_time(stop, sentinel)
        if not stop.is_set():
            raise SentinelDied(f"The task processes ended unexpectedly (exit status {sentinel.exitcode}).")
        sentinel.join(STOP_SECONDS + 1)
    finally:
        sentinel.kill()
        with suppress(ProcessLookupError, PermissionError):
            os.killpg(sentinel.ident, signal.SIGKILL)  # type: ignore[arg-type]  # it was started


def _wait_for_queue(stop: StopEvent) -> bool:
    """Wait until the database and the queue answer and the tick is installed; return False to stop."""
    wait = _Patience()
    while not stop.is_set():
        with wait:
            sync_schedules(now=database_now())
            if is_reachable():
                return True
            raise QueueUnreachable("It does not answer.")
        stop.wait(CHECK_SECONDS)
    return False


def _keep_time(stop: StopEvent, sentinel: Any) -> None:
    """Send each tick and announce the machine until a stop signal or the end of the sentinel."""
    started_at: datetime | None = None
    announce_at, ticks, announcements = 0.0, _Patience(), _Patience()
    while not stop.is_set() and sentinel.is_alive():
        # Announce the machine first, so that the tick does not fail tasks that have waited for it.
        with announcements:
            close_old_connections()
            if time.monotonic() >= announce_at:
                started_at = started_at or database_now()
                sync_schedules(now=database_now())
                announce(settings.RAPTOR_MACHINE, started_at=started_at)
                announcements.end()
                announce_at = time.monotonic() + ANNOUNCE_SECONDS
        with ticks:
            if send_due_tick():
                ticks.end()
        select.select([stop.reader, sentinel.sentinel], [], [], CHECK_SECONDS)


class _Patience:
    """Suppresses the errors of a database or queue that cannot be reached, and logs them once."""

    def __init__(self) -> None:
        self._is_away = False

    def __enter__(self) -> None:
        pass

    def end(self) -> None:
        """Log that they answer again, if they were away."""
        if self._is_away:
            logger.warning("Database and queue answer again.")
        self._is_away = False

    def __exit__(self, kind: Any, error: BaseException | None, traceback: Any) -> bool:
        if isinstance(error, DatabaseFailure | QueueUnreachable):
            if not self._is_away:
                what = "queue" if isinstance(error, QueueUnreachable) else "database"
                logger.error("The %s cannot be used; trying again. %s", what, safe_message(error))
            self._is_away = True
            return True
        return False


def _run_sentinel(stop: StopEvent) -> None:
    os.setpgid(0, 0)
    # The main process stops this one through the pipe, so only it may keep the pipe open.
    stop.set()
    signal.signal(signal.SIGHUP, signal.SIG_IGN)
    Sentinel(stop, threading.Event(), uuid.uuid4(), get_broker())


def _acknowledge(results: Any, broker: Any) -> None:
    """Acknowledge finished tasks.

    This replaces django-q2's monitor, which unpickles what its table of results holds. The results of the
    panel are in ``QueuedTask``.
    """
    for task in iter(results.get, "STOP"):
        if task.get("ack_id"):
            broker.acknowledge(task["ack_id"])


def _run_child(target: Callable[..., None], parent: int, *args: Any) -> None:
    threading.Thread(target=_end_with, args=(parent,), daemon=True).start()
    target(*args)


def _end_with(parent: int) -> None:
    while os.getppid() == parent:
        time.sleep(PARENT_CHECK_SECONDS)
    os.killpg(0, signal.SIGKILL)
