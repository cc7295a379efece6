from __future__ import annotations

import stat
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from django.conf import settings
from django.core.exceptions import ImproperlyConfigured

from raptor_admin.environment import Environment, read_environment
from raptor_admin.readers import find_machine_time_zone
from raptor_admin.secret_key import load_secret_key
from sessions_app.apps import DEFAULTS
from sessions_app.session.criteria import MAX_AGE_LIMIT_DAYS, Criteria

PROJECT_DIR = Path(__file__).resolve().parents[2]


def read(tmp_path: Path, **environ: str) -> Environment:
    return read_environment({"RAPTOR_VAR_DIR": str(tmp_path / "var"), **environ}, project_dir=tmp_path)


def mistakes_of(tmp_path: Path, **environ: str) -> str:
    with pytest.raises(ImproperlyConfigured) as caught:
        read(tmp_path, **environ)
    return str(caught.value)


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
        debug=False,
        time_zone="UTC",
        namespace="default",
        max_age_days=7,
        archive_days=14,
        cdp_allowed_hosts=("localhost", "127.0.0.0/8", "::1"),
        max_document_bytes=5 * 1024 * 1024,
        settle_seconds=10,
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


def test_all_mistakes_are_reported_at_once(tmp_path: Path) -> None:
    message = mistakes_of(
        tmp_path, RAPTOR_DEBUG="perhaps", RAPTOR_TIME_ZONE="Mars/Olympus", RAPTOR_MAX_AGE_DAYS="0"
    )
    assert "3 mistakes" in message
    assert "RAPTOR_DEBUG is 'perhaps', but must be on or off" in message
    assert "RAPTOR_TIME_ZONE is 'Mars/Olympus'" in message
    assert "RAPTOR_MAX_AGE_DAYS is '0'" in message


def test_a_mistake_creates_nothing(tmp_path: Path) -> None:
    mistakes_of(tmp_path, RAPTOR_DEBUG="perhaps")
    assert not (tmp_path / "var").exists()


def test_a_misspelled_variable_is_reported_with_a_suggestion(tmp_path: Path) -> None:
    message = mistakes_of(tmp_path, RAPTOR_MAX_AGE="7")
    assert "RAPTOR_MAX_AGE is not a setting. Did you mean “RAPTOR_MAX_AGE_DAYS”?" in message


def test_other_variables_are_ignored(tmp_path: Path) -> None:
    read(tmp_path, RAPTOR_TEST_DATABASE_URL="postgres://localhost/x", HOME="/", RAPTORS="many")


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


def test_the_representation_does_not_show_secrets(tmp_path: Path) -> None:
    secrets = {
        "RAPTOR_SECRET_KEY": "hunter2" * 9,
        "RAPTOR_DATABASE_URL": "postgres://me:hunter2@localhost/x",
        "RAPTOR_REDIS_URL": "redis://:hunter2@localhost/0",
        "RAPTOR_ADMIN_PASSWORD": "hunter2",
    }
    assert "hunter2" not in repr(read(tmp_path, **secrets))


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


def test_the_secret_key_is_created_once_and_readable_by_its_owner_only(tmp_path: Path) -> None:
    first = read(tmp_path).secret_key
    assert read(tmp_path).secret_key == first
    assert stat.S_IMODE((tmp_path / "var" / "secret-key").stat().st_mode) == 0o600
    assert stat.S_IMODE((tmp_path / "var").stat().st_mode) == 0o700


def test_concurrent_processes_agree_on_the_secret_key(tmp_path: Path) -> None:
    with ThreadPoolExecutor(16) as pool:
        keys = set(pool.map(lambda _: load_secret_key(tmp_path / "secret-key"), range(64)))
    assert len(keys) == 1
    assert [path.name for path in tmp_path.iterdir()] == ["secret-key"]


def test_a_folder_that_cannot_be_created_is_reported(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    message = mistakes_of(tmp_path, RAPTOR_VAR_DIR=str(tmp_path / "file" / "var"))
    assert "RAPTOR_VAR_DIR" in message
    assert "cannot create the folder" in message


def test_an_unreadable_secret_key_is_reported(tmp_path: Path) -> None:
    (tmp_path / "var" / "secret-key").mkdir(parents=True)
    assert "secret-key can be neither read nor written" in mistakes_of(tmp_path)


@pytest.mark.parametrize("content", [b"", b"short", b"\xff" * 64])
def test_a_file_without_a_secret_key_is_reported(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "var").mkdir()
    (tmp_path / "var" / "secret-key").write_bytes(content)
    assert "secret-key" in mistakes_of(tmp_path)


def test_a_given_secret_key_creates_no_file(tmp_path: Path) -> None:
    assert read(tmp_path, RAPTOR_SECRET_KEY="k" * 50).secret_key == "k" * 50
    assert not (tmp_path / "var" / "secret-key").exists()


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
