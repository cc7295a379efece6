from __future__ import annotations

from dataclasses import asdict, dataclass, field, fields
from typing import Any, Self

OURS = "raptor_admin"
"""Key of the metadata for the manager's own values. Other keys belong to the caller and to RAPTOR."""


@dataclass
class SessionInfo:
    """Content of a session document; the two times are ISO 8601 text, unchanged."""

    session_id: str = ""
    cdp_url: str = field(default="", repr=False)
    browser_type: str = ""
    created_at: str = ""
    last_accessed: str = ""
    metadata: dict[str, Any] = field(default_factory=dict)

    def to_dict(self) -> dict[str, Any]:
        """Return the document as JSON values."""
        return asdict(self)

    @classmethod
    def from_dict(cls, data: dict[str, Any]) -> Self:
        """Read a document; unknown keys are left out."""
        names = {known.name for known in fields(cls)}
        return cls(**{name: value for name, value in data.items() if name in names})

    @property
    def ours(self) -> dict[str, Any]:
        """Facts that ``SessionManager`` has saved about page, browser and machine."""
        metadata: object = self.metadata
        if not isinstance(metadata, dict):
            return {}
        found = metadata.get(OURS)
        # Older versions had them beside the caller's metadata.
        return found if isinstance(found, dict) else metadata

    @property
    def page_target_id(self) -> str:
        """Target that identifies the saved page; blank if another program saved it."""
        target_id = self.ours.get("page_target_id")
        return target_id if isinstance(target_id, str) else ""

    @property
    def page_url(self) -> str:
        """Address of the page when it was saved; blank if it is not known."""
        metadata: object = self.metadata
        page_url = metadata.get("page_url") if isinstance(metadata, dict) else None
        return page_url if isinstance(page_url, str) else ""
