"""Sessions in the database, for tests."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

from sessions_app.cleanup import plan_cleanup, run_cleanup
from sessions_app.models import ArchivedSession, BrowserSession, CleanupRun
from sessions_app.session.criteria import Criteria
from sessions_app.session.document import parse_document
from tests.documents import AS_OF, OLD, document_bytes


def make_session(
    name: str = "checkout", *, namespace: str = "shop", is_pinned: bool = False, **changes: Any
) -> BrowserSession:
    data = document_bytes(**changes)
    return BrowserSession.objects.create(
        namespace=namespace,
        name=name,
        is_pinned=is_pinned,
        document=data,
        size_bytes=len(data),
        **parse_document(data, time_zone=UTC)._asdict(),
    )


def make_sessions(count: int, **changes: Any) -> None:
    for number in range(count):
        make_session(f"session-{number:03}", **changes)


def plan(as_of: datetime = AS_OF, **criteria: Any) -> CleanupRun:
    return plan_cleanup(Criteria(**criteria), trigger="command", actor="tester", as_of=as_of)


def swept(**criteria: Any) -> CleanupRun:
    return run_cleanup(plan(**(criteria or {"expired": True})))


def forget_sessions(*names: str) -> None:
    """Empty the table of live sessions, or take some out of it: to begin anew, not to remove them."""
    sessions = BrowserSession.objects.filter(name__in=names) if names else BrowserSession.objects.all()
    sessions._raw_delete(sessions.db)


def live() -> list[str]:
    return list(BrowserSession.objects.order_by("name").values_list("name", flat=True))


def archived() -> list[str]:
    return list(ArchivedSession.objects.order_by("name").values_list("name", flat=True))


def assert_counters_equal_rows(run: CleanupRun) -> None:
    rows = run.archived_sessions.all()
    assert run.removed_count == len(rows)
    assert run.removed_bytes == sum(row.size_bytes for row in rows)


__all__ = [
    "AS_OF",
    "OLD",
    "archived",
    "assert_counters_equal_rows",
    "forget_sessions",
    "live",
    "make_session",
    "make_sessions",
    "plan",
    "swept",
]
