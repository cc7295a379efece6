"""Turn the text of an environment variable into a value, or report what is wrong with it."""

import ipaddress
import math
import os
import re
import socket
import zoneinfo
from pathlib import Path
from urllib.parse import urlsplit

import dj_database_url

from raptor_admin.paths import OWN_PATHS
from sessions_app.session.criteria import MAX_AGE_LIMIT_DAYS

HOST_NAME = re.compile(r"(?!-)[a-z0-9_-]{1,63}(?<!-)(\.(?!-)[a-z0-9_-]{1,63}(?<!-))*\.?", re.IGNORECASE)
SECRET_KEY_LENGTH = 32
MACHINE_LENGTH = 64
NAMESPACE_LENGTH = 100
ON = ("on", "true", "yes", "1")
OFF = ("off", "false", "no", "0")
SQLITE = "django.db.backends.sqlite3"
POSTGRESQL = "django.db.backends.postgresql"


class Mistake(ValueError):
    """Describes what a value must be, as the end of a sentence that does not contain the value."""


def read_text(text: str, project_dir: Path) -> str:
    """Return the text unchanged."""
    return text


def read_switch(text: str, project_dir: Path) -> bool:
    """Read on or off."""
    if text.lower() not in ON + OFF:
        raise Mistake("must be on or off.")
    return text.lower() in ON


def read_directory(text: str, project_dir: Path) -> Path:
    """Read the path of a folder, which need not exist."""
    path = project_dir / Path(text).expanduser()
    if path.exists() and not path.is_dir():
        raise Mistake("must be the path of a folder.")
    return Path(os.path.abspath(path))


def read_executable(text: str, project_dir: Path) -> str:
    """Read the path of a program; "" if none is given."""
    if not text:
        return ""
    path = project_dir / Path(text).expanduser()
    if not path.is_file() or not os.access(path, os.X_OK):
        raise Mistake("must be the path of a program that can be run.")
    return str(path)


def read_bind(text: str, project_dir: Path) -> str:
    """Read HOST:PORT; an IPv6 host is in brackets."""
    host, separator, port = text.rpartition(":")
    try:
        is_host = _is_bracketed_address(host) or HOST_NAME.fullmatch(host)
        if separator and is_host and port.isascii() and 1 <= int(port) <= 65535:
            return text
    except ValueError:
        pass
    raise Mistake("must be HOST:PORT with a port from 1 to 65535, for example 127.0.0.1:8000 or [::1]:8000.")


def read_database_url(text: str, project_dir: Path) -> str:
    """Read the URL of a database; "" if none is given."""
    if not text:
        return ""
    mistake = Mistake("must be sqlite:///FILE or postgres://USER:PASSWORD@HOST:PORT/NAME.")
    try:
        config = dj_database_url.parse(text)
    except ValueError:  # its message may contain the password
        raise mistake from None
    if config["ENGINE"] not in (SQLITE, POSTGRESQL) or not config["NAME"]:
        raise mistake
    if config["NAME"] == ":memory:":
        raise Mistake("must name a file: web and worker cannot share a database in memory.")
    return text


def read_redis_url(text: str, project_dir: Path) -> str:
    """Read the URL of a Redis server; "" if none is given."""
    if text and urlsplit(text).scheme not in ("redis", "rediss", "unix"):
        raise Mistake("must be redis://HOST:PORT/NUMBER, rediss://… or unix://….")
    return text


def read_secret_key(text: str, project_dir: Path) -> str:
    """Read a secret key; "" if none is given."""
    if text and len(text) < SECRET_KEY_LENGTH:
        raise Mistake(f"must have at least {SECRET_KEY_LENGTH} characters.")
    return text


def read_allowed_hosts(text: str, project_dir: Path) -> list[str]:
    """Read host names as in Django's ALLOWED_HOSTS."""
    hosts = _split(text)
    for host in hosts:
        is_name = host == "*" or HOST_NAME.fullmatch(host.removeprefix("."))
        if not is_name and not _is_bracketed_address(host):
            raise Mistake(f"{host!r} in it is not a host name; write it without scheme and port.")
    return hosts


def read_cdp_allowed_hosts(text: str, project_dir: Path) -> tuple[str, ...]:
    """Read host names, addresses and networks."""
    hosts = tuple(host.lower() for host in _split(text))
    for host in hosts:
        if not _is_network(host) and (not HOST_NAME.fullmatch(host) or _looks_numeric(host)):
            raise Mistake(
                f"{host!r} in it is neither a host name, an address nor a network;"
                " write for example localhost,10.1.2.3,192.168.7.0/24,::1."
            )
    return hosts


def read_origins(text: str, project_dir: Path) -> list[str]:
    """Read origins: scheme, host and port; none if none is given."""
    origins = [part.strip().rstrip("/").lower() for part in text.split(",") if part.strip()]
    for origin in origins:
        scheme, separator, rest = origin.partition("://")
        host, colon, port = rest.rpartition(":") if re.search(r":[0-9]+$", rest) else (rest, "", "")
        is_host = _is_bracketed_address(host) or HOST_NAME.fullmatch(host.removeprefix("*."))
        if scheme not in ("http", "https") or not separator or not is_host or (colon and int(port) > 65535):
            raise Mistake(
                f"{origin!r} in it is not an origin; write scheme, host and port, such as "
                "https://panel.example:8443."
            )
    return origins


