"""Endpoints as people have them: behind gateways, with logins and names, on IPv6, and of single pages."""

from __future__ import annotations

import json
import subprocess
import time
from collections.abc import Iterator
from contextlib import ExitStack
from typing import Any
from urllib.parse import urlsplit

import pytest

from tests import hostile
from tests.e2e.scripts import Project, browsers, is_listening, wait_until, wait_until_closed
from tests.gateway import Gateway, OneAtATime
from tests.hostile import Answer, Server

SECRET = "T0kenOfThisTest"
BASIC = "Basic YW5uOnBAc3M="
# The name “chrome” leads to 127.0.0.2, as a hosts file could say.
WORK = """
    import socket
    from sessions_app.client.runtime import run_sync
    from sessions_app.client.writer import store_document
    from sessions_app.models import BrowserSession
    from django.conf import settings
    look_up = socket.getaddrinfo
    def named(host, *args, **options):
        return look_up("127.0.0.2" if host == "chrome" else host, *args, **options)
    socket.getaddrinfo = named
    settings.RAPTOR_CDP_ALLOWED_HOSTS = ("chrome", "localhost", "127.0.0.0/8", "::1")

    def change(name, url):
        content = manager.get_session_info(name).to_dict() | {"cdp_url": url}
        run_sync(lambda: store_document(BrowserSession.objects.get(name=name), content))

    async def tried(name, url, work):
        change(name, url)
        try:
            result = await work(name)
            result = getattr(result, "url", result)
        except SessionException as error:
            result = [type(error).__name__, error.message]
        report(result)
"""


class Served:
    """Two browsers with the sessions “one” and “two”, and gateways in front of them."""

    def __init__(self, project: Project, urls: list[str], stack: ExitStack) -> None:
        self.project = project
        self.urls = urls
        self.ports = [urlsplit(url).port or 0 for url in urls]
        self.ids = [url.rpartition("/")[2] for url in urls]
        self._stack = stack

    def serve(self, answer: Answer, host: str = "127.0.0.1", port: int = 0) -> Server:
        return self._stack.enter_context(Server(answer, host, port).running())

    def tried(self, work: str, *urls: str, name: str = "one") -> list[Any]:
        """Give a session some endpoints, one after the other, and work with each."""
        lines = [f"    await tried({name!r}, {url!r}, manager.{work})\n" for url in urls]
        return self.project.script(WORK + "".join(lines))


@pytest.fixture
def served(project: Project, shop: str) -> Iterator[Served]:
    urls = project.script(
        f"""
        for name in ("one", "two"):
            await manager.launch_session(name, url="{shop}/#" + name)
            report(manager.get_session_info(name).cdp_url)
        """
    )
    with ExitStack() as stack:
        yield Served(project, urls, stack)


def test_logins_names_and_addresses_lead_to_the_browser(served: Served, shop: str) -> None:
    port, browser_id = served.ports[0], served.ids[0]
    token = served.serve(Gateway({"": port}, token=SECRET)).place
    login = served.serve(Gateway({"": port}, authorization=BASIC)).place
    named = served.serve(Gateway({"": port}), "127.0.0.2").port
    virtual = served.serve(Gateway({"": port}, host="chrome:"), "127.0.0.2").port
    anywhere = served.serve(Gateway({"": port}, reported="0.0.0.0:9222")).place
    elsewhere = served.serve(Gateway({"": port}, reported="169.254.169.254")).place
    six = served.serve(Gateway({"": port}), "::1").port
    grids = [served.serve(Gateway({"": port}, only_sockets=status)).place for status in (404, 405, 500)]
    urls = [
        *(f"ws://{grid}/session/4711/se/cdp" for grid in grids),
        *(f"ws://{grid}/devtools/browser/{browser_id}" for grid in grids),
        f"ws://{token}?token={SECRET}",
        f"http://{token}/?token={SECRET}",
        f"ws://{token}/devtools/browser/{browser_id}?token={SECRET}",
        f"http://{token}/json/version?token={SECRET}&x=1",
        f"ws://ann:p%40ss@{login}/devtools/browser/{browser_id}",
        f"http://ann:p%40ss@{login}",
        f"http://ann:p%40ss@{login}/",
        f"http://chrome:{named}",
        f"ws://chrome:{named}/devtools/browser/{browser_id}",
        f"http://CHROME:{virtual}/",
        f"ws://chrome:{virtual}/devtools/browser/{browser_id}/",
        f"http://{anywhere}",
        f"http://{elsewhere}",
        f"http://[::1]:{six}",
        f"ws://[::1]:{six}/devtools/browser/{browser_id}",
        f"http://localhost:{six}",
        f"http://localhost:{port}",
    ]
    assert served.tried("restore_session", *urls) == [f"{shop}/#one"] * len(urls)
    assert len(browsers(served.project)) == 2
    assert served.tried("close_session", urls[0]) == [None]
    assert not is_listening(port)
    wait_until_closed(served.project, left=1)


