"""Evaluates rules and delivers messages in the web server if no worker does, to report a silent worker."""

from __future__ import annotations

from datetime import datetime, timedelta

from sessions_app.alerts.delivery import DELIVERY_SECONDS, deliver_due, due_deliveries
from sessions_app.alerts.rules import evaluate, evaluated_at
from sessions_app.deadline import Deadline
from sessions_app.queue.start import is_panel_starting
from sessions_app.transactions.reserve import retry_with_room

EVALUATED_EVERY = timedelta(seconds=20)
"""Interval of the evaluations. The worker's tick also evaluates the rules each minute."""
LATE_AFTER = timedelta(seconds=5)
"""Age after which the web server sends a due message that no worker has sent."""


@retry_with_room
def watch(now: datetime) -> None:
    """Evaluate the rules if an evaluation is due, and send messages that no worker has sent.

    Only the worker sends pings, because they show that it is alive. A web server that has just started does
    not report a missing worker yet, so an evaluation would resolve an open alert about it.
    """
    last = evaluated_at()
    if not is_panel_starting() and (last is None or last <= now - EVALUATED_EVERY):
        evaluate(now)
    if due_deliveries(now - LATE_AFTER).exists():
        deliver_due(now, deadline=Deadline.after(DELIVERY_SECONDS))
