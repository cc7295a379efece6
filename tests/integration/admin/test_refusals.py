"""Invalid values in URLs and forms are refused without a server error."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from django.test import Client

from sessions_app.cleanup import plan_cleanup
from sessions_app.mirror.registry import register_directory
from sessions_app.models import BrowserSession, CleanupRun
from sessions_app.session.criteria import Criteria
from sessions_app.session.files import SessionFolder
from tests.factories import make_session

SESSIONS = "/admin/sessions_app/browsersession/"
RUNS = "/admin/sessions_app/cleanuprun/"
ARCHIVE = "/admin/sessions_app/archivedsession/"


@pytest.mark.parametrize(
    "address",
    [
        f"{SESSIONS}?name__regex=(",
        f"{SESSIONS}?name__regex=^(x%2B)%2By$",
        f"{SESSIONS}?cdp_url__startswith=ws",
        f"{SESSIONS}?directory__path=x",
        f"{SESSIONS}?namespace=%00",
        f"{RUNS}?actor__regex=(",
        f"{RUNS}?state__exact=%00",
        f"{RUNS}?policy__name__regex=(",
        f"{RUNS}export.csv?actor__regex=(",
        f"{RUNS}export.json?policy__brake_count=1",
        f"{ARCHIVE}?run__criteria_json__x=1",
        "/admin/sessions_app/queuedtask/?task__regex=(",
    ],
)
def test_lookups_that_no_filter_offers_are_refused(as_root: Client, address: str) -> None:
    assert as_root.get(address).status_code == 400


@pytest.mark.parametrize(
    "address",
    [
        f"{ARCHIVE}?run=99999999999999999999999",
        f"{ARCHIVE}?run=x",
        f"{SESSIONS}?q=" + "a+" * 1_500,
        f"{SESSIONS}?q=%27%25_",
        f"{SESSIONS}?problem=xyz",
        f"{RUNS}?state__exact=running",
        f"{RUNS}?policy=99999999999999999999999",
        f"{RUNS}?q=99999999999999999999999",
        f"{RUNS}?planned=never&outcome=none&policy=x",
    ],
)
def test_odd_values_find_nothing_without_an_error(as_root: Client, address: str) -> None:
    assert as_root.get(address).status_code == 200


@pytest.mark.parametrize("selected", ["abc", "9" * 24, "-1"])
def test_an_invalid_selection_is_refused(as_root: Client, selected: str) -> None:
    data = {"action": "clean_up", "_selected_action": selected}
    assert as_root.post(SESSIONS, data).status_code == 400
    assert not CleanupRun.objects.exists()


def test_an_unconfirmed_plan_cannot_be_resumed(as_root: Client) -> None:
    make_session("bad", session_id="")
    run = plan_cleanup(Criteria(invalid=True), trigger="command", actor="somebody")
    response = as_root.post(f"{RUNS}{run.pk}/resume/")
    assert response["Location"] == f"{RUNS}{run.pk}/plan/"
    assert BrowserSession.objects.count() == 1
    as_root.post(f"{RUNS}{run.pk}/plan/", {"number": "1"})
    run.refresh_from_db()
    assert (run.trigger, run.actor, run.removed_count) == ("admin", "root", 1)


def test_a_failed_sync_shows_a_message(
    as_root: Client, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    directory = register_directory(tmp_path)

    def refuse(*args: Any, **kwargs: Any) -> None:
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr(SessionFolder, "entries", refuse)
    html = as_root.post(f"/admin/sessions_app/sessiondirectory/{directory.pk}/sync/", follow=True)
    assert "cannot be read: Permission denied" in html.content.decode()


SECRET = "0123abcd-4567-89ef-0123-456789abcdef"


@pytest.mark.parametrize(
    "changes",
    [
        {"browser_type": f"ws://127.0.0.1:9222/devtools/browser/{SECRET}"},
        {"session_id": f"ws://127.0.0.1:9222/devtools/browser/{SECRET}"},
        {
            "cdp_url": f"http://127.0.0.1:9222/x/{SECRET}",
            "metadata": {"u": f"http://127.0.0.1:9222/x/{SECRET}"},
        },
        {"cdp_url": f"ws://127.0.0.1:9222/devtools/browser/{SECRET}", "metadata": {"browser_id": SECRET}},
        {
            "cdp_url": f"ws://127.0.0.1:9222/devtools/browser/{SECRET}",
            "metadata": {"u": f"ws%3A%2F%2F127.0.0.1%3A9222%2Fdevtools%2Fbrowser%2F{SECRET}"},
        },
    ],
)
def test_pages_mask_endpoints_in_every_field(as_root: Client, changes: dict[str, Any]) -> None:
    session = make_session("leaky", **changes)
    for address in (SESSIONS, f"{SESSIONS}?browser_type=other", f"{SESSIONS}{session.pk}/change/"):
        assert SECRET not in as_root.get(address).content.decode()
