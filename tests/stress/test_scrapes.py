"""Many requests of /metrics."""

from __future__ import annotations

import gc
from typing import Any

import pytest
from django.test import RequestFactory

from raptor_admin.metrics import metrics
from tests.alerting import TOKEN, make_healthy
from tests.stress.effort import SCRAPES

pytestmark = pytest.mark.django_db


def test_many_scrapes_leak_nothing(settings: Any) -> None:
    settings.RAPTOR_METRICS_TOKEN = TOKEN
    make_healthy()
    # Django's test client keeps three objects for each request.
    request = RequestFactory().get("/metrics", headers={"authorization": f"Bearer {TOKEN}"})

    def objects_after(count: int) -> int:
        for _ in range(count):
            assert metrics(request).status_code == 200
        gc.collect()
        return len(gc.get_objects())

    objects_after(20)
    before = objects_after(20)
    assert objects_after(SCRAPES) - before < SCRAPES // 10
