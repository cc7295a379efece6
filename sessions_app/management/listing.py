"""Read sessions for the commands one at a time, so that memory does not grow with their number."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from datetime import datetime
from typing import Any, NamedTuple

from django.conf import settings
from django.core.management.base import OutputWrapper
from django.db.models import Q

from sessions_app.browsers.probe import Liveness
from sessions_app.liveness import Browser, browser_of
from sessions_app.management.output import WrongUsage, local, printable_name, read_instant
from sessions_app.models import BrowserSession
from sessions_app.models.clock import database_now
from sessions_app.session.criteria import Criteria, InvalidCriteria
from sessions_app.session.problems import (
    Problem,
    SessionWarning,
    is_expired,
    is_invalid,
    warnings_of,
)
from sessions_app.text import count_of, printable

_COLUMNS = (
    "namespace", "name", "browser_type", "last_accessed", "size_bytes", "is_pinned",
    "idle_since", "problems", "endpoint_length", "shown_endpoint", "browser_state", "probe",
)  # fmt: skip


class Listed(NamedTuple):
    """A session and its evaluation, without the endpoint, so that no command can print it."""

    namespace: str
    name: str
    browser_type: str
    last_accessed: datetime | None
    size_bytes: int
    is_pinned: bool
    is_expired: bool
    problems: Problem
    warnings: SessionWarning
    browser: Browser

    def to_json(self) -> dict[str, Any]:
        return {
            "namespace": self.namespace,
            "name": self.name,
            "browser_type": self.browser_type,
            "last_accessed": self.last_accessed.isoformat() if self.last_accessed else None,
            "size_bytes": self.size_bytes,
            "pinned": self.is_pinned,
            "expired": self.is_expired,
            "problems": sorted(self.problems.codes),
            "warnings": sorted(self.warnings.codes),
            **self.browser.to_json(),
        }

    def to_line(self) -> str:
        marks = ["pinned"] * self.is_pinned + ["expired"] * self.is_expired
        if self.browser.is_gone:
            marks.append("browser gone")
        elif self.browser.liveness in (Liveness.REPLACED, Liveness.UNREACHABLE):
            marks.append(f"browser {self.browser.liveness}")
        elif self.browser.is_in_use:
            marks.append("in use")
        remarks = ", ".join(marks + self.problems.codes + self.warnings.codes) or "ok"
        return (
            f"{printable_name(f'{self.namespace}/{self.name}'):50}  {printable(self.browser_type):8}  "
            f"{local(self.last_accessed):16}  {count_of(self.size_bytes, 'byte'):>15}  {remarks}"
        )


@dataclass(frozen=True)
class Evaluation:
    """The instant at which sessions are evaluated, and the cutoff of expiry."""

    as_of: datetime
    cutoff: datetime

    @classmethod
    def from_options(cls, options: dict[str, Any]) -> Evaluation:
        """Read ``--as-of`` and ``--max-age-days``.

        Raises: WrongUsage: the time cannot be read, or the maximum age is out of range.
        """
        as_of = read_instant(options["as_of"]) or database_now()
        try:
            return cls(as_of, Criteria(expired=True, max_age_days=options["max_age_days"]).cutoff(as_of))
        except InvalidCriteria as reason:
            raise WrongUsage(reason) from None

    def warnings(self, session: BrowserSession) -> SessionWarning:
        return warnings_of(
            browser_type=session.browser_type,
            last_accessed=session.last_accessed,
            shown_endpoint=session.shown_endpoint,
            has_endpoint=session.endpoint_length > 0,
            as_of=self.as_of,
            allowed_hosts=settings.RAPTOR_CDP_ALLOWED_HOSTS,
        )

    def sessions(
        self, *, namespace: str = "", browser_type: str = "", expired: bool = False, invalid: bool = False
    ) -> Iterator[Listed]:
        """Yield the sessions in scope, by namespace and name; the flags leave out all others."""
        chosen = Q()
        if namespace:
            chosen &= Q(namespace=namespace)
        if browser_type:
            chosen &= Q(browser_type=browser_type)
        if expired or invalid:
            chosen &= (is_expired(self.cutoff) if expired else Q()) | (is_invalid() if invalid else Q())
        rows = BrowserSession.objects.filter(chosen).order_by("namespace", "name")
        for session in rows.select_related("probe").only(*_COLUMNS).iterator():
            yield self._listed(session)

    def _listed(self, session: BrowserSession) -> Listed:
        return Listed(
            session.namespace,
            session.name,
            session.shown_browser_type,
            session.last_accessed,
            session.size_bytes,
            session.is_pinned,
            session.idle_since < self.cutoff,
            session.problem_set,
            self.warnings(session),
            browser_of(session),
        )


def write_json_list(stream: OutputWrapper, sessions: Iterable[Listed]) -> None:
    """Write one JSON object with all sessions, row by row."""
    stream.write('{"sessions": [', ending="")
    separator = "\n"
    for session in sessions:
        stream.write(separator + json.dumps(session.to_json()), ending="")
        separator = ",\n"
    stream.write("\n]}")
