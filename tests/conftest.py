"""The environment of the tests, and their users."""

from __future__ import annotations

import gc
import os
import shutil
import sqlite3
import tempfile
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from django.conf import settings

from raptor_admin.environment import PREFIX, TEST_PREFIX

if TYPE_CHECKING:
    from django.contrib.auth.models import User
    from pytest_django import DjangoDbBlocker

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

_IN_MEMORY = Path("/dev/shm")


def _has_room(folder: Path) -> bool:
    return folder.is_dir() and shutil.disk_usage(folder).free > 1024**3


# SQLite waits for the disk in each commit, but not in memory. Containers may have little.
_temporary = tempfile.TemporaryDirectory(
    prefix="raptor-tests-", dir=_IN_MEMORY if _has_room(_IN_MEMORY) else None
)


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
    # Django's database backends read the settings, so set the settings of the tests first.
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


def pytest_collection_finish() -> None:
    """Keep the collector of garbage away from the modules and the tests, which stay until the end."""
    gc.collect()
    gc.freeze()
    gc.set_threshold(20_000)


def pytest_xdist_setupnodes() -> None:
    """Let each process of ``pytest -n`` read its own settings, with its own folder."""
    del os.environ["DJANGO_SETTINGS_MODULE"]


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
    """The settings of the test database, with a unique name.

    SQLite uses a file in WAL mode, as in production: processes cannot share a database in memory, and its
    locks differ. On PostgreSQL the process id keeps concurrent runs apart.
    """
    from django.db import connection

    is_sqlite = connection.vendor == "sqlite"
    name = str(Path(_temporary.name) / "test.sqlite3") if is_sqlite else f"test_raptor_{os.getpid()}"
    connection.settings_dict["TEST"]["NAME"] = name


@pytest.fixture(scope="session")
def django_db_setup(django_db_setup: None, django_db_blocker: DjangoDbBlocker) -> Iterator[None]:
    """Restore the whole SQLite database after a test that commits.

    Django would delete all rows and create the permissions of all models again, which takes 20 times as long.
    """
    from django.db import connection
    from django.test import TransactionTestCase

    if connection.vendor != "sqlite":
        yield
        return

    def restore(test: TransactionTestCase) -> None:
        connection.ensure_connection()
        migrated.backup(connection.connection)

    with django_db_blocker.unblock(), closing(sqlite3.connect(":memory:")) as migrated:
        connection.ensure_connection()
        connection.connection.backup(migrated)
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(TransactionTestCase, "_fixture_teardown", restore)
            yield


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
