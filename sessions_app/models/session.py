from __future__ import annotations

from typing import Any

from django.db import models
from django.db.models import F, Q, Value
from django.db.models.expressions import Case, When

from sessions_app.models.clock import ChangedAtField, DatabaseClock
from sessions_app.models.fields import NAME_LENGTH, NAMESPACE_LENGTH, TEXT_LENGTH
from sessions_app.session.endpoint import mask_endpoints
from sessions_app.session.problems import BEGINNING, BROWSER_TYPES, Problem, problems_expression


class StoredSession(models.Model):
    """A stored session: its document and the columns that are extracted from it.

    The document is authoritative. The columns let the database evaluate, search and sort sessions. Live and
    archived sessions have the same columns, so that one statement moves a batch.
    """

    namespace = models.CharField(max_length=NAMESPACE_LENGTH)
    name = models.CharField(max_length=NAME_LENGTH)
    size_bytes = models.BigIntegerField("size", default=0, help_text="Size of the document in bytes.")
    session_id = models.CharField(max_length=TEXT_LENGTH, blank=True, default="")
    cdp_url = models.TextField(
        "endpoint",
        blank=True,
        default="",
        help_text="The CDP address. Anyone who has it controls the browser.",
    )
    browser_type = models.CharField(max_length=TEXT_LENGTH, blank=True, default="")
    created_at = models.DateTimeField("created", null=True, blank=True)
    last_accessed = models.DateTimeField(null=True, blank=True)
    is_corrupted = models.BooleanField("corrupted", default=False)
    metadata_text = models.TextField(
        blank=True, default="", db_default="", help_text="Values in its metadata, for the search."
    )
    is_pinned = models.BooleanField(
        "pinned",
        default=False,
        db_default=False,
        help_text="Kept by cleanups of expired and invalid sessions.",
    )
    added_at = models.DateTimeField("added", db_default=DatabaseClock(), editable=False)
    updated_at = ChangedAtField("changed", db_default=DatabaseClock(), editable=False)
    # The history of the session. A separate row for each event would double the work of a run.
    restored_at = models.DateTimeField(
        null=True, editable=False, help_text="When it was last restored from the archive."
    )
    past_runs: models.JSONField[list[int] | None, list[int] | None] = models.JSONField(
        null=True,
        editable=False,
        help_text="Numbers of the runs that removed it and from which it was restored.",
    )

    directory = models.ForeignKey(
        "sessions_app.SessionDirectory", on_delete=models.PROTECT, null=True, blank=True, db_index=False
    )
    file_name = models.CharField(max_length=NAME_LENGTH, blank=True, default="")
    # Identify the evaluated version of the file. Each write, rename or change of mode changes the ctime.
    file_inode = models.BigIntegerField(null=True, blank=True)
    file_modified_ns = models.BigIntegerField(null=True, blank=True)
    file_changed_ns = models.BigIntegerField(null=True, blank=True)
    # Restored with the file, so that the same users can read it.
    file_mode = models.IntegerField(null=True, blank=True, help_text="Permission bits of the file.")
    file_owner = models.BigIntegerField(null=True, blank=True, help_text="User id of the file's owner.")
    file_group = models.BigIntegerField(null=True, blank=True, help_text="Group id of the file.")

    # The last stored columns, because SQLite must read through a long value to reach later columns.
    document = models.BinaryField(default=b"", help_text="The document's exact bytes.")
    last_good_document = models.BinaryField(
        null=True,
        editable=False,
        help_text="The last document without a problem, kept beside a broken one.",
    )

    problems = models.GeneratedField(
        expression=problems_expression(),
        output_field=models.IntegerField(),
        db_persist=True,
        help_text="The broken rules, as a sum of their bits (sessions_app.problems.Problem).",
    )
    idle_since = models.GeneratedField(
        # Makes expiry a single range of one index, including sessions without a readable age.
        expression=Case(
            When(
                Q(is_corrupted=True) | Q(created_at=None) | Q(last_accessed=None),
                then=Value(BEGINNING, output_field=models.DateTimeField()),
            ),
            default=F("last_accessed"),
            output_field=models.DateTimeField(),
        ),
        output_field=models.DateTimeField(),
        db_persist=True,
        help_text="The last access, or the beginning of time where the age cannot be read.",
    )

    class Meta:
        abstract = True

    def __str__(self) -> str:
        return f"{self.namespace}/{self.name}"

    @property
    def shown_session_id(self) -> str:
        """The session id without parts of the endpoint, also in a row that was written by SQL."""
        return mask_endpoints(self.session_id, cdp_url=self.cdp_url)

    @property
    def shown_browser_type(self) -> str:
        """The browser type without parts of the endpoint, also in a row that was written by SQL."""
        if self.browser_type in BROWSER_TYPES:
            return self.browser_type
        return mask_endpoints(self.browser_type, cdp_url=self.cdp_url)

    @property
    def problem_set(self) -> Problem:
        return Problem(self.problems or 0)


