"""The environment of browsers that outlive their program: few variables, and folders in the profile."""

from __future__ import annotations

import os
import re
import shutil
from collections.abc import Mapping
from pathlib import Path

SESSION_VARIABLE = "RAPTOR_SESSION"
SHARED_MEMORY = "/dev/shm"  # noqa: S108
SMALL_SHARED_MEMORY_BYTES = 512 * 1024 * 1024
"""Containers have 64 MB by default. A tab with large pages takes more than 100 MB."""

# Agents of CI servers end the processes that have inherited their variables, and tests have secrets in
# others. So only these are passed on: where programs, fonts, screens, drivers and certificates are.
_PASSED_ON = re.compile(
    r"PATH|HOME|USER|LOGNAME|SHELL|LANG|LANGUAGE|TZ|DISPLAY|WAYLAND_DISPLAY|XAUTHORITY|DBUS_SESSION_BUS_ADDRESS"
    r"|LD_LIBRARY_PATH|SSL_CERT_FILE|SSL_CERT_DIR|PULSE_SERVER|(?i:(?:http|https|no|all)_proxy)"
    r"|__CF_USER_TEXT_ENCODING|CHROME_(?:DESKTOP|DEVEL_SANDBOX|VERSION_EXTRA|WRAPPER)|CHROMIUM_(?:USER_)?FLAGS"
    r"|VK_(?:ICD_FILENAMES|(?:ADD_)?(?:DRIVER_FILES|LAYER_PATH)|INSTANCE_LAYERS|LOADER_DRIVERS_SELECT)"
    r"|(?:LC|XDG|FONTCONFIG|GTK|GDK|LIBGL|MESA)_(?!\w*(?:TOKEN|SECRET|PASS|KEY|CRED|AUTH))\w+"
)
# Chromium ignores the user and the password of a proxy.
_PROXY_USER = re.compile(r"(?s)\A((?:\w+://)?).*@")
# A socket below TMPDIR has this path, and no socket can have a path of over 107 bytes.
_SOCKET = "/org.chromium.Chromium.XXXXXX/SingletonSocket"
_LONGEST_SOCKET_PATH = 103  # macOS


def environment(inherited: Mapping[str, str], profile_dir: Path, session: str) -> dict[str, str]:
    """Return the environment of a browser, and make its folder for temporary files.

    The browser runs in the folder of its profile, so a path that is too long for sockets is given relative
    to it.

    Args:
        session: Marks the browser as one of the panel's.
    """
    kept = {
        name: _PROXY_USER.sub(r"\1", value) if name.lower().endswith("_proxy") else value
        for name, value in inherited.items()
        if _PASSED_ON.fullmatch(name)
    }
    folder = profile_dir / "tmp"
    # Killed browsers leave their files.
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(mode=0o700, exist_ok=True)
    is_short = len(os.fsencode(folder)) + len(_SOCKET) <= _LONGEST_SOCKET_PATH
    return {**kept, "TMPDIR": str(folder) if is_short else folder.name, SESSION_VARIABLE: session}


def has_small_shared_memory() -> bool:
    """Check whether tabs may need more shared memory than there is."""
    try:
        status = os.statvfs(SHARED_MEMORY)
    except OSError:
        # macOS has no such folder, and Chromium uses none there.
        return False
    return status.f_blocks * status.f_frsize < SMALL_SHARED_MEMORY_BYTES
