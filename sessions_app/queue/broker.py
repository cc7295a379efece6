"""The queue: django-q2's brokers with checked messages, the database's clock and a key for each machine.

A worker reads the key of its machine first, and the common key second.
"""

from __future__ import annotations

import logging
import time
from datetime import timedelta
from typing import Any

import redis
from django.conf import settings
from django.db import Error as DatabaseFailure
from django.db.models.functions import Now
from django_q.brokers import Broker, get_broker
from django_q.brokers.orm import ORM
from django_q.brokers.redis_broker import Redis
from django_q.conf import Conf
from django_q.signing import SignedPackage

from sessions_app.queue.enqueue import QueueUnreachable, Task, machine_key
from sessions_app.session.masking import safe_message
from sessions_app.transactions.disk import disk_full_message
from sessions_app.transactions.reserve import make_room, retry_with_room

# Longer than a worker waits for a message, which is one second.
REDIS_OPTIONS = {"socket_connect_timeout": 1, "socket_timeout": 2}
_KEYS = frozenset(("id", "name", "func", "args", "kwargs", "started", "ack_failure", "cluster"))
_KEYWORDS = frozenset(("queued_task",))

logger = logging.getLogger(__name__)


def is_reachable() -> bool:
    """Check whether the queue answers."""
    try:
        get_broker().ping()
    except (DatabaseFailure, redis.RedisError):
        return False
    return True


def is_empty() -> bool:
    """Check whether no message for any machine waits for a worker."""
    try:
        return not get_broker().queue_size()
    except redis.RedisError:
        return False


def refusal(message: str | bytes) -> str:
    """Return why a message is not handed to a worker; blank if it is one of the panel's tasks.

    A message can name any function, and options of django-q2 name more: a hook, a chain, a group.
    """
    try:
        # Unpickles only after the signature was verified.
        task = SignedPackage.loads(message)
    except Exception:
        return "its signature is not valid"
    if task.get("func") not in set(Task):
        return f"it calls {task.get('func')!r}, which is not a task of the panel"
    unknown = (task.keys() - _KEYS) | (task["kwargs"].keys() - _KEYWORDS)
    return f"it has options that the panel does not use: {', '.join(sorted(unknown))}" if unknown else ""


class _PanelBroker(Broker):  # type: ignore[misc]  # django-q2 has no types
    """The base class of both brokers.

    An error in ``dequeue`` would end django-q2's process, so it is logged instead, once.
    """

    _is_away = False
    _last_name = ""

    def names(self) -> list[str]:
        """Return the names of the queues in the order of reading.

        A worker first reads the queue of its own machine. After a message from that queue, it first reads
        the common queue, so that many tasks for one machine do not delay sweeps.
        """
        own = machine_key(settings.RAPTOR_MACHINE)
        names = [own, Conf.CLUSTER_NAME]
        return names[::-1] if self._last_name == own else names

    def fetch(self) -> list[tuple[Any, Any]]:
        """Return at most one message with the key that acknowledges it."""
        raise NotImplementedError

    def dequeue(self) -> list[tuple[Any, Any]] | None:
        """Return the next message of the panel; return None if there is none or the queue does not answer."""
        try:
            fetched = self.fetch()
        except (DatabaseFailure, redis.RedisError) as error:
            self._log_away(error)
            time.sleep(Conf.POLL)
            return None
        if self._is_away:
            logger.warning("The task queue answers again.")
            self._is_away = False
        return [found for found in fetched if self._accepts(*found)] or None

    def _accepts(self, key: Any, message: str | bytes) -> bool:
        reason = refusal(message)
        if reason:
            logger.error("A message in the task queue was refused and removed: %s.", reason)
            self.fail(key)
        return not reason

    def _log_away(self, error: Exception) -> None:
        if disk_full := disk_full_message(error):
            make_room()
            logger.error("The task queue has stopped. %s", disk_full)
        elif not self._is_away:
            logger.error("The task queue cannot be reached; trying again. %s", safe_message(error))
        self._is_away = True


class DatabaseBroker(_PanelBroker, ORM):  # type: ignore[misc]
    """The queue in the database."""

    @retry_with_room
    def enqueue(self, message: str) -> Any:
        return self.get_connection().create(key=self.list_key, payload=message, lock=Now()).pk

    def fetch(self) -> list[tuple[Any, Any]]:
        for name in self.names():
            if found := self._claim(name):
                self._last_name = name
                return found
        time.sleep(Conf.POLL)
        return []

    @retry_with_room
    def _claim(self, name: str) -> list[tuple[Any, Any]]:
        free = self.get_connection().filter(key=name, lock__lte=Now())
        # The other columns may hold values that cannot be read.
        first = free.order_by("pk").values_list("pk", "payload").first()
        if first is None:
            return []
        is_claimed = free.filter(pk=first[0]).update(lock=Now() + timedelta(seconds=Conf.RETRY))
        return [first] if is_claimed else []

    def delete(self, key: Any) -> None:
        """Delete a finished message; if this fails, it is delivered again, which tasks are designed for."""
        try:
            retry_with_room(super().delete)(key)
        except DatabaseFailure as error:
            self._log_away(error)

    def queue_size(self) -> int:
        return int(self.get_connection().filter(key=self.list_key, lock__lte=Now()).count())


class RedisBroker(_PanelBroker, Redis):  # type: ignore[misc]
    """The queue in Redis, which removes a message when it hands it out."""

    @staticmethod
    def get_connection(list_key: str | None = None) -> Any:
        return redis.from_url(Conf.REDIS, **REDIS_OPTIONS)

    def ping(self) -> bool:
        return bool(self.connection.ping())

    def enqueue(self, message: str) -> Any:
        try:
            return super().enqueue(message)
        except redis.RedisError as error:
            raise QueueUnreachable(safe_message(error)) from None

    def fetch(self) -> list[tuple[Any, Any]]:
        found = self.connection.blpop([f"django_q:{name}:q" for name in self.names()], timeout=1)
        if not found:
            return []
        self._last_name = found[0].decode().removeprefix("django_q:").removesuffix(":q")
        return [(None, found[1])]

    def set_stat(self, key: str, value: str, timeout: int) -> None:
        """Store no statistics: nothing reads them, and each write could fail."""
