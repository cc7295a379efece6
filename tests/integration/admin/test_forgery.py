"""Values cannot forge lines of a log or a terminal, formulas in a download, or names that look alike."""

from __future__ import annotations

import csv
import io
import logging
from pathlib import Path
from typing import Any

import pytest
from django.contrib.auth.models import Group, User
from django.test import Client

from sessions_app.admin.streaming import csv_file, escape_formula
from sessions_app.models import CleanupPolicy, LimitedNamespace
from tests.clients import LIST, policy_form, run
from tests.factories import put

FORGED = "2026-11-25 10:00:00 INFO root: forged"


@pytest.mark.django_db
@pytest.mark.parametrize(
    "address",
    [
        f"{LIST}?a%0A{FORGED}=1",
        f"{LIST}?_to_field=a%0A{FORGED}",
        f"/nothing%0A{FORGED}",
        f"/nothing%E2%80%A8{FORGED}%1b[2K",
    ],
)
def test_a_url_forges_no_log_line(client: Client, root: User, log: io.StringIO, address: str) -> None:
    client.force_login(root)
    client.get(address)
    lines = log.getvalue().splitlines()
    assert any("forged" in line for line in lines)
    assert not [line for line in lines if line.startswith(FORGED[:10]) and "forged" in line[:40]]
    assert "\x1b" not in log.getvalue()


def test_an_exception_forges_no_log_line(log: io.StringIO) -> None:
    try:
        raise ValueError(f"first\n{FORGED}\r{FORGED}\x1b[31m")
    except ValueError as error:
        logging.getLogger("tests").exception("It failed: %s\n%s", error, f"more\n{FORGED}")
    first, *others = log.getvalue().splitlines()
    assert first.endswith(f"ERROR tests: It failed: first\\n{FORGED}\\r{FORGED}\\x1b[31m")
    assert others
    assert all(line.startswith("    ") for line in others)
    assert "\x1b" not in log.getvalue()


@pytest.mark.django_db
def test_commands_escape_names_and_paths(tmp_path: Path) -> None:
    folder = tmp_path / "se\x1b[2Jssions"
    put(folder, "na\x1b[31mme")
    outcomes = [
        run("sync_directories", folder, "--namespace", "space"),
        run("sync_directories", tmp_path / "no\x1b[2J"),
        run("list_sessions"),
        run("session_info", "na\x1b[31mme", "--namespace", "space"),
        run("session_info", "no\x1b[31mthing", "--namespace", "space"),
        run("cleanup_sessions", "--expired", "--namespace", "a\x1b[2J", "--dry-run"),
        run("list_sessions", "--as-of", "no\x1b[2J"),
    ]
    for outcome in outcomes:
        assert "\x1b" not in outcome.out + outcome.err


@pytest.mark.parametrize(
    ("text", "written"),
    [
        ("=1+1", "'=1+1"),
        ("a;=1+1;b", "a;'=1+1;b"),
        ("\u200b=1", "'\u200b=1"),
        ("a,\ufeff @x", "a,'\ufeff @x"),
        ("a\t+1", "a\t'+1"),
        ("a|-1", "a|'-1"),
        ('a"=1', "a\"'=1"),
        ("\uff1d1", "'\uff1d1"),
        ("\t=1", "'\t=1"),
        ("2026-11-22T11:00:00+00:00", "2026-11-22T11:00:00+00:00"),
        ("a=b, c - d", "a=b, c - d"),
        ("plain", "plain"),
    ],
)
def test_no_cell_is_a_formula(text: str, written: str) -> None:
    assert escape_formula(text) == written
    response: Any = csv_file("x", ("a", "b"), [{"a": text, "b": 1}])
    content = response.getvalue().decode()
    assert content.splitlines()[0] == '"a","b"'
    assert list(csv.reader(io.StringIO(content)))[1] == [written, "1"]


@pytest.mark.django_db
def test_names_with_invisible_characters_are_refused(client: Client, root: User, tmp_path: Path) -> None:
    client.force_login(root)
    forms: dict[str, dict[str, Any]] = {
        "sessions_app/limitednamespace/add/": {"namespace": "pay\u200bments"},
        "sessions_app/sessiondirectory/add/": {"path": str(tmp_path), "namespace": "sh\u2060op"},
        "sessions_app/cleanuppolicy/add/": policy_form(("1", "expired", "7"), name="Night\u3164ly"),
        "auth/group/add/": {"name": "View\u00a0er"},
        "auth/user/add/": {
            "username": "ad\u3164min",
            "password1": "x-9-Long-enough",
            "password2": "x-9-Long-enough",
        },
    }
    for address, data in forms.items():
        html = client.post(f"/admin/{address}", data).content.decode()
        assert "invisible character" in html, address
    assert not LimitedNamespace.objects.exists()
    assert (
        not CleanupPolicy.objects.filter(name__startswith="Night", name__endswith="ly")
        .exclude(name="Nightly sweep")
        .exists()
    )
    assert not Group.objects.filter(name__startswith="View").exclude(name="Viewer").exists()
    assert User.objects.count() == 1


@pytest.mark.django_db
@pytest.mark.parametrize("cookie", ['raptor_sessionid="a\\000b"', 'raptor_csrftoken="\\000"', 'x="\\000"'])
def test_a_cookie_with_a_nul_is_a_bad_request(client: Client, cookie: str) -> None:
    for address in ("/admin/", "/admin/login/", "/healthz"):
        assert client.get(address, HTTP_COOKIE=cookie).status_code == 400
        assert client.post(address, HTTP_COOKIE=cookie).status_code == 400
