"""What routes ask for in their signatures: who calls and with which right, and the parts of the gateway.

A route states its permission by one of three marks: `Allowed(...)`, `SignedIn` or `Open`. A test fails for a route
without one.
"""

import re
from dataclasses import dataclass, replace
from datetime import datetime
from typing import Annotated

from fastapi import Depends, Header, Request, params
from fastapi.security import APIKeyHeader, HTTPAuthorizationCredentials, HTTPBearer

from api.addresses import client_address
from api.parts import GatewayParts
from api.problems import request_id_of
from taskforce.application.agents import agent_id_of
from taskforce.application.principals import Actor, recognise, recognise_key
from taskforce.application.rates import count_request
from taskforce.application.rights import on_resource, require_right
from taskforce.core.domain.access import Standing, UserRecord
from taskforce.core.domain.api_keys import KEY_PREFIX
from taskforce.core.domain.errors import Forbidden, Invalid
from taskforce.core.domain.ids import is_id
from taskforce.core.interfaces.identity import Permission
from taskforce.infrastructure.logging import bind

MOST_PATIENT = 60

_ETAG = re.compile(r'"([1-9][0-9]{0,8})"')
_KEY = re.compile(r"[\x20-\x7e]{1,255}")
_WAIT = re.compile(r"(?:^|[,;])\s*wait\s*=\s*\"?(\d{1,9})\"?\s*(?=$|[,;])", re.IGNORECASE | re.ASCII)


@dataclass(frozen=True, slots=True)
class Caller:
    """Who calls, with the rights of now.

    Attributes:
        standing: The user, the tenant and the rights.
        expires_at: From when the credential is no longer believed.
        request_id: The request.
        key_id: The API key, if it was one.
        thing: The id of what the request is about, where its route's permission is about one thing.
    """

    standing: Standing
    expires_at: datetime
    request_id: str | None
    key_id: str | None = None
    thing: str | None = None

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

_bearer = HTTPBearer(auto_error=False, description="A signed token that names user, tenant and roles, or an API key.")
_key_header = APIKeyHeader(name="X-API-Key", auto_error=False, description="An API key: tf_...")
Credentials = Annotated[HTTPAuthorizationCredentials | None, Depends(_bearer)]
KeyHeader = Annotated[str | None, Depends(_key_header)]


@dataclass(frozen=True, slots=True)
class Guard:
    """Lets only those pass who are known and, where one is named, hold a permission.

    Attributes:
        permission: The permission; None lets in everybody who is signed in.
        of: The field of the body that names the thing that it is about, for policies that name it.
    """

    permission: Permission | None
    of: str | None = None

    async def __call__(self, request: Request, parts: Parts, credentials: Credentials, key: KeyHeader) -> Caller:
        """Recognises the caller.

        Raises:
            Unauthenticated: There is no credential, or none that we believe.
            Forbidden: `user_deactivated`, `tenant_disabled`, `address_not_allowed`, `permission_denied` or
                `policy_denied`.
            Limited: `rate_limited`.
        """
        caller = await _recognised(request, parts, credentials.credentials if credentials else None, key)
        standing = caller.standing
        request.state.standing = standing
        request.state.client = client_address(request, parts.trusted_proxies)
        if not standing.tenant.settings.admits(request.state.client):
            raise Forbidden("address_not_allowed", "Your tenant does not let anybody in from this address.")
        request.state.rate_headers = await count_request(
            parts.database, parts.rates, standing, caller.key_id, parts.clock()
        )
        if self.permission is not None:
            facts = {"channel": "api", "client": request.state.client, "route": request.scope["route"].name}
            thing = await self._thing(request, parts, caller.tenant_id)
            caller = replace(caller, thing=thing)
            here = await on_resource(parts.database, standing, self.permission, thing, parts.rules)
            await require_right(parts.policies, here, self.permission, thing, facts)
        return caller

    async def _thing(self, request: Request, parts: GatewayParts, tenant_id: str) -> str | None:
        kind = self.permission.value.partition(":")[0] if self.permission else ""
        named = await self._named(request, kind)
        if kind != "agent" or named is None or (self.of is not None and parts.agents.knows(named)):
            return named
        # By whatever name it is asked for, rights and policies are about the one agent.
        return await agent_named(parts, tenant_id, named)

    async def _named(self, request: Request, kind: str) -> str | None:
        if self.of is None:
            # Of another's tenant only the platform's operator asks, whom no tenant's policy binds; and what is still to
            # be made is no thing yet, although it may be a copy of one.
            unnamed = kind == "tenant" or self.permission is Permission.AGENT_CREATE
            return None if unnamed else request.path_params.get(f"{kind}_id")
        try:
            body = await request.json()
        except ValueError:
            return None
        named = body.get(self.of) if isinstance(body, dict) else None
        return named if isinstance(named, str) else None


