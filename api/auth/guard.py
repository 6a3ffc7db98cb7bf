"""Authentication and authorization of routes, as dependencies in their signatures.

A route declares its permission by one of these markers: `Allowed(...)`, `SignedIn`, `SignedInTransient` or `Open`. A
test fails for a route without one.
"""

import asyncio
from dataclasses import dataclass, replace
from datetime import datetime
from typing import Annotated

from fastapi import Depends, Request, params
from fastapi.security import APIKeyHeader, HTTPAuthorizationCredentials, HTTPBearer

from api.auth.caller import Caller, Context, actor_of
from api.auth.resource import resource_of
from api.composition import GatewayContext
from api.web.client_address import client_address, is_within
from api.web.connections import ACCEPTED
from api.web.denials import READING, Claimed
from api.web.problems import request_id_of
from taskforce.application.access import authorization
from taskforce.application.access.rate_limits import count_request
from taskforce.application.identity.principals import (
    authenticate_key,
    cut_to_lasting,
    refresh_principal,
    resolve_principal,
)
from taskforce.core.domain.errors import Forbidden, Unauthenticated, Unavailable
from taskforce.core.domain.identity.api_keys import KEY_PREFIX, ApiKey
from taskforce.core.domain.identity.principals import Principal
from taskforce.core.interfaces.identity import Permission
from taskforce.core.interfaces.store import Records
from taskforce.infrastructure.logging import bind

_bearer = HTTPBearer(auto_error=False, description="A signed token that names user, tenant and roles, or an API key.")
_key_header = APIKeyHeader(name="X-API-Key", auto_error=False, description="An API key: tf_...")
Credentials = Annotated[HTTPAuthorizationCredentials | None, Depends(_bearer)]
KeyHeader = Annotated[str | None, Depends(_key_header)]


@dataclass(frozen=True, slots=True)
class Admission:
    """Holds the principal that the credential of a request was resolved to.

    Attributes:
        principal: The user, the tenant and the permissions.
        expires_at: From when the credential is no longer accepted.
    """

    principal: Principal
    expires_at: datetime


async def admit(request: Request, context: GatewayContext) -> None:
    """Authenticates a request before its body is read; the route's guard reuses the result.

    Args:
        request: The request.
        context: The gateway's context.

    Raises:
        Unauthenticated: As `Guard` raises it.
        Forbidden: As `Guard` raises it, except `permission_denied` and `policy_denied`.
        Limited: `rate_limited` or `sign_ins_limited`.
        Unavailable: `authentication_timeout`.
    """
    await _admission(request, context, await _bearer(request), await _key_header(request))


async def _admission(request: Request, context: GatewayContext, token: Credentials, key: KeyHeader) -> Admission:
    """Resolves the caller once per request, because each resolution counts against the caller's rate."""
    # A request with a body was admitted before the body was read; a second time would count against its rate twice.
    found = getattr(request.state, "admission", None)
    if not isinstance(found, Admission):
        try:
            # A body's deadline begins only after this, so nothing else bounds how long its sender is waited for.
            async with asyncio.timeout(context.authentication_seconds):
                found = await _Entrance(request, context).authenticate(token.credentials if token else None, key)
        except TimeoutError:
            raise Unavailable("authentication_timeout", "The credential was not checked in time; try again.") from None
        request.state.admission = found
        if callable(accepted := getattr(request.state, ACCEPTED, None)):
            accepted()
    return found


