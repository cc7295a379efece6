"""A real Chromium: any message in its console fails the test."""

from __future__ import annotations

import http.server
import os
import shutil
import signal
import threading
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import pytest
from playwright.sync_api import Browser, ConsoleMessage, Page, expect, sync_playwright

from tests.browser import chromium_of_tests
from tests.e2e.demo import PASSWORD, fill
from tests.e2e.panel import Panel, free_port
from tests.e2e.scripts import Project, browsers

ABORTED = "net::ERR_ABORTED"
ARGUMENTS = ["--no-sandbox", "--disable-background-networking"]
# Playwright's default of 5 s is too short for a busy machine; its actions wait for 30 s too.
expect.set_options(timeout=30_000)


@pytest.fixture(scope="session")
def chromium() -> Iterator[Browser]:
    path = chromium_of_tests()
    if path is None:
        pytest.fail("There is no Chromium: run `python -m tests.browser`, or set RAPTOR_CHROMIUM.")
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=path, args=ARGUMENTS)
        yield browser
        browser.close()


@pytest.fixture(scope="session")
def prepared(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The data folder of a panel that was never started, with its tables and static files.

    Creating them takes seconds, so panels start with a copy; test_up.py has one that starts without it.
    """
    panel = Panel(tmp_path_factory.mktemp("prepared"), free_port())
    panel.manage("migrate")
    panel.shell("from raptor_admin.static_files import collect_static_files; collect_static_files()")
    return panel.directory / "var"


@pytest.fixture(scope="session")
def demo(tmp_path_factory: pytest.TempPathFactory, prepared: Path) -> Iterator[Panel]:
    """A panel with 2,000 demo sessions, started once for all tests that share it."""
    panel = Panel.copy_of(prepared, tmp_path_factory.mktemp("demo"))
    try:
        panel.start_and_wait(RAPTOR_ADMIN_PASSWORD=PASSWORD)
        fill(panel)
        yield panel
    finally:
        panel.stop()


@pytest.fixture(params=[(1440, 900), (390, 844)], ids=["wide", "phone"])
def viewport(request: pytest.FixtureRequest) -> tuple[int, int]:
    size: tuple[int, int] = request.param
    return size


@pytest.fixture
def page(chromium: Browser, viewport: tuple[int, int]) -> Iterator[Page]:
    """A page of a new profile. Violations of the Content-Security-Policy are console errors too."""
    complaints: list[str] = []

    def note(message: ConsoleMessage) -> None:
        if message.type in ("error", "warning"):
            complaints.append(f"{message.type} on {message.location.get('url')}: {message.text}")

    width, height = viewport
    context = chromium.new_context(viewport={"width": width, "height": height})
    page = context.new_page()
    page.on("console", note)
    page.on("pageerror", lambda error: complaints.append(f"uncaught: {error}"))
    # Requests of a page that was left are aborted, which is not a failure.
    page.on(
        "requestfailed",
        lambda request: complaints.append(f"failed: {request.url}") if request.failure != ABORTED else None,
    )
    yield page
    context.close()
    assert not complaints


class _Shop(http.server.BaseHTTPRequestHandler):
    """A site that greets the user who has logged in."""

    def do_GET(self) -> None:
        self.send_response(200)
        self.send_header("Content-Type", "text/html")
        if self.path == "/login":
            self.send_header("Set-Cookie", "user=ada; Path=/")
        self.end_headers()
        is_known = "user=ada" in self.headers.get("Cookie", "")
        self.wfile.write(
            f"<title>Shop</title><h1>{'Hello Ada' if is_known else 'Please log in'}</h1>".encode()
        )

    def log_message(self, format: str, *args: object) -> None:  # noqa: A002
        pass


@pytest.fixture
def shop() -> Iterator[str]:
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), _Shop) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{server.server_port}"
        server.shutdown()


@pytest.fixture(scope="session")
def new_database(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The data folder of a test project with empty tables, created once because that takes a second."""
    project = Project(tmp_path_factory.mktemp("new"))
    assert project.script("report(manager.get_session_count())") == [0]
    return project.directory / "var"


@pytest.fixture
def project(tmp_path: Path, new_database: Path) -> Iterator[Project]:
    project = Project(tmp_path)
    shutil.copytree(new_database, tmp_path / "var")
    yield project
    for pid in browsers(project):
        with suppress(ProcessLookupError):
            os.kill(pid, signal.SIGKILL)
