"""Browsers without a session, with two users at once, or without a known identity."""

from __future__ import annotations

import subprocess

import pytest

from tests.e2e.scripts import PROJECT_DIR, Project, browsers, kill_browser, wait_until_closed

LAUNCH = 'page = await manager.launch_session("login", url={url!r}); report(page.url)'
SHOWN = """
    import traceback
    async def show(work):
        try:
            await work
        except SessionException as error:
            report("".join(traceback.format_exception(error)))
"""


@pytest.fixture
def launched(project: Project, shop: str) -> Project:
    assert project.script(LAUNCH.format(url=f"{shop}/")) == [f"{shop}/"]
    return project


def test_a_browser_whose_session_was_removed_is_adopted_again(launched: Project, shop: str) -> None:
    (pid,) = browsers(launched)
    assert launched.script("report(manager.cleanup_all_sessions())") == [1]
    assert launched.script(LAUNCH.format(url=f"{shop}/#again")) == [f"{shop}/#again"]
    assert browsers(launched) == [pid]
    launched.script('await manager.close_session("login")')
    wait_until_closed(launched)


def test_an_adopted_browser_survives_a_failed_launch(launched: Project) -> None:
    launched.script("manager.cleanup_all_sessions()")
    reported = launched.script(
        """
        try:
            await manager.launch_session("login", url="http://127.0.0.1:1/")
        except SessionException as error:
            report(error.message)
        """
    )
    assert "The page cannot be opened" in reported[0]
    assert len(browsers(launched)) == 1


def test_two_launches_at_once_get_one_browser_and_one_refusal(project: Project, shop: str) -> None:
    reported = project.script(
        f"""
        launches = (manager.launch_session("login", url="{shop}/") for _ in range(2))
        done = await asyncio.gather(*launches, return_exceptions=True)
        report(sorted(getattr(one, "message", "") or one.url for one in done))
        """
    )
    refusal, url = reported[0]
    assert "is already running" in refusal
    assert url == f"{shop}/"
    assert len(browsers(project)) == 1


def test_no_failure_shows_an_endpoint(launched: Project) -> None:
    endpoint = launched.script('report(manager.get_session_info("login").cdp_url)')[0]
    secret = endpoint.rpartition("/")[2]
    kill_browser(launched)
    reported = launched.script(
        SHOWN
        + """
    await show(manager.restore_session("login"))
    await show(manager.close_session("login"))
    """
    )
    assert len(reported) == 2
    assert not any(secret in text for text in reported)
    (launched.directory / "test_login.py").write_text(
        "import asyncio\nfrom raptor.core.session_manager import SessionManager\n"
        "def test_restore():\n    asyncio.run(SessionManager().restore_session('login'))\n"
    )
    failed = launched.run("-m", "pytest", "-p", "no:randomly", "--showlocals")
    assert "BrowserUnreachable" in failed.stdout
    assert secret not in failed.stdout + failed.stderr


# Users of RAPTOR write such addresses manually: without the id of the browser.
BY_PORT = """
    from sessions_app.models import BrowserSession
    from sessions_app.client.writer import store_document
    from sessions_app.client.runtime import run_sync
    info = manager.get_session_info("login")
    content = info.to_dict() | {"cdp_url": "http://" + info.cdp_url.split("/")[2]}
    content["metadata"]["raptor_admin"].pop("page_target_id") if %r else None
    run_sync(lambda: store_document(BrowserSession.objects.get(), content))
"""
TRY = """
    for work in (manager.restore_session, manager.close_session):
        try:
            await work("login")
            report("done")
        except SessionException as error:
            report(type(error).__name__)
"""