async def agent_named(parts: GatewayParts, tenant_id: str, name: str) -> str:
    """The id of an agent of the catalog that is named by its id or its slug; the name itself when there is none."""
    return name.lower() if is_id(name) else await agent_id_of(parts.database, tenant_id, name) or name


async def _recognised(request: Request, parts: GatewayParts, token: str | None, key: str | None) -> Caller:
    now, request_id = parts.clock(), request_id_of(request)
    plaintext = key or (token if token and token.startswith(KEY_PREFIX) else None)
    if plaintext:
        standing, record = await recognise_key(parts.database, parts.database, plaintext, parts.rules, now)
        bind(tenant_id=record.tenant_id, user_id=record.user_id, key_id=record.key_id)
        return Caller(standing, record.expires_at, request_id, record.key_id)
    identity = await parts.identities.authenticate(token)
    bind(tenant_id=identity.tenant_id, user_id=identity.user_id)
    standing = await recognise(parts.database, parts.database, identity, parts.rules, now)
    return Caller(standing, identity.expires_at, request_id)


@dataclass(frozen=True, slots=True)
class Unguarded:
    """The mark of a route that is open to everybody."""

    def __call__(self) -> None:
        """Lets everybody pass."""


def Allowed(permission: Permission, of: str | None = None) -> params.Depends:  # noqa: N802 - reads as the mark that it is
    """Marks a route by the permission that it takes, and by the field of its body that names what it is about.

    It stands in the signature: `caller: Annotated[Caller, Allowed(Permission.AGENT_EXECUTE)]`.
    """
    return params.Depends(Guard(permission, of))


SignedIn = params.Depends(Guard(None))
"""Marks a route for anybody of a tenant; what may be seen and done depends on the thing itself."""
Open = params.Depends(Unguarded())
"""Marks a route for everybody, without a token."""


def idempotency_key(
    key: Annotated[
        str | None, Header(alias="Idempotency-Key", description="1 to 255 printable ASCII characters")
    ] = None,
) -> str | None:
    """Accepts an idempotency key.

    Raises:
        Invalid: `idempotency_key_invalid`.
    """
    if key is not None and not _KEY.fullmatch(key):
        raise Invalid("idempotency_key_invalid", "An Idempotency-Key has 1 to 255 printable ASCII characters.")
    return key


def patience(
    prefer: Annotated[str | None, Header(description="`wait=N`: seconds to wait for the end, at most 60")] = None,
) -> int | None:
    """How many seconds the caller is willing to wait (RFC 7240); a preference that makes no sense is no preference."""
    found = _WAIT.search(prefer or "")
    return min(int(found[1]), MOST_PATIENT) if found else None


def seen_revision(
    if_match: Annotated[
        str | None, Header(description="The `ETag` of what you saw last: 412 when it has been changed since")
    ] = None,
) -> int | None:
    """Which revision a change is meant for (RFC 9110); None for any.

    Raises:
        Invalid: `if_match_invalid`.
    """
    if if_match is None or if_match.strip() == "*":
        return None
    found = _ETAG.fullmatch(if_match.strip())
    if found is None:
        raise Invalid("if_match_invalid", 'If-Match takes one ETag as it came, for example "3", or *.')
    return int(found[1])


async def require_also(
    parts: GatewayParts, caller: Caller, permission: Permission, thing: str | None, route: str
) -> None:
    """Asks for a further right, for what is about two things at once.

    Args:
        parts: The gateway's parts.
        caller: Who calls.
        permission: The right.
        thing: The id of what it is about.
        route: The route's name, for policies.

    Raises:
        Forbidden: `permission_denied` or `policy_denied`.
    """
    here = await on_resource(parts.database, caller.standing, permission, thing, parts.rules)
    await require_right(parts.policies, here, permission, thing, {"channel": "api", "route": route})


Seen = Annotated[int | None, Depends(seen_revision)]
IdempotencyKey = Annotated[str | None, Depends(idempotency_key)]
Patience = Annotated[int | None, Depends(patience)]
