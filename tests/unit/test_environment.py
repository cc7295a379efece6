from __future__ import annotations

from pathlib import Path

import pytest
from django.conf import settings
from django.core.exceptions import ImproperlyConfigured

from raptor_admin.alert_readers import Server
from raptor_admin.environment import Environment, read_environment
from raptor_admin.readers import find_machine_time_zone
from sessions_app.apps import DEFAULTS
from sessions_app.session.criteria import MAX_AGE_LIMIT_DAYS, Criteria
from tests.environments import mistakes_of, read

PROJECT_DIR = Path(__file__).resolve().parents[2]


def test_the_defaults_are_a_complete_configuration(tmp_path: Path) -> None:
    environment = read(tmp_path, RAPTOR_TIME_ZONE="UTC", RAPTOR_MACHINE="runner-1")
    secret_key = (tmp_path / "var" / "secret-key").read_text().strip()
    assert environment == Environment(
        var_dir=tmp_path / "var",
        bind="127.0.0.1:8000",
        database_url=f"sqlite:///{tmp_path}/var/raptor.sqlite3",
        redis_url="",
        machine="runner-1",
        secret_key=secret_key,
        admin_password="",
        allowed_hosts=["localhost", "127.0.0.1", "[::1]"],
        https=False,
        trusted_origins=[],
        trusted_proxies=(),
        url_prefix="",
        metrics_token="",
        public_url="",
        webhook_allowed_hosts=(),
        smtp_url=Server("smtp", "localhost", 25, "", ""),
        email_from="raptor-admin@localhost",
        debug=False,
        time_zone="UTC",
        namespace="default",
        max_age_days=7,
        archive_days=14,
        cdp_allowed_hosts=("localhost", "127.0.0.0/8", "::1"),
        max_document_bytes=5 * 1024 * 1024,
        settle_seconds=10,
        probe_seconds=600,
        chromium="",
    )


