"""Run the examples of docs/session-manager.md, and the block of the guide that restores, unchanged.

Each program runs in its own process, with a real browser if it needs one.
"""

from __future__ import annotations

import pytest

from tests.e2e.scripts import PROJECT_DIR, Project, browsers, wait_until_closed
from tests.factories import put
from tests.guide.blocks import GUIDE, read_blocks
from tests.guide.programs import IMPORT, awaiting, run, run_text

(VALIDATE_AND_RESTORE,) = (block.text for block in read_blocks(GUIDE) if "await" in block.text)
SAVE, LAUNCH, CLOSE, RESTORE, CONNECT, CLEAN_UP, FOLDER, THREADS, DJANGO_SETTINGS, FIXTURES = (
    block.text for block in read_blocks(PROJECT_DIR / "docs" / "session-manager.md")
)

LAUNCH_MY_SESSION = 'await manager.launch_session("my_session", url="data:text/html,<title>Shop</title>")\n'
COUNT = f"{IMPORT}print(SessionManager().get_session_count())\n"
# Playwright's own Chromium may not be installed.
CHROMIUM_OF_THE_TESTS = """
import functools, os
from playwright import sync_api
sync_api.BrowserType.launch_persistent_context = functools.partialmethod(
    sync_api.BrowserType.launch_persistent_context,
    executable_path=os.environ["RAPTOR_CHROMIUM"],
    chromium_sandbox=False,
)
"""
SAVE_SOME = """
import warnings
from tests.pages import FakeBrowser, FakeBrowserType, FakeContext, page
warnings.simplefilter("ignore")
firefox = FakeContext(FakeBrowser(ws_endpoint="", browser_type=FakeBrowserType("firefox")))
manager = SessionManager()
manager.save_session(page(), "shop")
manager.save_session(page(), "cart")
manager.save_session(page(context=firefox), "firefox")
"""


def test_the_guide_restores_a_session_of_another_process(project: Project) -> None:
    assert run_text(project, awaiting(LAUNCH_MY_SESSION)) == ("", "")
    look = 'print(await names["page"].title())'
    assert run_text(project, awaiting(VALIDATE_AND_RESTORE, after=look)) == ("Shop\n", "")
    # The browser keeps running for the next program.
    assert len(browsers(project)) == 1


def test_the_guide_creates_a_session_where_there_is_none(project: Project) -> None:
    new = awaiting(VALIDATE_AND_RESTORE + "    " + LAUNCH_MY_SESSION)
    assert run_text(project, new) == ("Session is invalid, creating new session...\n", "")
    assert len(browsers(project)) == 1
    assert run_text(project, new) == ("", "")


# In place of the page that the example opens, and while its browser is running.
LOG_IN = """
    page.goto({url!r})
    page.context.add_cookies([{{"name": "user", "value": "anna", "url": {url!r}}}])
"""
RESTORE_ELSEWHERE = """
    import subprocess, sys
    done = subprocess.run([sys.executable, "-W", "error", "elsewhere.py"], capture_output=True, text=True)
    print(done.stdout)
"""
COOKIES = (
    'page = await manager.restore_session("shop"); print([c["value"] for c in await page.context.cookies()])'
)


def test_a_launched_browser_is_saved_and_restored_with_its_cookies(project: Project, shop: str) -> None:
    assert run_text(project, CHROMIUM_OF_THE_TESTS + SAVE) == ("['shop'] True\n", "")
    (project.directory / "elsewhere.py").write_text(awaiting(COOKIES))
    logged_in = SAVE.replace("    manager.save", f"{LOG_IN.format(url=shop)}    manager.save")
    printed, _ = run_text(project, CHROMIUM_OF_THE_TESTS + logged_in + RESTORE_ELSEWHERE)
    assert printed == "['shop'] True\n['anna']\n\n"


def test_a_browser_keeps_running_and_is_restored_until_it_is_closed(project: Project) -> None:
    assert run_text(project, LAUNCH) == ("", "")
    assert run_text(project, RESTORE) == ("Checkout\n", "")
    assert run_text(project, CONNECT) == ("Checkout\n", "")
    assert run_text(project, CLOSE) == ("", "")
    wait_until_closed(project)
    printed, _ = run_text(project, RESTORE)
    message, title = printed.splitlines()
    assert message.startswith("The browser of “checkout” does not answer: nothing listens at 127.0.0.1:")
    assert title == "a new page: log in"
    assert len(browsers(project)) == 1


