"""The settings of the panel with shorter waits."""

from raptor_admin.settings import *  # noqa: F403
from raptor_admin.settings import INSTALLED_APPS

INSTALLED_APPS = [*INSTALLED_APPS, "tests.stress.quick.QuickConfig"]
