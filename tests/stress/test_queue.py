"""Several workers on servers that are killed, emptied and stopped: nothing is lost and nothing is doubled."""

from __future__ import annotations

import shutil
import signal
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from datetime import timedelta
from pathlib import Path

import pytest
from django.db import OperationalError, connection, connections
from django.db.models import QuerySet
from django_q.conf import Conf
from django_q.models import OrmQ, Schedule

from sessions_app.models import CleanupPolicy, CleanupRun, Machine, QueuedTask
from sessions_app.models.clock import database_now
from sessions_app.queue.enqueue import Task
from sessions_app.queue.outbox import enqueue
from sessions_app.queue.worker import WorkerState, worker_state
from tests.e2e.panel import wait_for
from tests.factories import make_policy
from tests.stress.cluster import USER, Cluster
from tests.stress.effort import IS_FULL
from tests.stress.task_queue import RedisServer, TaskQueue

TICKS = 30 if IS_FULL else 8
TICK_SECONDS = 20
RECOVERY_SECONDS = 120
QUICK = {} if IS_FULL else {"DJANGO_SETTINGS_MODULE": "tests.stress.quick_settings"}

needs_redis = pytest.mark.skipif(not RedisServer.is_installed(), reason="redis-server is not installed")


class Servers:
    """A PostgreSQL and a Redis of the test, and three workers on them."""

    def __init__(self, folder: Path, cluster: Cluster, redis: RedisServer | None) -> None:
        self.cluster, self.redis = cluster, redis
        self.environ = {
            **QUICK,
            "RAPTOR_DATABASE_URL": f"postgres://{USER}@127.0.0.1:{cluster.port}/postgres",
        }
        if redis is not None:
            self.environ["RAPTOR_REDIS_URL"] = redis.url
        self.folder = folder
        self.queues: list[TaskQueue] = []

    def start_worker(self, name: str, *, before: Sequence[str] = ()) -> TaskQueue:
        queue = TaskQueue(self.folder / name, {**self.environ, "RAPTOR_MACHINE": name}, before=before)
        self.queues.append(queue)
        return queue

    def output(self) -> str:
        return "\n".join(f"== {queue.log}\n{queue.output}" for queue in self.queues)


@pytest.fixture(params=["database", pytest.param("redis", marks=needs_redis)])
def servers(
    request: pytest.FixtureRequest, tmp_path: Path, cluster: Cluster, monkeypatch: pytest.MonkeyPatch
) -> Iterator[Servers]:
    """Empty servers, whose database is the default one during the test."""
    redis = RedisServer() if request.param == "redis" else None
    if redis is not None:
        monkeypatch.setattr(Conf, "REDIS", redis.url)
        monkeypatch.setattr(Conf, "BROKER_CLASS", "sessions_app.queue.broker.RedisBroker")
    servers = Servers(tmp_path, cluster, redis)
    try:
        yield servers
    finally:
        for queue in servers.queues:
            queue.end()
        if redis is not None:
            redis.stop()


def wait_until(condition: Callable[[], bool], servers: Servers, seconds: float = RECOVERY_SECONDS) -> None:
    """Wait, with a tick all the time, for a condition in a database that may be away."""
    until = time.monotonic() + seconds
    while True:
        try:
            Schedule.objects.update(next_run=database_now())
            if condition():
                return
        except OperationalError:
            connection.close()
        assert time.monotonic() < until, servers.output()
        time.sleep(0.2)


@contextmanager
def blocked_snapshots() -> Iterator[None]:
    """Let no task take a snapshot during the block."""
    other = connections.create_connection("default")
    with other.cursor() as cursor:
        cursor.execute("BEGIN")
        cursor.execute("LOCK TABLE sessions_app_storagesnapshot IN ACCESS EXCLUSIVE MODE")
        yield
    other.close()


def request_snapshots(first: int, count: int) -> None:
    for number in range(first, first + count):
        enqueue(Task.TAKE_SNAPSHOT, f"2100-01-01T00:00:{number:02}+00:00")


