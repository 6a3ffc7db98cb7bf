"""Who is asking: the user's row is made, and kept, from the claims of the tokens that we believe."""

from datetime import datetime, timedelta

from taskforce.core.domain.access import UserRecord
from taskforce.core.domain.errors import Forbidden
from taskforce.core.interfaces.identity import Identity
from taskforce.core.interfaces.records import Platform, Records, Store

REFRESH_AFTER = timedelta(minutes=5)


async def recognise(store: Store, platform: Platform, claimed: Identity, now: datetime) -> UserRecord:
    """Finds the user whom a token names, or makes the row at first sight, and keeps the claims last seen.

    Args:
        store: The door to the tenant's data.
        platform: The door that registers a tenant at first sight.
        claimed: What the verified token says.
        now: The time.

    Returns:
        The user as recorded.

    Raises:
        Forbidden: `user_deactivated`.
    """
    async with store.tenant(claimed.tenant_id) as records:
        known = await records.users.get(claimed.user_id)
    if known is None:
        await platform.register_tenant(claimed.tenant_id, now)
    user = _seen(known, claimed, now)
    if user is not known:
        user = await _kept(store, claimed, now)
    if not user.active:
        raise Forbidden("user_deactivated", "This user is deactivated. Ask an administrator of the tenant.")
    return user


async def _kept(store: Store, claimed: Identity, now: datetime) -> UserRecord:
    # Read anew under a lock: what an administrator has changed in between, a deactivation above all, must stay.
    async with store.tenant(claimed.tenant_id) as records:
        known = await records.users.locked(claimed.user_id)
        user = _seen(known, claimed, now)
        if user is not known:
            await records.users.save(user, now)
    return user


def _seen(known: UserRecord | None, claimed: Identity, now: datetime) -> UserRecord:
    fresh = known is not None and known.claims_seen_at is not None and now - known.claims_seen_at < REFRESH_AFTER
    if known is not None and fresh and known.claimed_roles == claimed.roles:
        return known
    return UserRecord.first_seen(claimed, now) if known is None else known.seen(claimed, now)


async def current_user(records: Records, user_id: str) -> UserRecord:
    """Reads a user anew, at the moment of an effect.

    Raises:
        Forbidden: `user_deactivated` when the user is gone or deactivated.
    """
    user = await records.users.get(user_id)
    if user is None or not user.active:
        raise Forbidden("user_deactivated", "The user on whose behalf this would happen is deactivated.")
    return user
