"""TCP ports of the local stack: which are free, and who has the others."""

import os
import socket
import sys
from pathlib import Path

from cli.stack.processes import command_name
from taskforce.core.domain.errors import Conflict

# TCP_LISTEN, as the tables of proc(5) write it.
_LISTEN = "0A"


def free_port(host: str = "127.0.0.1") -> int:
    """Finds a port that nobody listens on now."""
    with socket.socket() as probe:
        probe.bind((host, 0))
        return int(probe.getsockname()[1])


def is_free(port: int, host: str = "127.0.0.1") -> bool:
    """Returns whether a server could listen there."""
    with socket.socket(socket.AF_INET6 if ":" in host else socket.AF_INET) as probe:
        # As servers do: connections of the one before, which the kernel still remembers, do not take the port.
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((host, port))
        except OSError:
            return False
        return True


def require_free(port: int, variable: str, host: str = "127.0.0.1") -> None:
    """Refuses a port that is taken.

    Args:
        port: The port wanted.
        variable: The environment variable that would choose another.
        host: Address to listen on.

    Raises:
        Conflict: Somebody listens there; the message says who, if that can be seen.
    """
    if is_free(port, host):
        return
    owner = holder(port)
    who = f" by {owner}" if owner else ""
    raise Conflict(
        "port_taken",
        f"Port {port} on {host} is taken{who}. Stop that, or choose another: {variable}=<port>.",
        details={"port": port, "variable": variable},
    )


def holder(port: int) -> str | None:
    """Finds who listens on a port, as `name (pid 123)`; None where this user cannot see it."""
    if sys.platform != "linux":
        return None
    wanted = {f"socket:[{inode}]" for inode in _listening_inodes(port)}
    for directory in Path("/proc").glob("[0-9]*/fd") if wanted else ():
        if _holds(directory, wanted):
            pid = int(directory.parent.name)
            return f"{command_name(pid)} (pid {pid})"
    return None


def _listening_inodes(port: int) -> set[str]:
    inodes = set()
    for table in ("/proc/net/tcp", "/proc/net/tcp6"):
        path = Path(table)
        for line in path.read_text().splitlines()[1:] if path.exists() else ():
            fields = line.split()
            if fields[3] == _LISTEN and int(fields[1].rpartition(":")[2], 16) == port:
                inodes.add(fields[9])
    return inodes


def _holds(directory: Path, inodes: set[str]) -> bool:
    try:
        return any(_target(entry) in inodes for entry in directory.iterdir())
    except OSError:
        return False


def _target(entry: Path) -> str:
    try:
        return os.readlink(entry)  # noqa: PTH115  Path.readlink would normalise `socket:[1]`
    except OSError:
        return ""
