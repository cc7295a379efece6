"""A PostgreSQL server of the test's own, in a temporary folder, that can be crashed."""

from __future__ import annotations

import os
import shutil
import subprocess
import tempfile
from pathlib import Path

from tests.e2e.panel import free_port

USER = "postgres"


class NoServerPrograms(Exception):
    """PostgreSQL's server programs are not on this machine."""


def programs() -> Path:
    """The folder of initdb and pg_ctl.

    Raises: NoServerPrograms: there is none.
    """
    folders = sorted(Path("/usr/lib/postgresql").glob("*/bin"), reverse=True)
    if told := shutil.which("pg_config"):
        output = subprocess.run([told, "--bindir"], check=True, capture_output=True, text=True).stdout
        folders.append(Path(output.strip()))
    for folder in folders:
        if (folder / "initdb").exists() and (folder / "pg_ctl").exists():
            return folder
    raise NoServerPrograms(
        "make stress crashes a PostgreSQL server of its own, and finds no initdb and pg_ctl. Install "
        "PostgreSQL's server package, or put its pg_config on the PATH."
    )


class Cluster:
    """One server with its data; never the machine's own."""

    def __init__(self) -> None:
        self._programs = programs()
        self._folder = Path(tempfile.mkdtemp(prefix="raptor-cluster-"))
        self._data = self._folder / "data"
        self.port = free_port()
        if os.geteuid() == 0:
            # The server refuses to run as root.
            shutil.chown(self._folder, USER, USER)
        self._do("initdb", "--auth=trust", f"--username={USER}", "--encoding=UTF8", f"--pgdata={self._data}")

    def start(self) -> None:
        """Start it, and wait until it answers."""
        options = f"-p {self.port} -c listen_addresses=127.0.0.1 -c unix_socket_directories=''"
        log = self._folder / "log"
        self._do(
            "pg_ctl", "start", "--wait", f"--pgdata={self._data}", f"--log={log}", f"--options={options}"
        )

    def stop(self, mode: str) -> None:
        """Stop it, ``immediate`` as by a crash or ``fast`` as by an operator."""
        self._do("pg_ctl", "stop", "--wait", f"--pgdata={self._data}", f"--mode={mode}")

    def remove(self) -> None:
        """Stop it if it runs, and leave nothing of it."""
        if (self._data / "postmaster.pid").exists():
            self.stop("immediate")
        shutil.rmtree(self._folder)

    def _do(self, program: str, *arguments: str) -> None:
        command = [str(self._programs / program), *arguments]
        if os.geteuid() == 0:
            command = ["setpriv", f"--reuid={USER}", f"--regid={USER}", "--clear-groups", *command]
        # The server inherits what it is given: a pipe would stay open as long as it runs.
        output = subprocess.DEVNULL
        subprocess.run(command, check=True, cwd=self._folder, stdin=output, stdout=output, stderr=output)
