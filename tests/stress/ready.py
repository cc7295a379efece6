"""Sets Django up in the process that others are forked from; to be imported before any model."""

from __future__ import annotations

import django
from django.apps import apps

from tests import open_cursors

if not apps.ready:
    django.setup()
open_cursors.install()
