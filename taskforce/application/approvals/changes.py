"""Changes of open requests other than decisions: withdrawal and reassignment."""

from dataclasses import replace

from taskforce.application.approvals.approvers import approver_of, includes
from taskforce.application.approvals.decisions import found, locked
from taskforce.application.approvals.history import REASSIGNED, HistoryEvent, record_event
from taskforce.application.approvals.parties import Issuers, asking_party
from taskforce.application.identity.principals import (
    load_principal,
    load_principal_for_key,
    without_temporary_roles,
)
from taskforce.core.domain.approvals.approval import Channel
from taskforce.core.domain.approvals.changes import Change
from taskforce.core.domain.approvals.definitions import follows
from taskforce.core.domain.approvals.records import Request
from taskforce.core.domain.errors import Conflict, Forbidden, Invalid
from taskforce.core.domain.identity.principals import AccessRules
from taskforce.core.interfaces.identity import Permission
from taskforce.core.interfaces.store import Records, Store


class ApprovalChanges:
    """Use case of the activity `record_change`.

    Args:
        store: The tenants' data.
        rules: The deployment's access rules.
    """

    def __init__(self, store: Store, rules: AccessRules) -> None:
        self._store = store
        self._rules = rules

    async def check(self, tenant_id: str, request_id: str, change: Change) -> None:
        """Requires that a change of a request is permitted now; changes nothing.

        Raises:
            Forbidden: `not_yours_to_change`: the actor is neither its requester nor its approver, and does not manage
                policies, or the requester, or who stands behind them, reassigns it; `beyond_terms`: an approver names
                others than the terms do.
            Invalid: `deciders_unknown`: a named user does not exist or is deactivated.
            Conflict: `request_closed`; `not_independent`: more people stand behind the actor's key than are followed.
        """
        async with self._store.tenant(tenant_id) as records:
            await self._changed(records, await locked(records, request_id), change)

    async def record(self, tenant_id: str, request_id: str, change: Change) -> None:
        """Records a change of a request with its history entry and audit event; a second call changes nothing.

        Of a withdrawal this records only who made it; the request itself is closed by its workflow.

        Raises:
            Forbidden, Invalid, Conflict: As `check`; `channel_refused`, which is audited.
        """
        # Not in the transaction below, whose rollback would take the audit event of the refusal with it.
        await self._require_channel(tenant_id, request_id, change)
        async with self._store.tenant(tenant_id) as records:
            before = await locked(records, request_id)
            # The history entry first: after a lost attempt the request is reassigned already, and the check of the
            # actor's rights would refuse the retry.
            if not await record_event(records, before, _event(change)):
                return
            changed = await self._changed(records, before, change)
            if change.kind == "reassign":
                await records.requests.save(changed)

    async def _require_channel(self, tenant_id: str, request_id: str, change: Change) -> None:
        if change.channel is Channel.API:
            return
        async with self._store.tenant(tenant_id) as records:
            request = await found(records, request_id)
        try:
            request.approval.require_channel(change.channel)
        except Conflict as refused:
            await self.refuse(tenant_id, request_id, change, refused.code)
            raise

    async def refuse(self, tenant_id: str, request_id: str, change: Change, code: str) -> None:
        """Records the audit event of a change that was refused."""
        async with self._store.tenant(tenant_id) as records:
            await record_event(records, await found(records, request_id), _refused_event(change, code))

    async def _changed(self, records: Records, request: Request, change: Change) -> Request:
        if change.kind == "withdraw":
            await self._require_own(records, request, change)
            return replace(request, approval=request.approval.withdraw(change.at))
        await self._require_handing_on(records, request, change)
        return replace(request, approval=request.approval.reassign(change.to, change.at))

    async def _require_own(self, records: Records, request: Request, change: Change) -> None:
        if change.actor_id == request.approval.requester_id:
            return
        # A withdrawal is final, so that only lasting permissions count for the request of another.
        if Permission.POLICY_MANAGE not in await self._held_lastingly(records, change):
            raise _not_yours()

    async def _require_handing_on(self, records: Records, request: Request, change: Change) -> None:
        """Requires that the new approvers are within the terms, or that the actor could have made the definition."""
        named = [await self._known(records, person, change) for person in change.to.people]
        asking = await _require_other_than_requester(records, request, change)
        # What the new approvers approve may outlast a temporary role, so only lasting permissions count here.
        held = await self._held_lastingly(records, change)
        if Permission.POLICY_MANAGE in held and follows(request.request_type) <= held:
            return
        actor = await approver_of(records, change.actor_id, self._rules, change.at)
        # In the requester's place they may do no more than the requester.
        grounds = (actor, *(one for one in actor.stands_for if one.user_id not in asking))
        if not any(includes(request, one) for one in grounds):
            raise _not_yours()
        terms = request.approval.terms.deciders.widened(request.approval.who)
        within = all(terms.include(user_id, roles) for user_id, roles in named)
        if not within or not set(change.to.roles) <= set(terms.roles):
            text = "You may hand this on to people who may decide it anyway; for others ask who manages policies."
            raise Forbidden("beyond_terms", text)

    async def _known(self, records: Records, user_id: str, change: Change) -> tuple[str, frozenset[str]]:
        try:
            return user_id, (await load_principal(records, user_id, self._rules, change.at)).roles
        except Forbidden:
            raise Invalid("deciders_unknown", f"No active user {user_id[:80]!r} is known in this tenant.") from None

    async def _held_lastingly(self, records: Records, change: Change) -> frozenset[Permission]:
        principal = await load_principal_for_key(records, change.actor_id, change.key_id, self._rules, change.at)
        return (await without_temporary_roles(records, principal, self._rules, change.at)).permissions


async def _require_other_than_requester(records: Records, request: Request, change: Change) -> frozenset[str]:
    """Requires that neither the requester nor who stands behind them chooses the approvers, whatever they manage.

    Returns:
        The requester, and who stands behind them.
    """
    actor = Issuers(records)
    await actor.follow(change.actor_id, change.key_id)
    asking = (await asking_party(records, request)).people
    if not asking.isdisjoint(actor.people):
        raise _not_yours()
    return asking


def _event(change: Change) -> HistoryEvent:
    kind = REASSIGNED if change.kind == "reassign" else "withdrawn_by"
    data: dict[str, object] = {}
    if change.to:
        data = {"roles": list(change.to.roles), "people": list(change.to.people)}
    if change.kind == "reassign" and change.key_id is not None:
        # Whoever issued the key stands behind the reassignment.
        data["key_id"] = change.key_id
    event = HistoryEvent(kind, change.actor_id, change.at, f"{kind}:{change.at.isoformat()}", change.comment)
    return replace(event, channel=change.channel.value, request_id=change.http_request, key_id=change.key_id, data=data)


def _refused_event(change: Change, code: str) -> HistoryEvent:
    kind = "reassignment_refused" if change.kind == "reassign" else "withdrawal_refused"
    event = HistoryEvent(kind, change.actor_id, change.at, outcome="denied", reason=code)
    return replace(event, channel=change.channel.value, key_id=change.key_id)


def _not_yours() -> Forbidden:
    return Forbidden("not_yours_to_change", "Only who asked, who decides, or who manages policies may do this.")
