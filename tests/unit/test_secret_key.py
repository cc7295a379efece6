from __future__ import annotations

import errno
import stat
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from raptor_admin.secret_key import load_secret_key
from tests.environments import mistakes_of, read
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


def test_the_secret_key_is_created_once_and_readable_by_its_owner_only(tmp_path: Path) -> None:
    first = read(tmp_path).secret_key
    assert read(tmp_path).secret_key == first
    assert stat.S_IMODE((tmp_path / "var" / "secret-key").stat().st_mode) == 0o600
    assert stat.S_IMODE((tmp_path / "var").stat().st_mode) == 0o700


def test_concurrent_processes_agree_on_the_secret_key(tmp_path: Path) -> None:
    with ThreadPoolExecutor(16) as pool:
        keys = set(pool.map(lambda _: load_secret_key(tmp_path / "secret-key"), range(64)))
    assert len(keys) == 1
    assert [path.name for path in tmp_path.iterdir()] == ["secret-key"]


def test_an_unreadable_secret_key_is_reported(tmp_path: Path) -> None:
    (tmp_path / "var" / "secret-key").mkdir(parents=True)
    assert "secret-key can be neither read nor written" in mistakes_of(tmp_path)


@pytest.mark.parametrize("content", [b"", b"short", b"\xff" * 64])
def test_a_file_without_a_secret_key_is_reported(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "var").mkdir()
    (tmp_path / "var" / "secret-key").write_bytes(content)
    assert "secret-key" in mistakes_of(tmp_path)


def test_a_given_secret_key_creates_no_file(tmp_path: Path) -> None:
    assert read(tmp_path, RAPTOR_SECRET_KEY="k" * 50).secret_key == "k" * 50
    assert not (tmp_path / "var" / "secret-key").exists()
