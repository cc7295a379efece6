"""Findings: descriptions of what needs attention now.

The dashboard, ``/readyz``, ``check_health``, the metrics and the alerts all use them. ``sources`` finds them.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable
from dataclasses import dataclass, replace
from datetime import datetime
from enum import StrEnum
from typing import Any

MAX_OF_A_CODE = 50
"""Maximum findings of one code, so that they do not hide other codes."""


class Code(StrEnum):
    """Public codes of findings, the most important ones first."""

    DATABASE_UNREACHABLE = "database_unreachable"
    MIGRATIONS_MISSING = "migrations_missing"
    DISK_FULL = "disk_full"
    QUEUE_UNREACHABLE = "queue_unreachable"
    WORKER_MISSING = "worker_missing"
    WORKER_STOPPED = "worker_stopped"
    WORKER_BEHIND = "worker_behind"
    MACHINE_SILENT = "machine_silent"
    SCHEDULE_OVERDUE = "schedule_overdue"
    DIRECTORY_UNREACHABLE = "directory_unreachable"
    RUN_NEEDS_APPROVAL = "run_needs_approval"
    RUN_FAILED = "run_failed"
    RUN_REMOVED_MANY = "run_removed_many"
    STORAGE_OVER_LIMIT = "storage_over_limit"
    LOGIN_LOCKED = "login_locked"
    CLOCK_WRONG = "clock_wrong"

    @property
    def is_critical(self) -> bool:
        """Whether a finding with this code means that the panel is not ready."""
        return self not in _WARNINGS

    @property
    def severity(self) -> str:
        return "critical" if self.is_critical else "warning"


_WARNINGS = frozenset(
    (Code.RUN_FAILED, Code.RUN_REMOVED_MANY, Code.STORAGE_OVER_LIMIT, Code.LOGIN_LOCKED, Code.CLOCK_WRONG)
)


@dataclass(frozen=True)
class Finding:
    """Something that needs attention.

    Args:
        subject: Distinguishes the findings of one code, such as an id or the name of a machine.
        text: One or more sentences, identical wherever the finding is shown.
        concealed_text: Text for users who do not see all namespaces; blank if the text names none.
        namespace: Namespace of the object; blank for objects that belong to no or all namespaces.
        link: Model name of the page; blank without a page. ``link_id`` is the primary key of the object.
        permission: Codename of the permission that the page requires; blank if all users may see it.
        amount: The number that rules compare with their limit.
    """

    code: Code
    text: str
    subject: str = ""
    concealed_text: str = ""
    namespace: str = ""
    link: str = ""
    link_id: int | None = None
    permission: str = ""
    amount: int | None = None

    @property
    def is_critical(self) -> bool:
        return self.code.is_critical

    @property
    def severity(self) -> str:
        return self.code.severity

    @property
    def key(self) -> tuple[str, str]:
        return self.code.value, self.subject

    def conceal(self) -> Finding:
        """Return the finding with a text that names no namespace, folder or policy."""
        return replace(self, text=self.concealed_text) if self.concealed_text else self

    def to_json(self) -> dict[str, Any]:
        return {
            "code": self.code.value,
            "subject": self.subject,
            "severity": self.severity,
            "text": self.text,
        }


Source = Callable[[datetime], Iterable[Finding]]


def visible_findings(
    findings: Iterable[Finding], *, hidden: Collection[str], has_perm: Callable[[str], bool]
) -> list[Finding]:
    """Omit findings that a user may not see, and conceal texts that name hidden namespaces.

    Args:
        hidden: Namespaces that the user does not see.
        has_perm: Checks whether the user has a permission, by its codename.
    """
    shown = [
        finding
        for finding in findings
        if finding.namespace not in hidden and (not finding.permission or has_perm(finding.permission))
    ]
    return [finding.conceal() if hidden and not finding.namespace else finding for finding in shown]
