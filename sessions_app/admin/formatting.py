"""Render sessions, instants, sizes and reasons for the screens."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from datetime import datetime, timedelta
from typing import Any, NamedTuple

from django.conf import settings
from django.core.paginator import Page, Paginator
from django.db.models import DateTimeField, Func, IntegerField, JSONField, QuerySet, Value
from django.http import HttpRequest
from django.template.defaultfilters import filesizeformat
from django.urls import NoReverseMatch, reverse
from django.utils import timezone
from django.utils.html import format_html, format_html_join

from sessions_app.models import BrowserSession, CleanupRun
from sessions_app.session.criteria import REASONS, Criteria, Reason, reasons_in
from sessions_app.session.endpoint import Endpoint
from sessions_app.session.problems import UNREADABLE, Problem
from sessions_app.text import clock as clock  # the screens use it as a part of this module
from sessions_app.text import count_of, in_days

NONE = "\N{EN DASH}"
ROWS_PER_PAGE = 100


def request_time(request: HttpRequest) -> datetime:
    """Return the instant at which a request evaluates rules, fixed once so that one page is consistent."""
    as_of: datetime = request.__dict__.setdefault("raptor_as_of", timezone.now())
    return as_of


def expiry_cutoff(as_of: datetime) -> datetime:
    """Return the instant before which a last access counts as expired."""
    return as_of - timedelta(days=settings.RAPTOR_MAX_AGE_DAYS)


def annotate_status(sessions: QuerySet[Any], as_of: datetime) -> QuerySet[Any]:
    """Annotate sessions with ``reason_bits``, why a cleanup would take each, and ``evaluated_at``."""
    criteria = Criteria(expired=True, invalid=True, max_age_days=settings.RAPTOR_MAX_AGE_DAYS)
    annotated: QuerySet[Any] = sessions.annotate(
        reason_bits=criteria.reasons(as_of), evaluated_at=Value(as_of, output_field=DateTimeField())
    )
    return annotated


def duration(span: timedelta) -> str:
    """Describe a time span in one unit; from two days on in days, the unit of the limits."""
    seconds = abs(span.total_seconds())
    if seconds < 1:
        return "under a second"
    for limit, unit_seconds, unit in (
        (60, 1, "second"),
        (3_600, 60, "minute"),
        (2 * 86_400, 3_600, "hour"),
        (float("inf"), 86_400, "day"),
    ):
        if seconds < limit:
            return count_of(int(seconds // unit_seconds), unit)
    raise AssertionError("unreachable: the last limit is infinite")


def exact(instant: datetime) -> str:
    """Format an instant in TIME_ZONE, to the second."""
    return timezone.localtime(instant).strftime("%Y-%m-%d %H:%M:%S %Z")


def clock_time(instant: datetime | None, now: datetime) -> str:
    """Render an instant as ``clock`` does, with the exact instant and time zone on hover; blank for None."""
    return moment(instant, clock(instant, now)) if instant else ""


def moment(instant: datetime | None, text: str = "") -> str:
    """Render an instant to the minute or as a custom text, with the exact instant on hover; NONE for None."""
    if instant is None:
        return NONE
    return format_html(
        '<time datetime="{}" title="{}">{}</time>',
        instant.isoformat(),
        exact(instant),
        text or timezone.localtime(instant).strftime("%Y-%m-%d %H:%M"),
    )


def unknown() -> str:
    return format_html('<span class="raptor-quiet">{}</span>', "unknown")


def age(instant: datetime | None, as_of: datetime) -> str:
    if instant is None:
        return unknown()
    span = duration(as_of - instant)
    return moment(instant, f"in {span}" if instant > as_of else span)


def ago(instant: datetime | None, as_of: datetime) -> str:
    """Describe an instant relative to now, as in “3 hours ago”."""
    if instant is None:
        return unknown()
    span = duration(as_of - instant)
    return moment(instant, f"in {span}" if instant > as_of else f"{span} ago")


def size(size_bytes: int) -> str:
    return format_html('<span title="{} bytes">{}</span>', f"{size_bytes:,}", filesizeformat(size_bytes))


def documents_size(size_bytes: int) -> str:
    """Describe an exact size and that it counts documents."""
    return f"{size_bytes:,} bytes of documents, not of disk"


def percent(part: int, whole: int) -> str:
    """Format a share in whole percent; 0 and 100 percent are reserved for exactly none and all."""
    share = 100 * part / whole
    if 0 < share < 1:
        return "under 1 percent"
    return f"{min(share, 99) if part < whole else share:.0f} percent"


def started_by(run: CleanupRun) -> str:
    trigger = run.get_trigger_display()
    return f"{trigger}: {run.actor}" if run.actor else trigger


class _CriteriaWithoutIds(Func):
    """The criteria without the ids of a selection, which may number 10,000."""

    output_field = JSONField()

    def as_sqlite(self, compiler: Any, connection: Any, **context: Any) -> Any:
        return self.as_sql(
            compiler, connection, template="JSON_REMOVE(%(expressions)s, '$.session_ids')", **context
        )

    def as_postgresql(self, compiler: Any, connection: Any, **context: Any) -> Any:
        return self.as_sql(compiler, connection, template="(%(expressions)s - 'session_ids')", **context)


class _SelectedCount(Func):
    """The number of ids in the criteria of a selection; NULL for other criteria."""

    output_field = IntegerField()

    def as_sqlite(self, compiler: Any, connection: Any, **context: Any) -> Any:
        template = (
            "CASE JSON_TYPE(%(expressions)s, '$.session_ids') WHEN 'array' "
            "THEN JSON_ARRAY_LENGTH(%(expressions)s, '$.session_ids') END"
        )
        return self.as_sql(compiler, connection, template=template, **context)

    def as_postgresql(self, compiler: Any, connection: Any, **context: Any) -> Any:
        template = (
            "CASE JSONB_TYPEOF(%(expressions)s -> 'session_ids') WHEN 'array' "
            "THEN JSONB_ARRAY_LENGTH(%(expressions)s -> 'session_ids') END"
        )
        return self.as_sql(compiler, connection, template=template, **context)


def without_ids(runs: QuerySet[CleanupRun]) -> QuerySet[CleanupRun]:
    """Load runs without the ids of their selections, for ``describe_criteria``."""
    light: QuerySet[CleanupRun] = runs.defer("criteria_json").annotate(
        criteria_without_ids=_CriteriaWithoutIds("criteria_json"),
        selected_count=_SelectedCount("criteria_json"),
    )
    return light


def criteria_of(run: Any) -> Criteria:
    """Return the criteria of a run loaded ``without_ids``; the ids are placeholders, their count is right."""
    ids = None if run.selected_count is None else range(run.selected_count)
    return Criteria.from_json({**run.criteria_without_ids, "session_ids": ids})


def describe_criteria(run: Any) -> str:
    """Describe the criteria of a run loaded ``without_ids`` in one line."""
    return criteria_of(run).describe()


def removed_of_matched(run: CleanupRun) -> str:
    return NONE if run.is_concealed else f"{run.removed_count:,} of {run.matched_count:,}"


def freed(run: CleanupRun) -> str:
    return NONE if run.is_concealed else size(run.removed_bytes)


def took(run: CleanupRun) -> str:
    if run.started_at is None or run.finished_at is None:
        return NONE
    return duration(run.finished_at - run.started_at)


def policy_link(run: CleanupRun) -> str:
    """Render the policy of a run and its step, linked if the policy has a page."""
    if run.policy is None:
        return ""
    step = f", step {run.step_position}" if run.step_position is not None else ""
    try:
        address = reverse("admin:sessions_app_cleanuppolicy_change", args=[run.policy.pk])
    except NoReverseMatch:
        return f"{run.policy}{step}"
    return format_html('<a href="{}">{}</a>{}', address, run.policy, step)


def explain(
    bits: int, last_accessed: datetime | None, *, as_of: datetime, max_age_days: float | None = None
) -> list[str]:
    """Return a sentence for each reason why a session is invalid, expired or part of a plan."""
    limit_days = settings.RAPTOR_MAX_AGE_DAYS if max_age_days is None else max_age_days
    sentences = []
    for reason in reasons_in(bits):
        if reason is not Reason.EXPIRED:
            sentences.append(reason.sentence)
        elif last_accessed is None or bits & UNREADABLE:
            sentences.append("It counts as expired because its age cannot be read.")
        else:
            sentences.append(_expiry(as_of - last_accessed, limit_days))
    return sentences


def _expiry(idle: timedelta, limit_days: float) -> str:
    limit = in_days(limit_days)
    idle_days = int(idle.total_seconds() // 86_400)
    # "7 days ago; the limit is 7 days" would read as a mistake.
    text = f"over {limit}" if idle_days <= limit_days else duration(idle)
    return f"Last accessed {text} ago; the limit is {limit}."


def sentences(items: Iterable[str]) -> str:
    """Render a list of sentences, or a dash without any."""
    lines = format_html_join("", "<li>{}</li>", ((item,) for item in items))
    return format_html('<ul class="raptor-reasons">{}</ul>', lines) if lines else NONE


def host(shown_endpoint: str) -> str:
    """Return the host and port of an endpoint (``BrowserSession.shown_endpoint``)."""
    return str(Endpoint.parse(shown_endpoint)) or NONE


class ReasonCount(NamedTuple):
    """A row of the table of reasons."""

    reason: Problem | Reason
    sessions: int


def reason_counts(counts: Mapping[str, int]) -> list[ReasonCount]:
    """Return the reasons with their counts, the most common first."""
    known = [ReasonCount(REASONS[code], count) for code, count in counts.items() if code in REASONS]
    return sorted(known, key=lambda line: -line.sessions)


class SessionRow(NamedTuple):
    """A row of a table of sessions."""

    session: BrowserSession
    reasons: list[str]
    last_accessed: str


def session_rows(sessions: Iterable[Any], bits: str, run: CleanupRun) -> list[SessionRow]:
    """Return table rows for the sessions of a run, with their reasons as of the run's instant."""
    max_age_days = run.criteria.max_age_days
    rows = []
    for session in sessions:
        reason_bits = getattr(session, bits)
        # “Selected” is redundant next to any other reason.
        reason_bits = reason_bits & ~Reason.SELECTED or reason_bits
        reasons = explain(reason_bits, session.last_accessed, as_of=run.as_of, max_age_days=max_age_days)
        rows.append(SessionRow(session, reasons, age(session.last_accessed, run.as_of)))
    return rows


def page_of(request: HttpRequest, ids: Sequence[int], rows: QuerySet[Any]) -> tuple[Page[Any], list[Any]]:
    """Return the requested page of ordered keys, and the rows of that page."""
    page = Paginator(ids, ROWS_PER_PAGE).get_page(request.GET.get("page"))
    found = {row.pk: row for row in rows.filter(pk__in=list(page))}
    return page, [found[pk] for pk in page if pk in found]
