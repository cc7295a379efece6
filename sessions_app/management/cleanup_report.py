"""Report what a cleanup did, or would do, as text or JSON."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from django.core.management import CommandError

from sessions_app.management.output import bytes_of, printable_name
from sessions_app.models import CleanupRun
from sessions_app.session.criteria import REASONS
from sessions_app.text import count_of, part_of, were

HELD = 3
NAMED_LIMIT = 20


class NeedsApproval(CommandError):
    """A plan needs approval, and none of its sessions were removed."""

    def __init__(self, run: CleanupRun, advice: str) -> None:
        super().__init__(f"Run {run.pk} needs approval. {run.held_because} {advice}", returncode=HELD)


@dataclass(frozen=True)
class CleanupReport:
    """A run that has ended, or a plan that does not run."""

    run: CleanupRun
    is_dry_run: bool = False

    @property
    def is_plan(self) -> bool:
        return self.is_dry_run or self.run.state == CleanupRun.State.HELD

    @property
    def reasons(self) -> dict[str, int]:
        counts = self.run.matched_reasons if self.is_plan else self.run.removed_reasons
        # PostgreSQL does not keep the order of keys in a JSON column.
        return {code: counts[code] for code in REASONS if code in counts}

    @property
    def size_bytes(self) -> int:
        return self.run.matched_bytes if self.is_plan else self.run.removed_bytes

    def to_json(self) -> dict[str, Any]:
        run = self.run
        report = {
            "run": run.pk,
            "dry_run": self.is_dry_run,
            "as_of": run.as_of.isoformat(),
            "matched": run.matched_count,
            "removed": run.removed_count,
            "skipped": run.skipped_count,
            "bytes": self.size_bytes,
            "reasons": self.reasons,
        }
        if run.matched_browsers:
            report["browsers"] = run.matched_browsers
        if run.closes_browsers:
            report |= {"browsers_closed": run.closed_count, "memory_freed_bytes": run.closed_bytes}
        if run.state == CleanupRun.State.HELD:
            report["held"] = run.held_because
        if run.skipped_reasons:
            report["skipped_reasons"] = run.skipped_reasons
        if run.skipped_sessions:
            report["skipped_sessions"] = run.skipped_sessions
        return report

    def to_text(self) -> str:
        run = self.run
        if not run.matched_count:
            return f"Run {run.pk}: nothing to remove. Criteria: {run.criteria.describe()}."
        lines = [self._headline()]
        lines += [f"  {count:>7,}  {REASONS[code].sentence} ({code})" for code, count in self.reasons.items()]
        lines += self._skipped()
        if run.matched_pinned_count:
            lines.append(f"Pinned: {run.matched_pinned_count:,} of them.")
        lines += self._browsers()
        lines.append(self._freed())
        return "\n".join(lines)

    def _headline(self) -> str:
        run = self.run
        matched = count_of(run.matched_count, "session")
        if self.is_dry_run:
            return f"Dry run {run.pk}: {matched} would be removed. Nothing was changed."
        if self.is_plan:
            return f"Run {run.pk} needs approval: {matched} would be removed. Nothing was changed."
        removed = count_of(run.removed_count, "session")
        verb = "moved to the archive" if run.keeps_archive else "deleted permanently"
        return f"Run {run.pk}: {removed} {verb}."

    def _skipped(self) -> Iterator[str]:
        run = self.run
        if protected := run.skipped_reasons.get("protected"):
            yield f"{count_of(protected, 'session')} kept because of a protection rule."
        if not run.skipped_count:
            return
        changed = count_of(run.skipped_count, "session")
        yield f"{changed} changed after the preview and {were(run.skipped_count)} kept."
        named = run.skipped_sessions[:NAMED_LIMIT]
        for skipped in named:
            name = printable_name(f"{skipped['namespace']}/{skipped['name']}")
            yield f"  {name}: {skipped['because']}"
        if named and run.skipped_count > len(named):
            yield f"  … and {run.skipped_count - len(named):,} more."

    def _browsers(self) -> Iterator[str]:
        run = self.run
        if alive := run.matched_browsers.get("alive"):
            in_use = run.matched_browsers.get("in_use", 0)
            yield f"Browsers that answered the last probe: {alive:,}, {in_use:,} of them in use."
        if run.closed_count:
            closed = count_of(run.closed_count, "browser")
            yield f"{closed} closed, {bytes_of(run.closed_bytes)} of memory freed."

    def _freed(self) -> str:
        run = self.run
        if self.is_plan:
            return f"Would free {bytes_of(self.size_bytes)}."
        if run.before_bytes is None or run.after_bytes is None:
            return f"Freed {bytes_of(self.size_bytes)}."
        freed = run.before_bytes - run.after_bytes
        message = (
            f"Before: {bytes_of(run.before_bytes)}. After: {bytes_of(run.after_bytes)}. "
            f"Freed: {bytes_of(freed)}."
        )
        if freed != run.removed_bytes:
            message += f" Removed: {bytes_of(run.removed_bytes)}; other sessions changed in the meantime."
        return message

    @property
    def failure(self) -> str:
        """The unfinished part of the run; blank if it is complete."""
        run = self.run
        if run.state == CleanupRun.State.INTERRUPTED:
            return (
                f"Run {run.pk} was interrupted: {part_of(run.removed_count, run.matched_count, 'session')} "
                f"{were(run.matched_count)} removed; the others are unchanged. Run the command again to "
                "remove them, or resume the run "
                "on its page in the admin."
            )
        return run.error
