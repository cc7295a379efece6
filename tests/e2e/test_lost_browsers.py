"""Browsers that nobody remembers, that two want at once, and that cannot be told from others."""

from __future__ import annotations

import subprocess

import pytest

from tests.e2e.scripts import PROJECT_DIR, Project, browsers, kill_browser

LAUNCH = 'page = await manager.launch_session("login", url={url!r}); tell(page.url)'
SHOWN = """
    import traceback
    async def show(work):
        try:
            await work
        except SessionException as error:
            tell("".join(traceback.format_exception(error)))
"""


@pytest.fixture
def launched(project: Project, shop: str) -> Project:
    assert project.script(LAUNCH.format(url=f"{shop}/")) == [f"{shop}/"]
    return project


def test_a_browser_whose_session_was_removed_is_taken_up_again(launched: Project, shop: str) -> None:
    (pid,) = browsers(launched)
    assert launched.script("tell(manager.cleanup_all_sessions())") == [1]
    assert launched.script(LAUNCH.format(url=f"{shop}/#again")) == [f"{shop}/#again"]
    assert browsers(launched) == [pid]
    launched.script('await manager.close_session("login")')
    assert browsers(launched) == []


def test_a_browser_that_is_taken_up_survives_a_launch_that_fails(launched: Project) -> None:
    launched.script("manager.cleanup_all_sessions()")
    told = launched.script(
        """
        try:
            await manager.launch_session("login", url="http://127.0.0.1:1/")
        except SessionException as error:
            tell(error.message)
        """
    )
    assert "The page cannot be opened" in told[0]
    assert len(browsers(launched)) == 1


def test_two_who_launch_the_same_at_once_get_one_browser_and_one_refusal(project: Project, shop: str) -> None:
    told = project.script(
        f"""
        launches = (manager.launch_session("login", url="{shop}/") for _ in range(2))
        done = await asyncio.gather(*launches, return_exceptions=True)
        tell(sorted(getattr(one, "message", "") or one.url for one in done))
        """
    )
    refusal, url = told[0]
    assert "is already running" in refusal
    assert url == f"{shop}/"
    assert len(browsers(project)) == 1


def test_no_failure_shows_an_endpoint(launched: Project) -> None:
    endpoint = launched.script('tell(manager.get_session_info("login").cdp_url)')[0]
    secret = endpoint.rpartition("/")[2]
    kill_browser(launched)
    told = launched.script(
        SHOWN
        + """
    await show(manager.restore_session("login"))
    await show(manager.close_session("login"))
    """
    )
    assert len(told) == 2
    assert not any(secret in text for text in told)
    (launched.directory / "test_login.py").write_text(
        "import asyncio\nfrom raptor.core.session_manager import SessionManager\n"
        "def test_restore():\n    asyncio.run(SessionManager().restore_session('login'))\n"
    )
    failed = launched.run("-m", "pytest", "-p", "no:randomly", "--showlocals")
    assert "BrowserUnreachable" in failed.stdout
    assert secret not in failed.stdout + failed.stderr


# As RAPTOR's users write it down by hand: no id of the browser is in it.
BY_PORT = """
    from sessions_app.models import BrowserSession
    from sessions_app.client.writer import store_document
    from sessions_app.client.runtime import run_sync
    info = manager.get_session_info("login")
    content = info.to_dict() | {"cdp_url": "http://" + info.cdp_url.split("/")[2]}
    content["metadata"].pop("page_target_id") if %r else None
    run_sync(lambda: store_document(BrowserSession.objects.get(), content))
"""
TRY = """
    for work in (manager.restore_session, manager.close_session):
        try:
            await work("login")
            tell("done")
        except SessionException as error:
            tell(type(error).__name__)
"""


def test_a_browser_that_its_endpoint_does_not_tell_is_told_by_its_page(launched: Project) -> None:
    endpoint = launched.script('tell(manager.get_session_info("login").cdp_url)')[0]
    port = endpoint.split(":")[2].partition("/")[0]
    launched.script(BY_PORT % False)
    assert launched.script('tell((await manager.restore_session("login")).url)')
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


def test_a_browser_that_nothing_tells_is_restored_and_never_closed(launched: Project) -> None:
    launched.script(BY_PORT % True)
    assert launched.script(TRY) == ["done", "SessionException"]
    assert len(browsers(launched)) == 1


def test_a_page_that_was_closed_is_told(launched: Project) -> None:
    told = launched.script(
        """
        page = await manager.restore_session("login")
        await page.close()
        try:
            await manager.save_session(page, "login")
        except SessionException as error:
            tell(error.message)
        """
    )
    assert told[0].startswith("The page cannot be saved: ")


def test_metadata_of_any_shape_is_no_hindrance(launched: Project) -> None:
    told = launched.script(
        """
        from sessions_app.models import BrowserSession
        from sessions_app.client.writer import store_document
        from sessions_app.client.runtime import run_sync
        for metadata in (None, [], "text", 3, {"page_target_id": ["x"], "page_url": None}):
            content = manager.get_session_info("login").to_dict() | {"metadata": metadata}
            run_sync(lambda: store_document(BrowserSession.objects.get(), content))
            tell((await manager.restore_session("login")).url)
        """
    )
    assert len(set(told)) == 1
    assert len(told) == 5


def test_programs_that_are_started_have_settings_of_their_own(project: Project) -> None:
    told = project.script(
        'import os; tell([os.environ.get("DJANGO_SETTINGS_MODULE"), manager.list_sessions()])'
    )
    assert told == [[None, []]]


def test_a_manager_works_while_its_program_ends(project: Project) -> None:
    project.script('from tests.pages import page; manager.save_session(page(), "login")')
    ending = (
        "import atexit; from raptor.core.session_manager import SessionManager as M; manager = M();"
        "print(manager.list_sessions()); atexit.register(lambda: print(manager.cleanup_all_sessions()))"
    )
    done = project.run("-c", ending)
    assert done.stdout.split("\n")[:2] == ["['login']", "1"], done.stderr


@pytest.mark.parametrize("is_installed", [True, False])
def test_a_django_project_of_its_own_needs_the_app_and_nothing_else(
    project: Project, is_installed: bool
) -> None:
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
