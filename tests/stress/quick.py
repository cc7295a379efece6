"""An app that shortens the waits for lost tasks, for workers that a test starts."""

from __future__ import annotations

from datetime import timedelta

from django.apps import AppConfig


class QuickConfig(AppConfig):
    name = "tests.stress"

    def ready(self) -> None:
        from sessions_app.queue import outbox

        outbox.HEARTBEAT_SECONDS = 1.0
        outbox.LOST_AFTER = timedelta(seconds=6)
        outbox.SEND_AGAIN_AFTER = timedelta(seconds=6)
