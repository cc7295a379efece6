"""Ends the supervisor's children after the supervisor has exited for any reason.

It reads ``+PID`` and ``-PID`` lines, one for each group that starts or ends, from a pipe. Only the supervisor
has the other end open, so the pipe closes when the supervisor exits. Unlike the parent death signal of Linux,
this also ends grandchildren and works on macOS.
"""

import sys

from raptor_admin.processes import end_groups

GRACE_SECONDS = 3.0


def main() -> None:
    """Read the pipe until it closes, then end the groups that are still registered."""
    groups: set[int] = set()
    for line in sys.stdin:
        group = int(line[1:])
        if line[0] == "+":
            groups.add(group)
        else:
            groups.discard(group)
    end_groups(groups, grace_seconds=GRACE_SECONDS)


if __name__ == "__main__":
    main()
