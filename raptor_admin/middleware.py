"""Checks of every request, and headers of every response."""

from collections.abc import Callable

from django.core.exceptions import BadRequest
from django.http import HttpRequest, HttpResponse
from django.http.response import HttpResponseBase
from django.middleware.gzip import GZipMiddleware
from django.urls import reverse

from raptor_admin.errors import DiskFullResponse, disk_full_page
from sessions_app.transactions.reserve import make_room

POLICY = "default-src 'self'; object-src 'none'; base-uri 'self'; form-action 'self'; frame-ancestors 'none'"

_REQUEST_STATE = ("user", "_cached_user", "session", "_messages", "resolver_match", "csrf_processing_done")
"""Attributes that the first attempt sets on a request and the second attempt must set again."""


HEADERS = {
    # Only content from the panel itself; inline scripts and styles are forbidden too.
    "Content-Security-Policy": POLICY,
    "Permissions-Policy": "camera=(), display-capture=(), geolocation=(), microphone=(), payment=(), usb=()",
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Referrer-Policy": "same-origin",
    "X-Content-Type-Options": "nosniff",
    "X-Frame-Options": "DENY",
    # Pages show sessions, so no browser and no proxy keeps them. Static files bring their own value.
    "Cache-Control": "no-store",
}


class HeadersMiddleware:
    """Adds the headers of security to every answer, redirects and errors included."""

    def __init__(self, get_response: Callable[[HttpRequest], HttpResponse]) -> None:
        self.get_response = get_response

    def __call__(self, request: HttpRequest) -> HttpResponse:
        """Add each header unless the view has set its own."""
        response = self.get_response(request)
        for name, value in HEADERS.items():
            response.headers.setdefault(name, value)
        return response


class CompressionMiddleware(GZipMiddleware):
    """Compresses responses to GET requests. They contain no secret that a BREACH attack could guess.

    Endpoints and generated passwords are shown only in responses to POST requests, which another site cannot
    send. Django masks the CSRF token differently in each response and adds up to 100 random bytes.
    """

    def process_response(self, request: HttpRequest, response: HttpResponseBase) -> HttpResponseBase:
        """Compress the response if that is safe and if the client accepts it."""
        if request.method not in ("GET", "HEAD"):
            return response
        compressed: HttpResponseBase = super().process_response(request, response)
        return compressed


class NulRefusingMiddleware:
    """Refuse URLs and cookies with a NUL character, which PostgreSQL cannot store."""

    def __init__(self, get_response: Callable[[HttpRequest], HttpResponse]) -> None:
        self.get_response = get_response

    def __call__(self, request: HttpRequest) -> HttpResponse:
        """Raise BadRequest if the path, the query or a cookie contains a NUL."""
        if "%00" in request.META.get("QUERY_STRING", "") or "\0" in request.path:
            raise BadRequest("The address contains a NUL character.")
        if any("\0" in text for cookie in request.COOKIES.items() for text in cookie):
            raise BadRequest("A cookie contains a NUL character.")
        return self.get_response(request)


class DiskFullMiddleware:
    """Makes room on a full disk, and shows a page of the panel if that fails.

    Reading, logging in and logging out are safe to repeat, so they are repeated when there is room. Other
    requests may have done part of their work, so the user decides whether to repeat them.
    """

    def __init__(self, get_response: Callable[[HttpRequest], HttpResponse]) -> None:
        self.get_response = get_response

    def __call__(self, request: HttpRequest) -> HttpResponse:
        """Repeat the request once if the disk was full and there is room now."""
        response = self.get_response(request)
        if isinstance(response, DiskFullResponse) and make_room() and _is_repeatable(request):
            for name in _REQUEST_STATE:
                request.__dict__.pop(name, None)
            response = self.get_response(request)
        return response

    def process_exception(self, request: HttpRequest, exception: Exception) -> HttpResponse | None:
        """Return the page for an error of a view; ``server_error`` handles errors of middlewares."""
        return disk_full_page(request, exception)


def _is_repeatable(request: HttpRequest) -> bool:
    is_reading = request.method in ("GET", "HEAD", "OPTIONS")
    return is_reading or request.path in (reverse("admin:login"), reverse("admin:logout"))