def test_a_wrong_login_is_reported_without_its_secrets(served: Served) -> None:
    token = served.serve(Gateway({"": served.ports[0]}, token=SECRET)).place
    login = served.serve(Gateway({"": served.ports[0]}, authorization=BASIC)).place
    urls = [
        f"ws://{token}",
        f"http://{token}/?token=Wr0ng",
        f"ws://{token}/devtools/browser/{served.ids[0]}?token=Wr0ng",
        f"http://ann:Wr0ng@{login}",
        f"ws://ann:Wr0ng@{login}/devtools/browser/{served.ids[0]}",
    ]
    for work in ("restore_session", "close_session", "launch_session"):
        for message in map(str, served.tried(work, *urls)):
            assert "requires a login (401)" in message
            assert "Wr0ng" not in message
            assert served.ids[0] not in message
    assert len(browsers(served.project)) == 2


@pytest.mark.parametrize("work", ["restore_session", "close_session"])
def test_unusable_answers_are_reported(served: Served, work: str) -> None:
    names = [name for name in hostile.HTTP if name.startswith(("reports", "nests", "speaks", "closes"))]
    places = [served.serve(hostile.HTTP[name]).place for name in names]
    nested = served.serve(hostile.WEB_SOCKET["nests deeply"]).place
    urls = [f"{scheme}://{place}" for place in places for scheme in ("ws", "http")]
    urls += [f"ws://{place}/devtools/browser/x" for place in (*places, nested)]
    for message in served.tried(work, *urls):
        assert isinstance(message, list), message
        assert "/devtools/" not in message[1]
    assert len(browsers(served.project)) == 2


def test_a_gateway_may_allow_one_connection(served: Served, shop: str) -> None:
    place = served.serve(OneAtATime(Gateway({"": served.ports[0]}))).place
    work = f"""
    import http.client
    def is_free():
        gateway = http.client.HTTPConnection("{place}")
        gateway.request("GET", "/is-free")
        return gateway.getresponse().status == 200
    change("one", "ws://{place}/devtools/browser/{served.ids[0]}")
    for _ in range(12):
        page = await manager.restore_session("one")
        report(page.url)
        await page.context.browser.close()
        while not is_free():
            await asyncio.sleep(0.01)
    """
    assert served.project.script(WORK + work) == [f"{shop}/#one"] * 12


def test_a_path_leads_to_its_browser_and_never_to_another(served: Served, shop: str) -> None:
    one, two = served.ports
    place = served.serve(Gateway({"": one, "/b1": one, "/b2": two})).place
    urls = [f"http://{place}/b2", f"http://{place}/b2/", f"ws://{place}/b2/devtools/browser/{served.ids[1]}"]
    assert served.tried("restore_session", *urls, name="two") == [f"{shop}/#two"] * 3
    nowhere = served.tried("restore_session", f"http://{place}/b3", f"http://{place}/b1", name="two")
    assert [kind for kind, _ in nowhere] == ["BrowserUnreachable", "BrowserReplaced"]
    kept = served.tried("close_session", f"http://{place}/b3", f"http://{place}/b1", name="two")
    assert [kind for kind, _ in kept] == ["BrowserUnreachable", "BrowserReplaced"]
    assert len(browsers(served.project)) == 2
    # Saving through the gateway keeps the gateway's address.
    served.project.script(
        WORK
        + f"""
    change("two", "http://{place}/b2")
    await manager.save_session(await manager.restore_session("two"), "two")
    report(0)
    """
    )
    saved = served.project.script('report(manager.get_session_info("two").cdp_url)')
    assert saved == [served.urls[1]]
    assert served.tried("close_session", urls[0], name="two") == [None]
    assert (is_listening(one), is_listening(two)) == (True, False)


