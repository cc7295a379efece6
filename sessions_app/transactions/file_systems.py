"""Determines the file system of a path."""

from __future__ import annotations

import os
import re
import subprocess
from collections.abc import Iterator
from pathlib import Path

MOUNTS = Path("/proc/self/mountinfo")

# Network file systems, and folders that a host shares with a virtual machine.
_NETWORK_TYPE = re.compile(
    r"(?:(?:fuse|osxfuse|macfuse)\.)?"
    r"(?:9p|acfs|afpfs|afs|beegfs|ceph|cephfs|cifs|coda|davfs|gcsfuse|glusterfs|goofys|gpfs|juicefs|lustre|mfs"
    r"|ncpfs|nfs[34]?|ocfs2|orangefs|panfs|prl_fs|pvfs2|rclone|s3fs|smb[23]|smbfs|sshfs|vboxsf|vmhgfs|webdav)"
)

_ESCAPE = re.compile(r"\\([0-7]{3})")
_MACOS_LINE = re.compile(r"^.+? on (?P<point>/.*) \((?P<type>[^,)]+)")


def file_system_of(path: Path) -> str:
    """Return the type of the file system of a path, such as ``ext4``; blank if it is unknown."""
    real = os.path.realpath(path)
    try:
        if MOUNTS.exists():
            return type_at(real, parse_mountinfo(MOUNTS.read_text(errors="surrogateescape")))
        mount = subprocess.run(["/sbin/mount"], capture_output=True, text=True, timeout=5, check=True)
    except (OSError, subprocess.SubprocessError):
        return ""
    return type_at(real, parse_macos_mounts(mount.stdout))


def is_network_type(kind: str) -> bool:
    """Check whether SQLite's locks and shared memory are unreliable on this type of file system."""
    return _NETWORK_TYPE.fullmatch(kind) is not None


def type_at(path: str, mounts: Iterator[tuple[str, str]]) -> str:
    """Return the type at the longest mount point that contains a path; the last of equal ones counts."""
    found, longest = "", -1
    for point, kind in mounts:
        holds = path == point or path.startswith(point.rstrip("/") + "/")
        if holds and len(point) >= longest:
            found, longest = kind, len(point)
    return found


def parse_mountinfo(text: str) -> Iterator[tuple[str, str]]:
    """Read mount points and types from Linux's ``mountinfo`` (proc_pid_mountinfo(5))."""
    for line in text.splitlines():
        # Optional fields end at a lone hyphen, so the type has no fixed place.
        before, separator, after = line.partition(" - ")
        fields, kinds = before.split(" "), after.split(" ")
        if separator and len(fields) >= 6:
            # Separators inside a field are escaped in octal.
            point = _ESCAPE.sub(lambda found: chr(int(found[1], 8)), fields[4])
            yield point, kinds[0]


def parse_macos_mounts(text: str) -> Iterator[tuple[str, str]]:
    """Read mount points and types from the output of macOS's ``mount``."""
    for line in text.splitlines():
        if found := _MACOS_LINE.match(line):
            yield found["point"], found["type"]
