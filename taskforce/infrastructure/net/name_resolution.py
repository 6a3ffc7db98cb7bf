"""Resolution of host names on threads of its own.

`getaddrinfo` blocks a thread for as long as a name server is silent. asyncio's default executor has few threads, which
everything else of the process shares: connections to PostgreSQL, files, parsing. Here threads are many, a name is
looked up once at a time however many ask for it, and a holder (a tenant, else the host itself) gets a fair share of the
threads; who asked waits for a bounded time, while the thread is counted until the answer has come.
"""

import asyncio
import socket
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any

from taskforce.core.domain.access.fair_shares import FairShares
from taskforce.core.domain.errors import Limited

THREADS = 96
SECONDS = 5.0

Found = list[tuple[Any, ...]]
Lookup = Callable[..., Found]


class NameResolution:
    """Looks names up as the machine does.

    Args:
        threads: Number of lookups at a time.
        seconds: The longest wait for an answer, the wait for a thread included.
        lookup: Blocks until it has the answer; takes the arguments of `socket.getaddrinfo`.
    """

    def __init__(
        self, *, threads: int = THREADS, seconds: float = SECONDS, lookup: Lookup = socket.getaddrinfo
    ) -> None:
        self._threads = ThreadPoolExecutor(threads, thread_name_prefix="names")
        self._shares = FairShares(threads, lambda: Limited("lookups_busy", "Too many lookups are under way."))
        self._seconds = seconds
        self._lookup = lookup
        self._under_way: dict[tuple[object, ...], asyncio.Future[Found]] = {}

    def close(self) -> None:
        """Ends the threads, without waiting for silent name servers."""
        self._threads.shutdown(wait=False, cancel_futures=True)

    async def addresses(self, host: str, port: int, *, holder: str) -> tuple[str, ...]:
        """Resolves a name to literal addresses, in the order to be tried.

        Args:
            host: The name.
            port: The port.
            holder: Whose share of the threads is used.

        Raises:
            OSError: As `lookup`.
        """
        found = await self.lookup(host, port, type=socket.SOCK_STREAM, holder=holder)
        return tuple(str(address[0]) for *_, address in found)

    async def lookup(self, host: object, port: object, *, holder: str, **options: int) -> Found:
        """Looks a name up.

        Args:
            host: The name.
            port: The port.
            holder: Whose share of the threads is used.
            **options: Those of `socket.getaddrinfo`.

        Returns:
            As `socket.getaddrinfo`.

        Raises:
            OSError: The name is not known, or the answer did not come in time.
        """
        key = (host, port, *sorted(options.items()))
        try:
            async with asyncio.timeout(self._seconds):
                while (under_way := self._under_way.get(key)) is None:
                    await self._shares.wait(holder, self._seconds)
                    self._begin(key, holder, options)
                # Shielded: others wait for the same answer.
                return await asyncio.shield(under_way)
        except (TimeoutError, Limited):
            raise socket.gaierror(socket.EAI_AGAIN, f"The name was not resolved in {self._seconds:g} s.") from None

    def _begin(self, key: tuple[object, ...], holder: str, options: dict[str, int]) -> None:
        if key in self._under_way:
            # Somebody else has begun while this one waited for its share.
            self._shares.release(holder)
            return
        host, port, *_ = key
        loop = asyncio.get_running_loop()
        answer = loop.run_in_executor(self._threads, lambda: self._lookup(host, port, **options))
        self._under_way[key] = answer

        def end(answered: "asyncio.Future[Found]") -> None:
            del self._under_way[key]
            self._shares.release(holder)
            # Read, although nobody may wait any more: else asyncio reports an exception that was never retrieved.
            if not answered.cancelled():
                answered.exception()

        answer.add_done_callback(end)


class ResolvingLoop(asyncio.SelectorEventLoop):
    """An event loop that resolves all names by `NameResolution`, whatever library asks; a host is its own holder.

    Attributes:
        names: The resolution.
    """

    def __init__(self) -> None:
        super().__init__()
        self.names = NameResolution()

    async def getaddrinfo(self, host: object, port: object, **options: int) -> Found:
        """Looks a name up; see `NameResolution.lookup`."""
        return await self.names.lookup(host, port, holder=f"host:{host}", **options)

    def close(self) -> None:
        """Closes the loop and ends the threads."""
        self.names.close()
        super().close()
