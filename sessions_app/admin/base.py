"""What the pages of the panel have in common."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from django.contrib import admin
from django.contrib.admin import helpers
from django.core.exceptions import BadRequest, PermissionDenied
from django.db.models import Model, QuerySet
from django.http import Http404, HttpRequest, HttpResponse
from django.template.response import TemplateResponse
from django.utils.html import format_html
from django.utils.safestring import SafeString

from sessions_app.access.visibility import visible_runs
from sessions_app.models import CleanupRun

LARGEST_ID_DIGITS = 19
"""Digits of the largest number that a column of 64 bits holds."""
SEARCHED_WORDS = 20
SELECT_PAGE = "Select all on this page"


def is_id(text: str) -> bool:
    """Whether a text is a number that can be the key of a row."""
    return text.isascii() and text.isdigit() and len(text) < LARGEST_ID_DIGITS


def get_seen_run(user: Any, run_id: int) -> CleanupRun:
    """Raises: Http404: there is no such run, or the user does not see it."""
    run = visible_runs(user, CleanupRun.objects.filter(pk=run_id)).first()
    if run is None:
        raise Http404("There is no such run.")
    return run


if TYPE_CHECKING:
    _ModelAdmin = admin.ModelAdmin[Any]
else:
    _ModelAdmin = admin.ModelAdmin


class RaptorAdmin(_ModelAdmin):
    """A screen whose address takes the filters that it shows, and no other look-up.

    Others would let a secret column be guessed letter by letter, and a slow pattern stop the server:
    SQLite matches patterns in Python.
    """

    allowed_lookups: frozenset[str] = frozenset()

    def lookup_allowed(self, lookup: str, value: Any, request: HttpRequest) -> bool:
        filters = self.get_list_filter(request)
        return lookup in self.allowed_lookups or lookup in {
            getattr(filter_, "parameter_name", None) for filter_ in filters
        }

    @admin.display(
        description=format_html('<input type="checkbox" id="action-toggle" aria-label="{}">', SELECT_PAGE)
    )
    def action_checkbox(self, obj: Model) -> SafeString:
        """Django's own, which makes a form of each: a quarter of the time of a page."""
        return format_html(
            '<input type="checkbox" name="{}" value="{}" class="action-select" aria-label="Select {}">',
            helpers.ACTION_CHECKBOX_NAME,
            obj.pk,
            obj,
        )

    def get_search_results(
        self, request: HttpRequest, queryset: QuerySet[Any], search_term: str
    ) -> tuple[QuerySet[Any], bool]:
        # Each word is a condition of its own, and a database takes only so many.
        words = " ".join(search_term.split()[:SEARCHED_WORDS])
        return super().get_search_results(request, queryset, words)

    def changelist_view(
        self, request: HttpRequest, extra_context: dict[str, Any] | None = None
    ) -> HttpResponse:
        selected = request.POST.getlist(helpers.ACTION_CHECKBOX_NAME)
        if not all(map(is_id, selected)):
            raise BadRequest("What was selected is no list of numbers.")
        title = str(self.opts.verbose_name_plural)
        context = {"title": title[:1].upper() + title[1:], **(extra_context or {})}
        return super().changelist_view(request, context)

    def page(
        self, request: HttpRequest, template: str, title: str, context: dict[str, Any]
    ) -> TemplateResponse:
        """Render a page of our own within the admin's frame."""
        frame = self.admin_site.each_context(request)
        request.current_app = self.admin_site.name
        return TemplateResponse(
            request,
            f"admin/sessions_app/{template}",
            {**frame, "opts": self.opts, "title": title, "media": self.media, **context},
        )


class ReadOnlyAdmin(RaptorAdmin):
    """A screen on which nothing is added, changed or deleted by form."""

    def has_add_permission(self, request: HttpRequest) -> bool:
        return False

    def has_change_permission(self, request: HttpRequest, obj: Model | None = None) -> bool:
        return False

    def has_delete_permission(self, request: HttpRequest, obj: Model | None = None) -> bool:
        return False

    def change_view(
        self,
        request: HttpRequest,
        object_id: str,
        form_url: str = "",
        extra_context: dict[str, Any] | None = None,
    ) -> HttpResponse:
        found = self.get_viewable(request, object_id)
        return self.gone(request, object_id) if found is None else self.show(request, found)

    def show(self, request: HttpRequest, found: Any) -> HttpResponse:
        """The page of one object; Django's own, without a field to write in, where a screen has no other."""
        return super().change_view(request, str(found.pk))

    def get_viewable(self, request: HttpRequest, object_id: str) -> Any:
        """The object of a page, or None where there is none.

        Raises: PermissionDenied: the user may not see it.
        """
        found = self.get_object(request, object_id)
        if not self.has_view_permission(request, found):
            raise PermissionDenied
        return found

    def gone(self, request: HttpRequest, object_id: str) -> HttpResponse:
        """Tell that there is no such object, as Django does."""
        return self._get_obj_does_not_exist_redirect(  # type: ignore[attr-defined,no-any-return]
            request, self.opts, object_id
        )
