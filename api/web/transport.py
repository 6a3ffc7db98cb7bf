"""Sending side of a connection, closed so that the client still receives what was written."""

import asyncio
from typing import Any

LINGER_SECONDS = 2.0


class LingeringTransport(asyncio.Transport):
    """Wraps a transport whose `close` waits for the client's end of the connection, for a bounded time.

    A socket that is closed while bytes of the client are unread resets the connection, and with it an answer that the
    client has not taken yet (RFC 9112, section 9.6). So only the sending side is closed at first; the protocol discards
    what the client still sends.

    Args:
        transport: The event loop's transport.
        loop: The event loop.
        stall_seconds: Seconds for which the client may read nothing of the bytes that wait to be sent to it.
    """

    def __init__(self, transport: asyncio.Transport, loop: asyncio.AbstractEventLoop, stall_seconds: float) -> None:
        super().__init__()
        self._transport = transport
        self._loop = loop
        self._stall_seconds = stall_seconds
        self._timer: asyncio.TimerHandle | None = None
        self.unread = False
        """Whether the client may still be sending; then `close` lingers."""

    def write(self, data: bytes | bytearray | memoryview) -> None:
        """Sends bytes."""
        if self._timer is None:
            self._transport.write(data)

    def close(self) -> None:
        """Closes once everything is sent, and at the latest when the client's time to read it is over."""
        if self._timer is not None:
            return
        waiting = self._transport.get_write_buffer_size()
        lingers = self.unread and not self._transport.is_closing()
        self._timer = self._loop.call_later(self._stall_seconds if waiting else LINGER_SECONDS, self.abort)
        if lingers:
            # Half-closed: the client reads the response, while what it still sends is read and discarded.
            self._transport.write_eof()
            self._transport.resume_reading()
        else:
            self._transport.close()

    def finish(self) -> None:
        """Closes for good: the client has ended its side as well."""
        self._transport.close()

    def lost(self) -> None:
        """Cancels the timer of a connection that is gone."""
        if self._timer is not None:
            self._timer.cancel()

    def abort(self) -> None:
        """Closes at once, and drops what is unsent."""
        self._transport.abort()

    def get_write_buffer_size(self) -> int:
        """Returns the bytes that wait to be sent."""
        return self._transport.get_write_buffer_size()

    def is_closing(self) -> bool:
        """Returns whether nothing more is sent."""
        return self._timer is not None or self._transport.is_closing()

    def pause_reading(self) -> None:
        """Stops reading from the client."""
        if not self.is_closing():
            self._transport.pause_reading()

    def resume_reading(self) -> None:
        """Resumes reading from the client."""
        if not self.is_closing():
            self._transport.resume_reading()

    def get_extra_info(self, name: str, default: Any = None) -> Any:  # noqa: ANN401 - as asyncio has it
        """Returns what the event loop knows about the connection."""
        return self._transport.get_extra_info(name, default)
