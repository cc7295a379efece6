"""What a cleanup did, or would do, as its command tells it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from sessions_app.criteria import Reason
from sessions_app.management.output import bytes_of, count_of
from sessions_app.models import CleanupRun
from sessions_app.problems import Problem

_SENTENCES = {member.code: member.sentence for flags in (Reason, Problem) for member in flags}


@dataclass(frozen=True)
class CleanupReport:
    """A run that has ended, or a plan that is only looked at."""

    run: CleanupRun
    is_dry_run: bool

    @property
    def reasons(self) -> dict[str, int]:
        counts = self.run.matched_reasons if self.is_dry_run else self.run.removed_reasons
        # In the order of their bits: a database may have sorted the keys.
        return {code: counts[code] for code in _SENTENCES if code in counts}

    @property
    def size_bytes(self) -> int:
        return self.run.matched_bytes if self.is_dry_run else self.run.removed_bytes

    def to_json(self) -> dict[str, Any]:
        return {
            "run": self.run.pk,
            "dry_run": self.is_dry_run,
            "as_of": self.run.as_of.isoformat(),
            "matched": self.run.matched_count,
            "removed": self.run.removed_count,
            "skipped": self.run.skipped_count,
            "bytes": self.size_bytes,
            "reasons": self.reasons,
        }

    def to_text(self) -> str:
        run = self.run
        if not run.matched_count:
            return f"Run {run.pk}: nothing to remove. Asked for: {run.criteria.describe()}."
        if self.is_dry_run:
            matched = count_of(run.matched_count, "session")
            lines = [f"Dry run {run.pk}: {matched} would be removed. Nothing was changed."]
        else:
            lines = [f"Run {run.pk}: {count_of(run.removed_count, 'session')} removed, into the archive."]
        lines += [f"  {count:>7,}  {_SENTENCES[code]} ({code})" for code, count in self.reasons.items()]
        if run.skipped_count:
            lines.append(f"{count_of(run.skipped_count, 'session')} changed after the preview, and stayed.")
        if run.matched_pinned_count:
            lines.append(f"Pinned sessions among them: {run.matched_pinned_count:,}.")
        lines.append(f"{'Would free' if self.is_dry_run else 'Freed'} {bytes_of(self.size_bytes)}.")
        return "\n".join(lines)

    @property
    def failure(self) -> str:
        """What was left undone; blank where all is done."""
        run = self.run
        if run.state == CleanupRun.State.INTERRUPTED:
            return (
                f"Run {run.pk} was interrupted: {run.removed_count:,} of {run.matched_count:,} sessions are "
                "removed, the rest is as it was. Run the command again to remove the rest."
            )
        return run.error
