"""The settings of programs that use the sessions and serve no screen: the panel's database, and no more.

They log as they please, and start in half the time.
"""

from raptor_admin.readers import SQLITE
from raptor_admin.settings import *  # noqa: F403
from raptor_admin.settings import DATABASES

INSTALLED_APPS = ["sessions_app.apps.SessionsAppConfig"]
LOGGING_CONFIG = None
# The panel keeps the reserve; a test project on a disk of its own gets no such file.
RAPTOR_RESERVE_BYTES = 0

if DATABASES["default"]["ENGINE"] == SQLITE:
    # Dozens of test processes write by turns, and no user waits for a page.
    DATABASES["default"]["OPTIONS"]["timeout"] = 60
