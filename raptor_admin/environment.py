"""Read the ``RAPTOR_…`` environment variables once, and report all mistakes together."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, fields
from pathlib import Path
from typing import Any, TypeVar, cast

from django.core.exceptions import ImproperlyConfigured

from raptor_admin import alert_readers, readers
from raptor_admin.alert_readers import Server
from raptor_admin.readers import Mistake
from raptor_admin.secret_key import load_secret_key
from sessions_app.apps import DEFAULTS
from sessions_app.text import did_you_mean
from sessions_app.transactions.disk import reason

PREFIX = "RAPTOR_"
TEST_PREFIX = "RAPTOR_TEST_"
_T = TypeVar("_T")


@dataclass(frozen=True, kw_only=True)
class Variable:
    """A documented variable; the settings table of the README has one row for each.

    ``default`` is read like a value from the environment. It is empty if it depends on the machine;
    ``default_note`` then describes it.
    """

    name: str
    reader: Callable[[str, Path], Any]
    meaning: str
    default: str
    default_note: str = ""
    is_secret: bool = False

    @property
    def field_name(self) -> str:
        """The attribute of Environment that holds the value."""
        return self.name.removeprefix(PREFIX).lower()

    @property
    def documented_default(self) -> str:
        """The default as the README shows it."""
        return self.default_note or f"`{self.default}`"


def _variable(reader: Callable[[str, Path], _T], **options: Any) -> _T:
    """Declare a field of Environment, named after its variable, with the other attributes of Variable.

    Without ``default`` and ``default_note``, the default is that of the app, in ``sessions_app.apps``.
    """
    is_shown = not options.get("is_secret", False)
    return cast("_T", field(repr=is_shown, metadata={"reader": reader, **options}))


@dataclass(frozen=True, kw_only=True)
class Environment:
    """The validated settings. Secrets are left out of its representation."""

    var_dir: Path = _variable(  # noqa: RUF009  # it declares a field
        readers.read_directory,
        default="var",
        meaning="Folder of the database, the secret key, the static files and the browser profiles. A "
        "relative path starts at the project, or at `~/.raptor` if the package was installed with pip.",
    )
    bind: str = _variable(
        readers.read_bind,
        default="127.0.0.1:8000",
        meaning="Address and port that the web server listens on.",
    )
    database_url: str = _variable(
        readers.read_database_url,
        default_note="SQLite in `RAPTOR_VAR_DIR`",
        meaning="Database: `sqlite:///FILE` or `postgres://USER:PASSWORD@HOST:PORT/NAME`.",
        is_secret=True,
    )
    redis_url: str = _variable(
        readers.read_redis_url,
        default_note="none: the database carries the tasks",
        meaning="Redis that carries the tasks: `redis://HOST:PORT/NUMBER`.",
        is_secret=True,
    )
    machine: str = _variable(
        readers.read_machine,
        default_note="the host name",
        meaning="Name of this machine, unique among those that share the database. Set it in containers, "
        "whose host name changes with each start.",
    )
    secret_key: str = _variable(
        readers.read_secret_key,
        default_note="generated into `RAPTOR_VAR_DIR/secret-key`",
        meaning="Key that signs logins and tasks; the same on each machine.",
        is_secret=True,
    )
    admin_password: str = _variable(
        readers.read_text,
        default_note="generated and printed once",
        meaning="Password of the administrator `admin`; used by the first start only.",
        is_secret=True,
    )
    allowed_hosts: list[str] = _variable(  # noqa: RUF009
        readers.read_allowed_hosts,
        default="localhost,127.0.0.1,[::1]",
        meaning="Host names under which the panel may be reached, separated by commas.",
    )
    https: bool = _variable(
        readers.read_switch,
        default="off",
        meaning="`on` behind a proxy that speaks HTTPS and sets `X-Forwarded-Proto`: secure cookies, HSTS.",
    )
    trusted_origins: list[str] = _variable(  # noqa: RUF009
        readers.read_origins,
        default_note="none",
        meaning="Addresses that the browser shows, such as `https://panel.example:8443`, if the proxy does "
        "not pass on the host and the port; separated by commas.",
    )
    trusted_proxies: tuple[str, ...] = _variable(
        readers.read_networks,
        default_note="none",
        meaning="Addresses and networks of proxies, separated by commas. `X-Forwarded-For`, which names the "
        "client that wrong logins lock out, is read from these only.",
    )
    url_prefix: str = _variable(
        readers.read_url_prefix,
        default_note="none",
        meaning="Path under which a proxy serves the panel, such as `/raptor`. It must not begin with "
        "`/admin`, `/static`, `/healthz`, `/readyz` or `/metrics`.",
    )
    metrics_token: str = _variable(
        alert_readers.read_token,
        default_note="none: `/metrics` answers 404",
        meaning="Token of at least 16 characters that `/metrics` requires, as `Authorization: Bearer TOKEN`. "
        "`/readyz` shows its reasons to callers who send it.",
        is_secret=True,
    )
    public_url: str = _variable(
        alert_readers.read_public_url,
        default_note="none: links in alerts are paths",
        meaning="Address at which users open the panel, such as `https://panel.example/raptor`, for links in "
        "alerts.",
    )
    webhook_allowed_hosts: tuple[str, ...] = _variable(
        alert_readers.read_webhook_allowed_hosts,
        default_note="none: no webhook is sent",
        meaning="Hosts and networks to which alerts may be sent as webhooks and pings, separated by commas.",
    )
    smtp_url: Server = _variable(  # noqa: RUF009
        alert_readers.read_smtp_url,
        default="smtp://localhost:25",
        meaning="Mail server of the alerts: `smtp://HOST:PORT`, `smtp+tls://USER:PASSWORD@HOST:PORT` "
        "(STARTTLS) or `smtps://…`. Percent-encode special characters of the password.",
        is_secret=True,
    )
    email_from: str = _variable(
        alert_readers.read_email,
        default="raptor-admin@localhost",
        meaning="Sender of the alerts by e-mail.",
    )
    debug: bool = _variable(
        readers.read_switch,
        default="off",
        meaning="Django's debug pages; for development only.",
    )
    time_zone: str = _variable(
        readers.read_time_zone,
        default_note="the machine's, otherwise `UTC`",
        meaning="Time zone of the screens, and of times in documents without a zone.",
    )
    namespace: str = _variable(
        readers.read_namespace,
        meaning="Namespace that is used if none is given.",
    )
    max_age_days: float = _variable(
        readers.read_days_above_zero,
        meaning="Age in days after which a session is expired; may have a fraction.",
    )
    archive_days: float = _variable(
        readers.read_days,
        meaning="Days for which removed sessions stay in the archive; `0`: no archive, and no undo.",
    )
    cdp_allowed_hosts: tuple[str, ...] = _variable(
        readers.read_cdp_allowed_hosts,
        meaning="Hosts and networks on which browsers may be contacted, separated by commas.",
    )
    max_document_bytes: int = _variable(
        readers.read_byte_count,
        meaning="Largest session document that is read, in bytes.",
    )
    settle_seconds: float = _variable(
        readers.read_seconds,
        meaning="Time for which a file must not change before the schedule reads or removes it, in seconds; "
        "may have a fraction. `0` disables the wait.",
    )
    probe_seconds: float = _variable(
        readers.read_seconds,
        meaning="Interval at which the worker probes the browsers of sessions, in seconds. `0` disables the "
        "probes.",
    )
    chromium: str = _variable(
        readers.read_executable,
        default_note="Playwright's, or the system's",
        meaning="Path of the Chromium that is started to save and restore sessions.",
    )


def _declared(name: str, options: Mapping[str, Any]) -> Variable:
    has_default = "default" in options or "default_note" in options
    default = "" if has_default else _written(DEFAULTS[name])
    return Variable(**{"name": name, "default": default, **options})


def _written(default: Any) -> str:
    """Return a default of the app as it is written in the environment."""
    if isinstance(default, tuple):
        return ",".join(default)
    return f"{default:g}" if isinstance(default, float) else str(default)


VARIABLES = tuple(_declared(PREFIX + item.name.upper(), item.metadata) for item in fields(Environment))


def read_environment(environ: Mapping[str, str], *, project_dir: Path, knows_all: bool = True) -> Environment:
    """Read and check all variables; create the data folder and the secret key if they are missing.

    A blank value counts as not given.

    Args:
        knows_all: Treat an unknown variable with the panel's prefix as a mistake.
    Raises: ImproperlyConfigured: lists every mistake, without secrets.
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
        raise ImproperlyConfigured(_report(mistakes))
    return Environment(**values)


def _fill_from_var_dir(values: dict[str, Any]) -> None:
    var_dir: Path = values["var_dir"]
    try:
        var_dir.mkdir(mode=0o700, parents=True, exist_ok=True)
    except OSError as error:
        raise Mistake(f"RAPTOR_VAR_DIR: cannot create the folder {var_dir} ({reason(error)}).") from error
    values["database_url"] = values["database_url"] or f"sqlite:///{var_dir / 'raptor.sqlite3'}"
    values["secret_key"] = values["secret_key"] or load_secret_key(var_dir / "secret-key")


def _find_unknown(environ: Mapping[str, str]) -> list[str]:
    known = [variable.name for variable in VARIABLES]
    every = f"The settings are {', '.join(known)}."
    return [
        f"{name} is not a setting. {did_you_mean(name, known, limit=1) or every}"
        for name in sorted(environ)
        if name.startswith(PREFIX) and not name.startswith(TEST_PREFIX) and name not in known
    ]


def _report(mistakes: list[str]) -> str:
    if len(mistakes) == 1:
        return f"The environment has a mistake: {mistakes[0]}"
    lines = "".join(f"\n  - {mistake}" for mistake in mistakes)
    return f"The environment has {len(mistakes)} mistakes:{lines}"
