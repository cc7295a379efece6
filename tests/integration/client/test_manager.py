"""``SessionManager`` on a namespace of the database."""

from __future__ import annotations

import asyncio
import json
import logging
import threading
from typing import Any

import pytest
from django.test import override_settings

from raptor.core.exceptions import SessionException
from raptor.core.session_manager import SessionInfo, SessionManager
from sessions_app.cleanup import undo_cleanup
from sessions_app.models import ArchivedSession, BrowserSession, CleanupRun, SessionDirectory
from tests.factories import INVALID, aged, document_bytes, live, make_session, rewrite
from tests.pages import page

pytestmark = pytest.mark.django_db

ODD_NAMES = [
    "a/b",
    "a.b",
    "..",
    "a b",
    " a",
    "a ",
    "😀",
    "x" * 255,
    "Ä",
    "a\nb",
    "%2F",
    "a\\b",
    "A",
    "a",
    "con",
    "-",
]


@pytest.fixture
def manager() -> SessionManager:
    return SessionManager(namespace="shop")


def save(manager: SessionManager, name: str, **changes: Any) -> SessionInfo:
    saved: SessionInfo = manager.save_session(page(**changes), name)
    return saved


class TestSaved:
    def test_what_the_caller_has_under_our_key_is_kept(self, manager: SessionManager) -> None:
        mine = {"raptor_admin": {"team": "blue", "page_target_id": "old"}}
        saved = manager.save_session(page(), "cart", mine)
        assert saved.metadata["raptor_admin"]["team"] == "blue"
        # The manager's own facts are removed if they are no longer known.
        assert saved.page_target_id != "old"
        assert mine == {"raptor_admin": {"team": "blue", "page_target_id": "old"}}

    @pytest.mark.parametrize("value", ["blue", 5, None, ["blue"]])
    def test_another_value_under_our_key_is_refused(self, manager: SessionManager, value: object) -> None:
        with pytest.raises(SessionException, match="under the key “raptor_admin”"):
            manager.save_session(page(), "cart", {"raptor_admin": value})
        assert manager.list_sessions() == []

    def test_a_saved_session_is_found_with_its_values(self, manager: SessionManager) -> None:
        saved = manager.save_session(page(), "cart", {"user": "ada", "items": [1, None]})
        info = manager.get_session_info("cart")
        assert info == saved
        assert info is not None
        assert info.cdp_url.startswith("ws://127.0.0.1:9/")
        assert info.metadata["user"] == "ada"
        assert info.metadata["items"] == [1, None]
        assert info.metadata["page_url"] == "https://shop.example/cart"
        assert info.metadata["page_title"] == "Cart"
        assert manager.validate_session("cart")
        assert manager.list_sessions() == ["cart"]
        assert manager.get_session_count() == 1
        assert manager.get_storage_size() == len(bytes(BrowserSession.objects.get().document))
        assert manager.get_storage_dir() is None

    def test_saving_a_name_again_keeps_its_creation_time_and_its_pin(self, manager: SessionManager) -> None:
        first = save(manager, "cart")
        BrowserSession.objects.update(is_pinned=True)
        second = save(manager, "cart", page_title="Checkout")
        session = BrowserSession.objects.get()
        assert session.is_pinned
        assert second.created_at == first.created_at
        assert second.last_accessed > first.last_accessed
        assert first.session_id == second.session_id == "cart"
        assert second.metadata["page_title"] == "Checkout"

    def test_a_corrupted_session_is_replaced_by_a_whole_one(self, manager: SessionManager) -> None:
        make_session("cart", document=b"{")
        assert manager.get_session_info("cart") is None
        assert not manager.validate_session("cart")
        assert save(manager, "cart").created_at
        assert manager.validate_session("cart")

    @pytest.mark.parametrize("metadata", [{"x": object()}, {"x": {1, 2}}, {("a",): 1}])
    def test_metadata_that_is_not_json_is_refused(self, manager: SessionManager, metadata: Any) -> None:
        with pytest.raises(SessionException, match="metadata"):
            manager.save_session(page(), "cart", metadata)
        assert manager.list_sessions() == []

    @override_settings(RAPTOR_MAX_DOCUMENT_BYTES=1_000)
    def test_a_document_over_the_limit_is_refused(self, manager: SessionManager) -> None:
        with pytest.raises(SessionException, match="limit is 1,000"):
            manager.save_session(page(), "cart", {"x": "y" * 1_000})
        assert live() == []

    def test_a_browser_that_cannot_be_restored_is_saved_with_a_warning(self, manager: SessionManager) -> None:
        firefox = page()
        firefox.context.browser.ws_endpoint = ""
        firefox.context.browser.browser_type.name = "firefox"
        with pytest.warns(UserWarning, match="missing_cdp_url.*remote-debugging-port"):
            manager.save_session(firefox, "cart")
        assert BrowserSession.objects.get().problem_set.codes == ["missing_cdp_url"]


