"""Connections of one server, and those among them whose callers are not authenticated yet."""

from dataclasses import dataclass
from typing import Protocol

from api.web.limits import HttpLimits

ACCEPTED = "credential_accepted"
"""Name, in the state of a request, of the function to call once the caller's credential is accepted."""


class Evictable(Protocol):
    """Declares a connection that can be closed in favour of a newer one."""

    @property
    def unsent(self) -> int:
        """Returns the bytes that wait to be sent to a caller who is not authenticated."""

    def evict(self) -> None:
        """Closes the connection at once."""


@dataclass(slots=True)
class _Held:
    received: int = 0
    unsent: int = 0

    @property
    def size(self) -> int:
        return self.received + self.unsent


class Connections:
    """Bounds the number of connections, and the bytes held for callers who have shown no accepted credential.

    Beyond the number, the connection that has been pending longest is evicted; beyond the bytes, the one that holds
    most. So whoever only keeps connections open, or does not read the answers of open routes, cannot keep others out.

    Args:
        limits: The bounds.
    """

    def __init__(self, limits: HttpLimits) -> None:
        self.limits = limits
        self.held = 0
        self._open: set[Evictable] = set()
        # A dict keeps insertion order: its first key is the connection that has been pending longest.
        self._pending: dict[Evictable, _Held] = {}

    def __len__(self) -> int:
        return len(self._open)

    @property
    def pending(self) -> int:
        """Returns the number of connections that serve no authenticated caller."""
        return len(self._pending)

    def opened(self, connection: Evictable) -> bool:
        """Adds a connection, as pending.

        Returns:
            Whether there is room for it; false when every other connection serves an authenticated caller.
        """
        if len(self._open) >= self.limits.connections and not self._evict_oldest():
            return False
        self._open.add(connection)
        self._pending[connection] = _Held()
        return True

    def closed(self, connection: Evictable) -> None:
        """Removes a connection."""
        self._open.discard(connection)
        self.accepted(connection)

    def hold(self, connection: Evictable, size: int) -> bool:
        """Counts bytes that have come from a caller who is not authenticated yet.

        Args:
            connection: The connection that they came over.
            size: How many.

        Returns:
            Whether there is room for them; false when this connection itself was evicted.
        """
        self._pending.setdefault(connection, _Held()).received += size
        self.held += size
        self._bound()
        return connection in self._pending

    def owe(self, connection: Evictable) -> None:
        """Counts the bytes that wait to be sent over a connection, if it is pending."""
        self._recount(connection)
        self._bound()

    def renew(self, connection: Evictable) -> None:
        """Makes a pending connection the newest one: a request begins on it."""
        if (held := self._pending.pop(connection, None)) is not None:
            self._pending[connection] = held

    def idle(self, connection: Evictable) -> None:
        """Marks a connection as pending, the newest one: no request is in progress on it."""
        self.accepted(connection)
        if connection in self._open:
            self._pending[connection] = _Held()

    def accepted(self, connection: Evictable) -> None:
        """Marks a connection as serving an authenticated caller."""
        if (held := self._pending.pop(connection, None)) is not None:
            self.held -= held.size

    def _bound(self) -> None:
        if self.held <= self.limits.pending_bytes:
            return
        # What was read by its client since it was counted: a connection does not tell each byte that it has sent.
        for each in self._pending:
            self._recount(each)
        while self.held > self.limits.pending_bytes:
            self._evict(max(self._pending, key=lambda each: self._pending[each].size))

    def _recount(self, connection: Evictable) -> None:
        if (held := self._pending.get(connection)) is not None:
            before, held.unsent = held.unsent, connection.unsent
            self.held += held.unsent - before

    def _evict_oldest(self) -> bool:
        oldest = next(iter(self._pending), None)
        if oldest is not None:
            self._evict(oldest)
        return oldest is not None

    def _evict(self, connection: Evictable) -> None:
        # Removed at once: the event loop calls `connection_lost` only in a later turn, and until then it would count.
        self.closed(connection)
        connection.evict()
