"""URL configuration of the panel."""

from django.contrib import admin
from django.urls import path
from django.views.generic import RedirectView

from raptor_admin.health import healthz, readyz
from raptor_admin.metrics import metrics

handler500 = "raptor_admin.errors.server_error"

urlpatterns = [
    path("", RedirectView.as_view(pattern_name="admin:index")),
    path("healthz", healthz, name="healthz"),
    path("readyz", readyz, name="readyz"),
    path("metrics", metrics, name="metrics"),
    path("admin/", admin.site.urls),
]
