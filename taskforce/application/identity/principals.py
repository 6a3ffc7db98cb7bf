"""Principals: authenticated users with current roles and permissions; the only place where these are computed."""

from collections.abc import Awaitable, Callable, Collection, Mapping
from dataclasses import dataclass, replace
from datetime import datetime, timedelta

from taskforce.core.domain.audit.events import AuditEvent
from taskforce.core.domain.errors import Forbidden, Limited, Unauthenticated
from taskforce.core.domain.identity.api_keys import ApiKey, key_hash, looks_like_key
from taskforce.core.domain.identity.principals import AccessRules, Principal, TokenClaims
from taskforce.core.domain.identity.roles import CUSTOM_PREFIX, permissions_of
from taskforce.core.domain.identity.users import UserRecord
from taskforce.core.domain.runs.kill_switches import RunStop
from taskforce.core.domain.runs.run import RunSpec
from taskforce.core.domain.tenants.tenant import Tenant
from taskforce.core.interfaces.identity import Identity, Role
from taskforce.core.interfaces.store import Platform, Records, Store

REFRESH_AFTER = timedelta(minutes=5)

Admit = Callable[[Records, Principal], Awaitable[None]]
"""A further check of a principal in the transaction that loads it; it may write rate counts only."""


async def admit_all(records: Records, principal: Principal) -> None:
    """Admits every principal."""
    del records, principal


@dataclass(frozen=True, slots=True)
class Actor:
    """The caller of a use case.

    Attributes:
        principal: The user, with current rights.
        rules: The deployment's access rules.
        request_id: The id of the HTTP request, for the audit log.
        now: The time of the request, UTC.
    """

    principal: Principal
    rules: AccessRules
    request_id: str | None
    now: datetime

    def event(self, action: str, resource_type: str, resource_id: str, **details: object) -> AuditEvent:
        """Builds the audit event of an allowed action of the actor.

        Args:
            action: The action, for example `user.create`.
            resource_type: The type of the resource.
            resource_id: The id of the resource.
            **details: Further facts, for example `before` and `after`.
        """
        return AuditEvent(
            actor_id=self.principal.user.user_id,
            action=action,
            resource_type=resource_type,
            resource_id=resource_id,
            outcome="allowed",
            at=self.now,
            request_id=self.request_id,
            key_id=self.principal.key_id,
            details=details or None,
        )

    @property
    def runs_platform(self) -> bool:
        """Returns whether the actor is the platform's operator."""
        return self.principal.runs_platform(self.rules)


async def resolve_principal(
    store: Store, platform: Platform, claimed: Identity, rules: AccessRules, now: datetime, *, admit: Admit = admit_all
) -> Principal:
    """Loads the principal of a verified token; creates the user at their first sign-in and stores the latest claims.

    Args:
        store: The tenants' data.
        platform: The registry of tenants, which creates a tenant at first sight where that is allowed.
        claimed: The claims of the verified token.
        rules: The deployment's access rules.
        now: The time, UTC.
        admit: A further check.

    Returns:
        The user with current rights, the claimed roles among them cut to those of this token.

    Raises:
        Forbidden: `user_deactivated`, `tenant_disabled`, `service_account`, `tenant_deleted`, or `tenant_unknown`
            where tenants are not created at first sight; or as `admit`.
        Limited: As `admit`.
    """
    # Nearly always only rate counts are written, so the commit need not wait for the disk.
    async with store.counting(claimed.tenant_id) as records:
        tenant, known = await records.users.principal(claimed.user_id)
        if tenant is not None and known is not None and _seen(known, claimed, now) is known:
            tenant.require_active()
            principal = await _standing(records, tenant, known, rules, now, claims=_claims(claimed))
            await admit(records, principal)
            return principal
    if tenant is None:
        if not rules.tenants_at_first_sight:
            raise Forbidden("tenant_unknown", "This tenant is not known here. Ask whoever runs the platform.")
        if await platform.deletion(claimed.tenant_id) is not None:
            raise Forbidden("tenant_deleted", "This tenant was deleted. Ask whoever runs the platform.")
        await platform.register_tenant(claimed.tenant_id, now)
    else:
        tenant.require_active()
    # Read again under a lock: a concurrent change by an administrator, such as a deactivation, must not be overwritten.
    async with store.tenant(claimed.tenant_id) as records:
        # Two requests, or an administrator, may create the user at once: the second one finds the row of the first.
        await records.users.add(UserRecord.first_seen(claimed, now), now)
        locked = await records.users.locked(claimed.user_id)
        user = _seen(locked, claimed, now)
        if user is not locked:
            await records.users.save(user, now)
        try:
            principal = await load_principal(records, claimed.user_id, rules, now, claims=_claims(claimed))
            await admit(records, principal)
        except (Forbidden, Limited) as error:
            refused = error
        else:
            return principal
    # Raised after the commit: the latest claims are stored also for a user who is refused.
    raise refused


