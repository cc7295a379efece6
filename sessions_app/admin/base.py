"""What the pages of the panel have in common."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from django.contrib import admin
from django.core.exceptions import PermissionDenied
from django.db.models import Model
from django.http import HttpRequest, HttpResponse
from django.template.response import TemplateResponse

SECRET_COLUMNS = frozenset({"cdp_url", "document"})


if TYPE_CHECKING:
    _ModelAdmin = admin.ModelAdmin[Any]
else:
    _ModelAdmin = admin.ModelAdmin


class RaptorAdmin(_ModelAdmin):
    """A screen that never lets a secret column be guessed through the address, letter by letter."""

    def lookup_allowed(self, lookup: str, value: Any, request: HttpRequest) -> bool:
        if SECRET_COLUMNS.intersection(lookup.split("__")):
            return False
        return super().lookup_allowed(lookup, value, request)

    def changelist_view(
        self, request: HttpRequest, extra_context: dict[str, Any] | None = None
    ) -> HttpResponse:
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
