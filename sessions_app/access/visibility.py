"""What of the panel a user sees: all but the namespaces that are limited to groups of others.

A run over all namespaces is seen, for it has taken what everybody sees as well; but its lists leave out what
is hidden, and only who sees all that it reaches acts on it.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Any, TypeVar

from django.core.exceptions import PermissionDenied
from django.db.models import Model, Q, QuerySet

from sessions_app.access.namespaces import has_namespace, hidden_namespaces
from sessions_app.models import CleanupRun, PolicyChange
from sessions_app.session.criteria import Criteria, InvalidCriteria

CONCEALED = "Something went wrong in it. Who sees all of its namespaces can read what."
_ModelT = TypeVar("_ModelT", bound=Model)


def hidden_from(user: Any) -> frozenset[str]:
    """Return the namespaces that a user does not see; read once for each user object, so once a request."""
    hidden: frozenset[str] | None = getattr(user, "_raptor_hidden", None)
    if hidden is None:
        hidden = user._raptor_hidden = hidden_namespaces(user)
    return hidden


def is_visible(user: Any) -> Q:
    """The rows with a namespace of their own that the user sees; nothing is asked where all are."""
    hidden = hidden_from(user)
    return ~Q(namespace__in=sorted(hidden)) if hidden else Q()


def visible(user: Any, rows: QuerySet[_ModelT]) -> QuerySet[_ModelT]:
    """Leave out the rows of namespaces that are hidden from the user."""
    return rows.filter(is_visible(user))


def visible_runs(user: Any, runs: QuerySet[CleanupRun]) -> QuerySet[CleanupRun]:
    """Leave out the runs over a namespace that is hidden from the user."""
    hidden = hidden_from(user)
    return runs.exclude(criteria_json__namespace__in=sorted(hidden)) if hidden else runs


def visible_changes(user: Any, changes: QuerySet[PolicyChange]) -> QuerySet[PolicyChange]:
    """Leave out the changes of policies that were, or became, those of a namespace hidden from the user."""
    hidden = sorted(hidden_from(user))
    if not hidden:
        return changes
    return changes.exclude(before_json__namespace__in=hidden).exclude(after_json__namespace__in=hidden)


def limit_to_visible(user: Any, criteria: Criteria) -> Criteria:
    """Limit what somebody asks for to what they see.

    Raises: InvalidCriteria: it is a namespace that they do not see, or that is not there.
    """
    hidden = hidden_from(user)
    if criteria.namespace and (criteria.namespace in hidden or not has_namespace(criteria.namespace)):
        raise InvalidCriteria(
            f"No session is in the namespace {criteria.namespace}. Check how it is written."
        )
    return replace(criteria, not_namespaces=tuple(sorted(hidden)))


def reaches_hidden(user: Any, criteria: Criteria) -> bool:
    """Whether criteria may take sessions that the user does not see."""
    return any(map(criteria.reaches, hidden_from(user)))


def refuse_hidden(user: Any, run: CleanupRun) -> None:
    """Raises: PermissionDenied: the run reaches namespaces that the user does not see."""
    if reaches_hidden(user, run.criteria):
        raise PermissionDenied("It reaches namespaces that are limited to others.")


def conceal(user: Any, run: Any) -> Any:
    """Take out of a run that is to be shown, and not saved, what tells of namespaces hidden from the user.

    That is the name of a policy that has become one of theirs, and, where the run reaches them, what somebody
    searched for or ticked, and the errors, which name folders.
    """
    hidden = hidden_from(user)
    if not hidden:
        return run
    if run.policy is not None and run.policy.namespace in hidden:
        run.policy = None
    # A list reads the criteria without the ids, under another name.
    read = [name for name in ("criteria_without_ids", "criteria_json") if name in run.__dict__]
    criteria = getattr(run, read[0])
    if not any(map(Criteria.from_json({**criteria, "session_ids": ()}).reaches, hidden)):
        return run
    run.error, run.earlier_errors = (CONCEALED if text else "" for text in (run.error, run.earlier_errors))
    for name in read:
        setattr(run, name, _without_selected(getattr(run, name)))
    return run


def _without_selected(criteria: dict[str, Any]) -> dict[str, Any]:
    """Leave out which sessions somebody has selected, but for their number."""
    changed: dict[str, Any] = {}
    if criteria.get("session_ids") is not None:
        changed["session_ids"] = [0] * len(criteria["session_ids"])
    if "text" in criteria.get("selection", {}):
        changed["selection"] = {**criteria["selection"], "text": "…"}
    return criteria | changed


def visible_names(user: Any, named: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Leave out the sessions, by their namespace, that the user does not see."""
    hidden = hidden_from(user)
    return [session for session in named if session["namespace"] not in hidden]