async def authenticate_key(
    platform: Platform,
    plaintext: str,
    rules: AccessRules,
    now: datetime,
    *,
    admit: Admit = admit_all,
    met: Callable[[ApiKey], None] = lambda _: None,
) -> tuple[Principal, ApiKey]:
    """Loads the principal of an API key: its user, with the key's roles cut to the user's current rights.

    Args:
        platform: The registry that finds a key before its tenant is known.
        plaintext: The key as it was sent.
        rules: The deployment's access rules.
        now: The time, UTC.
        admit: A further check.
        met: Called with the key before its user is checked, so that refusals can be audited under its tenant.

    Raises:
        Unauthenticated: `api_key_invalid`: unknown, expired or revoked.
        Forbidden: `user_deactivated` or `tenant_disabled`; or as `admit`.
        Limited: As `admit`.
    """
    # Saves the database a look-up for texts that cannot be keys.
    if not looks_like_key(plaintext):
        raise _no_key()
    async with platform.with_key(key_hash(plaintext)) as found:
        if found is None or not found[0].is_active(now):
            raise _no_key()
        key, records = found
        met(key)
        principal = await _speaking(records, key, rules, now)
        # Not at every request, each of which would wait for the lock of the key's row.
        if key.worth_noting_use(now):
            await records.keys.used(key.key_id, now)
        await admit(records, principal)
    return principal, key


async def refresh_principal(store: Store, principal: Principal, rules: AccessRules, now: datetime) -> Principal:
    """Loads a principal again with current rights and the same credential.

    Args:
        store: The tenants' data.
        principal: The principal as it was loaded before.
        rules: The deployment's access rules.
        now: The time, UTC.

    Raises:
        Unauthenticated: `api_key_invalid`: the key is revoked or expired.
        Forbidden: `user_deactivated` or `tenant_disabled`.
    """
    async with store.tenant(principal.tenant.tenant_id) as records:
        if principal.key_id is None:
            return await load_principal(records, principal.user.user_id, rules, now, claims=principal.claims)
        key = await records.keys.get(principal.key_id)
        if key is None or not key.is_active(now):
            raise _no_key()
        return await _speaking(records, key, rules, now)


async def load_principal_for_key(
    records: Records,
    user_id: str,
    key_id: str | None,
    rules: AccessRules,
    now: datetime,
    *,
    claims: TokenClaims | None = None,
    run: RunSpec | None = None,
) -> Principal:
    """Loads a principal cut to the API key or token of an earlier request, for effects that happen long after it.

    Args:
        records: The tenant's records.
        user_id: The user.
        key_id: The id of the API key of the request; None for a token.
        rules: The deployment's access rules.
        now: The time, UTC.
        claims: As in `load_principal`.
        run: As in `load_principal`.

    Raises:
        Forbidden: As `load_principal`; `api_key_ended`: the key is revoked or expired.
    """
    if key_id is None:
        return await load_principal(records, user_id, rules, now, claims=claims, run=run)
    key = await records.keys.get(key_id)
    if key is None or not key.is_active(now):
        raise Forbidden("api_key_ended", "The API key that asked for this has been revoked, or is expired.")
    return await _speaking(records, key, rules, now, run=run)


async def _speaking(
    records: Records, key: ApiKey, rules: AccessRules, now: datetime, *, run: RunSpec | None = None
) -> Principal:
    """Loads the user of a key, cut to the key's roles."""
    of_user = await load_principal(records, key.user_id, rules, now, run=run)
    known = await known_roles(records, key.roles, rules)
    roles = key.effective_roles(now, of_user.roles, user_active=True)
    held = key.effective_permissions(now, of_user.permissions, user_active=True, known_roles=known)
    return replace(of_user, roles=roles, permissions=held, key_id=key.key_id)


async def load_principal(
    records: Records,
    user_id: str,
    rules: AccessRules,
    now: datetime,
    *,
    claims: TokenClaims | None = None,
    run: RunSpec | None = None,
) -> Principal:
    """Loads a user's principal with current rights.

    Args:
        records: The tenant's records.
        user_id: The user.
        rules: The deployment's access rules.
        now: The time, UTC.
        claims: The claims of the request's token; None for other credentials.
        run: A run that has begun: it may go on while its tenant is being deleted, and the principal says what stops
            it. None where it is not for a run.

    Raises:
        Forbidden: `user_deactivated`, also where the user does not exist; `tenant_disabled`.
    """
    stop, mark = RunStop(), ""
    if run is None:
        tenant, user = await records.users.principal(user_id)
    else:
        tenant, user, stop, mark = await records.users.run_principal(user_id, run.agent.agent_id, run.run_id)
    if tenant is None or user is None:
        raise _deactivated()
    if run is None:
        tenant.require_active()
    else:
        tenant.require_working(now)
    principal = await _standing(records, tenant, user, rules, now, claims=claims)
    return replace(principal, stop=stop, definitions_mark=mark) if stop or mark else principal


