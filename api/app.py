"""The gateway as an application: routes, errors and middleware around the parts that it is given."""

from typing import Any

from fastapi import APIRouter, FastAPI

from api import problems
from api.middleware import BodyGuard, RequestContext
from api.openapi import describe
from api.parts import GatewayParts
from api.routes import (
    agent_versions,
    agents,
    api_keys,
    approval_definitions,
    audit,
    delegations,
    events,
    execute,
    identity,
    policies,
    requests,
    roles,
    runs,
    signs,
    steps,
    tenants,
    users,
    webhooks,
)

ADMIN = (
    agents,
    agent_versions,
    api_keys,
    approval_definitions,
    audit,
    policies,
    requests,
    roles,
    tenants,
    users,
    webhooks,
)
"""The routers under `/admin`, which answer at the guide's `/v1/admin` too."""
VERSION = "0.1.0"
DESCRIPTION = "Runs AI agents that a company can trust: durable runs and approvals, every right read anew."


class Gateway(FastAPI):
    """FastAPI with our own OpenAPI document."""

    def openapi(self) -> dict[str, Any]:
        """See `describe`."""
        return describe(self)


def create_app(parts: GatewayParts) -> FastAPI:
    """Makes the application.

    Args:
        parts: What its routes need of the world; whoever made them closes them.
    """
    app = Gateway(title="PyTaskforce Enterprise", version=VERSION, description=DESCRIPTION, redirect_slashes=False)
    app.state.parts = parts
    problems.install(app)
    app.add_middleware(BodyGuard)
    app.add_middleware(RequestContext)
    app.include_router(signs.router)
    app.include_router(_routes(), prefix="/api/v1")
    # The guide's own paths answer too; one entry each in the document is enough.
    for each in (execute, *ADMIN):
        app.include_router(each.router, prefix="/v1", include_in_schema=False)
    return app


def _routes() -> APIRouter:
    together = APIRouter()
    for each in (execute, runs, steps, events, identity, delegations, *ADMIN):
        together.include_router(each.router)
    return together
