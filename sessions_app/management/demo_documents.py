"""Generate realistic session documents, some with faults, for trying out the panel."""

from __future__ import annotations

import random
from collections import Counter
from collections.abc import Callable, Iterator
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

from sessions_app.session.document import write_document

FAULTY_SHARE = 0.12
_FLOWS = {
    "checkout": ("guest", "express", "coupon", "gift-card", "invoice"),
    "login": ("password", "sso", "two-factor", "locked-out"),
    "search": ("facets", "autocomplete", "no-results"),
    "account": ("profile", "addresses", "orders", "close"),
    "returns": ("label", "refund", "exchange"),
    "backoffice": ("orders", "stock", "prices", "reports"),
}
_PAGES = {
    "checkout": ("/cart", "Your basket"),
    "login": ("/login", "Sign in"),
    "search": ("/search?q=rain+jacket", "Results for “rain jacket”"),
    "account": ("/account", "Your account"),
    "returns": ("/returns/new", "Return an item"),
    "backoffice": ("/admin/orders", "Orders, back office"),
}
_ENVIRONMENTS = ("dev", "staging", "staging", "integration", "preprod")
_USERS = ("alice", "bob", "carol", "dave", "erin", "ci")
_BROWSERS = ("chromium",) * 16 + ("firefox",) * 2 + ("webkit",)
_HOSTS = ("127.0.0.1",) * 30 + ("localhost",) * 8 + ("grid-7.test.example",)

_Document = dict[str, Any]
_Fault = Callable[[random.Random, _Document], _Document | bytes]


def demo_documents(*, count: int, seed: int, as_of: datetime) -> Iterator[tuple[str, bytes]]:
    """Yield names and bytes of session documents; the same ones for the same arguments.

    Args:
        as_of: The latest accesses are minutes before it, the earliest 120 days.
    """
    chance = random.Random(seed)  # noqa: S311  # not used for secrets
    runs: Counter[str] = Counter()
    for _ in range(count):
        flow = chance.choice(list(_FLOWS))
        browser = chance.choice(_BROWSERS)
        test = f"{flow}-{chance.choice(_FLOWS[flow])}-{browser}"
        runs[test] += 1
        name = f"{test}-{runs[test]:02}"
        document = _document(chance, name, flow, browser, as_of)
        if chance.random() < FAULTY_SHARE:
            broken = chance.choice(_FAULTS)(chance, document)
            yield name, broken if isinstance(broken, bytes) else write_document(broken)
        else:
            yield name, write_document(document)


def write_demo(
    folder: Path,
    *,
    count: int,
    seed: int,
    as_of: datetime,
    progress: Callable[[int], None] = lambda files: None,
) -> None:
    """Write session documents into a new or empty folder.

    Raises: FileExistsError: the folder is not empty, or the path is not a folder.
    """
    folder.mkdir(parents=True, exist_ok=True)
    if any(folder.iterdir()):
        raise FileExistsError(f"{folder} is not empty. Name a new folder, or empty it first.")
    for name, data in demo_documents(count=count, seed=seed, as_of=as_of):
        (folder / f"{name}.json").write_bytes(data)
        progress(1)


def _document(chance: random.Random, name: str, flow: str, browser: str, as_of: datetime) -> _Document:
    # Half of the sessions were accessed in the last week; the tail reaches back 120 days.
    idle = timedelta(minutes=3) + timedelta(days=119) * chance.random() ** 4
    accessed = as_of - idle
    created = accessed - timedelta(minutes=chance.randint(1, 600))
    environment = chance.choice(_ENVIRONMENTS)
    path, title = _PAGES[flow]
    metadata: _Document = {
        "team": "platform" if flow in ("login", "backoffice") else "shop",
        "env": environment,
        "user": chance.choice(_USERS),
        "page_url": f"https://{environment}.shop.example{path}",
        "page_title": title,
    }
    if chance.random() < 0.3:
        metadata["build"] = chance.randint(4000, 4999)
    if chance.random() < 0.1:
        metadata["steps"] = [f"step {step}: {title}" for step in range(chance.randint(10, 200))]
    address = f"{chance.choice(_HOSTS)}:{chance.randint(30_000, 60_000)}"
    return {
        "session_id": name,
        "cdp_url": f"ws://{address}/devtools/browser/{_uuid(chance)}",
        "browser_type": browser,
        "created_at": created.isoformat(),
        "last_accessed": accessed.isoformat(),
        "metadata": metadata,
    }


def _uuid(chance: random.Random) -> str:
    digits = f"{chance.getrandbits(128):032x}"
    return "-".join((digits[:8], digits[8:12], digits[12:16], digits[16:20], digits[20:]))


def _with(**values: Any) -> _Fault:
    return lambda chance, document: {**document, **values}


def _without(*keys: str) -> _Fault:
    return lambda chance, document: {key: value for key, value in document.items() if key not in keys}


def _cut_off(chance: random.Random, document: _Document) -> bytes:
    """Truncate the document, as a crash while writing does."""
    data = write_document(document)
    return data[: chance.randint(1, len(data) - 2)]


_FAULTS: tuple[_Fault, ...] = (
    _without("session_id"),
    _with(session_id=""),
    _without("cdp_url"),
    # RAPTOR's own manager saves this for a browser without ws_endpoint: by far the most frequent fault.
    _with(cdp_url=""),
    _with(cdp_url=""),
    _with(cdp_url=""),
    _with(created_at="yesterday"),
    _with(last_accessed=None),
    _with(last_accessed="2026-13-45T99:00:00"),
    _with(browser_type="Chrome"),
    _with(browser_type="msedge"),
    _with(session_id="", cdp_url="", browser_type="ie11", last_accessed=""),
    _with(cdp_url="ws://127.0.0.1:9222/devtools/browser/" + "0" * 2_000),
    _cut_off,
    _cut_off,
    lambda chance, document: b"",
    lambda chance, document: b"[]",
    lambda chance, document: b"\x00" * 64,
)
