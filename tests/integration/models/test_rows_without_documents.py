"""A row that was written by SQL may have no document. It is evaluated, shown and cleaned like any other."""

from __future__ import annotations

from pathlib import Path

import pytest
from django.contrib.auth.models import User
from django.db import connection
from django.test import Client

from sessions_app import liveness
from sessions_app.cleanup import run_cleanup, undo_cleanup
from sessions_app.deadline import Deadline
from sessions_app.mirror.registry import register_directory
from sessions_app.models import BrowserSession, SessionDocument
from sessions_app.models.clock import database_now
from sessions_app.search import index_sessions
from sessions_app.session.problems import Problem
from tests.clients import LIST, page_of, run
from tests.factories import archived, live, plan, put, sync

pytestmark = pytest.mark.django_db


@pytest.fixture
def bare() -> BrowserSession:
    with connection.cursor() as cursor:
        cursor.execute(
            "INSERT INTO sessions_app_browsersession "
            "(namespace, name, size_bytes, session_id, browser_type, is_corrupted, is_pinned, file_name) "
            "VALUES ('shop', 'bare', 0, 'x', 'chromium', %s, %s, '')",
            [False, False],
        )
    return BrowserSession.objects.get(name="bare")


def test_it_is_evaluated_shown_and_searched(bare: BrowserSession, client: Client, root: User) -> None:
    assert Problem.MISSING_CDP_URL in bare.problem_set
    assert (bare.document, bare.cdp_url) == (b"", "")
    client.force_login(root)
    assert index_sessions() == 1
    for address in (LIST, f"{LIST}?q=bare", page_of(bare), f"{LIST}export.json", f"{LIST}?metadata.user=ada"):
        assert client.get(address).status_code in (200, 302, 404), address
    assert client.get(page_of(bare)).status_code == 200
    assert "bare" in run("session_info", "bare", "--namespace", "shop").out
    assert "bare" in run("list_sessions").out


def test_it_is_probed_removed_and_restored(bare: BrowserSession) -> None:
    assert liveness.enrol_sessions(database_now(), is_complete=True) >= 0
    liveness.probe_due("", deadline=Deadline())
    removal = run_cleanup(plan(invalid=True))
    assert (live(), archived()) == ([], ["bare"])
    undo_cleanup(removal)
    assert (live(), archived()) == (["bare"], [])


def test_a_document_that_is_written_later_is_stored(bare: BrowserSession) -> None:
    BrowserSession.objects.write(bare.pk, cdp_url="ws://127.0.0.1:9222/", document=b"{}")
    assert SessionDocument.objects.get(pk=bare.pk).document == b"{}"
    session = BrowserSession.objects.get(pk=bare.pk)
    assert (session.document, session.shown_endpoint) == (b"{}", "ws://127.0.0.1:9222")


def test_its_file_is_read_again(bare: BrowserSession, tmp_path: Path) -> None:
    put(tmp_path, "other")
    directory = register_directory(tmp_path)
    sync(directory)
    mirrored = BrowserSession.objects.get(name="other")
    SessionDocument.objects.filter(pk=mirrored.pk).delete()
    path = put(tmp_path, "other", metadata={"user": "ada"})
    sync(directory)
    assert BrowserSession.objects.get(name="other").document == path.read_bytes()
