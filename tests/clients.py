"""Run commands and read pages as a user does."""

from __future__ import annotations

import io
import json
import re
from dataclasses import dataclass
from datetime import datetime
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import pytest
from django.core.management import CommandError, call_command
from django.test import Client

from sessions_app.admin import changelist
from sessions_app.admin.archive import changelist as archive_changelist
from sessions_app.admin.sessions import changelist as session_changelist
from sessions_app.admin.sessions import facet_counts, index_choice, status_order
from sessions_app.models import BrowserSession, CleanupPolicy

LIST = "/admin/sessions_app/browsersession/"
ARCHIVE = "/admin/sessions_app/archivedsession/"
RUNS = "/admin/sessions_app/cleanuprun/"
POLICIES = "/admin/sessions_app/cleanuppolicy/"
CHANGES = "/admin/sessions_app/policychange/"
POLICY_FIELDS = {
    "name": "Team",
    "description": "For the team.",
    "namespace": "",
    "schedule": "30 6 * * 1-5",
    "is_enabled": "on",
    "over_count": "",
    "over_bytes": "",
    "brake_count": "",
    "brake_percent": "50",
}
Step = tuple[str, str, str]
_VOID = {"area", "base", "br", "col", "embed", "hr", "img", "input", "link", "meta", "source", "wbr"}
_NOTICES = {"raptor-note", "raptor-error", "errornote", "success", "warning", "error"}


@dataclass(frozen=True)
class Outcome:
    """The output and the exit status of a command."""

    out: str
    err: str
    status: int

    @property
    def json(self) -> Any:
        return json.loads(self.out)


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


def run(*command: str | Path | datetime) -> Outcome:
    """Run a command with its arguments as written in a shell; an instant is written in ISO format."""
    name, *arguments = (part.isoformat() if isinstance(part, datetime) else str(part) for part in command)
    out, err, status = io.StringIO(), io.StringIO(), 0
    try:
        call_command(name, *arguments, stdout=out, stderr=err)
    except CommandError as error:
        status = error.returncode
        err.write(f"{error}\n")
    return Outcome(out.getvalue(), err.getvalue(), status)


class Page(HTMLParser):
    """A page of the admin, parsed once: what its content shows, without the markup.

    Attributes:
        facts: The value beside each label.
        buttons: The labels of all buttons, including links that look like buttons.
        notices: Messages, notes and errors.
        rows: The cells of each table row that has any.
        links: The address of each link, by its text; the last one where several have the same text.
        text: All text, also that of the navigation.
    """

    def __init__(self, html: str) -> None:
        super().__init__()
        self.facts: dict[str, str] = {}
        self.buttons: list[str] = []
        self.notices: list[str] = []
        self.rows: list[list[str]] = []
        self.links: dict[str, str] = {}
        self.text = ""
        self._label = ""
        self._open: list[tuple[str, dict[str, str], list[str]]] = []
        self.feed(html)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        attributes = {name: value or "" for name, value in attrs}
        if tag == "input" and attributes.get("type") == "submit":
            self.buttons.append(attributes.get("value", ""))
        if tag == "tr":
            self.rows.append([])
        if tag not in _VOID:
            self._open.append((tag, attributes, []))

    def handle_data(self, data: str) -> None:
        self.text += data
        for _, _, texts in self._open:
            texts.append(data)

    def handle_endtag(self, tag: str) -> None:
        while self._open:
            opened, attributes, texts = self._open.pop()
            self._close(opened, attributes, " ".join("".join(texts).split()))
            if opened == tag:
                break

    def _close(self, tag: str, attributes: dict[str, str], text: str) -> None:
        classes = set(attributes.get("class", "").split())
        if tag == "dt":
            self._label = text
        elif tag == "dd":
            self.facts[self._label] = text
        elif tag == "td" and self.rows:
            self.rows[-1].append(text)
        if tag == "a":
            self.links[text] = attributes.get("href", "")
        if tag == "button" or (tag == "a" and "button" in classes):
            self.buttons.append(text)
        if classes & _NOTICES:
            self.notices.append(text)


def page_at(client: Client, address: str) -> Page:
    return Page(html_of(client, address))


def html_of(client: Client, address: str) -> str:
    response = client.get(address)
    assert response.status_code == 200, address
    return response.content.decode()


def page_of(session: BrowserSession) -> str:
    """Return the address of a session's page."""
    return f"{LIST}{session.pk}/change/"


def names(html: str) -> list[str]:
    """Return the names in the list of a page."""
    return re.findall(r'class="field-name"><a [^>]*>([^<]+)</a>', html)


def set_bounds(monkeypatch: pytest.MonkeyPatch, **bounds: int) -> None:
    """Let lists read fewer rows: set ``BOUND``, ``READ_BOUND`` and similar limits wherever they are used."""
    for module in (
        archive_changelist,
        changelist,
        facet_counts,
        session_changelist,
        index_choice,
        status_order,
    ):
        for name in bounds.keys() & vars(module).keys():
            monkeypatch.setattr(module, name, bounds[name])


def policy_form(*steps: Step, policy: CleanupPolicy | None = None, **changes: Any) -> dict[str, str]:
    """Return what a browser sends from the form of a policy.

    Args:
        steps: Place, criterion and maximum age of each; the steps that the policy has come first.
    """
    ids = [step.pk for step in policy.steps.all()] if policy else []
    data = {
        **POLICY_FIELDS,
        **changes,
        "steps-TOTAL_FORMS": str(len(steps)),
        "steps-INITIAL_FORMS": str(len(ids)),
        "protections-TOTAL_FORMS": "0",
        "protections-INITIAL_FORMS": "0",
    }
    for number, (place, criterion, age) in enumerate(steps):
        data |= {
            f"steps-{number}-place": place,
            f"steps-{number}-criterion": criterion,
            f"steps-{number}-max_age_days": age,
        }
        if number < len(ids):
            data |= {
                f"steps-{number}-id": str(ids[number]),
                f"steps-{number}-policy": str(policy and policy.pk),
            }
    return {name: value for name, value in data.items() if not (name == "is_enabled" and not value)}


def post_policy(client: Client, address: str, data: dict[str, str]) -> str:
    return client.post(f"{POLICIES}{address}", data, follow=True).content.decode()


def steps_of(policy: CleanupPolicy) -> list[tuple[int, str, float | None]]:
    return list(policy.steps.values_list("position", "criterion", "max_age_days"))
