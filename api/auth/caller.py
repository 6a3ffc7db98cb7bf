"""The authenticated caller of a request, as routes receive it."""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Annotated

from fastapi import Depends, Request

from api.composition import GatewayContext
from taskforce.application.identity.principals import Actor
from taskforce.core.domain.identity.principals import Principal
from taskforce.core.domain.identity.users import UserRecord
from taskforce.core.interfaces.identity import Permission


@dataclass(frozen=True, slots=True)
class Caller:
    """Carries who calls, with the permissions in force at the time of the request.

    Attributes:
        principal: The user, the tenant and the permissions.
        expires_at: From when the credential is no longer accepted.
        request_id: The id of the request, as `X-Request-ID` has it.
        client: The client's IP address; None when the connection has none.
        route: The name of the route.
    """

    principal: Principal
    expires_at: datetime
    request_id: str | None
    client: str | None
    route: str

    @property
    def key_id(self) -> str | None:
        """Returns the id of the API key, or None for a token."""
        return self.principal.key_id

    @property
    def facts(self) -> Mapping[str, object]:
        """Returns the verified facts about the request, for policy conditions on `context.*`."""
        return {"channel": "api", "client": self.client, "route": self.route}

    @property
    def user(self) -> UserRecord:
        """Returns the user as recorded."""
        return self.principal.user

    @property
    def roles(self) -> frozenset[str]:
        """Returns the roles in force now."""
        return self.principal.roles

    @property
    def permissions(self) -> frozenset[Permission]:
        """Returns the permissions that hold everywhere in the tenant."""
        return self.principal.permissions

    @property
    def tenant_id(self) -> str:
        """Returns the only tenant that the caller acts in."""
        return self.user.tenant_id

    @property
    def user_id(self) -> str:
        """Returns the caller's id within the tenant."""
        return self.user.user_id


def actor_of(context: GatewayContext, caller: Caller) -> Actor:
    """Builds the actor that use cases take: the principal with the deployment's rules, the request id and the time."""
    return Actor(caller.principal, context.rules, caller.request_id, context.clock())


def context_of(request: Request) -> GatewayContext:
    """Returns the `GatewayContext` that the application was created with."""
    context = request.app.state.context
    assert isinstance(context, GatewayContext)
    return context


Context = Annotated[GatewayContext, Depends(context_of)]
