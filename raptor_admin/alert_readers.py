"""Parse the environment variables for metrics and alerts. See ``readers`` for the others."""

import re
from pathlib import Path
from typing import NamedTuple
from urllib.parse import unquote, urlsplit

from raptor_admin.readers import Mistake, read_cdp_allowed_hosts

TOKEN_LENGTH = 16
_SMTP_PORTS = {"smtp": 25, "smtp+tls": 587, "smtps": 465}


def read_token(text: str, project_dir: Path) -> str:
    """Parse a token that callers must send; blank if none is set."""
    if text and (len(text) < TOKEN_LENGTH or not text.isascii() or not text.isprintable() or " " in text):
        raise Mistake(
            f"must have at least {TOKEN_LENGTH} characters: letters, digits and punctuation, without spaces."
        )
    return text


def read_webhook_allowed_hosts(text: str, project_dir: Path) -> tuple[str, ...]:
    """Parse host names, addresses and networks; an empty list if none is set."""
    return read_cdp_allowed_hosts(text, project_dir) if text else ()


class Server(NamedTuple):
    """The parts of a mail server's URL."""

    scheme: str
    host: str
    port: int
    user: str
    password: str


def read_smtp_url(text: str, project_dir: Path) -> Server:
    """Parse the URL of a mail server."""
    mistake = Mistake("must be smtp://HOST:PORT, smtp+tls://USER:PASSWORD@HOST:PORT or smtps://….")
    try:
        parts = urlsplit(text)
        host, port = parts.hostname or "", parts.port or _SMTP_PORTS[parts.scheme]
    except (ValueError, KeyError):
        raise mistake from None
    if not host or parts.path.strip("/"):
        raise mistake
    return Server(parts.scheme, host, port, unquote(parts.username or ""), unquote(parts.password or ""))


def read_email(text: str, project_dir: Path) -> str:
    """Parse an e-mail address."""
    if not re.fullmatch(r"[^\s@<>,]+@[^\s@<>,]+", text):
        raise Mistake("must be an e-mail address, such as raptor@example.org.")
    return text


def read_public_url(text: str, project_dir: Path) -> str:
    """Parse an http or https address and remove a trailing slash; blank if none is set."""
    try:
        parts = urlsplit(text)
        is_address = parts.scheme in ("http", "https") and parts.hostname and not parts.query + parts.fragment
        is_address = is_address and "@" not in parts.netloc and (parts.port or 1) > 0
    except ValueError:
        is_address = False
    if text and not is_address:
        raise Mistake("must be an http or https address, such as https://panel.example.")
    return text.rstrip("/")
