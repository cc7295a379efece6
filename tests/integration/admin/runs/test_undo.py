from __future__ import annotations

import pytest
from django.contrib.auth.models import User
from django.test import Client

from sessions_app.cleanup import plan_cleanup, run_cleanup
from sessions_app.models import ArchivedSession, BrowserSession, CleanupRun
from sessions_app.session.criteria import Criteria
from tests.clients import Page
from tests.factories import ENDPOINT, SECRET, make_session

RUNS = "/admin/sessions_app/cleanuprun/"
ARCHIVE = "/admin/sessions_app/archivedsession/"


@pytest.fixture
def run(db: None) -> CleanupRun:
    """A cleanup of two sessions."""
    make_session("first", session_id="")
    make_session("second", session_id="")
    return run_cleanup(plan_cleanup(Criteria(invalid=True), trigger="command"))


def live() -> list[str]:
    return list(BrowserSession.objects.order_by("name").values_list("name", flat=True))


def test_a_run_is_undone_from_its_page(as_operator: Client, run: CleanupRun) -> None:
    page = f"{RUNS}{run.pk}/change/"
    assert f'action="{RUNS}{run.pk}/undo/"' in as_operator.get(page).content.decode()
    html = as_operator.post(f"{RUNS}{run.pk}/undo/", follow=True).content.decode()
    assert live() == ["first", "second"]
    assert "2 of 2 sessions were restored." in Page(html).notices
    assert Page(html).facts["Restored"] == "2 sessions by operator"
    assert "Undo" not in Page(html).buttons


def test_sessions_that_cannot_be_restored_are_reported(as_operator: Client, run: CleanupRun) -> None:
    make_session("first")
    html = as_operator.post(f"{RUNS}{run.pk}/undo/", follow=True).content.decode()
    (notice,) = Page(html).notices
    assert notice.startswith(
        "1 of 2 sessions were restored. Still in the archive, because names or files are taken: 1."
    )


def test_a_failed_undo_is_shown_on_the_page_of_the_run(
    as_operator: Client, run: CleanupRun, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def fail(*args: object) -> None:
        raise ValueError(ENDPOINT)

    monkeypatch.setattr("sessions_app.cleanup.undo._restore_batch", fail)
    html = as_operator.post(f"{RUNS}{run.pk}/undo/", follow=True).content.decode()
    assert f"The undo of run {run.pk} failed. Its work so far is kept." in Page(html).notices
    assert "ValueError" in html
    assert f"The undo of run {run.pk} failed." in caplog.text
    assert SECRET not in html + caplog.text
    assert live() == []
    monkeypatch.undo()
    assert "Resume the undo" in Page(html).buttons
    as_operator.post(f"{RUNS}{run.pk}/undo/")
    assert live() == ["first", "second"]


def test_an_undo_requires_post_and_permission(as_operator: Client, run: CleanupRun, viewer: User) -> None:
    assert as_operator.get(f"{RUNS}{run.pk}/undo/").status_code == 405
    as_operator.force_login(viewer)
    assert as_operator.post(f"{RUNS}{run.pk}/undo/").status_code == 403
    assert as_operator.post(f"{RUNS}{run.pk}/protect/", {"protect": "1"}).status_code == 403
    html = as_operator.get(f"{RUNS}{run.pk}/change/").content.decode()
    assert "/undo/" not in html
    as_operator.post(ARCHIVE, {"action": "restore", "_selected_action": [s.pk for s in _archived()]})
    assert live() == []


def test_a_run_can_be_protected_and_unprotected(as_operator: Client, run: CleanupRun) -> None:
    for value, is_protected in (("1", True), ("0", False)):
        as_operator.post(f"{RUNS}{run.pk}/protect/", {"protect": value})
        run.refresh_from_db()
        assert run.is_protected is is_protected


def test_single_sessions_are_restored_from_the_archive(as_operator: Client, run: CleanupRun) -> None:
    first = ArchivedSession.objects.get(name="first")
    data = {"action": "restore", "_selected_action": [first.pk]}
    html = as_operator.post(ARCHIVE, data, follow=True).content.decode()
    assert "1 of 1 session was restored." in Page(html).notices
    assert live() == ["first"]


@pytest.mark.parametrize(("days", "text"), [(14, "undo this for 14 days"), (0, "This cannot be undone")])
def test_the_preview_shows_whether_the_cleanup_can_be_undone(
    as_operator: Client, settings: object, days: int, text: str
) -> None:
    settings.RAPTOR_ARCHIVE_DAYS = days  # type: ignore[attr-defined]
    make_session("bad", session_id="")
    plan = plan_cleanup(Criteria(invalid=True), trigger="admin")
    assert text in as_operator.get(f"{RUNS}{plan.pk}/plan/").content.decode()


def _archived() -> list[ArchivedSession]:
    return list(ArchivedSession.objects.all())
