"""Limits what a user can see: everything except namespaces that are limited to other groups and users.

A run over all namespaces is visible, because it includes sessions that everyone can see. Its lists leave out
hidden sessions, and only users who can see everything in its scope can act on it.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Any, TypeVar

from django.core.exceptions import PermissionDenied
from django.db.models import Model, Q, QuerySet

from sessions_app.access.namespaces import has_namespace, hidden_namespaces
from sessions_app.models import CleanupRun, PolicyChange
from sessions_app.session.criteria import Criteria, InvalidCriteria

CONCEALED = "An error occurred. Users who can see all namespaces of the run can read it."
_COUNTS: dict[str, Any] = {
    **dict.fromkeys(
        ("matched_count", "matched_bytes", "matched_pinned_count", "closed_count", "closed_bytes"), 0
    ),
    **dict.fromkeys(("removed_count", "removed_bytes", "skipped_count"), 0),
    **dict.fromkeys(("restored_count", "restored_bytes", "emptied_count"), 0),
    **dict.fromkeys(("before_count", "before_bytes", "after_count", "after_bytes"), None),
    **{
        name: {}
        for name in (
            "matched_reasons",
            "matched_browsers",
            "removed_reasons",
            "skipped_reasons",
            "changed_access",
        )
    },
}
_ModelT = TypeVar("_ModelT", bound=Model)


def hidden_from(user: Any) -> frozenset[str]:
    """Return the namespaces that a user cannot see, cached on the user object and so for the request."""
    hidden: frozenset[str] | None = getattr(user, "_raptor_hidden", None)
    if hidden is None:
        hidden = user._raptor_hidden = hidden_namespaces(user)
    return hidden


def is_visible(user: Any) -> Q:
    """Return the condition for rows in namespaces that the user can see; empty if that is all of them."""
    hidden = hidden_from(user)
    return ~Q(namespace__in=sorted(hidden)) if hidden else Q()


def visible(user: Any, rows: QuerySet[_ModelT]) -> QuerySet[_ModelT]:
    """Exclude rows in namespaces that are hidden from the user."""
    return rows.filter(is_visible(user))


def visible_runs(user: Any, runs: QuerySet[CleanupRun]) -> QuerySet[CleanupRun]:
    """Exclude runs over a namespace that is hidden from the user."""
    hidden = hidden_from(user)
    return runs.exclude(criteria_json__namespace__in=sorted(hidden)) if hidden else runs


def fully_visible_runs(user: Any, runs: QuerySet[CleanupRun]) -> QuerySet[CleanupRun]:
    """Exclude runs whose counts may include sessions that are hidden from the user."""
    hidden = sorted(hidden_from(user))
    if not hidden:
        return runs
    is_limited = ~Q(criteria_json__namespace="") | Q(criteria_json__not_namespaces=hidden)
    return visible_runs(user, runs).filter(is_limited)


def visible_changes(user: Any, changes: QuerySet[PolicyChange]) -> QuerySet[PolicyChange]:
    """Exclude changes of policies whose namespace was, or became, hidden from the user."""
    hidden = sorted(hidden_from(user))
    if not hidden:
        return changes
    return changes.exclude(before_json__namespace__in=hidden).exclude(after_json__namespace__in=hidden)


def limit_to_visible(user: Any, criteria: Criteria) -> Criteria:
    """Limit criteria to the namespaces that a user can see.

    Raises: InvalidCriteria: their namespace is hidden from the user or does not exist.
    """
    hidden = hidden_from(user)
    if criteria.namespace and (criteria.namespace in hidden or not has_namespace(criteria.namespace)):
        raise InvalidCriteria(f"The namespace {criteria.namespace} has no sessions. Check its spelling.")
    return replace(criteria, not_namespaces=tuple(sorted(hidden)))


def reaches_hidden(user: Any, criteria: Criteria) -> bool:
    """Check whether criteria may match sessions that the user cannot see."""
    return any(map(criteria.reaches, hidden_from(user)))


def refuse_hidden(user: Any, run: CleanupRun) -> None:
    """Raise PermissionDenied if a run may match sessions that the user cannot see."""
    if reaches_hidden(user, run.criteria):
        raise PermissionDenied("This run includes namespaces that are limited to other groups.")


def conceal(user: Any, run: Any) -> Any:
    """Remove the details of a run that reveal hidden namespaces. Do not save the run afterwards.

    Removes the policy if its namespace is now hidden. If the run covers hidden namespaces, also removes the
    search text, the selected ids, the patterns of rules, all counts, and the errors, which contain paths.
    """
    hidden = hidden_from(user)
    if not hidden:
        return run
    if run.policy is not None and run.policy.namespace in hidden:
        run.policy = None
    # Lists load the criteria without the ids, under another name.
    read = [name for name in ("criteria_without_ids", "criteria_json") if name in run.__dict__]
    criteria = getattr(run, read[0])
    if not any(map(Criteria.from_json({**criteria, "session_ids": ()}).reaches, hidden)):
        return run
    run.is_concealed = True
    run.error, run.earlier_errors = (CONCEALED if text else "" for text in (run.error, run.earlier_errors))
    run.held_because = "A safety limit was reached." if run.held_because else ""
    for name, nothing in _COUNTS.items():
        setattr(run, name, nothing)
    for name in read:
        setattr(run, name, _without_selected(getattr(run, name)))
    return run


def _without_selected(criteria: dict[str, Any]) -> dict[str, Any]:
    """Replace the selected and left-out ids, keeping their numbers, and the texts of searches and rules."""
    changed: dict[str, Any] = {}
    if criteria.get("protected"):
        changed["protected"] = [{**rule, "pattern": "…"} for rule in criteria["protected"]]
    if criteria.get("session_ids") is not None:
        changed["session_ids"] = [0] * len(criteria["session_ids"])
    if criteria.get("not_session_ids"):
        changed["not_session_ids"] = [0] * len(criteria["not_session_ids"])
    if selection := criteria.get("selection"):
        hidden: dict[str, Any] = {"text": "…"} if "text" in selection else {}
        hidden |= {"metadata": [[key, "…"] for key, _ in selection.get("metadata", ())]}
        changed["selection"] = selection | {name: value for name, value in hidden.items() if value}
    return criteria | changed


def visible_names(user: Any, named: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Exclude sessions in namespaces that are hidden from the user."""
    hidden = hidden_from(user)
    return [session for session in named if session["namespace"] not in hidden]
