"""Base classes and helpers shared by the screens."""

from __future__ import annotations

from collections.abc import Collection
from typing import TYPE_CHECKING, Any

from django.contrib import admin, messages
from django.contrib.admin import helpers
from django.core.exceptions import BadRequest, PermissionDenied, ValidationError
from django.db.models import Model, QuerySet
from django.http import Http404, HttpRequest, HttpResponse
from django.template.response import TemplateResponse
from django.utils.html import format_html
from django.utils.safestring import SafeString

from sessions_app.access.permissions import may_plan
from sessions_app.access.visibility import refuse_hidden, visible_runs
from sessions_app.admin.navigation import title_of
from sessions_app.models import CleanupRun
from sessions_app.queue.broker import is_reachable
from sessions_app.session.lookalikes import is_invisible

LARGEST_ID_DIGITS = 19
"""Number of digits of the largest 64-bit integer."""
MAX_SEARCH_WORDS = 20
"""Each word adds a condition, and databases limit how many a query may have."""
SELECT_PAGE = "Select all on this page"


def is_id(text: str) -> bool:
    """Check whether a text is a number that fits a primary key."""
    return text.isascii() and text.isdigit() and len(text) < LARGEST_ID_DIGITS


if TYPE_CHECKING:
    _ModelAdmin = admin.ModelAdmin[Any]
else:
    _ModelAdmin = admin.ModelAdmin


def refuse_invisible(text: str) -> None:
    """Refuse a name with characters that show nothing: it would look like another name.

    Raises: ValidationError.
    """
    if found := _invisible_in(text):
        raise ValidationError(f"It contains an invisible character (U+{ord(found):04X}).")


def _invisible_in(text: str) -> str:
    return next((character for character in text if character != " " and is_invisible(character)), "")


class UsableNamespace:
    """A form that refuses namespaces that the user cannot use.

    Hidden and invalid namespaces have the same message, which would otherwise reveal that they exist.
    """

    hidden: Collection[str] = frozenset()
    """Namespaces that are hidden from the user."""
    cleaned_data: dict[str, Any]

    def clean_namespace(self) -> str:
        namespace: str = self.cleaned_data["namespace"]
        if namespace in self.hidden or _invisible_in(namespace):
            raise ValidationError(
                "This namespace cannot be used: it is limited to other groups, or it contains an invisible "
                "character. Choose another one."
            )
        return namespace


class VisibleNames:
    """A part of a screen whose form refuses names with invisible characters."""

    checked_fields = frozenset({"name", "username"})

    def formfield_for_dbfield(self, db_field: Any, request: HttpRequest, **kwargs: Any) -> Any:
        field = super().formfield_for_dbfield(db_field, request, **kwargs)  # type: ignore[misc]
        if field is not None and db_field.name in self.checked_fields:
            field.validators = [*field.validators, refuse_invisible]
        return field


class RaptorAdmin(VisibleNames, _ModelAdmin):
    """A screen whose URL accepts only the filters that it offers.

    Any other lookup would let users guess a secret column letter by letter, or block the server with a slow
    regular expression, because SQLite evaluates those in Python.
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
        """Render the checkbox without a form field; Django's version takes a quarter of the page's time."""
        return format_html(
            '<input type="checkbox" name="{}" value="{}" class="action-select" aria-label="Select {}">',
            helpers.ACTION_CHECKBOX_NAME,
            obj.pk,
            obj,
        )

    def get_search_results(
        self, request: HttpRequest, queryset: QuerySet[Any], search_term: str
    ) -> tuple[QuerySet[Any], bool]:
        words = " ".join(search_term.split()[:MAX_SEARCH_WORDS])
        return super().get_search_results(request, queryset, words)

    def changelist_view(
        self, request: HttpRequest, extra_context: dict[str, Any] | None = None
    ) -> HttpResponse:
        selected = request.POST.getlist(helpers.ACTION_CHECKBOX_NAME)
        if not all(map(is_id, selected)):
            raise BadRequest("The selection must be a list of numbers.")
        context = {"title": title_of(self.opts), **(extra_context or {})}
        return super().changelist_view(request, context)

    def page(
        self, request: HttpRequest, template: str, title: str, context: dict[str, Any]
    ) -> TemplateResponse:
        """Render a template of this app inside the admin's base template."""
        frame = self.admin_site.each_context(request)
        request.current_app = self.admin_site.name
        return TemplateResponse(
            request,
            f"admin/sessions_app/{template}",
            {
                **frame,
                "opts": self.opts,
                "title": title,
                "media": self.media,
                "preserved_filters": self.get_preserved_filters(request),
                **context,
            },
        )


class ReadOnlyAdmin(RaptorAdmin):
    """A screen without forms to add, change or delete objects."""

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
        return self.redirect_missing(request, object_id) if found is None else self.show(request, found)

    def show(self, request: HttpRequest, found: Any) -> HttpResponse:
        """Render the page of one object; by default Django's change form with read-only fields."""
        return super().change_view(request, str(found.pk))

    def get_viewable(self, request: HttpRequest, object_id: str) -> Any:
        """Return the object of a page, or None if it does not exist.

        Raises: PermissionDenied: the user may not view it.
        """
        found = self.get_object(request, object_id)
        if not self.has_view_permission(request, found):
            raise PermissionDenied
        return found

    def redirect_missing(self, request: HttpRequest, object_id: str) -> HttpResponse:
        """Redirect with Django's message that the object does not exist."""
        return self._get_obj_does_not_exist_redirect(  # type: ignore[attr-defined,no-any-return]
            request, self.opts, object_id
        )


def get_run(screen: RaptorAdmin, request: HttpRequest, run_id: int, *, to_act: bool = False) -> CleanupRun:
    """Load a run that the user may view or, with ``to_act``, act on.

    Raises:
        PermissionDenied: the user lacks the permission, or the run reaches namespaces hidden from the user.
        Http404: the run does not exist, or is hidden from the user.
    """
    if not (may_plan(request.user) if to_act else screen.has_view_permission(request)):
        raise PermissionDenied
    run = visible_runs(request.user, CleanupRun.objects.filter(pk=run_id)).first()
    if run is None:
        raise Http404("This run does not exist.")
    if to_act:
        refuse_hidden(request.user, run)
    return run


def show_queued(request: HttpRequest, message: str) -> None:
    """Confirm that work was queued for the worker, even if the queue cannot be reached."""
    messages.success(request, message)
    warn_if_queue_is_unreachable(request)


def warn_if_queue_is_unreachable(request: HttpRequest) -> None:
    """Warn that work which was queued starts later."""
    if not is_reachable():
        away = "The task queue cannot be reached now. Nothing is lost: the work starts when it answers again."
        messages.warning(request, away)
