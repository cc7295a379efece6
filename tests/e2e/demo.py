"""A panel with 2,000 demo sessions, shared by tests that only read it or add to it."""

from __future__ import annotations

from tests.e2e.panel import Panel

PASSWORD = "correct horse battery staple"
SESSIONS = 2_000


def fill(panel: Panel) -> None:
    """Add sessions, a run that removed some, a plan for others, gone browsers, and snapshots for charts."""
    folder = panel.directory / "home" / ".raptor" / "sessions"
    panel.manage("demo_sessions", str(folder), "--count", str(SESSIONS))
    panel.manage("sync_directories", str(folder), "--namespace", "shop")
    panel.manage("cleanup_sessions", "--expired", "--max-age-days", "60", "--yes")
    panel.manage("cleanup_sessions", "--invalid", "--dry-run")
    # Probes would find this only after ten minutes, and the widest badges have to fit as well.
    panel.shell(
        "from django.db.models import F; from django.utils.timezone import now; "
        "from sessions_app.models import BrowserSession; "
        "from sessions_app.session.browser_states import BrowserState; "
        "BrowserSession.objects.filter(pk__range=(1, 1500)).record_browser("
        "browser_state=BrowserState.GONE, browser_since=now())"
    )
    panel.shell(
        "from sessions_app.reports import take_snapshot; from django.utils import timezone; "
        "from datetime import timedelta; now = timezone.now(); "
        "[take_snapshot(as_of=now - timedelta(hours=n), max_age_days=7) for n in (50, 3, 0)]"
    )
