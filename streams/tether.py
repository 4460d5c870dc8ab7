"""Becomes another program that ends when its parent does: ``python -I -S tether.py PARENT COMMAND ...``, on Linux.

The kernel is asked from within the new process, since the parent cannot ask for it: between ``fork`` and ``exec`` of a
process with many threads no Python is safe to run. The standard library alone, so that it costs some milliseconds.
"""

import ctypes
import os
import signal
import sys

PR_SET_PDEATHSIG = 1
NOT_STARTED = 127
"""The exit code of a shell that cannot start a program."""


def main() -> None:
    """Only returns, with an exit code, where the program cannot be started."""
    parent, command = int(sys.argv[1]), sys.argv[2:]
    ctypes.CDLL(None, use_errno=True).prctl(PR_SET_PDEATHSIG, signal.SIGTERM)
    if os.getppid() != parent:  # it died before the kernel knew
        sys.exit(1)
    try:
        os.execvp(command[0], command)  # noqa: S606  # that is what it is for
    except OSError as error:
        print(f"{command[0]} cannot be started: {error}", file=sys.stderr)
        sys.exit(NOT_STARTED)


if __name__ == "__main__":
    main()
