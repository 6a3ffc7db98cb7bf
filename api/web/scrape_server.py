"""The server at which a worker shows its metrics, by the gateway's own HTTP server and its limits of clients."""

import asyncio
import socket
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress

import structlog
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from api.web.client_address import is_within
from api.web.server import GatewayServer
from taskforce.core.domain.errors import Unavailable
from taskforce.infrastructure.config.metrics import worker_port
from taskforce.infrastructure.config.settings import Settings
from taskforce.infrastructure.metrics.exposition import CONTENT_TYPE
from taskforce.infrastructure.metrics.process_metrics import ProcessMetrics

LOOPBACK = ("127.0.0.0/8", "::1/128")

_log = structlog.get_logger(__name__)


@asynccontextmanager
async def showing_metrics(settings: Settings, metrics: ProcessMetrics) -> AsyncIterator[None]:
    """Serves `/metrics` while the block lasts, to this machine and to the networks that may scrape.

    Args:
        settings: The process's settings.
        metrics: The process's metrics.

    Raises:
        Unavailable: `metrics_port_taken`: the port that was set cannot be listened on. In development, where no port
            need be set, a second worker goes without.
    """
    port = worker_port(settings)
    listening = None if port is None else _listening(settings, port)
    if listening is None:
        yield
        return
    closing = asyncio.Event()
    app = _app(metrics, (*LOOPBACK, *settings.metrics_networks))
    server = GatewayServer(app, closing, host=settings.worker_metrics_host, port=0, signals=False)
    serving = asyncio.create_task(server.serve([listening]))
    _log.info("worker.metrics", port=listening.getsockname()[1])
    try:
        yield
    finally:
        server.should_exit = True
        with suppress(asyncio.CancelledError):
            await serving


def _listening(settings: Settings, port: int) -> socket.socket | None:
    try:
        family = socket.AF_INET6 if ":" in settings.worker_metrics_host else socket.AF_INET
        return socket.create_server((settings.worker_metrics_host, port), family=family)
    except OSError as error:
        if settings.worker_metrics_port is not None:
            text = (
                f"TASKFORCE_WORKER_METRICS_PORT cannot be used: port {port}: {error.strerror or type(error).__name__}."
            )
            raise Unavailable("metrics_port_taken", text) from None
        _log.info("worker.metrics_elsewhere", port=port)
        return None


def _app(metrics: ProcessMetrics, networks: tuple[str, ...]) -> Starlette:
    async def show(request: Request) -> Response:
        if not is_within(request.client.host if request.client else None, networks):
            return Response("This network may not read metrics.\n", 403, media_type="text/plain")
        return Response(await metrics.exposition(), media_type=CONTENT_TYPE)

    return Starlette(routes=[Route("/metrics", show)])
