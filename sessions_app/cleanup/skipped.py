"""Lists the sessions that a run skipped, with the reason for each."""

from __future__ import annotations

from sessions_app.models import ArchivedSession, BrowserSession, CleanupRun, PlannedSessions

NAMED_LIMIT = 1_000


def list_skipped(run: CleanupRun) -> list[dict[str, str]]:
    """Return the sessions that a run skipped, at most ``NAMED_LIMIT``; none if the plan lists no ids."""
    planned = PlannedSessions.objects.filter(pk=run.pk).first()
    if planned is None or not run.skipped_count:
        return []
    removed = ArchivedSession.objects.filter(run=run).values_list("pk", flat=True)
    # Databases limit the number of parameters in one statement.
    left = sorted(set(planned.ids_json).difference(removed))[:NAMED_LIMIT]
    live = BrowserSession.objects.filter(pk__in=left).order_by("pk").defer("document", "last_good_document")
    named = [_named(session, _skip_reason(session, run)) for session in live]
    gone = ArchivedSession.objects.filter(pk__in=left).order_by("pk").defer("document", "last_good_document")
    named += [_named(session, f"Run {session.run_id} had already removed it.") for session in gone]
    return named[: run.skipped_count]


def _skip_reason(session: BrowserSession, run: CleanupRun) -> str:
    if session.updated_at < run.sealed_at and run.criteria.has_vanished:
        return "Its file exists again."
    if session.updated_at < run.sealed_at:
        # The file may also be open for writing or unreadable. The run finds out only when it reads the file.
        return "Its file was written again after the preview."
    if session.is_pinned and not run.criteria.all:
        return "It was pinned after the preview."
    return "It was changed after the preview."


def _named(session: BrowserSession | ArchivedSession, reason: str) -> dict[str, str]:
    return {"namespace": session.namespace, "name": session.name, "because": reason}
