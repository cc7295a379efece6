"""The web server's thread that evaluates and delivers alerts while no worker does."""

from __future__ import annotations

import logging
import threading

from django.db import close_old_connections

from sessions_app.alerts.watch import watch
from sessions_app.models.clock import database_now
from sessions_app.session.masking import safe_message

CHECK_SECONDS = 5.0

logger = logging.getLogger(__name__)


def start_watcher(stop: threading.Event | None = None, *, check_seconds: float = CHECK_SECONDS) -> None:
    """Start the thread. It ends with its process."""
    arguments = (stop or threading.Event(), check_seconds)
    threading.Thread(target=_run, args=arguments, name="raptor-watcher", daemon=True).start()


def _run(stop: threading.Event, check_seconds: float) -> None:
    is_failing = False
    while not stop.wait(check_seconds):
        close_old_connections()
        try:
            watch(database_now())
            is_failing = False
        except Exception as error:
            # An error must not end the thread; the next round tries again.
            if not is_failing:
                logger.error("Evaluating the alerts failed; trying again. %s", safe_message(error))
            is_failing = True
        finally:
            close_old_connections()
