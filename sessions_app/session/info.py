from __future__ import annotations

from dataclasses import asdict, dataclass, field, fields
from typing import Any, Self


@dataclass
class SessionInfo:
    """What a session document says; the two times as ISO 8601 text, as they stand there."""

    session_id: str = ""
    cdp_url: str = field(default="", repr=False)
    browser_type: str = ""
    created_at: str = ""
    last_accessed: str = ""
    metadata: dict[str, Any] = field(default_factory=dict)

    def to_dict(self) -> dict[str, Any]:
        """Give the document as JSON has it."""
        return asdict(self)

    @classmethod
    def from_dict(cls, data: dict[str, Any]) -> Self:
        """Read a document; keys that it has besides the six are left out."""
        names = {known.name for known in fields(cls)}
        return cls(**{name: value for name, value in data.items() if name in names})

    @property
    def page_target_id(self) -> object:
        """What tells the page that was saved from any other; None where it was not saved by this project."""
        metadata: object = self.metadata
        return metadata.get("page_target_id") if isinstance(metadata, dict) else None
