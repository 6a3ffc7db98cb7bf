"""Files that one process holds against others. Standard library only: the set-up needs it before all else."""

import fcntl
import os
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from taskforce.core.domain.errors import Conflict

_POLL_SECONDS = 0.1


@contextmanager
def exclusive(lock: Path, *, seconds: float, waiting: Callable[[str], None] | None = None) -> Iterator[None]:
    """Holds a lock file against other processes. The kernel frees it, however this process ends.

    Args:
        lock: The file; stays.
        seconds: How long to wait for somebody else.
        waiting: Told, again and again, which process holds it.

    Raises:
        Conflict: Somebody else kept it for that long.
    """
    lock.parent.mkdir(parents=True, exist_ok=True)
    # Not truncated: it names its holder to whoever waits.
    descriptor = os.open(lock, os.O_RDWR | os.O_CREAT | os.O_APPEND, 0o600)
    with os.fdopen(descriptor, "a+") as file:
        _acquire(file.fileno(), lock, time.monotonic() + seconds, waiting)
        file.truncate(0)
        file.write(str(os.getpid()))
        file.flush()
        yield


def _acquire(descriptor: int, lock: Path, deadline: float, waiting: Callable[[str], None] | None) -> None:
    while True:
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            if time.monotonic() >= deadline:
                raise Conflict("in_use", f"{lock} is held by process {_holder(lock)}.") from None
            if waiting:
                waiting(f"waiting for process {_holder(lock)}, which does the same")
            time.sleep(_POLL_SECONDS)
        else:
            return


def _holder(lock: Path) -> str:
    return lock.read_text() or "unknown"
