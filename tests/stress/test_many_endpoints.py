"""Probes of many endpoints that hang, refuse connections, send junk, or never stop sending."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from pathlib import Path

import psutil
import pytest
from django_q.models import Schedule

from sessions_app import tasks
from sessions_app.liveness import probe_all, targets
from sessions_app.models import BrowserSession, CleanupPolicy, Probe
from sessions_app.models.clock import database_now
from tests.e2e.panel import wait_for
from tests.endpoints import served
from tests.factories import OLD, build_session, make_policy, make_session
from tests.fake_browser import SAVED
from tests.stress.effort import IS_FULL
from tests.stress.task_queue import worker

TIMES = 5 if IS_FULL else 1
SHARES = {"hang": 40, "refuse": 40, "junk": 20, "stream": 20, "alive": 80}
"""Sessions of each kind, 200 in total. The full test has five times as many."""

EXPECTED = {"hang": "unreachable", "refuse": "unreachable", "junk": "unreachable", "stream": "unreachable"}
HANGING = 1_500
"""Sessions whose browsers hang. Probing all of them takes one and a half minutes."""

LARGEST_GROWTH_BYTES = 40 * 1024 * 1024


def save_sessions(ports: dict[str, int]) -> None:
    for kind, share in SHARES.items():
        url = f"ws://127.0.0.1:{ports[kind]}/devtools/browser/{SAVED}"
        for _ in range(TIMES * share):
            build_session(cdp_url=url).save()


@pytest.mark.django_db
def test_probing_many_endpoints_leaks_neither_sockets_nor_memory(note: Callable[[str], None]) -> None:
    process = psutil.Process()
    with served() as ports:
        save_sessions(ports)
        probe_all(targets(BrowserSession.objects.all()[:5], ("here",)))
        sockets, memory_bytes = len(process.net_connections()), process.memory_info().rss
        counts = probe_all(targets(BrowserSession.objects.order_by("pk"), ("here",)))
        growth = process.memory_info().rss - memory_bytes
        assert len(process.net_connections()) == sockets
        assert growth < LARGEST_GROWTH_BYTES
        found = Counter(Probe.objects.values_list("result", flat=True))
    assert counts.to_json()["probed"] == sum(SHARES.values()) * TIMES
    assert found == {"alive": 80 * TIMES, "unreachable": 120 * TIMES}
    note(f"{counts.probed:,} endpoints, memory grew by {growth / 1024 / 1024:.1f} MB")


@pytest.mark.django_db
def test_a_task_ends_in_time_and_the_next_one_continues(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("sessions_app.liveness.PASS_SECONDS", 1.0)
    monkeypatch.setattr("sessions_app.liveness.probing.CONCURRENCY", 4)
    with served() as ports:
        for number in range(12):
            build_session(cdp_url=f"ws://127.0.0.1:{ports['hang']}/devtools/browser/{number}").save()
        began = database_now()
        tasks.probe_sessions()
        seconds = (database_now() - began).total_seconds()
        probed = Probe.objects.exclude(probed_at=None).count()
        assert 0 < probed < 12
        assert seconds < 6
        for _ in range(5):
            tasks.probe_sessions()
    assert not Probe.objects.filter(probed_at=None).exists()


@pytest.mark.django_db(transaction=True)
def test_a_sweep_starts_on_time_while_many_browsers_hang(tmp_path: Path, note: Callable[[str], None]) -> None:
    with served() as ports:
        urls = (f"ws://127.0.0.1:{ports['hang']}/devtools/browser/{number}" for number in range(HANGING))
        BrowserSession.objects.bulk_create(build_session(cdp_url=url) for url in urls)
        make_session("old", namespace="sweep", cdp_url="", **OLD)
        policy = make_policy(
            "Sweep",
            ("expired", 7),
            namespace="sweep",
            is_enabled=True,
            schedule="0 0 1 1 *",
            brake_percent=None,
        )
        with worker(tmp_path / "var") as queue:
            wait_for(lambda: Probe.objects.exclude(probed_at=None).exists(), 60, lambda: queue.output)
            began = database_now()
            CleanupPolicy.objects.filter(pk=policy.pk).update(next_run_at=began)
            Schedule.objects.update(next_run=began)
            wait_for(lambda: policy.runs.filter(state="succeeded").exists(), 80, lambda: queue.output)
            seconds = (database_now() - began).total_seconds()
            left = BrowserSession.objects.filter(namespace="shop", probe__probed_at=None).count()
            assert left, "the sweep must start before the last probe"
    note(f"a sweep ended after {seconds:.0f} s, with {left} of {HANGING} hanging browsers left to probe")
