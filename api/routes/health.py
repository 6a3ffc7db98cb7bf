"""Routes of health and readiness, for load balancers and for whoever looks for the missing part."""

import asyncio
from collections.abc import Awaitable, Callable

from fastapi import APIRouter, Response

from api.auth.caller import Context
from api.auth.guard import Open
from api.composition import GatewayContext
from api.schemas.health import AliveOut, PartOut, ReadyOut
from taskforce.core.domain.errors import DomainError

router = APIRouter(tags=["signs of life"], dependencies=[Open])

# Less than probes wait: a part that hangs is told as such, and not as a gateway that does not answer.
SECONDS = 2.0


@router.get("/health", name="health")
async def health() -> AliveOut:
    """Answers while the process serves requests."""
    return AliveOut(status="alive")


@router.get("/ready", responses={503: {"model": ReadyOut}}, name="ready")
async def ready(context: Context, response: Response) -> ReadyOut:
    """Checks the database, Temporal and whether a worker polls; each check takes at most two seconds."""
    database, (temporal, worker) = await asyncio.gather(_asked(context.database.ping), _workflows(context))
    found = {"database": database, "temporal": temporal, "worker": worker}
    if all(part.ok for part in found.values()):
        return ReadyOut(status="ready", parts=found)
    response.status_code = 503
    return ReadyOut(status="not_ready", parts=found)


async def _workflows(context: GatewayContext) -> tuple[PartOut, PartOut]:
    polling = 0

    async def count() -> None:
        nonlocal polling
        polling = await context.workflow_client.pollers()

    temporal = await _asked(count)
    if not temporal.ok:
        # Temporal alone knows who polls.
        return temporal, PartOut(ok=False, detail="unknown while Temporal does not answer")
    if polling == 0:
        return temporal, PartOut(ok=False, detail="no worker polls the task queue")
    return temporal, PartOut(ok=True)


async def _asked(question: Callable[[], Awaitable[None]]) -> PartOut:
    try:
        async with asyncio.timeout(SECONDS):
            await question()
    except TimeoutError:
        return PartOut(ok=False, detail=f"no answer within {SECONDS:g} s")
    except DomainError as error:
        return PartOut(ok=False, detail=error.code)
    return PartOut(ok=True)
