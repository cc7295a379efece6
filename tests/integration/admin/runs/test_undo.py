from __future__ import annotations

import pytest
from django.contrib.auth.models import User
from django.test import Client

from sessions_app.cleanup import plan_cleanup, run_cleanup
from sessions_app.models import ArchivedSession, BrowserSession, CleanupRun
from sessions_app.session.criteria import Criteria
from tests.factories import ENDPOINT, SECRET, make_session

RUNS = "/admin/sessions_app/cleanuprun/"
ARCHIVE = "/admin/sessions_app/archivedsession/"


@pytest.fixture
def run(db: None) -> CleanupRun:
    """A cleanup of two sessions."""
    make_session("first", session_id="")
    make_session("second", session_id="")
    return run_cleanup(plan_cleanup(Criteria(invalid=True), trigger="command"))


@pytest.fixture
def at_work(client: Client, operator: User) -> Client:
    client.force_login(operator)
    return client


def live() -> list[str]:
    return list(BrowserSession.objects.order_by("name").values_list("name", flat=True))


def test_one_click_brings_a_run_back(at_work: Client, run: CleanupRun) -> None:
    page = f"{RUNS}{run.pk}/change/"
    assert f'action="{RUNS}{run.pk}/undo/"' in at_work.get(page).content.decode()
    html = at_work.post(f"{RUNS}{run.pk}/undo/", follow=True).content.decode()
    assert live() == ["first", "second"]
    assert "2 of 2 sessions are back." in html
    assert "Undone" in html
    assert "2 sessions by operator" in html
    assert "/undo/" not in html


def test_what_cannot_come_back_is_told(at_work: Client, run: CleanupRun) -> None:
    make_session("first")
    html = at_work.post(f"{RUNS}{run.pk}/undo/", follow=True).content.decode()
    assert "1 of 2 sessions are back. 1 stay in the archive: their names or files are taken." in html


def test_an_undo_that_fails_is_told_on_the_page_of_the_run(
    at_work: Client, run: CleanupRun, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def fail(*args: object) -> None:
        raise ValueError(ENDPOINT)

    monkeypatch.setattr("sessions_app.cleanup.undo._restore_batch", fail)
    html = at_work.post(f"{RUNS}{run.pk}/undo/", follow=True).content.decode()
    assert f"The undo of run {run.pk} failed; what it did is kept." in html
    assert "ValueError" in html
    assert f"The undo of run {run.pk} failed." in caplog.text
    assert SECRET not in html + caplog.text
    assert live() == []
    monkeypatch.undo()
    assert "Go on with the undo</button>" in html
    at_work.post(f"{RUNS}{run.pk}/undo/")
    assert live() == ["first", "second"]


def test_an_undo_goes_by_post_and_with_permission_only(
    at_work: Client, run: CleanupRun, viewer: User
) -> None:
    assert at_work.get(f"{RUNS}{run.pk}/undo/").status_code == 405
    at_work.force_login(viewer)
    assert at_work.post(f"{RUNS}{run.pk}/undo/").status_code == 403
    assert at_work.post(f"{RUNS}{run.pk}/protect/", {"protect": "1"}).status_code == 403
    html = at_work.get(f"{RUNS}{run.pk}/change/").content.decode()
    assert "/undo/" not in html
    at_work.post(ARCHIVE, {"action": "restore", "_selected_action": [s.pk for s in _archived()]})
    assert live() == []


def test_a_run_is_protected_and_no_longer(at_work: Client, run: CleanupRun) -> None:
    for value, is_protected in (("1", True), ("0", False)):
        at_work.post(f"{RUNS}{run.pk}/protect/", {"protect": value})
        run.refresh_from_db()
        assert run.is_protected is is_protected


def test_single_sessions_come_back_from_the_list_of_the_archive(at_work: Client, run: CleanupRun) -> None:
    first = ArchivedSession.objects.get(name="first")
    data = {"action": "restore", "_selected_action": [first.pk]}
    html = at_work.post(ARCHIVE, data, follow=True).content.decode()
    assert "1 of 1 sessions are back." in html
    assert live() == ["first"]


@pytest.mark.parametrize(("days", "words"), [(14, "undone for 14 days"), (0, "this cannot be undone")])
def test_the_confirmation_tells_whether_it_can_be_undone(
    at_work: Client, settings: object, days: int, words: str
) -> None:
    settings.RAPTOR_ARCHIVE_DAYS = days  # type: ignore[attr-defined]
    make_session("bad", session_id="")
    plan = plan_cleanup(Criteria(invalid=True), trigger="admin")
    assert words in at_work.get(f"{RUNS}{plan.pk}/plan/").content.decode()


def _archived() -> list[ArchivedSession]:
    return list(ArchivedSession.objects.all())