class LastRun(models.Func):
    """The last run in ``past_runs``. The SQL must equal the expression of the index."""

    output_field = models.BigIntegerField()

    def as_sqlite(self, compiler: Any, connection: Any, **context: Any) -> Any:
        return self.as_sql(compiler, connection, template="JSON_EXTRACT(%(expressions)s, '$[#-1]')")

    def as_postgresql(self, compiler: Any, connection: Any, **context: Any) -> Any:
        return self.as_sql(compiler, connection, template="((%(expressions)s ->> -1)::bigint)")


class RemovalRefused(TypeError):
    """Raised when code other than a cleanup tries to delete sessions."""

    def __init__(self) -> None:
        super().__init__(
            "Only a cleanup removes sessions. Use plan_cleanup and run_cleanup of sessions_app.cleanup."
        )


class SessionQuerySet(models.QuerySet["BrowserSession"]):
    def update(self, **kwargs: Any) -> int:
        """Update the rows and the time of their change, which excludes them from all existing plans."""
        return super().update(**{"updated_at": DatabaseClock(), **kwargs})

    update.alters_data = True  # type: ignore[attr-defined]

    def delete(self) -> Any:
        """Refuse, because a session that is not archived first cannot be restored."""
        raise RemovalRefused

    delete.alters_data = True  # type: ignore[attr-defined]
    delete.queryset_only = True  # type: ignore[attr-defined]


class BrowserSession(StoredSession):
    """A live session. Only ``sessions_app.cleanup`` deletes one."""

    objects = SessionQuerySet.as_manager()

    class Meta:
        ordering = ("-idle_since", "-id")
        permissions = (
            ("clean_up_sessions", "Can clean up sessions"),
            ("clean_up_all_sessions", "Can clean up all sessions, pinned ones too"),
            ("view_endpoint", "Can see the endpoints of sessions, which control their browsers"),
        )
        constraints = (
            # Lookup by name; the list by namespace and name.
            models.UniqueConstraint(fields=("namespace", "name"), name="session_unique_name"),
            models.CheckConstraint(condition=Q(size_bytes__gte=0), name="session_size_not_negative"),
            models.CheckConstraint(condition=~Q(namespace=""), name="session_has_namespace"),
            models.CheckConstraint(condition=~Q(name=""), name="session_has_name"),
        )
        # The list scans many index entries without reading the table. So each index in its default order also
        # contains the columns of its other filters, and the size.
        indexes = (
            # The default order of the list; expired(cutoff); filters by age.
            models.Index(
                fields=("idle_since", "id", "problems", "is_pinned", "size_bytes"), name="session_idle"
            ),
            # invalid(); the number of sessions with each problem.
            models.Index(
                fields=(
                    "idle_since",
                    "id",
                    "problems",
                    "is_pinned",
                    "namespace",
                    "browser_type",
                    "size_bytes",
                ),
                condition=Q(problems__gt=0),
                name="session_invalid",
            ),
            # The list and cleanups of a namespace.
            models.Index(
                fields=(
                    "namespace",
                    "idle_since",
                    "id",
                    "problems",
                    "is_pinned",
                    "browser_type",
                    "size_bytes",
                ),
                name="session_namespace_idle",
            ),
            # The list filtered or sorted by browser type.
            models.Index(
                fields=("browser_type", "idle_since", "id", "problems", "is_pinned", "size_bytes"),
                name="session_browser_idle",
            ),
            # The largest sessions; the list by size.
            models.Index(fields=("size_bytes", "id"), name="session_size"),
            # The search for names by their beginning, independent of the collation.
            models.Index(fields=("name",), opclasses=("varchar_pattern_ops",), name="session_name"),
            # The known files of a directory, for its sync.
            models.Index(
                fields=("directory",), condition=Q(directory__isnull=False), name="session_directory"
            ),
            # The restored sessions of a folder or of a run whose files have not been written yet.
            models.Index(
                fields=("directory", "id"),
                condition=Q(directory__isnull=False, file_changed_ns__isnull=True),
                name="session_owed",
            ),
            models.Index(
                LastRun("past_runs"),
                "directory",
                condition=Q(directory__isnull=False, file_changed_ns__isnull=True),
                name="session_owed_by_run",
            ),
            # Pinned sessions and their number.
            models.Index(
                fields=("idle_since", "id", "problems", "namespace", "browser_type", "size_bytes"),
                condition=Q(is_pinned=True),
                name="session_pinned",
            ),
        )

    def save(self, *args: Any, **kwargs: Any) -> None:
        """Save the session; raise ``DatabaseError`` if a cleanup has removed it.

        By default Django would insert the missing row, and the session would be both live and archived.
        """
        has_to_exist = not self._state.adding and not kwargs.get("force_insert")
        super().save(*args, **{**kwargs, **({"force_update": True} if has_to_exist else {})})

    def delete(self, *args: Any, **kwargs: Any) -> Any:
        """Refuse, as the queryset does."""
        raise RemovalRefused
