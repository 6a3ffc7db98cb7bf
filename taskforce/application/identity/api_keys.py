"""API keys: issued within their issuer's rights, listed without their secret, and revoked."""

import asyncio
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime

from taskforce.application.identity.principals import Actor
from taskforce.application.identity.users import UserAdministration, lock_users
from taskforce.core.domain.access.policies import Policy
from taskforce.core.domain.access.policy_documents import parse_stored
from taskforce.core.domain.errors import Conflict
from taskforce.core.domain.identity.api_keys import ApiKey, issue
from taskforce.core.domain.identity.principals import require_newest_attributes
from taskforce.core.domain.ids import missing
from taskforce.core.interfaces.store import Records, Store


@dataclass(frozen=True, slots=True)
class NewKey:
    """An API key to be issued.

    Attributes:
        user_id: The person or service account that it acts for; None for the issuer.
        name: The display name.
        roles: The roles that it is cut to.
        expires_at: When it expires, UTC; None for the longest life.
        metadata: Facts that the product stores and does not read.
    """

    user_id: str | None
    name: str
    roles: frozenset[str]
    expires_at: datetime | None = None
    metadata: Mapping[str, object] = field(default_factory=dict, hash=False)


@dataclass(frozen=True, slots=True)
class Issued:
    """An issued key, with the secret that is stored nowhere.

    Attributes:
        key: The key as it is stored.
        plaintext: The secret, to be shown once.
    """

    key: ApiKey
    plaintext: str = field(repr=False)


async def issue_key(store: Store, actor: Actor, new: NewKey) -> Issued:
    """Issues an API key.

    A key for oneself is limited to one's current lasting rights; if an API key issues it, to those of that key. It has
    the attributes of its user's newest token, so that no token issues it to which the policy allows less by its own.

    Raises:
        Missing: `user_not_found`.
        Invalid: `api_key_name_invalid`, `roles_invalid`, `roles_unknown`, `expiry_invalid` or `metadata_malformed`.
        Forbidden: `user_stands_higher`, `roles_too_wide`, `roles_not_held`, `claims_narrowed`, or as
            `users.lock_users`.
        Unavailable: `policy_unreadable`.
        Conflict: `user_inactive`.
    """
    tenant_id, own_id = actor.principal.tenant.tenant_id, actor.principal.user.user_id
    user_id = own_id if new.user_id is None else new.user_id
    async with store.tenant(tenant_id) as records:
        dealing = await lock_users(records, actor, user_id, new.roles)
        _check_may_have_a_key(dealing)
        if dealing.with_oneself:
            await _require_newest_attributes(records, actor)
        else:
            # The issuer sees the secret and may use the key: it must not give them a role that only its user holds.
            dealing.check_handing_on(new.roles)
        plaintext, key = issue(
            tenant_id=tenant_id,
            user_id=user_id,
            name=new.name,
            roles=new.roles,
            created_by=own_id,
            maker_permissions=dealing.held,
            now=actor.now,
            expires_at=new.expires_at,
            known_roles=dealing.known,
            metadata=new.metadata,
            created_by_key=actor.principal.key_id,
        )
        await records.keys.add(key)
        details = {"before": None, "after": _audit_snapshot(key)}
        await records.audit.append(actor.event("api_key.create", "api_key", key.key_id, **details))
    return Issued(key, plaintext)


async def list_keys(store: Store, actor: Actor, before: tuple[datetime, str] | None, most: int) -> Sequence[ApiKey]:
    """Lists a page of the tenant's keys, newest first, with expired and revoked ones.

    Args:
        store: The tenants' data.
        actor: The caller.
        before: Creation time and id of the last key of the previous page.
        most: Keys at most.
    """
    async with store.tenant(actor.principal.tenant.tenant_id) as records:
        return await records.keys.page(before, most)


async def find_key(store: Store, actor: Actor, key_id: str) -> ApiKey:
    """Finds a key.

    Raises:
        Missing: `api_key_not_found`.
    """
    async with store.tenant(actor.principal.tenant.tenant_id) as records:
        key = await records.keys.get(key_id)
    if key is None:
        raise missing("api key")
    return key


async def revoke_key(store: Store, actor: Actor, key_id: str) -> None:
    """Revokes a key; a second call changes nothing.

    Raises:
        Missing: `api_key_not_found`.
        Forbidden: `user_stands_higher`: its user has more rights than the actor; or as
            `taskforce.application.identity.users.lock_users`.
    """
    async with store.tenant(actor.principal.tenant.tenant_id) as records:
        key = await records.keys.get(key_id)
        if key is None:
            raise missing("api key")
        dealing = await lock_users(records, actor, key.user_id)
        if not dealing.with_oneself:
            dealing.check_not_higher()
        if await records.keys.revoke(key_id, actor.now):
            details = {
                "before": _audit_snapshot(key),
                "after": {**_audit_snapshot(key), "revoked_at": actor.now.isoformat()},
            }
            await records.audit.append(actor.event("api_key.revoke", "api_key", key_id, **details))


async def _require_newest_attributes(records: Records, actor: Actor) -> None:
    # Nearly every token is like the newest one; then the policy is not read.
    if actor.principal.other_attributes is None:
        return
    version = await records.policies.current()
    policy = Policy() if version is None else await asyncio.to_thread(parse_stored, version.document)
    require_newest_attributes(actor.principal, policy.attributes)


def _check_may_have_a_key(dealing: UserAdministration) -> None:
    user = dealing.met()
    # Not asked for oneself: an API key may have fewer rights than its user, and the new key is cut to the same roles.
    if not dealing.with_oneself:
        dealing.check_not_higher()
    if not user.active:
        raise Conflict("user_inactive", "This user is deactivated; a key would open nothing.")


def _audit_snapshot(key: ApiKey) -> dict[str, object]:
    return {
        "user_id": key.user_id,
        "name": key.name,
        "prefix": key.prefix,
        "roles": sorted(key.roles),
        "expires_at": key.expires_at.isoformat(),
    }


async def owner_of(store: Store, tenant_id: str, key_id: str) -> str | None:
    """Finds the user that a key acts for; None where there is no such key."""
    async with store.tenant(tenant_id) as records:
        key = await records.keys.get(key_id)
    return None if key is None else key.user_id