@dataclass(frozen=True, slots=True)
class Guard:
    """Requires an accepted credential and, where one is named, a permission.

    Requests that change something are judged by permanent permissions only, because their effect would outlast a role
    that was lent for a time; except on routes that are marked as `transient`.

    Attributes:
        permission: The permission; None admits everybody who is signed in.
        of: The field of the body that names the resource; None when the path does, if anything.
        transient: Whether the effect of the route ends by itself, so that roles lent for a time count too.
    """

    permission: Permission | None
    of: str | None = None
    transient: bool = False

    async def __call__(self, request: Request, context: Context, credentials: Credentials, key: KeyHeader) -> Caller:
        """Authenticates the caller and checks the permission on the resource that the request names.

        Raises:
            Unauthenticated: There is no credential, none that is accepted, or more than one.
            Forbidden: `user_deactivated`, `tenant_disabled`, `address_not_allowed`, `permission_denied` or
                `policy_denied`.
            Limited: `rate_limited` or `sign_ins_limited`.
            Unavailable: `authentication_timeout`.
        """
        admission = await _admission(request, context, credentials, key)
        principal = admission.principal
        # Roles that were lent for a time do not count here, or what they create would keep their rights after the loan.
        if not self.transient and request.method not in READING:
            principal = await cut_to_lasting(context.database, principal, context.rules, context.clock())
        caller = Caller(
            principal,
            admission.expires_at,
            request_id_of(request),
            request.state.client,
            request.scope["route"].name,
        )
        if self.permission is not None:
            resource_id = await resource_of(request, context, caller.principal, self.permission, self.of)
            try:
                await require_on(context, caller, self.permission, resource_id)
            except Forbidden as refused:
                raise _explained(refused, admission.principal, principal) from None
        return caller


@dataclass(frozen=True, slots=True)
class ScrapeGuard(Guard):
    """Requires what `Guard` does; without a credential, that the request comes from a network that may scrape."""

    async def __call__(  # type: ignore[override]  # None is nobody in particular
        self, request: Request, context: Context, credentials: Credentials, key: KeyHeader
    ) -> Caller | None:
        """Authenticates the caller and checks the permission; returns None for a scraper without a credential.

        Raises:
            DomainError: As `Guard`.
        """
        if credentials is None and key is None and _may_scrape(request, context):
            return None
        return await Guard.__call__(self, request, context, credentials, key)


def _may_scrape(request: Request, context: GatewayContext) -> bool:
    return is_within(client_address(request, context.trusted_proxies), context.metrics_networks)


def _explained(refused: Forbidden, principal: Principal, lasting: Principal) -> Forbidden:
    if refused.code != "permission_denied" or principal.permissions == lasting.permissions:
        return refused
    # Else somebody would see the permission in `/me` and be refused without a reason.
    text = f"{refused.message} What you were lent for a time does not count for what outlasts it."
    return Forbidden(refused.code, text, details=refused.details)


async def require_on(context: GatewayContext, caller: Caller, permission: Permission, resource_id: str | None) -> None:
    """Requires that the caller holds a permission on a resource; None stands for all resources of the kind.

    Raises:
        Forbidden: `permission_denied` or `policy_denied`.
        Unavailable: `policy_unreadable`.
    """
    actor = actor_of(context, caller)
    await authorization.require_on(
        context.database, context.policies, actor, permission, resource_id, facts=caller.facts
    )


async def may(context: GatewayContext, caller: Caller, permission: Permission, resource_id: str | None) -> bool:
    """Returns whether the caller holds a permission on a resource; see `require_on`."""
    try:
        await require_on(context, caller, permission, resource_id)
    except Forbidden:
        return False
    return True


async def may_still(context: GatewayContext, caller: Caller, permission: Permission, resource_id: str | None) -> bool:
    """Returns whether the caller may continue, with credential, address, permissions and policy evaluated anew."""
    principal = await _refreshed(context, caller)
    return principal is not None and await may(context, replace(caller, principal=principal), permission, resource_id)


async def is_still_known(context: GatewayContext, caller: Caller) -> bool:
    """Returns whether a caller who needs no permission may continue: credential and address are evaluated anew."""
    return await _refreshed(context, caller) is not None


async def _refreshed(context: GatewayContext, caller: Caller) -> Principal | None:
    now = context.clock()
    try:
        principal = await refresh_principal(context.database, caller.principal, context.rules, now)
        _check_address(principal, caller.client)
    except (Forbidden, Unauthenticated):
        return None
    # Streams outlive the request: a token counts only as long as it says.
    return principal if now < caller.expires_at else None


