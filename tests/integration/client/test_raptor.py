"""Compatibility with RAPTOR's manager: names, ids, exceptions, phrases and private attributes."""

from __future__ import annotations

import asyncio
import logging
import pickle
from pathlib import Path
from typing import Any
from unittest.mock import AsyncMock, Mock

import pytest
from playwright.async_api import Browser, BrowserContext, Page

from raptor.core.exceptions import RaptorException, SessionException, SessionNotFound
from raptor.core.session_manager import SessionManager
from sessions_app.browsers import page_info
from tests.factories import put
from tests.pages import FakeContext, page

pytestmark = pytest.mark.django_db

NAME, FILE = "my shop.v2 / anna", "myshopv2anna"


@pytest.fixture
def manager(folder: Path) -> SessionManager:
    return SessionManager(storage_dir=folder)


def names(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


class TestNames:
    def test_a_file_of_raptor_is_found_by_its_whole_name(self, manager: SessionManager, folder: Path) -> None:
        put(folder, FILE)
        assert manager.get_session_info(NAME) == manager.get_session_info(FILE)
        assert manager.validate_session(NAME)
        assert manager._get_session_file_path(NAME) == folder / f"{FILE}.json"

    def test_the_exact_name_wins(self, manager: SessionManager, folder: Path) -> None:
        put(folder, "my shop", browser_type="firefox")
        put(folder, "myshop", browser_type="webkit")
        for name, browser_type in (("my shop", "firefox"), ("myshop", "webkit")):
            info = manager.get_session_info(name)
            assert info is not None
            assert info.browser_type == browser_type

    def test_a_reduced_name_that_several_files_may_mean_is_not_used(
        self, manager: SessionManager, folder: Path
    ) -> None:
        put(folder, "myshop")
        put(folder, "my.shop")
        assert manager.get_session_info("my shop") is None
        assert manager.delete_session("my shop") is False
        assert names(folder) == ["my.shop.json", "myshop.json"]

    def test_only_a_file_that_raptor_would_use_is_found(self, manager: SessionManager, folder: Path) -> None:
        put(folder, "my.shop")
        for name in ("my shop", "myshop", "my/shop", "///", "..", ""):
            assert manager.get_session_info(name) is None
            assert manager.delete_session(name) is False

    def test_a_removal_by_a_reduced_name_is_logged(
        self, manager: SessionManager, folder: Path, caplog: pytest.LogCaptureFixture
    ) -> None:
        put(folder, FILE)
        with caplog.at_level(logging.INFO):
            assert manager.delete_session(NAME) is True
        assert f"The session “{FILE}” was removed." in caplog.messages
        assert names(folder) == []

    def test_a_name_that_cannot_be_a_file_name_is_saved_in_the_file_of_raptor(
        self, manager: SessionManager, folder: Path
    ) -> None:
        with pytest.raises(SessionException, match="slash"):
            manager.save_session(page(), NAME)
        put(folder, FILE)
        assert manager.save_session(page(page_title="New"), NAME).session_id == NAME
        assert names(folder) == [f"{FILE}.json"]
        info = manager.get_session_info(FILE)
        assert info is not None
        assert info.metadata["page_title"] == "New"

    def test_the_endpoint_of_another_machine_is_looked_up_under_raptor_s_name(
        self, manager: SessionManager, folder: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        put(folder, FILE, cdp_url="ws://chrome.example:9222/devtools/browser/1")
        manager.list_sessions()
        tried: list[str] = []

        def find_endpoint(*arguments: object, saved: str, **options: object) -> str:
            tried.append(saved)
            return saved

        monkeypatch.setattr(page_info, "find_endpoint", find_endpoint)
        saved = manager.save_session(page(), NAME)
        assert tried == ["ws://chrome.example:9222/devtools/browser/1"] == [saved.cdp_url]

    def test_a_new_name_never_replaces_another_session(self, manager: SessionManager, folder: Path) -> None:
        put(folder, "myshop")
        manager.save_session(page(), "my shop")
        assert names(folder) == ["my shop.json", "myshop.json"]

    def test_a_namespace_without_a_folder_has_exact_names_only(self) -> None:
        manager = SessionManager(namespace="shop")
        manager.save_session(page(), FILE)
        assert manager.get_session_info(NAME) is None
        assert not manager.delete_session(NAME)

    def test_a_restored_session_is_dated_in_its_file(self, manager: SessionManager, folder: Path) -> None:
        put(folder, FILE)
        before = manager.get_session_info(FILE)
        manager._store.touch(NAME)
        after = manager.get_session_info(FILE)
        assert before is not None
        assert after is not None
        assert after.last_accessed > before.last_accessed


class TestPrivateNames:
    def test_a_manager_of_a_folder_has_them(self, manager: SessionManager, folder: Path) -> None:
        assert manager._storage_dir == folder == manager.get_storage_dir()
        assert manager._get_session_file_path("cart") == folder / "cart.json"
        assert manager._get_session_file_path("a/../../etc/passwd") == folder / "aetcpasswd.json"
        assert repr(manager) == f"SessionManager(storage_dir={str(folder)!r})"

    def test_a_manager_of_a_namespace_has_no_folder(self) -> None:
        manager = SessionManager(namespace="shop")
        assert manager._storage_dir is None
        assert repr(manager) == "SessionManager(namespace='shop')"
        with pytest.raises(SessionException, match="database only"):
            manager._get_session_file_path("cart")


class TestExceptions:
    def test_raptor_s_arguments_are_accepted(self) -> None:
        error = SessionException("cannot connect", "login", {"browser_type": "chromium"})
        assert isinstance(error, RaptorException)
        assert str(error) == error.message == "cannot connect (session “login”)"
        assert error.context == {
            "session_operation": "cannot connect",
            "session_id": "login",
            "session_info": {"browser_type": "chromium"},
        }
        assert SessionNotFound("gone").context == {}
        assert str(pickle.loads(pickle.dumps(error))) == str(error)

    def test_messages_contain_the_phrases_that_users_match(self, manager: SessionManager) -> None:
        with pytest.raises(SessionException, match="Session name cannot be empty"):
            manager.save_session(page(), "")
        with pytest.raises(SessionException, match="not attached to a browser"):
            manager.save_session(page(context=FakeContext(browser=None)), "cart")  # type: ignore[arg-type]
        assert manager.list_sessions() == []

    @pytest.mark.django_db(transaction=True)
    def test_a_failed_restore_reports_a_failed_validation(
        self, manager: SessionManager, folder: Path
    ) -> None:
        put(folder, "invalid", cdp_url="")
        for name in ("missing", "invalid"):
            with pytest.raises(SessionException, match="validation failed"):
                asyncio.run(manager.restore_session(name))


def mocked(browser: Any) -> Any:
    """Return a page as tests of RAPTOR's users mock it."""
    mock = AsyncMock(spec=Page)
    mock.url = "https://example.com"
    mock.title = AsyncMock(return_value="Example")
    mock.context = Mock(spec=BrowserContext)
    mock.context.browser = browser
    return mock


@pytest.mark.django_db(transaction=True)
def test_a_mocked_page_of_a_wrapper_is_saved_as_a_chromium(manager: SessionManager) -> None:
    browser = Mock(spec=Browser)
    browser.ws_endpoint = Mock(return_value="ws://localhost:9222/devtools/browser/test-id")
    info = asyncio.run(manager.save_session(mocked(browser), "cart", {"test": "data"}))
    assert info.session_id == "cart"
    assert info.cdp_url == "ws://localhost:9222/devtools/browser/test-id"
    assert info.browser_type == "chromium"
    assert info.metadata["test"] == "data"
    assert info.metadata["page_title"] == "Example"
    assert set(info.metadata["raptor_admin"]) <= {"host", "machine", "machine_id"}
    with pytest.raises(SessionException, match="not attached to a browser"):
        asyncio.run(manager.save_session(mocked(None), "other"))
