"""Who is asking, and what they may do now: the one place where a user's rights are put together."""

from collections.abc import Awaitable, Callable, Collection, Mapping
from dataclasses import dataclass, replace
from datetime import datetime, timedelta

from taskforce.core.domain.audit.events import AuditEvent
from taskforce.core.domain.errors import Forbidden, Limited, Unauthenticated
from taskforce.core.domain.identity.api_keys import ApiKey, key_hash, looks_like_key
from taskforce.core.domain.identity.principals import AccessRules, Principal
from taskforce.core.domain.identity.roles import CUSTOM_PREFIX, permissions_of
from taskforce.core.domain.identity.users import UserRecord
from taskforce.core.domain.tenants.tenant import Tenant
from taskforce.core.interfaces.identity import Identity, Role
from taskforce.core.interfaces.store import Platform, Records, Store

REFRESH_AFTER = timedelta(minutes=5)

Admit = Callable[[Records, Principal], Awaitable[None]]
"""What else is asked of somebody in the transaction that reads their rights; it may write nothing but counts."""


async def admit_all(records: Records, principal: Principal) -> None:
    """Asks nothing else."""
    del records, principal


@dataclass(frozen=True, slots=True)
class Actor:
    """Who asks, and with which request.

    Attributes:
        principal: Who, with the rights of now.
        rules: What the deployment says about rights.
        request_id: The HTTP request, for the audit log.
        now: The time, UTC.
    """

    principal: Principal
    rules: AccessRules
    request_id: str | None
    now: datetime

    def event(self, action: str, resource_type: str, resource_id: str, **details: object) -> AuditEvent:
        """Makes the audit event of something that the actor was allowed to do.

        Args:
            action: What was done, for example `user.create`.
            resource_type: To what kind of thing.
            resource_id: To which one.
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
        """Whether this is the platform's operator."""
        return self.principal.runs_platform(self.rules)


async def resolve_principal(
    store: Store, platform: Platform, claimed: Identity, rules: AccessRules, now: datetime, admit: Admit = admit_all
) -> Principal:
    """Finds the user whom a token names, or makes the row at first sight, and keeps the claims last seen.

    Args:
        store: The door to the tenant's data.
        platform: The door that registers a tenant at first sight, where that is allowed.
        claimed: What the verified token says.
        rules: What the deployment says about rights.
        now: The time.
        admit: What else is asked.

    Returns:
        The user with the rights of now, those of claimed roles cut to what this token claims.

    Raises:
        Forbidden: `user_deactivated`, `tenant_disabled`, `service_account`, `tenant_deleted`, or `tenant_unknown`
            where tenants are made by hand; or as `admit`.
        Limited: As `admit`.
    """
    # Nearly always nothing is written but counts, so the commit need not wait for the disk.
    async with store.counting(claimed.tenant_id) as records:
        tenant, known = await records.users.principal(claimed.user_id)
        if tenant is not None and known is not None and _seen(known, claimed, now) is known:
            tenant.require_active()
            who = await _standing(records, tenant, known, rules, now, claimed.roles)
            await admit(records, who)
            return who
    if tenant is None:
        if not rules.tenants_at_first_sight:
            raise Forbidden("tenant_unknown", "This tenant is not known here. Ask whoever runs the platform.")
        if await platform.deletion(claimed.tenant_id) is not None:
            raise Forbidden("tenant_deleted", "This tenant was deleted. Ask whoever runs the platform.")
        await platform.register_tenant(claimed.tenant_id, now)
    else:
        tenant.require_active()
    # Read anew under a lock: what an administrator has changed in between, a deactivation above all, must stay.
    async with store.tenant(claimed.tenant_id) as records:
        # Of two who see the user for the first time, an administrator among them, the second finds the first's row.
        await records.users.add(UserRecord.first_seen(claimed, now), now)
        locked = await records.users.locked(claimed.user_id)
        user = _seen(locked, claimed, now)
        if user is not locked:
            await records.users.save(user, now)
        try:
            who = await load_principal(records, claimed.user_id, rules, now, claims=claimed.roles)
            await admit(records, who)
        except (Forbidden, Limited) as error:
            refused = error
        else:
            return who
    # Only here: what was seen of the claims is kept, whatever they are worth.
    raise refused


