"""Connections of one server, and those among them whose callers are not authenticated yet."""

from typing import Protocol

from api.web.limits import HttpLimits


class Evictable(Protocol):
    """Declares a connection that can be closed in favour of a newer one."""

    def evict(self) -> None:
        """Closes the connection at once."""


class Connections:
    """Bounds the number of connections, and the bytes held for callers who have shown no accepted credential.

    Beyond the number, the connection that has been pending longest is evicted; beyond the bytes, the one that holds
    most. So whoever only keeps connections open cannot keep others out.

    Args:
        limits: The bounds.
    """

    def __init__(self, limits: HttpLimits) -> None:
        self.limits = limits
        self.held = 0
        self._open: set[Evictable] = set()
        # A dict keeps insertion order: its first key is the connection that has been pending longest.
        self._pending: dict[Evictable, int] = {}

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
        self._pending[connection] = 0
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
        self._pending[connection] = self._pending.get(connection, 0) + size
        self.held += size
        if self.held > self.limits.pending_bytes:
            self._evict(max(self._pending, key=self._pending.__getitem__))
        return connection in self._pending

    def idle(self, connection: Evictable) -> None:
        """Marks a connection as pending, the newest one: no request is in progress on it."""
        self.accepted(connection)
        if connection in self._open:
            self._pending[connection] = 0

    def accepted(self, connection: Evictable) -> None:
        """Marks a connection as serving an authenticated caller."""
        self.held -= self._pending.pop(connection, 0)

    def _evict_oldest(self) -> bool:
        oldest = next(iter(self._pending), None)
        if oldest is not None:
            self._evict(oldest)
        return oldest is not None

    def _evict(self, connection: Evictable) -> None:
        # Removed at once: the event loop calls `connection_lost` only in a later turn, and until then it would count.
        self.closed(connection)
        connection.evict()
