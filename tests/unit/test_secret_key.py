from __future__ import annotations

import errno
from pathlib import Path

import pytest

from raptor_admin.secret_key import load_secret_key
from tests.places import refuse_links


@pytest.mark.parametrize("number", [errno.EPERM, errno.EOPNOTSUPP, errno.ENOSYS])
def test_a_key_is_made_on_file_systems_without_hard_links(
    tmp_path: Path, number: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    refuse_links(monkeypatch, number)
    path = tmp_path / "secret-key"
    assert load_secret_key(path) == load_secret_key(path)
    assert path.stat().st_mode & 0o777 == 0o600
    assert [entry.name for entry in tmp_path.iterdir()] == ["secret-key"]
