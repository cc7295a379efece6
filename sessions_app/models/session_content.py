"""The documents of sessions, in a separate table, so that no list, filter or search reads them."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, ClassVar, cast

from django.db import models

from sessions_app.models.content_columns import endpoint_columns
from sessions_app.models.fields import RowKeyField


class SessionDocument(models.Model):
    """The exact bytes of a session's document, and its endpoint.

    The panel writes it in the same transaction as the row of the session.
    """

    session = RowKeyField(
        "sessions_app.BrowserSession",
        on_delete=models.PROTECT,
        primary_key=True,
        related_name="content",
        # A check for each imported document would take longer than storing it.
        db_constraint=False,
    )
    cdp_url = models.TextField(
        "endpoint",
        blank=True,
        default="",
        help_text="The CDP address. Anyone who has it controls the browser.",
    )
    document = models.BinaryField(default=b"", help_text="The document's exact bytes.")
    last_good_document = models.BinaryField(
        null=True,
        editable=False,
        help_text="The last document without a problem, kept beside a broken one.",
    )

    def __str__(self) -> str:
        return f"document of session {self.pk}"


class ContentProperties:
    """Gives a session the columns of its document; reading one loads the document.

    A changed value is stored when the session is saved.
    """

    if TYPE_CHECKING:
        pk: Any
        _state: Any
        content: Any
        objects: ClassVar[Any]

    @property
    def cdp_url(self) -> str:
        return str(self._content.cdp_url)

    @cdp_url.setter
    def cdp_url(self, value: str) -> None:
        self._change("cdp_url", value)
        for name, derived in endpoint_columns(value).items():
            setattr(self, name, derived)

    @property
    def document(self) -> bytes:
        return bytes(self._content.document)

    @document.setter
    def document(self, value: bytes) -> None:
        self._change("document", value)

    @property
    def last_good_document(self) -> bytes | None:
        data = self._content.last_good_document
        return None if data is None else bytes(data)

    @last_good_document.setter
    def last_good_document(self, value: bytes | None) -> None:
        self._change("last_good_document", value)

    @property
    def known_endpoint(self) -> str:
        """The endpoint if the document is loaded, for masks; else the part of it that may be shown."""
        known = "content" in self._state.fields_cache
        return self.cdp_url if known else str(getattr(self, "shown_endpoint", ""))

    def save_content(self, *, is_new: bool) -> None:
        """Store the document of a session that has just been saved, in the caller's transaction."""
        changes = self.__dict__.get("_content_changes", {})
        if is_new:
            content = self.content_to_store()
            content.session = cast(Any, self)
            content.save(force_insert=True)
        elif changes:
            type(self).objects.write(self.pk, **changes)
            changes.clear()

    def content_to_store(self) -> SessionDocument:
        """Return the document of a new session."""
        self.__dict__.pop("_content_changes", None)
        if "content" not in self._state.fields_cache:
            self.content = SessionDocument(session=cast(Any, self))
        found: SessionDocument = self.content
        return found

    @property
    def _content(self) -> Any:
        if self._state.adding and "content" not in self._state.fields_cache:
            self.content = SessionDocument(session=cast(Any, self))
        try:
            return self.content
        except SessionDocument.DoesNotExist:
            # A row that was written by SQL may have no document.
            self.content = SessionDocument(session=cast(Any, self))
            return self.content

    def _change(self, name: str, value: Any) -> None:
        setattr(self._content, name, value)
        self.__dict__.setdefault("_content_changes", {})[name] = value
