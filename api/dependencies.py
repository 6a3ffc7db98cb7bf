"""What routes ask for in their signatures: who calls and with which right, and the parts of the gateway.

A route states its permission by one of three marks: `Allowed(...)`, `SignedIn` or `Open`. A test fails for a route
without one.
"""

import re
from collections.abc import Mapping
from dataclasses import dataclass, replace
from datetime import datetime
from typing import Annotated

from fastapi import Depends, Header, Request, params
from fastapi.security import APIKeyHeader, HTTPAuthorizationCredentials, HTTPBearer

from api.addresses import client_address
from api.parts import GatewayParts
from api.problems import request_id_of
from api.refusals import Claimed
from api.things import thing_of
from taskforce.application.principals import Actor, anew, recognise, recognise_key
from taskforce.application.rates import count_request
from taskforce.application.rights import on_resource, require_right
from taskforce.core.domain.access import Standing, UserRecord
from taskforce.core.domain.api_keys import KEY_PREFIX, ApiKey
from taskforce.core.domain.errors import Forbidden, Invalid, Unauthenticated
from taskforce.core.interfaces.identity import Permission
from taskforce.core.interfaces.records import Records
from taskforce.infrastructure.logging import bind

MOST_PATIENT = 60

_ETAG = r'(?:W/)?"[\x21\x23-\x7e\x80-\xff]*"'
_ETAGS = re.compile(rf"{_ETAG}(?:[ \t]*,[ \t]*{_ETAG})*")
_REVISION = re.compile(r'(?<!W/)"([1-9][0-9]{0,8})"')
_KEY = re.compile(r"[\x20-\x7e]{1,255}")
_WAIT = re.compile(r"(?:^|[,;])\s*wait\s*=\s*\"?(\d{1,9})\"?\s*(?=$|[,;])", re.IGNORECASE | re.ASCII)


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

_bearer = HTTPBearer(auto_error=False, description="A signed token that names user, tenant and roles, or an API key.")
_key_header = APIKeyHeader(name="X-API-Key", auto_error=False, description="An API key: tf_...")
Credentials = Annotated[HTTPAuthorizationCredentials | None, Depends(_bearer)]
KeyHeader = Annotated[str | None, Depends(_key_header)]


@dataclass(frozen=True, slots=True)
class Guard:
    """Lets only those pass who are known and, where one is named, hold a permission.

    Attributes:
        permission: The permission; None lets in everybody who is signed in.
        of: The field of the body that names the thing that it is about; None when the path does, if anything.
    """

    permission: Permission | None
    of: str | None = None

    async def __call__(self, request: Request, parts: Parts, credentials: Credentials, key: KeyHeader) -> Caller:
        """Recognises the caller.

        Raises:
            Unauthenticated: There is no credential, none that we believe, or more than one.
            Forbidden: `user_deactivated`, `tenant_disabled`, `address_not_allowed`, `permission_denied` or
                `policy_denied`.
            Limited: `rate_limited`.
        """
        caller = await _Entrance(request, parts).recognise(credentials.credentials if credentials else None, key)
        if self.permission is not None:
            thing = await thing_of(request, parts, caller.standing, self.permission, self.of)
            caller = replace(caller, thing=thing)
            await require_on(parts, caller, self.permission, thing)
        return caller


async def require_on(parts: GatewayParts, caller: Caller, permission: Permission, thing: str | None) -> None:
    """Lets only a caller go on who may do something to a thing.

    Raises:
        Forbidden: `permission_denied` or `policy_denied`.
        Unavailable: `policy_unreadable`.
    """
    here = await on_resource(parts.database, caller.standing, permission, thing, parts.rules, parts.clock())
    await require_right(parts.policies, here, permission, thing, caller.facts)


async def may(parts: GatewayParts, caller: Caller, permission: Permission, thing: str | None) -> bool:
    """Whether a caller may do something to a thing; see `require_on`."""
    try:
        await require_on(parts, caller, permission, thing)
    except Forbidden:
        return False
    return True


