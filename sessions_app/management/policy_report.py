"""Report what a sweep of a policy did, or would do, as text or JSON."""

from __future__ import annotations

from typing import Any

from sessions_app.management.cleanup_report import CleanupReport
from sessions_app.management.output import bytes_of
from sessions_app.policies import Preview, StepPreview, SweepResult
from sessions_app.text import count_of


def sweep_to_json(result: SweepResult) -> dict[str, Any]:
    return {
        "policy": result.policy.name,
        "runs": [CleanupReport(run).to_json() for run in result.runs],
        "held": result.held.held_because if result.held else None,
    }


def sweep_to_text(result: SweepResult) -> str:
    lines = [CleanupReport(run).to_text() for run in result.runs]
    if result.stop_reason:
        lines.append(result.stop_reason)
    if result.has_ended:
        lines.append(result.summary_line())
    return "\n".join(lines)


def preview_to_json(name: str, found: Preview) -> dict[str, Any]:
    return {
        "policy": name,
        "dry_run": True,
        "as_of": found.as_of.isoformat(),
        "conditions_hold": found.conditions_hold,
        "steps": [
            {
                "position": line.step.position,
                "criterion": line.step.criterion,
                "matched": line.session_count,
                "bytes": line.size_bytes,
                "is_reached": line.is_reached,
                "held": line.hold_reason or None,
            }
            for line in found.steps
        ],
    }


def preview_to_text(name: str, found: Preview) -> str:
    scope = f"{count_of(found.scope_count, 'session')}, {bytes_of(found.scope_bytes)}"
    lines = [f"Dry run of “{name}”. Nothing was changed. Scope: {scope}."]
    lines += [_step_to_text(line) for line in found.steps]
    if not found.conditions_hold:
        lines.append("The scope does not meet the conditions: no step would run now.")
    if not found.keeps_archive:
        lines.append("RAPTOR_ARCHIVE_DAYS is 0: sessions are deleted permanently, and this cannot be undone.")
    return "\n".join(lines)


def _step_to_text(line: StepPreview) -> str:
    matched = f"{count_of(line.session_count, 'session')}, {bytes_of(line.size_bytes)}"
    if line.pinned_count:
        matched += f", {line.pinned_count:,} of them pinned"
    text = f"  {line.step}: {matched}."
    if line.hold_reason:
        return f"{text} Would need approval: {line.hold_reason}"
    return text if line.is_reached else f"{text} Not reached."
