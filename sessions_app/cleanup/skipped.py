"""Names the sessions of a plan that its run did not take, and says why each of them stayed."""

from __future__ import annotations

from sessions_app.models import ArchivedSession, BrowserSession, CleanupRun, PlannedSessions

NAMED_LIMIT = 1_000


def list_skipped(run: CleanupRun) -> list[dict[str, str]]:
    """Name the sessions that a run skipped, at most ``NAMED_LIMIT``; none where the plan was not listed."""
    planned = PlannedSessions.objects.filter(pk=run.pk).first()
    if planned is None or not run.skipped_count:
        return []
    taken = ArchivedSession.objects.filter(run=run).values_list("pk", flat=True)
    # A database takes only so many keys in one statement.
    left = sorted(set(planned.ids_json).difference(taken))[:NAMED_LIMIT]
    live = BrowserSession.objects.filter(pk__in=left).order_by("pk").defer("document", "last_good_document")
    named = [_named(session, _skip_reason(session, run)) for session in live]
    gone = ArchivedSession.objects.filter(pk__in=left).order_by("pk").defer("document", "last_good_document")
    named += [_named(session, f"Run {session.run_id} removed it before.") for session in gone]
    return named[: run.skipped_count]


def _skip_reason(session: BrowserSession, run: CleanupRun) -> str:
    if session.updated_at < run.sealed_at and run.criteria.has_vanished:
        return "Its file is back."
    if session.updated_at < run.sealed_at:
        # Or is open for writing, or cannot be read any more: either shows only when its turn comes.
        return "Its file was written again after the preview."
    if session.is_pinned and not run.criteria.all:
        return "It was pinned after the preview."
    return "It was changed after the preview."


def _named(session: BrowserSession | ArchivedSession, because: str) -> dict[str, str]:
    return {"namespace": session.namespace, "name": session.name, "because": because}
