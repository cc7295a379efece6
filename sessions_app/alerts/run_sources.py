"""The queries for the findings about runs."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import datetime, timedelta
from typing import Any

from django.db.models import Exists, F, OuterRef

from sessions_app.alerts.findings import MAX_OF_A_CODE, Code, Finding
from sessions_app.models import CleanupRun
from sessions_app.text import count_of

RECENT = timedelta(days=1)
"""Age up to which a run that removed many sessions is a finding."""
FAILED_PERIOD = timedelta(days=7)
"""Age up to which a failed run is a finding, unless it was resumed or its policy has succeeded since."""

_State = CleanupRun.State
_RUN_PAGE = {"link": "cleanuprun", "permission": "view_cleanuprun"}


def held_runs(now: datetime) -> Iterator[Finding]:
    """Yield the plans that exceed a safety limit."""
    for run in _with_facts(CleanupRun.objects.filter(state=_State.HELD).order_by("pk")):
        text = f"Run {run['pk']}{_of_policy(run)} needs approval. {run['held_because']}".strip()
        short = f"Run {run['pk']} needs approval: it exceeds a safety limit."
        yield _of_run(Code.RUN_NEEDS_APPROVAL, run, text, short)


def failed_runs(now: datetime) -> Iterator[Finding]:
    """Yield recent failed runs. A later success of the same policy resolves them."""
    later = CleanupRun.objects.filter(
        policy=OuterRef("policy"), state=_State.SUCCEEDED, due_at__gt=OuterRef("due_at")
    )
    failed = CleanupRun.objects.filter(state=_State.FAILED, finished_at__gte=now - FAILED_PERIOD)
    # A subquery with the default order of the runs makes PostgreSQL read all of them; EXISTS drops the order.
    failed = failed.filter(~Exists(later))
    for run in _with_facts(failed.order_by("finished_at", "pk")):
        reason = run["error"] or "Its page shows the details."
        text = f"Run {run['pk']}{_of_policy(run)} failed. {reason}"
        yield _of_run(Code.RUN_FAILED, run, text, f"Run {run['pk']} failed.")


def large_runs(limit: int, now: datetime) -> Iterator[Finding]:
    """Yield the large runs of the last day, without the sessions that were restored."""
    left = F("removed_count") - F("restored_count")
    runs = CleanupRun.objects.filter(removed_count__gt=0, started_at__gte=now - RECENT)
    large = runs.annotate(left=left).filter(left__gt=limit).order_by("started_at", "pk")
    for run in _with_facts(large, "left"):
        text = f"Run {run['pk']}{_of_policy(run)} removed {count_of(run['left'], 'session')}."
        short = f"Run {run['pk']} removed many sessions."
        yield _of_run(Code.RUN_REMOVED_MANY, run, text, short, amount=run["left"])


def _with_facts(runs: Any, *more: str) -> list[dict[str, Any]]:
    """Read only the required columns of runs; others, such as the selected ids, can be large."""
    facts = ("pk", "error", "held_because", "criteria_json__namespace", "policy__name", "policy__namespace")
    return list(runs.values(*facts, *more)[:MAX_OF_A_CODE])


def _of_policy(run: dict[str, Any]) -> str:
    """Name the policy of a run, unless its namespace has changed: the new one may be limited."""
    is_same = run["policy__namespace"] == (run["criteria_json__namespace"] or "")
    return f" of {run['policy__name']}" if run["policy__name"] and is_same else ""


def _of_run(code: Code, run: dict[str, Any], text: str, short: str, *, amount: int | None = None) -> Finding:
    return Finding(
        code,
        text,
        str(run["pk"]),
        concealed_text=short,
        namespace=run["criteria_json__namespace"] or "",
        link_id=run["pk"],
        amount=amount,
        **_RUN_PAGE,
    )
