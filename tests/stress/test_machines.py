"""Browsers on two machines: their states in the panel, and a sweep that closes them."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from datetime import timedelta
from pathlib import Path

import pytest
from django.db.models import F
from django_q.conf import Conf
from django_q.models import Schedule

from sessions_app.cleanup import undo_cleanup
from sessions_app.models import BrowserSession, CleanupRun, Machine, Probe
from sessions_app.models.clock import database_now
from sessions_app.queue.enqueue import Task
from sessions_app.queue.outbox import enqueue
from sessions_app.session.browser_states import BrowserState
from tests.clients import run
from tests.e2e.panel import wait_for
from tests.factories import OLD, archived, live, make_policy, make_session
from tests.stress.cluster import USER, Cluster
from tests.stress.effort import IS_FULL
from tests.stress.machines import Browser, machines
from tests.stress.machines import Machine as Host
from tests.stress.task_queue import RedisServer, TaskQueue

COUNT = 10 if IS_FULL else 6
PASS_SECONDS = 90
NAMES = ("runner-1", "runner-2")


class Site:
    """Two machines with one worker each, on a PostgreSQL and a Redis started by the test."""

    def __init__(self, hosts: list[Host], queues: list[TaskQueue], folder: Path) -> None:
        self.hosts, self.queues, self.folder = hosts, queues, folder
        self.browsers: dict[str, Browser] = {}

    def open(self, name: str, host: Host, *, port: int = 0) -> Browser:
        browser = Browser(host, self.folder / name, port=port)
        self.browsers[name] = browser
        return browser

    def output(self) -> str:
        return "\n".join(f"== {queue.log}\n{queue.output}" for queue in self.queues)


@pytest.fixture
def site(cluster: Cluster, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Site]:
    if not RedisServer.is_installed():
        pytest.skip("redis-server is not installed")
    redis = RedisServer()
    monkeypatch.setattr(Conf, "REDIS", redis.url)
    monkeypatch.setattr(Conf, "BROKER_CLASS", "sessions_app.queue.broker.RedisBroker")
    environ = {
        "RAPTOR_DATABASE_URL": f"postgres://{USER}@127.0.0.1:{cluster.port}/postgres",
        "RAPTOR_REDIS_URL": redis.url,
        "RAPTOR_PROBE_SECONDS": "5",
    }
    with ExitStack() as stack:
        stack.callback(redis.stop)
        sockets = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="raptor-")))
        hosts = stack.enter_context(machines(*NAMES, ports=(cluster.port, redis.port), folder=sockets))
        site = Site(hosts, [], tmp_path)
        try:
            for host in hosts:
                more = {**environ, "RAPTOR_MACHINE": host.name}
                site.queues.append(TaskQueue(tmp_path / f"worker-{host.name}", more, before=host.before))
            wait_for(lambda: Machine.objects.count() == len(hosts), 60, site.output)
            yield site
        finally:
            for queue in site.queues:
                queue.end()
            for browser in site.browsers.values():
                browser.kill()


def tick() -> bool:
    Schedule.objects.update(next_run=database_now())
    return True


def queue_probes() -> bool:
    """Queue the probes that the schedule queues each minute."""
    for name in NAMES:
        enqueue(Task.PROBE_SESSIONS, name, machine=name)
    return True


def probe_again(site: Site) -> None:
    """Wait until each session has been probed after this call."""
    began = database_now()
    Probe.objects.update(due_at=began)
    count = BrowserSession.objects.count()
    wait_for(
        lambda: queue_probes() and Probe.objects.filter(probed_at__gt=began).count() == count,
        PASS_SECONDS,
        site.output,
    )


def date_back() -> bool:
    """Move the failed probes ten minutes into the past, and make all sessions due again."""
    Probe.objects.update(failing_since=F("failing_since") - timedelta(minutes=10), due_at=database_now())
    return queue_probes()


def gone() -> list[str]:
    found = BrowserSession.objects.filter(browser_state=BrowserState.GONE).order_by("name")
    return list(found.values_list("name", flat=True))


def listed() -> dict[str, tuple[str, bool | None]]:
    found = run("list_sessions", "--format", "json").json["sessions"]
    return {one["name"]: (one["browser"], one["in_use"]) for one in found}


def test_each_machine_probes_its_browsers_and_a_sweep_closes_them(
    site: Site, note: Callable[[str], None]
) -> None:
    names = [f"browser-{number}" for number in range(COUNT)]
    for number, name in enumerate(names):
        host = site.hosts[number % 2]
        metadata = {"raptor_admin": {"machine": host.name}}
        browser = site.open(name, host)
        make_session(name, cdp_url=browser.endpoint, metadata=metadata, **OLD)
    killed, replaced, used = names[:3], names[3], names[4]
    for name in killed:
        site.browsers[name].kill()
    port = site.browsers[replaced].port
    site.browsers[replaced].kill()
    site.open("another", site.hosts[1], port=port)
    client = site.hosts[0].connect(site.browsers[used].port)

    probe_again(site)
    expected: dict[str, tuple[str, bool | None]] = dict.fromkeys(names, ("alive", False))
    expected |= dict.fromkeys(killed, ("unreachable", None))
    expected |= {replaced: ("replaced", None), used: ("alive", True)}
    assert listed() == expected

    # A probe in progress may revert the change, so repeat it.
    wait_for(lambda: date_back() and gone() == sorted([*killed, replaced]), PASS_SECONDS, site.output)

    policy = make_policy(
        "Close",
        ("expired", 7),
        closes_browsers=True,
        brake_percent=None,
        is_enabled=True,
        schedule="0 0 1 1 *",
        next_run_at=database_now(),
    )
    wait_for(
        lambda: tick() and policy.runs.filter(state=CleanupRun.State.SUCCEEDED).exists(),
        PASS_SECONDS,
        site.output,
    )
    sweep = policy.runs.get()
    assert live() == [used], sweep.skipped_sessions
    assert archived() == sorted(set(names) - {used})
    running = {name for name, browser in site.browsers.items() if browser.is_running}
    assert running == {used, "another"}, "the program that took over the port must keep running"
    assert sweep.closed_count == COUNT - 5
    assert sweep.closed_bytes > 0
    note(f"{sweep.closed_count} browsers on two machines closed, {sweep.closed_bytes:,} bytes of memory")

    undo_cleanup(sweep, actor="root")
    assert live() == names
    os.kill(client.pid, 9)
    probe_again(site)
    assert listed()[used] == ("alive", False)
