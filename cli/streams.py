"""The command's standard streams: one that is closed or full, or that holds no text, is told in one line."""

import io
import os
import sys
from collections.abc import Sequence
from contextlib import suppress
from typing import TYPE_CHECKING, Final, TextIO

from cli.exits import Exit, Trouble

if TYPE_CHECKING:
    from _typeshed import ReadableBuffer

_ORDINALS: Final = ("first", "second", "third")
_ERRORS: Final = 2
_BYTE_ORDER_MARK: Final = "\ufeff"


class OutputLost(Exception):
    """Raised when standard output takes nothing more.

    Not an OSError: those of files that a command reads or writes mean something else.

    Args:
        cause: What the system says.
    """

    def __init__(self, cause: OSError) -> None:
        super().__init__(f"Standard output cannot be written: {cause.strerror or cause}.")
        self.reader_left = isinstance(cause, BrokenPipeError)
        """Whether somebody read it who has seen enough, such as `head`."""


class _Output(io.FileIO):
    def write(self, data: "ReadableBuffer", /) -> int:
        try:
            return super().write(data)
        except OSError as error:
            raise OutputLost(error) from None


class _Complaints(io.FileIO):
    def write(self, data: "ReadableBuffer", /) -> int:
        with suppress(OSError):  # there is nowhere left to tell of it
            return super().write(data)
        return memoryview(data).nbytes


def prepare() -> None:
    """Makes the standard streams what a command can count on; for the beginning of the program."""
    _occupy()
    sys.stdout = _text(_Output(1, "wb", closefd=False), sys.stdout)
    sys.stderr = _text(_Complaints(2, "wb", closefd=False), sys.stderr)


def abandon_output() -> None:
    """Discards what is still in the buffer of standard output, after it was lost."""
    nowhere = os.open(os.devnull, os.O_WRONLY)
    # Python flushes at its end, and would complain of the lost output once more.
    os.dup2(nowhere, 1)
    os.close(nowhere)


def require_text(arguments: Sequence[str]) -> None:
    """Refuses arguments that are not text in this system's encoding.

    Args:
        arguments: As Python hands them on: what it could not decode is a lone surrogate.

    Raises:
        Trouble: One is not.
    """
    for place, argument in enumerate(arguments):
        try:
            argument.encode()
        except UnicodeEncodeError:
            which = _ORDINALS[place] if place < len(_ORDINALS) else f"{place + 1}th"
            message = f"The {which} argument holds bytes that are not {_encoding()} text."
            raise Trouble(Exit.USAGE, "argument_not_text", message) from None


def read_input() -> str:
    """Reads all of standard input, which is UTF-8.

    Raises:
        Trouble: It is closed, cannot be read, or is not UTF-8.
    """
    if sys.stdin is None:
        raise Trouble(Exit.USAGE, "input_unreadable", "Standard input is closed.")
    try:
        text = sys.stdin.buffer.read().decode()
    except OSError as error:
        message = f"Standard input cannot be read: {error.strerror or error}."
        raise Trouble(Exit.USAGE, "input_unreadable", message) from None
    except UnicodeDecodeError as error:
        found = f"byte {error.start + 1} is 0x{error.object[error.start]:02x}"
        raise Trouble(Exit.USAGE, "input_not_text", f"Standard input is not UTF-8 text: {found}.") from None
    # What editors on Windows add is not part of a mission.
    return text.removeprefix(_BYTE_ORDER_MARK).replace("\r\n", "\n")


def is_interactive() -> bool:
    """Returns whether a person can be asked on standard input."""
    return sys.stdin is not None and not sys.stdin.closed and sys.stdin.isatty()


def _occupy() -> None:
    """Opens file descriptors 0 to 2 where they are closed: else a socket may get one, and with it what is printed.

    What is opened for reading only cannot be written, so that a closed standard output is told like a full one.
    """
    while (number := os.open(os.devnull, os.O_RDONLY)) <= _ERRORS:
        continue
    os.close(number)


def _text(raw: io.FileIO, before: TextIO | None) -> io.TextIOWrapper:
    encoding = getattr(before, "encoding", None) or "utf-8"
    return io.TextIOWrapper(
        # Replaced rather than refused: an agent's emoji must not end the command in an old locale.
        io.BufferedWriter(raw),
        encoding,
        errors="replace",
        line_buffering=raw.isatty() or raw.fileno() == _ERRORS,
    )


def _encoding() -> str:
    return sys.getfilesystemencoding().upper()
