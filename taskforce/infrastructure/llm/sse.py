"""Parser of `text/event-stream` bodies, by the HTML standard with some tolerance.

A line ends at LF, CR or CRLF and nowhere else: U+2028, U+2029 and U+0085 are characters of the data.
"""

import json
from collections.abc import Iterator
from typing import NamedTuple

from taskforce.infrastructure.llm.provider_errors import is_bounded

_BOM = b"\xef\xbb\xbf"


class EventTooLongError(Exception):
    """Reports a single event that exceeds the limit."""


class ServerEvent(NamedTuple):
    """Holds one event: its type (empty where none was named) and its data lines, joined by LF."""

    type: str
    data: bytes


class EventStream:
    """Parses bytes as they arrive and yields the events that they complete.

    Beyond the standard it takes what servers send all the same: events without a blank line between them (a data line
    that is whole JSON stands for itself when another follows), bare JSON lines without `data:`, and a last event that
    no blank line follows.

    Args:
        longest: Bytes that one line or one event may have.

    Raises:
        EventTooLongError: From `feed`, when one has more.
    """

    def __init__(self, longest: int) -> None:
        self._longest = longest
        self._line = bytearray()
        self._after_cr = False
        self._begun = False
        self._type = ""
        self._data: list[bytes] = []
        self._size = 0

    def feed(self, piece: bytes) -> Iterator[ServerEvent]:
        """Parses the next bytes.

        Args:
            piece: Bytes of the body, cut anywhere.

        Yields:
            The events that are complete with them.
        """
        # Both halves of one line's end, in two pieces.
        if self._after_cr and piece.startswith(b"\n"):
            piece = piece[1:]
        if piece:
            self._after_cr = piece.endswith(b"\r")
        if b"\r" in piece:
            piece = piece.replace(b"\r\n", b"\n").replace(b"\r", b"\n")
        *lines, rest = piece.split(b"\n")
        for line in lines:
            self._line += line
            whole = bytes(self._line)
            self._line.clear()
            yield from self._take(whole)
        self._line += rest
        self._require_short(len(self._line))

    def end(self) -> Iterator[ServerEvent]:
        """Yields what the end of the body completes."""
        if self._line:
            whole = bytes(self._line)
            self._line.clear()
            yield from self._take(whole)
        yield from self._dispatch()

    def _take(self, line: bytes) -> Iterator[ServerEvent]:
        if not self._begun:
            self._begun = True
            line = line.removeprefix(_BOM)
        if not line:
            yield from self._dispatch()
        elif line.startswith((b"{", b"[")):
            yield from self._add(line)
        # Other fields (`id`, `retry`) and comments say nothing about a reply and are dropped.
        elif line.startswith(b"data"):
            yield from self._add_field(line)
        elif line.startswith(b"event:"):
            yield from self._name(line[6:])

    def _add_field(self, line: bytes) -> Iterator[ServerEvent]:
        name, _, value = line.partition(b":")
        if name == b"data":
            yield from self._add(value.removeprefix(b" "))

    def _name(self, value: bytes) -> Iterator[ServerEvent]:
        # Without a blank line before it, a new type begins the next event.
        if self._data:
            yield from self._dispatch()
        self._type = value.strip().decode("utf-8", "replace")

    def _add(self, data: bytes) -> Iterator[ServerEvent]:
        if len(self._data) == 1 and _is_whole(self._data[0]):
            yield from self._dispatch()
        self._data.append(data)
        self._size += len(data)
        self._require_short(self._size)

    def _dispatch(self) -> Iterator[ServerEvent]:
        """Yields the event; without data there is none, and its type is dropped."""
        kind, data = self._type, self._data
        self._type, self._data, self._size = "", [], 0
        if data:
            yield ServerEvent(kind, data[0] if len(data) == 1 else b"\n".join(data))

    def _require_short(self, size: int) -> None:
        if size > self._longest:
            raise EventTooLongError


def _is_whole(data: bytes) -> bool:
    """Returns whether a data line is an event by itself."""
    if data.strip() == b"[DONE]":
        return True
    if not is_bounded(data):
        return False
    try:
        json.loads(data)
    except (ValueError, RecursionError):
        return False
    return True