async def may_still(parts: GatewayParts, caller: Caller, permission: Permission, thing: str | None) -> bool:
    """Whether a caller may go on with what lasts: credential, address, rights and policy are looked at anew."""
    who = await _anew(parts, caller)
    return who is not None and await may(parts, replace(caller, standing=who), permission, thing)


async def is_still_known(parts: GatewayParts, caller: Caller) -> bool:
    """Whether a caller who needs no right may go on with what lasts: credential and address are looked at anew."""
    return await _anew(parts, caller) is not None


async def _anew(parts: GatewayParts, caller: Caller) -> Standing | None:
    now = parts.clock()
    try:
        who = await anew(parts.database, caller.standing, parts.rules, now)
        _check_address(who, caller.client)
    except (Forbidden, Unauthenticated):
        return None
    return who if now < caller.expires_at else None


@dataclass(frozen=True, slots=True)
class _Entrance:
    """One request on its way in; what is found out is kept in its state, for the answer and for the audit log."""

    request: Request
    parts: GatewayParts

    async def recognise(self, token: str | None, key: str | None) -> Caller:
        self.request.state.client = client_address(self.request, self.parts.trusted_proxies)
        self._check_single(token, key)
        plaintext = key or (token if token and token.startswith(KEY_PREFIX) else None)
        standing, expires_at = await (self._by_key(plaintext) if plaintext else self._by_token(token))
        client, route = self.request.state.client, self.request.scope["route"].name
        return Caller(standing, expires_at, request_id_of(self.request), client, route)

    def _check_single(self, token: str | None, key: str | None) -> None:
        # Whatever stands before us must not see another one in it than we do.
        twice = any(len(self.request.headers.getlist(name)) > 1 for name in ("authorization", "x-api-key"))
        if twice or (token and key):
            raise Unauthenticated("credentials_ambiguous", "Send one credential: a token or an API key, once.")

    async def _by_key(self, plaintext: str) -> tuple[Standing, datetime]:
        database, now = self.parts.database, self.parts.clock()
        standing, key = await recognise_key(database, plaintext, self.parts.rules, now, self._admit, self._met)
        return standing, key.expires_at

    async def _by_token(self, token: str | None) -> tuple[Standing, datetime]:
        identity = await self.parts.identities.authenticate(token)
        self._named(Claimed(identity.tenant_id, identity.user_id))
        database, now = self.parts.database, self.parts.clock()
        standing = await recognise(database, database, identity, self.parts.rules, now, self._admit)
        return standing, identity.expires_at

    def _met(self, key: ApiKey) -> None:
        self._named(Claimed(key.tenant_id, key.user_id, key.key_id))

    def _named(self, claimed: Claimed) -> None:
        self.request.state.claimed = claimed
        bind(tenant_id=claimed.tenant_id, user_id=claimed.user_id, key_id=claimed.key_id)

    async def _admit(self, records: Records, standing: Standing) -> None:
        state = self.request.state
        state.standing = standing
        _check_address(standing, state.client)
        state.rate_headers = await count_request(records, self.parts.rates, standing, self.parts.clock())


def _check_address(standing: Standing, client: str | None) -> None:
    if not standing.tenant.settings.admits(client):
        raise Forbidden("address_not_allowed", "Your tenant does not let anybody in from this address.")


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
) -> frozenset[int] | None:
    """Which revisions a change is meant for (RFC 9110, section 13.1.1); None for any.

    A tag that is not one of ours, or a weak one, is none that anything has.

    Raises:
        Invalid: `if_match_invalid`.
    """
    if if_match is None or if_match.strip() == "*":
        return None
    if not _ETAGS.fullmatch(if_match.strip()):
        raise Invalid("if_match_invalid", 'If-Match takes ETags as they came, for example "3", or *.')
    return frozenset(int(one) for one in _REVISION.findall(if_match))


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
    here = await on_resource(parts.database, caller.standing, permission, thing, parts.rules, parts.clock())
    await require_right(parts.policies, here, permission, thing, {"channel": "api", "route": route})


Seen = Annotated[frozenset[int] | None, Depends(seen_revision)]
IdempotencyKey = Annotated[str | None, Depends(idempotency_key)]
Patience = Annotated[int | None, Depends(patience)]