def requested() -> QuerySet[QueuedTask]:
    return QueuedTask.objects.filter(task=Task.TAKE_SNAPSHOT.value, due_at=None)


def test_workers_that_are_killed_and_servers_that_stop_lose_and_double_nothing(
    servers: Servers, note: Callable[[str], None]
) -> None:
    queues = [servers.start_worker(f"runner-{number}") for number in range(3)]
    wait_for(lambda: Machine.objects.count() == 3, 60, servers.output)
    check_each_tick(servers, TICKS)

    with blocked_snapshots():
        request_snapshots(0, 12)
        wait_until(lambda: requested().exclude(started_at=None).count() >= 5, servers)
        for queue in queues[:2]:
            queue.kill()
    if servers.redis is None:
        OrmQ.objects.all().delete()
    else:
        servers.redis.stop()
        request_snapshots(12, 1)
        servers.redis.start()
    began = time.monotonic()
    wait_until(lambda: not requested().filter(finished_at=None).exists(), servers)
    note(f"all tasks of two killed workers finished after {time.monotonic() - began:.0f} s")

    connection.close()
    servers.cluster.stop("immediate")
    time.sleep(3)
    servers.cluster.start()
    request_snapshots(13, 1)
    wait_until(lambda: not requested().filter(finished_at=None).exists(), servers)
    assert not requested().filter(has_failed=True).exists()
    queues[2].check()


def check_each_tick(servers: Servers, count: int) -> None:
    """Check that a policy that is due at each of many ticks is swept once for each."""
    CleanupPolicy.objects.update(is_enabled=False)
    name = f"Each minute from {database_now()}"
    policy = make_policy(name, "invalid", "expired", schedule="* * * * *", is_enabled=True)
    sweeps, due = QueuedTask.objects.filter(task=Task.SWEEP.value, arguments__0=policy.pk), []
    for _ in range(count):
        # A tick that is at work would plan an instant that is later than its own start anew.
        due.append(database_now() - timedelta(seconds=2))
        CleanupPolicy.objects.filter(pk=policy.pk).update(next_run_at=due[-1])
        swept_now = sweeps.exclude(finished_at=None).filter(arguments__1=due[-1].isoformat())
        wait_until(swept_now.exists, servers, TICK_SECONDS)
    wait_until(lambda: not sweeps.filter(finished_at=None).exists(), servers)
    CleanupPolicy.objects.update(is_enabled=False)
    swept = [row.arguments[1] for row in sweeps]
    # A tick at the start of a real minute may have added an instant of its own.
    assert len(swept) == len(set(swept))
    assert {instant.isoformat() for instant in due} <= set(swept)
    assert set(sweeps.values_list("attempt", "has_failed")) == {(1, False)}
    for instant in due:
        assert CleanupRun.objects.filter(policy=policy, due_at=instant).count() == 2


@pytest.mark.skipif(shutil.which("faketime") is None, reason="faketime is not installed")
def test_workers_whose_clocks_are_wrong_run_due_work_on_time(servers: Servers) -> None:
    for name, offset in (("ahead", "+10m"), ("behind", "-10m")):
        servers.start_worker(name, before=("faketime", "-f", offset))
    wait_for(lambda: Machine.objects.count() == 2, 60, servers.output)
    skews = dict(Machine.objects.values_list("name", "clock_skew_seconds"))
    assert skews["ahead"] == pytest.approx(600, abs=5)
    assert skews["behind"] == pytest.approx(-600, abs=5)
    for name in skews:
        # Leave the work to one of the two.
        for queue in servers.queues:
            queue.process.send_signal(signal.SIGCONT if queue.log.stem == name else signal.SIGSTOP)
        check_each_tick(servers, TICKS // 4)
        worker = worker_state(database_now())
        assert worker.state == WorkerState.RUNNING
        assert {machine for machine, _ in worker.skewed} == set(skews)
    for queue in servers.queues:
        queue.process.send_signal(signal.SIGCONT)
        queue.check()
