"""Links to the pages of findings."""

from __future__ import annotations

from django.conf import settings
from django.urls import NoReverseMatch, reverse

from sessions_app.alerts.findings import Code, Finding

_LISTS = {
    Code.STORAGE_OVER_LIMIT: "admin:sessions_app_storage",
    Code.WORKER_STOPPED: "admin:sessions_app_queuedtask_changelist",
}


def page_of(finding: Finding) -> str:
    """Return the path of a finding's page; blank if it has none."""
    try:
        if finding.link:
            return reverse(f"admin:sessions_app_{finding.link}_change", args=[finding.link_id])
        return reverse(_LISTS[finding.code]) if finding.code in _LISTS else ""
    except NoReverseMatch:
        # Another Django project may install the app without its screens.
        return ""


def absolute(path: str) -> str:
    """Return the absolute URL of a page if ``RAPTOR_PUBLIC_URL`` is set; otherwise its path."""
    prefix = settings.FORCE_SCRIPT_NAME or ""
    # Outside a request, the URL prefix is not known.
    inner = path.removeprefix(prefix)
    base = settings.RAPTOR_PUBLIC_URL or prefix
    return f"{base}{inner}" if path else ""
