from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest
from django.core.checks import CheckMessage

from sessions_app import checks


def ids(*messages: CheckMessage) -> list[str | None]:
    return [message.id for message in messages]


@pytest.fixture
def cluster(settings: Any) -> dict[str, Any]:
    """The settings of the queue, which a test can change."""
    settings.Q_CLUSTER = dict(settings.Q_CLUSTER)
    changed: dict[str, Any] = settings.Q_CLUSTER
    return changed


def test_the_default_settings_pass() -> None:
    for check in (
        checks.check_task_times,
        checks.check_queue,
        checks.check_workers_on_sqlite,
    ):
        assert check() == []


@pytest.mark.parametrize(("timeout", "retry"), [(200, 900), (240, 900), (300, 300), (900, 300)])
def test_times_out_of_order_are_an_error(cluster: dict[str, Any], timeout: int, retry: int) -> None:
    cluster |= {"timeout": timeout, "retry": retry}
    assert ids(*checks.check_task_times()) == ["sessions_app.E001"]


@pytest.mark.parametrize(
    "changes",
    [
        {"scheduler": True},
        {"max_attempts": 0},
        {"max_attempts": 3},
        {"ack_failures": False},
    ],
)
def test_schedules_and_attempts_of_django_q_are_an_error(
    cluster: dict[str, Any], changes: dict[str, Any]
) -> None:
    cluster |= changes
    assert ids(*checks.check_queue()) == ["sessions_app.E002"]
    for name in changes:
        del cluster[name]
    assert ids(*checks.check_queue()) == ["sessions_app.E002"]


def test_several_workers_are_a_warning_on_sqlite_only(
    cluster: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    cluster["workers"] = 4
    monkeypatch.setattr(checks, "connection", SimpleNamespace(vendor="sqlite"))
    assert ids(*checks.check_workers_on_sqlite()) == ["sessions_app.W001"]
    monkeypatch.setattr(checks, "connection", SimpleNamespace(vendor="postgresql"))
    assert checks.check_workers_on_sqlite() == []
