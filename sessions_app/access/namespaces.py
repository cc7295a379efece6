"""Namespaces that are hidden from a user, because they are limited to groups of other users.

Only the panel has users. The worker, the commands and ``SessionManager`` use the database directly, and see
all of it.
"""

from __future__ import annotations

from typing import Any

from sessions_app.models import BrowserSession, LimitedNamespace, SessionDirectory


def hidden_namespaces(user: Any) -> frozenset[str]:
    """Return the namespaces that a user can neither see nor clean up, in two queries; superusers see all."""
    if user.is_active and user.is_superuser:
        return frozenset()
    limits = list(LimitedNamespace.objects.values_list("namespace", "group_ids"))
    if not limits:
        return frozenset()
    own = set(user.groups.values_list("pk", flat=True))
    return frozenset(namespace for namespace, group_ids in limits if own.isdisjoint(group_ids))


def has_namespace(namespace: str) -> bool:
    """Check whether a namespace has a session or a directory."""
    found = (model.objects.filter(namespace=namespace) for model in (BrowserSession, SessionDirectory))
    return any(rows.exists() for rows in found)
