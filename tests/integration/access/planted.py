"""A database in which 200 secrets are planted: in every place that a document, a run or a task offers."""

from __future__ import annotations

import itertools
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from django.utils import timezone
from django_q.models import Task

from sessions_app.cleanup import undo_cleanup
from sessions_app.mirror.registry import register_directory
from sessions_app.models import BrowserSession, CleanupRun, LimitedNamespace, SessionDirectory
from sessions_app.session.masking import safe_message
from sessions_app.session.selection import Selection
from tests.factories import (
    OLD,
    document,
    document_bytes,
    make_policy,
    make_session,
    plan,
    put,
    rewrite,
    swept,
    sync,
)

CREDENTIALS = (
    *("password", "dbPassword", "PASSWD", "passphrase", "token", "accessToken", "refresh_token", "cookie"),
    *("Set-Cookie", "authorization", "auth", "secret", "client_secret", "apiKey", "x-api-key", "private_key"),
    *("storage_state", "localStorage", "headers", "extraHTTPHeaders", "credentials", "jwt", "csrf", "sessid"),
)
ENDPOINTS = ("cdpUrl", "wsEndpoint", "webSocketDebuggerUrl", "browserWSEndpoint", "debuggerUrl", "ws_url")
SPELLINGS = (
    "ws://10.0.0.9:1/devtools/browser/{}",
    "WSS%3A%2F%2F10.0.0.9%2F{}",
    r"ws:\/\/10.0.0.9\/{}",
    "https://10.0.0.9/?access_token={}",
    "https://u:{}@10.0.0.9/",
    "Authorization: Bearer {}",
    "{{'password': '{}'}}",
    'curl --token {} -H "Cookie: a={}"',
    '{{\\"cdp_url\\": \\"http://10.0.0.9/{}\\"}}',
)
HIDDEN_NAMESPACE = "hidden-namespace"


class Markers:
    """Makes secrets that are found nowhere else."""

    def __init__(self) -> None:
        self._numbers = itertools.count(1)
        self.planted: list[str] = []

    def __call__(self) -> str:
        self.planted.append(f"mk{next(self._numbers):04d}zq7x-planted")
        return self.planted[-1]

    def found_in(self, text: str) -> list[str]:
        """Return the secrets in a text, in any case and also without their last part."""
        lower = text.lower()
        if "zq7x" not in lower:
            return []
        return [marker for marker in self.planted if marker.rpartition("-")[0] in lower]


def endpoint_of(marker: str) -> str:
    return f"ws://10.0.0.9:9222/devtools/browser/{marker}"


def _metadata(markers: Markers) -> Iterator[tuple[str, Any]]:
    for name in CREDENTIALS:
        yield name, markers()
        yield f"x_{name}", {"deep": [{name: {"deeper": markers()}}]}
        yield f"note about {len(name)} {name[:2]}", f"{name}={markers()}, {name}: {markers()}"
        yield f"json about {len(name)} {name[:2]}", f'{{"{name}": "{markers()}", "shown": 1}}'
    for name in ENDPOINTS:
        yield name, f"https://10.0.0.9/{markers()}"
        yield f"in_{name}", {"inner": {name: endpoint_of(markers())}}
        yield f"line {name[:2]}", f"{name}: https://10.0.0.9/{markers()} and {name}='http://h/{markers()}'"
    for number, spelling in enumerate(SPELLINGS):
        yield f"note{number}", spelling.format(*[markers()] * spelling.count("{}"))
    yield "cookies_list", [{"name": "sid", "value": markers(), "domain": "10.0.0.9"}]
    yield "pairs", [["Authorization", markers()], {"name": "Cookie", "value": markers()}]


def plant(folder: Path) -> Markers:
    """Plant the secrets, and return them."""
    markers = Markers()
    _plant_documents(markers)
    _plant_files(markers, folder)
    _plant_runs(markers)
    _plant_tasks(markers)
    LimitedNamespace.objects.create(namespace=HIDDEN_NAMESPACE, group_ids=[])
    make_session("hidden-session", namespace=HIDDEN_NAMESPACE, **OLD)
    return markers


def _plant_documents(markers: Markers) -> None:
    values = list(_metadata(markers))
    for number, start in enumerate(range(0, len(values), 10)):
        metadata = dict(values[start : start + 10])
        data = json.dumps({**document(metadata=metadata), "cdp_url": endpoint_of(markers())})
        make_session(f"good-{number}", document=data.encode(), **({} if number % 2 else OLD))
        make_session(f"torn-{number}", document=data.encode()[:-5])
    wide = json.dumps(document(metadata={"password": markers()}))[:-3]
    make_session("wide", document=wide.encode("utf-16"))
    own = markers()
    for field in ("session_id", "browser_type"):
        for value in (own, endpoint_of(own), own.upper()):
            make_session(cdp_url=endpoint_of(own), **{field: value}, metadata={"id": own, own: 1})
    make_session("query", cdp_url=f"https://10.0.0.9/?token={markers()}", **OLD)
    make_session("user", cdp_url=f"https://u:{markers()}@10.0.0.9/", **OLD)
    broken = make_session("broken", document=b"{")
    good = document_bytes(cdp_url=endpoint_of(markers()), metadata={"token": markers()})
    rewrite(BrowserSession.objects.filter(pk=broken.pk), last_good_document=good)


def _plant_files(markers: Markers, folder: Path) -> None:
    put(folder, "mirrored", cdp_url=endpoint_of(markers()), metadata={"cookie": markers()}, **OLD)
    (folder / "unreadable.json").symlink_to(folder / "mirrored.json")
    directory = register_directory(folder, namespace="shop")
    sync(directory)
    SessionDirectory.objects.filter(pk=directory.pk).update(
        error=safe_message(OSError(f"cannot read {endpoint_of(markers())}"))
    )


def _plant_runs(markers: Markers) -> None:
    make_policy("Planted", "expired")
    for number in range(5):
        make_session(f"swept-{number}", cdp_url=endpoint_of(markers()), metadata={"jwt": markers()}, **OLD)
    undone = swept(expired=True)
    undo_cleanup(undone)
    make_session("kept", cdp_url=endpoint_of(markers()), **OLD)
    swept(expired=True, namespace="shop")
    make_session("planned", cdp_url=endpoint_of(markers()), **OLD)
    searching = Selection(text=endpoint_of(markers()), problem="none")
    for state in ("planned", "held", "failed"):
        run = plan(selection=searching) if state != "failed" else plan(expired=True)
        error = safe_message(ValueError(f"row ({endpoint_of(markers())}, password={markers()})"))
        CleanupRun.objects.filter(pk=run.pk).update(state=state, error=error, earlier_errors=error)


def _plant_tasks(markers: Markers) -> None:
    now = timezone.now()
    for number, is_success in enumerate((True, False)):
        Task.objects.create(
            id=f"planted-{number}",
            name=f"planted-{number}",
            func="sessions_app.tasks.tidy_up",
            started=now,
            stopped=now,
            success=is_success,
            result=f"connect to {endpoint_of(markers())} with token={markers()}",
        )
