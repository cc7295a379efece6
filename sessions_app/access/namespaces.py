"""Limited namespaces: which ones are hidden from a user, and who may see them.

Limits apply only to users of the panel. The worker, the commands and ``SessionManager`` see all namespaces.
"""

from __future__ import annotations

from collections.abc import Collection
from typing import Any

from django.db import transaction

from sessions_app.models import BrowserSession, LimitedNamespace, SessionDirectory


def hidden_namespaces(user: Any) -> frozenset[str]:
    """Return the namespaces that a user can neither see nor clean up, in two queries; superusers see all."""
    if user.is_active and user.is_superuser:
        return frozenset()
    limits = LimitedNamespace.objects.values_list("namespace", "group_ids", "user_ids")
    groups_of = {namespace: group_ids for namespace, group_ids, users in limits if user.pk not in users}
    if not groups_of:
        return frozenset()
    own = set(user.groups.values_list("pk", flat=True))
    return frozenset(namespace for namespace, group_ids in groups_of.items() if own.isdisjoint(group_ids))


def namespaces_granted_to(user_id: int) -> list[str]:
    """Return the limited namespaces that are granted to a user directly, not through groups."""
    limits = LimitedNamespace.objects.values_list("namespace", "user_ids")
    return [namespace for namespace, user_ids in limits if user_id in user_ids]


def grant_namespaces(user_id: int, namespaces: Collection[str]) -> None:
    """Grant a user exactly these limited namespaces, in addition to those of the user's groups."""
    with transaction.atomic():
        for limit in LimitedNamespace.objects.select_for_update():
            users = set(limit.user_ids) - {user_id} | ({user_id} if limit.namespace in namespaces else set())
            if users != set(limit.user_ids):
                limit.user_ids = sorted(users)
                limit.save(update_fields=["user_ids"])


def has_namespace(namespace: str) -> bool:
    """Check whether a namespace has a session or a directory."""
    found = (model.objects.filter(namespace=namespace) for model in (BrowserSession, SessionDirectory))
    return any(rows.exists() for rows in found)
