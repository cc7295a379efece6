"""The admin of the panel."""

from django.contrib.admin.apps import AdminConfig


class RaptorAdminConfig(AdminConfig):
    """Django's admin with the panel's own site."""

    default_site = "raptor_admin.site.RaptorAdminSite"
