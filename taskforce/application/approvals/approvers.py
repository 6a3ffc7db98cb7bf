"""Who may decide a request now: by name, by role, or in the place of somebody who is away."""

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
    """Why somebody may decide: for themselves, or in somebody's place."""

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
    """Somebody with the roles of now, and with those in whose place they decide.

    Args:
        records: The tenant's records.
        user_id: Who.
        rules: What the deployment says about rights.
        now: The time.
        roles: The roles that count, where they are known.
        key_id: The API key that speaks for them, if it is one: it is cut to its roles, and stands for nobody else.

    Raises:
        Forbidden: `approver_unknown`: no active user of that id is known in this tenant; `api_key_ended`.
    """
    automated = False if key_id is None else await is_automated(records, user_id, key_id)
    if roles is None:
        who = await _principal(records, user_id, key_id, rules, now)
        roles, automated = who.roles, automated or who.user.kind == "service"
    if key_id is not None:
        return Approver(user_id, roles, key_id=key_id, automated=automated)
    away = [await _away(records, other, rules, now) for other in await records.delegations.to(user_id, now)]
    return Approver(user_id, roles, tuple(one for one in away if one is not None), automated=automated)


async def _principal(
    records: Records, user_id: str, key_id: str | None, rules: AccessRules, now: datetime
) -> Principal:
    try:
        who = await load_principal_for_key(records, user_id, key_id, rules, now)
    except Forbidden as refused:
        if refused.code == "api_key_ended":
            raise
        raise _unknown() from None
    # A key speaks for its own user, whoever is said to speak by it.
    if who.user.user_id != user_id:
        raise _unknown()
    return who


def _unknown() -> Forbidden:
    return Forbidden("approver_unknown", "No active user of that id is known in this tenant.")


async def actor_as_approver(records: Records, actor: Actor) -> Approver:
    """Loads the actor as an approver, with the roles that count now, and those whose place they take."""
    came = actor.principal
    return await approver_of(records, came.user.user_id, actor.rules, actor.now, came.roles, key_id=came.key_id)


async def _away(records: Records, user_id: str, rules: AccessRules, now: datetime) -> Approver | None:
    # Who is away and has lost their rights hands none on, nor a role that they were lent.
    try:
        who = await load_principal(records, user_id, rules, now)
    except Forbidden:
        return None
    return Approver(user_id, (await without_temporary_roles(records, who, rules, now)).roles)


def ground_for(request: Request, approver: Approver, channel: Channel, now: datetime) -> Authority:
    """Why somebody may decide a request, their own right first.

    Raises:
        Forbidden: `approver_role_missing`; `key_may_not`: the request names its user, and the key has no role for it,
            or it is a service account's or another's key, and the terms want people.
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
                refused = conflict
    if refused is not None:
        raise refused
    raise Forbidden("approver_role_missing", f"Deciding this request is for: {request.approval.who}.")


def includes(request: Request, approver: Approver) -> bool:
    """Whether somebody is named, or holds a role that decides the request."""
    return request.approval.who.include(approver.user_id, approver.roles)


def concerns(request: Request, approver: Approver) -> bool:
    """Whether somebody decides the request, for themselves or in somebody's place."""
    return any(includes(request, one) for one in (approver, *approver.stands_for))


def may_decide(request: Request, approver: Approver, now: datetime) -> bool:
    """Whether a decision over HTTP would count."""
    if request.closed_at is not None:
        return False
    try:
        ground_for(request, approver, Channel.API, now)
    except DomainError:
        return False
    return True
