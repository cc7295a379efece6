"""A panel with 2,000 sessions of several users, teams and ages, for the tasks of a working day."""

from __future__ import annotations

import json
from datetime import UTC, datetime, timedelta

from sessions_app.models import BrowserSession, CleanupPolicy
from sessions_app.policies import sweep
from sessions_app.session.document import parse_document

SESSIONS = 2_000
USERS = ("ada", "barbara", "edsger", "grace", "katherine", "ken", "linus", "margaret", "radia", "tim")
POLICY = "Old sessions of the bank"


def fill() -> None:
    """Add the sessions: a quarter is expired, and each user has 200."""
    now = datetime.now(UTC)
    BrowserSession.objects.bulk_create((_session(number, now) for number in range(SESSIONS)), batch_size=500)


def _session(number: int, now: datetime) -> BrowserSession:
    age = timedelta(days=20 + number % 9, minutes=number) if number % 4 == 0 else timedelta(minutes=number)
    metadata = {"user": USERS[number % 10], "env": ("staging", "production", "ci")[number % 3]}
    content = {
        "session_id": f"{number:08x}",
        "cdp_url": f"ws://127.0.0.1:{9_000 + number % 500}/devtools/browser/{number:032x}",
        "browser_type": ("chromium", "chromium", "firefox")[number % 3],
        "created_at": (now - age - timedelta(hours=1)).isoformat(),
        "last_accessed": (now - age).isoformat(),
        "metadata": metadata,
    }
    data = json.dumps(content).encode()
    return BrowserSession(
        namespace=("shop", "bank")[number % 8 // 4],
        name=f"{('checkout', 'login', 'search', 'profile')[number % 7 % 4]}-{number:04}",
        size_bytes=len(data),
        **{**parse_document(data, time_zone=UTC)._asdict(), "document": data},
    )


def hold_a_run() -> None:
    """Run a sweep that exceeds its safety limit, so that its run needs approval."""
    limits = {"brake_count": 100, "brake_percent": None}
    policy, is_new = CleanupPolicy.objects.get_or_create(
        name=POLICY, defaults={"namespace": "bank", **limits}
    )
    if is_new:
        policy.steps.create(position=1, criterion="expired", max_age_days=24)
    sweep(policy, due_at=datetime.now(UTC), trigger="schedule", actor=policy.name)