class TestNames:
    @pytest.mark.parametrize("name", ODD_NAMES)
    def test_any_name_is_stored_and_found_again(self, manager: SessionManager, name: str) -> None:
        save(manager, name)
        assert manager.list_sessions() == [name]
        assert manager.validate_session(name)
        assert manager.get_session_info(name) is not None
        assert manager.delete_session(name)

    def test_names_are_distinct_and_sorted(self, manager: SessionManager) -> None:
        for name in ODD_NAMES:
            save(manager, name)
        assert manager.list_sessions() == sorted(ODD_NAMES)

    @pytest.mark.parametrize(
        ("name", "reason"),
        [
            ("", "empty"),
            ("x" * 256, "256 characters"),
            ("a\0b", "databases cannot store"),
            ("\ud800", "databases cannot store"),
            (7, "text"),
        ],
    )
    def test_a_name_that_cannot_be_stored_is_refused_and_not_found(
        self, manager: SessionManager, name: Any, reason: str
    ) -> None:
        with pytest.raises(SessionException, match=reason):
            save(manager, name)
        assert manager.get_session_info(name) is None
        assert not manager.validate_session(name)
        assert not manager.delete_session(name)
        with pytest.raises(SessionException, match="There is no session"):
            asyncio.run(manager.restore_session(name))

    @pytest.mark.parametrize("namespace", ["x" * 101, " a", "a\n"])
    def test_an_impossible_namespace_is_refused(self, namespace: str) -> None:
        with pytest.raises(SessionException, match="namespace"):
            SessionManager(namespace=namespace)

    @pytest.mark.django_db(transaction=True)
    def test_an_unknown_name_is_reported_with_similar_ones(self, manager: SessionManager) -> None:
        save(manager, "checkout")
        with pytest.raises(SessionException) as refusal:
            asyncio.run(manager.restore_session("chekout"))
        assert refusal.value.message == (
            "Session validation failed. There is no session “chekout” in the namespace shop. "
            "Did you mean “checkout”?"
        )


