"""Lists the sessions that a run skipped, with the reason for each."""

from __future__ import annotations

from collections import Counter

from sessions_app.cleanup.closings import IN_USE
from sessions_app.models import ArchivedSession, BrowserSession, CleanupRun, PlannedSessions, SessionEvent

NAMED_LIMIT = 1_000


def count_skipped(run: CleanupRun, named: list[dict[str, str]]) -> dict[str, int]:
    """Count the sessions that a run kept, by the public code of the reason.

    Sessions of a plan that is too large to list its sessions count as changed. The plan has counted the
    protected sessions, which are not among the matched ones.
    """
    counts = Counter(session["reason"] for session in named)
    counts["changed"] += run.skipped_count - len(named)
    return {**run.skipped_reasons, **{code: count for code, count in counts.items() if count > 0}}


def list_skipped(run: CleanupRun) -> list[dict[str, str]]:
    """Return the sessions that a run skipped, at most ``NAMED_LIMIT``; none if the plan lists no ids."""
    planned = PlannedSessions.objects.filter(pk=run.pk).first()
    if planned is None or not run.skipped_count:
        return []
    removed = ArchivedSession.objects.filter(run=run).values_list("pk", flat=True)
    # Databases limit the number of parameters in one statement.
    left = sorted(set(planned.ids_json).difference(removed))[:NAMED_LIMIT]
    live = BrowserSession.objects.filter(pk__in=left).order_by("pk")
    browsers = _kept_browsers(left, run)
    named = [_named(session, browsers.get(session.pk) or _skip_reason(session, run)) for session in live]
    gone = ArchivedSession.objects.filter(pk__in=left).order_by("pk")
    named += [
        _named(session, ("changed", f"Run {session.run_id} had already removed it.")) for session in gone
    ]
    return named[: run.skipped_count]


def _kept_browsers(keys: list[int], run: CleanupRun) -> dict[int, tuple[str, str]]:
    """Return the reasons why browsers were not closed, by the primary key of the session."""
    reasons: dict[int, tuple[str, str]] = {}
    if run.criteria.spares_in_use:
        # Since the plan, a client may have connected and disconnected again.
        found = BrowserSession.objects.filter(pk__in=keys, in_use_at__gte=run.as_of)
        reasons = dict.fromkeys(found.values_list("pk", flat=True), ("in_use", IN_USE))
    if run.closes_browsers and run.started_at is not None:
        kept = SessionEvent.objects.filter(
            session_key__in=keys, code=SessionEvent.Code.KEPT, at__gte=run.started_at
        )
        for key, details in kept.order_by("id").values_list("session_key", "details"):
            reasons[key] = ("in_use" if details == IN_USE else "not_closed", details)
    return reasons


def _skip_reason(session: BrowserSession, run: CleanupRun) -> tuple[str, str]:
    """Return the public code of the reason, and a sentence."""
    if session.updated_at < run.sealed_at and run.criteria.has_vanished:
        return "changed", "Its file exists again."
    if session.updated_at < run.sealed_at:
        # The file may also be open for writing or unreadable. The run finds out only when it reads the file.
        return "changed", "Its file was written again after the preview."
    if session.is_pinned and not run.criteria.all:
        return "pinned", "It was pinned after the preview."
    return "changed", "It was changed after the preview."


def _named(session: BrowserSession | ArchivedSession, reason: tuple[str, str]) -> dict[str, str]:
    code, sentence = reason
    return {"namespace": session.namespace, "name": session.name, "reason": code, "because": sentence}
