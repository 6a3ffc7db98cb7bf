"""Numbers of series in files that are mapped into memory, not on Windows."""

import fcntl
import mmap
import os
from pathlib import Path

from taskforce.infrastructure.metrics.numbers import Doubles

CAPACITY = 4_000_000
"""Numbers of a file at most; it is sparse, and takes no more room than the numbers that are used."""
_BYTES = 8


class FileNumbers:
    """Numbers in a file that is mapped into memory: what is written stays when the process is killed.

    The lock on the file says that its process lives; the kernel takes it back when the process ends.

    Args:
        path: The file, which must not exist.
    """

    def __init__(self, path: Path) -> None:
        self._file = os.open(path, os.O_RDWR | os.O_CREAT | os.O_EXCL, 0o600)
        fcntl.flock(self._file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        os.ftruncate(self._file, CAPACITY * _BYTES)
        self._values = memoryview(mmap.mmap(self._file, CAPACITY * _BYTES)).cast("d")
        self._used = 0

    @property
    def values(self) -> Doubles:
        """Returns the numbers."""
        return self._values

    def take(self, count: int) -> int:
        """Takes further numbers into use; returns the place of the first.

        Raises:
            MemoryError: The file is full, which the limits of the labels do not let happen.
        """
        first, self._used = self._used, self._used + count
        if self._used > CAPACITY:
            raise MemoryError("The file of the metrics is full.")
        return first


def read_numbers(path: Path) -> Doubles:
    """Maps the numbers of another process for reading.

    Raises:
        OSError: The file is gone.
    """
    with path.open("rb") as file:
        return memoryview(mmap.mmap(file.fileno(), CAPACITY * _BYTES, access=mmap.ACCESS_READ)).cast("d")


def is_alive(path: Path) -> bool:
    """Returns whether the process lives that the file belongs to.

    Raises:
        OSError: The file is gone.
    """
    with path.open("rb") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_SH | fcntl.LOCK_NB)
        except BlockingIOError:
            return True
        return False
