"""Probes and closes the browsers of sessions.

Browsers listen on loopback, so only a worker on the same machine can probe them. ``due`` chooses the sessions
that each machine probes next, ``probing`` probes many at once, ``record`` stores the answers, and ``closing``
closes browsers.
"""

from sessions_app.liveness.closing import browsers_here, close_for_run, close_here, close_sessions
from sessions_app.liveness.due import (
    ANY_MACHINE,
    announced_machines,
    enrol_sessions,
    machine_of,
    reassign_forgotten,
    targets,
    unnamed_machines,
)
from sessions_app.liveness.elsewhere import probe_by_worker
from sessions_app.liveness.probing import PASS_SECONDS, Counts, probe_all, probe_due
from sessions_app.liveness.record import digest_of, drop_old_events, record_opened
from sessions_app.liveness.saved import SavedBrowser, saved_browsers
from sessions_app.liveness.state import Browser, browser_of, first_in_state, living_browsers

__all__ = [
    "ANY_MACHINE",
    "PASS_SECONDS",
    "Browser",
    "Counts",
    "SavedBrowser",
    "announced_machines",
    "browser_of",
    "browsers_here",
    "close_for_run",
    "close_here",
    "close_sessions",
    "digest_of",
    "drop_old_events",
    "enrol_sessions",
    "first_in_state",
    "living_browsers",
    "machine_of",
    "probe_all",
    "probe_by_worker",
    "probe_due",
    "reassign_forgotten",
    "record_opened",
    "saved_browsers",
    "targets",
    "unnamed_machines",
]
