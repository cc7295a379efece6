"""Reads every ``RAPTOR_…`` environment variable, once, and tells all mistakes at once."""

import difflib
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from django.core.exceptions import ImproperlyConfigured

from raptor_admin import readers
from raptor_admin.readers import Mistake, Reader
from raptor_admin.secret_key import load_secret_key
from sessions_app.disk import reason

PREFIX = "RAPTOR_"
TEST_PREFIX = "RAPTOR_TEST_"


@dataclass(frozen=True, kw_only=True)
class Variable:
    """One documented variable: the README's settings table has one row for each.

    ``default`` is read like a value from the environment; where it depends on the machine it is empty
    and ``default_note`` tells it in words.
    """

    name: str
    reader: Reader
    meaning: str
    default: str = ""
    default_note: str = ""
    is_secret: bool = False

    @property
    def field_name(self) -> str:
        """The attribute of Environment that holds the value."""
        return self.name.removeprefix(PREFIX).lower()

    @property
    def documented_default(self) -> str:
        """The default as the README tells it."""
        return self.default_note or f"`{self.default}`"


VARIABLES: tuple[Variable, ...] = (
    Variable(
        name="RAPTOR_VAR_DIR",
        reader=readers.read_directory,
        default="var",
        meaning="Folder of database, secret key, static files and profiles of browsers; a relative path "
        "starts at the project, or at `~/.raptor` where the package was installed by pip.",
    ),
    Variable(
        name="RAPTOR_BIND",
        reader=readers.read_bind,
        default="127.0.0.1:8000",
        meaning="Address and port that the web server listens on.",
    ),
    Variable(
        name="RAPTOR_DATABASE_URL",
        reader=readers.read_database_url,
        default_note="SQLite in `RAPTOR_VAR_DIR`",
        meaning="Database: `sqlite:///FILE` or `postgres://USER:PASSWORD@HOST:PORT/NAME`.",
        is_secret=True,
    ),
    Variable(
        name="RAPTOR_REDIS_URL",
        reader=readers.read_redis_url,
        default_note="none: the database carries the tasks",
        meaning="Redis that carries the tasks: `redis://HOST:PORT/NUMBER`.",
        is_secret=True,
    ),
    Variable(
        name="RAPTOR_SECRET_KEY",
        reader=readers.read_secret_key,
        default_note="generated into `RAPTOR_VAR_DIR/secret-key`",
        meaning="Key that signs logins and tasks; the same on each machine.",
        is_secret=True,
    ),
    Variable(
        name="RAPTOR_ADMIN_PASSWORD",
        reader=readers.read_text,
        default_note="generated and printed once",
        meaning="Password of the administrator `admin`; used by the first start only.",
        is_secret=True,
    ),
    Variable(
        name="RAPTOR_ALLOWED_HOSTS",
        reader=readers.read_allowed_hosts,
        default="localhost,127.0.0.1,[::1]",
        meaning="Host names under which the panel may be reached, separated by commas.",
    ),
    Variable(
        name="RAPTOR_HTTPS",
        reader=readers.read_switch,
        default="off",
        meaning="`on` behind a proxy that speaks HTTPS and sets `X-Forwarded-Proto`: secure cookies, HSTS.",
    ),
    Variable(
        name="RAPTOR_DEBUG",
        reader=readers.read_switch,
        default="off",
        meaning="Django's debug pages; for development only.",
    ),
    Variable(
        name="RAPTOR_TIME_ZONE",
        reader=readers.read_time_zone,
        default_note="the machine's, else `UTC`",
        meaning="Zone of the screens, and of times in documents that name no zone.",
    ),
    Variable(
        name="RAPTOR_NAMESPACE",
        reader=readers.read_namespace,
        default="default",
        meaning="Namespace that is used where none is given.",
    ),
    Variable(
        name="RAPTOR_MAX_AGE_DAYS",
        reader=readers.read_days_above_zero,
        default="7",
        meaning="Age in days after which a session is expired; may have a fraction.",
    ),
    Variable(
        name="RAPTOR_ARCHIVE_DAYS",
        reader=readers.read_days,
        default="14",
        meaning="Days for which removed sessions wait in the archive; `0`: no archive, and no undo.",
    ),
    Variable(
        name="RAPTOR_CDP_ALLOWED_HOSTS",
        reader=readers.read_cdp_allowed_hosts,
        default="localhost,127.0.0.0/8,::1",
        meaning="Hosts and networks on which browsers may be contacted, separated by commas.",
    ),
    Variable(
        name="RAPTOR_MAX_DOCUMENT_BYTES",
        reader=readers.read_byte_count,
        default="5242880",
        meaning="Largest session document that is read, in bytes.",
    ),
    Variable(
        name="RAPTOR_SETTLE_SECONDS",
        reader=readers.read_seconds,
        default="10",
        meaning="Time for which a file must not change before the schedule reads or removes it, in seconds; "
        "may have a fraction. `0`: it does not wait.",
    ),
    Variable(
        name="RAPTOR_CHROMIUM",
        reader=readers.read_executable,
        default_note="Playwright's, or the system's",
        meaning="Path of the Chromium that is started to save and restore sessions.",
    ),
)


