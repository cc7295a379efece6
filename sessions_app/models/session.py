from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING, Any, ClassVar, cast

from django.db import models, transaction
from django.db.models import Exists, F, OuterRef, Q
from django.db.models.expressions import Case, When

from sessions_app.models.clock import DatabaseClock
from sessions_app.models.content_columns import CONTENT_COLUMNS, endpoint_columns
from sessions_app.models.session_columns import SessionColumns
from sessions_app.models.session_indexes import SESSION_INDEXES

if TYPE_CHECKING:
    from sessions_app.models.run import CleanupRun

REMOVAL_COLUMNS = frozenset({"run_id", "reasons", "removed_at", "has_vanished"})


class RemovalRefused(TypeError):
    """Raised when code other than a cleanup tries to delete sessions."""

    def __init__(self) -> None:
        super().__init__(
            "Only a cleanup removes sessions. Use plan_cleanup and run_cleanup of sessions_app.cleanup."
        )


class SessionQuerySet(models.QuerySet["BrowserSession"]):
    def update(self, **kwargs: Any) -> int:
        """Update the rows and the time of their change, which excludes them from all existing plans.

        The columns of the documents may be among the values.
        """
        if not any(name in kwargs for name in CONTENT_COLUMNS):
            return super().update(**{"updated_at": DatabaseClock(), **kwargs})
        with transaction.atomic():
            keys = list(self.select_for_update(of=("self",)).values_list("pk", flat=True))
            return sum(self.model._default_manager.write(pk, **kwargs) for pk in keys)

    update.alters_data = True  # type: ignore[attr-defined]

    def bulk_create(self, objs: Iterable[Any], *args: Any, **kwargs: Any) -> list[Any]:
        """Insert sessions with their documents. ``mirror.bulk_insert`` does this in a quarter of the time."""
        if kwargs.get("ignore_conflicts") or kwargs.get("update_conflicts"):
            raise TypeError("A session that is not inserted would leave its document without a row.")
        with transaction.atomic():
            found = super().bulk_create(objs, *args, **kwargs)
            for session in found:
                session.content_to_store().session = session
            self._documents.bulk_create(session.content_to_store() for session in found)
        return found

    bulk_create.alters_data = True  # type: ignore[attr-defined]

    @property
    def _documents(self) -> Any:
        content: Any = self.model._meta.get_field("content")
        return content.related_model._default_manager

    def write(self, pk: int, **values: Any) -> int:
        """Update a live session and its document, in the caller's transaction; return the number of sessions.

        The row is written first: if a cleanup has removed it, the document stays as it is.
        """
        content = {name: values.pop(name) for name in CONTENT_COLUMNS if name in values}
        if "cdp_url" in content:
            values |= endpoint_columns(content["cdp_url"])
            same = Exists(self._documents.filter(pk=OuterRef("pk"), cdp_url=content["cdp_url"]))
            for name in ("browser_state", "browser_since"):
                # Another endpoint has another browser.
                values[name] = Case(When(Q(same), then=F(name)), default=None)
        count = self.filter(pk=pk).update(**values)
        if count and content and not self._documents.filter(pk=pk).update(**content):
            # The row was written by SQL, without a document.
            self._documents.create(pk=pk, **content)
        return count

    write.alters_data = True  # type: ignore[attr-defined]

    def delete(self) -> Any:
        """Refuse, because a session that is not archived first cannot be restored."""
        raise RemovalRefused

    delete.alters_data = True  # type: ignore[attr-defined]
    delete.queryset_only = True  # type: ignore[attr-defined]

    def record_browser(self, **values: Any) -> int:
        """Store the result of a probe. The sessions do not change, so plans that list them stay valid."""
        return super().update(**values)

    record_browser.alters_data = True  # type: ignore[attr-defined]


class RemovedQuerySet(models.QuerySet["ArchivedSession"]):
    def delete(self) -> Any:
        """Delete the rows and their documents permanently."""
        with transaction.atomic():
            keys = list(self.order_by().values_list("pk", flat=True))
            return delete_permanently(self.model, keys), {}

    delete.alters_data = True  # type: ignore[attr-defined]
    delete.queryset_only = True  # type: ignore[attr-defined]


_SessionManager = models.Manager.from_queryset(SessionQuerySet)
_RemovedManager = models.Manager.from_queryset(RemovedQuerySet)


class LiveManager(_SessionManager["BrowserSession"]):
    """The live sessions."""

    def get_queryset(self) -> SessionQuerySet:
        found: Any = super().get_queryset().filter(run__isnull=True)
        return cast(SessionQuerySet, found)


class RemovedManager(_RemovedManager["ArchivedSession"]):
    """The sessions in the archive."""

    def get_queryset(self) -> RemovedQuerySet:
        found: Any = super().get_queryset().filter(run__isnull=False)
        return cast(RemovedQuerySet, found)


