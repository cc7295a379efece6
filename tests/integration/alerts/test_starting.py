"""Tasks that became due while no worker ran are not reported while all workers are new."""

from __future__ import annotations

from datetime import timedelta

import pytest

from sessions_app.alerts.sources import overdue_schedules
from sessions_app.models import CleanupPolicy, Machine
from tests.factories import AS_OF, make_policy

pytestmark = pytest.mark.django_db


def texts() -> list[str]:
    return [finding.text for finding in overdue_schedules(AS_OF)]


def test_a_schedule_is_overdue_if_a_worker_has_run_for_over_ten_minutes() -> None:
    make_policy(
        "Team", "invalid", schedule="0 2 * * *", is_enabled=True, next_run_at=AS_OF - timedelta(hours=9)
    )
    Machine.objects.create(name="runner", started_at=AS_OF, heartbeat_at=AS_OF)
    assert texts() == []
    Machine.objects.create(name="other", started_at=AS_OF - timedelta(hours=1), heartbeat_at=AS_OF)
    assert "“Team” is overdue" in texts()[0]
    CleanupPolicy.objects.update(is_enabled=False)
    assert texts() == []
