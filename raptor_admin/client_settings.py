"""The settings of programs that use the sessions and serve no screen: the panel's database, and no more.

They log as they please, and start in half the time.
"""

from raptor_admin.settings import *  # noqa: F403

INSTALLED_APPS = ["sessions_app.apps.SessionsAppConfig"]
LOGGING_CONFIG = None