def test_the_machine_is_named_after_its_host(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("socket.gethostname", lambda: "ci runner/7")
    assert read(tmp_path).machine == "ci-runner-7"
    assert "letters, digits" in mistakes_of(tmp_path, RAPTOR_MACHINE="a b")
    assert "at most 64" in mistakes_of(tmp_path, RAPTOR_MACHINE="m" * 65)


def test_a_relative_folder_is_relative_to_the_project(tmp_path: Path) -> None:
    assert read(tmp_path, RAPTOR_VAR_DIR="data").var_dir == tmp_path / "data"


def test_a_blank_value_is_the_default(tmp_path: Path) -> None:
    assert read(tmp_path, RAPTOR_NAMESPACE=" ", RAPTOR_MAX_AGE_DAYS="").max_age_days == 7


def test_other_variables_are_ignored(tmp_path: Path) -> None:
    read(tmp_path, RAPTOR_TEST_DATABASE_URL="postgres://localhost/x", HOME="/", RAPTORS="many")


def test_the_representation_does_not_show_secrets(tmp_path: Path) -> None:
    secrets = {
        "RAPTOR_SECRET_KEY": "hunter2" * 9,
        "RAPTOR_DATABASE_URL": "postgres://me:hunter2@localhost/x",
        "RAPTOR_REDIS_URL": "redis://:hunter2@localhost/0",
        "RAPTOR_ADMIN_PASSWORD": "hunter2",
    }
    assert "hunter2" not in repr(read(tmp_path, **secrets))


def test_valid_values_are_read(tmp_path: Path) -> None:
    environment = read(
        tmp_path,
        RAPTOR_BIND="[::]:80",
        RAPTOR_DEBUG="TRUE",
        RAPTOR_MAX_AGE_DAYS="0.5",
        RAPTOR_ARCHIVE_DAYS="0",
        RAPTOR_SETTLE_SECONDS="0.5",
        RAPTOR_ALLOWED_HOSTS=".example.org, 10.0.0.1,*",
        RAPTOR_CDP_ALLOWED_HOSTS="Browsers.example.org,10.0.0.0/8,fd00::/8",
        RAPTOR_DATABASE_URL="postgresql://me:secret@localhost/x",
        RAPTOR_CHROMIUM="/bin/sh",
    )
    assert environment.bind == "[::]:80"
    assert environment.debug
    assert environment.max_age_days == 0.5
    assert environment.archive_days == 0
    assert environment.settle_seconds == 0.5
    assert environment.allowed_hosts == [".example.org", "10.0.0.1", "*"]
    assert environment.cdp_allowed_hosts == ("browsers.example.org", "10.0.0.0/8", "fd00::/8")
    assert environment.chromium == "/bin/sh"


@pytest.mark.parametrize(
    ("tz", "target", "expected"),
    [
        ("", "/usr/share/zoneinfo/Europe/Berlin", "Europe/Berlin"),
        ("", "/var/db/timezone/zoneinfo/America/New_York", "America/New_York"),
        ("Asia/Tokyo", "/usr/share/zoneinfo/Europe/Berlin", "Asia/Tokyo"),
        (":Asia/Tokyo", "/usr/share/zoneinfo/Europe/Berlin", "Asia/Tokyo"),
        ("/usr/share/zoneinfo/Asia/Tokyo", "", "Asia/Tokyo"),
        ("", "/somewhere/else", "UTC"),
    ],
)
def test_the_default_time_zone_is_that_of_the_machine(
    tmp_path: Path, tz: str, target: str, expected: str
) -> None:
    localtime = tmp_path / "localtime"
    if target:
        localtime.symlink_to(target)
    assert find_machine_time_zone(tz, localtime) == expected


def test_the_largest_age_is_that_of_a_cleanup(tmp_path: Path) -> None:
    days = read(tmp_path, RAPTOR_MAX_AGE_DAYS=str(MAX_AGE_LIMIT_DAYS)).max_age_days
    assert Criteria(expired=True, max_age_days=days).max_age_days == MAX_AGE_LIMIT_DAYS
    assert str(MAX_AGE_LIMIT_DAYS) in mistakes_of(tmp_path, RAPTOR_MAX_AGE_DAYS=str(MAX_AGE_LIMIT_DAYS + 1))


def test_another_django_project_has_the_same_defaults(tmp_path: Path) -> None:
    environment = read(tmp_path)
    same = {name for name in DEFAULTS if name not in ("RAPTOR_VAR_DIR", "RAPTOR_TASK_DEADLINE_SECONDS")}
    read_values = {name: getattr(environment, name.removeprefix("RAPTOR_").lower()) for name in same}
    assert read_values == {name: DEFAULTS[name] for name in same}
    assert DEFAULTS["RAPTOR_TASK_DEADLINE_SECONDS"] == settings.RAPTOR_TASK_DEADLINE_SECONDS


def test_a_test_project_can_have_variables_of_its_own(tmp_path: Path) -> None:
    environ = {"RAPTOR_VAR_DIR": str(tmp_path / "var"), "RAPTOR_BROWSER": "chromium"}
    with pytest.raises(ImproperlyConfigured, match="RAPTOR_BROWSER"):
        read_environment(environ, project_dir=tmp_path)
    assert read_environment(environ, project_dir=tmp_path, knows_all=False).namespace == "default"


def test_the_settings_of_a_proxy_are_read(tmp_path: Path) -> None:
    environment = read(
        tmp_path,
        RAPTOR_TRUSTED_ORIGINS="https://panel.example:8443/, http://[::1]:81",
        RAPTOR_TRUSTED_PROXIES="127.0.0.1, 10.0.0.0/8",
        RAPTOR_URL_PREFIX="raptor/",
    )
    assert environment.trusted_origins == ["https://panel.example:8443", "http://[::1]:81"]
    assert environment.trusted_proxies == ("127.0.0.1", "10.0.0.0/8")
    assert environment.url_prefix == "/raptor"


def test_the_mail_server_of_alerts(tmp_path: Path) -> None:
    url = "smtp+tls://raptor:a%40b@mail.example"
    assert read(tmp_path, RAPTOR_SMTP_URL=url).smtp_url == Server(
        "smtp+tls", "mail.example", 587, "raptor", "a@b"
    )
    for wrong in ("http://mail.example", "smtp://", "smtp://h:99999", "mail.example:25"):
        message = mistakes_of(tmp_path, RAPTOR_SMTP_URL=wrong)
        assert "must be smtp://HOST:PORT" in message
        assert "mail.example" not in message
    assert "e-mail address" in mistakes_of(tmp_path, RAPTOR_EMAIL_FROM="nobody")


def test_addresses_and_tokens_are_validated(tmp_path: Path) -> None:
    assert read(tmp_path, RAPTOR_PUBLIC_URL="https://panel.example/raptor/").public_url.endswith("/raptor")
    assert "http or https" in mistakes_of(tmp_path, RAPTOR_PUBLIC_URL="panel.example")
    assert "http or https" in mistakes_of(tmp_path, RAPTOR_PUBLIC_URL="https://user:pw@panel.example")
    hosts = read(tmp_path, RAPTOR_WEBHOOK_ALLOWED_HOSTS="Hooks.example, 10.0.0.0/8").webhook_allowed_hosts
    assert hosts == ("hooks.example", "10.0.0.0/8")
    assert "neither a host name" in mistakes_of(tmp_path, RAPTOR_WEBHOOK_ALLOWED_HOSTS="http://hooks.example")
    assert "at least 16" in mistakes_of(tmp_path, RAPTOR_METRICS_TOKEN="short")
