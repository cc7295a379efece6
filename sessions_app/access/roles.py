"""The roles of the panel: groups with permissions, created with the tables.

Django creates permissions after a migration, so the groups are created then too. An existing group gets the
permissions that its role lacks. None are removed, because an administrator may have added them.
"""

from __future__ import annotations

from collections.abc import Iterable
from itertools import accumulate, chain
from typing import Any

from django.apps import AppConfig, apps

_CHANGES = ("add", "change", "delete")


def _to(actions: Iterable[str], *models: str) -> tuple[str, ...]:
    return tuple(f"{action}_{model}" for model in models for action in actions)


RIGHTS: dict[str, dict[str, tuple[str, ...]]] = {
    "Viewer": {
        "sees sessions, storage, runs, the archive, policies with their changes, and directories": _to(
            ("view",),
            "browsersession",
            "cleanuprun",
            "archivedsession",
            "cleanuppolicy",
            "policychange",
            "sessiondirectory",
        ),
    },
    "Operator": {
        "cleans up sessions and restores them": ("clean_up_sessions",),
        "pins sessions and probes their browsers": ("change_browsersession",),
        "opens and closes browsers": ("close_browser",),
    },
    "Administrator": {
        "cleans up all sessions of a scope, including pinned ones": ("clean_up_all_sessions",),
        "manages policies and directories": _to(_CHANGES, "cleanuppolicy", "sessiondirectory"),
        "manages alert rules and alert targets": _to((*_CHANGES, "view"), "alertrule", "alerttarget"),
        "sees alerts and their deliveries": _to(("view",), "alert", "alertdelivery"),
        "sees the queue": ("view_queuedtask",),
    },
}
"""Permissions that each role adds to the previous one, by their descriptions in the forms of users."""

ROLES = dict(zip(RIGHTS, accumulate(tuple(chain(*added.values())) for added in RIGHTS.values()), strict=True))
"""All permissions of each role, the lowest role first."""


def install_roles(app_config: AppConfig, using: str, **kwargs: Any) -> None:
    """Create the groups, or add the permissions that they lack."""
    if not apps.is_installed("django.contrib.auth"):
        return
    from django.contrib.auth.management import create_permissions
    from django.contrib.auth.models import Group, Permission

    # This may run before Django's own handler, which creates the permissions.
    create_permissions(app_config, verbosity=0, using=using)
    known = Permission.objects.using(using).filter(content_type__app_label=app_config.label)
    for name, codenames in ROLES.items():
        group, _ = Group.objects.using(using).get_or_create(name=name)
        group.permissions.add(*known.filter(codename__in=codenames))
