from __future__ import annotations

from dataclasses import asdict, dataclass, field, fields
from typing import Any, Self


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
    def page_target_id(self) -> object:
        """Target that identifies the saved page, or None if another program saved it."""
        metadata: object = self.metadata
        return metadata.get("page_target_id") if isinstance(metadata, dict) else None
