"""Set Django up in the process that the workers are forked from; import this before any model."""

from __future__ import annotations

import django
from django.apps import apps

from tests import open_cursors

if not apps.ready:
    django.setup()
open_cursors.install()
