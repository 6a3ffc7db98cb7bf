"""HTTP server of the gateway."""

import asyncio
import signal
import socket
from collections.abc import Iterator
from contextlib import contextmanager

import uvicorn
from starlette.types import ASGIApp

from api.web.limits import DEFAULTS, HttpLimits
from api.web.protocol import GatewayConfig

GRACE_SECONDS = 10
_SIGNALS = (signal.SIGINT, signal.SIGTERM)


class GatewayServer(uvicorn.Server):
    """Runs Uvicorn so that streams and waiting requests are ended before the shutdown waits for them.

    Args:
        app: The application.
        closing: Set when the server is about to end.
        host: The address to listen on.
        port: The port to listen on; 0 takes a free one.
        signals: Whether Ctrl-C and SIGTERM end it.
        limits: The limits of clients.
    """

    def __init__(
        self,
        app: ASGIApp,
        closing: asyncio.Event,
        *,
        host: str,
        port: int,
        signals: bool = True,
        limits: HttpLimits = DEFAULTS,
    ) -> None:
        config = GatewayConfig(
            app,
            limits,
            host=host,
            port=port,
            lifespan="off",
            log_config=None,
            access_log=False,
            server_header=False,
            # Uvicorn's own proxy headers are off: which proxies are trusted is decided in api/web/client_address.py.
            proxy_headers=False,
            timeout_graceful_shutdown=GRACE_SECONDS,
        )
        super().__init__(config)
        self._closing = closing
        self._signals = signals

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        """Sets `closing`, so that streams and waiting requests end, and then shuts down as Uvicorn does."""
        self._closing.set()
        await super().shutdown(sockets)

    @contextmanager
    def capture_signals(self) -> Iterator[None]:
        """Handles signals; unlike Uvicorn, does not raise them again, because resources are still to be closed."""
        loop = asyncio.get_running_loop()
        taken = _SIGNALS if self._signals else ()
        for one in taken:
            loop.add_signal_handler(one, self.handle_exit, one, None)
        try:
            yield
        finally:
            for one in taken:
                loop.remove_signal_handler(one)
