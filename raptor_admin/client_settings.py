"""Settings for programs that use sessions without the panel: its database, without its screens and logging.

With a single installed app, such programs start in half the time.
"""

from raptor_admin.readers import SQLITE
from raptor_admin.settings import *  # noqa: F403
from raptor_admin.settings import DATABASES

INSTALLED_APPS = ["sessions_app.apps.SessionsAppConfig"]
LOGGING_CONFIG = None
# The panel keeps the reserve; a test project on a separate disk gets no such file.
RAPTOR_RESERVE_BYTES = 0

if DATABASES["default"]["ENGINE"] == SQLITE:
    # Dozens of test processes take turns to write, and nobody waits for a page.
    DATABASES["default"]["OPTIONS"]["timeout"] = 60
