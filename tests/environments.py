"""Reads settings from the environment, with the panel's folder in a temporary folder."""

from __future__ import annotations

from pathlib import Path

import pytest
from django.core.exceptions import ImproperlyConfigured

from raptor_admin.environment import Environment, read_environment


def read(tmp_path: Path, **environ: str) -> Environment:
    return read_environment({"RAPTOR_VAR_DIR": str(tmp_path / "var"), **environ}, project_dir=tmp_path)


def mistakes_of(tmp_path: Path, **environ: str) -> str:
    with pytest.raises(ImproperlyConfigured) as caught:
        read(tmp_path, **environ)
    return str(caught.value)
