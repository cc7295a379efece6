"""The task queue in the database, on a disk that may be full."""

from __future__ import annotations

import logging
import time
from typing import Any

from django_q.brokers.orm import ORM
from django_q.conf import Conf

from sessions_app.transactions.disk import disk_full_message
from sessions_app.transactions.reserve import make_room, retry_with_room

logger = logging.getLogger(__name__)


class DatabaseBroker(ORM):  # type: ignore[misc]  # django-q2 has no types
    """Keep the queue working on a full disk, and log one line instead of a traceback for each try."""

    def enqueue(self, task: Any) -> Any:
        """Queue a task; the caller reports the error where the disk has no room left at all."""
        return retry_with_room(super().enqueue)(task)

    def dequeue(self) -> Any:
        """Fetch tasks; none while the disk is full, where django-q2 would end its process."""
        try:
            return retry_with_room(super().dequeue)()
        except Exception as error:
            self._log_full_disk(error)
            time.sleep(Conf.POLL)
            return None

    def delete(self, task_id: Any) -> None:
        """Forget a task that has ended; one that stays is delivered again, which tasks are made for."""
        try:
            retry_with_room(super().delete)(task_id)
        except Exception as error:
            self._log_full_disk(error)

    def _log_full_disk(self, error: Exception) -> None:
        if not (message := disk_full_message(error)):
            raise error
        make_room()
        logger.error("The task queue stands still. %s", message)
