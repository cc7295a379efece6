"""Invalid settings are all reported, with the names of the variables and without secrets."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.environments import mistakes_of


def test_all_mistakes_are_reported_at_once(tmp_path: Path) -> None:
    message = mistakes_of(
        tmp_path, RAPTOR_DEBUG="perhaps", RAPTOR_TIME_ZONE="Mars/Olympus", RAPTOR_MAX_AGE_DAYS="0"
    )
    assert "3 mistakes" in message
    assert "RAPTOR_DEBUG is 'perhaps', but must be on or off" in message
    assert "RAPTOR_TIME_ZONE is 'Mars/Olympus'" in message
    assert "RAPTOR_MAX_AGE_DAYS is '0'" in message


def test_an_invalid_setting_creates_no_files(tmp_path: Path) -> None:
    mistakes_of(tmp_path, RAPTOR_DEBUG="perhaps")
    assert not (tmp_path / "var").exists()


def test_a_misspelled_variable_is_reported_with_a_suggestion(tmp_path: Path) -> None:
    message = mistakes_of(tmp_path, RAPTOR_MAX_AGE="7")
    assert "RAPTOR_MAX_AGE is not a setting. Did you mean “RAPTOR_MAX_AGE_DAYS”?" in message


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("RAPTOR_SECRET_KEY", "hunter2"),
        ("RAPTOR_DATABASE_URL", "mysql://me:hunter2@localhost/x"),
        ("RAPTOR_DATABASE_URL", "hunter2"),
        ("RAPTOR_DATABASE_URL", "postgres://me:hunter2@localhost:port/x"),
        ("RAPTOR_REDIS_URL", "http://:hunter2@localhost"),
    ],
)
def test_messages_do_not_show_secrets(tmp_path: Path, name: str, value: str) -> None:
    message = mistakes_of(tmp_path, **{name: value})
    assert name in message
    assert "hunter2" not in message


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("RAPTOR_BIND", "8000"),
        ("RAPTOR_BIND", "localhost:0"),
        ("RAPTOR_BIND", "localhost:65536"),
        ("RAPTOR_BIND", "http://localhost:80"),
        ("RAPTOR_BIND", "::1:8000"),
        ("RAPTOR_BIND", "[::1:8000"),
        ("RAPTOR_BIND", ":8000"),
        ("RAPTOR_DATABASE_URL", "sqlite://:memory:"),
        ("RAPTOR_DATABASE_URL", "sqlite://"),
        ("RAPTOR_ALLOWED_HOSTS", "https://panel.example.org"),
        ("RAPTOR_TRUSTED_ORIGINS", "panel.example"),
        ("RAPTOR_TRUSTED_ORIGINS", "https://panel.example/path"),
        ("RAPTOR_TRUSTED_ORIGINS", "https://panel.example:99999"),
        ("RAPTOR_TRUSTED_PROXIES", "proxy.example"),
        ("RAPTOR_TRUSTED_PROXIES", "10.0.0.1/8"),
        ("RAPTOR_URL_PREFIX", "https://panel.example/raptor"),
        ("RAPTOR_URL_PREFIX", "/../x"),
        ("RAPTOR_URL_PREFIX", "/admin"),
        ("RAPTOR_URL_PREFIX", "admin/raptor"),
        ("RAPTOR_URL_PREFIX", "/static/"),
        ("RAPTOR_URL_PREFIX", "/healthz"),
        ("RAPTOR_ALLOWED_HOSTS", "panel.example.org:8000"),
        ("RAPTOR_ALLOWED_HOSTS", ","),
        ("RAPTOR_ARCHIVE_DAYS", "-1"),
        ("RAPTOR_MAX_AGE_DAYS", "nan"),
        ("RAPTOR_MAX_AGE_DAYS", "inf"),
        ("RAPTOR_MAX_AGE_DAYS", "seven"),
        ("RAPTOR_MAX_DOCUMENT_BYTES", "0"),
        ("RAPTOR_MAX_DOCUMENT_BYTES", "5 MiB"),
        ("RAPTOR_MAX_DOCUMENT_BYTES", "\u0665"),
        ("RAPTOR_CDP_ALLOWED_HOSTS", "http://localhost"),
        ("RAPTOR_CDP_ALLOWED_HOSTS", "localhost:9222"),
        ("RAPTOR_CDP_ALLOWED_HOSTS", "10.0.0.1/8"),
        ("RAPTOR_CDP_ALLOWED_HOSTS", "127.1"),
        ("RAPTOR_CDP_ALLOWED_HOSTS", "0x7f000001"),
        ("RAPTOR_CDP_ALLOWED_HOSTS", "*"),
        ("RAPTOR_CDP_ALLOWED_HOSTS", ","),
        ("RAPTOR_CHROMIUM", "/nowhere/chromium"),
        ("RAPTOR_NAMESPACE", "n" * 101),
        ("RAPTOR_NAMESPACE", "two\nlines"),
        ("RAPTOR_SETTLE_SECONDS", "-1"),
        ("RAPTOR_SETTLE_SECONDS", "ten"),
        ("RAPTOR_TIME_ZONE", "../../etc/passwd"),
        ("RAPTOR_VAR_DIR", "/dev/null"),
    ],
)
def test_a_wrong_value_is_reported_with_its_variable(tmp_path: Path, name: str, value: str) -> None:
    assert f"mistake: {name}" in mistakes_of(tmp_path, **{name: value})


def test_a_folder_that_cannot_be_created_is_reported(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    message = mistakes_of(tmp_path, RAPTOR_VAR_DIR=str(tmp_path / "file" / "var"))
    assert "RAPTOR_VAR_DIR" in message
    assert "cannot create the folder" in message


@pytest.mark.parametrize("path", ["readyz", "metrics"])
def test_a_prefix_that_is_a_monitoring_path_is_refused(tmp_path: Path, path: str) -> None:
    assert "must not begin with" in mistakes_of(tmp_path, RAPTOR_URL_PREFIX=f"/{path}")