class TestRemoved:
    def test_cleanups_follow_the_guide_and_keep_other_namespaces(self, manager: SessionManager) -> None:
        make_session("fresh", **aged(0))
        make_session("old", **aged(8))
        make_session("invalid", **aged(0), **INVALID)
        make_session("other-old", namespace="other", **aged(8))
        assert manager.cleanup_expired_sessions() == 1
        assert live() == ["fresh", "invalid", "other-old"]
        make_session("no-endpoint", **aged(0), cdp_url="")
        assert manager.cleanup_invalid_sessions() == 2
        make_session("pinned", is_pinned=True, **aged(8))
        assert manager.cleanup_expired_sessions() == 0
        assert manager.cleanup_all_sessions() == 2
        assert live() == ["other-old"]

    def test_the_age_is_exact_and_may_be_a_fraction(self, manager: SessionManager) -> None:
        make_session("hours", **aged(0.5))
        assert manager.cleanup_expired_sessions(max_age_days=1) == 0
        assert manager.cleanup_expired_sessions(0.4) == 1
        make_session("days", **aged(3.1))
        assert SessionManager(namespace="shop", max_age_days=3).cleanup_expired_sessions() == 1

    @pytest.mark.parametrize("days", [0, -1, float("nan"), 1e9])
    def test_an_impossible_age_is_refused(self, manager: SessionManager, days: float) -> None:
        with pytest.raises(SessionException, match="maximum age"):
            manager.cleanup_expired_sessions(days)

    def test_a_removal_is_recorded_as_a_run_and_can_be_undone(self, manager: SessionManager) -> None:
        save(manager, "cart")
        assert manager.delete_session("cart") is True
        assert manager.delete_session("cart") is False
        run = CleanupRun.objects.get()
        assert (run.trigger, run.removed_count) == ("api", 1)
        assert run.actor
        undo_cleanup(run, actor="tester")
        assert manager.validate_session("cart")

    def test_a_cleanup_without_matches_records_no_run(self, manager: SessionManager) -> None:
        save(manager, "cart")
        assert manager.cleanup_expired_sessions() == manager.cleanup_invalid_sessions() == 0
        assert not CleanupRun.objects.exists()

    def test_a_pinned_session_is_not_deleted_by_its_name(self, manager: SessionManager) -> None:
        make_session("cart", is_pinned=True)
        with pytest.raises(SessionException, match="pinned"):
            manager.delete_session("cart")
        assert live() == ["cart"]

    def test_the_first_cleanup_is_logged(self, caplog: pytest.LogCaptureFixture) -> None:
        make_session("old", **aged(4))
        make_session("no-endpoint", **aged(0), cdp_url="")
        with caplog.at_level(logging.INFO):
            SessionManager(auto_cleanup_on_init=True, max_age_days=3, namespace="shop")
        assert "Automatic cleanup complete: 1 expired, 1 invalid sessions removed" in caplog.messages


class TestInfo:
    def test_it_survives_json(self) -> None:
        info = SessionInfo("1", "ws://x/", "chromium", "2026-11-22T12:00:00", "2026-11-22T12:00:00", {"a": 1})
        assert list(info.to_dict()) == [
            "session_id",
            "cdp_url",
            "browser_type",
            "created_at",
            "last_accessed",
            "metadata",
        ]
        assert SessionInfo.from_dict(json.loads(json.dumps(info.to_dict()))) == info

    def test_unknown_keys_are_ignored(self) -> None:
        assert SessionInfo.from_dict({"session_id": "1", "more": 2}) == SessionInfo(session_id="1")

    def test_the_endpoint_is_not_printed(self) -> None:
        assert "secret" not in repr(SessionInfo(cdp_url="ws://127.0.0.1/devtools/browser/secret"))

    def test_unknown_keys_of_a_document_survive_a_touch(self, manager: SessionManager) -> None:
        document = json.loads(document_bytes(**aged(3)))
        data = json.dumps({**document, "more": {"kept": True}}).encode()
        make_session("cart", **aged(3))
        rewrite(BrowserSession.objects.all(), document=data)
        manager._store.touch("cart")
        session = BrowserSession.objects.get()
        content = json.loads(bytes(session.document))
        assert content["more"] == {"kept": True}
        assert content["created_at"] == document["created_at"]
        assert content["last_accessed"] == str(session.last_accessed).replace(" ", "T")
        assert session.size_bytes == len(bytes(session.document))


@pytest.mark.django_db(transaction=True)
class TestFromAnywhere:
    def test_its_methods_can_be_called_in_a_running_event_loop(self) -> None:
        async def work() -> list[str]:
            manager = SessionManager(namespace="shop")
            manager.save_session(page(), "cart")
            assert manager.validate_session("cart")
            return manager.list_sessions()

        assert asyncio.run(work()) == ["cart"]

    def test_threads_share_it(self) -> None:
        manager = SessionManager(namespace="shop")

        def work(number: int) -> None:
            from django.db import connection

            save(manager, f"cart-{number}")
            connection.close()

        threads = [threading.Thread(target=work, args=(number,)) for number in range(8)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert manager.get_session_count() == 8

    def test_a_session_cannot_be_created_without_a_name(self) -> None:
        assert not BrowserSession.objects.exists()
        assert not ArchivedSession.objects.exists()
        assert not SessionDirectory.objects.exists()