async def recognise_key(
    platform: Platform,
    plaintext: str,
    rules: AccessRules,
    now: datetime,
    admit: Admit = admit_all,
    met: Callable[[ApiKey], None] = lambda _: None,
) -> tuple[Principal, ApiKey]:
    """Finds whom an API key speaks for; what it allows is cut to what its user may do now.

    Args:
        platform: The door that finds a key before its tenant is known.
        plaintext: The key as it was sent.
        rules: What the deployment says about rights.
        now: The time.
        admit: What else is asked.
        met: Hears whose key it is, before anything else is asked of its user.

    Raises:
        Unauthenticated: `api_key_invalid`: never issued, expired or revoked.
        Forbidden: `user_deactivated` or `tenant_disabled`; or as `admit`.
        Limited: As `admit`.
    """
    if not looks_like_key(plaintext):
        raise _no_key()
    async with platform.of_key(key_hash(plaintext)) as found:
        if found is None or not found[0].is_active(now):
            raise _no_key()
        key, records = found
        met(key)
        who = await _speaking(records, key, rules, now)
        if key.worth_noting_use(now):
            await records.keys.used(key.key_id, now)
        await admit(records, who)
    return who, key


async def refresh_principal(store: Store, was: Principal, rules: AccessRules, now: datetime) -> Principal:
    """Reads anew what somebody may do who was recognised a while ago, by the same credential.

    Args:
        store: The door to the tenant's data.
        was: How they stood then.
        rules: What the deployment says about rights.
        now: The time.

    Raises:
        Unauthenticated: `api_key_invalid`: the key has been revoked, or is expired.
        Forbidden: `user_deactivated` or `tenant_disabled`.
    """
    async with store.tenant(was.tenant.tenant_id) as records:
        if was.key_id is None:
            return await load_principal(records, was.user.user_id, rules, now, claims=was.claims)
        key = await records.keys.get(was.key_id)
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
    claims: frozenset[str] | None = None,
    under_way: bool = False,
) -> Principal:
    """As `load_principal`, cut to the API key or token by which something was asked for; for what acts long after.

    Raises:
        Forbidden: As `load_principal`; `api_key_ended`: the key has been revoked, or is expired.
    """
    if key_id is None:
        return await load_principal(records, user_id, rules, now, claims=claims, under_way=under_way)
    key = await records.keys.get(key_id)
    if key is None or not key.is_active(now):
        raise Forbidden("api_key_ended", "The API key that asked for this has been revoked, or is expired.")
    return await _speaking(records, key, rules, now, under_way=under_way)


async def _speaking(
    records: Records, key: ApiKey, rules: AccessRules, now: datetime, *, under_way: bool = False
) -> Principal:
    """A key's user, cut to the key."""
    of_user = await load_principal(records, key.user_id, rules, now, under_way=under_way)
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
    claims: frozenset[str] | None = None,
    under_way: bool = False,
) -> Principal:
    """Reads a user's rights anew, at the moment of an effect.

    Args:
        records: The tenant's records.
        user_id: On whose behalf something is about to happen.
        rules: What the deployment says about rights.
        now: The time.
        claims: The roles that the token claims by which it was asked for; None where that was no token.
        under_way: The effect is one of a run that has begun, which a tenant that is being deleted may let go on.

    Raises:
        Forbidden: `user_deactivated` when the user is gone or deactivated, `tenant_disabled`.
    """
    tenant, user = await records.users.principal(user_id)
    if tenant is None or user is None:
        raise _deactivated()
    if under_way:
        tenant.require_working(now)
    else:
        tenant.require_active()
    return await _standing(records, tenant, user, rules, now, claims)


