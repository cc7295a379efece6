"""The queue in the database and in Redis: what is handed to a worker, and from which key."""

from __future__ import annotations

import os
import pickle
import uuid
from collections.abc import Iterator
from typing import Any

import pytest
import redis
from django.db import connection
from django_q.conf import Conf
from django_q.models import OrmQ
from django_q.signing import SignedPackage
from django_q.tasks import async_task

from sessions_app.queue import broker as broker_module
from sessions_app.queue.broker import DatabaseBroker, RedisBroker, refusal
from sessions_app.queue.enqueue import QueueUnreachable, Task, machine_key, send

pytestmark = pytest.mark.django_db

REDIS_URL = os.environ.get("RAPTOR_TEST_REDIS_URL", "redis://127.0.0.1:6379/9")
NOBODY = "redis://127.0.0.1:1/0"


@pytest.fixture(params=["database", "redis"])
def broker(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> Iterator[Any]:
    """Each broker, empty."""
    name = f"test-{uuid.uuid4().hex}"
    for option in ("PREFIX", "CLUSTER_NAME"):
        monkeypatch.setattr(Conf, option, name)
    monkeypatch.setattr(Conf, "POLL", 0)
    if request.param == "database":
        yield DatabaseBroker()
        return
    monkeypatch.setattr(Conf, "REDIS", REDIS_URL)
    monkeypatch.setattr(Conf, "BROKER_CLASS", "sessions_app.queue.broker.RedisBroker")
    try:
        redis.from_url(REDIS_URL).ping()
    except redis.RedisError:
        pytest.skip("no Redis at RAPTOR_TEST_REDIS_URL")
    found = RedisBroker()
    yield found
    found.connection.delete(*(f"django_q:{name}:q" for name in found.names()))


def fetched(broker: Any) -> list[str]:
    """Return the functions of all messages that the broker hands out, until there is none."""
    found = []
    while messages := broker.dequeue():
        for key, message in messages:
            found.append(SignedPackage.loads(message)["func"])
            broker.acknowledge(key)
    return found


def test_the_key_of_the_machine_comes_first(broker: Any, settings: Any) -> None:
    settings.RAPTOR_MACHINE = "here"
    send(Task.TIDY_UP)
    send(Task.SWEEP, 1, machine="there")
    send(Task.TAKE_SNAPSHOT, machine="here")
    assert broker.queue_size() == 1, "the common one"
    assert fetched(broker) == [Task.TAKE_SNAPSHOT, Task.TIDY_UP]
    assert broker.queue_size() == 0, "that of another machine does not count"
    settings.RAPTOR_MACHINE = "there"
    assert fetched(broker) == [Task.SWEEP]


def test_tasks_for_one_machine_do_not_delay_common_tasks(broker: Any, settings: Any) -> None:
    settings.RAPTOR_MACHINE = "here"
    for _ in range(3):
        send(Task.PROBE_SESSIONS, machine="here")
    for _ in range(2):
        send(Task.SWEEP, 1)
    probe, sweep = Task.PROBE_SESSIONS, Task.SWEEP
    assert fetched(broker) == [probe, sweep, probe, sweep, probe]


PLANTED: dict[str, dict[str, Any]] = {
    "a function of Python": {"func": "os.system", "args": ("true",)},
    "a function that is not a task": {"func": "sessions_app.tasks._run", "args": ()},
    "a callable": {"func": os.system},
    "a hook": {"func": Task.TIDY_UP.value, "hook": "os.system"},
    "a chain": {"func": Task.TIDY_UP.value, "chain": [("os.system", ("true",))]},
    "a group": {"func": Task.TIDY_UP.value, "group": "g"},
    "sync": {"func": Task.TIDY_UP.value, "sync": True},
    "a keyword": {"func": Task.SWEEP.value, "kwargs": {"trigger": "admin"}},
}


@pytest.mark.parametrize("fields", PLANTED.values(), ids=PLANTED)
def test_a_foreign_message_is_refused_and_removed(
    broker: Any, fields: dict[str, Any], caplog: pytest.LogCaptureFixture
) -> None:
    message = SignedPackage.dumps({"id": "1", "name": "n", "args": (), "kwargs": {}, **fields})
    broker.enqueue(message)
    send(Task.TIDY_UP)
    found = []
    for _ in range(2):
        found += [SignedPackage.loads(message)["func"] for _, message in broker.dequeue() or ()]
    assert found == [Task.TIDY_UP]
    assert caplog.text.count("was refused and removed") == 1


class Explodes:
    def __reduce__(self) -> Any:
        return (os.mkdir, (f"/tmp/planted-{os.getpid()}",))


@pytest.mark.parametrize(
    "message", ["", "nonsense", "a:b:c", pickle.dumps(Explodes()).hex(), "\x00", "é" * 10_000]
)
def test_an_unsigned_message_is_refused_without_being_unpickled(message: str) -> None:
    assert refusal(message) == "its signature is not valid"
    assert not os.path.exists(f"/tmp/planted-{os.getpid()}")  # noqa: PTH110


def test_a_signed_task_of_the_panel_is_accepted(broker: Any) -> None:
    send(Task.SWEEP, 1, "2026-11-22T02:00:00+00:00", queued_task=5)
    ((_, message),) = broker.dequeue()
    assert refusal(message) == ""
    task = SignedPackage.loads(message)
    assert (task["args"], task["kwargs"]) == ((1, "2026-11-22T02:00:00+00:00"), {"queued_task": 5})


def test_a_message_is_handed_out_once(broker: Any) -> None:
    send(Task.TIDY_UP)
    assert broker.dequeue()
    assert broker.dequeue() is None


@pytest.mark.skipif(connection.vendor != "sqlite", reason="PostgreSQL refuses such a value")
def test_a_row_that_cannot_be_read_blocks_nothing() -> None:
    row = "('raptor', 'nonsense', '2020-13-45')"
    with connection.cursor() as cursor:
        cursor.execute(f"INSERT INTO django_q_ormq (key, payload, lock) VALUES {row}")
    send(Task.TIDY_UP)
    broker = DatabaseBroker()
    assert broker.dequeue() is None, "it was refused"
    assert fetched(broker) == [Task.TIDY_UP]


def test_the_queue_of_the_database_uses_its_clock(time_machine: Any) -> None:
    time_machine.move_to("2036-01-01T00:00:00+00:00")
    broker = DatabaseBroker()
    broker.enqueue(SignedPackage.dumps({"func": Task.TIDY_UP.value, "kwargs": {}}))
    time_machine.move_to("2016-01-01T00:00:00+00:00")
    assert broker.dequeue()
    assert OrmQ.objects.count() == 1


class TestAway:
    @pytest.fixture(autouse=True)
    def nobody_answers(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(Conf, "REDIS", NOBODY)
        monkeypatch.setattr(Conf, "BROKER_CLASS", "sessions_app.queue.broker.RedisBroker")
        monkeypatch.setattr(Conf, "POLL", 0)

    def test_it_is_not_reachable_and_not_empty(self) -> None:
        assert not broker_module.is_reachable()
        assert not broker_module.is_empty()

    def test_the_worker_waits_and_logs_it_once(self, caplog: pytest.LogCaptureFixture) -> None:
        broker = RedisBroker()
        assert [broker.dequeue() for _ in range(3)] == [None] * 3
        assert caplog.text.count("cannot be reached") == 1

    def test_sending_reports_it(self) -> None:
        with pytest.raises(QueueUnreachable):
            send(Task.TIDY_UP)
        with pytest.raises(QueueUnreachable):
            async_task(Task.TIDY_UP.value)


def test_the_keys_are_those_of_django_q() -> None:
    assert machine_key("here") == f"{Conf.PREFIX}@here"
    assert DatabaseBroker().names()[1] == Conf.CLUSTER_NAME
