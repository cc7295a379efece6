from __future__ import annotations

import errno
import os
from pathlib import Path
from typing import NoReturn

import pytest

from raptor_admin.secret_key import load_secret_key


@pytest.mark.parametrize("number", [errno.EPERM, errno.EOPNOTSUPP, errno.ENOSYS])
def test_a_key_is_made_on_file_systems_without_hard_links(
    tmp_path: Path, number: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*args: object, **kwargs: object) -> NoReturn:
        raise OSError(number, os.strerror(number))

    monkeypatch.setattr(os, "link", refuse)
    path = tmp_path / "secret-key"
    assert load_secret_key(path) == load_secret_key(path)
    assert path.stat().st_mode & 0o777 == 0o600
    assert [entry.name for entry in tmp_path.iterdir()] == ["secret-key"]
