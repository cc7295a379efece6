"""The page with metrics for Prometheus."""

from collections import Counter
from collections.abc import Iterable

from django.http import Http404, HttpRequest, HttpResponse
from django.views.decorators.cache import never_cache
from prometheus_client import CollectorRegistry
from prometheus_client.exposition import choose_encoder
from prometheus_client.metrics_core import Metric
from prometheus_client.registry import Collector

from raptor_admin.health import has_metrics_token
from sessions_app.alerts.findings import Code
from sessions_app.alerts.sources import find
from sessions_app.models.clock import database_now
from sessions_app.reports.metrics import collect


class PanelCollector(Collector):
    """Reads the database at each request, so that all processes of the web server return the same values."""

    def describe(self) -> Iterable[Metric]:
        """Return nothing; otherwise registering would read the database."""
        return ()

    def collect(self) -> Iterable[Metric]:
        """Return the current metrics."""
        now = database_now()
        counts = Counter(finding.code for finding in find(now))
        return collect(now, {(code.value, code.severity): counts[code] for code in Code})


_registry = CollectorRegistry()
_registry.register(PanelCollector())


@never_cache
def metrics(request: HttpRequest) -> HttpResponse:
    """Return the metrics to callers who send RAPTOR_METRICS_TOKEN, and status 404 to all others."""
    if not has_metrics_token(request):
        raise Http404
    encode, content_type = choose_encoder(request.headers.get("Accept", ""))
    return HttpResponse(encode(_registry), content_type=content_type)
