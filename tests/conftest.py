"""The environment of the tests, and their users."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from django.conf import settings

from raptor_admin.environment import PREFIX, TEST_PREFIX

if TYPE_CHECKING:
    from django.contrib.auth.models import User

DATABASE_VARIABLE = "RAPTOR_TEST_DATABASE_URL"
VIEWER_PERMISSIONS = (
    "view_browsersession",
    "view_sessiondirectory",
    "view_cleanuprun",
    "view_cleanuppolicy",
    "view_archivedsession",
)
OPERATOR_PERMISSIONS = (
    *VIEWER_PERMISSIONS,
    "clean_up_sessions",
    "add_browsersession",
    "change_browsersession",
    "add_sessiondirectory",
    "change_sessiondirectory",
)

_temporary = tempfile.TemporaryDirectory(prefix="raptor-tests-")


def _isolate() -> None:
    """Replace the variables of the shell, so that the tests never use a developer's database."""
    if settings.configured:
        pytest.exit("unset DJANGO_SETTINGS_MODULE: the tests bring their own environment", returncode=1)
    for name in [name for name in os.environ if name.startswith(PREFIX) and not name.startswith(TEST_PREFIX)]:
        if name != "RAPTOR_CHROMIUM":
            del os.environ[name]
    os.environ["DJANGO_SETTINGS_MODULE"] = "raptor_admin.settings"
    os.environ["RAPTOR_VAR_DIR"] = _temporary.name
    os.environ["RAPTOR_DATABASE_URL"] = os.environ.get(DATABASE_VARIABLE, "")
    os.environ["RAPTOR_TIME_ZONE"] = "UTC"
    Path(_temporary.name, "static").mkdir()
    # The manifest exists after collectstatic only; tests/e2e runs the real server in another environment.
    settings.STORAGES["staticfiles"]["BACKEND"] = "django.contrib.staticfiles.storage.StaticFilesStorage"
    # Tests of the reserve take a small one.
    settings.RAPTOR_RESERVE_BYTES = 0
    settings.PASSWORD_HASHERS = ["django.contrib.auth.hashers.MD5PasswordHasher"]


def _watch_cursors() -> None:
    # Django's database backends read the settings, which have to be the tests' own by then.
    from tests import open_cursors

    open_cursors.install()


_isolate()
_watch_cursors()


@pytest.fixture(autouse=True)
def no_write_while_reading() -> Iterator[None]:
    """Fail a test whose code wrote while a cursor of the same SQLite connection had unread rows."""
    from tests import open_cursors

    yield
    if violations := open_cursors.take_violations():
        pytest.fail("\n\n".join(violations), pytrace=False)


def pytest_sessionstart() -> None:
    """End the run if the requested database server does not answer, so that no test is skipped."""
    address = os.environ.get(DATABASE_VARIABLE)
    if address:
        import psycopg

        try:
            psycopg.connect(address, connect_timeout=10).close()
        except psycopg.Error as error:
            pytest.exit(f"{DATABASE_VARIABLE} cannot be reached: {error}", returncode=1)


@pytest.fixture(scope="session")
def django_db_modify_db_settings(django_db_modify_db_settings: None) -> None:
    """The settings of the test database, with a name of its own.

    SQLite uses a file in WAL mode, as in production: processes cannot share a database in memory, and its
    locks differ. On PostgreSQL the process id keeps concurrent runs apart.
    """
    from django.db import connection

    is_sqlite = connection.vendor == "sqlite"
    name = str(Path(_temporary.name) / "test.sqlite3") if is_sqlite else f"test_raptor_{os.getpid()}"
    connection.settings_dict["TEST"]["NAME"] = name


def _make_user(username: str, permissions: tuple[str, ...] = (), *, is_staff: bool = True) -> User:
    from django.contrib.auth.models import Permission, User

    user = User.objects.create_user(username, password=username, is_staff=is_staff)
    user.user_permissions.set(
        Permission.objects.filter(content_type__app_label="sessions_app", codename__in=permissions)
    )
    return user


@pytest.fixture
def root(db: None) -> User:
    """A superuser."""
    from django.contrib.auth.models import User

    return User.objects.create_superuser("root", password="root")


@pytest.fixture
def operator(db: None) -> User:
    """A user who cleans up sessions and manages directories."""
    return _make_user("operator", OPERATOR_PERMISSIONS)


@pytest.fixture
def viewer(db: None) -> User:
    """A user who sees everything except endpoints, and changes nothing."""
    return _make_user("viewer", VIEWER_PERMISSIONS)


@pytest.fixture
def outsider(db: None) -> User:
    """A user without access to the admin."""
    return _make_user("outsider", is_staff=False)