class BrowserSession(SessionColumns):
    """A session: one row for life, with the columns that are extracted from its document.

    The document is authoritative and is stored in ``SessionDocument``. The columns let the database evaluate,
    search and sort sessions. A session with a ``run`` was removed and is in the archive until its cleanup is
    undone or the archive is emptied. ``objects`` has the live sessions, and ``ArchivedSession`` the removed
    ones; related access and ``refresh_from_db`` also find removed rows.
    """

    # The run whose missing files the row waits for, see ``cleanup.missing_files``.
    restored_from = models.BigIntegerField(
        null=True, editable=False, help_text="Number of the run from which it was last restored."
    )

    # The removal. All four change in one statement of ``sessions_app.cleanup``; ``save`` never writes them.
    run: models.ForeignKey[CleanupRun | None, CleanupRun | None] = models.ForeignKey(
        "sessions_app.CleanupRun",
        on_delete=models.PROTECT,
        null=True,
        editable=False,
        # ``CleanupRun.archived_sessions`` reads them with the manager of the archive.
        related_name="+",
        db_index=False,
    )
    reasons = models.IntegerField(
        null=True, editable=False, help_text="Why it was removed, as a sum of bits (session.criteria)."
    )
    removed_at = models.DateTimeField("removed", null=True, editable=False)
    has_vanished = models.BooleanField(
        default=False, db_default=False, editable=False, help_text="Its file was gone before the removal."
    )

    # The state of the browser at the present endpoint: see ``session.browser_states``. Writing another
    # endpoint clears it, and so does an undo.
    browser_state = models.SmallIntegerField(null=True, editable=False)
    browser_since = models.DateTimeField(null=True, editable=False, help_text="When the state began.")
    in_use_at = models.DateTimeField(
        null=True, editable=False, help_text="Last probe that found a client connected to the browser."
    )

    objects: ClassVar[LiveManager] = LiveManager()

    class Meta:
        ordering = ("-idle_since", "-id")
        permissions = (
            ("clean_up_sessions", "Can clean up sessions"),
            ("clean_up_all_sessions", "Can clean up all sessions, pinned ones too"),
            ("view_endpoint", "Can see the endpoints of sessions, which control their browsers"),
            ("close_browser", "Can open and close the browsers of sessions"),
        )
        constraints = (
            # Lookup by name; the list by namespace and name.
            models.UniqueConstraint(
                fields=("namespace", "name"), condition=Q(run__isnull=True), name="session_unique_name"
            ),
            models.CheckConstraint(
                condition=Q(run__isnull=True, reasons__isnull=True, removed_at__isnull=True)
                | Q(run__isnull=False, reasons__isnull=False, removed_at__isnull=False),
                name="session_live_or_removed",
            ),
            models.CheckConstraint(condition=Q(size_bytes__gte=0), name="session_size_not_negative"),
            models.CheckConstraint(condition=~Q(namespace=""), name="session_has_namespace"),
            models.CheckConstraint(condition=~Q(name=""), name="session_has_name"),
        )
        indexes = SESSION_INDEXES

    def save(self, *args: Any, **kwargs: Any) -> None:
        """Save the session and its document; raise ``DatabaseError`` if a cleanup has removed it.

        By default Django would insert the missing row, and a stale object could undo a cleanup.
        """
        has_to_exist = not self._state.adding and not kwargs.get("force_insert")
        with transaction.atomic():
            super().save(*args, **{**kwargs, **({"force_update": True} if has_to_exist else {})})
            self.save_content(is_new=not has_to_exist)

    def _do_update(
        self, base_qs: Any, using: Any, pk_val: Any, values: Any, *args: Any, **kwargs: Any
    ) -> Any:
        kept = [value for value in values if value[0].attname not in REMOVAL_COLUMNS]
        return super()._do_update(base_qs.filter(run__isnull=True), using, pk_val, kept, *args, **kwargs)

    def _do_insert(self, manager: Any, using: Any, fields: Any, returning_fields: Any, raw: Any) -> Any:
        kept = [field for field in fields if field.attname not in REMOVAL_COLUMNS]
        return super()._do_insert(manager, using, kept, returning_fields, raw)  # type: ignore[misc]

    def delete(self, *args: Any, **kwargs: Any) -> Any:
        """Refuse, as the queryset does."""
        raise RemovalRefused


class ArchivedSession(BrowserSession):
    """A removed session, complete, until its cleanup is undone or the archive is emptied."""

    objects: ClassVar[RemovedManager] = RemovedManager()  # type: ignore[assignment]

    class Meta:
        proxy = True
        ordering = ("-removed_at", "-id")


def delete_permanently(model: Any, keys: Iterable[int]) -> int:
    """Delete removed sessions with their documents, in the caller's transaction; return their number."""
    keys = list(keys)
    if not keys:
        return 0
    documents = model._meta.get_field("content").related_model._default_manager.filter(pk__in=keys)
    documents._raw_delete(documents.db)
    rows = model._base_manager.filter(pk__in=keys, run__isnull=False)
    return int(rows._raw_delete(rows.db))
