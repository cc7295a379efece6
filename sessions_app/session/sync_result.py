from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any, Self

SKIPPED_FILES_KEPT = 100
_CARRIED = ("held", "held_run", "kept", "was_looked_at")


@dataclass
class SyncResult:
    """Counts of a sync, in files; ``skipped`` has file names with the reason for each.

    Sessions whose files are gone are ``held`` by a run that needs approval (``held_run``), or ``kept``
    because a person dismissed such a run. ``was_looked_at``: the first documents of the directory have been
    checked for belonging to another tool (``mirror.arrivals``). ``waiting`` files are new or changed, and
    must not change for the settle time before they are read.
    """

    added: int = 0
    changed: int = 0
    unchanged: int = 0
    vanished: int = 0
    left_behind: int = 0
    written: int = 0
    """Files of sessions that came back."""
    notes: list[str] = field(default_factory=list)
    """Further sentences for the user."""
    held: int = 0
    held_run: int | None = None
    kept: int = 0
    was_looked_at: bool = False
    waiting: int = 0
    skipped: list[tuple[str, str]] = field(default_factory=list)

    @classmethod
    def following(cls, report: dict[str, Any]) -> Self:
        """Begin with what the sync before reported: this one may fail before it looks again."""
        return cls(**{name: report[name] for name in _CARRIED if name in report})

    def skip(self, file_name: str, reason: object) -> None:
        readable = file_name.encode("utf-8", "backslashreplace").decode()
        self.skipped.append((readable, str(reason)))

    def to_json(self) -> dict[str, Any]:
        carried = {name: getattr(self, name) for name in _CARRIED}
        return {
            "added": self.added,
            "changed": self.changed,
            "unchanged": self.unchanged,
            "vanished": self.vanished,
            "left_behind": self.left_behind,
            "written": self.written,
            "notes": self.notes,
            "waiting": self.waiting,
            "skipped": len(self.skipped),
            "skipped_files": [
                {"file": name, "reason": reason} for name, reason in self.skipped[:SKIPPED_FILES_KEPT]
            ],
            **{name: value for name, value in carried.items() if value},
        }
