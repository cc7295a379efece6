"""No secret leaves the panel: all URLs and all commands are visited beside a database full of secrets."""

from __future__ import annotations

import argparse
import io
import logging
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from django.contrib.admin.helpers import ACTION_CHECKBOX_NAME
from django.contrib.auth.models import Group, User
from django.core.management import get_commands, load_command_class
from django.http import HttpRequest, HttpResponse
from django.test import Client
from django.urls import clear_url_caches, path

from raptor_admin import urls
from sessions_app.models import ArchivedSession, BrowserSession, CleanupRun
from tests.clients import LIST, run
from tests.integration.access.planted import HIDDEN_NAMESPACE, Markers, endpoint_of, plant
from tests.urls import addresses

pytestmark = pytest.mark.django_db

# It would start a browser.
NOT_RUN = {"open_browser"}
# These change what the others show, so they run last.
LAST = ("cleanup_sessions", "undo_cleanup", "empty_archive")


@pytest.fixture
def markers(tmp_path: Path) -> Markers:
    return plant(tmp_path / "sessions")


def user_in(role: str) -> User:
    user = User.objects.create_user(role.lower(), is_staff=True)
    user.groups.add(Group.objects.get(name=role))
    return User.objects.get(pk=user.pk)


def visit(
    user: User, markers: Markers, *, hidden: tuple[str, ...] = (), below: str = "/"
) -> tuple[list[str], int]:
    """Request every URL below a path as a user, those of buttons for one object only.

    Returns: The URLs whose answers show a secret, and the number of requests.
    """
    client = Client(raise_request_exception=False)
    client.force_login(user)
    leaks, count = [], 0
    without_get = set()
    for address in addresses():
        if address.url == "/admin/logout/" or not address.url.startswith(below):
            continue
        if address.pattern in without_get:
            continue
        response: Any = client.get(address.url)
        text = response.getvalue().decode("utf-8", "replace") + str(response.headers)
        count += 1
        if response.status_code == 405:
            # A button; the answer is the same for all objects.
            without_get.add(address.pattern)
        if leaked := [*markers.found_in(text), *(name for name in hidden if name in text)]:
            leaks.append(f"{address.url} shows {leaked}: {_around(text, leaked[0])}")
    if below != "/":
        return leaks, count
    ids = list(BrowserSession.objects.values_list("pk", flat=True))
    for action in ("validate", "clean_up"):
        data = {"action": action, ACTION_CHECKBOX_NAME: ids}
        text = client.post(LIST, data, follow=True).content.decode()
        leaks += [f"{LIST} {action}"] * bool(markers.found_in(text))
    return leaks, count


def _around(text: str, word: str) -> str:
    place = text.lower().find(word.rpartition("-")[0])
    return text[max(place - 60, 0) : place + 60]


@pytest.mark.parametrize("role", ["Viewer", "Operator", "superuser"])
def test_no_answer_and_no_log_line_shows_a_secret(markers: Markers, log: io.StringIO, role: str) -> None:
    assert len(markers.planted) >= 200
    is_superuser = role == "superuser"
    user = User.objects.create_superuser("root") if is_superuser else user_in(role)
    leaks, count = visit(user, markers, hidden=() if is_superuser else (HIDDEN_NAMESPACE, "hidden-session"))
    assert leaks == []
    assert count > 150
    for url in (f"/admin/{endpoint_of(markers())}", f"/admin/?next={endpoint_of(markers())}"):
        assert markers.found_in(Client().get(url).content.decode()) == []
    logging.getLogger("tests").error("Failed at %s", endpoint_of(markers()))
    assert "Failed at ws://10.0.0.9:9222/…" in log.getvalue()
    assert markers.found_in(log.getvalue()) == []


def test_a_new_page_is_visited(markers: Markers, monkeypatch: pytest.MonkeyPatch, log: io.StringIO) -> None:
    """Check the crawl itself: it finds pages that leak, and an error page whose exception has a secret."""

    def leak(request: HttpRequest, run_id: int = 0) -> HttpResponse:
        return HttpResponse(f"see {endpoint_of(markers.planted[0])}")

    def fail(request: HttpRequest) -> HttpResponse:
        raise ValueError(endpoint_of(markers.planted[0]))

    pages = [path("new/", leak), path("new/<int:run_id>/", leak), path("new/fail/", fail)]
    monkeypatch.setattr(urls, "urlpatterns", [*pages, *urls.urlpatterns])
    clear_url_caches()
    try:
        leaks, count = visit(User.objects.create_superuser("root"), markers, below="/new/")
    finally:
        monkeypatch.undo()
        clear_url_caches()
    runs = CleanupRun.objects.count()
    # A URL without an id, one for each run and one for a missing run; and the page that fails.
    assert (len(leaks), count) == (runs + 2, runs + 3)
    assert leaks[0].startswith("/new/ shows")
    assert "Internal Server Error: /new/fail/" in log.getvalue()
    assert markers.found_in(log.getvalue()) == []


def command_lines(tmp_path: Path) -> Iterator[tuple[str, ...]]:
    """Yield the calls of every command of the panel, with a value for each argument that it requires."""
    names = {name for name, app in get_commands().items() if app == "sessions_app"} - NOT_RUN
    for name in (*sorted(names - set(LAST)), *LAST):
        parser = load_command_class("sessions_app", name).create_parser("manage.py", name)
        positional = [action for action in parser._actions if not action.option_strings]
        options = {option for action in parser._actions for option in action.option_strings}
        formats = [("--format", "text"), ("--format", "json")] if "--format" in options else [()]
        scope = ("--namespace", "shop") if "--namespace" in options else ()
        extra = {
            "cleanup_sessions": ("--expired", "--invalid", "--yes"),
            "empty_archive": ("--days", "0", "--yes"),
        }
        for values in _values(positional, tmp_path):
            for words in formats:
                given = tuple(word for word in extra.get(name, ()) if word[:2] != "--" or word in options)
                yield (name, *values, *scope, *words, *given)


def _values(positional: list[argparse.Action], tmp_path: Path) -> Iterator[tuple[str, ...]]:
    if not positional:
        yield ()
        return
    (argument,) = positional
    known = {
        "name": [*BrowserSession.objects.filter(namespace="shop").values_list("name", flat=True), "nothing"],
        "run": [str(pk) for pk in CleanupRun.objects.values_list("pk", flat=True)],
        "folder": [str(tmp_path / "demo")],
        "paths": [str(tmp_path / "sessions"), str(tmp_path / "nowhere")],
    }
    for value in known[argument.dest]:
        yield (value,)


def test_no_command_prints_a_secret(
    markers: Markers, tmp_path: Path, log: io.StringIO, monkeypatch: pytest.MonkeyPatch
) -> None:
    visited = set()
    for words in command_lines(tmp_path):
        outcome = run(*words)
        assert markers.found_in(outcome.out + outcome.err) == [], words
        visited.add(words[0])
    assert visited | NOT_RUN == {name for name, app in get_commands().items() if app == "sessions_app"}
    assert not ArchivedSession.objects.exists()
    assert markers.found_in(log.getvalue()) == []
