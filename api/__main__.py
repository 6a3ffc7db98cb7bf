"""Starts the gateway (`python -m api`), until Ctrl-C or SIGTERM. Any number of them may run."""

import asyncio
import gc
import logging
import os
import sys

import structlog

from api.app import Gateway, create_app
from api.composition import compose
from api.web.limits import http_limits
from api.web.server import GatewayServer
from taskforce.core.domain.errors import DomainError
from taskforce.core.interfaces.tracing import NO_TRACING, Tracer
from taskforce.infrastructure.config.logging import log_as_deployed
from taskforce.infrastructure.config.settings import Settings
from taskforce.infrastructure.loop_watch import watched_loop
from taskforce.infrastructure.net.name_resolution import ResolvingLoop
from taskforce.infrastructure.tracing.deployment import traced_as_deployed

SERVICE = "taskforce-gateway"

_log = structlog.get_logger(__name__)


def warn_if_exposed(settings: Settings) -> None:
    """Warns when other machines reach a gateway that runs with the relaxed checks of development.

    Args:
        settings: The process's settings.
    """
    if settings.development_exposed:
        _log.warning(
            "development_profile_exposed",
            host=settings.host,
            profile=settings.profile,
            detail="Other machines reach a gateway with development secrets and lenient rules. Set TASKFORCE_PROFILE "
            "to a profile that is not for development, or TASKFORCE_HOST to 127.0.0.1.",
        )


def prepare(app: Gateway) -> None:
    """Builds what the first requests would wait for, and keeps the garbage collector from walking it.

    Args:
        app: The application.
    """
    # With the document FastAPI builds all routes, which it would otherwise do on the event loop for the first request.
    assert app.document.body
    # What is loaded by now stays for good; walking it stops everything for a quarter second.
    gc.collect()
    gc.freeze()


async def serve(settings: Settings, tracer: Tracer = NO_TRACING) -> int:
    """Serves requests until a signal ends the process.

    Args:
        settings: The process's settings.
        tracer: The process's tracer.

    Returns:
        The process's exit code.
    """
    warn_if_exposed(settings)
    async with compose(settings, tracer) as context:
        limits = http_limits(settings)
        app = create_app(context)
        prepare(app)
        server = GatewayServer(app, context.closing, host=settings.host, port=settings.port, limits=limits)
        _log.info("gateway.starting", url=settings.url, profile=settings.profile)
        with watched_loop():
            await server.serve()
        _log.info("gateway.ended")
        return 0 if server.started else 1


def run() -> int:
    """Reads the settings and serves requests.

    Returns:
        The exit code: 0 after an orderly end, 1 when something is missing.
    """
    try:
        settings = Settings.from_env()
        with traced_as_deployed(SERVICE, os.environ) as tracer:
            log_as_deployed(settings, tracer)
            with asyncio.Runner(loop_factory=ResolvingLoop) as runner:
                return runner.run(serve(settings, tracer))
    except DomainError as error:
        sys.stderr.write(f"{error.code}: {error.message}\n")
        return 1
    except KeyboardInterrupt:
        return 0
    # Uvicorn exits where the address is taken.
    except SystemExit as exit_:
        return exit_.code if isinstance(exit_.code, int) else 1


def main() -> None:
    """Runs the gateway and exits without interpreter shutdown, during which the Temporal SDK may abort the process."""
    code = run()
    logging.shutdown()
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(code)


if __name__ == "__main__":
    main()
