"""The installed packages: the import path of RAPTOR's guide is a separate distribution."""

from __future__ import annotations

import tomllib
from fnmatch import fnmatch
from importlib import import_module
from pathlib import Path
from typing import Any

PROJECT_DIR = Path(__file__).resolve().parents[2]


def read(name: str) -> dict[str, Any]:
    return tomllib.loads((PROJECT_DIR / name).read_text(encoding="utf-8"))


def test_installing_the_panel_overwrites_no_file_of_raptor() -> None:
    patterns = read("pyproject.toml")["tool"]["setuptools"]["packages"]["find"]["include"]
    assert not [
        pattern for pattern in patterns for name in ("raptor", "raptor.core") if fnmatch(name, pattern)
    ]


def test_the_import_path_of_the_guide_is_installed_whole() -> None:
    setuptools = read("raptor/pyproject.toml")["tool"]["setuptools"]
    packages = {path.parent for path in (PROJECT_DIR / "raptor").rglob("__init__.py")}
    assert {PROJECT_DIR.joinpath(*name.split(".")) for name in setuptools["packages"]} == packages
    folders = {PROJECT_DIR / "raptor" / folder for folder in setuptools["package-dir"].values()}
    assert folders == packages
    assert read("raptor/pyproject.toml")["project"]["dependencies"] == [
        read("pyproject.toml")["project"]["name"]
    ]


def test_each_plugin_of_pytest_is_in_the_distribution_that_names_it() -> None:
    for name in ("pyproject.toml", "raptor/pyproject.toml"):
        plugins = read(name)["project"].get("entry-points", {}).get("pytest11", {})
        for module in plugins.values():
            assert import_module(module).__name__.startswith("raptor.") == name.startswith("raptor/")
