"""The web server's thread that evaluates and delivers alerts."""

from __future__ import annotations

import threading
from typing import Any

import pytest

from raptor_admin import watcher
from tests.e2e.panel import wait_for


def test_the_thread_continues_after_an_error_and_can_be_stopped(
    db: None, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    calls: list[Any] = []

    def watch(now: Any) -> None:
        calls.append(now)
        if len(calls) < 3:
            raise RuntimeError("ws://127.0.0.1:9222/devtools/browser/secret cannot be reached")

    monkeypatch.setattr(watcher, "watch", watch)
    monkeypatch.setattr(watcher, "database_now", lambda: "now")
    # The thread must not close the connection of the test.
    monkeypatch.setattr(watcher, "close_old_connections", lambda: None)
    stop = threading.Event()
    watcher.start_watcher(stop, check_seconds=0.01)
    wait_for(lambda: len(calls) > 4, 30, lambda: str(calls))
    stop.set()
    errors = [record.getMessage() for record in caplog.records if record.name == "raptor_admin.watcher"]
    assert len(errors) == 1
    assert "secret" not in errors[0]
