"""Measure the time to probe 1,000 endpoints, compared with the minimum that the hanging ones take."""

from __future__ import annotations

import math
import time

from tests.benchmarks.sync import print_row

SHARES = {"hang": 200, "refuse": 200, "junk": 100, "stream": 100, "alive": 400}
LIMIT = 1.2


def measure() -> None:
    """Print the rows of the table as JSON, one a line."""
    import django

    django.setup()
    from django.core.management import call_command

    call_command("migrate", verbosity=0)
    from sessions_app.browsers.guard import TIMEOUT_SECONDS
    from sessions_app.liveness import enrol_sessions, probe_all, targets
    from sessions_app.liveness.probing import CONCURRENCY
    from sessions_app.models import BrowserSession
    from sessions_app.models.clock import database_now
    from tests.endpoints import served
    from tests.factories import build_session
    from tests.fake_browser import SAVED

    with served() as ports:
        for kind, share in SHARES.items():
            for _ in range(share):
                build_session(cdp_url=f"ws://127.0.0.1:{ports[kind]}/devtools/browser/{SAVED}").save()
        enrol_sessions(database_now())
        # In random order, as on a panel with browsers of all ages.
        sessions = BrowserSession.objects.order_by("?")
        began = time.perf_counter()
        probe_all(targets(sessions, ("here",)))
        seconds = time.perf_counter() - began
    least_seconds = math.ceil(SHARES["hang"] / CONCURRENCY) * TIMEOUT_SECONDS
    print_row(
        "probing 1,000 endpoints, 200 of which hang",
        "hanging endpoints / concurrency x timeout",
        seconds,
        least_seconds,
        LIMIT,
    )


if __name__ == "__main__":
    measure()