NOT_USABLE = {
    "its page was closed": "await page.context.new_page(); await page.close()",
    "its page has crashed": """
from playwright.async_api import Error
try: await page.goto("chrome://crash")
except Error: pass
""",
    "a tab hangs": """
other = await page.context.new_page()
await other.evaluate("setTimeout(() => { for (;;) {} }, 100)")
import asyncio; await asyncio.sleep(2)
""",
    "its page hangs": """
await page.evaluate("setTimeout(() => { for (;;) {} }, 100)")
import asyncio; await asyncio.sleep(2)
""",
    "its browser is stopped": """
import os, signal
from tests.e2e.scripts import Project, browsers
os.kill(browsers(Project(__import__("pathlib").Path.cwd()))[0], signal.SIGSTOP)
""",
    "its browser is dead": """
import pathlib
from tests.e2e.scripts import Project, kill_browser
kill_browser(Project(pathlib.Path.cwd()))
""",
    "it does not exist": 'await manager.close_session("checkout"); manager.delete_session("checkout")',
}


@pytest.mark.parametrize("case", NOT_USABLE)
def test_the_recipe_ends_with_a_page(project: Project, case: str) -> None:
    launch = (
        'page = await manager.launch_session("checkout")\nawait page.set_content("<title>Checkout</title>")\n'
    )
    run_text(project, awaiting(launch + NOT_USABLE[case]))
    printed, _ = run_text(project, RESTORE)
    title = "Checkout" if case == "a tab hangs" else "a new page: log in"
    assert printed.splitlines()[-1] == title
    assert len(browsers(project)) == 1
    assert run_text(project, RESTORE)[0] == f"{title}\n"


def test_the_recipe_replaces_a_browser_whose_host_is_not_allowed(project: Project) -> None:
    assert run_text(project, LAUNCH) == ("", "")
    elsewhere = "ws://chrome.example:9222/devtools/browser/1"
    change = f"""
manager = SessionManager()
from sessions_app.client.runtime import run_sync
from sessions_app.client.writer import store_document
from sessions_app.models import BrowserSession
content = manager.get_session_info("checkout").to_dict() | {{"cdp_url": {elsewhere!r}}}
run_sync(lambda: store_document(BrowserSession.objects.get(), content))
"""
    run_text(project, IMPORT + change)
    printed, _ = run_text(project, awaiting(REFUSED))
    assert "may be running: its host chrome.example is not an allowed host" in printed
    assert 'launch_session("checkout", replace=True)' in printed
    printed, _ = run_text(project, RESTORE)
    assert "was not contacted" in printed
    assert run_text(project, RESTORE)[0].splitlines() == printed.splitlines()[-1:]


REFUSED = """
from raptor.core.exceptions import SessionException
try: await manager.launch_session("checkout")
except SessionException as error: print(error.message)
"""


def test_sessions_are_cleaned_up(project: Project) -> None:
    run_text(project, IMPORT + SAVE_SOME)
    assert run_text(project, CLEAN_UP) == ("True False\n0\n1\n1\n", "")


def test_a_folder_of_documents_is_imported(project: Project) -> None:
    folder = project.directory / ".raptor" / "sessions"
    folder.mkdir(parents=True)
    put(folder, "login")
    put(folder, "cart")
    assert run_text(project, FOLDER) == ("sessions ['cart', 'login']\n", "")


def test_threads_share_a_manager(project: Project) -> None:
    run_text(project, IMPORT + SAVE_SOME)
    assert run_text(project, THREADS) == ("{'cart': True, 'firefox': False, 'shop': True}\n", "")


def test_a_django_program_has_its_sessions_in_its_own_database(project: Project) -> None:
    own = (
        "SECRET_KEY = 'for tests'\nUSE_TZ = True\n"
        "DATABASES = {'default': {'ENGINE': 'django.db.backends.sqlite3', 'NAME': 'shop.sqlite3'}}\n"
    )
    (project.directory / "shop_settings.py").write_text(DJANGO_SETTINGS + own)
    set_up = "import os, django\nos.environ['DJANGO_SETTINGS_MODULE'] = 'shop_settings'\ndjango.setup()\n"
    migrate = "from django.core.management import call_command\ncall_command('migrate', verbosity=0)\n"
    count = "from sessions_app.models import BrowserSession\nprint(BrowserSession.objects.count())\n"
    assert run_text(project, set_up + migrate + IMPORT + SAVE_SOME + count) == ("3\n", "")
    assert run_text(project, COUNT) == ("0\n", "")


def test_a_run_of_pytest_leaves_no_session(project: Project) -> None:
    (project.directory / "test_checkout.py").write_text(
        f"{FIXTURES}    from tests.pages import page\n    session_manager.save_session(page(), 'checkout')\n"
    )
    printed, _ = run(project, "-m", "pytest", "-p", "raptor.pytest_plugin", "-p", "no:cacheprovider")
    assert "1 passed" in printed
    assert run_text(project, COUNT) == ("0\n", "")
