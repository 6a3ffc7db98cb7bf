"""Routes of health and readiness, for load balancers and for whoever looks for the missing part."""

from fastapi import APIRouter, Response

from api.auth.caller import Context
from api.auth.guard import Open
from api.schemas.health import AliveOut, ReadyOut

router = APIRouter(tags=["signs of life"], dependencies=[Open])


@router.get("/health", name="health")
async def health() -> AliveOut:
    """Answers while the process serves requests."""
    return AliveOut(status="alive")


@router.get("/ready", responses={503: {"model": ReadyOut}}, name="ready")
async def ready(context: Context, response: Response) -> ReadyOut:
    """Checks the database, Temporal and whether a worker polls; each check takes at most two seconds.

    The answer may be a second old.
    """
    found = await context.health.check()
    response.status_code = 200 if found.status == "ready" else 503
    return found