def test_a_browser_without_an_id_in_its_endpoint_is_identified_by_its_page(launched: Project) -> None:
    endpoint = launched.script('report(manager.get_session_info("login").cdp_url)')[0]
    port = endpoint.split(":")[2].partition("/")[0]
    launched.script(BY_PORT % False)
    assert launched.script('report((await manager.restore_session("login")).url)')
    kill_browser(launched)
    command = [launched.environment["RAPTOR_CHROMIUM"], "--headless=new", "--no-sandbox", "about:blank"]
    command += [f"--remote-debugging-port={port}", f"--user-data-dir={launched.directory}/other"]
    other = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    try:
        launched.script(
            f"""
            import socket
            while socket.socket().connect_ex(("127.0.0.1", {port})): time.sleep(0.02)
            """
        )
        assert launched.script(TRY) == ["BrowserReplaced", "BrowserReplaced"]
        assert other.poll() is None
    finally:
        other.kill()
        other.wait()


def test_an_unidentified_browser_is_restored_and_never_closed(launched: Project) -> None:
    launched.script(BY_PORT % True)
    assert launched.script(TRY) == ["done", "SessionException"]
    assert len(browsers(launched)) == 1


def test_a_closed_page_is_reported(launched: Project) -> None:
    reported = launched.script(
        """
        page = await manager.restore_session("login")
        await page.close()
        try:
            await manager.save_session(page, "login")
        except SessionException as error:
            report(error.message)
        """
    )
    assert reported[0].startswith("The page cannot be saved: ")


def test_metadata_of_any_shape_is_accepted(launched: Project) -> None:
    reported = launched.script(
        """
        from sessions_app.models import BrowserSession
        from sessions_app.client.writer import store_document
        from sessions_app.client.runtime import run_sync
        for metadata in (None, [], "text", 3, {"page_target_id": ["x"], "page_url": None},
                         {"raptor_admin": 7}, {"raptor_admin": {"page_target_id": None}}):
            content = manager.get_session_info("login").to_dict() | {"metadata": metadata}
            run_sync(lambda: store_document(BrowserSession.objects.get(), content))
            report((await manager.restore_session("login")).url)
        """
    )
    assert len(set(reported)) == 1
    assert len(reported) == 7


def test_started_programs_have_their_own_settings(project: Project) -> None:
    reported = project.script(
        'import os; report([os.environ.get("DJANGO_SETTINGS_MODULE"), manager.list_sessions()])'
    )
    assert reported == [[None, []]]


def test_a_manager_works_while_its_program_ends(project: Project) -> None:
    project.script('from tests.pages import page; manager.save_session(page(), "login")')
    ending = (
        "import atexit; from raptor.core.session_manager import SessionManager as M; manager = M();"
        "print(manager.list_sessions()); atexit.register(lambda: print(manager.cleanup_all_sessions()))"
    )
    done = project.run("-c", ending)
    assert done.stdout.split("\n")[:2] == ["['login']", "1"], done.stderr


@pytest.mark.parametrize("is_installed", [True, False])
def test_another_django_project_needs_only_the_app(project: Project, is_installed: bool) -> None:
    apps = ["sessions_app"] if is_installed else ["django.contrib.contenttypes"]
    database = {"ENGINE": "django.db.backends.sqlite3", "NAME": str(project.directory / "own")}
    (project.directory / "own_settings.py").write_text(
        f"INSTALLED_APPS = {apps!r}\nSECRET_KEY = 'x' * 50\nUSE_TZ = True\n"
        "DEFAULT_AUTO_FIELD = 'django.db.models.BigAutoField'\n"
        f"DATABASES = {{'default': {database!r}}}\n"
    )
    own = {"DJANGO_SETTINGS_MODULE": "own_settings", "PYTHONPATH": f"{PROJECT_DIR}:{project.directory}"}
    if is_installed:
        assert project.run("-m", "django", "migrate", "-v0", **own).stderr == ""
    work = (
        "from tests.pages import page\n"
        "from raptor.core.session_manager import SessionManager, SessionException\n"
        "try:\n    manager = SessionManager(); manager.save_session(page(), 'cart')\n"
        "    print(manager.list_sessions(), manager.cleanup_all_sessions())\n"
        "except SessionException as error: print(error)"
    )
    done = project.run("-c", work, **own)
    expected = "['cart'] 1" if is_installed else "Add “sessions_app” to INSTALLED_APPS"
    assert expected in done.stdout, done.stderr
