"""Web servers and workers on servers that are killed, emptied and stopped: nothing is lost or doubled."""

from __future__ import annotations

import shutil
import signal
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from datetime import timedelta
from pathlib import Path

import pytest
from django.conf import settings
from django.contrib.auth.hashers import PBKDF2PasswordHasher
from django.contrib.auth.models import User
from django.db import OperationalError, connection, connections
from django.db.models import QuerySet
from django_q.conf import Conf
from django_q.models import OrmQ, Schedule

from sessions_app.models import CleanupPolicy, CleanupRun, Machine, QueuedTask
from sessions_app.models.clock import database_now
from sessions_app.queue.enqueue import Task
from sessions_app.queue.outbox import enqueue
from sessions_app.queue.worker import WorkerState, worker_state
from tests.clients import POLICIES
from tests.e2e.panel import START_SECONDS, WEB, Panel, free_port, wait_for
from tests.e2e.visitor import PASSWORD, USERNAME, Visitor
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
    """A PostgreSQL and a Redis of the test, and the workers and web servers on them."""

    def __init__(self, folder: Path, cluster: Cluster, redis: RedisServer | None) -> None:
        self.cluster, self.redis = cluster, redis
        self.environ = {
            "RAPTOR_DATABASE_URL": f"postgres://{USER}@127.0.0.1:{cluster.port}/postgres",
            "RAPTOR_SECRET_KEY": settings.SECRET_KEY,
        }
        if redis is not None:
            self.environ["RAPTOR_REDIS_URL"] = redis.url
        self.folder = folder
        self.queues: list[TaskQueue] = []
        self.webs: list[Panel] = []
        self.visitors: list[Visitor] = []
        self.pressed: list[CleanupPolicy] = []

    def start_worker(self, name: str, *, before: Sequence[str] = ()) -> TaskQueue:
        environ = {**QUICK, **self.environ, "RAPTOR_MACHINE": name}
        queue = TaskQueue(self.folder / name, environ, before=before)
        self.queues.append(queue)
        return queue

    def start_web(self, name: str, static_files: Path) -> None:
        web = Panel(self.folder / name, free_port())
        shutil.copytree(static_files, web.directory / "var" / "static")
        self.webs.append(web)
        web.start(WEB, **self.environ, RAPTOR_MACHINE=name)

    def log_in(self) -> None:
        """Let a visitor of each web server log in."""
        password = PBKDF2PasswordHasher().encode(PASSWORD, "salt")
        User.objects.create(username=USERNAME, password=password, is_staff=True, is_superuser=True)
        for web in self.webs:
            wait_for(web.answers, START_SECONDS, self.output)
            visitor = Visitor(web.url)
            assert visitor.log_in()[:2] == (200, f"{web.url}/admin/")
            self.visitors.append(visitor)

    def press_run_now(self) -> list[str]:
        """Start a new policy on each web server, and return the pages that follow."""
        pages = []
        for visitor in self.visitors:
            policy = make_policy(f"Pressed {len(self.pressed)}", "invalid", "expired")
            status, _, page = visitor.submit(f"{POLICIES}{policy.pk}/run/", {})
            assert status == 200
            assert f"“{policy}” was queued for the worker." in page
            self.pressed.append(policy)
            pages.append(page)
        return pages

    def output(self) -> str:
        outputs = {queue.log: queue.output for queue in self.queues}
        outputs |= {web.directory: web.output for web in self.webs}
        return "\n".join(f"== {path}\n{output}" for path, output in outputs.items())


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
        for web in servers.webs:
            web.stop()
        if redis is not None:
            redis.stop()


@pytest.fixture(scope="module")
def static_files(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of the collected static files, to copy it to each web server."""
    panel = Panel(tmp_path_factory.mktemp("static"), free_port())
    panel.manage("collectstatic", "--no-input")
    return panel.directory / "var" / "static"


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


def request_snapshots(count: int) -> None:
    for number in range(count):
        enqueue(Task.TAKE_SNAPSHOT, f"2100-01-01T00:00:{number:02}+00:00")


def unfinished() -> QuerySet[QueuedTask]:
    """Return the open tasks, except the jobs of the schedule."""
    return QueuedTask.objects.filter(finished_at=None, due_at=None)


def test_servers_and_workers_that_stop_lose_and_double_nothing(
    servers: Servers, static_files: Path, note: Callable[[str], None]
) -> None:
    for number in range(2):
        servers.start_web(f"web-{number}", static_files)
    queues = [servers.start_worker(f"runner-{number}") for number in range(3)]
    wait_for(lambda: Machine.objects.count() == 3, START_SECONDS, servers.output)
    servers.log_in()
    check_each_tick(servers, TICKS)

    with blocked_snapshots():
        request_snapshots(12)
        wait_until(lambda: unfinished().exclude(started_at=None).count() >= 5, servers)
        for queue in queues[:2]:
            queue.kill()
    servers.press_run_now()
    if servers.redis is None:
        OrmQ.objects.all().delete()
    else:
        servers.redis.stop()
        for page in servers.press_run_now():
            assert "The task queue cannot be reached now." in page
        servers.redis.start()
    began = time.monotonic()
    wait_until(lambda: not unfinished().exists(), servers)
    note(f"all tasks of two killed workers finished after {time.monotonic() - began:.0f} s")

    connection.close()
    servers.cluster.stop("immediate")
    wait_for(lambda: "The database cannot be used" in queues[2].output, START_SECONDS, servers.output)
    for visitor in servers.visitors:
        status, _, page = visitor.get("/admin/")
        assert status == 503
        assert "The database does not answer" in page
    servers.cluster.start()
    servers.press_run_now()
    wait_until(lambda: not unfinished().exists(), servers)

    assert not QueuedTask.objects.filter(due_at=None, has_failed=True).exists()
    for policy in servers.pressed:
        assert list(policy.runs.order_by("pk").values_list("step_position", flat=True)) == [1, 2]
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
        servers.press_run_now()
        swept_now = sweeps.exclude(finished_at=None).filter(arguments__1=due[-1].isoformat())
        wait_until(swept_now.exists, servers, TICK_SECONDS)
    wait_until(lambda: not unfinished().exists(), servers)
    CleanupPolicy.objects.update(is_enabled=False)
    swept = [row.arguments[1] for row in sweeps]
    # A tick at the start of a real minute may have added another instant.
    assert len(swept) == len(set(swept))
    assert {instant.isoformat() for instant in due} <= set(swept)
    assert set(sweeps.values_list("attempt", "has_failed")) == {(1, False)}
    for instant in due:
        assert CleanupRun.objects.filter(policy=policy, due_at=instant).count() == 2


@pytest.mark.skipif(shutil.which("faketime") is None, reason="faketime is not installed")
def test_workers_whose_clocks_are_wrong_run_due_work_on_time(servers: Servers) -> None:
    for name, offset in (("ahead", "+10m"), ("behind", "-10m")):
        servers.start_worker(name, before=("faketime", "-f", offset))
    wait_for(lambda: Machine.objects.count() == 2, START_SECONDS, servers.output)
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
