from __future__ import annotations

from django.db import models
from django.db.models import F, Q, Value
from django.db.models.expressions import Case, When

from sessions_app.models.clock import ChangedAtField, DatabaseClock
from sessions_app.models.fields import MACHINE_LENGTH, NAME_LENGTH, NAMESPACE_LENGTH, TEXT_LENGTH
from sessions_app.models.session_content import ContentProperties
from sessions_app.session.document import BROWSER_TYPES
from sessions_app.session.endpoint import mask_endpoints
from sessions_app.session.problems import BEGINNING, Problem, problems_expression


class SessionColumns(ContentProperties, models.Model):
    """The columns of a session that describe its document and its file."""

    namespace = models.CharField(max_length=NAMESPACE_LENGTH)
    name = models.CharField(max_length=NAME_LENGTH)
    size_bytes = models.BigIntegerField("size", default=0, help_text="Size of the document in bytes.")
    session_id = models.CharField(max_length=TEXT_LENGTH, blank=True, default="")
    endpoint_length = models.IntegerField(
        default=0, db_default=0, editable=False, help_text="Characters of the endpoint; 0 if it is blank."
    )
    shown_endpoint = models.CharField(
        max_length=TEXT_LENGTH,
        blank=True,
        default="",
        db_default="",
        editable=False,
        help_text="Scheme, host and port of the endpoint, which may be shown.",
    )
    browser_type = models.CharField(max_length=TEXT_LENGTH, blank=True, default="")
    created_at = models.DateTimeField("created", null=True, blank=True)
    last_accessed = models.DateTimeField(null=True, blank=True)
    is_corrupted = models.BooleanField("corrupted", default=False)
    is_pinned = models.BooleanField(
        "pinned",
        default=False,
        db_default=False,
        help_text="Kept by cleanups of expired and invalid sessions.",
    )
    added_at = models.DateTimeField("added", db_default=DatabaseClock(), editable=False)
    updated_at = ChangedAtField("changed", db_default=DatabaseClock(), editable=False)
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

    # Null instead of blank, because SQLite adds a column without a default immediately.
    machine = models.CharField(  # noqa: DJ001
        max_length=MACHINE_LENGTH,
        null=True,
        editable=False,
        help_text="Machine on which SessionManager saved the session.",
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
        return mask_endpoints(self.session_id, cdp_url=self.known_endpoint)

    @property
    def shown_browser_type(self) -> str:
        """The browser type without parts of the endpoint, also in a row that was written by SQL."""
        if self.browser_type in BROWSER_TYPES:
            return self.browser_type
        return mask_endpoints(self.browser_type, cdp_url=self.known_endpoint)

    @property
    def problem_set(self) -> Problem:
        return Problem(self.problems or 0)
