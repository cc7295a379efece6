"""Recognizes names whose values are secret: credentials, and endpoints of browsers."""

from __future__ import annotations

import re
import unicodedata
from functools import lru_cache
from typing import NamedTuple

LONGEST_NAME = 200
"""Longer names count as credentials: their values are masked."""

_CAMEL = re.compile(r"(?<=[a-z0-9])(?=[A-Z])")
_WORD = re.compile(r"[a-z0-9]+")
# Parts of a name without separators: "accessToken" and "ACCESS_TOKEN" both contain "token".
_CREDENTIAL = re.compile(
    "password|passwd|passphrase|passcode|token|cookie|secret|credential|authori[sz]|bearer|apikey|privatekey"
    "|accesskey|signingkey|storagestate|localstorage|sessionstorage|header|sessid|signature|pswd|pass$"
)
# Too short to be searched within other words.
_CREDENTIAL_WORDS = frozenset(
    {"auth", "creds", "csrf", "jsessionid", "jwt", "oauth", "otp", "pass", "pw", "pwd", "sid", "sig", "xsrf"}
)
_KEYS = frozenset(
    {"anthropic", "auth", "aws", "client", "encryption", "license", "master", "openai", "service", "session"}
    | {"shared", "ssh", "stripe"}
)
_ENDPOINT = re.compile(
    "(?:cdp|ws|websocket|debugger|debug|debugging|devtools|devtoolsfrontend|browser|connect|connection|endpoint"
    "|remote)(?:url|uri|address)|(?:cdp|ws|websocket|debugger|devtools)path|websocketdebugger|endpoints?$"
    "|cdp$|websocket$|^wss?$"
)


class Kind(NamedTuple):
    """Whether the values of a name are credentials, such as passwords, or addresses of browsers."""

    is_credential: bool
    is_endpoint: bool


def kind_of(name: str) -> Kind:
    """Return what kind of value a name has."""
    return _kind(name if len(name) <= LONGEST_NAME else name[: LONGEST_NAME + 1])


def is_credential_name(name: str) -> bool:
    """Check whether the value of a name is a credential, such as a password, a token or a cookie."""
    return kind_of(name).is_credential


def is_endpoint_name(name: str) -> bool:
    """Check whether the value of a name is the address of a browser, as of ``wsEndpoint``."""
    return kind_of(name).is_endpoint


@lru_cache(4096)
def _kind(name: str) -> Kind:
    if len(name) > LONGEST_NAME:
        return Kind(True, False)
    if not name.isascii():
        name = unicodedata.normalize("NFKC", name)
    words = _WORD.findall(_CAMEL.sub(" ", name).lower())
    joined = "".join(words)
    return Kind(_is_credential(words, joined), _ENDPOINT.search(joined) is not None)


def _is_credential(words: list[str], joined: str) -> bool:
    if _CREDENTIAL.search(joined) or not _CREDENTIAL_WORDS.isdisjoint(words):
        return True
    return words[-1:] == ["key"] and (len(words) == 1 or words[-2] in _KEYS)
