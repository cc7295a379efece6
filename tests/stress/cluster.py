"""Run a PostgreSQL server for one test, in a temporary folder, that can be crashed."""

from __future__ import annotations

import os
import shutil
import subprocess
import tempfile
from pathlib import Path

from tests.e2e.panel import free_port

USER = "postgres"


class NoServerPrograms(Exception):
    """Raised when PostgreSQL's server programs are not on this machine."""


def programs() -> Path:
    """Return the folder of initdb and pg_ctl.

    Raises: NoServerPrograms: they are not installed.
    """
    folders = sorted(Path("/usr/lib/postgresql").glob("*/bin"), reverse=True)
    if pg_config := shutil.which("pg_config"):
        output = subprocess.run([pg_config, "--bindir"], check=True, capture_output=True, text=True).stdout
        folders.append(Path(output.strip()))
    for folder in folders:
        if (folder / "initdb").exists() and (folder / "pg_ctl").exists():
            return folder
    raise NoServerPrograms(
        "make stress crashes its own PostgreSQL server, and finds no initdb and pg_ctl. Install "
        "PostgreSQL's server package, or put its pg_config on the PATH."
    )


class Cluster:
    """A server with its own data folder."""

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
        """Start the server and wait until it answers."""
        options = f"-p {self.port} -c listen_addresses=127.0.0.1 -c unix_socket_directories=''"
        log = self._folder / "log"
        self._do(
            "pg_ctl", "start", "--wait", f"--pgdata={self._data}", f"--log={log}", f"--options={options}"
        )

    def stop(self, mode: str) -> None:
        """Stop the server: ``immediate`` as in a crash, ``fast`` as an operator does."""
        self._do("pg_ctl", "stop", "--wait", f"--pgdata={self._data}", f"--mode={mode}")

    def remove(self) -> None:
        """Stop the server and delete its folder."""
        if (self._data / "postmaster.pid").exists():
            self.stop("immediate")
        shutil.rmtree(self._folder)

    def _do(self, program: str, *arguments: str) -> None:
        command = [str(self._programs / program), *arguments]
        if os.geteuid() == 0:
            command = ["setpriv", f"--reuid={USER}", f"--regid={USER}", "--clear-groups", *command]
        # The server inherits its output: a pipe would stay open until the server ends.
        output = subprocess.DEVNULL
        subprocess.run(command, check=True, cwd=self._folder, stdin=output, stdout=output, stderr=output)
