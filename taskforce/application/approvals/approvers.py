"""Eligibility of approvers: who may decide a request now, by name, by role or by delegation."""

from dataclasses import dataclass
from datetime import datetime

from taskforce.application.approvals.parties import is_automated
from taskforce.application.identity.principals import (
    Actor,
    load_principal,
    load_principal_for_key,
    without_temporary_roles,
)
from taskforce.core.domain.approvals.approval import Channel
from taskforce.core.domain.approvals.records import Approver, Request
from taskforce.core.domain.errors import Conflict, DomainError, Forbidden
from taskforce.core.domain.identity.principals import AccessRules, Principal
from taskforce.core.interfaces.store import Records


@dataclass(frozen=True, slots=True)
class Authority:
    """The ground on which an approver may decide.

    Attributes:
        on_behalf_of: The user who has delegated their decisions to the approver; None for the approver's own right.
    """

    on_behalf_of: str | None = None


async def approver_of(
    records: Records,
    user_id: str,
    rules: AccessRules,
    now: datetime,
    roles: frozenset[str] | None = None,
    *,
    key_id: str | None = None,
) -> Approver:
    """Loads an approver with current roles, and with the users who have delegated their decisions to them.

    Args:
        records: The tenant's records.
        user_id: The user.
        rules: The deployment's access rules.
        now: The time, UTC.
        roles: The roles that count, where the caller knows them; None loads them.
        key_id: The id of the API key that the user acts by, if any; it is cut to its roles and takes no delegations.

    Raises:
        Forbidden: `approver_unknown`: no active user of that id is known in this tenant; `api_key_ended`.
    """
    automated = False if key_id is None else await is_automated(records, user_id, key_id)
    if roles is None:
        principal = await _principal(records, user_id, key_id, rules, now)
        roles, automated = principal.roles, automated or principal.user.kind == "service"
    if key_id is not None:
        return Approver(user_id, roles, key_id=key_id, automated=automated)
    away = [await _away(records, other, rules, now) for other in await records.delegations.to(user_id, now)]
    return Approver(user_id, roles, tuple(one for one in away if one is not None), automated=automated)


async def _principal(
    records: Records, user_id: str, key_id: str | None, rules: AccessRules, now: datetime
) -> Principal:
    try:
        principal = await load_principal_for_key(records, user_id, key_id, rules, now)
    except Forbidden as refused:
        if refused.code == "api_key_ended":
            raise
        raise _unknown() from None
    # An update that did not come through the gateway may name any key beside any user.
    if principal.user.user_id != user_id:
        raise _unknown()
    return principal


def _unknown() -> Forbidden:
    return Forbidden("approver_unknown", "No active user of that id is known in this tenant.")


async def actor_as_approver(records: Records, actor: Actor) -> Approver:
    """Loads the actor as an approver, with the roles of their credential and the delegations to them."""
    principal = actor.principal
    return await approver_of(
        records, principal.user.user_id, actor.rules, actor.now, principal.roles, key_id=principal.key_id
    )


async def _away(records: Records, user_id: str, rules: AccessRules, now: datetime) -> Approver | None:
    # A delegator who has lost their rights has none to delegate, and temporary roles are not delegated either.
    try:
        principal = await load_principal(records, user_id, rules, now)
    except Forbidden:
        return None
    return Approver(user_id, (await without_temporary_roles(records, principal, rules, now)).roles)


def find_authority(request: Request, approver: Approver, channel: Channel, now: datetime) -> Authority:
    """Finds the ground on which an approver may decide a request; their own right goes before delegations.

    Args:
        request: The request.
        approver: The approver.
        channel: The channel of the decision.
        now: The time, UTC.

    Raises:
        Forbidden: `approver_role_missing`; `key_may_not`: the request names the user, but the API key has no role that
            decides it, or a service account or a key issued by somebody else decides, which the terms do not allow.
        Conflict: As `Approval.check`.
    """
    request.approval.check(approver.user_id, channel, now)
    if includes(request, approver):
        if approver.automated and not request.approval.terms.service_accounts:
            text = "People decide this request: no service account, and no key that somebody else has issued."
            raise Forbidden("key_may_not", text)
        if not approver.in_person and approver.roles.isdisjoint(request.approval.who.roles):
            raise Forbidden("key_may_not", "Whoever is named decides in person: the key has no role that decides this.")
        return Authority()
    refused: Conflict | None = None
    for away in approver.stands_for:
        if includes(request, away):
            try:
                request.approval.check(approver.user_id, channel, now, away.user_id)
                return Authority(away.user_id)
            except Conflict as conflict:
                # Another delegator may still be a ground; this refusal is raised only where none is.
                refused = conflict
    if refused is not None:
        raise refused
    raise Forbidden("approver_role_missing", f"Deciding this request is for: {request.approval.who}.")


def includes(request: Request, approver: Approver) -> bool:
    """Tells whether the request names the approver or one of their roles, delegations left out."""
    return request.approval.who.include(approver.user_id, approver.roles)


def concerns(request: Request, approver: Approver) -> bool:
    """Tells whether the request names the approver or one of their roles, delegations included."""
    return any(includes(request, one) for one in (approver, *approver.stands_for))


def may_decide(request: Request, approver: Approver, now: datetime) -> bool:
    """Tells whether a decision of the approver over HTTP would count now."""
    if request.closed_at is not None:
        return False
    try:
        find_authority(request, approver, Channel.API, now)
    except DomainError:
        return False
    return True
