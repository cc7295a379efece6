"""The WSGI application, for gunicorn."""

import os
from typing import Any

from django.conf import settings
from django.core.wsgi import get_wsgi_application

os.environ.setdefault("DJANGO_SETTINGS_MODULE", "raptor_admin.settings")

_PREFIX: str = settings.FORCE_SCRIPT_NAME or ""
_django = get_wsgi_application()


def application(environ: dict[str, Any], start_response: Any) -> Any:
    """Answer a request, also of a proxy that leaves RAPTOR_URL_PREFIX in the path."""
    path = environ.get("PATH_INFO", "")
    if _PREFIX and (path == _PREFIX or path.startswith(f"{_PREFIX}/")):
        environ["PATH_INFO"] = path.removeprefix(_PREFIX) or "/"
    return _django(environ, start_response)
