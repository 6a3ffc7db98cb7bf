"""Becomes another program that ends when its supervisor does.

Run by path with `python -I -S child.py <supervisor's pid> <umask or -> <program> <arguments...>`. Where the kernel can
tell of a parent's death (Linux) even `kill -9` of the supervisor ends the program by SIGTERM; elsewhere the next start
does.
"""

import ctypes
import os
import signal
import sys

_PR_SET_PDEATHSIG = 1


def main(supervisor: int, umask: str, command: list[str]) -> None:
    """Replaces this process by the command, unless the supervisor is gone already.

    Args:
        supervisor: The pid that the parent must have.
        umask: Octal; `-` keeps the supervisor's.
        command: Program and arguments.
    """
    if umask != "-":
        os.umask(int(umask, 8))
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGTERM)
        # It may have ended before the kernel was asked to tell of it.
        if os.getppid() != supervisor:
            sys.exit("the supervisor has ended")
    os.execvp(command[0], command)  # noqa: S606  no shell is wanted


if __name__ == "__main__":
    main(int(sys.argv[1]), sys.argv[2], sys.argv[3:])
