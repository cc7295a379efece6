"""How sessions, instants, sizes and reasons are put before people."""

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
from django.utils.safestring import SafeString

from sessions_app.models import CleanupRun, StoredSession
from sessions_app.session.criteria import REASONS, Criteria, Reason, reasons_in
from sessions_app.session.endpoint import Endpoint
from sessions_app.session.problems import UNREADABLE, Problem
from sessions_app.text import count_of, in_days

NONE = "\N{EN DASH}"
ROWS_PER_PAGE = 100
_STATE_KINDS = {
    CleanupRun.State.SUCCEEDED: "good",
    CleanupRun.State.FAILED: "bad",
    CleanupRun.State.INTERRUPTED: "stale",
    CleanupRun.State.HELD: "stale",
}


def request_time(request: HttpRequest) -> datetime:
    """The instant at which a request judges: taken once, so that all of a page agrees."""
    as_of: datetime = request.__dict__.setdefault("raptor_as_of", timezone.now())
    return as_of


def expiry_cutoff(as_of: datetime) -> datetime:
    """The last access before which the screens call a session expired."""
    return as_of - timedelta(days=settings.RAPTOR_MAX_AGE_DAYS)


def judge(sessions: QuerySet[Any], as_of: datetime) -> QuerySet[Any]:
    """Add to each session why a cleanup would take it (``reason_bits``), as of an instant (``judged_at``)."""
    criteria = Criteria(expired=True, invalid=True, max_age_days=settings.RAPTOR_MAX_AGE_DAYS)
    judged: QuerySet[Any] = sessions.annotate(
        reason_bits=criteria.reasons(as_of), judged_at=Value(as_of, output_field=DateTimeField())
    )
    return judged


def duration(span: timedelta) -> str:
    """Say how long in one unit; from two days on in days, which is how limits are given."""
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
    """The instant in TIME_ZONE, to the second."""
    return timezone.localtime(instant).strftime("%Y-%m-%d %H:%M:%S %Z")


def to_the_minute(instant: datetime) -> str:
    return moment(instant, timezone.localtime(instant).strftime("%Y-%m-%d %H:%M"))


def clock(instant: datetime | None, now: datetime) -> str:
    """The time of day in TIME_ZONE, with the date where it is another; blank for none."""
    if instant is None:
        return ""
    local = timezone.localtime(instant)
    is_today = local.date() == timezone.localtime(now).date()
    return local.strftime("%H:%M" if is_today else "%Y-%m-%d %H:%M")


def moment(instant: datetime | None, text: str = "") -> str:
    """Mark up an instant; with a text of its own, the exact one shows on hover."""
    if instant is None:
        return NONE
    return format_html(
        '<time datetime="{}" title="{}">{}</time>',
        instant.isoformat(),
        exact(instant),
        text or exact(instant),
    )


def unknown() -> str:
    return format_html('<span class="raptor-quiet">{}</span>', "unknown")


def age(instant: datetime | None, as_of: datetime) -> str:
    if instant is None:
        return unknown()
    span = duration(as_of - instant)
    return moment(instant, f"in {span}" if instant > as_of else span)


def size(size_bytes: int) -> str:
    return format_html('<span title="{} bytes">{}</span>', f"{size_bytes:,}", filesizeformat(size_bytes))


def documents_size(size_bytes: int) -> str:
    """A size to the byte, and of what it is."""
    return f"{size_bytes:,} bytes of documents, not of disk"


def percent(part: int, whole: int) -> str:
    """A share in whole percent; neither nothing nor all where it is not quite that."""
    share = 100 * part / whole
    if 0 < share < 1:
        return "under 1 percent"
    return f"{min(share, 99) if part < whole else share:.0f} percent"


def badge(kind: str, text: str) -> SafeString:
    """A short text with a colour beside it; the text alone says all."""
    return format_html('<span class="raptor-badge raptor-{}">{}</span>', kind, text)


def state_badge(run: CleanupRun, *, is_queued: bool = False) -> SafeString:
    """The state of a run; ``is_queued`` where it waits for the worker."""
    if is_queued:
        return badge("quiet", "Queued")
    return badge(_STATE_KINDS.get(CleanupRun.State(run.state), "quiet"), run.get_state_display())


def started_by(run: CleanupRun) -> str:
    trigger = run.get_trigger_display()
    return f"{trigger}: {run.actor}" if run.actor else trigger


class _CriteriaWithoutIds(Func):
    """Criteria but for the ids of a selection, of which there are up to 10,000."""

    output_field = JSONField()

    def as_sqlite(self, compiler: Any, connection: Any, **context: Any) -> Any:
        return self.as_sql(
            compiler, connection, template="JSON_REMOVE(%(expressions)s, '$.session_ids')", **context
        )

    def as_postgresql(self, compiler: Any, connection: Any, **context: Any) -> Any:
        return self.as_sql(compiler, connection, template="(%(expressions)s - 'session_ids')", **context)


