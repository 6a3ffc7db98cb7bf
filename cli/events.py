"""Server-sent events: a parser, a stream that survives broken connections, and a thread that reads it."""

import codecs
import queue
import re
import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Final

from cli.documents import Document
from cli.exits import FINAL, Exit, Trouble
from cli.gateway import Gateway

_LINE_END: Final = re.compile(r"\r\n|\n|\r")
_LONGEST: Final = 4_000_000
_FIRST_DELAY_SECONDS: Final = 0.25
_LONGEST_DELAY_SECONDS: Final = 5.0
_PATIENCE_SECONDS: Final = 120.0


@dataclass(frozen=True, slots=True)
class ServerEvent:
    """A server-sent event.

    Attributes:
        type: Its name, `message` if it has none.
        data: Its data.
        id: What a resumed stream goes on after; None when it cannot be resumed after this one.
    """

    type: str
    data: str
    id: str | None = None


class EventParser:
    """Turns bytes into events as the HTML standard's section 9.2.6 says."""

    def __init__(self) -> None:
        # `utf-8-sig`: the standard drops a byte order mark at the beginning.
        self._decoder = codecs.getincrementaldecoder("utf-8-sig")(errors="replace")
        self._rest = ""
        self._type = ""
        self._data: list[str] = []
        self._id: str | None = None

    def feed(self, chunk: bytes) -> Iterator[ServerEvent]:
        """Takes the next bytes and gives the events that they complete.

        Args:
            chunk: Any number of bytes, cut anywhere.

        Raises:
            Trouble: A line is longer than any that the gateway sends.
        """
        text = self._rest + self._decoder.decode(chunk)
        # A carriage return at the end may be half of a line's end.
        held = "\r" if text.endswith("\r") else ""
        *lines, rest = _LINE_END.split(text[: len(text) - len(held)])
        self._rest = rest + held
        # A line without an end would fill the memory.
        if len(self._rest) > _LONGEST:
            raise Trouble(Exit.ERROR, "answer_not_understood", "The event stream does not look like one.")
        for line in lines:
            event = self._line(line)
            if event:
                yield event

    def _line(self, line: str) -> ServerEvent | None:
        if not line:
            return self._dispatch()
        name, _, value = line.partition(":")
        value = value.removeprefix(" ")
        if name == "event":
            self._type = value
        elif name == "data":
            self._data.append(value)
        # The standard ignores an id with NUL in it.
        elif name == "id" and "\0" not in value:
            self._id = value
        return None

    def _dispatch(self) -> ServerEvent | None:
        event = ServerEvent(self._type or "message", "\n".join(self._data), self._id) if self._data else None
        # Unlike the standard's, the id does not last: text of the model has none, and is no place to resume after.
        self._type, self._data, self._id = "", [], None
        return event


LOST: Final = ServerEvent("connection.lost", "{}")
"""Told between events when the connection broke; the next event says that it is back."""


class EventStream:
    """A run's events from the first to `run.finished`, each milestone once, whatever happens to the connection.

    Args:
        gateway: Where the run is.
        run_id: Its whole id.
        patience_seconds: For how long the gateway may be away.
    """

    def __init__(self, gateway: Gateway, run_id: str, patience_seconds: float = _PATIENCE_SECONDS) -> None:
        self.stopped = threading.Event()
        self._gateway = gateway
        self._run_id = run_id
        self._patience = patience_seconds
        self._last: str | None = None
        self._heard = time.monotonic()
        self._delay = _FIRST_DELAY_SECONDS

    def __iter__(self) -> Iterator[ServerEvent]:
        """Yields the events, and `LOST` where the connection broke.

        Raises:
            Trouble: The stream was refused, or the gateway was away for too long.
        """
        while not self.stopped.is_set():
            try:
                for event in self._connection():
                    yield event
                    if event.type == "run.finished":
                        return
                if self._over():
                    yield ServerEvent("run.finished", "{}")
                    return
            except Trouble as trouble:
                # A restart of the gateway passes; a run goes on meanwhile, and its events wait.
                if trouble.exit_code != Exit.UNAVAILABLE or time.monotonic() - self._heard > self._patience:
                    raise
                yield LOST
            self.stopped.wait(self._delay)
            self._delay = min(2 * self._delay, _LONGEST_DELAY_SECONDS)

    def _connection(self) -> Iterator[ServerEvent]:
        parser = EventParser()
        with self._gateway.events(self._run_id, self._last) as chunks:
            for chunk in chunks:
                # Anything counts as heard, comments too.
                self._heard, self._delay = time.monotonic(), _FIRST_DELAY_SECONDS
                yield from (event for event in parser.feed(chunk) if self._is_new(event))

    def _is_new(self, event: ServerEvent) -> bool:
        if event.id is None:
            return True
        if (
            self._last is not None
            and event.id.isdecimal()
            and self._last.isdecimal()
            and int(event.id) <= int(self._last)
        ):
            return False
        self._last = event.id
        return True

    def _over(self) -> bool:
        """Asks for the run's status: a stream ends without `run.finished` where milestones are no longer kept."""
        return self._gateway.get(f"/runs/{self._run_id}").text("status") in FINAL


class EventReader(threading.Thread):
    """Reads a stream beside the thread that shows it.

    Args:
        stream: What is read.
    """

    def __init__(self, stream: EventStream) -> None:
        # A thread that waits for bytes cannot be woken; it must not keep the program from ending.
        super().__init__(name="events", daemon=True)
        self._stream = stream
        self._queue: queue.Queue[ServerEvent | Trouble] = queue.Queue()

    def run(self) -> None:
        """Reads the stream into the queue until it ends; the thread's main function."""
        try:
            for event in self._stream:
                self._queue.put(event)
        except Trouble as trouble:
            self._queue.put(trouble)
        except Exception as error:  # noqa: BLE001  whoever waits for events must hear of it
            self._queue.put(Trouble(Exit.ERROR, "events_failed", f"{type(error).__name__} while reading events."))

    def next(self, seconds: float) -> ServerEvent | None:
        """Returns the next event, or None if none came in time.

        Raises:
            Trouble: What ended the stream.
        """
        try:
            found = self._queue.get(timeout=seconds)
        except queue.Empty:
            return None
        if isinstance(found, Trouble):
            raise found
        return found

    def caught_up(self) -> bool:
        """Returns whether every event that came has been taken."""
        return self._queue.empty()

    def stop(self) -> None:
        """Stops the reading; the thread ends at its next chance."""
        self._stream.stopped.set()


def document_of(event: ServerEvent) -> Document:
    """Parses the event's data; empty when it is no JSON object."""
    return Document.parse(event.data) or Document()
