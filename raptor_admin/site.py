"""The admin site of the panel."""

from django.contrib.admin import AdminSite


class RaptorAdminSite(AdminSite):
    """Django's admin site under the panel's name."""

    site_header = "Raptor Admin"
    site_title = "Raptor Admin"
    index_title = "Browser sessions"
    site_url = None
