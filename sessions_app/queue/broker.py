"""Keeps the task queue in the database working on a full disk."""

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
    """A queue in the database that logs one line, not a traceback, for each attempt on a full disk."""

    def enqueue(self, task: Any) -> Any:
        """Queue a task; if no room can be made, the caller reports the error."""
        return retry_with_room(super().enqueue)(task)

    def dequeue(self) -> Any:
        """Fetch tasks; return None while the disk is full, because an error would end django-q2's process."""
        try:
            return retry_with_room(super().dequeue)()
        except Exception as error:
            self._log_full_disk(error)
            time.sleep(Conf.POLL)
            return None

    def delete(self, task_id: Any) -> None:
        """Delete a finished task; if this fails, it is delivered again, which tasks are designed for."""
        try:
            retry_with_room(super().delete)(task_id)
        except Exception as error:
            self._log_full_disk(error)

    def _log_full_disk(self, error: Exception) -> None:
        if not (message := disk_full_message(error)):
            raise error
        make_room()
        logger.error("The task queue has stopped. %s", message)
