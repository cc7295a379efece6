from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace

import pytest

from sessions_app import checks
from sessions_app.transactions import disk
from sessions_app.transactions.file_systems import (
    MOUNTS,
    file_system_of,
    is_network_type,
    parse_macos_mounts,
    parse_mountinfo,
    type_at,
)

MOUNTINFO = r"""
22 27 0:21 / /proc rw,relatime - proc proc rw
27 1 254:0 / / rw,relatime - ext4 /dev/vda rw,discard
40 27 0:40 / /home rw,relatime shared:5 master:2 - nfs4 server:/export/home rw,vers=4.2
41 40 0:41 / /home/ci/local rw,relatime - xfs /dev/vdb rw
42 27 0:42 / /mnt/team\040share rw,nosuid - cifs //server/share rw
43 27 0:43 / /mnt/twice rw - ext4 /dev/vdc rw
44 43 0:44 / /mnt/twice rw - fuse.sshfs ci@host:/data rw
"""
MACOS = """/dev/disk3s1s1 on / (apfs, sealed, local, read-only, journaled)
//ci@server/data on /Volumes/Team data (smbfs, nodev, nosuid, mounted by ci)
"""


@pytest.mark.parametrize(
    ("path", "kind"),
    [
        ("/var/raptor", "ext4"),
        ("/home", "nfs4"),
        ("/home/ci/var", "nfs4"),
        ("/home/ci/local/var", "xfs"),
        ("/homestead", "ext4"),
        ("/mnt/team share/var", "cifs"),
        ("/mnt/twice/var", "fuse.sshfs"),
    ],
)
def test_the_longest_mount_point_decides(path: str, kind: str) -> None:
    assert type_at(path, parse_mountinfo(MOUNTINFO)) == kind


def test_mounts_of_macos_are_parsed() -> None:
    assert type_at("/Volumes/Team data/var", parse_macos_mounts(MACOS)) == "smbfs"
    assert type_at("/Users/ci", parse_macos_mounts(MACOS)) == "apfs"


@pytest.mark.parametrize(
    "kind", ["nfs", "nfs4", "cifs", "smb3", "smbfs", "9p", "fuse.sshfs", "ceph", "lustre"]
)
def test_network_types_are_recognized(kind: str) -> None:
    assert is_network_type(kind)


@pytest.mark.parametrize(
    "kind", ["", "ext4", "xfs", "btrfs", "zfs", "tmpfs", "overlay", "apfs", "nfsd", "fuseblk"]
)
def test_local_types_pass(kind: str) -> None:
    assert not is_network_type(kind)


@pytest.mark.skipif(not MOUNTS.exists(), reason="this system has no mountinfo")
def test_this_machine_reports_its_own_file_systems(tmp_path: Path) -> None:
    assert file_system_of(Path("/proc/self")) == "proc"
    assert file_system_of(tmp_path / "not made yet") == file_system_of(tmp_path) != ""


def test_sqlite_on_a_network_is_an_error(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(checks, "database_folder", lambda: Path("/home/ci/var"))
    monkeypatch.setattr(
        checks, "file_system_of", lambda folder: type_at(str(folder), parse_mountinfo(MOUNTINFO))
    )
    (error,) = checks.check_file_system()
    assert error.id == "sessions_app.E004"
    assert "/home/ci/var (nfs4)" in error.msg
    assert "PostgreSQL" in (error.hint or "")


def test_a_database_server_passes(monkeypatch: pytest.MonkeyPatch) -> None:
    connection = SimpleNamespace(vendor="postgresql", settings_dict={"NAME": "raptor"})
    monkeypatch.setattr("django.db.connection", connection)
    assert disk.database_folder() is None
    assert checks.check_file_system() == []
