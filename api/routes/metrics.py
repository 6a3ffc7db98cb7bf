"""Route of the metrics, for Prometheus."""

from typing import Annotated

from fastapi import APIRouter, Response

from api.auth.caller import Caller, Context
from api.auth.guard import AllowedOrScraping
from taskforce.core.domain.errors import Missing
from taskforce.core.interfaces.identity import Permission
from taskforce.infrastructure.metrics.exposition import CONTENT_TYPE

router = APIRouter(tags=["metrics"])

Scraper = Annotated[Caller | None, AllowedOrScraping(Permission.SYSTEM_METRICS)]


@router.get("/metrics", name="metrics", response_class=Response, responses={200: {"content": {"text/plain": {}}}})
async def metrics(caller: Scraper, context: Context) -> Response:
    """Returns the metrics of all tenants to the platform's own people and to networks that may scrape, else the
    caller's own tenant's.
    """
    if context.metrics is None:
        raise Missing("metrics_disabled", "The profile of this deployment has metrics switched off.")
    everything = caller is None or caller.tenant_id == context.rules.platform_tenant
    text = await context.metrics.exposition(None if everything or caller is None else caller.tenant_id)
    return Response(text, media_type=CONTENT_TYPE)
