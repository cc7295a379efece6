"""Fixtures for the tests of alerts."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

import pytest

if TYPE_CHECKING:
    from sessions_app.models import AlertRule, AlertTarget
    from tests.alerting import Receiver


@pytest.fixture
def healthy(db: None, settings: Any) -> None:
    from tests.alerting import make_healthy

    make_healthy()
    settings.RAPTOR_WEBHOOK_ALLOWED_HOSTS = ("127.0.0.1",)


@pytest.fixture
def receiver() -> Iterator[Receiver]:
    from tests.alerting import receiving

    with receiving() as server:
        yield server


@pytest.fixture
def target(receiver: Receiver) -> AlertTarget:
    from tests.alerting import add_target

    return add_target(receiver)


@pytest.fixture
def rule(target: AlertTarget) -> AlertRule:
    from sessions_app.models import AlertRule

    rule = AlertRule.objects.create(name="workers", kind=AlertRule.Kind.WORKER_SILENT)
    rule.targets.add(target)
    return rule
