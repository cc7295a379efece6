"""Short labels with a colored dot; the text carries the meaning, the color only supports it."""

from __future__ import annotations

from django.utils.html import format_html, format_html_join
from django.utils.safestring import SafeString

from sessions_app.models import CleanupRun
from sessions_app.session.criteria import Reason, reasons_in
from sessions_app.session.problems import Problem

_STATE_KINDS = {
    CleanupRun.State.SUCCEEDED: "good",
    CleanupRun.State.FAILED: "bad",
    CleanupRun.State.INTERRUPTED: "stale",
    CleanupRun.State.HELD: "stale",
}


def badge(kind: str, text: str) -> SafeString:
    return format_html('<span class="raptor-badge raptor-{}">{}</span>', kind, text)


def state_badge(run: CleanupRun, *, is_queued: bool = False) -> SafeString:
    """Render the state of a run, or “Queued” while it waits for the worker."""
    if is_queued:
        return badge("quiet", "Queued")
    return badge(_STATE_KINDS.get(CleanupRun.State(run.state), "quiet"), run.get_state_display())


def verdicts(bits: int) -> SafeString:
    """Render “Invalid” and “Expired” as they apply, or “Valid”."""
    found = []
    if any(isinstance(reason, Problem) for reason in reasons_in(bits)):
        found.append(badge("bad", "Invalid"))
    if bits & Reason.EXPIRED:
        found.append(badge("stale", "Expired"))
    return format_html_join(" ", "{}", ((mark,) for mark in found or [badge("good", "Valid")]))
