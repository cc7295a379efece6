"""Users of the panel: their roles and the permission to log in."""

from __future__ import annotations

from typing import Any

from sessions_app.access.roles import RIGHTS, ROLES

SUPERUSER = "Superuser"
NO_ROLE = "No role"
MEANINGS = [
    f"{role} {'also ' if place else ''}{', '.join(rights)}."
    for place, (role, rights) in enumerate(RIGHTS.items())
]
"""A sentence about what each role can do."""


def role_of(user: Any) -> str:
    """Return the highest role among the groups of a user; blank without a role."""
    groups = {group.name for group in user.groups.all()}
    return next((role for role in reversed(ROLES) if role in groups), "")


def set_role(user: Any, role: str) -> None:
    """Add a user to the group of a role, and remove the user from the groups of other roles."""
    # Imported here, because test projects may use this app without django.contrib.auth.
    from django.contrib.auth.models import Group

    user.groups.remove(*Group.objects.filter(name__in=ROLES).exclude(name=role))
    if role:
        user.groups.add(Group.objects.get(name=role))


def follow_rights(user: Any) -> None:
    """Allow a user to log in to the panel if the user has any permission, and forbid it otherwise."""
    is_staff = user.is_superuser or user.groups.exists() or user.user_permissions.exists()
    if user.is_staff is not is_staff:
        user.is_staff = is_staff
        user.save(update_fields=["is_staff"])