class _SelectedCount(Func):
    """How many ids the criteria of a selection hold; nothing for other criteria."""

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
    """Read runs without the ids of their selections, for ``describe_criteria``."""
    light: QuerySet[CleanupRun] = runs.defer("criteria_json").annotate(
        criteria_without_ids=_CriteriaWithoutIds("criteria_json"),
        selected_count=_SelectedCount("criteria_json"),
    )
    return light


def criteria_of(run: Any) -> Criteria:
    """What was asked for, of a run that was read ``without_ids``: as many ids as there were, but others."""
    ids = None if run.selected_count is None else range(run.selected_count)
    return Criteria.from_json({**run.criteria_without_ids, "session_ids": ids})


def describe_criteria(run: Any) -> str:
    """Say in a line what was asked for, of a run that was read ``without_ids``."""
    return criteria_of(run).describe()


def took(run: CleanupRun) -> str:
    if run.started_at is None or run.finished_at is None:
        return NONE
    return duration(run.finished_at - run.started_at)


def policy_link(run: CleanupRun) -> str:
    """The policy of a run and the place of its step, with the way to the policy where it has a page."""
    if run.policy is None:
        return ""
    step = f", step {run.step_position}" if run.step_position is not None else ""
    try:
        address = reverse("admin:sessions_app_cleanuppolicy_change", args=[run.policy.pk])
    except NoReverseMatch:
        return f"{run.policy}{step}"
    return format_html('<a href="{}">{}</a>{}', address, run.policy, step)


def verdicts(bits: int) -> SafeString:
    """Valid, or invalid, expired or both, as badges."""
    found = []
    if any(isinstance(reason, Problem) for reason in reasons_in(bits)):
        found.append(badge("bad", "Invalid"))
    if bits & Reason.EXPIRED:
        found.append(badge("stale", "Expired"))
    return format_html_join(" ", "{}", ((mark,) for mark in found or [badge("good", "Valid")]))


def explain(
    bits: int, last_accessed: datetime | None, *, as_of: datetime, max_age_days: float | None = None
) -> list[str]:
    """Say in plain words every reason for which a session is invalid, expired or taken."""
    limit_days = settings.RAPTOR_MAX_AGE_DAYS if max_age_days is None else max_age_days
    sentences = []
    for reason in reasons_in(bits):
        if reason is not Reason.EXPIRED:
            sentences.append(reason.sentence)
        elif last_accessed is None or bits & UNREADABLE:
            sentences.append("It counts as expired, because its age cannot be read.")
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
    """One sentence a line, or a dash."""
    lines = format_html_join("", "<li>{}</li>", ((item,) for item in items))
    return format_html('<ul class="raptor-reasons">{}</ul>', lines) if lines else NONE


def host(cdp_url: str) -> str:
    """The host and port of an endpoint: all that may be shown of it."""
    return str(Endpoint.parse(cdp_url)) or NONE


class ReasonCount(NamedTuple):
    """A line of the table of reasons."""

    reason: Problem | Reason
    sessions: int


def reason_counts(counts: Mapping[str, int]) -> list[ReasonCount]:
    """The commonest first."""
    known = [ReasonCount(REASONS[code], count) for code, count in counts.items() if code in REASONS]
    return sorted(known, key=lambda line: -line.sessions)


class SessionRow(NamedTuple):
    """A line of a table of sessions."""

    session: StoredSession
    reasons: list[str]
    last_accessed: str


def session_rows(sessions: Iterable[Any], bits: str, run: CleanupRun) -> list[SessionRow]:
    """The sessions of a run with the reason beside each, as judged at its instant."""
    max_age_days = run.criteria.max_age_days
    rows = []
    for session in sessions:
        taken_for = getattr(session, bits)
        # That it was selected goes without saying where there is more to say.
        own = taken_for & ~Reason.SELECTED or taken_for
        reasons = explain(own, session.last_accessed, as_of=run.as_of, max_age_days=max_age_days)
        rows.append(SessionRow(session, reasons, age(session.last_accessed, run.as_of)))
    return rows


def page_of(request: HttpRequest, ids: Sequence[int], rows: QuerySet[Any]) -> tuple[Page[Any], list[Any]]:
    """The page that is asked for, of keys in their order, and its rows."""
    page = Paginator(ids, ROWS_PER_PAGE).get_page(request.GET.get("page"))
    found = {row.pk: row for row in rows.filter(pk__in=list(page))}
    return page, [found[pk] for pk in page if pk in found]
