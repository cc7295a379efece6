"""Which namespaces a user does not see: those limited to groups of which the user is no member.

The limits are those of the panel. The worker, the commands and ``SessionManager`` know no user, and no limit:
who has the database has all of it.
"""

from __future__ import annotations

from typing import Any

from sessions_app.models import BrowserSession, LimitedNamespace, SessionDirectory


def hidden_namespaces(user: Any) -> frozenset[str]:
    """Give the namespaces that a user neither sees nor cleans up, in two queries; superusers see all."""
    if user.is_active and user.is_superuser:
        return frozenset()
    limits = list(LimitedNamespace.objects.values_list("namespace", "group_ids"))
    if not limits:
        return frozenset()
    own = set(user.groups.values_list("pk", flat=True))
    return frozenset(namespace for namespace, group_ids in limits if own.isdisjoint(group_ids))


def has_namespace(namespace: str) -> bool:
    """Whether a session or a directory is in a namespace."""
    found = (model.objects.filter(namespace=namespace) for model in (BrowserSession, SessionDirectory))
    return any(rows.exists() for rows in found)
