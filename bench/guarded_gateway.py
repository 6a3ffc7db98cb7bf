"""Gateway with one route in several copies: open to everybody, and behind its guards.

It counts the statements that go to PostgreSQL, each of which is one round trip.
"""

import asyncio
import os
import sys
from functools import wraps
from typing import Annotated, Any

import asyncpg
from fastapi import APIRouter

from api.app import create_app
from api.auth.caller import Caller
from api.auth.guard import Allowed, Open, SignedIn
from api.composition import compose
from api.web.server import GatewayServer
from taskforce.core.interfaces.identity import Permission
from taskforce.infrastructure.config.settings import Settings
from taskforce.infrastructure.logging import configure_logging

STATEMENTS = "/bench/statements"
OPEN, SIGNED_IN, ALLOWED = "/bench/open", "/bench/signed-in", "/bench/allowed"
_SENDING = ("execute", "fetch", "fetchrow", "fetchval")

router = APIRouter()
_sent = 0


def _counted(name: str) -> None:
    """Wraps a method of the driver so that it counts its calls."""
    send = getattr(asyncpg.Connection, name)

    @wraps(send)
    async def counting(self: asyncpg.Connection, *args: Any, **named: Any) -> object:  # noqa: ANN401 - as the driver's
        global _sent  # noqa: PLW0603 - one process, one count
        _sent += 1
        return await send(self, *args, **named)

    setattr(asyncpg.Connection, name, counting)


@router.get(OPEN, dependencies=[Open])
async def answer_everybody() -> dict[str, str]:
    """Answers everybody."""
    return {"status": "alive"}


@router.get(SIGNED_IN)
async def answer_signed_in(caller: Annotated[Caller, SignedIn]) -> dict[str, str]:
    """Answers whoever is signed in."""
    del caller
    return {"status": "alive"}


@router.get(ALLOWED)
async def answer_allowed(caller: Annotated[Caller, Allowed(Permission.AGENT_READ)]) -> dict[str, str]:
    """Answers whoever may read agents."""
    del caller
    return {"status": "alive"}


@router.get(STATEMENTS, dependencies=[Open])
async def statements() -> int:
    """Returns the number of statements sent so far."""
    return _sent


async def _serve() -> None:
    settings = Settings.from_env()
    configure_logging(settings.log_level or "WARNING")
    for name in _SENDING:
        _counted(name)
    async with compose(settings) as parts:
        app = create_app(parts)
        app.include_router(router)
        await GatewayServer(app, parts.closing, host="127.0.0.1", port=settings.port).serve()


if __name__ == "__main__":
    asyncio.run(_serve())
    sys.stdout.flush()
    # As in api/__main__.py: the Temporal SDK sometimes aborts the interpreter at exit.
    os._exit(0)
