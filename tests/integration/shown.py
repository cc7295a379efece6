"""Pages as somebody is shown them, for tests of who sees what."""

from __future__ import annotations

import re
from datetime import timedelta

import pytest
from django.test import Client

from sessions_app.admin import archive, changelist
from sessions_app.admin.sessions import changelist as session_changelist
from sessions_app.admin.sessions import facet_counts, index_choice

RUNS = "/admin/sessions_app/cleanuprun/"
OLD = timedelta(days=9)


def html_of(client: Client, address: str) -> str:
    response = client.get(address)
    assert response.status_code == 200, address
    return response.content.decode()


def names(html: str) -> list[str]:
    """The names in the list of a page."""
    return re.findall(r'class="field-name"><a [^>]*>([^<]+)</a>', html)


def set_bounds(monkeypatch: pytest.MonkeyPatch, **bounds: int) -> None:
    """Let lists read fewer rows: ``BOUND``, ``READ_BOUND`` and the like, wherever they are used."""
    for module in (archive, changelist, facet_counts, session_changelist, index_choice):
        for name in bounds.keys() & vars(module).keys():
            monkeypatch.setattr(module, name, bounds[name])
