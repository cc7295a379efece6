"""A page of a large panel waits for the numbers that the worker was asked for."""

from __future__ import annotations

import html
import re
from collections.abc import Callable
from datetime import datetime, timedelta
from urllib.parse import parse_qs, quote, urlsplit

import pytest
from django.contrib.auth.models import User
from django.test import Client
from django.urls import reverse

from sessions_app import tasks
from sessions_app.models import StorageSnapshot
from sessions_app.models.clock import database_now
from sessions_app.reports import snapshots, take_snapshot
from tests.factories import Queued, make_session

pytestmark = pytest.mark.django_db
REPORT = "admin:sessions_app_storage"
COUNTED = "admin:sessions_app_storage_counted"
WAITS = "The worker is counting."
LATE = "no worker seems to be running"
OVER = "These are the new figures."


@pytest.fixture(autouse=True)
def large(monkeypatch: pytest.MonkeyPatch) -> None:
    """A panel whose sessions are counted by the worker, as they were an hour ago."""
    monkeypatch.setattr(snapshots, "SMALL_COUNT", 2)
    for _ in range(3):
        make_session()
    snap(-timedelta(hours=1))


def snap(since_now: timedelta = timedelta(0)) -> None:
    take_snapshot(as_of=database_now() + since_now, max_age_days=7)


def asked(ago: timedelta, page: str = REPORT) -> str:
    return f"{reverse(page)}?asked_at={quote((database_now() - ago).isoformat())}"


def script_address(page: str) -> str:
    found = re.search(r'id="poll".*?data-address="([^"]*)"', page)
    assert found
    return html.unescape(found[1])


@pytest.mark.parametrize(("back", "page"), [("index", "admin:index"), ("report", REPORT)])
def test_it_waits_until_the_worker_has_counted(
    client: Client, see: Callable[..., str], queued: Queued, back: str, page: str
) -> None:
    see(reverse(page))
    location = client.post(reverse("admin:sessions_app_storage_count"), {"back": back})["Location"]
    assert urlsplit(location).path == reverse(page)
    waiting = see(location)
    assert WAITS in waiting
    assert "poll.js" in waiting
    assert '<a href="" id="poll-link">Reload this page</a>' in waiting
    address = script_address(waiting)
    assert client.get(address).json()["phase"] == "waiting"
    ((_, asked_at),) = queued
    assert asked_at == parse_qs(urlsplit(location).query)["asked_at"][0]
    assert tasks.take_snapshot(asked_at).startswith("3 sessions counted")
    assert client.get(address).json()["phase"] == "done"
    there = see(location)
    assert OVER in there
    assert WAITS not in there
    assert "poll-link" not in there


def test_numbers_from_before_are_not_taken_for_those_that_were_asked_for(
    client: Client, see: Callable[..., str]
) -> None:
    snap(-timedelta(seconds=31))
    page = see(asked(timedelta(seconds=30)))
    assert WAITS in page
    assert client.get(script_address(page)).json()["phase"] == "waiting"


def test_after_two_minutes_it_says_that_no_worker_seems_to_run(see: Callable[..., str]) -> None:
    assert WAITS in see(asked(timedelta(seconds=110)))
    page = see(asked(timedelta(minutes=2)))
    assert LATE in page.partition('role="status"')[2]
    assert WAITS not in page
    snap()
    assert OVER in see(asked(timedelta(minutes=2)))


def test_before_the_first_numbers_it_waits_too(see: Callable[..., str]) -> None:
    StorageSnapshot.objects.all().delete()
    for page in ("admin:index", REPORT):
        assert WAITS in see(asked(timedelta(seconds=1), page))


def test_what_is_asked_once_is_forgotten(see: Callable[..., str]) -> None:
    assert 'id="poll"' not in see(asked(timedelta(minutes=11)))
    assert "poll.js" not in see(reverse(REPORT))


@pytest.mark.parametrize(
    "text",
    [
        "",
        "yesterday",
        "1",
        "<script>",
        "2026-11-22",
        "2026-11-22T12:00:00",
        "0001-01-01T00:00:00+14:00",
        "9999-12-31T23:59:59-14:00",
        "2026-11-22T12:00:00+00:00' OR 1=1",
        "9" * 5_000,
    ],
)
def test_an_invalid_url_does_not_wait(client: Client, see: Callable[..., str], text: str) -> None:
    for page in (REPORT, "admin:index"):
        assert "raptor-counting" not in see(f"{reverse(page)}?asked_at={quote(text)}")
    assert client.get(f"{reverse(COUNTED)}?asked_at={quote(text)}").status_code == 400


def test_a_naive_or_future_instant_does_not_wait(client: Client, see: Callable[..., str]) -> None:
    see()
    now = database_now()
    for instant in (now.replace(tzinfo=None), now + timedelta(minutes=1)):
        assert client.get(f"{reverse(COUNTED)}?asked_at={quote(instant.isoformat())}").status_code == 400
    in_another_zone = datetime.fromisoformat(f"{now:%Y-%m-%dT%H:%M:%S}-00:00")
    assert client.get(f"{reverse(COUNTED)}?asked_at={quote(in_another_zone.isoformat())}").status_code == 200


def test_only_users_of_the_report_are_answered(client: Client, outsider: User) -> None:
    User.objects.filter(pk=outsider.pk).update(is_staff=True)
    client.force_login(outsider)
    assert client.get(asked(timedelta(0), COUNTED)).status_code == 403
    client.logout()
    assert client.get(asked(timedelta(0), COUNTED)).status_code == 302


def test_a_small_panel_does_not_wait(see: Callable[..., str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(snapshots, "SMALL_COUNT", 20)
    assert 'id="poll"' not in see(asked(timedelta(seconds=1)))