@dataclass(frozen=True, kw_only=True)
class Environment:
    """The validated settings; secrets stay out of its representation."""

    var_dir: Path
    bind: str
    database_url: str = field(repr=False)
    redis_url: str = field(repr=False)
    secret_key: str = field(repr=False)
    admin_password: str = field(repr=False)
    allowed_hosts: list[str]
    https: bool
    debug: bool
    time_zone: str
    namespace: str
    max_age_days: float
    archive_days: float
    cdp_allowed_hosts: tuple[str, ...]
    max_document_bytes: int
    settle_seconds: float
    chromium: str


def read_environment(environ: Mapping[str, str], *, project_dir: Path, knows_all: bool = True) -> Environment:
    """Read and check all variables; creates the folder for data and the secret key where they are missing.

    A blank value counts as not given.

    Args:
        knows_all: Whether a variable with our prefix that is none of ours is a mistake.
    Raises: ImproperlyConfigured: names every mistake, and no secret.
    """
    mistakes = _find_unknown(environ) if knows_all else []
    values: dict[str, Any] = {}
    for variable in VARIABLES:
        given = environ.get(variable.name, "").strip()
        try:
            values[variable.field_name] = variable.reader(given or variable.default, project_dir)
        except Mistake as mistake:
            shown = "" if variable.is_secret else f" is {given!r}, but"
            mistakes.append(f"{variable.name}{shown} {mistake}")
    if not mistakes:
        try:
            _fill_from_var_dir(values)
        except Mistake as mistake:
            mistakes.append(str(mistake))
    if mistakes:
        raise ImproperlyConfigured(_tell(mistakes))
    return Environment(**values)


def _fill_from_var_dir(values: dict[str, Any]) -> None:
    var_dir: Path = values["var_dir"]
    try:
        var_dir.mkdir(mode=0o700, parents=True, exist_ok=True)
    except OSError as error:
        raise Mistake(f"RAPTOR_VAR_DIR: the folder {var_dir} cannot be made ({reason(error)}).") from error
    values["database_url"] = values["database_url"] or f"sqlite:///{var_dir / 'raptor.sqlite3'}"
    values["secret_key"] = values["secret_key"] or load_secret_key(var_dir / "secret-key")


def _find_unknown(environ: Mapping[str, str]) -> list[str]:
    known = [variable.name for variable in VARIABLES]
    mistakes = []
    for name in sorted(environ):
        if not name.startswith(PREFIX) or name.startswith(TEST_PREFIX) or name in known:
            continue
        close = difflib.get_close_matches(name, known, n=1)
        hint = f"did you mean {close[0]}?" if close else f"the settings are {', '.join(known)}."
        mistakes.append(f"{name} is not a setting; {hint}")
    return mistakes


def _tell(mistakes: list[str]) -> str:
    if len(mistakes) == 1:
        return f"The environment has a mistake: {mistakes[0]}"
    lines = "".join(f"\n  - {mistake}" for mistake in mistakes)
    return f"The environment has {len(mistakes)} mistakes:{lines}"
