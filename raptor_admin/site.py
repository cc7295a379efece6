"""The admin site of the panel."""

from typing import Any

from django.contrib.admin import AdminSite
from django.http import HttpRequest
from django.template.response import TemplateResponse
from django.urls import URLPattern, URLResolver, path


class RaptorAdminSite(AdminSite):
    """Django's admin site under the panel's name."""

    site_header = "Raptor Admin"
    site_title = "Raptor Admin"
    index_title = "Dashboard"
    # The panel has its own menu: sessions_app.admin.navigation.
    enable_nav_sidebar = False
    site_url = None

    def index(self, request: HttpRequest, extra_context: dict[str, Any] | None = None) -> TemplateResponse:
        """Show the dashboard above the list of screens."""
        # Importing the screens registers them with this site, which must exist first.
        from sessions_app.admin.dashboard import dashboard_context

        return super().index(request, {**dashboard_context(request), **(extra_context or {})})

    def get_urls(self) -> list[URLPattern | URLResolver]:
        from sessions_app.admin.dashboard import dashboard_state

        return [path("state/", self.admin_view(dashboard_state), name="dashboard_state"), *super().get_urls()]

    def get_app_list(self, request: HttpRequest, app_label: str | None = None) -> list[Any]:
        """List the panel's screens first; Django sorts apps by name."""
        apps = super().get_app_list(request, app_label)
        return sorted(apps, key=lambda app: app["app_label"] != "sessions_app")
