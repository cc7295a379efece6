from __future__ import annotations

from django.db import models

from sessions_app.models.fields import NAMESPACE_LENGTH


class LimitedNamespace(models.Model):
    """A namespace that only some groups and users may see and clean up. See ``access.namespaces``."""

    namespace = models.CharField(
        max_length=NAMESPACE_LENGTH,
        unique=True,
        help_text="Exactly as sessions and directories have it. It need not have sessions yet.",
    )
    # Not a relation, because test projects may use the tables without django.contrib.auth.
    group_ids: models.JSONField[list[int], list[int]] = models.JSONField(
        "groups", default=list, help_text="Primary keys of groups."
    )
    user_ids: models.JSONField[list[int], list[int]] = models.JSONField(
        "users",
        default=list,
        help_text="Primary keys of users who see the namespace without being in one of its groups.",
    )

    class Meta:
        ordering = ("namespace",)
        constraints = (models.CheckConstraint(condition=~models.Q(namespace=""), name="limit_has_namespace"),)

    def __str__(self) -> str:
        return self.namespace
