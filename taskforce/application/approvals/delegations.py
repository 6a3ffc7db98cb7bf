"""Delegations: approvers who decide on behalf of another user for a time."""

from datetime import datetime, timedelta

from taskforce.application.identity.principals import Actor
from taskforce.core.domain.approvals.records import Delegation
from taskforce.core.domain.audit.events import AuditEvent
from taskforce.core.domain.errors import Forbidden, Invalid
from taskforce.core.domain.identity.principals import Principal, require_whole
from taskforce.core.domain.ids import missing
from taskforce.core.interfaces.store import Store

LONGEST = timedelta(days=366)


async def own_delegation(store: Store, actor: Actor) -> Delegation:
    """Finds the actor's delegation, of now or later.

    Raises:
        Missing: `delegation_not_found`.
    """
    async with store.tenant(actor.principal.tenant.tenant_id) as records:
        found = await records.delegations.of(actor.principal.user.user_id)
    if found is None or found.until <= actor.now:
        raise missing("delegation")
    return found


async def delegate(store: Store, actor: Actor, delegate_id: str, since: datetime, until: datetime) -> Delegation:
    """Creates or replaces the actor's delegation; it gives the delegate no more than the actor may decide.

    Args:
        store: The tenants' data.
        actor: The user who delegates.
        delegate_id: The user who decides on their behalf.
        since: The beginning, with a time zone.
        until: The end, with a time zone.

    Raises:
        Forbidden: `key_may_not`: an API key has fewer rights than the delegate would get; `claims_narrowed`.
        Invalid: `delegation_invalid`: the delegate is the actor, unknown or deactivated, or the period is empty, past
            or longer than 366 days.
    """
    require_whole(actor.principal)
    _require_person(actor.principal)
    user_id = actor.principal.user.user_id
    if delegate_id == user_id:
        raise Invalid("delegation_invalid", "You decide in your own place anyway: name somebody else.")
    if not since < until or until <= actor.now or until - since > LONGEST:
        raise Invalid("delegation_invalid", "`until` is after `since` and in the future, at most 366 days later.")
    made = Delegation(user_id, delegate_id, since, until)
    async with store.tenant(actor.principal.tenant.tenant_id) as records:
        other = await records.users.get(delegate_id)
        if other is None or not other.active:
            raise Invalid("delegation_invalid", "No active user of that id is known in this tenant.")
        await records.delegations.save(made)
        await records.audit.append(_event(actor, "approval.delegate", delegate_id, made))
    return made


async def end_delegation(store: Store, actor: Actor) -> None:
    """Deletes the actor's delegation, with immediate effect.

    Raises:
        Forbidden: `key_may_not`.
        Missing: `delegation_not_found`.
    """
    _require_person(actor.principal)
    user_id = actor.principal.user.user_id
    async with store.tenant(actor.principal.tenant.tenant_id) as records:
        before = await records.delegations.of(user_id)
        if before is None or not await records.delegations.remove(user_id):
            raise missing("delegation")
        await records.audit.append(_event(actor, "approval.undelegate", before.delegate_id, before))


def _require_person(principal: Principal) -> None:
    # An API key is cut to a part of its user's roles; a delegate would get all of them.
    if principal.is_cut:
        raise Forbidden("key_may_not", "Delegations are made by the person, not by an API key.")


def _event(actor: Actor, action: str, delegate_id: str, delegation: Delegation) -> AuditEvent:
    since, until = delegation.since.isoformat(), delegation.until.isoformat()
    return actor.event(action, "user", delegate_id, since=since, until=until)
