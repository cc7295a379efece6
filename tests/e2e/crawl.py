"""Find one page of each kind by following links, so that new pages need not be listed."""

from __future__ import annotations

import re
from collections import deque
from urllib.parse import urljoin, urlsplit

from playwright.sync_api import BrowserContext

KINDS = {"/admin/sessions_app/cleanuprun/#/change/": 3}
"""Number of pages to find for kinds whose pages differ, such as runs in several states; otherwise one."""
SKIPPED = re.compile(r"/(?:export|logout|jsi18n|autocomplete|static|r)\b|\.(?:csv|json)$")
LINK = re.compile(r'<a\b[^>]*?\bhref="([^"]*)"([^>]*)')


def kind_of(address: str) -> str:
    """Return the path of a URL without numbers."""
    return re.sub(r"\d+", "#", urlsplit(address).path)


def crawl(context: BrowserContext, start: str) -> list[str]:
    """Return the URLs of linked pages without parameters, the first ones of each kind."""
    found: dict[str, int] = {}
    pages: list[str] = []
    waiting = deque([start])
    while waiting:
        address = waiting.popleft()
        kind = kind_of(address)
        if address in pages or found.get(kind, 0) >= KINDS.get(kind, 1):
            continue
        found[kind] = found.get(kind, 0) + 1
        response = context.request.get(address)
        if "text/html" not in response.headers.get("content-type", ""):
            continue
        assert response.status == 200, address
        pages.append(address)
        waiting.extend(_links(response.text(), address, start))
    return pages


def _links(html: str, address: str, start: str) -> list[str]:
    found = []
    for href, rest in LINK.findall(html):
        link = re.split("[?#]", urljoin(address, href))[0]
        is_page = link.startswith(start) and not SKIPPED.search(urlsplit(link).path)
        if is_page and " download" not in rest:
            found.append(link)
    return found
