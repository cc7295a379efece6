"""A browser without JavaScript, which also reads error pages."""

from __future__ import annotations

import http.cookiejar
import re
import ssl
import urllib.error
import urllib.parse
import urllib.request
from html import unescape

USERNAME = "admin"
PASSWORD = "correct horse battery staple"
_HIDDEN_FIELD = re.compile(r'<input type="hidden" name="(\w+)" value="([^"]*)"')


class Visitor:
    """A browser that keeps cookies, follows redirects and accepts any certificate."""

    def __init__(self, origin: str) -> None:
        self.origin = origin
        context = ssl.create_default_context()
        context.check_hostname = False
        context.verify_mode = ssl.CERT_NONE
        jar = urllib.request.HTTPCookieProcessor(http.cookiejar.CookieJar())
        self._opener = urllib.request.build_opener(jar, urllib.request.HTTPSHandler(context=context))

    def get(self, path: str, data: dict[str, str] | None = None, **headers: str) -> tuple[int, str, str]:
        """Return the status, the final URL and the content."""
        body = None if data is None else urllib.parse.urlencode(data).encode()
        extra = {"Origin": self.origin, "Referer": f"{self.origin}{path}"} if data else {}
        request = urllib.request.Request(self.origin + path, body, {**extra, **headers})
        try:
            with self._opener.open(request, timeout=60) as response:
                return response.status, response.url, response.read().decode()
        except urllib.error.HTTPError as error:
            return error.code, error.url or "", error.read().decode()

    def submit(self, path: str, data: dict[str, str], **headers: str) -> tuple[int, str, str]:
        """Open a page, and send its form with its hidden fields."""
        html = self.get(path)[2]
        hidden = {name: unescape(value) for name, value in _HIDDEN_FIELD.findall(html)}
        assert hidden, html
        return self.get(path, {**hidden, **data}, **headers)

    def log_in(
        self, path: str = "/admin/login/", password: str = PASSWORD, **headers: str
    ) -> tuple[int, str, str]:
        return self.submit(path, {"username": USERNAME, "password": password}, **headers)
