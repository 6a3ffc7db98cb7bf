"""API keys: issued within what their maker may do, listed without their secret, revoked for good."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime

from taskforce.application.identity.principals import Actor
from taskforce.application.identity.users import UserAdministration, lock_users, user_event
from taskforce.core.domain.errors import Conflict
from taskforce.core.domain.identity.api_keys import ApiKey, issue
from taskforce.core.domain.ids import missing
from taskforce.core.interfaces.store import Store


@dataclass(frozen=True, slots=True)
class NewKey:
    """A key that shall be issued.

    Attributes:
        user_id: The person or service account on whose behalf it acts; None for whoever asks.
        name: For people.
        roles: What it is cut to.
        expires_at: From when it is no longer accepted; None for the longest life.
        metadata: Facts that the product keeps and does not read.
    """

    user_id: str | None
    name: str
    roles: frozenset[str]
    expires_at: datetime | None = None
    metadata: Mapping[str, object] = field(default_factory=dict, hash=False)


@dataclass(frozen=True, slots=True)
class Issued:
    """A key at the only moment at which its secret is known.

    Attributes:
        key: The key as it is kept.
        plaintext: The secret, to be shown once.
    """

    key: ApiKey
    plaintext: str = field(repr=False)


async def issue_key(store: Store, actor: Actor, wanted: NewKey) -> Issued:
    """Issues a key.

    Whoever makes one for themselves is bound by their own rights of now, those of an API key by what it is cut to.

    Raises:
        Missing: `user_not_found`.
        Invalid: `api_key_name_invalid`, `roles_invalid`, `roles_unknown`, `expiry_invalid` or `metadata_malformed`.
        Forbidden: `user_stands_higher`, `roles_too_wide`, `roles_not_held`, or as `users.lock_users`.
        Conflict: `user_inactive`.
    """
    tenant_id, own_id = actor.principal.tenant.tenant_id, actor.principal.user.user_id
    user_id = own_id if wanted.user_id is None else wanted.user_id
    async with store.tenant(tenant_id) as records:
        dealing = await lock_users(records, actor, user_id, wanted.roles)
        _check_may_have_a_key(dealing)
        if not dealing.with_oneself:
            # Whoever makes a key for another may use it; a role that its user holds must not become its maker's so.
            dealing.check_handing_on(wanted.roles)
        plaintext, key = issue(
            tenant_id=tenant_id,
            user_id=user_id,
            name=wanted.name,
            roles=wanted.roles,
            created_by=own_id,
            maker_permissions=dealing.held,
            now=actor.now,
            expires_at=wanted.expires_at,
            known_roles=dealing.known,
            metadata=wanted.metadata,
        )
        await records.keys.add(key)
        told = {"before": None, "after": _audit_snapshot(key)}
        await records.audit.append(user_event(actor, "api_key.create", "api_key", key.key_id, told))
    return Issued(key, plaintext)


async def list_keys(store: Store, actor: Actor, before: tuple[datetime, str] | None, most: int) -> Sequence[ApiKey]:
    """A page of the tenant's keys, newest first; expired and revoked ones too.

    Args:
        store: The door to the tenant's data.
        actor: Who asks.
        before: Time and id of the last one of the page before.
        most: Keys at most.
    """
    async with store.tenant(actor.principal.tenant.tenant_id) as records:
        return await records.keys.page(before, most)


async def find_key(store: Store, actor: Actor, key_id: str) -> ApiKey:
    """One key.

    Raises:
        Missing: `api_key_not_found`.
    """
    async with store.tenant(actor.principal.tenant.tenant_id) as records:
        key = await records.keys.get(key_id)
    if key is None:
        raise missing("api key")
    return key


async def revoke_key(store: Store, actor: Actor, key_id: str) -> None:
    """Revokes a key for good; one that is revoked already stays so.

    Raises:
        Missing: `api_key_not_found`.
        Forbidden: `user_stands_higher` for the key of somebody who may do more, or as
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
            told = {
                "before": _audit_snapshot(key),
                "after": {**_audit_snapshot(key), "revoked_at": actor.now.isoformat()},
            }
            await records.audit.append(user_event(actor, "api_key.revoke", "api_key", key_id, told))


def _check_may_have_a_key(dealing: UserAdministration) -> None:
    user = dealing.met()
    # An API key may do less than its user; a key that it makes for that user is bound by its roles.
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
