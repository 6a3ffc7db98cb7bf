"""The caller of a request, as routes receive it."""

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
    """Who calls, with the rights of now.

    Attributes:
        principal: The user, the tenant and the rights.
        expires_at: From when the credential is no longer believed.
        request_id: The request.
        client: The address that it came from.
        route: The name of the route.
    """

    principal: Principal
    expires_at: datetime
    request_id: str | None
    client: str | None
    route: str

    @property
    def key_id(self) -> str | None:
        """The API key, if it was one."""
        return self.principal.key_id

    @property
    def facts(self) -> Mapping[str, object]:
        """What the product has established about the request, for rules of a policy."""
        return {"channel": "api", "client": self.client, "route": self.route}

    @property
    def user(self) -> UserRecord:
        """The user as recorded."""
        return self.principal.user

    @property
    def roles(self) -> frozenset[str]:
        """The roles that count now."""
        return self.principal.roles

    @property
    def permissions(self) -> frozenset[Permission]:
        """What the user may do."""
        return self.principal.permissions

    @property
    def tenant_id(self) -> str:
        """The only tenant that the caller acts in."""
        return self.user.tenant_id

    @property
    def user_id(self) -> str:
        """The caller's id within the tenant."""
        return self.user.user_id


def actor_of(context: GatewayContext, caller: Caller) -> Actor:
    """The caller as use cases take one: with the deployment's rules, the request and the time."""
    return Actor(caller.principal, context.rules, caller.request_id, context.clock())


def context_of(request: Request) -> GatewayContext:
    """The parts that the application was made of."""
    context = request.app.state.context
    assert isinstance(context, GatewayContext)
    return context


Context = Annotated[GatewayContext, Depends(context_of)]
