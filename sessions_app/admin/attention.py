"""Findings on the screens. The health checks and the alerts use the same texts."""

from __future__ import annotations

from collections.abc import Iterable
from datetime import datetime
from itertools import groupby
from typing import Any, NamedTuple

from django.http import HttpRequest
from django.urls import reverse
from django.utils.safestring import SafeString

from sessions_app.access.visibility import hidden_from
from sessions_app.admin import badges
from sessions_app.alerts.findings import Code, Finding, Source, visible_findings
from sessions_app.alerts.links import page_of
from sessions_app.alerts.run_sources import held_runs
from sessions_app.alerts.sources import SOURCES, find

SHOWN_OF_A_CODE = 5
# Plans that need approval have a separate section with buttons.
SHOWN_SOURCES = tuple(source for source in SOURCES if source is not held_runs)
_MORE = {
    Code.RUN_FAILED: ("All cleanup runs", "cleanuprun"),
    Code.DIRECTORY_UNREACHABLE: ("All session directories", "sessiondirectory"),
}


class Line(NamedTuple):
    """A finding with its badge and the link to its page."""

    badge: SafeString
    text: str
    link: str


def attention_context(
    request: HttpRequest, now: datetime, sources: Iterable[Source] = SHOWN_SOURCES
) -> dict[str, Any]:
    """Return the template context for the section “Needs attention”.

    Args:
        now: Instant by the database's clock.
    """
    user: Any = request.user
    found = visible_findings(
        find(now, sources),
        hidden=hidden_from(user),
        has_perm=lambda name: user.has_perm(f"sessions_app.{name}"),
    )
    lines = []
    for code, group in groupby(found, key=lambda finding: finding.code):
        findings = list(group)
        lines += [_line(finding) for finding in findings[:SHOWN_OF_A_CODE]]
        if len(findings) > SHOWN_OF_A_CODE:
            lines.append(_more(code, findings))
    return {"attention": lines}


def _line(finding: Finding) -> Line:
    return Line(_badge(finding), finding.text, page_of(finding))


def _more(code: Code, findings: list[Finding]) -> Line:
    text, page = _MORE.get(code, ("Others of this kind", ""))
    link = reverse(f"admin:sessions_app_{page}_changelist") if page else ""
    return Line(_badge(findings[0]), f"{text} ({len(findings):,} in total)", link)


def _badge(finding: Finding) -> SafeString:
    return badges.badge("bad", "Critical") if finding.is_critical else badges.badge("stale", "Warning")
