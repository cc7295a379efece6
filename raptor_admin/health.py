"""The health check for load balancers and supervisors."""

import logging

from django.db import DatabaseError, connection
from django.http import HttpRequest, HttpResponse
from django.views.decorators.cache import never_cache

from sessions_app.queue.broker import is_reachable
from sessions_app.transactions.disk import disk_full_message
from sessions_app.transactions.reserve import open_database

logger = logging.getLogger(__name__)


@never_cache
def healthz(request: HttpRequest) -> HttpResponse:
    """Return status 200 if the database answers, and 503 if it does not; report the queue in the text.

    The panel works without the queue, so a load balancer must not take it away then.
    """
    try:
        open_database()
        with connection.cursor() as cursor:
            cursor.execute("SELECT 1")
    except DatabaseError as error:
        if message := disk_full_message(error):
            logger.warning("%s", message)
            return HttpResponse(f"{message}\n", status=503, content_type="text/plain")
        logger.warning("The database does not answer: %s", type(error).__name__)
        return HttpResponse("the database does not answer\n", status=503, content_type="text/plain")
    text = "ok\n" if is_reachable() else "ok, but the task queue cannot be reached\n"
    return HttpResponse(text, content_type="text/plain")