def test_the_endpoint_of_a_page_gives_that_page(served: Served, shop: str) -> None:
    (target,) = served.project.script(
        f"""
        page = await manager.restore_session("one")
        other = await page.context.new_page()
        await other.goto("{shop}/#other")
        session = await page.context.new_cdp_session(other)
        report((await session.send("Target.getTargetInfo"))["targetInfo"]["targetId"])
        """
    )
    port = served.ports[0]
    urls = [f"ws://127.0.0.1:{port}/devtools/page/{target}", f"ws://localhost:{port}/devtools/page/{target}/"]
    assert served.tried("restore_session", *urls) == [f"{shop}/#other"] * 2
    (gone,) = served.tried("restore_session", f"ws://127.0.0.1:{port}/devtools/page/{'0' * 32}")
    assert "does not have the page that was saved" in str(gone)
    # Neither message leads back to the other.
    assert 'launch_session("one", replace=True)' in str(gone)
    assert served.tried("close_session", urls[0]) == [None]


def test_a_redirecting_handshake_reaches_nothing(served: Served) -> None:
    one, two = served.ports
    other = served.serve(Gateway({"": two}), "127.0.0.3")
    urls, expected = [], []
    for status in (301, 302, 303, 307, 308):
        gateway = Gateway({"": one}, redirect=f"ws://{other.place}", status=status)
        place = served.serve(gateway).place
        urls += [f"ws://{place}/devtools/browser/{served.ids[0]}", f"http://{place}"]
        expected += [f"it answered {status}"] * 2
    for work in ("restore_session", "close_session"):
        for message, reason in zip(map(str, served.tried(work, *urls)), expected, strict=True):
            assert "BrowserUnreachable" in message
            assert reason in message
    assert other.requests == []
    assert len(browsers(served.project)) == 2


def test_a_server_that_only_opens_web_sockets_is_reported_in_time(served: Served) -> None:
    """Try servers that open a web socket and then say nothing, or nonsense."""
    names = ("is silent after the handshake", "floods events", "floods pings", "closes the web socket")
    answers = [served.serve(hostile.WEB_SOCKET[name]).place for name in names]
    urls = [f"ws://{place}/devtools/browser/{served.ids[0]}" for place in answers]
    began = time.monotonic()
    for message in map(str, served.tried("restore_session", *urls)):
        assert "BrowserUnreachable" in message
    assert time.monotonic() - began < 15 * len(urls)


def test_a_proxy_of_the_environment_is_not_used(served: Served, shop: str) -> None:
    proxy = served.serve(lambda connection: None)
    url = f"http://{proxy.place}"
    names = ("HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY", "http_proxy", "https_proxy", "all_proxy")
    done = served.project.run(
        "-c",
        "import asyncio\nfrom raptor.core.session_manager import SessionManager\n"
        "async def main():\n    async with SessionManager() as manager:\n"
        "        print((await manager.restore_session('one')).url)\n"
        "        await manager.close_session('one')\nasyncio.run(main())",
        **dict.fromkeys(names, url),
    )
    assert done.stdout.strip() == f"{shop}/#one", done.stderr
    assert proxy.requests == []


def test_a_browser_on_ipv6_alone_is_launched_saved_and_closed(project: Project) -> None:
    """Let another program have the port on IPv4, so that Chromium listens on IPv6 alone."""
    with Server(lambda connection: None).running() as other:
        command = [project.environment["RAPTOR_CHROMIUM"], "--headless=new", "--no-sandbox", "about:blank"]
        command += [f"--remote-debugging-port={other.port}", f"--user-data-dir={project.directory}/six"]
        browser = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        try:
            wait_until(lambda: is_listening(other.port, "::1"))
            reported = project.script(
                f"""
                from playwright.async_api import async_playwright
                async with async_playwright() as playwright:
                    browser = await playwright.chromium.connect_over_cdp("http://[::1]:{other.port}")
                    info = await manager.save_session(browser.contexts[0].pages[0], "six")
                    report(info.cdp_url)
                report((await manager.restore_session("six")).url)
                await manager.close_session("six")
                """
            )
            assert reported[0].startswith(f"ws://[::1]:{other.port}/devtools/browser/")
            assert reported[1] == "about:blank"
            browser.wait(10)
        finally:
            browser.kill()
            browser.wait()


def test_a_token_is_on_no_screen_and_in_no_command(served: Served) -> None:
    place = served.serve(Gateway({"": served.ports[0]}, token=SECRET)).place
    served.tried("restore_session", f"ws://{place}?token={SECRET}")
    served.project.manage("migrate", "-v0")
    for command in ("list_sessions", "session_info", "validate_sessions", "close_browser"):
        arguments = ["one"] if command in ("session_info", "close_browser") else []
        done = served.project.manage(command, *arguments, "--format", "json")
        assert done.returncode == 0, done.stderr
        assert json.loads(done.stdout)
        assert SECRET not in done.stdout + done.stderr
