"""URL configuration of the panel."""

from django.contrib import admin
from django.urls import path
from django.views.generic import RedirectView

from raptor_admin.health import healthz

handler500 = "raptor_admin.errors.server_error"

urlpatterns = [
    path("", RedirectView.as_view(pattern_name="admin:index")),
    path("healthz", healthz, name="healthz"),
    path("admin/", admin.site.urls),
]