def read_networks(text: str, project_dir: Path) -> tuple[str, ...]:
    """Read addresses and networks; none if none is given."""
    networks = tuple(part.strip() for part in text.split(",") if part.strip())
    for network in networks:
        if not _is_network(network):
            raise Mistake(
                f"{network!r} in it is neither an address nor a network; write for example "
                "127.0.0.1,10.0.0.0/8,::1."
            )
    return networks


def read_url_prefix(text: str, project_dir: Path) -> str:
    """Read a path, with a slash before and none after it; blank if none is given."""
    path = text.strip("/")
    if path and not re.fullmatch(r"[A-Za-z0-9._~-]+(/[A-Za-z0-9._~-]+)*", path):
        raise Mistake("must be a path such as /raptor.")
    if {".", ".."} & set(path.split("/")):
        raise Mistake("must be a path without . and .. such as /raptor.")
    # Below such a prefix, paths with it would look like paths without it.
    if path.partition("/")[0] in OWN_PATHS:
        raise Mistake(
            f"must not begin with /{path.partition('/')[0]}, because the panel has pages there; "
            "write a path such as /raptor."
        )
    return f"/{path}" if path else ""


def read_time_zone(text: str, project_dir: Path) -> str:
    """Read the name of a time zone; if none is given, find the machine's."""
    if not text:
        return find_machine_time_zone(os.environ.get("TZ", ""), Path("/etc/localtime"))
    if not _is_time_zone(text):
        raise Mistake("must be the name of a time zone, for example Europe/Berlin or UTC.")
    return text


def find_machine_time_zone(tz: str, localtime: Path) -> str:
    """Return the machine's time zone: from TZ, then from the target of /etc/localtime, otherwise UTC.

    RAPTOR writes naive local times into its documents, so a default of UTC would be hours off.
    """
    for candidate in (tz.removeprefix(":"), os.path.realpath(localtime)):
        name = candidate.rpartition("/zoneinfo/")[2]
        if name and _is_time_zone(name):
            return name
    return "UTC"


def read_machine(text: str, project_dir: Path) -> str:
    """Read the name of a machine; the host name if none is given."""
    if not text:
        return re.sub(r"[^A-Za-z0-9._-]", "-", socket.gethostname())[:MACHINE_LENGTH] or "localhost"
    if len(text) > MACHINE_LENGTH or not re.fullmatch(r"[A-Za-z0-9._-]+", text):
        raise Mistake(f"must have at most {MACHINE_LENGTH} letters, digits, dots, hyphens and underscores.")
    return text


def read_namespace(text: str, project_dir: Path) -> str:
    """Read the name of a namespace."""
    if len(text) > NAMESPACE_LENGTH or not text.isprintable():
        raise Mistake(f"must have at most {NAMESPACE_LENGTH} printable characters.")
    return text


def read_days(text: str, project_dir: Path) -> float:
    """Read a number of days, zero included."""
    try:
        days = float(text)
    except ValueError:
        days = math.nan
    if not 0 <= days <= MAX_AGE_LIMIT_DAYS:
        raise Mistake(f"must be a number of days from 0 to {MAX_AGE_LIMIT_DAYS}.")
    return days


def read_days_above_zero(text: str, project_dir: Path) -> float:
    """Read a number of days; zero would make everything expired."""
    try:
        days = read_days(text, project_dir)
    except Mistake:
        days = 0
    if days == 0:
        raise Mistake(
            f"must be a number of days above 0 and up to {MAX_AGE_LIMIT_DAYS}, for example 7 or 0.5."
        )
    return days


def read_seconds(text: str, project_dir: Path) -> float:
    """Read a number of seconds, zero included; over an hour, nothing would ever seem to settle."""
    try:
        seconds = float(text)
    except ValueError:
        seconds = math.nan
    if not 0 <= seconds <= 3600:
        raise Mistake("must be a number of seconds from 0 to 3600.")
    return seconds


def read_byte_count(text: str, project_dir: Path) -> int:
    """Read a number of bytes."""
    if not re.fullmatch(r"[0-9]{1,12}", text) or int(text) == 0:
        raise Mistake("must be a number of bytes above 0, for example 5242880.")
    return int(text)


def _split(text: str) -> list[str]:
    parts = [part.strip() for part in text.split(",") if part.strip()]
    if not parts:
        raise Mistake("must name at least one host.")
    return parts


def _is_bracketed_address(host: str) -> bool:
    try:
        return host[:1] + host[-1:] == "[]" and ipaddress.ip_address(host[1:-1]).version == 6
    except ValueError:
        return False


def _is_network(text: str) -> bool:
    try:
        ipaddress.ip_network(text)
    except ValueError:
        return False
    return True


def _looks_numeric(host: str) -> bool:
    # 127.1, 2130706433 and 0x7f.1 are notations of an address, not names.
    return re.fullmatch(r"[0-9]+|0x[0-9a-f]*", host.rstrip(".").rpartition(".")[2]) is not None


def _is_time_zone(name: str) -> bool:
    try:
        zoneinfo.ZoneInfo(name)
    except (zoneinfo.ZoneInfoNotFoundError, ValueError, OSError):
        return False
    return True
