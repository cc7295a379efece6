"""Downloads: all sessions of a plan or run, and the filtered list of runs. They never hold an endpoint."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from copy import copy
from functools import partial
from typing import Any

from django.core.exceptions import PermissionDenied
from django.db.models import F
from django.http import HttpRequest, StreamingHttpResponse
from django.urls import URLPattern, path
from django.utils import timezone

from sessions_app.access.visibility import conceal, hidden_from, visible, visible_names
from sessions_app.admin.base import RaptorAdmin, get_run
from sessions_app.admin.formatting import describe_criteria, request_time
from sessions_app.admin.streaming import csv_file, filtered_rows, iterate_by_id, json_file
from sessions_app.cleanup import matching
from sessions_app.models import ArchivedSession, CleanupRun
from sessions_app.session.criteria import reasons_in
from sessions_app.session.endpoint import mask_endpoints

SESSION_COLUMNS = ("namespace", "name", "browser_type", "last_accessed", "size_bytes", "pinned", "reasons")
SKIPPED_COLUMNS = ("namespace", "name", "because")
_READ_COLUMNS = ("namespace", "name", "browser_type", "last_accessed", "size_bytes", "is_pinned")
_PLANS = (CleanupRun.State.PLANNED, CleanupRun.State.HELD)


def urls(screen: RaptorAdmin) -> list[URLPattern]:
    views: dict[str, tuple[str, Callable[..., StreamingHttpResponse]]] = {
        "export.csv": ("export_csv", ledger_csv),
        "export.json": ("export_json", ledger_json),
        "<int:run_id>/sessions.csv": ("sessions_csv", sessions_csv),
        "<int:run_id>/sessions.json": ("sessions_json", sessions_json),
        "<int:run_id>/skipped.csv": ("skipped_csv", skipped_csv),
    }
    return [
        path(
            route,
            screen.admin_site.admin_view(partial(view, screen)),
            name=f"sessions_app_cleanuprun_{name}",
        )
        for route, (name, view) in views.items()
    ]


def sessions_csv(screen: RaptorAdmin, request: HttpRequest, run_id: int) -> StreamingHttpResponse:
    run = _get_run(screen, request, run_id)
    return csv_file(f"raptor-run-{run.pk}", SESSION_COLUMNS, _sessions(request, run))


def sessions_json(screen: RaptorAdmin, request: HttpRequest, run_id: int) -> StreamingHttpResponse:
    """Stream one object; ``skipped`` lists names and reasons only for users who may view sessions."""
    run = _get_run(screen, request, run_id)
    named = visible_names(request.user, run.skipped_sessions) if _sees_skipped(request) else None
    # Conceal a copy: the download needs the original criteria to find the sessions.
    shown = conceal(request.user, copy(run))
    head = {
        "run": run.pk,
        "state": run.state,
        "as_of": run.as_of.isoformat(),
        "criteria": _criteria(request, shown),
        "matched": _count(shown, "matched_count"),
        "removed": _count(shown, "removed_count"),
        "skipped": {"count": _count(shown, "skipped_count"), "sessions": named},
    }
    return json_file(f"raptor-run-{run.pk}", head, "sessions", _sessions(request, run))


def skipped_csv(screen: RaptorAdmin, request: HttpRequest, run_id: int) -> StreamingHttpResponse:
    run = _get_run(screen, request, run_id)
    if not _sees_skipped(request):
        raise PermissionDenied
    return csv_file(
        f"raptor-run-{run.pk}-skipped", SKIPPED_COLUMNS, visible_names(request.user, run.skipped_sessions)
    )


def ledger_csv(screen: RaptorAdmin, request: HttpRequest) -> StreamingHttpResponse:
    return csv_file(_ledger_name(request), tuple(_LEDGER), _ledger(screen, request))


def ledger_json(screen: RaptorAdmin, request: HttpRequest) -> StreamingHttpResponse:
    head = {"as_of": request_time(request).isoformat()}
    return json_file(_ledger_name(request), head, "runs", _ledger(screen, request))


def _get_run(screen: RaptorAdmin, request: HttpRequest, run_id: int) -> CleanupRun:
    run = get_run(screen, request, run_id)
    needed = "view_browsersession" if run.state in _PLANS else "view_archivedsession"
    if not request.user.has_perm(f"sessions_app.{needed}"):
        raise PermissionDenied
    return run


def _criteria(request: HttpRequest, run: CleanupRun) -> dict[str, Any]:
    """Return the criteria without the namespaces that are hidden from the user."""
    criteria: dict[str, Any] = run.criteria_json
    if "not_namespaces" in criteria:
        criteria = criteria | {
            "not_namespaces": sorted(set(criteria["not_namespaces"]) - hidden_from(request.user))
        }
    selection = criteria.get("selection") or {}
    # A user may search for a pasted endpoint.
    if selection.get("text"):
        selection = selection | {"text": mask_endpoints(selection["text"])}
    if pairs := selection.get("metadata"):
        selection = selection | {"metadata": [[key, mask_endpoints(value)] for key, value in pairs]}
    if selection:
        criteria = criteria | {"selection": selection}
    return criteria


def _sees_skipped(request: HttpRequest) -> bool:
    """Check the permission to view sessions: most skipped sessions are live."""
    return request.user.has_perm("sessions_app.view_browsersession")


def _sessions(request: HttpRequest, run: CleanupRun) -> Iterator[dict[str, Any]]:
    rows: Iterable[Any]
    if run.state in _PLANS:
        planned = matching(run).annotate(reason_bits=run.criteria.reasons(run.as_of))
        rows = iterate_by_id(visible(request.user, planned.only(*_READ_COLUMNS)))
    else:
        archived = ArchivedSession.objects.filter(run=run).annotate(reason_bits=F("reasons"))
        rows = iterate_by_id(visible(request.user, archived.only(*_READ_COLUMNS)))
    for row in rows:
        yield {
            "namespace": row.namespace,
            "name": row.name,
            "browser_type": mask_endpoints(row.browser_type),
            "last_accessed": row.last_accessed and row.last_accessed.isoformat(),
            "size_bytes": row.size_bytes,
            "pinned": row.is_pinned,
            "reasons": [reason.code for reason in reasons_in(row.reason_bits)],
        }


def _ledger(screen: RaptorAdmin, request: HttpRequest) -> Iterator[dict[str, Any]]:
    runs = filtered_rows(screen, request).defer("skipped_sessions").select_related("policy")
    shown = (conceal(request.user, run) for run in iterate_by_id(runs, is_newest_first=True))
    return ({name: read(run) for name, read in _LEDGER.items()} for run in shown)


def _ledger_name(request: HttpRequest) -> str:
    return f"raptor-cleanups-{timezone.localtime(request_time(request)):%Y-%m-%d}"


def _instant(name: str) -> Any:
    return lambda run: (value := getattr(run, name)) and value.isoformat()


def _column(name: str) -> Any:
    return lambda run: getattr(run, name)


def _count(run: CleanupRun, name: str) -> int | None:
    """Return a count of a run; None if it includes sessions that the user cannot see."""
    return None if run.is_concealed else getattr(run, name)


def _counted(name: str) -> Any:
    return lambda run: _count(run, name)


def _seconds(run: CleanupRun) -> float | None:
    if run.started_at is None or run.finished_at is None:
        return None
    return round((run.finished_at - run.started_at).total_seconds(), 3)


_LEDGER: dict[str, Any] = {
    "run": _column("pk"),
    "state": _column("state"),
    "trigger": _column("trigger"),
    "actor": _column("actor"),
    "policy": lambda run: run.policy.name if run.policy else "",
    "step": _column("step_position"),
    "criteria": describe_criteria,
    "as_of": _instant("as_of"),
    "planned_at": _instant("planned_at"),
    "started_at": _instant("started_at"),
    "finished_at": _instant("finished_at"),
    "seconds": _seconds,
    "matched": _counted("matched_count"),
    "removed": _counted("removed_count"),
    "skipped": _counted("skipped_count"),
    "bytes": _counted("removed_bytes"),
    "before_bytes": _counted("before_bytes"),
    "after_bytes": _counted("after_bytes"),
    "restored": _counted("restored_count"),
    "emptied": _counted("emptied_count"),
    "held_because": _column("held_because"),
    "approved_by": _column("approved_by"),
    "closed_by": _column("closed_by"),
    "undone_by": _column("undone_by"),
    "error": lambda run: mask_endpoints(run.error),
}
