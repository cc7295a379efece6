"""Reads endpoints as people write them: with tokens, passwords, prefixes, and ids of browsers or pages."""

from __future__ import annotations

import re
from base64 import b64encode
from dataclasses import dataclass, field, replace
from typing import Self
from urllib.parse import quote, unquote, urlsplit

from sessions_app.session.endpoint import Endpoint

DEFAULT_PORTS = {"http": 80, "ws": 80, "https": 443, "wss": 443}
_SOCKET_SCHEMES = {"http": "ws", "ws": "ws", "https": "wss", "wss": "wss"}
_DEVTOOLS_PATH = re.compile(r"(?P<prefix>.*)/devtools/(?P<kind>browser|page)/(?P<id>[^/]+)")
# People copy the address at which a browser describes itself.
_DESCRIPTION = re.compile(r"/json(/version|/list)?$")
# Everything that an address may contain unescaped, and the percent sign of what is escaped already.
_KEPT = "/%:@!$&'()*+,;=~-._?"


def escaped(part: str) -> str:
    """Return the path or the query of an address as it is sent."""
    return quote(part, safe=_KEPT)


class InvalidAddress(ValueError):
    """A text is not the address of a browser. The message gives the reason and holds no secret."""


@dataclass(frozen=True)
class Address:
    """The parts of an endpoint. Only ``place`` may be shown.

    Args:
        host: Name or address, in lower case, as it was written.
        ips: Addresses to connect to. They are checked, and connections go nowhere else.
        sent_host: Host that requests name; see ``routes``.
        path: Without a slash at its end.
        user: User and password as they were written, percent-encoded.
    """

    scheme: str
    host: str
    port: int
    ips: tuple[str, ...] = ()
    path: str = field(default="", repr=False)
    query: str = field(default="", repr=False)
    user: str = field(default="", repr=False)
    sent_host: str = ""

    @classmethod
    def parse(cls, cdp_url: str) -> Self:
        """Parse an endpoint, without resolving its host.

        Raises: InvalidAddress: it is not an http or ws address, or its port is impossible.
        """
        endpoint = Endpoint.parse(cdp_url)
        if endpoint.scheme not in DEFAULT_PORTS or not endpoint.host:
            raise InvalidAddress("its endpoint is not an http or ws address")
        if endpoint.port == 0:
            raise InvalidAddress("nothing can listen on its port 0")
        if "%" in endpoint.host:
            raise InvalidAddress("its host has a zone or is percent-encoded")
        parts = urlsplit(cdp_url.strip())
        user = parts.netloc.rpartition("@")[0]
        try:
            path, query = escaped(parts.path.rstrip("/")), escaped(parts.query)
            f"{user}{endpoint.host}".encode()
        except UnicodeEncodeError:
            raise InvalidAddress("its endpoint has characters that cannot be sent") from None
        port = endpoint.port or DEFAULT_PORTS[endpoint.scheme]
        return cls(endpoint.scheme, endpoint.host, port, path=path, query=query, user=user)

    @property
    def place(self) -> str:
        """Host and port; these may be shown."""
        return str(Endpoint(self.scheme, self.host, self.port))

    @property
    def is_secure(self) -> bool:
        return self.scheme in ("https", "wss")

    def routes(self, ip: str) -> list[Self]:
        """Return the ways to ask at one of the addresses.

        Chromium refuses requests that name a host other than an address or localhost. Gateways may need the
        name, and so do certificates.
        """
        port = None if self.port == DEFAULT_PORTS[self.scheme] else self.port
        hosts = (self.host,) if self.is_secure else dict.fromkeys((ip, self.host))
        return [replace(self, ips=(ip,), sent_host=str(Endpoint("", host, port))) for host in hosts]

    @property
    def prefix(self) -> str:
        """Path under which a gateway serves a browser; blank for a browser itself."""
        found = _DEVTOOLS_PATH.fullmatch(self.path)
        return found["prefix"] if found else _DESCRIPTION.sub("", self.path)

    @property
    def browser_id(self) -> str:
        """Id that a browser creates at each start; blank if the endpoint has none. It is a secret."""
        return self._id("browser")

    @property
    def page_id(self) -> str:
        """Target of a page; blank if the endpoint is not the address of a page."""
        return self._id("page")

    def _id(self, kind: str) -> str:
        found = _DEVTOOLS_PATH.fullmatch(self.path)
        return found["id"] if found and found["kind"] == kind else ""

    @property
    def socket_url(self) -> str:
        """Address of the web socket, with all of its secrets."""
        user = f"{self.user}@" if self.user else ""
        query = f"?{self.query}" if self.query else ""
        return f"{_SOCKET_SCHEMES[self.scheme]}://{user}{self.place}{self.path}{query}"

    @property
    def authorization(self) -> str:
        """Value of the header for user and password; blank without them."""
        if not self.user:
            return ""
        user, _, password = self.user.partition(":")
        return f"Basic {b64encode(f'{unquote(user)}:{unquote(password)}'.encode()).decode()}"

    def request_path(self, path: str) -> str:
        """Return a path with the query of the endpoint, which may hold a token."""
        return f"{path or '/'}?{self.query}" if self.query else path or "/"

    def question(self, path: str) -> str:
        """Return the request path of what a browser serves over HTTP, such as ``/json/version``."""
        return self.request_path(f"{self.prefix}{path}")

    def at_browser(self, reported: str) -> Self:
        """Return the address of the web socket that a browser reports.

        Only its path counts: behind a gateway a browser does not know its own host, and it may report a
        its own network. A gateway that serves several browsers adds its prefix to the path, or the
        browser has not seen the prefix.

        Raises: ValueError: the browser has not reported an address.
        """
        path = escaped(urlsplit(reported).path.rstrip("/"))
        if path and not path.startswith("/"):
            raise ValueError(f"{reported!r:.80} has no absolute path")
        is_prefixed = path == self.prefix or path.startswith(f"{self.prefix}/")
        return replace(self, path=path if is_prefixed else f"{self.prefix}{path}")
