"""The caller of a request, as routes receive it."""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Annotated

from fastapi import Depends, Request

from api.composition import GatewayParts
from taskforce.application.identity.principals import Actor
from taskforce.core.domain.identity.principals import Standing
from taskforce.core.domain.identity.users import UserRecord
from taskforce.core.interfaces.identity import Permission


@dataclass(frozen=True, slots=True)
class Caller:
    """Who calls, with the rights of now.

    Attributes:
        standing: The user, the tenant and the rights.
        expires_at: From when the credential is no longer believed.
        request_id: The request.
        client: The address that it came from.
        route: The name of the route.
        thing: The id of what the request is about, where rights on single things matter.
    """

    standing: Standing
    expires_at: datetime
    request_id: str | None
    client: str | None
    route: str
    thing: str | None = None

    @property
    def key_id(self) -> str | None:
        """The API key, if it was one."""
        return self.standing.key_id

    @property
    def facts(self) -> Mapping[str, object]:
        """What the product has established about the request, for rules of a policy."""
        return {"channel": "api", "client": self.client, "route": self.route}

    @property
    def user(self) -> UserRecord:
        """The user as recorded."""
        return self.standing.user

    @property
    def roles(self) -> frozenset[str]:
        """The roles that count now."""
        return self.standing.roles

    @property
    def permissions(self) -> frozenset[Permission]:
        """What the user may do."""
        return self.standing.permissions

    @property
    def tenant_id(self) -> str:
        """The only tenant that the caller acts in."""
        return self.user.tenant_id

    @property
    def user_id(self) -> str:
        """The caller's id within the tenant."""
        return self.user.user_id


def actor_of(parts: GatewayParts, caller: Caller) -> Actor:
    """The caller as use cases take one: with the deployment's rules, the request and the time."""
    return Actor(caller.standing, parts.rules, caller.request_id, parts.clock())


def parts_of(request: Request) -> GatewayParts:
    """The parts that the application was made of."""
    parts = request.app.state.parts
    assert isinstance(parts, GatewayParts)
    return parts


Parts = Annotated[GatewayParts, Depends(parts_of)]
