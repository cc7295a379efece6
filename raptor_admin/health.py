"""Health checks for load balancers, containers and monitoring."""

import hmac
import logging
from typing import Any

from django.conf import settings
from django.db import DatabaseError, connection
from django.http import HttpRequest, HttpResponse, JsonResponse
from django.views.decorators.cache import never_cache

from sessions_app.access.visibility import hidden_from
from sessions_app.alerts.findings import Finding, visible_findings
from sessions_app.alerts.health import check_health
from sessions_app.queue.broker import is_reachable
from sessions_app.transactions.disk import disk_full_message
from sessions_app.transactions.reserve import open_database

logger = logging.getLogger(__name__)


@never_cache
def healthz(request: HttpRequest) -> HttpResponse:
    """Return status 200 if the database answers, and 503 if it does not; report the queue in the text.

    The panel works without the queue, so a load balancer must not take it away then.
    """
    try:
        open_database()
        with connection.cursor() as cursor:
            cursor.execute("SELECT 1")
    except DatabaseError as error:
        if message := disk_full_message(error):
            logger.warning("%s", message)
            return HttpResponse(f"{message}\n", status=503, content_type="text/plain")
        logger.warning("The database does not answer: %s", type(error).__name__)
        return HttpResponse("the database does not answer\n", status=503, content_type="text/plain")
    text = "ok\n" if is_reachable() else "ok, but the task queue cannot be reached\n"
    return HttpResponse(text, content_type="text/plain")


@never_cache
def readyz(request: HttpRequest) -> HttpResponse:
    """Return status 503 if there are critical findings; list the findings for permitted callers.

    Warnings are listed too, but do not change the status.
    """
    found = check_health()
    is_ready = not any(finding.is_critical for finding in found)
    reasons = _permitted(request, found)
    status = 200 if is_ready else 503
    if request.GET.get("format") == "json":
        report: dict[str, Any] = {"status": "ready" if is_ready else "not ready"}
        if reasons is not None:
            report["findings"] = [finding.to_json() for finding in reasons]
        return JsonResponse(report, status=status)
    lines = ["ready" if is_ready else "not ready"]
    lines += [f"{finding.severity} {finding.code}: {finding.text}" for finding in reasons or ()]
    return HttpResponse("".join(f"{line}\n" for line in lines), status=status, content_type="text/plain")


def has_metrics_token(request: HttpRequest) -> bool:
    """Check whether a request has the metrics token. Uses a constant-time comparison."""
    token = settings.RAPTOR_METRICS_TOKEN
    sent = request.headers.get("Authorization", "")
    return bool(token) and hmac.compare_digest(sent.encode(), f"Bearer {token}".encode())


def _permitted(request: HttpRequest, findings: list[Finding]) -> list[Finding] | None:
    """Return the findings that the caller may read; None if the caller may not read findings."""
    if has_metrics_token(request):
        return findings
    try:
        user: Any = request.user
        if not (user.is_active and user.is_staff and user.has_perm("sessions_app.view_queuedtask")):
            return None
        hidden = hidden_from(user)
    except DatabaseError:
        return None
    return visible_findings(
        findings, hidden=hidden, has_perm=lambda name: bool(user.has_perm(f"sessions_app.{name}"))
    )
