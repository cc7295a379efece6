from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

SKIPPED_FILES_KEPT = 100


@dataclass
class SyncResult:
    """What a sync did, in files; ``skipped`` has names with the reason for each.

    ``waiting`` files are new or changed, and must not change for the settle time before they are read.
    """

    added: int = 0
    changed: int = 0
    unchanged: int = 0
    vanished: int = 0
    left_behind: int = 0
    waiting: int = 0
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
            "waiting": self.waiting,
            "skipped": len(self.skipped),
            "skipped_files": [
                {"file": name, "reason": reason} for name, reason in self.skipped[:SKIPPED_FILES_KEPT]
            ],
        }
