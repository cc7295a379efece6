"""Closes the browsers of sessions: identify each browser, request that it closes, and check again.

If a browser cannot be identified, is in use, or does not close, the reason is recorded. Browsers on other
machines are closed by tasks for the workers of those machines.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import partial

from django.conf import settings
from django.db.models import QuerySet

from sessions_app.browsers import closing
from sessions_app.browsers.probe import Liveness, probe
from sessions_app.browsers.processes import SocketTable, memory_of
from sessions_app.cleanup.closings import IN_USE, Closing
from sessions_app.deadline import Deadline
from sessions_app.exceptions import SessionException
from sessions_app.liveness.elsewhere import ClosingElsewhere
from sessions_app.liveness.record import Answer, digest_of, record
from sessions_app.liveness.saved import SavedBrowser, saved_browsers
from sessions_app.models import BrowserSession, CleanupRun, SessionEvent
from sessions_app.models.clock import database_now
from sessions_app.session.masking import safe_message
from sessions_app.transactions import retry_when_busy

CONCURRENCY = 16

_Code = SessionEvent.Code


def close_sessions(
    keys: Collection[int], *, actor: str, confirmed: Collection[int] = (), deadline: Deadline | None = None
) -> list[Closing]:
    """Close the browsers of sessions on all machines; keep the sessions.

    Args:
        keys: Primary keys of the sessions.
        confirmed: Primary keys of sessions whose browsers are closed even if they are in use.
        deadline: Instant after which no more browsers are closed and no more results are awaited.
    Returns: A result for each session that exists.
    """
    deadline = deadline or Deadline()
    here, elsewhere = _here_and_elsewhere(keys)
    request = ClosingElsewhere(elsewhere, actor=actor, confirmed=confirmed)
    closings = close_here(here, actor=actor, confirmed=confirmed, deadline=deadline)
    return closings + request.closings(deadline)


def close_for_run(run: CleanupRun, sessions: QuerySet[BrowserSession]) -> list[Closing]:
    """Close the browsers of a cleanup's batch; ``run_cleanup`` keeps sessions whose result has a reason.

    A run never closes a browser in use; a user must confirm that for single sessions. It waits as long as the
    workers of other machines may take, because a resumed run does not try these sessions again.
    """
    here, elsewhere = _here_and_elsewhere(list(sessions.values_list("pk", flat=True)))
    request = ClosingElsewhere(elsewhere, actor=f"run {run.pk}")
    return close_here(here, actor=f"run {run.pk}") + request.closings(Deadline())


def close_here(
    browsers: Sequence[SavedBrowser],
    *,
    actor: str,
    confirmed: Collection[int] = (),
    deadline: Deadline | None = None,
) -> list[Closing]:
    """Close browsers that this machine can reach, several at once, and record the results."""
    if not browsers:
        return []
    close = partial(_close, confirmed=confirmed, deadline=deadline or Deadline())
    with ThreadPoolExecutor(CONCURRENCY, thread_name_prefix="raptor-close") as pool:
        found = list(pool.map(close, browsers))
    now = database_now()
    record([answer for _, answer in found if answer], now)
    closings = [closing for closing, _ in found]
    events = [
        SessionEvent(
            session_key=closing.pk,
            code=_Code.KEPT if closing.reason else _Code.CLOSED,
            actor=actor,
            details=closing.reason,
            freed_bytes=closing.freed_bytes or None,
        )
        for closing in closings
        if closing.reason or closing.was_running
    ]
    retry_when_busy(lambda: SessionEvent.objects.bulk_create(events))
    return closings


def _here_and_elsewhere(keys: Collection[int]) -> tuple[list[SavedBrowser], list[SavedBrowser]]:
    browsers = saved_browsers(keys)
    return [one for one in browsers if one.is_here], [one for one in browsers if not one.is_here]


def browsers_here(endpoints: Iterable[tuple[int, str]]) -> list[SavedBrowser]:
    """Return the browsers that this machine can reach, of sessions whose endpoints have not changed.

    Args:
        endpoints: Pairs of a session's primary key and the digest of the expected endpoint.
    """
    digests = dict(endpoints)
    found = (one for one in saved_browsers(digests) if digests[one.pk] == digest_of(one.cdp_url))
    return [one for one in found if one.is_here]


def _close(
    browser: SavedBrowser, *, confirmed: Collection[int], deadline: Deadline
) -> tuple[Closing, Answer | None]:
    """Close one browser. This runs in a thread and does not use the database."""
    if deadline.has_passed:
        return Closing(browser.pk, "The time limit passed before its browser was closed."), None
    hosts = tuple(settings.RAPTOR_CDP_ALLOWED_HOSTS)
    found = probe(browser.cdp_url, allowed_hosts=hosts)
    answer = partial(Answer, browser.pk, browser.cdp_url, found.liveness)
    if found.liveness is not Liveness.ALIVE or found.address is None:
        reason = f"It may be running: {found.reason}." if found.may_be_running else ""
        return Closing(browser.pk, reason), answer(found.code or found.reason)
    # A client may have connected since the last probe.
    table = SocketTable.read()
    place = (found.address.ips, found.address.port)
    is_in_use = None if (clients := table.clients(*place)) is None else bool(clients)
    if is_in_use and browser.pk not in confirmed:
        return Closing(browser.pk, IN_USE, True), answer("", is_in_use)
    pid = table.process(*place)
    memory_bytes = memory_of([pid]).get(pid, 0) if pid else 0
    try:
        closing.close_browser(
            browser.cdp_url, allowed_hosts=hosts, name=browser.name, target_id=browser.target_id
        )
    except SessionException as failure:
        return Closing(browser.pk, safe_message(failure), True), answer("", is_in_use, memory_bytes or None)
    ended = Answer(browser.pk, browser.cdp_url, Liveness.UNREACHABLE, "it was closed", is_closed=True)
    return Closing(browser.pk, "", True, memory_bytes), ended
