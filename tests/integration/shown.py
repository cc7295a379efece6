"""Pages as somebody is shown them, for tests of who sees what."""

from __future__ import annotations

import re
from datetime import timedelta

from django.test import Client

RUNS = "/admin/sessions_app/cleanuprun/"
OLD = timedelta(days=9)


def html_of(client: Client, address: str) -> str:
    response = client.get(address)
    assert response.status_code == 200, address
    return response.content.decode()


def names(html: str) -> list[str]:
    """The names in the list of a page."""
    return re.findall(r'class="field-name"><a [^>]*>([^<]+)</a>', html)
