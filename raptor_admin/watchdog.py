"""Ends the supervisor's children when the supervisor itself is gone, whatever ended it.

It reads ``+PID`` and ``-PID`` lines, one for each group that starts and ends, from a pipe whose other end
only the supervisor holds: the end of the pipe is the end of the supervisor. Unlike Linux' parent death
signal this reaches grandchildren too, and works on macOS.
"""

import sys

from raptor_admin.processes import end_groups

GRACE_SECONDS = 3.0


def main() -> None:
    """Follow the pipe until it ends, then end what is still registered."""
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
