"""Runs long-lived programs in the foreground, restarts those that exit, and leaves no process behind."""

import logging
import os
import select
import signal
import socket
import subprocess
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from types import FrameType

from raptor_admin.processes import SUPERVISOR_VARIABLE, end_groups, kill_group

logger = logging.getLogger(__name__)

# Enough for requests and short tasks to finish. With the kill that follows, everything ends within 5 s.
GRACE_SECONDS = 3.0
STOP_SIGNALS = (signal.SIGTERM, signal.SIGINT, signal.SIGHUP)
FIRST_DELAY_SECONDS = 1.0
LONGEST_DELAY_SECONDS = 30.0
# After a program has run this long, its next restart is delayed by FIRST_DELAY_SECONDS again.
STEADY_SECONDS = 60.0
IDLE_SECONDS = 5.0


class Program:
    """A supervised program in its own session and process group.

    Ctrl-C signals the foreground group, so it reaches only the supervisor. Processes that a program leaves
    behind are found by their group.
    """

    def __init__(self, name: str, command: Sequence[str], directory: Path) -> None:
        self.name = name
        self.process: subprocess.Popen[bytes] | None = None
        self.start_at = 0.0
        self._command = command
        self._directory = directory
        self._delay_seconds = FIRST_DELAY_SECONDS
        self._started_at = 0.0

    def start(self) -> None:
        """Start the program, which ends by itself if the supervisor is killed."""
        self._started_at = time.monotonic()
        self.process = subprocess.Popen(
            self._command,
            cwd=self._directory,
            env={**os.environ, SUPERVISOR_VARIABLE: str(os.getpid())},
            stdin=subprocess.DEVNULL,
            start_new_session=True,
        )

    def collect(self) -> None:
        """If the program has exited, kill what remains of its group and schedule its restart."""
        if self.process is None or self.process.poll() is None:
            return
        kill_group(self.process.pid)
        now = time.monotonic()
        if now - self._started_at > STEADY_SECONDS:
            self._delay_seconds = FIRST_DELAY_SECONDS
        ending = _describe_exit(self.process.returncode)
        logger.error("The %s ended (%s); it starts again in %g s.", self.name, ending, self._delay_seconds)
        self.start_at = now + self._delay_seconds
        self._delay_seconds = min(2 * self._delay_seconds, LONGEST_DELAY_SECONDS)
        self.process = None


class Supervisor:
    """Keeps programs running until it receives a stop signal."""

    def __init__(self, commands: Mapping[str, Sequence[str]], *, directory: Path) -> None:
        self._programs = [Program(name, command, directory) for name, command in commands.items()]
        self._is_stopping = False

    def run(self) -> None:
        """Run until SIGTERM, SIGINT or SIGHUP, then end everything within 5 seconds."""
        with self._catch_signals() as wakeup:
            while not self._is_stopping:
                for program in self._programs:
                    program.collect()
                    if program.process is None and time.monotonic() >= program.start_at:
                        program.start()
                self._sleep(wakeup)
            self._end()

    def _end(self) -> None:
        logger.info("Stopping.")
        groups = [program.process.pid for program in self._programs if program.process is not None]
        end_groups(groups, grace_seconds=GRACE_SECONDS, reap=self._reap)
        logger.info("Stopped.")

    def _reap(self) -> None:
        for program in self._programs:
            if program.process is not None:
                program.process.poll()

    def _sleep(self, wakeup: socket.socket) -> None:
        starts = [program.start_at for program in self._programs if program.process is None]
        wait_seconds = min([IDLE_SECONDS, *(max(0.0, start - time.monotonic()) for start in starts)])
        if select.select([wakeup], [], [], wait_seconds)[0]:
            wakeup.recv(4096)

    @contextmanager
    def _catch_signals(self) -> Iterator[socket.socket]:
        # Exits of children and stop signals arrive as bytes on a socket, so nothing has to poll.
        reader, writer = socket.socketpair()
        writer.setblocking(False)
        previous_wakeup = signal.set_wakeup_fd(writer.fileno(), warn_on_full_buffer=False)
        previous = {sign: signal.signal(sign, self._stop) for sign in STOP_SIGNALS}
        previous[signal.SIGCHLD] = signal.signal(signal.SIGCHLD, lambda sign, frame: None)
        try:
            yield reader
        finally:
            for sign, handler in previous.items():
                signal.signal(sign, handler)
            signal.set_wakeup_fd(previous_wakeup)
            reader.close()
            writer.close()

    def _stop(self, sign: int, frame: FrameType | None) -> None:
        self._is_stopping = True


def _describe_exit(returncode: int) -> str:
    if returncode >= 0:
        return f"exit status {returncode}"
    return signal.Signals(-returncode).name
