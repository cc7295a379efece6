"""Every URL of the panel, made from its URL configuration and from the rows in the database."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any, NamedTuple

from django.apps import apps
from django.db.models import Model
from django.urls import URLPattern, URLResolver, get_resolver

# The models of the ids in URLs; a new name must be added here.
_MODELS = {
    "run_id": "sessions_app.CleanupRun",
    "directory_id": "sessions_app.SessionDirectory",
    "policy_id": "sessions_app.CleanupPolicy",
    "target_id": "sessions_app.AlertTarget",
    "id": "auth.User",
}
# "number" is the position of a tab in a browser.
_TEXTS = {"content_type_id": ["1"], "url": ["nowhere/"], "number": ["1", "987654"]}
_CONVERTER = re.compile(r"<(?:\w+:)?(\w+)>|\(\?P<(\w+)>[^)]*\)")


class Address(NamedTuple):
    """A URL and its pattern; ``pattern`` identifies patterns that have no name."""

    pattern: str
    url: str


def patterns(resolver: URLResolver | None = None, prefix: str = "/") -> Iterator[tuple[str, URLPattern]]:
    """Yield every pattern with its whole route."""
    for item in (resolver or get_resolver()).url_patterns:
        route = prefix + str(item.pattern)
        if isinstance(item, URLResolver):
            yield from patterns(item, route)
        else:
            yield route, item


def addresses(*, all_objects: bool = True) -> Iterator[Address]:
    """Yield the URLs of every pattern: one for each object that its ids can name, and one that is missing.

    Args:
        all_objects: Otherwise only the first object of each model.
    """
    for route, _ in patterns():
        for url in _urls(route, all_objects=all_objects):
            yield Address(route, url)


def _urls(route: str, *, all_objects: bool) -> list[str]:
    urls = [route]
    for match in _CONVERTER.finditer(route):
        name = match[1] or match[2]
        values = _values(route, name, match[0])
        values = values if all_objects else values[:1]
        urls = [url.replace(match[0], value) for url in urls for value in values]
    return [url.replace("^", "").replace("$", "") for url in urls]


def _values(route: str, name: str, converter: str) -> list[str]:
    if name == "app_label":
        return converter.partition(">")[2].strip("()").split("|")
    if name in _TEXTS:
        return _TEXTS[name]
    model: Any = apps.get_model(_MODELS[name]) if name in _MODELS else _model_of(route)
    keys = [str(key) for key in model._default_manager.order_by("pk").values_list("pk", flat=True)[:40]]
    return [*keys, "987654"]


def _model_of(route: str) -> type[Model]:
    """Return the model of a screen of the admin, from the route; for other routes any model."""
    parts = route.strip("/").split("/")
    if len(parts) > 2 and parts[1] != "r":
        return apps.get_model(parts[1], parts[2])
    return apps.get_model("sessions_app.BrowserSession")
