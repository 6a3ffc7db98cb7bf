"""FastAPI application of the gateway: routes, error handlers and middleware around a given context."""

from functools import cached_property
from typing import Any

from fastapi import APIRouter, FastAPI, Request, Response

from api.composition import GatewayContext
from api.routes import (
    agent_versions,
    agents,
    api_keys,
    approval_definitions,
    approval_delegations,
    approval_requests,
    audit,
    budgets,
    costs,
    execute,
    health,
    kill_switches,
    me,
    metrics,
    policies,
    prices,
    roles,
    run_events,
    run_steps,
    runs,
    sla,
    tenants,
    usage,
    users,
    webhooks,
)
from api.web import problems
from api.web.middleware import BodyGuard, RequestContext
from api.web.openapi import EncodedDocument, describe
from api.web.request_metrics import RequestMetrics, RouteTemplates
from taskforce.core.interfaces.metrics import Observers
from taskforce.core.interfaces.tracing import NO_TRACING

ADMIN = (
    agents,
    agent_versions,
    api_keys,
    approval_definitions,
    audit,
    budgets,
    costs,
    kill_switches,
    policies,
    prices,
    approval_requests,
    roles,
    sla,
    tenants,
    usage,
    users,
    webhooks,
)
"""The routers under `/admin`, which are served under the guide's `/v1/admin` too."""
API, GUIDE = "/api/v1", "/v1"
"""Under which paths routes are served: the product's own, and the guide's."""
VERSION = "0.1.0"
DESCRIPTION = "Runs AI agents that a company can trust: durable runs and approvals, every right read anew."


class Gateway(FastAPI):
    """Extends FastAPI by the gateway's own OpenAPI document."""

    def openapi(self) -> dict[str, Any]:
        """Returns the OpenAPI document; see `describe`."""
        return describe(self)

    @cached_property
    def document(self) -> EncodedDocument:
        """Returns the OpenAPI document as it is sent, encoded once."""
        return EncodedDocument.of(self.openapi())

    def setup(self) -> None:
        """Adds the routes of the documentation."""
        # Before FastAPI's route of the same path, which encodes the document for each request.
        assert self.openapi_url is not None
        self.add_route(self.openapi_url, self._send_document, include_in_schema=False)
        super().setup()

    async def _send_document(self, request: Request) -> Response:
        return self.document.response(request)


def create_app(context: GatewayContext | None) -> Gateway:
    """Creates the application.

    Args:
        context: What its routes depend on; the caller that opened it closes it. None where no request is served.
    """
    app = Gateway(title="PyTaskforce Enterprise", version=VERSION, description=DESCRIPTION, redirect_slashes=False)
    app.state.context = context
    problems.install(app)
    # Added last runs first: RequestContext is outside, so that refused bodies have an id and a log line too.
    app.add_middleware(BodyGuard)
    # Without a context the application only describes itself.
    tracer, observer = (NO_TRACING, Observers()) if context is None else (context.tracer, context.observer)
    app.add_middleware(RequestContext, tracer=tracer)
    templates = RouteTemplates((API, GUIDE), lambda: app.openapi()["paths"])
    app.add_middleware(RequestMetrics, observer=observer, templates=templates)
    app.include_router(health.router)
    app.include_router(metrics.router)
    app.include_router(_routes(), prefix=API)
    # The guide's own paths are served too, but not listed: one entry each in the document is enough.
    for each in (execute, *ADMIN):
        app.include_router(each.router, prefix=GUIDE, include_in_schema=False)
    return app


def _routes() -> APIRouter:
    together = APIRouter()
    for each in (execute, runs, run_steps, run_events, me, approval_delegations, *ADMIN):
        together.include_router(each.router)
    return together