async def without_temporary_roles(
    records: Records, principal: Principal, rules: AccessRules, now: datetime
) -> Principal:
    """Returns a principal without the rights of temporary roles, to judge everything that outlasts them.

    Args:
        records: The tenant's records.
        principal: The principal, with current rights.
        rules: The deployment's access rules.
        now: The time, UTC.
    """
    if principal.lasting or not principal.user.lent_now(now):
        return replace(principal, lasting=True)
    own = principal.user.lasting_roles(now, rules.claims_age)
    held = permissions_of(own, await known_roles(records, own, rules))
    return replace(
        principal,
        roles=principal.roles & own,
        permissions=principal.permissions & held,
        user_roles=principal.user_roles & own,
        lasting=True,
    )


async def cut_to_lasting(store: Store, principal: Principal, rules: AccessRules, now: datetime) -> Principal:
    """Removes temporary roles outside a transaction; opens one only for a user who has any."""
    if not principal.user.lent_now(now):
        return replace(principal, lasting=True)
    async with store.reading(principal.tenant.tenant_id) as records:
        return await without_temporary_roles(records, principal, rules, now)


async def load_lasting_principal(records: Records, actor: Actor) -> Principal:
    """Loads the actor's principal with current lasting rights, cut to those of their credential.

    Args:
        records: The tenant's records.
        actor: The caller.

    Raises:
        Forbidden: As `load_principal`.
    """
    principal = actor.principal
    now = await load_principal(records, principal.user.user_id, actor.rules, actor.now)
    lasting = await without_temporary_roles(records, now, actor.rules, actor.now)
    return replace(
        lasting, roles=lasting.roles & principal.roles, permissions=lasting.permissions & principal.permissions
    )


async def known_roles(records: Records, names: Collection[str], rules: AccessRules) -> Mapping[str, Role]:
    """Returns the roles that exist for a tenant; its own are read only where one of the names may be among them."""
    if not any(name.startswith(CUSTOM_PREFIX) and name not in rules.roles for name in names):
        return rules.roles
    own = {role.role_id: role for role in await records.roles.all()}
    # The deployment's roles last: no role of a tenant's replaces one of them.
    return {**own, **rules.roles}


async def _standing(
    records: Records,
    tenant: Tenant,
    user: UserRecord,
    rules: AccessRules,
    now: datetime,
    *,
    claims: TokenClaims | None = None,
) -> Principal:
    if not user.active:
        raise _deactivated()
    roles = user.effective_roles(now, rules.claims_age)
    known = await known_roles(records, roles | (frozenset() if claims is None else claims.roles), rules)
    whole = _or_default(roles, known, rules)
    permissions = permissions_of(whole, known)
    if claims is None or user.fresh_claims(now, rules.claims_age) <= claims.roles:
        return Principal(user, tenant, whole, permissions, whole, claims=claims)
    # Cut by permissions, not by role names: with `admin` in one token and `viewer` in another, the user's roles have no
    # `viewer` to intersect with, and yet the second token must give a viewer's permissions.
    said = _or_default(user.own_roles(now) | claims.roles, known, rules)
    held = permissions & permissions_of(said, known)
    return Principal(user, tenant, whole & said, held, whole, claims=claims, is_narrowed=True)


def _or_default(roles: frozenset[str], known_roles: Mapping[str, Role], rules: AccessRules) -> frozenset[str]:
    missing = rules.default_role is not None and roles.isdisjoint(known_roles)
    return roles | {rules.default_role or ""} if missing else roles


def _seen(known: UserRecord | None, claimed: Identity, now: datetime) -> UserRecord:
    if known is not None and known.kind == "service":
        raise Forbidden("service_account", "A service account signs in by its API keys, not by tokens.")
    fresh = known is not None and known.claims_seen_at is not None and now - known.claims_seen_at < REFRESH_AFTER
    # Attributes too, for policy rules use them as conditions.
    if known is not None and fresh and (known.claimed_roles, known.attributes) == (claimed.roles, claimed.attributes):
        return known
    return UserRecord.first_seen(claimed, now) if known is None else known.seen(claimed, now)


def _claims(identity: Identity) -> TokenClaims:
    return TokenClaims(identity.roles, identity.attributes)


def _no_key() -> Unauthenticated:
    return Unauthenticated("api_key_invalid", "This API key is not valid: it is unknown, expired or revoked.")


def _deactivated() -> Forbidden:
    return Forbidden("user_deactivated", "This user is deactivated. Ask an administrator of the tenant.")