async def without_temporary_roles(records: Records, who: Principal, rules: AccessRules, now: datetime) -> Principal:
    """Returns somebody without what they were lent: the one rule for whatever outlasts a loan, whoever it is for.

    Args:
        records: The tenant's records.
        who: Who acts, with the rights of now.
        rules: What the deployment says about rights.
        now: The time, UTC.
    """
    if who.lasting or not who.user.lent_now(now):
        return replace(who, lasting=True)
    own = who.user.lasting_roles(now, rules.claims_age)
    held = permissions_of(own, await known_roles(records, own, rules))
    return replace(
        who, roles=who.roles & own, permissions=who.permissions & held, user_roles=who.user_roles & own, lasting=True
    )


async def cut_to_lasting(store: Store, who: Principal, rules: AccessRules, now: datetime) -> Principal:
    """As `without_temporary_roles`, outside a transaction; of somebody who was lent nothing nothing is read."""
    if not who.user.lent_now(now):
        return replace(who, lasting=True)
    async with store.reading(who.tenant.tenant_id) as records:
        return await without_temporary_roles(records, who, rules, now)


async def load_lasting_principal(records: Records, actor: Actor) -> Principal:
    """Reads anew what whoever acts may do for good, cut to what their credential was cut to.

    Args:
        records: The tenant's records.
        actor: Who acts.

    Raises:
        Forbidden: As `load_principal`.
    """
    came = actor.principal
    now = await load_principal(records, came.user.user_id, actor.rules, actor.now)
    lasting = await without_temporary_roles(records, now, actor.rules, actor.now)
    return replace(lasting, roles=lasting.roles & came.roles, permissions=lasting.permissions & came.permissions)


async def known_roles(records: Records, names: Collection[str], rules: AccessRules) -> Mapping[str, Role]:
    """The roles that exist for a tenant; its own are read only where one of the names may be among them."""
    if not any(name.startswith(CUSTOM_PREFIX) and name not in rules.roles for name in names):
        return rules.roles
    own = {role.role_id: role for role in await records.roles.all()}
    return {**own, **rules.roles}


async def _standing(
    records: Records,
    tenant: Tenant,
    user: UserRecord,
    rules: AccessRules,
    now: datetime,
    claims: frozenset[str] | None = None,
) -> Principal:
    if not user.active:
        raise _deactivated()
    roles = user.effective_roles(now, rules.claims_age)
    known = await known_roles(records, roles | (claims or frozenset()), rules)
    whole = _or_default(roles, known, rules)
    permissions = permissions_of(whole, known)
    if claims is None or user.fresh_claims(now, rules.claims_age) <= claims:
        return Principal(user, tenant, whole, permissions, whole, claims=claims)
    # By rights and not by names: whoever claims `viewer` here and `admin` there is at least a viewer in both.
    said = _or_default(user.own_roles(now) | claims, known, rules)
    held = permissions & permissions_of(said, known)
    return Principal(user, tenant, whole & said, held, whole, claims=claims, is_narrowed=True)


def _or_default(roles: frozenset[str], known: Mapping[str, Role], rules: AccessRules) -> frozenset[str]:
    missing = rules.default_role is not None and roles.isdisjoint(known)
    return roles | {rules.default_role or ""} if missing else roles


def _seen(known: UserRecord | None, claimed: Identity, now: datetime) -> UserRecord:
    if known is not None and known.kind == "service":
        raise Forbidden("service_account", "A service account signs in by its API keys, not by tokens.")
    fresh = known is not None and known.claims_seen_at is not None and now - known.claims_seen_at < REFRESH_AFTER
    # Attributes too, for rules of a policy go by them.
    if known is not None and fresh and (known.claimed_roles, known.attributes) == (claimed.roles, claimed.attributes):
        return known
    return UserRecord.first_seen(claimed, now) if known is None else known.seen(claimed, now)


def _no_key() -> Unauthenticated:
    return Unauthenticated("api_key_invalid", "This API key is not valid: it is unknown, expired or revoked.")


def _deactivated() -> Forbidden:
    return Forbidden("user_deactivated", "This user is deactivated. Ask an administrator of the tenant.")
