"""The roles of the panel: groups with permissions, created with the tables.

Django creates permissions after a migration, so the groups are created then too. An existing group gets the
permissions that its role lacks. None are removed, because an administrator may have added them.
"""

from __future__ import annotations

from typing import Any

from django.apps import AppConfig, apps

_VIEWED = (
    "browsersession",
    "archivedsession",
    "cleanuprun",
    "cleanuppolicy",
    "policychange",
    "sessiondirectory",
)
VIEWER = tuple(f"view_{model}" for model in _VIEWED)
OPERATOR = (*VIEWER, "clean_up_sessions", "change_browsersession")
ADMINISTRATOR = (
    *OPERATOR,
    "clean_up_all_sessions",
    *(f"{action}_cleanuppolicy" for action in ("add", "change", "delete")),
    *(f"{action}_sessiondirectory" for action in ("add", "change", "delete")),
    "view_queuedtask",
)
ROLES = {"Viewer": VIEWER, "Operator": OPERATOR, "Administrator": ADMINISTRATOR}


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
