"""The menu and the breadcrumbs, which are the same on every page.

The menu follows the order of the work. A registered screen without an entry here appears under Settings.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any
from urllib.parse import urlencode

from django.contrib import admin
from django.contrib.admin.templatetags.admin_urls import add_preserved_filters
from django.http import HttpRequest
from django.urls import reverse
from django.utils.functional import SimpleLazyObject

from sessions_app.access.permissions import may_plan
from sessions_app.models import ArchivedSession, BrowserSession, CleanupPolicy, CleanupRun


@dataclass(frozen=True)
class Screen:
    """A screen with an entry in the menu.

    Args:
        model: Label of the model of a list; blank for other pages.
        url_name: Name of the URL; by default the list of the model.
        shortcut: Key that opens the screen when it is pressed after ``g``.
    """

    title: str
    model: str = ""
    url_name: str = ""
    shortcut: str = ""


WORK = (
    Screen("Dashboard", url_name="index", shortcut="d"),
    Screen("Sessions", "sessions_app.browsersession", shortcut="s"),
    Screen("Clean up", url_name="sessions_app_cleanuprun_new", shortcut="c"),
    Screen("Runs", "sessions_app.cleanuprun", shortcut="r"),
    Screen("Archive", "sessions_app.archivedsession", shortcut="a"),
    Screen("Policies", "sessions_app.cleanuppolicy", shortcut="p"),
    Screen("Storage", url_name="sessions_app_storage", shortcut="t"),
    Screen("Directories", "sessions_app.sessiondirectory", shortcut="f"),
)
SETTINGS = (
    Screen("Namespaces", "sessions_app.limitednamespace", shortcut="n"),
    Screen("Users", "auth.user", shortcut="u"),
    Screen("Groups", "auth.group"),
    Screen("Alerts", "sessions_app.alert", shortcut="l"),
    Screen("Alert rules", "sessions_app.alertrule"),
    Screen("Alert targets", "sessions_app.alerttarget"),
    Screen("Alert deliveries", "sessions_app.alertdelivery"),
    Screen("Policy changes", "sessions_app.policychange"),
    Screen("Queue", "sessions_app.queuedtask", shortcut="q"),
)
OBJECT_PAGES = {"auth_user_password_change": "Password", "history": "History", "delete": "Delete"}
"""Titles of pages about one object, by the name of the URL or its last word."""
TITLES = {screen.model: screen.title for screen in (*WORK, *SETTINGS) if screen.model}


@dataclass
class Entry:
    """A link in the menu."""

    title: str
    url: str
    shortcut: str = ""
    is_current: bool = False


@dataclass
class Group:
    """A group of links with a heading."""

    title: str
    entries: list[Entry]


def frame(request: HttpRequest) -> dict[str, Any]:
    """Return the menu. A context processor, so that error pages have the menu, too."""
    return {
        "has_permission": SimpleLazyObject(lambda: _is_staff(request)),
        "navigation": SimpleLazyObject(lambda: build_menu(request)),
    }


def title_of(opts: Any) -> str:
    """Return the title of a model's list, which is also its name in the menu."""
    plural = str(opts.verbose_name_plural)
    return TITLES.get(opts.label_lower, plural[:1].upper() + plural[1:])


def build_menu(request: HttpRequest) -> list[Group]:
    """Return the groups of the menu, with the screens that the user may open; empty without a login."""
    if not _is_staff(request):
        return []
    lists = _lists(request)
    known = {screen.model for screen in (*WORK, *SETTINGS)}
    # Other screens follow.
    others = sorted(
        (Entry(title, url) for model, (title, url) in lists.items() if model not in known),
        key=lambda entry: entry.title,
    )
    settings = [*_entries(request, SETTINGS, lists), *others]
    if request.user.is_authenticated and request.user.has_usable_password():
        settings.append(Entry("Change password", reverse("admin:password_change")))
    groups = [Group("", _entries(request, WORK, lists)), Group("Settings", settings)]
    _mark_current(request.path, [entry for group in groups for entry in group.entries])
    return [group for group in groups if group.entries]


