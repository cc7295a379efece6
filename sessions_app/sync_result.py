from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

SKIPPED_FILES_KEPT = 100


@dataclass
class SyncResult:
    """What a sync did, in files; ``skipped`` has names with the reason for each."""

    added: int = 0
    changed: int = 0
    unchanged: int = 0
    vanished: int = 0
    left_behind: int = 0
    written: int = 0
    """Files of sessions that came back."""
    notes: list[str] = field(default_factory=list)
    """What else somebody should know, in sentences."""
    skipped: list[tuple[str, str]] = field(default_factory=list)

    def skip(self, file_name: str, reason: object) -> None:
        readable = file_name.encode("utf-8", "backslashreplace").decode()
        self.skipped.append((readable, str(reason)))

    def to_json(self) -> dict[str, Any]:
        return {
            "added": self.added,
            "changed": self.changed,
            "unchanged": self.unchanged,
            "vanished": self.vanished,
            "left_behind": self.left_behind,
            "written": self.written,
            "notes": self.notes,
            "skipped": len(self.skipped),
            "skipped_files": [
                {"file": name, "reason": reason} for name, reason in self.skipped[:SKIPPED_FILES_KEPT]
            ],
        }