@dataclass(frozen=True, slots=True)
class _Entrance:
    """Resolves the credential of one request and stores the findings in its state, for the answer and the audit log."""

    request: Request
    context: GatewayContext

    async def authenticate(self, token: str | None, key: str | None) -> Admission:
        self.request.state.client = client_address(self.request, self.context.trusted_proxies)
        self._check_single(token, key)
        plaintext = key or (token if token and token.startswith(KEY_PREFIX) else None)
        credential, limit = plaintext or token or "", self.context.sign_in_limit
        limit.check(self.request.state.client, credential, self.context.clock())
        try:
            principal, expires_at = await (self._by_key(plaintext) if plaintext else self._by_token(token))
        except (Unauthenticated, Forbidden):
            limit.refused(credential)
            raise
        limit.accepted(credential)
        return Admission(principal, expires_at)

    def _check_single(self, token: str | None, key: str | None) -> None:
        # A proxy in front could pick the other one of two credentials, and so see another caller.
        twice = any(len(self.request.headers.getlist(name)) > 1 for name in ("authorization", "x-api-key"))
        if twice or (token and key):
            raise Unauthenticated("credentials_ambiguous", "Send one credential: a token or an API key, once.")

    async def _by_key(self, plaintext: str) -> tuple[Principal, datetime]:
        database, now = self.context.database, self.context.clock()
        principal, key = await authenticate_key(
            database, plaintext, self.context.rules, now, admit=self._admit, met=self._met
        )
        return principal, key.expires_at

    async def _by_token(self, token: str | None) -> tuple[Principal, datetime]:
        identity = await self.context.identities.authenticate(token)
        self._named(Claimed(identity.tenant_id, identity.user_id))
        database, now = self.context.database, self.context.clock()
        principal = await resolve_principal(database, database, identity, self.context.rules, now, admit=self._admit)
        return principal, identity.expires_at

    def _met(self, key: ApiKey) -> None:
        self._named(Claimed(key.tenant_id, key.user_id, key.key_id))

    def _named(self, claimed: Claimed) -> None:
        self.request.state.claimed = claimed
        bind(tenant_id=claimed.tenant_id, user_id=claimed.user_id, key_id=claimed.key_id)

    async def _admit(self, records: Records, principal: Principal) -> None:
        state = self.request.state
        state.principal = principal
        _check_address(principal, state.client)
        state.rate_headers = await count_request(records, self.context.rates, principal, self.context.clock())


def _check_address(principal: Principal, client: str | None) -> None:
    if not principal.tenant.settings.admits(client):
        raise Forbidden("address_not_allowed", "Your tenant does not let anybody in from this address.")


@dataclass(frozen=True, slots=True)
class Unguarded:
    """Marks a route that is open to everybody."""

    def __call__(self) -> None:
        """Admits everybody."""


def Allowed(permission: Permission, of: str | None = None, *, transient: bool = False) -> params.Depends:  # noqa: N802 - reads as the mark that it is
    """Marks a route by the permission that it requires, and by the field of its body that names the resource.

    Used in the signature: `caller: Annotated[Caller, Allowed(Permission.AGENT_EXECUTE)]`.

    Args:
        permission: The permission.
        of: The field of the body; None when the path names the resource, if anything.
        transient: Whether its effect ends by itself; see `Guard`.
    """
    return params.Depends(Guard(permission, of, transient))


def AllowedOrScraping(permission: Permission) -> params.Depends:  # noqa: N802 - reads as the mark that it is
    """Marks a route by its permission; networks that may scrape need no credential."""
    return params.Depends(ScrapeGuard(permission))


SignedIn = params.Depends(Guard(None))
"""Marks a route for every signed-in user of a tenant; what may be read and done depends on the resource itself."""
SignedInTransient = params.Depends(Guard(None, transient=True))
"""Marks a route as `SignedIn` does, for effects that end by themselves."""
Open = params.Depends(Unguarded())
"""Marks a route that takes no credential."""