def breadcrumbs(context: Any) -> list[Entry]:
    """Return the links from the dashboard to a page. The last item is the page itself and has no URL.

    Views may pass intermediate pages as ``crumbs``: pairs of title and URL.
    """
    title, opts = str(context.get("title") or ""), context.get("opts")
    found = [Entry("Dashboard", reverse("admin:index"))]
    if opts is not None and admin.site.is_registered(opts.model):
        # The list with the filters from which the user came.
        list_url = add_preserved_filters(context, reverse(f"admin:{_name(opts)}_changelist"))
        found.append(Entry(title_of(opts), list_url))
    found += [Entry(str(crumb), url) for crumb, url in context.get("crumbs") or _owners(context)]
    shown = context.get("original") or context.get("object")
    if shown is not None and opts is not None:
        kind = _kind_of_page(context)
        name = str(context.get("subtitle") or shown)
        found.append(Entry(name, reverse(f"admin:{_name(opts)}_change", args=[shown.pk])))
        title = OBJECT_PAGES.get(kind, name)
    if title and title != found[-1].title:
        found.append(Entry(title, ""))
    found[-1].url = ""
    return found


def _owners(context: Any) -> list[tuple[str, str]]:
    """Return the objects to which a custom page belongs: a namespace, a run or a policy."""
    run, policy, session = (context.get(name) for name in ("run", "policy", "session"))
    title = context.get("title")
    if isinstance(session, ArchivedSession):
        return [(session.namespace, "")]
    if isinstance(session, BrowserSession):
        query = urlencode({"namespace": session.namespace})
        return [(session.namespace, f"{reverse('admin:sessions_app_browsersession_changelist')}?{query}")]
    if isinstance(run, CleanupRun) and title != f"Run {run.pk}":
        return [(f"Run {run.pk}", reverse("admin:sessions_app_cleanuprun_change", args=[run.pk]))]
    if isinstance(policy, CleanupPolicy):
        return [(str(policy), reverse("admin:sessions_app_cleanuppolicy_change", args=[policy.pk]))]
    return []


def _kind_of_page(context: Any) -> str:
    match = getattr(context.get("request"), "resolver_match", None)
    name = str(match.url_name) if match else ""
    return name if name in OBJECT_PAGES else name.rpartition("_")[2]


def _is_staff(request: HttpRequest) -> bool:
    # Error pages of the first middlewares have no user.
    return hasattr(request, "user") and admin.site.has_permission(request)


def _name(opts: Any) -> str:
    return f"{opts.app_label}_{opts.model_name}"


def _lists(request: HttpRequest) -> dict[str, tuple[str, str]]:
    """Return the title and URL of each list that the user may open, by model label."""
    return {
        model["model"]._meta.label_lower: (title_of(model["model"]._meta), model["admin_url"])
        for app in admin.site.get_app_list(request)
        for model in app["models"]
        if model["admin_url"]
    }


def _entries(
    request: HttpRequest, screens: tuple[Screen, ...], lists: dict[str, tuple[str, str]]
) -> list[Entry]:
    found = []
    for screen in screens:
        if screen.model:
            url = lists.get(screen.model, ("", ""))[1]
        else:
            url = reverse(f"admin:{screen.url_name}") if _may_open(request.user, screen.url_name) else ""
        if url:
            found.append(Entry(screen.title, url, screen.shortcut))
    return found


def _may_open(user: Any, url_name: str) -> bool:
    if url_name == "sessions_app_cleanuprun_new":
        return may_plan(user)
    return url_name == "index" or user.has_perm("sessions_app.view_browsersession")


def _mark_current(path: str, entries: list[Entry]) -> None:
    """Mark the entry whose URL is the longest prefix of a path; the dashboard only for its exact path."""
    home = reverse("admin:index")
    matching = [e for e in entries if path == e.url or (e.url != home and path.startswith(e.url))]
    if matching:
        max(matching, key=lambda entry: len(entry.url)).is_current = True
